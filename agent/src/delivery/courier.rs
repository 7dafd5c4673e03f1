//! Brings what is in the spool to the collectors.
//!
//! A courier holds one batch, one connection while there is something to deliver, and nothing else that could be lost: its
//! futures can be dropped at any point, as a report leaves the spool only after a collector's answer for it, and a report
//! that is sent again is a duplicate.

mod renewing;

use std::{
    collections::{HashSet, VecDeque},
    pin::pin,
    time::Duration,
};

use fleetmark_proto::{
    convert::{self, Encoded, Outcome},
    id::ReportId,
    limits, shell,
    v1::{Answer, SubmitResponse},
};
use tokio::{
    sync::Notify,
    time::{self, Instant},
};
use tonic::Code;
use url::Url;

use super::{
    batch,
    error::DeliveryError,
    event::{Again, Event, words},
    herald::{Account, Fate, Herald},
    keyring::{Keyring, Pressing},
    line::{Dialer, Line},
    pace::Pace,
    policy::{self, Next},
    turned_away::TurnedAway,
};
use renewing::Refusal;

use crate::{
    backoff::Backoff,
    spool::{Entry, Spool, SpoolError},
};

/// Brings what is in a spool to collectors.
pub struct Courier {
    collectors: Vec<Url>,
    /// The collector whose turn it is.
    at: usize,
    spool: Spool,
    pace: Pace,
    dialer: Dialer,
    keyring: Keyring,
    line: Option<Line>,
    backoff: Backoff,
    /// No call before then.
    due: Option<Instant>,
    /// Reports that one call carries at most; fewer than the limit after a batch was halved.
    most: usize,
    /// Refusals in a row, as the policy counts them.
    refusals: u32,
    /// What was listed in the spool and was not answered yet.
    queue: VecDeque<Entry>,
    /// Reports that were sent and not answered, or could not be sent. They have another try when all
    /// others have had theirs.
    deferred: HashSet<ReportId>,
    herald: Herald,
    turned_away: TurnedAway,
}

/// What a flush came to.
#[derive(Debug)]
pub struct Flushed {
    /// What became of the report that was to go first; `None` if none was.
    pub first: Option<Fate>,
    /// Reports that a collector has stored.
    pub stored: u64,
    /// Reports that a collector had already.
    pub duplicate: u64,
    /// Reports that went to quarantine.
    pub quarantined: u64,
    /// Reports that still wait in the spool; `None` if it cannot be read.
    pub left: Option<u64>,
    /// Records of another version beside these, which this one does not send.
    pub foreign: u64,
    /// What went wrong last, if anything did.
    pub reason: Option<DeliveryError>,
}

impl Flushed {
    /// Why reports are left, for a person.
    #[must_use]
    pub fn why(&self) -> String {
        self.reason.as_ref().map_or_else(
            || "there was no time for more".to_owned(),
            |reason| shell::one_line(reason),
        )
    }
}

/// What one step came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// There may be more to do at once.
    Again,
    /// There is nothing to deliver.
    Empty,
    /// The next step is due later.
    Wait,
    /// The same, and this attempt is over.
    Over,
}

impl Courier {
    /// A courier from this spool to the first of these collectors that answers. The outlet hears what an operator should.
    pub fn new(
        collectors: Vec<Url>,
        spool: Spool,
        pace: Pace,
        outlet: impl FnMut(Event) + Send + 'static,
    ) -> Self {
        Self {
            collectors,
            at: 0,
            spool,
            pace,
            dialer: Dialer::network(),
            keyring: Keyring::default(),
            line: None,
            backoff: Backoff::unique().within(pace.first_wait, pace.longest_wait),
            due: None,
            most: limits::BATCH_REPORTS,
            refusals: 0,
            queue: VecDeque::new(),
            deferred: HashSet::new(),
            herald: Herald::new(outlet),
            turned_away: TurnedAway::default(),
        }
    }

    /// Whether the collector takes reports of this host at all, as far as it was heard.
    #[must_use]
    pub fn turned_away(&self) -> TurnedAway {
        self.turned_away.clone()
    }

    /// The same with what the collectors are believed by and shown.
    #[must_use]
    pub fn with(self, keyring: Keyring) -> Self {
        Self { keyring, ..self }
    }

    /// The same with another way to connect.
    #[cfg(test)]
    pub(super) fn dialing(self, dialer: Dialer) -> Self {
        Self { dialer, ..self }
    }

    /// Delivers all that waits in the spool, `first` in the first batch, trying again after failures as long as that starts
    /// within this time. An attempt that only an operator can help ends at once.
    pub async fn flush(&mut self, first: Option<ReportId>, within: Duration) -> Flushed {
        // No deadline, if it lies beyond the clock's end.
        let until = Instant::now().checked_add(within);
        let is_late = |time: Instant| until.is_some_and(|until| time >= until);
        self.herald.account = Account { watched: first, ..Account::default() };
        self.queue.clear();
        loop {
            if let Some(due) = self.due {
                if is_late(due) {
                    break;
                }
                time::sleep_until(due).await;
                self.due = None;
            }
            match self.step(first, until).await {
                Step::Again | Step::Wait if !is_late(Instant::now()) => {}
                _ => break,
            }
        }
        self.hang_up().await;
        self.closing()
    }

    /// Delivers whatever comes into the spool, until it is told to be quiet. It looks when it is woken, and now and then by
    /// itself. On `quiesce` it finishes its call or drops it within [`Pace::finish`], closes its connection and returns; it
    /// may be called again, and then waits no shorter than it would have.
    pub async fn stay(&mut self, wake: &Notify, quiesce: impl Future<Output = ()>) {
        let finish = self.pace.finish;
        let mut quiesce = pin!(quiesce);
        let mut last = Step::Again;
        self.queue.clear();
        loop {
            tokio::select! {
                biased;
                () = &mut quiesce => break,
                () = self.rest(last, wake) => {}
            }
            let mut step = pin!(self.step(None, None));
            last = tokio::select! {
                biased;
                () = &mut quiesce => {
                    // A call that is cut off is sent again later, so nothing depends on this.
                    let _ = time::timeout(finish, step).await;
                    break;
                }
                step = &mut step => step,
            };
        }
        self.hang_up().await;
    }

    /// Waits until the next step is due, or until there may be something to deliver.
    async fn rest(&mut self, last: Step, wake: &Notify) {
        if let Some(due) = self.due {
            time::sleep_until(due).await;
            self.due = None;
        } else if last == Step::Empty {
            let _ = time::timeout(self.pace.rescan, wake.notified()).await;
        }
    }

    async fn hang_up(&mut self) {
        if let Some(line) = self.line.take() {
            line.hang_up().await;
        }
    }

    /// Sends one batch, at the latest until this time.
    async fn step(&mut self, first: Option<ReportId>, until: Option<Instant>) -> Step {
        let step = match self.is_anything_queued(first) {
            Ok(false) => {
                self.freshen_idly(until).await;
                self.nothing_to_send()
            }
            // A collector that is away costs no look at the reports.
            Ok(true) => match self.reach(until).await {
                Ok(()) => self.send(until).await,
                Err(error) => self.unsent(error, 0, until).await,
            },
            Err(error) => {
                self.herald.spool(error.into());
                self.wait(None)
            }
        };
        if step != Step::Again {
            self.hang_up().await;
        }
        step
    }

    /// Sends the next reports over the line that is open.
    async fn send(&mut self, until: Option<Instant>) -> Step {
        let reports = self.pick();
        if reports.is_empty() {
            tokio::task::yield_now().await;
            return Step::Again;
        }
        let sent: Vec<_> = reports.iter().map(entry).collect();
        match self.call(reports, until).await {
            Ok((url, answers)) => {
                let ids: Vec<_> = sent.iter().map(|entry| entry.id).collect();
                self.settle(&url, &ids, answers)
            }
            Err(error) => {
                let count = sent.len();
                for entry in sent.into_iter().rev() {
                    self.queue.push_front(entry);
                }
                self.unsent(error, count, until).await
            }
        }
    }

    /// Decides how to go on after a call that answered for none of its reports, which are queued again. `count` is how many
    /// those are; none, if it did not come to the call.
    async fn unsent(&mut self, error: DeliveryError, count: usize, until: Option<Instant>) -> Step {
        if !error.is_refusal() {
            return self.failed(error, count);
        }
        match self.refused(error, until).await {
            Refusal::Over(step) => step,
            Refusal::Stands(error) => self.failed(error, count),
        }
    }

    /// The reports of the next call; none yet, if some had to be moved aside first.
    fn pick(&mut self) -> Vec<Encoded> {
        let now = self.keyring.clock().now();
        let picked = batch::pick(&self.spool, &mut self.queue, self.most, now);
        for (id, reason) in picked.set_aside {
            self.herald.set_aside(id, reason);
        }
        for (id, error) in picked.stuck {
            self.stuck(id, error);
        }
        self.deferred.extend(picked.gone);
        picked.reports
    }

    /// Whether anything waits to be sent. The spool is listed only once all that was queued has had its try.
    fn is_anything_queued(&mut self, first: Option<ReportId>) -> Result<bool, SpoolError> {
        if self.queue.is_empty() {
            self.list(first)?;
        }
        Ok(!self.queue.is_empty())
    }

    /// Queues what waits in the spool and was not deferred.
    fn list(&mut self, first: Option<ReportId>) -> Result<(), SpoolError> {
        let (foreign, mut mine): (Vec<_>, Vec<_>) =
            self.spool.list()?.into_iter().partition(|entry| entry.foreign);
        self.herald.foreign(u64::try_from(foreign.len()).unwrap_or(u64::MAX));
        let listed: HashSet<_> = mine.iter().map(|entry| entry.id).collect();
        self.deferred.retain(|id| listed.contains(id));
        mine.retain(|entry| !self.deferred.contains(&entry.id));
        // The sort is stable, so that the others stay oldest first.
        mine.sort_by_key(|entry| Some(entry.id) != first);
        self.queue = mine.into();
        Ok(())
    }

    fn nothing_to_send(&mut self) -> Step {
        if self.deferred.is_empty() {
            self.most = limits::BATCH_REPORTS;
            self.refusals = 0;
            self.herald.done();
            return Step::Empty;
        }
        self.deferred.clear();
        self.wait(None)
    }

    /// Opens a line to the collector whose turn it is, unless one is open.
    async fn reach(&mut self, until: Option<Instant>) -> Result<(), DeliveryError> {
        self.freshen(Pressing::Reports, until).await?;
        let url = self.collectors.get(self.at).ok_or(DeliveryError::NoCollector)?;
        if self.line.is_none() {
            let (access, patience) =
                (self.keyring.access()?, self.patience(self.pace.connect, until));
            let line = self.dialer.dial(url, &access, self.keyring.clock(), patience).await?;
            self.line = Some(line);
        }
        Ok(())
    }

    async fn call(
        &mut self,
        reports: Vec<Encoded>,
        until: Option<Instant>,
    ) -> Result<(Url, Vec<Answer>), DeliveryError> {
        let patience = self.patience(self.pace.call, until);
        let line = self.line.as_ref().ok_or(DeliveryError::NoCollector)?;
        let batch = convert::submit_request(reports, self.keyring.clock().now());
        let SubmitResponse { answers } = line.submit(batch, patience).await?;
        let url = line.url().clone();
        self.keyring.accepted();
        self.turned_away.accepted();
        Ok((url, answers))
    }

    /// How long to wait, at most so long. Where there are other collectors, one that hangs must leave them some of the time.
    fn patience(&self, longest: Duration, until: Option<Instant>) -> Duration {
        let share = if self.collectors.len() > 1 { 2 } else { 1 };
        let left = until.map(|until| until.saturating_duration_since(Instant::now()) / share);
        left.map_or(longest, |left| longest.min(left))
    }

    /// Does with each report what the collector's answer asks for.
    fn settle(&mut self, url: &Url, ids: &[ReportId], answers: Vec<Answer>) -> Step {
        let mut delivered = Vec::new();
        let mut quarantined = 0;
        for (id, outcome) in batch::outcomes(ids, answers) {
            match outcome {
                Ok(outcome @ (Outcome::Stored | Outcome::Duplicate)) => {
                    delivered.push(id);
                    self.herald.answered(id, url, outcome);
                }
                Ok(outcome @ (Outcome::Conflict(_) | Outcome::Rejected(_))) => {
                    match self.spool.quarantine(id, &words(&outcome, url)) {
                        Ok(()) => {
                            quarantined += 1;
                            self.herald.answered(id, url, outcome);
                        }
                        Err(error) => self.stuck(id, error),
                    }
                }
                Err(what) => {
                    self.deferred.insert(id);
                    let url = url.to_string();
                    self.herald.unanswered(DeliveryError::Unanswered { url, what });
                }
            }
        }
        let removed = self.spool.remove(&delivered);
        self.refusals = 0;
        if removed.is_ok() && !delivered.is_empty() || quarantined > 0 {
            self.backoff.reset();
            self.herald.answers(url);
        }
        if let Err(error) = removed {
            self.deferred.extend(delivered);
            self.herald.spool(error.into());
        }
        Step::Again
    }

    fn failed(&mut self, error: DeliveryError, count: usize) -> Step {
        self.turned_away.failed(&error);
        let (code, asked) = error.code();
        let next = policy::policy(code, asked, count, self.refusals);
        self.refusals = policy::refusals(code, asked, self.refusals);
        if matches!(next, Next::Half | Next::RetryHalf) {
            self.most = count / 2;
        }
        let step = match next {
            Next::Half => {
                self.herald.account.last = Some(error);
                return Step::Again;
            }
            Next::RetryHalf => self.retry(error, None),
            Next::Retry { asked } => self.retry(error, asked),
            Next::End => {
                self.herald.failing(error, Again::Pause(self.pace.pause));
                self.most = limits::BATCH_REPORTS;
                if code == Code::OutOfRange && count == 1 {
                    // Too long even alone, it must not stand in the way of the others.
                    self.deferred.extend(self.queue.pop_front().map(|entry| entry.id));
                }
                self.wait(Some(self.pace.pause));
                Step::Over
            }
        };
        self.at = (self.at + 1).checked_rem(self.collectors.len()).unwrap_or(0);
        step
    }

    fn retry(&mut self, error: DeliveryError, asked: Option<Duration>) -> Step {
        self.herald.failing(error, Again::Backoff);
        self.wait(asked)
    }

    fn wait(&mut self, asked: Option<Duration>) -> Step {
        self.due = Some(Instant::now() + self.backoff.wait(asked));
        Step::Wait
    }

    /// A report that the spool cannot read or move now. It waits for the others to have their try.
    fn stuck(&mut self, id: ReportId, error: SpoolError) {
        self.deferred.insert(id);
        self.herald.spool(error.into());
    }

    /// The account of a flush.
    fn closing(&mut self) -> Flushed {
        let account = std::mem::take(&mut self.herald.account);
        let Account { stored, duplicate, quarantined, watched, fate, last } = account;
        let (waiting, reason) = match self.spool.list() {
            Ok(entries) => (Some(entries), last),
            Err(error) => (None, Some(error.into())),
        };
        let mine = waiting.iter().flatten().filter(|entry| !entry.foreign);
        let count = |entries: usize| u64::try_from(entries).unwrap_or(u64::MAX);
        let (all, ours) = (waiting.iter().flatten().count(), mine.clone().count());
        let (left, foreign) = (waiting.is_some().then(|| count(ours)), count(all - ours));
        let is_waiting = |id| waiting.is_none() || mine.clone().any(|entry| entry.id == id);
        let first = watched.map(|id| match fate {
            Some(fate) => fate,
            None if is_waiting(id) => Fate::Waiting,
            None => self.fate_elsewhere(id),
        });
        Flushed { first, stored, duplicate, quarantined, left, foreign, reason }
    }

    /// What another agent on the same spool has done with a report.
    fn fate_elsewhere(&self, id: ReportId) -> Fate {
        let quarantined = self.spool.quarantined().unwrap_or_default();
        let mine = quarantined.into_iter().find(|record| record.id == Some(id));
        mine.map_or(Fate::Elsewhere, |record| Fate::SetAside(record.reason))
    }
}

/// A report that was read, in the queue again.
fn entry(report: &Encoded) -> Entry {
    let bytes = u64::try_from(report.bytes.len()).unwrap_or(u64::MAX);
    Entry { id: report.id, bytes, foreign: false }
}
