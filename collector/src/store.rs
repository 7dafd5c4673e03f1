//! Where runs are kept. One trait, one suite of tests, one backend so far.

mod clocks;
pub mod rollup;
mod row;
mod sqlite;

pub use clocks::{Clocks, Skew};

use std::{
    collections::BTreeMap, error::Error, fmt, path::PathBuf, str::FromStr, sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use fleetmark_proto::{
    convert::{Encoded, Outcome},
    id::{HostId, ProfileId, ReportId},
    invalid::Invalid,
    limits,
    report::Report,
};
use jiff::Timestamp;
use serde::Serialize;

use crate::registry::Registry;
use rollup::{Checked, Extract, Migrated, Rollup};

/// A store, as it is typed: `sqlite:FILE`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StoreUrl {
    /// A file of SQLite's.
    Sqlite(PathBuf),
}

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(PathBuf::from(path))),
            Some(("postgres" | "postgresql", _)) => {
                Err("PostgreSQL is not supported by this version; use sqlite:FILE".to_owned())
            }
            _ => Err("must be sqlite:FILE".to_owned()),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
        }
    }
}

/// What a store is opened for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// To write: it is created and brought up to date where needed.
    Write,
    /// To bring it up to date: it must be there.
    Update,
    /// To change what is there: it must be there, and up to date.
    Change,
    /// To read: it must be there, and is not touched.
    Read,
}

/// A store that cannot be opened, read or written. Nothing of the batch at hand was stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such file.
    #[error("there is no store at {}; run `fleetmark-collector serve` or `local` first, or choose another with --store", .0.display())]
    Missing(PathBuf),
    /// The file is something else.
    #[error("{} is not a fleetmark store; choose another with --store", .0.display())]
    NotAStore(PathBuf),
    /// The file was written by a version with more migrations.
    #[error("{} was written by a newer fleetmark (schema {found}, this one knows {known}); upgrade this one", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The newest migration in it.
        found: i64,
        /// The newest migration that this version has.
        known: i64,
    },
    /// The file lacks migrations, and was opened to read only.
    #[error("{} was written by an older fleetmark; `fleetmark-collector migrate` brings it up to date", .0.display())]
    Older(PathBuf),
    /// There is no room for what a store needs to be opened.
    #[error("the disk is full: {} cannot be opened until there is some room", .0.display())]
    Full(PathBuf),
    /// The file cannot be opened.
    #[error("cannot open {}", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The migrations failed.
    #[error("cannot bring {} up to date", .path.display())]
    Migrate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<refinery::Error>,
    },
    /// A value is not what was once stored.
    #[error("the store is damaged: table {table}, column {column}, row {row}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's key.
        row: String,
        /// What is wrong with the value.
        source: Invalid,
    },
    /// SQLite refused.
    #[error("the store failed")]
    Sqlite(#[from] rusqlite::Error),
    /// The thread that used the store is gone.
    #[error("the store's thread panicked")]
    Panicked(#[from] tokio::task::JoinError),
}

impl StoreError {
    /// Whether another process held the store for as long as anybody waits: then the next try would wait as long.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
        match self {
            Self::Sqlite(error) | Self::Open { source: error, .. } => {
                matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked))
            }
            _ => false,
        }
    }

    /// Whether a full disk is at fault: then it works when there is room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_)) || lacks_room(self)
    }
}

/// Whether SQLite says that there is no room, in an error or in what caused it.
fn lacks_room(error: &(dyn Error + 'static)) -> bool {
    // The index of the log has a code of its own for that.
    let says_so = error.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error);
    let is_full = says_so.is_some_and(|error| {
        error.code == rusqlite::ErrorCode::DiskFull
            || error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
    });
    is_full || error.source().is_some_and(lacks_room)
}

/// A valid report on its way into the store: its bytes, and what of them a store selects by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewRun {
    encoded: Encoded,
    host: HostId,
    profile: ProfileId,
    extract: Extract,
    clocks: Clocks,
    time: Timestamp,
    proven: bool,
}

impl NewRun {
    /// `report` is what the bytes say.
    #[must_use]
    pub fn new(encoded: Encoded, report: &Report, clocks: Clocks) -> Self {
        Self {
            encoded,
            host: report.host.id.clone(),
            profile: report.profile.id.clone(),
            extract: Extract::of(report),
            clocks,
            time: clocks.trusted(report.ended_at),
            proven: false,
        }
    }

    /// The same, brought by somebody who has proved to be its host.
    #[must_use]
    pub fn proven(self) -> Self {
        Self { proven: true, ..self }
    }

    /// Whose run it is.
    #[must_use]
    pub fn host(&self) -> &HostId {
        &self.host
    }
}

/// A run as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRun {
    /// What the agent said, read from the bytes that it sent. Labels that the host joined with stand over what it says itself.
    pub report: Report,
    /// When the collector took it, by the collector's clock.
    pub received_at: Timestamp,
    /// When the agent sent it, by the agent's clock; `None` if it did not tell.
    pub sent_at: Option<Timestamp>,
}

impl StoredRun {
    /// When the run ended, by the clock that can be trusted (see [`Clocks::trusted`]), cut to the microseconds that a store keeps.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        clocks::cut(self.clocks().trusted(self.report.ended_at))
    }

    /// How far the agent's clock was off the collector's, where that is more than five minutes: see [`Clocks::skew`].
    #[must_use]
    pub fn clock_skew(&self) -> Option<Skew> {
        self.clocks().skew()
    }

    fn clocks(&self) -> Clocks {
        Clocks::new(self.received_at, self.sent_at)
    }
}

/// A run as it is kept, its report unread: for those who pass it on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeptRun {
    /// An encoded `fleetmark.v1.Report`, as its agent sent it.
    pub report: Vec<u8>,
    /// When the collector took it, by the collector's clock.
    pub received_at: Timestamp,
    /// When the agent sent it, by the agent's clock; `None` if it did not tell.
    pub sent_at: Option<Timestamp>,
    /// Labels that the host joined with, which stand over those in the report.
    pub labels: BTreeMap<String, String>,
    /// Where reading goes on behind it.
    pub place: Place,
}

/// A place in the order of runs: by when they ended, those of one time by their ids.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    time_us: i64,
    /// Empty: before all runs of that time.
    report_id: Vec<u8>,
}

impl Place {
    /// Before the first run that ended at `since` or later.
    #[must_use]
    pub fn before(since: Option<Timestamp>) -> Self {
        Self { time_us: since.map_or(i64::MIN, row::microseconds), report_id: Vec::new() }
    }
}

/// What is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Retention {
    /// Runs that ended before, by the clock that can be trusted, go; and lines of the audit trail that were written before.
    pub runs_before: Timestamp,
    /// Deduplication keys go that have no run any more, if they were made before and belong to reports that were, by their ids.
    pub keys_before: Timestamp,
}

impl Retention {
    /// Keeps runs for this long, and every key for as long as its report may come again.
    #[must_use]
    pub fn of(keep: Duration, now: Timestamp) -> Self {
        let before = |age| now.checked_sub(age).unwrap_or(Timestamp::MIN);
        Self { runs_before: before(keep), keys_before: before(limits::RECEIPT_AGE) }
    }
}

/// What was removed, or would be.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Pruned {
    /// Runs.
    pub runs: u64,
    /// Deduplication keys.
    pub keys: u64,
    /// Lines of the audit trail.
    pub audit: u64,
}

/// What every backend can do. All of them pass the suite in this module.
#[async_trait]
pub trait Store: Send + Sync {
    /// Stores runs in one commit and then tells of each, in order: stored, duplicate or conflict; or rejected, where what is
    /// kept of it is so damaged that nobody can tell.
    ///
    /// # Errors
    ///
    /// If they could not be committed; then none of them is stored.
    async fn put(&self, runs: Vec<Arc<NewRun>>) -> Result<Vec<Outcome>, StoreError>;

    /// The runs that ended at `since` or later, oldest first.
    ///
    /// # Errors
    ///
    /// If the store cannot be read, or holds what was never stored.
    async fn runs(&self, since: Option<Timestamp>) -> Result<Vec<StoredRun>, StoreError>;

    /// Those of these runs that are there, in no order that means anything.
    ///
    /// # Errors
    ///
    /// If the store cannot be read, or holds what was never stored.
    async fn runs_by_id(&self, ids: Vec<ReportId>) -> Result<Vec<StoredRun>, StoreError>;

    /// What is kept of the runs that ended at `since` or later, so that not all of them need be read. It says what they say. `None` if
    /// it is not there for all runs.
    ///
    /// # Errors
    ///
    /// If the store cannot be read, or holds what was never stored.
    async fn rollup(&self, since: Option<Timestamp>) -> Result<Option<Rollup>, StoreError>;

    /// Makes anew what is kept beside runs, and counts these.
    ///
    /// # Errors
    ///
    /// If the store cannot be changed, or holds what was never stored. Then the next who opens it to write goes on from there.
    async fn rebuild(&self) -> Result<u64, StoreError>;

    /// Compares what is kept beside runs with what these say.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    async fn check(&self) -> Result<Checked, StoreError>;

    /// The next runs behind this place, oldest first, unread: as many as make up this many bytes, at least one; none at the
    /// end. Whoever goes on behind the last of them meets each run once that was there all the time.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    async fn page(&self, behind: Place, bytes: usize) -> Result<Vec<KeptRun>, StoreError>;

    /// How much of its disk the store takes, in bytes.
    ///
    /// # Errors
    ///
    /// If that cannot be read.
    async fn size_bytes(&self) -> Result<u64, StoreError>;

    /// How many runs ended at `since` or later; none of them is read.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    async fn count(&self, since: Option<Timestamp>) -> Result<u64, StoreError>;

    /// What [`Store::prune`] would remove.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    async fn expired(&self, retention: Retention) -> Result<Pruned, StoreError>;

    /// Removes what is older, a little at a time, so that nobody who stores waits long.
    ///
    /// # Errors
    ///
    /// If the store cannot be changed. What was removed before stays removed; the next try goes on from there.
    async fn prune(&self, retention: Retention) -> Result<Pruned, StoreError>;
}

/// What a store holds: the runs, and who may do what.
pub type Opened = (Arc<dyn Store>, Arc<dyn Registry>);

/// Opens a store for its runs.
///
/// # Errors
///
/// If it is not there, is something else, is of another version, or cannot be opened.
pub async fn open(url: &StoreUrl, mode: Mode) -> Result<Arc<dyn Store>, StoreError> {
    Ok(open_both(url, mode).await?.0)
}

/// Opens a store for all that it holds, over one connection.
///
/// # Errors
///
/// If it is not there, is something else, is of another version, or cannot be opened.
pub async fn open_both(url: &StoreUrl, mode: Mode) -> Result<Opened, StoreError> {
    let StoreUrl::Sqlite(path) = url.clone();
    let store = tokio::task::spawn_blocking(move || sqlite::Sqlite::open(path, mode)).await??;
    let store = Arc::new(store);
    Ok((store.clone(), store))
}

/// Brings a store up to date that is there. With `rebuild` what is kept beside runs is made anew in any case.
///
/// # Errors
///
/// If it is not there, is something else, is of a newer version, or cannot be changed.
pub async fn migrate(url: &StoreUrl, rebuild: bool) -> Result<Migrated, StoreError> {
    let StoreUrl::Sqlite(path) = url.clone();
    tokio::task::spawn_blocking(move || sqlite::Sqlite::migrate(path, rebuild)).await?
}

#[cfg(test)]
mod tests;
