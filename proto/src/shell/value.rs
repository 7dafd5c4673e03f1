//! Parsers of what is typed after flags. Each complaint is one line.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use jiff::{Span, SpanRelativeTo, Timestamp};
use url::{Host, Url};

use crate::{convert, limits, plan::Amount, token};

/// A duration such as `10ms`, `30s`, `6h` or `30d`; more than nothing, at most ten years.
///
/// # Errors
///
/// If it is not one.
pub fn duration(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);
    let parsed = text
        .parse::<Span>()
        .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()))
        .map_err(|_| "must be a duration such as 10ms, 30s or 30d".to_owned())?;
    match Duration::try_from(parsed) {
        Ok(duration) if !duration.is_zero() && duration <= LONGEST => Ok(duration),
        _ => Err("must be longer than 0 and at most 10 years".to_owned()),
    }
}

/// A duration of at most a day, as waits and deadlines are.
///
/// # Errors
///
/// If it is not one.
pub fn short_duration(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration > limits::DURATION {
        return Err("must be at most 24h".to_owned());
    }
    Ok(duration)
}

/// A number of units: `1000`, or `2/worker` for that many a worker.
///
/// # Errors
///
/// If it is neither, zero, or over [`limits::UNITS`].
pub fn amount(text: &str) -> Result<Amount, String> {
    let (number, wrap): (&str, fn(u64) -> Amount) = match text.strip_suffix("/worker") {
        Some(number) => (number, Amount::UnitsPerWorker),
        None => (text, Amount::Units),
    };
    let wrong = || format!("must be 1 to {}, or such a number a worker: 2/worker", limits::UNITS);
    let units: u64 = number.parse().map_err(|_| wrong())?;
    if !(1..=limits::UNITS).contains(&units) {
        return Err(wrong());
    }
    Ok(wrap(units))
}

/// A number of bytes: `65536`, `64KiB`, `64MiB` or `1GiB`; at least 2 MiB, as anything that is bounded by it holds reports.
///
/// # Errors
///
/// If it is not one.
pub fn bytes(text: &str) -> Result<u64, String> {
    const LEAST: u64 = 2 << 20;
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    let (number, shift) = units
        .into_iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)))
        .unwrap_or((text, 0));
    let number: Option<u64> = number.trim_end().parse().ok();
    number
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|bytes| *bytes >= LEAST)
        .ok_or_else(|| "must be a number of bytes, such as 64MiB; at least 2MiB".to_owned())
}

/// A label, `KEY=VALUE`.
///
/// # Errors
///
/// If there is no `=`, or key or value is not allowed.
pub fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    convert::check_label(key, value).map_err(|invalid| invalid.reason)?;
    Ok((key.to_owned(), value.to_owned()))
}

/// The path of a file that a token is in. A token itself is none, however often it is typed there.
///
/// # Errors
///
/// If it is a token. A file with such a name can still be told by its path, `./NAME`.
pub fn token_file(path: OsString) -> Result<PathBuf, &'static str> {
    if token::is_like_one(&path.to_string_lossy()) {
        return Err(
            "this is a token, not a file; write it to a file that only you can read, and name that",
        );
    }
    Ok(path.into())
}

/// The address of a collector: `https://HOST[:PORT]`, `http://HOST[:PORT]`, or `unix:PATH` of a socket on this host; without a
/// port it is 7600.
///
/// # Errors
///
/// If it is not one.
pub fn collector_url(text: &str) -> Result<Url, String> {
    const WRONG: &str = "must be a URL such as https://collector:7600";
    // The url crate passes over these, and what is left is not what a person reads.
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(WRONG.to_owned());
    }
    let mut url: Url = text.parse().map_err(|_| WRONG.to_owned())?;
    if url.scheme() == "unix" {
        let path = url.path();
        let bare = url.query().is_none() && url.fragment().is_none() && !url.has_host();
        return match bare && path.starts_with('/') && path.len() > 1 {
            true => Ok(url),
            false => Err("must be unix: with the whole path of a socket".to_owned()),
        };
    }
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let anonymous = url.username().is_empty() && url.password().is_none();
    let whole = text.get(url.scheme().len()..).is_some_and(|rest| rest.starts_with("://"));
    let known = matches!(url.scheme(), "http" | "https");
    if !known || !whole || !url.has_host() || !bare || !anonymous {
        return Err(WRONG.to_owned());
    }
    // The url crate drops a scheme's own port; only what was typed tells `:80` from nothing.
    let typed_port = text
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.trim_end_matches('/').parse::<u16>().is_ok());
    if !typed_port {
        url.set_port(Some(7600)).map_err(|()| WRONG.to_owned())?;
    }
    Ok(url)
}

/// The path of the socket that a `unix:` URL leads to. What a URL cannot have in it stands there as `%20` does for a space.
#[must_use]
pub fn socket_path(url: &Url) -> Option<PathBuf> {
    let path = (url.scheme() == "unix").then(|| url.path())?;
    Url::parse(&format!("file://{path}")).ok()?.to_file_path().ok()
}

/// What [`collector_url`] reads as this URL: with its port, which a URL leaves out where it is its scheme's own.
#[must_use]
pub fn collector_text(url: &Url) -> String {
    match (url.host(), url.port_or_known_default()) {
        (Some(host), Some(port)) => format!("{}://{host}:{port}", url.scheme()),
        _ => url.as_str().to_owned(),
    }
}

/// Whether a URL leads to this host and nowhere else.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        _ if url.scheme() == "unix" => true,
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// A point in time: one that lies a duration back, or an RFC 3339 time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Since {
    /// This long before now.
    Ago(Duration),
    /// Then.
    At(Timestamp),
}

impl Since {
    /// The time that is meant, if it is now `now`.
    #[must_use]
    pub fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(duration) => now.checked_sub(duration).unwrap_or(Timestamp::MIN),
            Self::At(time) => time,
        }
    }
}

/// `30d`, or `2026-11-01T00:00:00Z`.
///
/// # Errors
///
/// If it is neither.
pub fn since(text: &str) -> Result<Since, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(Since::At(time));
    }
    duration(text).map(Since::Ago).map_err(|_| {
        "must be a duration such as 30d, or a time such as 2026-11-01T00:00:00Z".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("10ms"), Ok(Duration::from_millis(10)));
        assert_eq!(duration("30d"), Ok(Duration::from_secs(30 * 86_400)));
        for wrong in ["", "0s", "-1s", "ten", "5", "99999999999999999999s", "99y"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert!(short_duration("25h").is_err());
    }

    #[test]
    fn numbers_of_bytes() {
        assert_eq!(bytes("64MiB"), Ok(64 << 20));
        assert_eq!(bytes("4 GiB"), Ok(4 << 30));
        assert_eq!(bytes("2097152"), Ok(2 << 20));
        for wrong in ["", "64MB", "-1MiB", "1.5GiB", "2047KiB", "18446744073709551615KiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn amounts() {
        assert_eq!(amount("1000"), Ok(Amount::Units(1000)));
        assert_eq!(amount("2/worker"), Ok(Amount::UnitsPerWorker(2)));
        for wrong in ["0", "0/worker", "-1", "1e3", "2/core", "", "1000001", "18446744073709551616"]
        {
            assert!(amount(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn labels() {
        assert_eq!(label("rack=7=b"), Ok(("rack".into(), "7=b".into())));
        for wrong in ["rack", "=7", "a b=c", "a=\u{7}"] {
            assert!(label(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn files_of_tokens() {
        assert_eq!(token_file("./fmj1_abc".into()), Ok("./fmj1_abc".into()));
        assert_eq!(token_file("-".into()), Ok("-".into()));
        assert!(token_file("fmb1_abc".into()).unwrap_err().contains("a token, not a file"));
    }

    #[test]
    fn collectors() {
        let url = |text| collector_url(text).unwrap();
        assert_eq!(url("http://127.0.0.1").as_str(), "http://127.0.0.1:7600/");
        assert_eq!(url("http://[::1]:80").port_or_known_default(), Some(80));
        assert_eq!(url("https://collector").as_str(), "https://collector:7600/");
        assert_eq!(url("https://collector:443").port_or_known_default(), Some(443));
        assert_eq!(url("unix:/run/fleetmark.sock").path(), "/run/fleetmark.sock");
        assert!(is_loopback(&url("unix:/run/fleetmark.sock")));
        assert!(is_loopback(&url("http://127.0.0.9:1")));
        assert!(is_loopback(&url("http://[::1]")));
        assert!(is_loopback(&url("http://localhost:7600")));
        assert!(!is_loopback(&url("http://collector:7600")));
        for wrong in [
            "",
            "collector",
            "127.0.0.1:7600",
            "ftp://x",
            "http://",
            "http://x/y",
            "http://u@x",
            "https:00/",
            "https:collector:7600",
            "https:/collector",
            "https://collector:\t443",
            "https://col\nlector",
            " https://collector",
            "unix:",
            "unix:socket",
            "unix://host/socket",
        ] {
            assert!(collector_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_collector_is_the_same_after_it_was_written_and_read() {
        for (typed, written) in [
            ("https://collector:443", "https://collector:443"),
            ("http://[::1]:80/", "http://[::1]:80"),
            ("https://collector", "https://collector:7600"),
            ("unix:/run/fleetmark.sock", "unix:/run/fleetmark.sock"),
        ] {
            let url = collector_url(typed).unwrap();
            assert_eq!(collector_text(&url), written);
            assert_eq!(collector_url(written), Ok(url));
        }
    }

    #[test]
    fn paths_of_sockets() {
        let path = |text| socket_path(&collector_url(text).unwrap());
        for (typed, means) in [
            ("unix:/run/fleetmark.sock", "/run/fleetmark.sock"),
            ("unix:/run/a%20b/ä.sock", "/run/a b/ä.sock"),
            ("unix:/100%25", "/100%"),
        ] {
            assert_eq!(path(typed), Some(means.into()), "{typed}");
        }
        assert_eq!(path("http://127.0.0.1"), None);
    }

    #[test]
    fn points_in_time() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        assert_eq!(since("1d").unwrap().before(now).to_string(), "2026-11-23T12:00:00Z");
        assert_eq!(
            since("2026-01-01T00:00:00Z").unwrap().before(now).to_string(),
            "2026-01-01T00:00:00Z"
        );
        assert!(since("yesterday").is_err());
    }
}
