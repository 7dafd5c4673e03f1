//! Where a command reads: beside the store, or over the wire. What it says is the same.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    args::SourceArgs,
    registry::{AuditEntry, KnownAgent, KnownToken, Registry, RevokedSubject},
    remote::{Remote, RemoteError},
    store::{self, Mode, Store, StoreError, StoredRun},
    view::{self, Draft, Filter, Question, View},
};

/// Where a command reads.
pub enum Source {
    /// A store on this host.
    Store(Arc<dyn Store>, Arc<dyn Registry>),
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
        matches!(self, Self::Server(error) if error.is_usage())
    }
}

/// Medians per profile from what a store keeps of each host. `None` where that does not answer the question, or is not there: then the
/// runs do, which say the same.
///
/// # Errors
///
/// If the store cannot be read, or what it keeps is damaged.
pub async fn kept_medians(
    store: &dyn Store,
    filter: &Filter,
    question: &Question,
    now: Timestamp,
) -> Result<Option<View>, StoreError> {
    if !filter.is_kept(question) {
        return Ok(None);
    }
    let Some(rollup) = store.rollup(filter.since).await? else { return Ok(None) };
    let unshared = store.runs_by_id(view::unshared(&rollup)).await?;
    let Some(draft) = Draft::new(&rollup, &unshared, filter, question) else { return Ok(None) };
    let runs = store.runs_by_id(draft.lacks().iter().copied().collect()).await?;
    Ok(draft.view(&runs, now))
}

impl Source {
    /// Opens the store to read, or connects to the collector.
    ///
    /// # Errors
    ///
    /// If the store cannot be opened, or the collector cannot be reached or believed.
    pub async fn open(arguments: &SourceArgs) -> Result<Self, SourceError> {
        Ok(match arguments {
            SourceArgs::Store(url) => {
                let (store, registry) = store::open_both(url, Mode::Read).await?;
                Self::Store(store, registry)
            }
            SourceArgs::Server(url, access) => Self::Server(Remote::connect(url, access).await?),
        })
    }

    /// The runs that ended at `since` or later, oldest first.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub async fn runs(&self, since: Option<Timestamp>) -> Result<Vec<StoredRun>, SourceError> {
        Ok(match self {
            Self::Store(store, _) => store.runs(since).await?,
            Self::Server(remote) => remote.runs(since).await?,
        })
    }

    /// Medians per profile as [`kept_medians`] has them, which is only beside the store.
    ///
    /// # Errors
    ///
    /// If the store cannot be read, or what it keeps is damaged.
    pub async fn kept_medians(
        &self,
        filter: &Filter,
        question: &Question,
        now: Timestamp,
    ) -> Result<Option<View>, StoreError> {
        match self {
            Self::Store(store, _) => kept_medians(&**store, filter, question, now).await,
            Self::Server(_) => Ok(None),
        }
    }

    /// All tokens, newest first.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub async fn tokens(&self) -> Result<Vec<KnownToken>, SourceError> {
        Ok(match self {
            Self::Store(_, registry) => registry.tokens().await?,
            Self::Server(remote) => remote.tokens().await?,
        })
    }

    /// All hosts that joined, by their ids, and whose certificates of other authorities are refused.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub async fn agents(&self) -> Result<(Vec<KnownAgent>, Vec<RevokedSubject>), SourceError> {
        Ok(match self {
            Self::Store(_, registry) => (registry.agents().await?, registry.revoked().await?),
            Self::Server(remote) => remote.agents().await?,
        })
    }

    /// The audit trail from then on, oldest first.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub async fn audit(&self, since: Option<Timestamp>) -> Result<Vec<AuditEntry>, SourceError> {
        Ok(match self {
            Self::Store(_, registry) => registry.audit(since).await?,
            Self::Server(remote) => remote.audit(since).await?,
        })
    }
}
