//! What time it is, passed in.

use std::{fmt, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use rustls::{pki_types::UnixTime, time_provider::TimeProvider};

/// Tells the time by which certificates begin and end.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// This host's clock.
    #[must_use]
    pub fn of_host() -> Self {
        Self::new(Timestamp::now)
    }

    /// Another one.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// What it says.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.now().as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// How far two times lie apart, for a person.
#[must_use]
pub fn apart(one: Timestamp, other: Timestamp) -> String {
    span(one.duration_since(other))
}

/// How long that is, either way, for a person.
#[must_use]
pub fn span(duration: SignedDuration) -> String {
    let seconds = duration.unsigned_abs().as_secs();
    let (number, unit) = match seconds {
        ..120 => (seconds, "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

/// The same without fractions of a second.
#[must_use]
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;

    use super::*;

    #[test]
    fn times_lie_apart_in_units_that_a_person_reads() {
        let now = Timestamp::now();
        let said = |span: jiff::Span| [apart(now, now + span), apart(now + span, now)];
        assert_eq!(said(1.second()), ["1 second"; 2]);
        assert_eq!(said(10.minutes()), ["10 minutes"; 2]);
        assert_eq!(said(47.hours()), ["47 hours"; 2]);
        assert_eq!(said(49.hours()), ["2 days"; 2]);
    }
}
