//! Calls whose requests are still on their way, and which of them gives way when there is no room for another.
//!
//! It costs nothing to begin a call and send nothing, so places go by connections: whoever has many calls on their way
//! gives way to whoever has few.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Context,
    time::Duration,
};

use futures_util::task::AtomicWaker;
use tokio::time::Instant;

/// So many times as many calls are far more than another connection's. In an overload by connections that are alike, chance
/// alone makes twice as many, and what has half arrived is not thrown away for that.
const FAR_MORE: usize = 4;

/// How many calls of one connection are on their way. It changes while the line is locked.
pub(in crate::server) type OfOne = Arc<AtomicUsize>;

/// All such calls, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Arriving(Mutex<Line>);

#[derive(Debug, Default)]
struct Line {
    next: u64,
    calls: BTreeMap<u64, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    of_one: OfOne,
    word: Arc<Word>,
}

/// Tells a call that it has to go.
#[derive(Debug, Default)]
struct Word {
    given: AtomicBool,
    waker: AtomicWaker,
}

/// A call's place among those that are on their way.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    word: Arc<Word>,
}

impl Place {
    /// Whether the call was made to give way.
    pub(super) fn is_lost(&self) -> bool {
        self.word.given.load(Ordering::Acquire)
    }

    /// The same; if not, the task is woken when it is.
    pub(super) fn poll_lost(&self, cx: &Context<'_>) -> bool {
        self.word.waker.register(cx.waker());
        self.is_lost()
    }
}

impl Waiting {
    fn of_one(&self) -> usize {
        self.of_one.load(Ordering::Relaxed)
    }
}

impl Arriving {
    /// A call of this connection begins.
    pub(super) fn begin(&self, of_one: OfOne) -> Place {
        let mut line = self.line();
        let number = line.next;
        line.next += 1;
        of_one.fetch_add(1, Ordering::Relaxed);
        let word = Arc::<Word>::default();
        let waiting = Waiting { since: Instant::now(), of_one, word: Arc::clone(&word) };
        line.calls.insert(number, waiting);
        Place { number, word }
    }

    /// A call has arrived, or is over.
    pub(super) fn end(&self, place: &Place) {
        self.line().take(place.number);
    }

    /// Has a call give way to one of this connection, if there is one that has to: of the connection that has the most, if
    /// that are far more; else the one that is longest on its way, if that is for as long as `late` and its connection has
    /// more than this one.
    pub(super) fn make_room(&self, of_one: &OfOne, late: Duration) -> bool {
        let mut line = self.line();
        let own = of_one.load(Ordering::Relaxed);
        // Of the same number, the last is the oldest.
        let fullest = line.calls.iter().rev().max_by_key(|(_, call)| call.of_one());
        let greedy = fullest.filter(|(_, call)| call.of_one() / FAR_MORE > own);
        let chosen = greedy.or_else(|| {
            let mut old = line.calls.iter().take_while(|(_, call)| call.since.elapsed() >= late);
            old.find(|(_, call)| call.of_one() > own)
        });
        let Some(gone) = chosen.map(|(number, _)| *number).and_then(|number| line.take(number))
        else {
            return false;
        };
        gone.word.given.store(true, Ordering::Release);
        gone.word.waker.wake();
        true
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn take(&mut self, number: u64) -> Option<Waiting> {
        let call = self.calls.remove(&number)?;
        call.of_one.fetch_sub(1, Ordering::Relaxed);
        Some(call)
    }
}
