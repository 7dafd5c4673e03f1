//! One client of a collector, on a connection of its own.

use std::time::Duration;

use fleetmark_proto::{
    convert::{self, Encoded},
    limits, shell,
    v1::{SubmitRequest, answer::Outcome, ingest_client::IngestClient},
};
use jiff::Timestamp;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;
use url::Url;

use crate::simulate::Fleet;

/// How long a connection may take.
const CONNECTING: Duration = Duration::from_secs(10);
/// How long an answer may take: longer than the collector itself allows.
const ANSWERING: Duration = Duration::from_secs(limits::CALL.as_secs() + 10);

/// A collector could not be reached.
#[derive(Debug, thiserror::Error)]
#[error("no collector answers at {url}")]
pub struct LinkError {
    url: Url,
    source: tonic::transport::Error,
}

/// Reports that are encoded and ready to be sent, any number of times.
#[derive(Clone, Debug)]
pub struct Batch {
    request: SubmitRequest,
}

impl Batch {
    /// A batch of these.
    #[must_use]
    pub fn new(reports: impl IntoIterator<Item = Encoded>) -> Self {
        Self { request: convert::submit_request(reports, Timestamp::now()) }
    }

    /// The next so many reports of a fleet, of runs that ended within the last hours, those of a host one after the other.
    #[must_use]
    pub fn of(fleet: &mut Fleet, reports: usize) -> Self {
        /// Longer than a run takes.
        const APART: Duration = Duration::from_secs(20);
        /// For as many runs a host as anybody asks for.
        const BACKLOG: Duration = Duration::from_secs(12 * 3_600);
        let now = Timestamp::now();
        let next = |fleet: &mut Fleet| {
            let ended_at = (now - BACKLOG) + APART * fleet.turns();
            Encoded::new(&fleet.report(ended_at.min(now)))
        };
        Self::new((0..reports).map(|_| next(fleet)))
    }

    /// How many reports there are.
    #[must_use]
    pub fn reports(&self) -> usize {
        self.request.reports.len()
    }
}

/// What a collector made of a batch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Each report was answered.
    Answered {
        /// Reports that are stored.
        stored: usize,
        /// Those that were stored before.
        duplicate: usize,
        /// Those in conflict, rejected, or not answered.
        other: usize,
    },
    /// The collector said to come again: after this long, if it said that too.
    Refused(Option<Duration>),
    /// Something else, in words that do not tell one call from another.
    Failed(String),
}

/// A client with a connection. Its clones share the connection; calls on it go on side by side.
#[derive(Clone, Debug)]
pub struct Link {
    client: IngestClient<Channel>,
}

impl Link {
    /// Connects.
    ///
    /// # Errors
    ///
    /// If the collector cannot be reached in ten seconds.
    pub async fn open(url: &Url) -> Result<Self, LinkError> {
        let failed = |source| LinkError { url: url.clone(), source };
        let endpoint = Endpoint::from_shared(url.to_string()).map_err(failed)?;
        let channel = endpoint.connect_timeout(CONNECTING).connect().await.map_err(failed)?;
        Ok(Self { client: IngestClient::new(channel) })
    }

    /// Connects this many clients, one after the other.
    ///
    /// # Errors
    ///
    /// If one of them cannot reach the collector.
    pub async fn open_many(url: &Url, links: usize) -> Result<Vec<Self>, LinkError> {
        let mut opened = Vec::with_capacity(links);
        for _ in 0..links {
            opened.push(Self::open(url).await?);
        }
        Ok(opened)
    }

    /// Delivers a batch once, and says what came of it.
    pub async fn submit(&self, batch: &Batch) -> Answer {
        let stamp = convert::submit_request([], Timestamp::now());
        let request = SubmitRequest { reports: batch.request.reports.clone(), ..stamp };
        let mut client = self.client.clone();
        match tokio::time::timeout(ANSWERING, client.submit(request)).await {
            Ok(Ok(response)) => {
                let outcomes = response.into_inner().answers.into_iter();
                let (mut stored, mut duplicate) = (0, 0);
                for outcome in outcomes.map(|answer| answer.outcome) {
                    match outcome {
                        Some(Outcome::Stored(_)) => stored += 1,
                        Some(Outcome::Duplicate(_)) => duplicate += 1,
                        _ => {}
                    }
                }
                let other = batch.reports().saturating_sub(stored + duplicate);
                Answer::Answered { stored, duplicate, other }
            }
            Ok(Err(status)) => unanswered(&status),
            Err(_) => Answer::Failed("no answer in time".to_owned()),
        }
    }
}

/// What a status means. One with a cause was made here, and did not come from the collector.
fn unanswered(status: &Status) -> Answer {
    use std::error::Error as _;
    match (status.source(), status.code()) {
        (Some(cause), code) => Answer::Failed(format!("{code:?}: {}", shell::one_line(cause))),
        (None, Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted) => {
            let info = status.get_details_retry_info();
            Answer::Refused(info.and_then(|info| info.retry_delay))
        }
        (None, code) => Answer::Failed(format!("{code:?}: {}", status.message())),
    }
}
