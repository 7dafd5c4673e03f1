//! Where operators have things changed: in the store beside their command, or by a collector. What comes of it is the same.

use fleetmark_agent::command::Stopped;
use fleetmark_proto::{
    control::{Created, NewToken, Revoked, Revoking},
    token::TokenId,
};
use jiff::Timestamp;

use crate::{
    args::SourceArgs,
    authority::AuthorityError,
    control::{By, Desk, IssueError, Issuing},
    identity::Address,
    remote::{Remote, RemoteError},
    status::ControlError,
    store::{self, Mode},
};

/// Who changes what an operator wants changed.
pub(super) enum Counter {
    /// This command.
    Here(Desk),
    /// A collector.
    Server(Remote),
}

/// What was wanted was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum CounterError {
    /// Here.
    #[error(transparent)]
    Here(#[from] ControlError),
    /// By a collector.
    #[error(transparent)]
    Server(#[from] RemoteError),
}

impl CounterError {
    /// Whether there is no such token.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self, Self::Here(ControlError::Unknown(_)) | Self::Server(RemoteError::Unknown(_)))
    }

    /// How the command ends.
    pub(super) fn stopped(self) -> Stopped {
        use IssueError::{NoEndpoint, WrongEndpoint};
        match self {
            Self::Here(ControlError::Issue(error @ (NoEndpoint | WrongEndpoint(_)))) => {
                Stopped::usage(&error)
            }
            Self::Here(ControlError::Store(error)) => Stopped::from(error),
            error => Stopped::from(error),
        }
    }
}

impl Counter {
    /// Opens the store to change what is there, or connects to the collector. A new store somewhere else would make tokens that
    /// no collector knows.
    pub(super) async fn open(
        source: &SourceArgs,
        issuing: impl FnOnce() -> Result<Issuing, AuthorityError>,
    ) -> Result<Self, Stopped> {
        match source {
            SourceArgs::Store(url) => {
                let issuing = issuing()?;
                let (_, registry) = store::open_both(url, Mode::Change).await?;
                Ok(Self::Here(Desk::new(registry, issuing)))
            }
            SourceArgs::Server(url, access) => {
                let remote = Remote::connect(url, access).await;
                remote.map(Self::Server).map_err(|error| match error.is_usage() {
                    true => Stopped::usage(&error),
                    false => Stopped::from(error),
                })
            }
        }
    }

    pub(super) async fn create_token(&self, asked: NewToken) -> Result<Created, CounterError> {
        Ok(match self {
            Self::Here(desk) => desk.create_token(asked, &here()).await?,
            Self::Server(remote) => remote.create_token(asked).await?,
        })
    }

    pub(super) async fn revoke_token(&self, id: &TokenId) -> Result<bool, CounterError> {
        Ok(match self {
            Self::Here(desk) => desk.revoke_token(id.clone(), &here()).await?,
            Self::Server(remote) => remote.revoke_token(id).await?,
        })
    }

    pub(super) async fn revoke(&self, revoking: Revoking) -> Result<Revoked, CounterError> {
        Ok(match self {
            Self::Here(desk) => desk.revoke(revoking, &here()).await?,
            Self::Server(remote) => remote.revoke(revoking).await?,
        })
    }
}

/// Whoever runs this command, now. Who may write the store may say so.
pub(super) fn here() -> By {
    let who = format!("user {}", rustix::process::geteuid().as_raw());
    By { who, address: Address::Here, at: Timestamp::now() }
}
