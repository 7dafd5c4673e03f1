//! What an operator hears of delivery: once each, not once a try.

use std::fmt;

use fleetmark_proto::{convert::Outcome, id::ReportId, invalid::Invalid};
use jiff::{SignedDuration, Timestamp};
use url::Url;

use crate::clock::{span, whole_seconds};

/// Something that happened. Its text is one line for a person.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A collector answered a report. Stored and duplicate ones have left the spool, the others are in quarantine.
    Answered {
        /// The report.
        id: ReportId,
        /// The collector.
        url: Url,
        /// What it said.
        outcome: Outcome,
    },
    /// A report went to quarantine unsent.
    SetAside {
        /// The report.
        id: ReportId,
        /// Why.
        reason: String,
    },
    /// Tries fail, from now on until [`Event::Recovered`].
    Failing {
        /// Why.
        reason: String,
        /// When they go on.
        again: Again,
    },
    /// Calls succeed again.
    Recovered {
        /// The collector that answers.
        url: Url,
    },
    /// Reports are left out of otherwise good answers; they are sent again.
    Unanswered {
        /// Why the answer is none.
        reason: String,
    },
    /// The spool cannot be read, or something in it cannot be moved; it is tried again.
    Spool {
        /// Why.
        reason: String,
    },
    /// This host has a new certificate.
    Renewed {
        /// When it ends.
        ends_at: Timestamp,
    },
    /// This host's certificate cannot be renewed, and still counts.
    NotRenewed {
        /// Why not.
        reason: String,
        /// Until when it counts.
        ends_at: Timestamp,
    },
    /// This host's clock is off.
    ClockOff {
        /// By how much the collector's clock is ahead.
        ahead: SignedDuration,
    },
    /// Records of another version lie in the spool; they are kept, and not sent.
    Foreign {
        /// How many.
        records: u64,
    },
}

/// When delivery is tried again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Again {
    /// Soon, and then less and less often.
    Backoff,
    /// After this pause, as only an operator can help.
    Pause(std::time::Duration),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered { id, url, outcome } => {
                write!(f, "report {id}: {}", words(outcome, url))
            }
            Self::SetAside { id, reason } => write!(f, "report {id} is in quarantine: {reason}"),
            Self::Failing { reason, again: Again::Backoff } => {
                write!(f, "cannot deliver: {reason}; the reports stay in the spool, retrying")
            }
            Self::Failing { reason, again: Again::Pause(pause) } => {
                let pause = SignedDuration::try_from(*pause).unwrap_or(SignedDuration::MAX);
                write!(
                    f,
                    "cannot deliver: {reason}; the reports stay in the spool, next try in {pause:#}"
                )
            }
            Self::Recovered { url } => write!(f, "delivering again, to {url}"),
            Self::Unanswered { reason } => {
                write!(f, "{reason}; it stays in the spool and is sent again")
            }
            Self::Spool { reason } => write!(f, "the spool is in trouble: {reason}; trying again"),
            Self::Renewed { ends_at } => {
                write!(f, "this host has a new certificate, until {}", whole_seconds(*ends_at))
            }
            Self::NotRenewed { reason, ends_at } => {
                let ends_at = whole_seconds(*ends_at);
                write!(f, "{reason}; the present one counts until {ends_at}, retrying")
            }
            Self::ClockOff { ahead } => {
                let by = span(*ahead);
                let side = if ahead.is_positive() { "behind" } else { "ahead of" };
                write!(f, "this host's clock is {by} {side} the collector's; set it")
            }
            Self::Foreign { records } => {
                let s = if *records == 1 { "" } else { "s" };
                write!(
                    f,
                    "the spool keeps {records} record{s} of another version of the agent, for that version to deliver"
                )
            }
        }
    }
}

/// What became of the report, for a person.
#[must_use]
pub fn words(outcome: &Outcome, url: &Url) -> String {
    match outcome {
        Outcome::Stored => format!("stored by the collector at {url}"),
        Outcome::Duplicate => format!("the collector at {url} had this report already"),
        Outcome::Conflict(digest) => format!(
            "the collector at {url} holds another report under this id (SHA-256 {digest}); this one was not stored"
        ),
        Outcome::Rejected(Invalid { field, reason }) => {
            format!("the collector at {url} rejected the report: {field} {reason}")
        }
    }
}
