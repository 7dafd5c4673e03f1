//! Takes reports from agents: checks each, stores the valid ones in one commit, answers each by itself.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use fleetmark_proto::{
    convert::{Encoded, Outcome},
    invalid::Invalid,
    limits,
    report::Report,
    v1::{Envelope, SubmitRequest, SubmitResponse, ingest_server::Ingest},
};
use jiff::Timestamp;
use tonic::{Request, Response, Status};

use crate::{
    status::SubmitError,
    store::{NewRun, Store},
};

/// The service that agents talk to.
#[derive(Clone)]
pub struct IngestService {
    store: Arc<dyn Store>,
    now: fn() -> Timestamp,
    tally: Arc<Tally>,
}

/// How many reports were answered in which way since the collector started, and how many calls run.
#[derive(Debug, Default)]
pub struct Tally {
    stored: AtomicU64,
    duplicate: AtomicU64,
    conflict: AtomicU64,
    rejected: AtomicU64,
    running: AtomicUsize,
}

/// A call, for as long as it runs.
struct Running<'a>(&'a Tally);

impl<'a> Running<'a> {
    fn enter(tally: &'a Tally) -> Self {
        tally.running.fetch_add(1, Ordering::Relaxed);
        Self(tally)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Tally {
    /// Calls that have not been answered yet.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    fn count(&self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Stored => &self.stored,
            Outcome::Duplicate => &self.duplicate,
            Outcome::Conflict(_) => &self.conflict,
            Outcome::Rejected(_) => &self.rejected,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts, for a person.
    #[must_use]
    pub fn words(&self) -> String {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        format!(
            "{} stored, {} duplicate, {} in conflict, {} rejected",
            read(&self.stored),
            read(&self.duplicate),
            read(&self.conflict),
            read(&self.rejected)
        )
    }
}

impl IngestService {
    /// A service over this store, by this clock.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, now: fn() -> Timestamp) -> Self {
        Self { store, now, tally: Arc::default() }
    }

    /// What was answered so far.
    #[must_use]
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// Answers a batch, in its order.
    async fn take(&self, envelopes: Vec<Envelope>) -> Result<Vec<(Vec<u8>, Outcome)>, SubmitError> {
        if envelopes.is_empty() {
            return Err(SubmitError::Empty);
        }
        if envelopes.len() > limits::BATCH_REPORTS {
            return Err(SubmitError::TooMany(envelopes.len()));
        }
        let now = (self.now)();
        let mut batch = Vec::new();
        let mut answers: Vec<(Vec<u8>, Option<Invalid>)> = Vec::new();
        for envelope in envelopes {
            let id = envelope.report_id.clone();
            match check(envelope, now) {
                Ok(run) => {
                    batch.push(run);
                    answers.push((id, None));
                }
                Err(invalid) => answers.push((id, Some(invalid))),
            }
        }
        let sent = batch.len();
        let stored = if batch.is_empty() { Vec::new() } else { self.store.put(batch, now).await? };
        if stored.len() != sent {
            return Err(SubmitError::Miscounted { sent, answered: stored.len() });
        }
        let mut stored = stored.into_iter();
        let answer = |(id, invalid): (Vec<u8>, Option<Invalid>)| {
            let outcome = match invalid {
                Some(invalid) => Some(Outcome::Rejected(invalid)),
                None => stored.next(),
            };
            outcome.map(|outcome| (id, outcome))
        };
        Ok(answers.into_iter().filter_map(answer).collect())
    }
}

/// Whether a report may be stored at all.
fn check(envelope: Envelope, now: Timestamp) -> Result<NewRun, Invalid> {
    let encoded = Encoded::from_envelope(envelope)?;
    let report = encoded.decode()?;
    check_times(&report, now)?;
    Ok(NewRun { encoded, report })
}

/// A report that is too old may have been forgotten as a duplicate; one of the future has a broken clock.
fn check_times(report: &Report, now: Timestamp) -> Result<(), Invalid> {
    for (field, time) in [("report_id", report.id.made_at()), ("ended_at", report.ended_at)] {
        let age = now.duration_since(time);
        if !age.is_negative() && age.unsigned_abs() > limits::REPORT_AGE {
            return Err(Invalid::new(field, "is too old: older than 180 days"));
        }
        if age.is_negative() && age.unsigned_abs() > limits::CLOCK_AHEAD {
            return Err(Invalid::new(field, "lies in the future by more than a day"));
        }
    }
    Ok(())
}

#[tonic::async_trait]
impl Ingest for IngestService {
    async fn submit(
        &self,
        request: Request<SubmitRequest>,
    ) -> Result<Response<SubmitResponse>, Status> {
        let _running = Running::enter(&self.tally);
        let SubmitRequest { reports, sent_at: _ } = request.into_inner();
        let answers = self.take(reports).await?;
        for (id, outcome) in &answers {
            self.tally.count(outcome);
            let id = report_name(id);
            match outcome {
                Outcome::Stored => tracing::info!("stored report {id}"),
                Outcome::Duplicate => tracing::info!("report {id} came again"),
                Outcome::Conflict(digest) => {
                    tracing::warn!("report {id} differs from the one stored, SHA-256 {digest}");
                }
                Outcome::Rejected(invalid) => {
                    tracing::warn!("rejected report {id}: {:?}", invalid.to_string());
                }
            }
        }
        let answers = answers.into_iter().map(|(id, outcome)| outcome.into_answer(id)).collect();
        Ok(Response::new(SubmitResponse { answers }))
    }
}

/// A report's id for the log; what is no id may be anything, and is not repeated there.
fn report_name(id: &[u8]) -> String {
    fleetmark_proto::id::ReportId::from_bytes(id)
        .map_or_else(|_| "without an id".to_owned(), |id| id.to_string())
}
