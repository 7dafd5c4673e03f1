//! How long a report of a plan becomes at most, told before anything is measured: no collector takes one that is too long.

use fleetmark_proto::{limits, unit::Nanos};

use super::{Passes, Plan, PlanError};
use crate::spawner::Mode;

/// All of a report but its cells and series: labels, texts, evidence.
const REST_BYTES: u64 = 64 * 1024;
/// A cell or series without its samples, with a reason where it failed.
const CELL_BYTES: u64 = 512;

impl Passes {
    /// These passes, with as many rounds for a precision as a report has room for.
    ///
    /// # Errors
    ///
    /// If it has none for those that were asked for.
    pub(super) fn within_a_report(mut self) -> Result<Self, PlanError> {
        let room = u64::try_from(limits::REPORT_BYTES).unwrap_or(u64::MAX);
        let bytes = self.report_bytes();
        if bytes > room {
            let a_round: u64 = self.plans().map(Plan::round_bytes).sum();
            let base = self.plans().map(Plan::base_bytes).fold(REST_BYTES, u64::saturating_add);
            let fits = room.saturating_sub(base).checked_div(a_round).unwrap_or(0);
            return Err(PlanError::TooLong { bytes, fits });
        }
        if let Some(cells) = &mut self.cells {
            let more = (room - bytes).checked_div(cells.round_bytes()).unwrap_or(0);
            let more = u32::try_from(more).unwrap_or(u32::MAX);
            cells.most_rounds = cells.rounds.saturating_add(more).min(limits::ROUNDS);
        }
        Ok(self)
    }

    /// Bytes of a report with all samples of the rounds that were asked for; errs on the side of too many.
    fn report_bytes(&self) -> u64 {
        let samples =
            self.plans().map(|plan| plan.round_bytes().saturating_mul(plan.rounds.into()));
        let bases = self.plans().map(Plan::base_bytes);
        bases.chain(samples).fold(REST_BYTES, u64::saturating_add)
    }
}

impl Plan {
    /// Lists of samples that come of it, one in each cell or series.
    fn lists(&self) -> u64 {
        let of_cell = |mode: Mode| match mode {
            Mode::Split | Mode::BesideTicker => 3,
            Mode::Plain | Mode::FromWorker | Mode::Vector | Mode::ColdPool | Mode::Single => 1,
        };
        self.cells.iter().map(|cell| of_cell(cell.work.mode)).sum()
    }

    fn base_bytes(&self) -> u64 {
        self.lists().saturating_mul(CELL_BYTES)
    }

    /// What one round adds. No sample is longer than the deadline; on the wire a number has seven bits a byte.
    fn round_bytes(&self) -> u64 {
        let bits = u64::BITS - Nanos::from(self.deadline).0.leading_zeros();
        self.lists().saturating_mul(bits.div_ceil(7).into())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fleetmark_proto::{
        convert::{self, Encoded},
        report::{Cell, Report, Usage},
        series::Pass,
    };

    use super::{super::tests::asked, *};
    use crate::{
        measure::{self, Measured},
        plan::{Asked, Preset},
        spawner::{Beside, Lateness, Parts},
    };

    /// What comes of a plan whose samples are all as long as they may be.
    fn measured(plan: &Plan) -> Measured {
        let longest = Nanos::from(plan.deadline);
        let rounds = usize::try_from(plan.rounds).unwrap();
        let whole = Nanos(u64::MAX);
        let usage = Usage {
            user_ns: whole,
            system_ns: whole,
            voluntary_switches: u64::MAX,
            involuntary_switches: u64::MAX,
        };
        let cell = |planned: &crate::plan::PlannedCell| Cell {
            key: planned.key,
            workload: planned.workload,
            units: planned.units,
            samples_ns: vec![longest; rounds],
            cold_ns: Some(longest),
            failure: None,
            threads_reached: Some(u64::MAX),
            usage: Some(usage),
        };
        let ns = longest.0;
        let beside = |planned: &crate::plan::PlannedCell| {
            let told = match planned.work.mode {
                Mode::Split => Beside::Parts(Parts { spawn_ns: ns, run_ns: ns, join_ns: ns }),
                Mode::BesideTicker => Beside::Lateness(Lateness { p99_ns: ns, worst_ns: ns }),
                _ => Beside::Nothing,
            };
            vec![told; rounds]
        };
        Measured {
            cells: plan.cells.iter().map(cell).collect(),
            beside: plan.cells.iter().map(beside).collect(),
            rounds: plan.rounds,
            blocking_pool_ended: false,
            usage: Some(usage),
            peak_memory_bytes: None,
            child_life: Duration::ZERO,
            sampled: Duration::ZERO,
            stopped: None,
        }
    }

    /// Bytes of the longest report that may come of these passes.
    fn encoded_bytes(passes: &Passes) -> u64 {
        let golden = include_bytes!("../../../proto/tests/golden/report-v1.bin");
        let label = |n: usize| (format!("{n:064}"), "v".repeat(limits::LABEL_VALUE_BYTES));
        let series = |(pass, plan): &(Pass, Plan)| measure::series(*pass, plan, &measured(plan));
        let report = Report {
            labels: (0..limits::LABELS).map(label).collect(),
            cells: passes.cells.as_ref().map(|plan| measured(plan).cells).unwrap_or_default(),
            series: passes.beside.iter().flat_map(series).collect(),
            ..convert::decode(golden).unwrap()
        };
        Encoded::new(&report).bytes.len().try_into().unwrap()
    }

    fn all_passes(rounds: u32) -> Asked {
        Asked { rounds, beside: vec![Pass::Diagnose, Pass::Neighbours, Pass::Grain], ..asked() }
    }

    #[test]
    fn no_report_is_longer_than_was_told_before() {
        let eleven = Asked { rounds: limits::ROUNDS, ..asked() };
        let grain = Asked { preset: Some(Preset::Grain), rounds: 3_000, ..asked() };
        for asked in [all_passes(1), all_passes(1_000), eleven, grain] {
            let passes = Passes::new(&asked, 64).unwrap();
            let (told, is) = (passes.report_bytes(), encoded_bytes(&passes));
            assert!(is <= told, "{is} bytes, and {told} were told");
            let spare: u64 = passes.plans().map(Plan::base_bytes).sum();
            assert!(told - is <= REST_BYTES + spare, "{is} bytes, and {told} were told");
        }
    }

    #[test]
    fn what_no_collector_takes_is_refused_before_it_is_measured() {
        let Err(PlanError::TooLong { bytes, fits }) = Passes::new(&all_passes(10_000), 64) else {
            panic!("it is no plan");
        };
        assert!(bytes > 2 * 1024 * 1024);
        let fits = u32::try_from(fits).unwrap();
        assert!(Passes::new(&all_passes(fits), 64).is_ok());
        assert!(Passes::new(&all_passes(fits + 1), 64).is_err());
    }

    #[test]
    fn a_precision_asks_for_no_more_rounds_than_a_report_has_room_for() {
        let most = |asked: &Asked| Passes::new(asked, 64).unwrap().cells.unwrap();
        assert_eq!(most(&asked()).most_rounds, limits::ROUNDS);
        let cells = most(&all_passes(1_000));
        assert!((1_001..limits::ROUNDS).contains(&cells.most_rounds), "{}", cells.most_rounds);
        let mut passes = Passes::new(&all_passes(1_000), 64).unwrap();
        passes.cells = Some(Plan { rounds: cells.most_rounds, ..cells });
        assert!(encoded_bytes(&passes) <= u64::try_from(limits::REPORT_BYTES).unwrap());
    }
}
