//! What went wrong with TLS, in words that say what to do.

use std::{fmt, io, net::IpAddr};

use jiff::Timestamp;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, pki_types::UnixTime};

use crate::clock::apart;

/// Why a connection cannot be used, though something answers. Its text is what follows the collector's address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The collector's certificate has ended, by this host's clock.
    Ended {
        /// When.
        ended_at: Timestamp,
        /// What this host's clock says.
        now: Timestamp,
    },
    /// The collector's certificate has not begun, by this host's clock.
    NotBegun {
        /// When it does.
        begins_at: Timestamp,
        /// What this host's clock says.
        now: Timestamp,
    },
    /// The collector's certificate is not signed by whom this host believes.
    UnknownAuthority,
    /// The collector does not show an authority with the pinned key.
    NotPinned,
    /// The collector's certificate is for others. Holds them.
    WrongName(Vec<String>),
    /// The collector refuses the certificate that it was shown. Holds its word for it.
    Refused(String),
    /// The same of a certificate that was named, which is not the collector's to renew.
    RefusedNamed(String),
    /// TLS was spoken to something that does not.
    NoTls,
    /// Plaintext was spoken to something that speaks TLS.
    Tls,
    /// TLS is spoken there, and no HTTP/2 within.
    NoHttp2,
    /// The connection was closed before anything came.
    Silent(Spoken),
    /// Anything else.
    Other(String),
}

/// What was spoken on a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Spoken {
    /// No TLS.
    Plaintext,
    /// A handshake that did not come to its end.
    Handshake,
    /// TLS.
    Tls,
}

impl Fault {
    /// The fault that the TLS library found, if it was one.
    pub(super) fn of(error: &io::Error) -> Option<Self> {
        let inner = error.get_ref()?;
        if let Some(fault) = inner.downcast_ref::<Self>() {
            return Some(fault.clone());
        }
        inner.downcast_ref::<Error>().map(Self::from)
    }

    /// The same, if a certificate was shown that was named.
    pub(super) fn of_named(self) -> Self {
        match self {
            Self::Refused(word) => Self::RefusedNamed(word),
            other => other,
        }
    }

    /// Whether it may pass by itself.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Silent(_) | Self::Other(_))
    }
}

impl From<&Error> for Fault {
    fn from(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(error) => Self::from(error),
            Error::AlertReceived(alert) => match alert {
                AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied
                | AlertDescription::CertificateRequired => Self::Refused(format!("{alert:?}")),
                AlertDescription::NoApplicationProtocol => Self::NoHttp2,
                alert => Self::Other(format!("it answers {alert:?}")),
            },
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => Self::NoTls,
            error => Self::Other(error.to_string()),
        }
    }
}

impl From<&CertificateError> for Fault {
    fn from(error: &CertificateError) -> Self {
        match error {
            CertificateError::ExpiredContext { time, not_after } => {
                Self::Ended { ended_at: timestamp(*not_after), now: timestamp(*time) }
            }
            CertificateError::NotValidYetContext { time, not_before } => {
                Self::NotBegun { begins_at: timestamp(*not_before), now: timestamp(*time) }
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                Self::UnknownAuthority
            }
            CertificateError::ApplicationVerificationFailure => Self::NotPinned,
            CertificateError::NotValidForName => Self::WrongName(Vec::new()),
            CertificateError::NotValidForNameContext { presented, .. } => {
                Self::WrongName(presented.iter().map(|name| bare(name)).collect())
            }
            error => Self::Other(format!("its certificate cannot be used ({error})")),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended { ended_at, now } => write!(
                f,
                "shows a certificate that ended at {ended_at}, {} before what this host's clock says ({now}); renew it \
                 there, or set this clock",
                apart(*ended_at, *now)
            ),
            Self::NotBegun { begins_at, now } => write!(
                f,
                "shows a certificate that begins at {begins_at}, {} after what this host's clock says ({now}); set this clock",
                apart(*begins_at, *now)
            ),
            Self::UnknownAuthority => f.write_str(
                "shows a certificate that no authority signed which this host believes; name its authority with --tls-ca, \
                 or join again with `fleetmark-agent enroll`",
            ),
            Self::NotPinned => f.write_str(
                "does not show the authority that the token names; make sure that the token is of this collector",
            ),
            Self::WrongName(names) if names.is_empty() => {
                f.write_str("shows a certificate for another host")
            }
            Self::WrongName(names) => write!(
                f,
                "shows a certificate for other names ({}); reach it by one of them, or give it this one",
                names.join(", ")
            ),
            Self::Refused(word) => write!(
                f,
                "refuses the certificate of this host ({word}); {}if it does not know this host any more, join again with \
                 `fleetmark-agent enroll`",
                clocks(word)
            ),
            Self::RefusedNamed(word) => write!(
                f,
                "refuses the certificate of --tls-cert ({word}); {}if it has ended, the authority that issued it must issue \
                 another, and if its authority is not known there, the collector must be told of it",
                clocks(word)
            ),
            Self::NoTls => f.write_str("speaks no TLS; if that is meant, begin its URL with http:"),
            Self::Tls => f.write_str("speaks TLS; begin its URL with https:"),
            Self::NoHttp2 => f.write_str("speaks TLS, but no HTTP/2; is it a collector?"),
            Self::Silent(Spoken::Plaintext) => f.write_str(
                "closed the connection without a word; if it speaks TLS, begin its URL with https:",
            ),
            Self::Silent(Spoken::Handshake) => f.write_str(
                "closed the connection instead of speaking TLS; if it speaks plaintext, begin its URL with http:",
            ),
            Self::Silent(Spoken::Tls) => {
                f.write_str("closed the connection without a word; it stops, or refuses this host")
            }
            Self::Other(what) => write!(f, "does not speak TLS as this host does: {what}"),
        }
    }
}

impl std::error::Error for Fault {}

/// What to look at first if the word is one that is said of a certificate that has not begun too.
fn clocks(word: &str) -> &'static str {
    match word {
        "CertificateExpired" => {
            "by the collector's clock it has ended, or does not count yet: compare the clocks; "
        }
        _ => "",
    }
}

/// The library's `DnsName("collector")` without what is around it, and an address as everybody else writes it.
fn bare(name: &str) -> String {
    let inner = name.split_once('(').map_or(name, |(_, inner)| inner);
    let inner = inner.trim_end_matches(')').trim_matches('"');
    inner.parse::<IpAddr>().map_or_else(|_| inner.to_owned(), |address| address.to_string())
}

fn timestamp(time: UnixTime) -> Timestamp {
    i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;

    use super::*;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
    }

    #[test]
    fn a_clock_that_is_off_is_told_by_how_much() {
        let error = CertificateError::NotValidYetContext {
            time: at(1_000_000),
            not_before: at(1_000_000 + 2 * 86_400),
        };
        let says = Fault::from(&error).to_string();
        assert!(says.contains("2 days after what this host's clock says"), "{says}");
        let error = CertificateError::ExpiredContext { time: at(90_000), not_after: at(80_000) };
        let says = Fault::from(&error).to_string();
        assert!(says.contains("ended at 1970-01-01T22:13:20Z, 2 hours before"), "{says}");
    }

    #[test]
    fn a_wrong_name_is_told_with_the_right_ones() {
        let error = CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("other").unwrap(),
            presented: vec![
                "DnsName(\"collector\")".into(),
                "IpAddress(127.0.0.1)".into(),
                "IpAddress(0::1)".into(),
            ],
        };
        let says = Fault::from(&error).to_string();
        assert!(says.contains("(collector, 127.0.0.1, ::1)"), "{says}");
    }

    #[test]
    fn only_a_refusal_of_our_certificate_is_one() {
        let fault = |alert| Fault::from(&Error::AlertReceived(alert));
        for alert in [AlertDescription::CertificateExpired, AlertDescription::UnknownCA] {
            assert!(matches!(fault(alert), Fault::Refused(_)), "{alert:?}");
        }
        assert!(matches!(fault(AlertDescription::InternalError), Fault::Other(_)));
        let named = fault(AlertDescription::CertificateExpired).of_named();
        assert_eq!(named, Fault::RefusedNamed("CertificateExpired".into()));
        let says = named.to_string();
        assert!(says.contains("must issue another") && !says.contains("enroll"), "{says}");
        assert!(says.contains("does not count yet: compare the clocks"), "{says}");
        let unknown = fault(AlertDescription::UnknownCA).to_string();
        assert!(!unknown.contains("clock"), "{unknown}");
        assert_eq!(Fault::NoHttp2.of_named(), Fault::NoHttp2);
        assert_eq!(fault(AlertDescription::NoApplicationProtocol), Fault::NoHttp2);
    }
}
