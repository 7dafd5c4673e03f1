//! Why somebody did not come in, for a person.

use std::{fmt, io};

use rustls::{AlertDescription, CertificateError};

/// Why somebody did not come in.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("it went away")]
    Gone,
    #[error("it speaks plaintext, and this address takes TLS only (https://)")]
    Plaintext,
    #[error("what it sends is no TLS, and this address takes nothing else (https://)")]
    Garbage,
    #[error("it took too long")]
    TooSlow,
    #[error("its certificate {0}")]
    Certificate(Reason),
    #[error("it does not trust this collector's certificate: {0}")]
    Distrusted(Reason),
    #[error(transparent)]
    Other(io::Error),
}

/// What is wrong with a certificate.
#[derive(Debug)]
pub(super) struct Reason {
    /// In words of ours.
    pub(super) kind: &'static str,
    /// In words of the library, where there are none of ours.
    more: Option<String>,
}

impl From<&'static str> for Reason {
    fn from(kind: &'static str) -> Self {
        Self { kind, more: None }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.more {
            None => f.write_str(self.kind),
            Some(more) => write!(f, "{}: {more}", self.kind),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
        match cause {
            Some(rustls::Error::InvalidCertificate(wrong)) => Self::Certificate(words(wrong)),
            Some(rustls::Error::AlertReceived(alert)) => Self::Distrusted(doubts(*alert)),
            Some(
                rustls::Error::InvalidMessage(_)
                | rustls::Error::InappropriateMessage { .. }
                | rustls::Error::InappropriateHandshakeMessage { .. }
                | rustls::Error::PeerSentOversizedRecord,
            ) => Self::Garbage,
            Some(_) => Self::Other(error),
            None if error.kind() == io::ErrorKind::UnexpectedEof => Self::Gone,
            None => Self::Other(error),
        }
    }
}

/// What somebody says to be wrong with our certificate.
fn doubts(alert: AlertDescription) -> Reason {
    match alert {
        AlertDescription::CertificateExpired => {
            "by its clock that has ended, or does not count yet; one of the clocks is wrong".into()
        }
        AlertDescription::UnknownCA => "no authority signed it which that host believes".into(),
        // The one is what agents say to another name, the other what they say to another authority than their token names.
        AlertDescription::BadCertificate | AlertDescription::AccessDenied => {
            "it is not the one that host expects: it has another name, or is of another authority"
                .into()
        }
        other => Reason { kind: "it says so", more: Some(format!("{other:?}")) },
    }
}

/// The library tells so of an authority's certificate that a client shows as its own, and has no other name for it.
const OF_AN_AUTHORITY: &str = "CaUsedAsEndEntity";

/// What is wrong with a certificate.
fn words(wrong: &CertificateError) -> Reason {
    use CertificateError as Wrong;
    match wrong {
        Wrong::Expired | Wrong::ExpiredContext { .. } => "has ended".into(),
        Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => {
            "does not count yet; one of the clocks is wrong".into()
        }
        Wrong::UnknownIssuer => "was signed by an authority that is not trusted here".into(),
        Wrong::BadSignature => "was not signed by the authority that it names".into(),
        Wrong::InvalidPurpose | Wrong::InvalidPurposeContext { .. } => {
            "is not one for clients".into()
        }
        Wrong::Other(error) if error.to_string().contains(OF_AN_AUTHORITY) => {
            "is an authority's, not a client's".into()
        }
        Wrong::BadEncoding => "cannot be read".into(),
        other => Reason { kind: "cannot be used", more: Some(other.to_string()) },
    }
}
