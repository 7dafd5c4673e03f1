//! Where a command reads: beside the store, or over the wire. What it says is the same.

use std::sync::Arc;

use fleetmark_agent::delivery::DeliveryError;
use jiff::Timestamp;

use crate::{
    args::SourceArgs,
    remote::{Remote, RemoteError},
    store::{self, Mode, Store, StoreError, StoredRun},
};

/// Where a command reads.
pub enum Source {
    /// A store on this host.
    Store(Arc<dyn Store>),
    /// A collector.
    Server(Remote),
}

/// What was to be read cannot be.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The collector did, or the way to it.
    #[error(transparent)]
    Server(#[from] RemoteError),
}

impl SourceError {
    /// Whether what was typed cannot be done, whatever answers.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        use DeliveryError::{NeedsInsecure, NobodyBelieved};
        match self {
            Self::Server(RemoteError::Access(_)) => true,
            Self::Server(RemoteError::Collector(error)) => {
                matches!(error, NeedsInsecure { .. } | NobodyBelieved { .. })
            }
            Self::Server(_) | Self::Store(_) => false,
        }
    }
}

impl Source {
    /// Opens the store to read, or connects to the collector.
    ///
    /// # Errors
    ///
    /// If the store cannot be opened, or the collector cannot be reached or believed.
    pub async fn open(arguments: &SourceArgs) -> Result<Self, SourceError> {
        Ok(match arguments {
            SourceArgs::Store(url) => Self::Store(store::open(url, Mode::Read).await?),
            SourceArgs::Server(url, access) => {
                Self::Server(Remote::connect(url.clone(), access).await?)
            }
        })
    }

    /// The runs that ended at `since` or later, oldest first.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub async fn runs(&self, since: Option<Timestamp>) -> Result<Vec<StoredRun>, SourceError> {
        Ok(match self {
            Self::Store(store) => store.runs(since).await?,
            Self::Server(remote) => remote.runs(since).await?,
        })
    }
}
