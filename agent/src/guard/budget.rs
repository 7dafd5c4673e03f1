//! How many CPU seconds a daemon may use a day, and how many it has used.

use std::{
    fmt, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fleetmark_proto::unit::Nanos;
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};

/// CPU time that runs may use a day.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Budget {
    /// So much, however many CPUs there are.
    Whole(Duration),
    /// So much for each CPU that the agent may use.
    PerCpu(Duration),
}

impl Budget {
    /// What a host with this many usable CPUs has a day.
    #[must_use]
    pub fn of(self, cpus: u32) -> Nanos {
        match self {
            Self::Whole(time) => Nanos::from(time),
            Self::PerCpu(time) => Nanos(Nanos::from(time).0.saturating_mul(cpus.into())),
        }
    }
}

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (time, wrap): (&str, fn(Duration) -> Self) = match text.strip_suffix("/cpu") {
            Some(time) => (time, Self::PerCpu),
            None => (text, Self::Whole),
        };
        let wrong = |_| "must be CPU time a day, such as 10m, or for each CPU: 60s/cpu".to_owned();
        fleetmark_proto::shell::value::duration(time).map(wrap).map_err(wrong)
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(time) => write!(f, "{}s", time.as_secs_f64()),
            Self::PerCpu(time) => write!(f, "{}s/cpu", time.as_secs_f64()),
        }
    }
}

/// What was used today, kept in a file so that a daemon that is started again does not begin anew. Whoever writes it
/// holds the lock of runs.
#[derive(Clone, Debug)]
pub struct Ledger {
    path: PathBuf,
    /// What could not be written; all clones know it.
    unwritten: Arc<Mutex<Option<Page>>>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Page {
    /// In UTC.
    day: Date,
    used_ns: u64,
}

impl Ledger {
    /// The ledger of this state folder; the file need not be there.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join("agent").join("cpu-today.json"), unwritten: Arc::default() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was used on the day of `now`. A ledger that cannot be read holds what could not be written, and is written anew; a
    /// clock that was set back has its day before it again.
    #[must_use]
    pub fn used(&self, now: Timestamp) -> Nanos {
        let written = fs::read(&self.path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let pages: [Option<Page>; 2] = [written, *self.unwritten()];
        let today = pages.into_iter().flatten().filter(|page| page.day == day_of(now));
        Nanos(today.map(|page| page.used_ns).max().unwrap_or(0))
    }

    /// Writes down what was used on the day of `now`. It need not outlive the host, only this process: nothing is synced.
    ///
    /// # Errors
    ///
    /// If the file cannot be written. It is kept in memory then.
    pub fn write(&self, now: Timestamp, used: Nanos) -> io::Result<()> {
        let page = Page { day: day_of(now), used_ns: used.0 };
        let written = self.put(&page);
        *self.unwritten() = written.is_err().then_some(page);
        written
    }

    fn put(&self, page: &Page) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec(page)?)?;
        file.persist(&self.path).map_err(|error| error.error)?;
        Ok(())
    }

    fn unwritten(&self) -> MutexGuard<'_, Option<Page>> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn day_of(time: Timestamp) -> Date {
    time.to_zoned_datetime(TimeZone::UTC).date()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_whole_or_for_each_cpu() {
        let of = |text: &str| text.parse::<Budget>().unwrap().of(64);
        assert_eq!(of("10m"), Nanos(600_000_000_000));
        assert_eq!(of("60s/cpu"), Nanos(64 * 60_000_000_000));
        for wrong in ["", "60", "0s/cpu", "60s/core", "-1s"] {
            assert!(wrong.parse::<Budget>().is_err(), "{wrong}");
        }
        assert_eq!("1m/cpu".parse::<Budget>().unwrap().to_string(), "60s/cpu");
    }

    #[test]
    fn a_ledger_outlives_its_process_and_not_its_day() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("agent")).unwrap();
        let today: Timestamp = "2026-11-25T23:00:00Z".parse().unwrap();
        let tomorrow: Timestamp = "2026-11-26T00:00:00Z".parse().unwrap();
        let ledger = Ledger::new(folder.path());
        assert_eq!(ledger.used(today), Nanos(0));
        ledger.write(today, Nanos(7)).unwrap();
        let again = Ledger::new(folder.path());
        assert_eq!(again.used(today), Nanos(7));
        assert_eq!(again.used(tomorrow), Nanos(0));
        fs::write(&again.path, "damaged").unwrap();
        assert_eq!(again.used(today), Nanos(0));
    }
    #[test]
    fn what_cannot_be_written_counts_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("agent");
        fs::write(&place, "a file").unwrap();
        let now = Timestamp::now();
        let ledger = Ledger::new(folder.path());
        ledger.write(now, Nanos(7)).unwrap_err();
        assert_eq!(ledger.clone().used(now), Nanos(7));
        fs::remove_file(&place).unwrap();
        fs::create_dir(&place).unwrap();
        ledger.write(now, ledger.used(now)).unwrap();
        assert_eq!(Ledger::new(folder.path()).used(now), Nanos(7));
        fs::remove_file(ledger.path()).unwrap();
        assert_eq!(ledger.used(now), Nanos(0), "what was written is its owner's to change");
    }
}
