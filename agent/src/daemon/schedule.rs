//! When a daemon measures. No I/O; clocks are passed in.

use std::{fmt, time::Duration};

use jiff::Timestamp;

use super::measured::{Last, Subject};

/// Why a host is to be measured.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Why {
    /// Nothing is known of an earlier run.
    Unmeasured,
    /// These parts of what was measured are others now.
    Changed(Vec<&'static str>),
    /// The time that was asked for is over.
    Time,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unmeasured => write!(f, "this host is not measured yet"),
            Self::Changed(parts) => write!(f, "changed since the last run: {}", parts.join(", ")),
            Self::Time => write!(f, "it is time, by --every"),
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Due {
    /// A run, now.
    Now(Why),
    /// A run after this long, unless something changes before.
    In(Duration),
    /// Nothing, unless something changes.
    OnChange,
}

/// When to measure, if it is `now`. `every` is the time from the end of one run to the next with its share of jitter, where
/// runs are asked for by time.
#[must_use]
pub(super) fn due(
    this: &Subject,
    last: Option<&Last>,
    every: Option<Duration>,
    now: Timestamp,
) -> Due {
    let Some(last) = last else { return Due::Now(Why::Unmeasured) };
    let changes = this.changes(&last.subject);
    if !changes.is_empty() {
        return Due::Now(Why::Changed(changes));
    }
    let Some(every) = every else { return Due::OnChange };
    let since = now.duration_since(last.ended_at);
    // A clock that was set back must not put the next run off by as much.
    let since = if since.is_negative() { Duration::ZERO } else { since.unsigned_abs() };
    match every.checked_sub(since).filter(|left| !left.is_zero()) {
        Some(left) => Due::In(left),
        None => Due::Now(Why::Time),
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;

    use super::{super::measured::Record, *};

    const EVERY: Option<Duration> = Some(Duration::from_secs(6 * 3_600));

    fn subject(kernel: &str) -> Subject {
        Subject {
            kernel: Some(kernel.into()),
            microcode: None,
            build: "meter 1".into(),
            profile: "0123456789ab".into(),
        }
    }

    #[test]
    fn a_host_is_measured_once_and_when_something_changed() {
        let now = Timestamp::now();
        let last = Last { subject: subject("6.18"), ended_at: now - 99.hours() };
        assert_eq!(due(&subject("6.18"), None, None, now), Due::Now(Why::Unmeasured));
        assert_eq!(due(&subject("6.18"), Some(&last), None, now), Due::OnChange);
        let changed = due(&subject("6.19"), Some(&last), None, now);
        assert_eq!(changed, Due::Now(Why::Changed(vec!["kernel"])));
        assert!(matches!(changed, Due::Now(why) if why.to_string().ends_with(": kernel")));
    }

    #[test]
    fn time_counts_from_the_end_of_the_last_run() {
        let now = Timestamp::now();
        let after = |hours: i64| {
            let last = Last { subject: subject("6.18"), ended_at: now - hours.hours() };
            due(&subject("6.18"), Some(&last), EVERY, now)
        };
        assert_eq!(after(2), Due::In(Duration::from_secs(4 * 3_600)));
        assert_eq!(after(6), Due::Now(Why::Time));
        assert_eq!(after(600), Due::Now(Why::Time));
        assert_eq!(after(-9_000), Due::In(EVERY.unwrap()), "a clock that was set back");
    }

    #[test]
    fn a_clock_that_was_set_back_puts_the_next_run_off_once() {
        for is_writable in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let mut record = Record::new(folder.path(), &"a".parse().unwrap());
            let now = Timestamp::now();
            let last = Last { subject: subject("6.18"), ended_at: now + 9_000.hours() };
            record.write(&last).unwrap();
            if !is_writable {
                let place = folder.path().join("agent/measured");
                std::fs::remove_dir_all(&place).unwrap();
                std::fs::write(&place, "a file").unwrap();
                record.write(&last).unwrap_err();
            }
            let mut after = |hours: i64| {
                let now = now + hours.hours();
                due(&subject("6.18"), record.read_at(now).as_ref(), EVERY, now)
            };
            let hours = |hours: u64| Due::In(Duration::from_secs(hours * 3_600));
            assert_eq!(after(0), hours(6));
            assert_eq!(after(1), hours(5), "time counts from when it was seen");
            assert_eq!(after(5), hours(1));
            assert_eq!(after(6), Due::Now(Why::Time));
        }
    }
}
