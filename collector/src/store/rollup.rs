//! What is kept of runs beside them, so that medians need not read all of them: what each host's newest say, and how many there are.

mod kept;

pub use kept::{CellValue, Kept, RunAt};

use std::collections::BTreeMap;

use fleetmark_proto::{
    id::{Digest, HostId},
    invalid::Invalid,
    plan::{Scenario, Spawner, Workload},
    report::{Cell, Report},
    series::SeriesKey,
    unit::Nanos,
};
use serde::{Deserialize, Serialize};

use crate::stats::Stay;

/// A kind of runs: what a profile, a build and a plan have in common.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Form {
    /// The profile's id.
    pub profile: String,
    /// Its name, which is not the same in all its runs.
    pub name: String,
    /// Whether enough is known of the hardware for verdicts.
    pub complete: bool,
    /// The build's key.
    pub build: String,
    /// The cells, and then the series.
    pub cells: Vec<FormCell>,
}

/// A cell or series that runs of a form have.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FormCell {
    /// Which pass, variant and metric; `None` for the eleven cells.
    pub series: Option<SeriesKey>,
    /// What units do.
    pub scenario: Scenario,
    /// How they are started.
    pub spawner: Spawner,
    /// What was asked.
    pub workload: Workload,
    /// The units that came of it.
    pub units: u64,
}

impl FormCell {
    fn of((series, cell): (Option<SeriesKey>, &Cell)) -> Self {
        Self {
            series,
            scenario: cell.key.scenario,
            spawner: cell.key.spawner,
            workload: cell.workload,
            units: cell.units,
        }
    }
}

/// Which form; an id means something in one store alone.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct FormId(pub i64);

/// What rollups take of a report.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Extract {
    /// What kind of run it is.
    pub form: Form,
    /// The boot's hash, cut to 64 bits; `None` if the host does not show it.
    pub boot: Option<i64>,
    /// When it began, in microseconds since 1970, by the agent's clock.
    pub started_us: i64,
    /// When it ended.
    pub ended_us: i64,
    /// Whether the agent found nothing that speaks against it.
    pub clean: bool,
    /// Whether it ended before its plan did.
    pub partial: bool,
    /// What each cell of the form says; `None` if it failed.
    pub values: Vec<Option<CellValue>>,
    /// How long a million rounds of the kernel take on one core.
    pub kernel: Option<Nanos>,
}

impl Extract {
    /// Of this report.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let (cells, values) =
            report.measured().map(|of| (FormCell::of(of), CellValue::of(report, of.1))).unzip();
        Self {
            form: Form {
                profile: report.profile.id.as_str().to_owned(),
                name: report.profile.name.clone(),
                complete: report.profile.facets.is_complete(),
                build: report.build.key(),
                cells,
            },
            boot: report.host.boot_id_hash.as_deref().map(boot),
            started_us: report.started_at.as_microsecond(),
            ended_us: report.ended_at.as_microsecond(),
            clean: report.quality.is_clean(),
            partial: report.partial.is_some(),
            values,
            kernel: report.evidence.kernel_time(1_000_000),
        }
    }
}

/// A boot by 64 bits: the hash of it is told in forms of any length.
fn boot(hash: &str) -> i64 {
    let digest = Digest::of(hash.as_bytes());
    digest.as_bytes().first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

/// How many runs there are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Clean and whole.
    pub clean: i64,
    /// Suspect and whole.
    pub suspect: i64,
    /// Clean, and ended before their plan did.
    pub partial: i64,
    /// Both.
    pub partial_suspect: i64,
}

impl Counts {
    /// Counts so many more of such runs; fewer, if that is negative.
    pub fn add(&mut self, clean: bool, partial: bool, more: i64) {
        let counter = match (clean, partial) {
            (true, false) => &mut self.clean,
            (false, false) => &mut self.suspect,
            (true, true) => &mut self.partial,
            (false, true) => &mut self.partial_suspect,
        };
        *counter += more;
    }

    /// All of them.
    #[must_use]
    pub fn runs(self) -> i64 {
        self.clean + self.suspect + self.partial + self.partial_suspect
    }
}

/// What is kept of the runs that ended in a window that goes on to now.
#[derive(Clone, Debug, Default)]
pub struct Rollup {
    /// The forms of these runs, with how many runs there are.
    pub forms: BTreeMap<FormId, (Form, Counts)>,
    /// What the newest runs of each host say, form by form; hosts in the order of their ids. Values of runs from before the window
    /// are among them.
    pub hosts: Vec<HostForm>,
    /// When the window begins, in microseconds since 1970.
    pub since_us: i64,
    /// Hosts that may be two machines under one id, with their runs of the window.
    pub doubtful: Vec<(HostId, Vec<Seen>)>,
    /// Runs that are clean in this window, as those that shared their machine ended before it. No value is of them.
    pub unshared: Vec<Unshared>,
}

/// What the newest runs of one form of one host say.
#[derive(Clone, Debug)]
pub struct HostForm {
    /// Whose.
    pub host: HostId,
    /// Of which form.
    pub form: FormId,
    last: RunAt,
    /// In bytes, as all hosts together have many values.
    bytes: Vec<u8>,
}

impl HostForm {
    /// What a store has of a host: its newest run, and what [`Kept::encode`] wrote.
    ///
    /// # Errors
    ///
    /// If it did not write this.
    pub fn new(host: HostId, form: FormId, last: RunAt, bytes: &[u8]) -> Result<Self, Invalid> {
        Kept::decode(last, bytes)?;
        Ok(Self { host, form, last, bytes: bytes.to_vec() })
    }

    /// Its newest run of this form, of any quality.
    #[must_use]
    pub fn last(&self) -> RunAt {
        self.last
    }

    /// What they say.
    #[must_use]
    pub fn kept(&self) -> Kept {
        // It was read before, so it can be.
        Kept::decode(self.last, &self.bytes).unwrap_or_else(|_| Kept::new(self.last))
    }
}

/// A run of a host that may be two.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Of which form.
    pub form: FormId,
    /// Whether it is clean in this window.
    pub clean: bool,
    /// Whether it ended before its plan did.
    pub partial: bool,
    /// Where and when it was; `None` if that is not shown.
    pub stay: Option<Stay<i64>>,
}

/// A run that is clean in this window alone.
#[derive(Clone, Debug)]
pub struct Unshared {
    /// Whose.
    pub host: HostId,
    /// Which.
    pub run: RunAt,
}

/// What a check of all that is kept came to.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Checked {
    /// Hosts that were looked at.
    pub hosts: u64,
    /// Runs.
    pub runs: u64,
    /// Values of cells.
    pub values: u64,
    /// What differs from what the runs say, each in a line.
    pub differences: Vec<String>,
}

/// What bringing a store up to date came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Migrated {
    /// The schema that was there.
    pub from: i64,
    /// The one that is there now.
    pub to: i64,
    /// Runs that rollups were made of; 0 if they were there.
    pub rolled_up: u64,
    /// Runs whose reports are damaged, so that they are in none.
    pub damaged: u64,
}
