//! Of joining, and of those who say who may do what.

use std::{error::Error, time::Duration};

use fleetmark_proto::{invalid::Invalid, shell};
use tonic::{Code, Status};

use super::{LATER, come_again};
use crate::{authority::AuthorityError, control::IssueError, registry::Refused, store::StoreError};

/// Why a host gets no certificate.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The request is not what it must be.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The host may not have one.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It, or its address, asks too often; it may again after this.
    #[error("this host, or its address, asks too often")]
    TooOften(Duration),
    /// The store did not answer. What it says may name files; that is for the operator.
    #[error("the collector cannot look up who may join; ask again")]
    Store(#[from] StoreError),
    /// The authority could not sign.
    #[error("the collector cannot sign certificates")]
    Sign(#[source] AuthorityError),
    /// The server did not say who calls.
    #[error("the collector does not know who calls")]
    NobodySays,
}

/// How long past the earliest moment those who ask too often are told to come again, so that not all come at once.
const SPREAD: Duration = Duration::from_secs(15);

impl From<EnrollError> for Status {
    fn from(error: EnrollError) -> Self {
        let message = error.to_string();
        match error {
            EnrollError::Invalid(_) => Self::invalid_argument(message),
            EnrollError::Refused(_) => Self::permission_denied(message),
            EnrollError::TooOften(wait) => {
                come_again(Code::Unavailable, message, wait..wait + SPREAD)
            }
            EnrollError::Store(error) => store(&error, message),
            EnrollError::Sign(error) => internal(&error, message),
            EnrollError::NobodySays => Self::internal(message),
        }
    }
}

/// Why an operator's call failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The request is not what it must be.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// There is no such thing.
    #[error("there is no {0}")]
    Unknown(String),
    /// A token cannot be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The store did not answer. What it says may name files; that is for the operator of the collector's host.
    #[error("the collector's store did not answer; its log says why")]
    Store(#[from] StoreError),
    /// The server did not say who calls.
    #[error("the collector does not know who calls")]
    NobodySays,
}

impl From<ControlError> for Status {
    fn from(error: ControlError) -> Self {
        let message = error.to_string();
        match error {
            ControlError::Invalid(_) | ControlError::Issue(IssueError::Invalid(_)) => {
                Self::invalid_argument(message)
            }
            ControlError::Unknown(_) => Self::not_found(message),
            ControlError::Issue(IssueError::Random(error)) => internal(&error, message),
            ControlError::Issue(_) => Self::failed_precondition(message),
            ControlError::Store(error) => store(&error, message),
            ControlError::NobodySays => Self::internal(message),
        }
    }
}

/// The store may be well again soon. Why it is not is said in the log alone.
fn store(error: &StoreError, message: String) -> Status {
    tracing::error!("who may do what cannot be read or changed: {}", shell::one_line(error));
    come_again(Code::Unavailable, message, LATER)
}

/// Nobody but who has the collector can help.
fn internal(error: &(dyn Error + 'static), message: String) -> Status {
    tracing::error!("{message}: {}", shell::one_line(error));
    Status::internal(message)
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt as _;

    use super::*;

    #[test]
    fn who_asks_too_often_is_told_when_to_come_again() {
        let wait = Duration::from_secs(1);
        let status = Status::from(EnrollError::TooOften(wait));
        assert_eq!(status.code(), Code::Unavailable);
        let delay = status.get_details_retry_info().and_then(|info| info.retry_delay).unwrap();
        assert!((wait..wait + SPREAD).contains(&delay), "{delay:?}");
    }

    #[test]
    fn the_refused_are_told_why_and_nobody_is_told_of_files() {
        let status = Status::from(EnrollError::from(Refused::RevokedToken));
        assert_eq!(status.code(), Code::PermissionDenied);
        assert_eq!(status.message(), Refused::RevokedToken.to_string());
        let missing = || StoreError::Missing("/secret/fleet.db".into());
        let unsigned = AuthorityError::Missing("/secret/authority".into());
        for status in [
            Status::from(EnrollError::from(missing())),
            Status::from(EnrollError::Sign(unsigned)),
            Status::from(ControlError::from(missing())),
        ] {
            assert!(!status.message().contains("secret"), "{status:?}");
        }
    }

    #[test]
    fn operators_are_told_what_is_missing() {
        let code = |error: ControlError| Status::from(error).code();
        assert_eq!(code(ControlError::Unknown("host x".into())), Code::NotFound);
        assert_eq!(code(IssueError::NoEndpoint.into()), Code::FailedPrecondition);
        assert_eq!(code(Invalid::new("uses", "must be").into()), Code::InvalidArgument);
    }
}
