//! Batches offered to a collector by many clients at once, and what was seen of it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fleetmark_proto::unit::count;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

use super::{Answer, Batch, Link};
use crate::simulate::Fleet;

/// How often an open load looks what is due.
const TICK: Duration = Duration::from_millis(1);
/// How long a client waits that was refused without a word on when to come again.
const UNTOLD: Duration = Duration::from_secs(1);

/// Batches to be offered. What is refused comes back, to the end of the queue.
#[derive(Debug, Default)]
pub struct Supply {
    batches: Mutex<VecDeque<Batch>>,
}

impl Supply {
    /// So many batches of so many reports each, all new.
    #[must_use]
    pub fn of(fleet: &mut Fleet, batches: usize, reports: usize) -> Arc<Self> {
        let supply = Self::default();
        supply.fill(fleet, batches, reports);
        Arc::new(supply)
    }

    /// Adds new batches until there are so many.
    pub fn fill(&self, fleet: &mut Fleet, batches: usize, reports: usize) {
        let there = self.batches.lock().unwrap_or_else(PoisonError::into_inner).len();
        for _ in there..batches {
            self.give(Batch::of(fleet, reports));
        }
    }

    fn take(&self) -> Option<Batch> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn give(&self, batch: Batch) {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).push_back(batch);
    }
}

/// What is offered, to whom and for how long.
#[derive(Clone, Debug)]
pub struct Load {
    /// The clients that share the work.
    pub links: Vec<Link>,
    /// What they deliver.
    pub supply: Arc<Supply>,
    /// How long they go on.
    pub lasting: Duration,
}

/// What became of what was offered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// How long it lasted: shorter than wanted if there was nothing left to offer.
    pub lasted: Duration,
    /// Calls that were made.
    pub calls: u64,
    /// Reports that were stored while it lasted.
    pub stored: u64,
    /// Reports that were stored, but told after the end.
    pub stored_late: u64,
    /// Reports that had been stored before.
    pub duplicate: u64,
    /// Reports in conflict, rejected, or not answered.
    pub other: u64,
    /// Calls that were refused with a word on when to come again.
    pub refused: u64,
    /// Calls that were refused without it.
    pub refused_untold: u64,
    /// Calls that failed otherwise, by how.
    pub failed: BTreeMap<String, u64>,
    /// Calls that were due and could not be made, as too many others were not answered yet.
    pub held_back: u64,
    /// Whether there was nothing left to offer before the end.
    pub ran_dry: bool,
    /// How long each call took that was answered for its reports.
    pub answering: Vec<Duration>,
    /// How long each call took that was refused.
    pub refusing: Vec<Duration>,
}

impl Seen {
    /// Reports stored in a second.
    #[must_use]
    pub fn goodput(&self) -> f64 {
        let seconds = self.lasted.as_secs_f64();
        if seconds > 0.0 { approximate(self.stored) / seconds } else { 0.0 }
    }

    /// Calls that failed otherwise than by a refusal.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    fn count(&mut self, answer: Answer, took: Duration, late: bool) {
        self.calls += 1;
        match answer {
            Answer::Answered { stored, duplicate, other } => {
                let counter = if late { &mut self.stored_late } else { &mut self.stored };
                *counter += count(stored);
                self.duplicate += count(duplicate);
                self.other += count(other);
                self.answering.push(took);
            }
            Answer::Refused(told) => {
                let counter =
                    if told.is_some() { &mut self.refused } else { &mut self.refused_untold };
                *counter += 1;
                self.refusing.push(took);
            }
            Answer::Failed(how) => *self.failed.entry(how).or_default() += 1,
        }
    }

    /// Adds what another client saw at the same time.
    fn merge(&mut self, other: Self) {
        let Self {
            lasted,
            calls,
            stored,
            stored_late,
            duplicate,
            other,
            refused,
            refused_untold,
            failed,
            held_back,
            ran_dry,
            answering,
            refusing,
        } = other;
        self.lasted = self.lasted.max(lasted);
        self.calls += calls;
        self.stored += stored;
        self.stored_late += stored_late;
        self.duplicate += duplicate;
        self.other += other;
        self.refused += refused;
        self.refused_untold += refused_untold;
        for (how, times) in failed {
            *self.failed.entry(how).or_default() += times;
        }
        self.held_back += held_back;
        self.ran_dry |= ran_dry;
        self.answering.extend(answering);
        self.refusing.extend(refusing);
    }
}

/// As a floating-point number; what is counted here is far below 2^53.
fn approximate(number: u64) -> f64 {
    fleetmark_proto::unit::Nanos(number).to_f64()
}

/// Delivers a batch, notes what came of it, and puts it back unless it was answered.
async fn deliver(
    link: &Link,
    supply: &Supply,
    batch: Batch,
    end: Instant,
) -> (Seen, Option<Duration>) {
    let begin = Instant::now();
    let answer = link.submit(&batch).await;
    let wait = match &answer {
        Answer::Answered { .. } => None,
        Answer::Refused(told) => Some(told.unwrap_or(UNTOLD)),
        Answer::Failed(_) => Some(UNTOLD),
    };
    if wait.is_some() {
        supply.give(batch);
    }
    let mut seen = Seen::default();
    let now = Instant::now();
    seen.count(answer, now - begin, now > end);
    (seen, wait)
}

/// A closed load: this many callers, of whom each delivers its next batch when the last is answered, and one that is refused
/// comes again when it was told to.
pub async fn closed(load: &Load, callers: usize) -> Seen {
    let (begin, lasting) = (Instant::now(), load.lasting);
    let end = begin + lasting;
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let Some(link) = load.links.get(caller % load.links.len().max(1)).cloned() else { break };
        let supply = Arc::clone(&load.supply);
        tasks.spawn(async move {
            let mut all = Seen::default();
            while Instant::now() < end {
                let Some(batch) = supply.take() else {
                    all.ran_dry = true;
                    break;
                };
                let (seen, wait) = deliver(&link, &supply, batch, end).await;
                all.merge(seen);
                if let Some(wait) = wait {
                    sleep_until(end.min(Instant::now() + wait)).await;
                }
            }
            all.lasted = begin.elapsed().min(lasting);
            all
        });
    }
    let mut all = Seen::default();
    for seen in tasks.join_all().await {
        all.merge(seen);
    }
    all
}

/// An open load: this many calls a second, evenly, whatever the collector makes of them, on one connection after the other.
/// At most `unanswered` are on their way at a time.
pub async fn open(load: &Load, calls_per_s: f64, unanswered: usize) -> Seen {
    let begin = Instant::now();
    let end = begin + load.lasting;
    let mut all = Seen { lasted: load.lasting, ..Seen::default() };
    let places = Arc::new(Semaphore::new(unanswered));
    let together = Arc::new(Mutex::new(Seen::default()));
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut links = load.links.iter().cycle();
    let mut made: u64 = 0;
    loop {
        ticks.tick().await;
        let passed = begin.elapsed().min(load.lasting);
        let due = passed.as_secs_f64() * calls_per_s;
        while approximate(made) < due {
            made += 1;
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                all.held_back += 1;
                continue;
            };
            let (Some(link), Some(batch)) = (links.next().cloned(), load.supply.take()) else {
                all.ran_dry = true;
                continue;
            };
            let (supply, together) = (Arc::clone(&load.supply), Arc::clone(&together));
            tokio::spawn(async move {
                let (seen, _) = deliver(&link, &supply, batch, end).await;
                together.lock().unwrap_or_else(PoisonError::into_inner).merge(seen);
                drop(place);
            });
        }
        if passed == load.lasting {
            break;
        }
    }
    while places.available_permits() < unanswered {
        sleep(TICK).await;
    }
    let together = std::mem::take(&mut *together.lock().unwrap_or_else(PoisonError::into_inner));
    all.merge(together);
    all
}

#[cfg(test)]
mod tests;
