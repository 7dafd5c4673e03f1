//! What a spool cannot do, in a line for a person.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use fleetmark_proto::id::ReportId;

use super::{Bounds, Usage, record};

/// The spool cannot do what was asked. Whatever was in it is still in it.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// There is no room within the bounds for one more report.
    #[error(
        "the spool in {} is full: {}; deliver them with `spool flush`, look at `spool quarantine`, or raise --spool-bytes or --spool-files",
        .folder.display(), Held(.usage, .bounds)
    )]
    Full {
        /// The spool's folder.
        folder: PathBuf,
        /// What it holds.
        usage: Usage,
        /// What it may hold.
        bounds: Bounds,
    },
    /// The bounds leave no room for any report.
    #[error(
        "a spool of {} bytes and {} files has no room for any report: give it --spool-bytes {} and --spool-files 1, or more",
        .bounds.bytes, .bounds.files, record::most_record_bytes()
    )]
    TooSmall {
        /// What it may hold.
        bounds: Bounds,
    },
    /// The disk has no space, the user's quota on it has none, or the process may make no file of that size.
    #[error("the disk of the spool in {} is full: free some space, or choose another folder with --state-dir", .folder.display())]
    DiskFull {
        /// The spool's folder.
        folder: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The folder cannot be a spool's, for this user.
    #[error("cannot keep reports in {}, {why}; choose another folder with --state-dir", .folder.display())]
    Unusable {
        /// The spool's folder.
        folder: PathBuf,
        /// Why.
        why: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// A call failed that should not.
    #[error("cannot {doing} in the spool in {}", .folder.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The spool's folder.
        folder: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A report is larger than any collector takes, and does not even fit into the quarantine.
    #[error("a report of {bytes} bytes is larger than any collector takes, and the spool in {} has no room to keep it: raise --spool-bytes", .folder.display())]
    TooLarge {
        /// The spool's folder.
        folder: PathBuf,
        /// Bytes of the encoded report.
        bytes: u64,
    },
    /// A report of this id waits already.
    #[error("a report {id} waits in the spool already")]
    Exists {
        /// The report.
        id: ReportId,
    },
    /// A record cannot be delivered by this agent, as it is damaged, too large, or another version's.
    #[error("the record of report {id} is left where it is: {why}")]
    Undeliverable {
        /// The report.
        id: ReportId,
        /// Why.
        why: String,
    },
}

impl SpoolError {
    /// What an error of the operating system means for who uses the spool.
    pub(super) fn from_io(folder: &Path, doing: &'static str, source: io::Error) -> Self {
        use io::ErrorKind as Kind;
        let folder = folder.to_owned();
        let why = match source.kind() {
            Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => {
                return Self::DiskFull { folder, source };
            }
            Kind::PermissionDenied => "where this user may not write",
            Kind::ReadOnlyFilesystem => "which can only be read",
            Kind::NotADirectory => "as it is a file or lies under one",
            _ => return Self::Io { doing, folder, source },
        };
        Self::Unusable { folder, why, source }
    }
}

/// What is in the way, in words.
struct Held<'a>(&'a Usage, &'a Bounds);

impl fmt::Display for Held<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(Usage { waiting, quarantined, reserved, bytes }, bounds) = self;
        write!(f, "{waiting} waiting, {quarantined} in quarantine")?;
        if *reserved > 0 {
            write!(f, ", room is held for {reserved} being measured")?;
        }
        let files = self.0.files();
        write!(f, " ({bytes} of {} bytes, {files} of {} files)", bounds.bytes, bounds.files)
    }
}
