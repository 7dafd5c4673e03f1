//! Stored runs over the wire, to those who read them.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    check::{Checked, present, within},
    decode, read, write,
};
use crate::{invalid::Invalid, report::Report, v1};

/// A run as a reader gets it.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadRun {
    /// What the agent said; of its labels, what the collector says of the host stands over what the agent said.
    pub report: Report,
    /// When the collector took it, by the collector's clock.
    pub received_at: Timestamp,
    /// When the agent sent it, by the agent's clock; `None` if it did not tell.
    pub sent_at: Option<Timestamp>,
}

/// Asks for the runs that ended at `since` or later. The wire has no time before 1970, and before it no run ended.
#[must_use]
pub fn runs_request(since: Option<Timestamp>) -> v1::RunsRequest {
    v1::RunsRequest {
        since: since.filter(|since| *since > Timestamp::UNIX_EPOCH).map(write::timestamp),
    }
}

/// From when on runs are asked for; `None` is all.
///
/// # Errors
///
/// If it is no time.
pub fn runs_since(request: v1::RunsRequest) -> Result<Option<Timestamp>, Invalid> {
    let v1::RunsRequest { since } = request;
    optional_time("since", since)
}

/// A run on its way to a reader: the bytes as they are stored, both clocks, and what the collector says of the host.
#[must_use]
pub fn kept_run(
    report: Vec<u8>,
    received_at: Timestamp,
    sent_at: Option<Timestamp>,
    labels: BTreeMap<String, String>,
) -> v1::KeptRun {
    v1::KeptRun {
        report: report.into(),
        received_at: Some(write::timestamp(received_at)),
        sent_at: sent_at.map(write::timestamp),
        labels: labels.into_iter().collect(),
    }
}

/// Reads and validates a run that a collector sent.
///
/// # Errors
///
/// If a field is missing or invalid.
pub fn read_run(run: v1::KeptRun) -> Result<ReadRun, Invalid> {
    let v1::KeptRun { report, received_at, sent_at, labels } = run;
    let mut report = decode(&report)?;
    report.labels.extend(read::labels(labels)?);
    Ok(ReadRun {
        report,
        received_at: within("received_at", present(received_at).and_then(read::timestamp))?,
        sent_at: optional_time("sent_at", sent_at)?,
    })
}

fn optional_time(field: &str, wire: Option<prost_types::Timestamp>) -> Checked<Option<Timestamp>> {
    wire.map(|wire| within(field, read::timestamp(wire))).transpose()
}
