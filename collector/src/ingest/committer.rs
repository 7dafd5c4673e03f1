//! Puts the batches of many calls into one commit, as a commit costs the disk's time whatever is in it.

use std::{sync::Arc, time::Duration};

use fleetmark_proto::{convert::Outcome, limits, shell};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use crate::{
    seldom::Seldom,
    status::{Refusal, SubmitError},
    store::{NewRun, Store},
};

/// How much is put together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Grouping {
    /// Reports at which a commit no longer waits for more.
    pub reports: usize,
    /// How long a report waits for others.
    pub wait: Duration,
    /// Batches that wait for a commit.
    pub queue: usize,
}

impl Default for Grouping {
    /// What [`limits`] says.
    fn default() -> Self {
        Self {
            reports: limits::COMMIT_REPORTS,
            wait: limits::COMMIT_WAIT,
            queue: limits::COMMIT_QUEUE,
        }
    }
}

/// The way to the task that commits. It ends with the last of its clones.
#[derive(Clone, Debug)]
pub struct Committer {
    queue: mpsc::Sender<Request>,
    times: Histogram,
}

/// What is told of each run of a batch, in order.
type Answer = Result<Vec<Outcome>, SubmitError>;

enum Request {
    Commit(Batch),
    Flush(oneshot::Sender<()>),
}

struct Batch {
    runs: Vec<Arc<NewRun>>,
    since: Instant,
    answer: oneshot::Sender<Answer>,
    /// What the batch holds on to until it is answered, even if its call is not there any more.
    _held: Box<dyn Send>,
}

impl Batch {
    /// Who is gone will come again, and be told that it is a duplicate.
    fn tell(self, answer: Answer) {
        let _ = self.answer.send(answer);
    }
}

impl Committer {
    /// Starts the task.
    #[must_use]
    pub fn start(store: Arc<dyn Store>, grouping: Grouping) -> Self {
        let (queue, requests) = mpsc::channel(grouping.queue);
        // From a fast disk to one that a person should look at.
        let times = Histogram::new(exponential_buckets(0.001, 2.0, 14));
        let committing = Committing { store, times: times.clone(), troubles: Seldom::default() };
        tokio::spawn(committing.work(grouping, requests));
        Self { queue, times }
    }

    /// How long commits took, in seconds, failed ones too.
    pub(crate) fn times(&self) -> &Histogram {
        &self.times
    }

    /// Batches that wait for a commit.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.max_capacity().saturating_sub(self.queue.capacity())
    }

    /// Stores a batch, together with what others bring at the same time. `held` is let go when the batch is answered.
    ///
    /// # Errors
    ///
    /// If too many batches wait, or the store did not take this one. If the caller does not wait for the answer, the batch
    /// is stored all the same.
    pub async fn commit(&self, runs: Vec<NewRun>, held: impl Send + 'static) -> Answer {
        let (answer, answered) = oneshot::channel();
        let runs = runs.into_iter().map(Arc::new).collect();
        let batch = Batch { runs, since: Instant::now(), answer, _held: Box::new(held) };
        self.queue.try_send(Request::Commit(batch)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refusal::Queue,
            mpsc::error::TrySendError::Closed(_) => Refusal::Draining,
        })?;
        answered.await.unwrap_or(Err(SubmitError::Refused(Refusal::Draining)))
    }

    /// Returns when all that was brought before is answered.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        // A task that is gone has nothing left to do.
        if self.queue.send(Request::Flush(done)).await.is_ok() {
            let _ = flushed.await;
        }
    }
}

/// The task that commits.
struct Committing {
    store: Arc<dyn Store>,
    times: Histogram,
    troubles: Seldom,
}

impl Committing {
    async fn work(self, grouping: Grouping, mut requests: mpsc::Receiver<Request>) {
        while let Some(first) = requests.recv().await {
            let (batches, flushed) = gather(first, grouping, &mut requests).await;
            self.commit(batches).await;
            if let Some(flushed) = flushed {
                let _ = flushed.send(());
            }
        }
    }

    /// Commits batches together. If that fails, each is tried by itself, so that none fails for another's fault.
    async fn commit(&self, batches: Vec<Batch>) {
        if batches.is_empty() {
            return;
        }
        let together = batches.iter().flat_map(|batch| batch.runs.iter().cloned()).collect();
        match self.put(together).await {
            Ok(mut outcomes) => {
                for batch in batches {
                    let others = outcomes.split_off(batch.runs.len());
                    batch.tell(Ok(outcomes));
                    outcomes = others;
                }
            }
            Err(SubmitError::Store(error)) if batches.len() > 1 && !error.is_busy() => {
                for batch in batches {
                    let told = self.put(batch.runs.clone()).await;
                    batch.tell(told);
                }
            }
            Err(error) => {
                for batch in batches {
                    batch.tell(Err(error.clone()));
                }
            }
        }
    }

    async fn put(&self, runs: Vec<Arc<NewRun>>) -> Answer {
        let sent = runs.len();
        let begin = Instant::now();
        let outcomes = self.store.put(runs).await;
        self.times.observe(begin.elapsed().as_secs_f64());
        let outcomes = outcomes.map_err(|error| {
            // What the store says may name files; that is for the operator.
            self.troubles.happened(|times| {
                let cause = shell::one_line(&error);
                tracing::error!(
                    "nothing can be stored ({times} times since this was said): {cause}"
                );
            });
            SubmitError::Store(Arc::new(error))
        })?;
        if outcomes.len() != sent {
            return Err(SubmitError::Miscounted { sent, answered: outcomes.len() });
        }
        Ok(outcomes)
    }
}

/// What goes into one commit: until there are enough reports, the first has waited long enough, or somebody wants it now.
async fn gather(
    first: Request,
    grouping: Grouping,
    requests: &mut mpsc::Receiver<Request>,
) -> (Vec<Batch>, Option<oneshot::Sender<()>>) {
    let mut batches: Vec<Batch> = Vec::new();
    let mut reports = 0;
    let mut next = Some(first);
    loop {
        match next {
            Some(Request::Commit(batch)) => {
                reports += batch.runs.len();
                batches.push(batch);
            }
            Some(Request::Flush(flushed)) => return (batches, Some(flushed)),
            None => return (batches, None),
        }
        let Some(deadline) = batches.first().map(|first| first.since + grouping.wait) else {
            return (batches, None);
        };
        if reports >= grouping.reports {
            return (batches, None);
        }
        // What came while the last commit went on has waited already, and is taken without waiting more.
        next = match requests.try_recv() {
            Ok(request) => Some(request),
            Err(_) => timeout_at(deadline, requests.recv()).await.ok().flatten(),
        };
    }
}

#[cfg(test)]
mod tests;
