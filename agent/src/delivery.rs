//! Brings a report to a collector. Here, and nowhere else in the agent, are the generated messages.

use std::time::Duration;

use fleetmark_proto::{
    convert::{self, Encoded, Outcome},
    invalid::Invalid,
    limits,
    shell::value,
    v1::{SubmitResponse, ingest_client::IngestClient},
};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use url::Url;

/// A report that was not answered. It may be stored or not; sending the same bytes again is safe.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// Plaintext to another host needs leave.
    #[error("{url} is not on this host, and plaintext needs --insecure on both sides")]
    NeedsInsecure {
        /// Where it was to go.
        url: String,
    },
    /// The collector is not there.
    #[error("no collector answers at {url}; is `fleetmark-collector serve` running there?")]
    Unreachable {
        /// Where it was tried.
        url: String,
        /// What the network said.
        source: tonic::transport::Error,
    },
    /// The collector refused the call as a whole.
    #[error("the collector at {url} answers {code:?}: {message}", code = .status.code(), message = .status.message())]
    Refused {
        /// Where it was tried.
        url: String,
        /// What it said.
        status: Box<Status>,
    },
    /// The collector's answer is none that this version knows.
    #[error("the collector at {url} did not answer the report ({what})")]
    Unanswered {
        /// Where it was tried.
        url: String,
        /// What was wrong with the answer.
        what: Invalid,
    },
    /// The collector took too long.
    #[error("the collector at {url} did not answer within {} s", limits::DELIVERY.as_secs())]
    TooSlow {
        /// Where it was tried.
        url: String,
    },
}

/// Whether a report may be sent there.
///
/// # Errors
///
/// If the collector is not on this host and nobody said `--insecure`.
pub fn check(url: &Url, insecure: bool) -> Result<(), DeliveryError> {
    if insecure || value::is_loopback(url) {
        return Ok(());
    }
    Err(DeliveryError::NeedsInsecure { url: url.to_string() })
}

/// Delivers one report, trying for at most [`limits::DELIVERY`].
///
/// # Errors
///
/// If it was not answered; sending the same bytes again is safe.
pub async fn deliver(url: &Url, encoded: &Encoded) -> Result<Outcome, DeliveryError> {
    tokio::time::timeout(limits::DELIVERY, submit(url, encoded))
        .await
        .unwrap_or_else(|_| Err(DeliveryError::TooSlow { url: url.to_string() }))
}

async fn submit(url: &Url, encoded: &Encoded) -> Result<Outcome, DeliveryError> {
    let request = convert::submit_request([encoded.clone()], jiff::Timestamp::now());
    let response =
        IngestClient::new(connect(url).await?).submit(request).await.map_err(|status| {
            DeliveryError::Refused { url: url.to_string(), status: Box::new(status) }
        })?;
    let SubmitResponse { answers } = response.into_inner();
    let answer = answers.into_iter().next().ok_or_else(|| Invalid::new("answers", "is empty"));
    answer
        .and_then(|answer| Outcome::from_answer(answer, encoded.id))
        .map_err(|what| DeliveryError::Unanswered { url: url.to_string(), what })
}

async fn connect(url: &Url) -> Result<Channel, DeliveryError> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let unreachable = |source| DeliveryError::Unreachable { url: url.to_string(), source };
    let endpoint = Endpoint::from_shared(url.to_string()).map_err(unreachable)?;
    endpoint.connect_timeout(PATIENCE).connect().await.map_err(unreachable)
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
