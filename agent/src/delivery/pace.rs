//! How patient delivery is.

use std::time::Duration;

use crate::backoff;

/// Times of one courier. The default is what agents use; tests and simulations may be in more of a hurry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pace {
    /// For a connection, from the name's resolution on.
    pub connect: Duration,
    /// For a call, until the whole answer is there.
    pub call: Duration,
    /// The ceiling of the first wait after a failure.
    pub first_wait: Duration,
    /// The highest ceiling of a wait.
    pub longest_wait: Duration,
    /// Between attempts where an operator must help; at most [`backoff::LONGEST_ASKED`].
    pub pause: Duration,
    /// Between looks into an empty spool, as another process may have put something there.
    pub rescan: Duration,
    /// For the call that runs when the courier is told to be quiet.
    pub finish: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            call: Duration::from_secs(30),
            first_wait: backoff::FIRST,
            longest_wait: backoff::LONGEST,
            pause: Duration::from_secs(10 * 60),
            rescan: Duration::from_secs(60),
            finish: Duration::from_secs(3),
        }
    }
}
