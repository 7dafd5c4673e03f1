//! What became of everything that came.

use std::sync::atomic::{AtomicU64, Ordering};

use fleetmark_proto::convert::Outcome;
use tonic::Status;

use crate::{
    seldom::Seldom,
    status::{Refusal, SubmitError},
};

/// How many reports were answered in which way since the collector started, and how many calls were refused.
#[derive(Debug, Default)]
pub struct Tally {
    stored: AtomicU64,
    duplicate: AtomicU64,
    conflict: AtomicU64,
    rejected: AtomicU64,
    refused: AtomicU64,
    refusals: Seldom,
    denied: AtomicU64,
}

/// How many reports were answered in which way.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Answered {
    /// Those that are stored since.
    pub stored: u64,
    /// Those that were stored before.
    pub duplicate: u64,
    /// Those whose ids others have.
    pub conflict: u64,
    /// Those that are not valid.
    pub rejected: u64,
}

impl Tally {
    /// Counts a report.
    pub(crate) fn count(&self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Stored => &self.stored,
            Outcome::Duplicate => &self.duplicate,
            Outcome::Conflict(_) => &self.conflict,
            Outcome::Rejected(_) => &self.rejected,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a call that is not taken now, and makes its answer.
    pub(crate) fn refused(&self, refusal: Refusal) -> Status {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.refusals.happened(|times| {
            tracing::warn!("{refusal}: {times} calls were told to come again");
        });
        refusal.into()
    }

    /// Counts a call that failed as a whole, and makes its answer.
    pub(super) fn failed(&self, error: SubmitError) -> Status {
        match error {
            SubmitError::Refused(refusal) => self.refused(refusal),
            error => {
                if matches!(error, SubmitError::Store(_) | SubmitError::Miscounted { .. }) {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                }
                error.into()
            }
        }
    }

    /// Counts a call that is not for whoever made it.
    pub(crate) fn denied(&self) {
        self.denied.fetch_add(1, Ordering::Relaxed);
    }

    /// Calls that were not for whoever made them.
    #[must_use]
    pub fn calls_denied(&self) -> u64 {
        self.denied.load(Ordering::Relaxed)
    }

    /// Calls that were told to come again.
    #[must_use]
    pub fn calls_refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// The counts of reports.
    #[must_use]
    pub fn reports(&self) -> Answered {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Answered {
            stored: read(&self.stored),
            duplicate: read(&self.duplicate),
            conflict: read(&self.conflict),
            rejected: read(&self.rejected),
        }
    }

    /// The counts of reports, for a person.
    #[must_use]
    pub fn words(&self) -> String {
        let Answered { stored, duplicate, conflict, rejected } = self.reports();
        format!(
            "{stored} stored, {duplicate} duplicate, {conflict} in conflict, {rejected} rejected"
        )
    }
}
