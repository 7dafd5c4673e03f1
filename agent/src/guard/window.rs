//! The times of a week in which a daemon may measure.

use std::{fmt, str::FromStr};

use jiff::{Timestamp, tz::TimeZone};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY_MINUTES: u32 = 24 * 60;

/// A window such as `22:00-06:00` or `sat-sun 00:00-24:00`, in UTC. One that does not end after its begin goes on into the
/// next day; its days are those on which it begins.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Window {
    /// On which days it begins, Monday first.
    days: [bool; 7],
    /// Minutes since midnight.
    begin: u32,
    /// Minutes since midnight; open until then, and no longer at it.
    end: u32,
}

impl Window {
    /// Whether it is open at this time.
    #[must_use]
    pub fn is_open(&self, at: Timestamp) -> bool {
        let at = at.to_zoned_datetime(TimeZone::UTC);
        let minute =
            60 * u32::from(at.hour().unsigned_abs()) + u32::from(at.minute().unsigned_abs());
        let today = usize::from(at.weekday().to_monday_zero_offset().unsigned_abs());
        let begins_on = |day: usize| self.days.get(day % 7).copied().unwrap_or(false);
        if self.begin < self.end {
            return begins_on(today) && (self.begin..self.end).contains(&minute);
        }
        (begins_on(today) && minute >= self.begin) || (begins_on(today + 6) && minute < self.end)
    }
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "must be such as 22:00-06:00 or sat-sun 00:00-24:00, in UTC".to_owned();
        let (days, times) = match text.trim().split_once(' ') {
            Some((days, times)) => (days_of(days).ok_or_else(wrong)?, times.trim()),
            None => ([true; 7], text.trim()),
        };
        let (begin, end) = times.split_once('-').ok_or_else(wrong)?;
        let begin = minute(begin).filter(|&begin| begin < DAY_MINUTES).ok_or_else(wrong)?;
        let end = minute(end).ok_or_else(wrong)?;
        Ok(Self { days, begin, end })
    }
}

/// `sat`, or `mon-fri`; a range may go over the end of the week.
fn days_of(text: &str) -> Option<[bool; 7]> {
    let text = text.to_lowercase();
    let day = |name: &str| DAYS.iter().position(|day| *day == name);
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (day(first)?, day(last)?),
        None => (day(&text)?, day(&text)?),
    };
    let mut days = [false; 7];
    for (index, open) in days.iter_mut().enumerate() {
        *open = (index + 7 - first) % 7 <= (last + 7 - first) % 7;
    }
    Some(days)
}

/// `06:30` in minutes; `24:00` is the end of the day.
fn minute(text: &str) -> Option<u32> {
    let (hour, minute) = text.split_once(':')?;
    if hour.len() != 2 || minute.len() != 2 {
        return None;
    }
    let (hour, minute): (u32, u32) = (hour.parse().ok()?, minute.parse().ok()?);
    let all = 60 * hour + minute;
    (minute < 60 && all <= DAY_MINUTES).then_some(all)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = DAYS.iter().zip(self.days).filter_map(|(day, open)| open.then_some(*day));
        let days: Vec<&str> = named.collect();
        if days.len() < DAYS.len() {
            write!(f, "{} ", days.join(","))?;
        }
        let time = |minutes: u32| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        write!(f, "{}-{} UTC", time(self.begin), time(self.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(window: &str, at: &str) -> bool {
        window.parse::<Window>().unwrap().is_open(at.parse().unwrap())
    }

    #[test]
    fn a_window_is_open_from_its_begin_until_its_end() {
        // A Wednesday.
        assert!(!open("09:00-17:30", "2026-11-25T08:59:59Z"));
        assert!(open("09:00-17:30", "2026-11-25T09:00:00Z"));
        assert!(open("09:00-17:30", "2026-11-25T17:29:59Z"));
        assert!(!open("09:00-17:30", "2026-11-25T17:30:00Z"));
        assert!(open("00:00-24:00", "2026-11-25T23:59:59Z"));
    }

    #[test]
    fn a_window_may_go_over_midnight() {
        for (time, is_open) in
            [("21:59", false), ("22:00", true), ("05:59", true), ("06:00", false)]
        {
            assert_eq!(open("22:00-06:00", &format!("2026-11-25T{time}:00Z")), is_open, "{time}");
        }
    }

    #[test]
    fn days_are_those_on_which_it_begins() {
        assert!(open("fri 22:00-06:00", "2026-11-28T05:00:00Z"), "Saturday morning");
        assert!(!open("fri 22:00-06:00", "2026-11-27T05:00:00Z"), "Friday morning");
        assert!(open("sun-mon 00:00-24:00", "2026-11-30T12:00:00Z"), "Monday");
        assert!(!open("sun-mon 00:00-24:00", "2026-11-28T12:00:00Z"), "Saturday");
        assert!(open("Sat 00:00-24:00", "2026-11-28T12:00:00Z"));
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for wrong in [
            "",
            "22:00",
            "22-06",
            "24:00-06:00",
            "22:60-06:00",
            "9:00-17:00",
            "22:00-24:01",
            "someday 22:00-06:00",
            "mon-fry 22:00-06:00",
            "-1:00-02:00",
        ] {
            assert!(wrong.parse::<Window>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_window_is_named_as_it_is_meant() {
        let name = |text: &str| text.parse::<Window>().unwrap().to_string();
        assert_eq!(name("22:00-06:00"), "22:00-06:00 UTC");
        assert_eq!(name("fri-sat 00:00-24:00"), "fri,sat 00:00-24:00 UTC");
    }
}
