//! Takes reports from agents: checks each, has the valid ones committed, answers each by itself.

mod committer;
mod tally;

pub use committer::{Committer, Grouping};
pub use tally::{Answered, Tally};

use std::sync::Arc;

use fleetmark_agent::clock::Clock;
use fleetmark_proto::{
    convert::{self, Encoded, Outcome},
    id::HostId,
    invalid::Invalid,
    limits,
    report::Report,
    v1::{Envelope, SubmitRequest, SubmitResponse, ingest_server::Ingest},
};
use jiff::{SignedDuration, Timestamp};
use tonic::{Request, Response, Status};

use crate::{
    identity::{Caller, Denied, Who},
    registry::{AuditEntry, Event},
    server::{Admitted, Trail},
    status::SubmitError,
    store::{Clocks, NewRun},
};

/// Checking a report takes a tenth of a millisecond; others get their turn after as many.
const TURN: usize = 16;

/// The service that agents talk to.
#[derive(Clone)]
pub struct IngestService {
    committer: Committer,
    clock: Clock,
    tally: Arc<Tally>,
    trail: Option<Arc<Trail>>,
}

/// Why a report is not stored.
enum Unfit {
    /// It is not valid.
    Invalid(Invalid),
    /// It is of a host that its sender does not speak for.
    OtherHost(HostId),
}

impl From<Invalid> for Unfit {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl IngestService {
    /// A service that has reports committed there, goes by this clock and counts here. Who claims to be another host is told of
    /// in this trail.
    #[must_use]
    pub(crate) fn new(
        committer: Committer,
        clock: Clock,
        tally: Arc<Tally>,
        trail: Option<Arc<Trail>>,
    ) -> Self {
        Self { committer, clock, tally, trail }
    }

    /// Answers a batch, in its order.
    async fn take(
        &self,
        envelopes: Vec<Envelope>,
        caller: &Caller,
        clocks: Clocks,
        held: Option<Admitted>,
    ) -> Result<Vec<(Vec<u8>, Outcome)>, SubmitError> {
        if envelopes.is_empty() {
            return Err(SubmitError::Empty);
        }
        if envelopes.len() > limits::BATCH_REPORTS {
            return Err(SubmitError::TooMany(envelopes.len()));
        }
        let mut batch = Vec::new();
        let mut answers: Vec<(Vec<u8>, Option<Invalid>)> = Vec::new();
        let mut others: Vec<HostId> = Vec::new();
        let mut skew = clocks.skew();
        for (place, envelope) in (1..).zip(envelopes) {
            let id = envelope.report_id.clone();
            match check(envelope, caller, clocks) {
                Ok((run, report)) => {
                    if let Some(skew) = skew.take() {
                        tracing::warn!("the clock of host {} is {skew}", report.host.id);
                    }
                    batch.push(run);
                    answers.push((id, None));
                }
                Err(Unfit::Invalid(invalid)) => answers.push((id, Some(invalid))),
                Err(Unfit::OtherHost(host)) => {
                    answers.push((id, Some(Invalid::new("host.id", caller.refusal_of_host()))));
                    others.push(host);
                }
            }
            if place % TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
        self.tell_of_others(caller, &others, clocks.received_at());
        let stored =
            if batch.is_empty() { Vec::new() } else { self.committer.commit(batch, held).await? };
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

    /// Has the audit trail say once of a batch that its sender is not the host that it claims to be.
    fn tell_of_others(&self, caller: &Caller, hosts: &[HostId], at: Timestamp) {
        let (Some(trail), [host, more @ ..]) = (&self.trail, hosts) else { return };
        trail.write(caller.address, || {
            let more = match more.len() {
                0 => String::new(),
                more => format!(", and {more} more of others in the same batch"),
            };
            AuditEntry {
                at,
                event: Event::Refused,
                who: caller.to_string(),
                address: caller.address.to_string(),
                detail: format!("Ingest/Submit: report of host {host} rejected{more}"),
            }
        });
    }
}

/// Whether a report may be stored at all.
fn check(envelope: Envelope, caller: &Caller, clocks: Clocks) -> Result<(NewRun, Report), Unfit> {
    let encoded = Encoded::from_envelope(envelope)?;
    let report = encoded.decode()?;
    if !caller.may_submit_for(&report.host.id) {
        return Err(Unfit::OtherHost(report.host.id));
    }
    check_times(&report, clocks)?;
    let run = NewRun::new(encoded, &report, clocks);
    let run = match caller.who {
        Who::Known(..) => run.proven(),
        Who::Near | Who::Nobody => run,
    };
    Ok((run, report))
}

/// A report that is too old may have been forgotten as a duplicate; one of the future has a broken clock. That a host's clock is
/// off does not make its reports so: where it tells its clock, its times are set right first.
///
/// Of a report's id, which its key is kept by, what it says itself counts as well. Otherwise an agent that tells another clock each
/// time could have a report stored again whose key is gone.
fn check_times(report: &Report, clocks: Clocks) -> Result<(), Invalid> {
    let now = clocks.received_at();
    let age = |time| now.duration_since(time);
    let is_too_old =
        |age: SignedDuration| age.is_positive() && age.unsigned_abs() > limits::REPORT_AGE;
    let made_at = report.id.made_at();
    for (field, time) in [("report_id", made_at), ("ended_at", report.ended_at)] {
        let age = age(clocks.set_right(time));
        if is_too_old(age) {
            return Err(Invalid::new(field, "is too old: older than 180 days"));
        }
        if age.is_negative() && age.unsigned_abs() > limits::CLOCK_AHEAD {
            return Err(Invalid::new(field, "lies in the future by more than a day"));
        }
    }
    if is_too_old(age(made_at)) {
        return Err(Invalid::new(
            "report_id",
            "is too old by its host's clock: older than 180 days",
        ));
    }
    Ok(())
}

#[tonic::async_trait]
impl Ingest for IngestService {
    async fn submit(
        &self,
        request: Request<SubmitRequest>,
    ) -> Result<Response<SubmitResponse>, Status> {
        let (_, extensions, SubmitRequest { reports, sent_at }) = request.into_parts();
        // An agent whose clock shows no time is taken for one that does not tell: what it measured while its clock was right
        // must not be lost for that.
        let sent_at = convert::sent_at(sent_at).unwrap_or_else(|invalid| {
            tracing::warn!("a batch's {invalid}; it counts as not told");
            None
        });
        let clocks = Clocks::new(self.clock.now(), sent_at);
        // Nothing comes past the guard; if it did, its reports would still be wanted from whom they belong to.
        let caller: &Caller =
            extensions.get().ok_or_else(|| Status::from(&Denied::NoCredentials))?;
        let answers = self
            .take(reports, caller, clocks, extensions.get().cloned())
            .await
            .map_err(|error| self.tally.failed(error))?;
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
                    let (address, invalid) = (caller.address, invalid.to_string());
                    tracing::warn!("rejected report {id} of {caller} at {address}: {invalid:?}");
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
