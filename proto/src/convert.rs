//! Between the wire and the domain. The wire is parsed once, here, by taking every field apart; what comes out is valid.

mod check;
mod control;
mod enrollment;
mod query;
mod read;
mod revoking;
mod write;

pub(crate) use check::check_text;
pub use control::{audit_request, audit_since};
pub use query::{ReadRun, kept_run, read_run, runs_request, runs_since};
pub(crate) use read::check_label;

use jiff::Timestamp;
use prost::Message as _;

use crate::{
    id::{Digest, ReportId},
    invalid::Invalid,
    limits,
    report::Report,
    v1,
};

/// A report with the bytes that its agent made of it, once. These bytes are sent, digested and stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Encoded {
    /// The report's id.
    pub id: ReportId,
    /// The digest of the bytes.
    pub digest: Digest,
    /// An encoded `fleetmark.v1.Report`.
    pub bytes: Vec<u8>,
}

impl Encoded {
    /// Encodes a report.
    #[must_use]
    pub fn new(report: &Report) -> Self {
        let bytes = write::report(report).encode_to_vec();
        Self { id: report.id, digest: Digest::of(&bytes), bytes }
    }

    /// Takes an envelope apart and checks that its digest is its bytes'.
    ///
    /// # Errors
    ///
    /// If a field is missing or too long, or the digest is another's.
    pub fn from_envelope(envelope: v1::Envelope) -> Result<Self, Invalid> {
        let v1::Envelope { report_id, sha256, report } = envelope;
        let id = ReportId::from_bytes(&report_id)?;
        let digest = Digest::from_bytes(&sha256)?;
        if report.len() > limits::REPORT_BYTES {
            return Err(Invalid::new(
                "report",
                format!("has {} bytes, more than {}", report.len(), limits::REPORT_BYTES),
            ));
        }
        if Digest::of(&report) != digest {
            return Err(Invalid::new("sha256", "is not the digest of the report's bytes"));
        }
        Ok(Self { id, digest, bytes: report.into() })
    }

    /// The envelope in which the report travels.
    #[must_use]
    pub fn into_envelope(self) -> v1::Envelope {
        v1::Envelope {
            report_id: self.id.as_bytes().to_vec(),
            sha256: self.digest.as_bytes().to_vec(),
            report: self.bytes.into(),
        }
    }

    /// Decodes and validates the report.
    ///
    /// # Errors
    ///
    /// If the bytes are no report, a field is invalid, or the report carries another id than its envelope.
    pub fn decode(&self) -> Result<Report, Invalid> {
        let report = decode(&self.bytes)?;
        if report.id != self.id {
            return Err(Invalid::new("report_id", "is not the id of the envelope"));
        }
        Ok(report)
    }
}

/// A batch as it is sent, at this time of the agent's clock.
#[must_use]
pub fn submit_request(
    reports: impl IntoIterator<Item = Encoded>,
    sent_at: Timestamp,
) -> v1::SubmitRequest {
    v1::SubmitRequest {
        reports: reports.into_iter().map(Encoded::into_envelope).collect(),
        sent_at: Some(write::timestamp(sent_at)),
    }
}

/// When a batch was sent, by the agent's clock; `None` if the agent does not tell.
///
/// # Errors
///
/// If it is no time.
pub fn sent_at(wire: Option<prost_types::Timestamp>) -> Result<Option<Timestamp>, Invalid> {
    let read = |wire| check::within("sent_at", read::timestamp(wire));
    wire.map(read).transpose()
}

/// Decodes and validates the bytes of a `fleetmark.v1.Report`.
///
/// # Errors
///
/// If the bytes are no report, or a field is invalid.
pub fn decode(bytes: &[u8]) -> Result<Report, Invalid> {
    let message = v1::Report::decode(bytes).map_err(|error| Invalid::new("report", error))?;
    read::report(message)
}

/// What a collector says of one report.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It is on the collector's disk.
    Stored,
    /// The same bytes were stored before.
    Duplicate,
    /// Other bytes are stored under this id; they have this digest.
    Conflict(Digest),
    /// It is not valid, and never will be.
    Rejected(Invalid),
}

impl Outcome {
    /// The answer that says it. `report_id` is what the envelope said, valid or not.
    #[must_use]
    pub fn into_answer(self, report_id: Vec<u8>) -> v1::Answer {
        use v1::answer::Outcome as Wire;
        let outcome = match self {
            Self::Stored => Wire::Stored(v1::Stored {}),
            Self::Duplicate => Wire::Duplicate(v1::Duplicate {}),
            Self::Conflict(digest) => {
                Wire::Conflict(v1::Conflict { stored_sha256: digest.as_bytes().to_vec() })
            }
            Self::Rejected(Invalid { field, reason }) => {
                Wire::Rejected(v1::Rejected { field, reason })
            }
        };
        v1::Answer { report_id, outcome: Some(outcome) }
    }

    /// Reads an answer to the report `id`.
    ///
    /// # Errors
    ///
    /// If it answers another report, or says what this version does not know: the report is not answered.
    pub fn from_answer(answer: v1::Answer, id: ReportId) -> Result<Self, Invalid> {
        use v1::answer::Outcome as Wire;
        let v1::Answer { report_id, outcome } = answer;
        if report_id != id.as_bytes() {
            return Err(Invalid::new("report_id", "the answer is for another report"));
        }
        match outcome {
            Some(Wire::Stored(v1::Stored {})) => Ok(Self::Stored),
            Some(Wire::Duplicate(v1::Duplicate {})) => Ok(Self::Duplicate),
            Some(Wire::Conflict(v1::Conflict { stored_sha256 })) => {
                Ok(Self::Conflict(Digest::from_bytes(&stored_sha256)?))
            }
            Some(Wire::Rejected(v1::Rejected { field, reason })) => {
                Ok(Self::Rejected(Invalid { field, reason }))
            }
            None => Err(Invalid::new("outcome", "is missing or unknown to this version")),
        }
    }
}
