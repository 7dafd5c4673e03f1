//! Where runs are kept. One trait, one suite of tests, one backend so far.

mod row;
mod sqlite;

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use async_trait::async_trait;
use fleetmark_proto::{
    convert::{Encoded, Outcome},
    invalid::Invalid,
    report::Report,
};
use jiff::Timestamp;

/// Clocks that differ by more than this are not the network's doing: then the collector's counts.
const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

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
    /// To read: it must be there, and is not touched.
    Read,
}

/// A store that cannot be opened, read or written. Nothing of the batch at hand was stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such file.
    #[error("there is no store at {}; run `fleetmark-collector local` or `serve` first, or choose another with --store", .0.display())]
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
    #[error("{} was written by an older fleetmark; start `fleetmark-collector serve` on it once to bring it up to date", .0.display())]
    Older(PathBuf),
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

/// A valid report on its way into the store.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRun {
    /// The bytes to keep.
    pub encoded: Encoded,
    /// What they say.
    pub report: Report,
}

/// A run as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRun {
    /// What the agent said, read from the bytes that it sent.
    pub report: Report,
    /// When the collector took it, by the collector's clock.
    pub received_at: Timestamp,
}

impl StoredRun {
    /// When the run ended: by the agent's clock, or where that differs by over five minutes, when the collector took it.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        trusted_time(&self.report, self.received_at)
    }
}

fn trusted_time(report: &Report, received_at: Timestamp) -> Timestamp {
    let apart = received_at.duration_since(report.ended_at).unsigned_abs();
    if apart > CLOCK_SKEW { received_at } else { report.ended_at }
}

/// What every backend can do. All of them pass the suite in this module.
#[async_trait]
pub trait Store: Send + Sync {
    /// Stores a batch in one commit and then tells of each run, in order: stored, duplicate or conflict.
    ///
    /// # Errors
    ///
    /// If the batch could not be committed; then nothing of it is stored.
    async fn put(
        &self,
        batch: Vec<NewRun>,
        received_at: Timestamp,
    ) -> Result<Vec<Outcome>, StoreError>;

    /// The runs that ended at `since` or later, oldest first.
    ///
    /// # Errors
    ///
    /// If the store cannot be read, or holds what was never stored.
    async fn runs(&self, since: Option<Timestamp>) -> Result<Vec<StoredRun>, StoreError>;
}

/// Opens a store.
///
/// # Errors
///
/// If it is not there, is something else, is of another version, or cannot be opened.
pub async fn open(url: &StoreUrl, mode: Mode) -> Result<Arc<dyn Store>, StoreError> {
    let StoreUrl::Sqlite(path) = url.clone();
    let store = tokio::task::spawn_blocking(move || sqlite::Sqlite::open(path, mode)).await??;
    Ok(Arc::new(store))
}

#[cfg(test)]
mod tests;
