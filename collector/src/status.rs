//! The one place where errors become gRPC codes.

use fleetmark_proto::{limits, shell};
use tonic::Status;

use crate::store::StoreError;

/// Why a call failed as a whole. None of its reports was answered.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// There is nothing to answer.
    #[error("the batch is empty")]
    Empty,
    /// There are too many reports.
    #[error("the batch has {0} reports, more than {max}", max = limits::BATCH_REPORTS)]
    TooMany(usize),
    /// The store did not take the batch.
    #[error("the store did not take the batch; send it again")]
    Store(#[from] StoreError),
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
        match &error {
            SubmitError::Empty | SubmitError::TooMany(_) => {
                Self::invalid_argument(error.to_string())
            }
            SubmitError::Miscounted { .. } => Self::unavailable(error.to_string()),
            SubmitError::Store(cause) => {
                // What the store says may name files; that is for the operator.
                tracing::error!("{}", shell::one_line(cause));
                Self::unavailable(error.to_string())
            }
        }
    }
}
