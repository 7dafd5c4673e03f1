//! The one place where errors become gRPC codes.

mod registry;

pub use registry::{ControlError, EnrollError};

use std::{
    hash::{BuildHasher as _, RandomState},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use fleetmark_proto::{invalid::Invalid, limits};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{identity::Denied, registry::Refused, store::StoreError};

/// When to come again after a refusal that a moment may cure.
const SOON: Range<Duration> = Duration::from_secs(1)..Duration::from_secs(3);
/// When to come again if the store is at fault, which may take a person.
const LATER: Range<Duration> = Duration::from_secs(10)..Duration::from_secs(30);

/// Why a call is not taken now. The same bytes are welcome later, and the answer says when.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// There are too many calls.
    #[error("the collector works on as many calls as it can")]
    Calls,
    /// Others have fewer calls on their way, or this one was on its way for longer.
    #[error("the request was still on its way when another call needed its place")]
    GaveWay,
    /// There are too many bytes.
    #[error("the collector holds as many bytes of requests as it can")]
    Bytes,
    /// There are too many batches before this one.
    #[error("the collector has as many batches to store as it can hold")]
    Queue,
    /// The collector is about to stop.
    #[error("the collector is shutting down")]
    Draining,
    /// The client is too slow.
    #[error("the request did not arrive in time")]
    SlowRequest,
    /// There are too many readers.
    #[error("the collector serves as many readers as it can")]
    Readers,
    /// The reader is too slow.
    #[error("the answer was not taken in time")]
    SlowReader,
    /// The collector is too slow. The batch may be stored or not.
    #[error("the collector did not answer in time; send the batch again")]
    SlowAnswer,
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::Calls
            | Refusal::GaveWay
            | Refusal::Bytes
            | Refusal::Queue
            | Refusal::Draining
            | Refusal::Readers => Code::Unavailable,
            Refusal::SlowRequest | Refusal::SlowReader | Refusal::SlowAnswer => {
                Code::DeadlineExceeded
            }
        };
        come_again(code, refusal.to_string(), SOON)
    }
}

/// Why a call failed as a whole. None of its reports was answered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SubmitError {
    /// There is nothing to answer.
    #[error("the batch is empty")]
    Empty,
    /// There are too many reports.
    #[error("the batch has {0} reports, more than {max}", max = limits::BATCH_REPORTS)]
    TooMany(usize),
    /// The collector cannot take the batch now.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store did not take the batch. What it says may name files; that is for the operator.
    #[error("the store did not take the batch; send it again")]
    Store(#[source] Arc<StoreError>),
    /// The store took the batch and said too little of it.
    #[error("the store answered {answered} of {sent} reports; send the batch again")]
    Miscounted {
        /// Reports that it was given.
        sent: usize,
        /// Those that it answered.
        answered: usize,
    },
}

impl From<SubmitError> for Status {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Empty | SubmitError::TooMany(_) => {
                Self::invalid_argument(error.to_string())
            }
            SubmitError::Refused(refusal) => refusal.into(),
            SubmitError::Miscounted { .. } | SubmitError::Store(_) => {
                come_again(Code::Unavailable, error.to_string(), LATER)
            }
        }
    }
}

impl From<&Denied> for Status {
    fn from(denied: &Denied) -> Self {
        match denied {
            // It is known, and will not be let in whatever it shows.
            Denied::Role { .. } | Denied::Revoked(_) | Denied::Host(Refused::RevokedHost(_)) => {
                Self::permission_denied(denied.to_string())
            }
            Denied::CannotTell => come_again(Code::Unavailable, denied.to_string(), LATER),
            _ => Self::unauthenticated(denied.to_string()),
        }
    }
}

/// Why nothing, or no more, is read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QueryError {
    /// The request is not valid.
    #[error(transparent)]
    Request(#[from] Invalid),
    /// The store cannot be read. What it says is for the operator.
    #[error("the store cannot be read; the collector's log says why")]
    Store,
}

impl From<QueryError> for Status {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Request(_) => Self::invalid_argument(error.to_string()),
            QueryError::Store => come_again(Code::Unavailable, error.to_string(), LATER),
        }
    }
}

/// A status that says when to come again: some time within these, so that not all come at once.
fn come_again(code: Code, message: String, within: Range<Duration>) -> Status {
    let details = ErrorDetails::with_retry_info(Some(some_time(within)));
    Status::with_error_details(code, message, details)
}

/// A whole number of milliseconds within these, another one each time.
fn some_time(within: Range<Duration>) -> Duration {
    let span = u64::try_from((within.end - within.start).as_millis()).unwrap_or(u64::MAX).max(1);
    // The standard library's hashers are keyed at random, each with another key.
    within.start + Duration::from_millis(RandomState::new().hash_one(()) % span)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn delay(status: &Status) -> Duration {
        status.get_details_retry_info().and_then(|info| info.retry_delay).unwrap()
    }

    #[test]
    fn every_refusal_says_when_to_come_again() {
        for refusal in [
            Refusal::Calls,
            Refusal::GaveWay,
            Refusal::Bytes,
            Refusal::Queue,
            Refusal::Draining,
            Refusal::Readers,
            Refusal::SlowRequest,
            Refusal::SlowReader,
            Refusal::SlowAnswer,
        ] {
            let status = Status::from(SubmitError::from(refusal));
            assert!(SOON.contains(&delay(&status)), "{status:?}");
            assert!(matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded));
            assert_eq!(status.message(), refusal.to_string());
        }
        let missing = Arc::new(StoreError::Missing("/secret/fleet.db".into()));
        let miscounted = SubmitError::Miscounted { sent: 2, answered: 1 };
        for error in [SubmitError::Store(missing), miscounted] {
            let status = Status::from(error);
            assert!(LATER.contains(&delay(&status)), "{status:?}");
            assert_eq!(status.code(), Code::Unavailable);
            assert!(!status.message().contains("secret"), "{status:?}");
        }
    }

    #[test]
    fn what_cannot_get_better_does_not() {
        for error in [SubmitError::Empty, SubmitError::TooMany(257)] {
            let status = Status::from(error);
            assert_eq!(status.code(), Code::InvalidArgument);
            assert!(status.get_details_retry_info().is_none());
        }
    }

    #[test]
    fn delays_differ() {
        let delays: BTreeSet<Duration> = (0..100).map(|_| some_time(SOON)).collect();
        assert!(delays.len() > 80, "{delays:?}");
    }
}
