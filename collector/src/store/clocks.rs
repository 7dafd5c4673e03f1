//! Whose clock says when a run ended.

use std::{fmt, time::Duration};

use jiff::{SignedDuration, Timestamp};

/// Clocks that differ by more than this are not the network's doing: then the collector's counts.
const APART: Duration = Duration::from_secs(5 * 60);

/// The two clocks at the moment when a report came: the collector's and, where it tells, the agent's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Clocks {
    received_at: Timestamp,
    sent_at: Option<Timestamp>,
}

impl Clocks {
    /// Both clocks, cut to the microseconds that a store keeps.
    #[must_use]
    pub fn new(received_at: Timestamp, sent_at: Option<Timestamp>) -> Self {
        Self { received_at: cut(received_at), sent_at: sent_at.map(cut) }
    }

    /// When the collector took the report, by its own clock.
    #[must_use]
    pub fn received_at(self) -> Timestamp {
        self.received_at
    }

    /// When the agent sent it, by the agent's clock; `None` if it did not tell.
    #[must_use]
    pub fn sent_at(self) -> Option<Timestamp> {
        self.sent_at
    }

    /// How far the clocks are apart, where that is more than five minutes. `None` where they agree, or the agent did not
    /// tell.
    #[must_use]
    pub fn skew(self) -> Option<Skew> {
        let behind = self.received_at.duration_since(self.sent_at?);
        (behind.unsigned_abs() > APART).then_some(Skew { behind })
    }

    /// A time of the agent's clock by the collector's, where the agent tells its clock and that is off.
    #[must_use]
    pub fn set_right(self, time: Timestamp) -> Timestamp {
        match self.skew() {
            // Beyond the clock's end there is no time to tell it from.
            Some(Skew { behind }) => time.saturating_add(behind).unwrap_or(time),
            None => time,
        }
    }

    /// When a run ended that ended at `ended_at` by the agent's clock.
    ///
    /// An agent whose clock agrees is believed, however long the report lay in its spool. Otherwise the time is set right
    /// by what the clocks are apart. Of an agent that does not tell its clock, only an end within five minutes is believed.
    /// No run ended much later than it was received.
    #[must_use]
    pub fn trusted(self, ended_at: Timestamp) -> Timestamp {
        let age = self.received_at.duration_since(ended_at);
        let believed = if self.sent_at.is_none() {
            age.unsigned_abs() <= APART
        } else {
            !age.is_negative() || age.unsigned_abs() <= APART
        };
        match self.skew() {
            Some(_) => self.set_right(ended_at).min(self.received_at),
            None if believed => ended_at,
            None => self.received_at,
        }
    }
}

/// How far an agent's clock is off the collector's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Skew {
    /// How far the agent's clock is behind; negative if it is ahead.
    pub behind: SignedDuration,
}

impl fmt::Display for Skew {
    /// `3h 7m behind`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = SignedDuration::from_secs(self.behind.abs().as_secs());
        write!(f, "{seconds:#} {}", if self.behind.is_negative() { "ahead" } else { "behind" })
    }
}

pub(super) fn cut(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;

    use super::*;

    fn now() -> Timestamp {
        cut(Timestamp::now())
    }

    #[test]
    fn without_the_agents_clock_only_a_fresh_run_is_believed() {
        let now = now();
        let trusted = |ended_at| Clocks::new(now, None).trusted(ended_at);
        assert_eq!(trusted(now - 4.minutes()), now - 4.minutes());
        assert_eq!(trusted(now + 4.minutes()), now + 4.minutes());
        assert_eq!(trusted(now - 6.minutes()), now);
        assert_eq!(trusted(now + 6.minutes()), now);
        assert_eq!(Clocks::new(now, None).skew(), None);
    }

    #[test]
    fn a_clock_that_agrees_is_believed_however_long_the_report_lay() {
        let now = now();
        for apart in [-5.minutes(), 0.minutes(), 5.minutes()] {
            let clocks = Clocks::new(now, Some(now + apart));
            assert_eq!(clocks.skew(), None);
            assert_eq!(clocks.trusted(now - 2_000.hours()), now - 2_000.hours());
        }
        let clocks = Clocks::new(now, Some(now));
        assert_eq!(clocks.trusted(now + 1.hour()), now, "the clock jumped back in between");
    }

    #[test]
    fn a_skewed_clock_is_set_right_and_never_later_than_received() {
        let now = now();
        let behind = Clocks::new(now, Some(now - 3.hours()));
        assert_eq!(behind.skew().unwrap().behind, SignedDuration::from_hours(3));
        assert_eq!(behind.skew().unwrap().to_string(), "3h behind");
        assert_eq!(behind.trusted(now - 10.hours()), now - 7.hours());
        assert_eq!(behind.trusted(now - 1.hour()), now, "it ended after it was sent");
        let ahead = Clocks::new(now, Some(now + 3.hours()));
        assert_eq!(ahead.skew().unwrap().to_string(), "3h ahead");
        assert_eq!(ahead.trusted(now + 2.hours()), now - 1.hour());
    }

    #[test]
    fn clocks_at_the_end_of_time_are_no_panic() {
        for sent_at in [Timestamp::MIN, Timestamp::MAX] {
            let clocks = Clocks::new(now(), Some(sent_at));
            for ended_at in [Timestamp::MIN, Timestamp::MAX] {
                assert!(clocks.trusted(ended_at) <= clocks.received_at());
            }
        }
    }
}
