//! Says in the log what happens often, but seldom.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A line is said at most this often.
const PAUSE: Duration = Duration::from_secs(10);

/// One kind of line.
#[derive(Debug, Default)]
pub(crate) struct Seldom {
    times: AtomicU64,
    said: Mutex<Option<Instant>>,
}

impl Seldom {
    /// It happened. `say` is called if it is time to, with how often it happened since it was said last.
    pub(crate) fn happened(&self, say: impl FnOnce(u64)) {
        self.times.fetch_add(1, Ordering::Relaxed);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|said| said.elapsed() >= PAUSE) {
            *said = Some(Instant::now());
            say(self.times.swap(0, Ordering::Relaxed));
        }
    }
}

/// Lines of several kinds, each of which is said for itself. The kinds are written down in the code, and so are few.
#[derive(Debug, Default)]
pub(crate) struct SeldomEach(Mutex<BTreeMap<&'static str, Arc<Seldom>>>);

impl SeldomEach {
    /// The lines of one kind.
    pub(crate) fn of(&self, kind: &'static str) -> Arc<Seldom> {
        Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default())
    }
}

/// What a line says of those that went unsaid, at its end.
pub(crate) fn lately(times: u64) -> String {
    match times {
        0 | 1 => String::new(),
        times => format!(" (and {} more since this was said last)", times - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_said_once() {
        let seldom = Seldom::default();
        let mut said = vec![];
        for _ in 0..5 {
            seldom.happened(|times| said.push(times));
        }
        assert_eq!(said, [1]);
        *seldom.said.lock().unwrap() = Instant::now().checked_sub(PAUSE);
        seldom.happened(|times| said.push(times));
        assert_eq!(said, [1, 5], "with what went unsaid");
        let each = SeldomEach::default();
        let mut said = vec![];
        for kind in ["one", "other", "one"] {
            each.of(kind).happened(|_| said.push(kind));
        }
        assert_eq!(said, ["one", "other"], "one kind does not silence another");
        assert_eq!([lately(1), lately(5)], ["", " (and 4 more since this was said last)"]);
    }
}
