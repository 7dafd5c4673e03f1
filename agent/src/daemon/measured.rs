//! What of a host was measured last, kept so that a daemon that is started again knows whether anything is new.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use fleetmark_proto::{
    id::HostId,
    report::{Build, Report},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::private;

/// What a measurement stands for: where any of it changes, the host is measured again.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Subject {
    /// Release of the kernel.
    pub(super) kernel: Option<String>,
    /// Revision of the CPU's microcode.
    pub(super) microcode: Option<String>,
    /// What is measured with; of it, the part that keys medians.
    pub(super) build: String,
    /// Id of the hardware profile.
    pub(super) profile: String,
}

impl Subject {
    /// What this host is with this build.
    #[must_use]
    pub(super) fn new(
        system: &fleetmark_proto::report::System,
        build: &Build,
        profile: &str,
    ) -> Self {
        Self {
            kernel: system.kernel.clone(),
            microcode: system.microcode.clone(),
            build: build.key(),
            profile: profile.to_owned(),
        }
    }

    /// The parts in which this differs from what was measured before.
    #[must_use]
    pub(super) fn changes(&self, before: &Self) -> Vec<&'static str> {
        let Self { kernel, microcode, build, profile } = self;
        [
            ("kernel", *kernel != before.kernel),
            ("microcode", *microcode != before.microcode),
            ("build", *build != before.build),
            ("profile", *profile != before.profile),
        ]
        .into_iter()
        .filter_map(|(name, changed)| changed.then_some(name))
        .collect()
    }
}

/// The last whole run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Last {
    /// What was measured.
    pub(super) subject: Subject,
    /// When it ended, by this host's clock.
    pub(super) ended_at: Timestamp,
}

impl Last {
    /// What a report says was measured.
    #[must_use]
    pub(super) fn of(report: &Report) -> Self {
        let profile = report.profile.id.as_str();
        let subject = Subject::new(&report.system, &report.build, profile);
        Self { subject, ended_at: report.ended_at }
    }
}

/// The file in which the last run of one host is kept. Two daemons may share a folder under two host ids.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    /// What could not be written; it counts for as long as the daemon stays.
    unwritten: Option<Last>,
}

impl Record {
    /// The record of this host; it need not be there.
    #[must_use]
    pub(super) fn new(state_dir: &Path, host: &HostId) -> Self {
        let path = state_dir.join("agent").join("measured").join(format!("{host}.json"));
        Self { path, unwritten: None }
    }

    /// What was measured last; `None` if nothing was, or if the file cannot be read, as measuring once too often is the
    /// lesser evil.
    #[must_use]
    pub(super) fn read(&self) -> Option<Last> {
        self.unwritten.clone().or_else(|| serde_json::from_slice(&fs::read(&self.path).ok()?).ok())
    }

    /// The same by a clock that may have been set back. An end that lies ahead of it is now, once and for all: time would not
    /// count from it for as long as the clock is behind.
    pub(super) fn read_at(&mut self, now: Timestamp) -> Option<Last> {
        let mut last = self.read()?;
        if last.ended_at > now {
            last.ended_at = now;
            // If it cannot be written, it is held.
            let _ = self.write(&last);
        }
        Some(last)
    }

    /// Keeps what was measured last.
    ///
    /// # Errors
    ///
    /// If the file cannot be written. It is kept in memory then.
    pub(super) fn write(&mut self, last: &Last) -> io::Result<()> {
        let written = self.put(last);
        self.unwritten = written.is_err().then(|| last.clone());
        written
    }

    fn put(&self, last: &Last) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        private::folder(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec(last)?)?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|error| error.error)?;
        fs::File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject {
            kernel: Some("6.18".into()),
            microcode: None,
            build: "meter 1".into(),
            profile: "0123456789ab".into(),
        }
    }

    #[test]
    fn changes_are_named() {
        assert_eq!(subject().changes(&subject()), [""; 0]);
        let other = Subject {
            kernel: Some("6.19".into()),
            microcode: Some("0x1".into()),
            build: "meter 2".into(),
            profile: "ba9876543210".into(),
        };
        assert_eq!(other.changes(&subject()), ["kernel", "microcode", "build", "profile"]);
    }

    #[test]
    fn a_record_is_of_one_host_and_outlives_damage() {
        let folder = tempfile::tempdir().unwrap();
        let record = |host: &str| Record::new(folder.path(), &host.parse().unwrap());
        assert_eq!(record("a").read(), None);
        let last = Last { subject: subject(), ended_at: Timestamp::now() };
        record("a").write(&last).unwrap();
        assert_eq!(record("a").read(), Some(last));
        assert_eq!(record("..").read(), None);
        fs::write(&record("a").path, "{").unwrap();
        assert_eq!(record("a").read(), None);
    }

    #[test]
    fn what_cannot_be_written_is_held() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("agent/measured");
        fs::create_dir(folder.path().join("agent")).unwrap();
        fs::write(&place, "a file").unwrap();
        let mut record = Record::new(folder.path(), &"a".parse().unwrap());
        let last = Last { subject: subject(), ended_at: Timestamp::now() };
        record.write(&last).unwrap_err();
        assert_eq!(record.read(), Some(last.clone()));
        fs::remove_file(&place).unwrap();
        record.write(&last).unwrap();
        fs::remove_dir_all(&place).unwrap();
        assert_eq!(record.read(), None, "what was written is another daemon's to change");
    }
}
