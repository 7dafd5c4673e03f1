//! Why reports were not delivered, in one line for a person.

use std::{error::Error, iter, time::Duration};

use fleetmark_proto::{invalid::Invalid, limits, shell};
use tonic::{Code, Status, TimeoutExpired};
use tonic_types::StatusExt as _;

use super::{
    access::AccessError,
    fault::{Fault, Spoken},
};
use crate::{
    credentials::{CredentialsError, KeyError, NotOurs},
    spool::SpoolError,
};

/// Reports that were not answered. They may be stored or not; sending the same bytes again is safe.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// Plaintext to another host needs leave.
    #[error(
        "{url} is not on this host, and plaintext needs --insecure on both sides; with TLS it begins with https:"
    )]
    NeedsInsecure {
        /// Where it was to go.
        url: String,
    },
    /// Nobody said where to.
    #[error(
        "no collector is named; name one with --collector URL, or join one with `fleetmark-agent enroll`"
    )]
    NoCollector,
    /// There is nothing to check a certificate by.
    #[error(
        "nothing says whether the collector at {url} is one; join it with `fleetmark-agent enroll`, or name the authority of \
         its certificate with --tls-ca FILE"
    )]
    NobodyBelieved {
        /// Where it was to go.
        url: String,
    },
    /// What answers cannot be believed or understood.
    #[error("the collector at {url} {fault}")]
    Tls {
        /// Where it was tried.
        url: String,
        /// Why not.
        fault: Fault,
    },
    /// The collector is not there.
    #[error("no collector answers at {url}; is `fleetmark-collector serve` running there?")]
    Unreachable {
        /// Where it was tried.
        url: String,
        /// What the network said.
        source: tonic::transport::Error,
    },
    /// The connection broke in the middle of a call.
    #[error("the connection to the collector at {url} broke: {cause}")]
    Broken {
        /// Where it led.
        url: String,
        /// What the network said.
        cause: String,
    },
    /// The collector refused the call as a whole.
    #[error("the collector at {url} answers: {}", said(*code, message))]
    Refused {
        /// Where it was tried.
        url: String,
        /// The code that it answered.
        code: Code,
        /// What it said, as [`plain`] text.
        message: String,
        /// How long it asked to be left alone.
        asked: Option<Duration>,
    },
    /// The collector's answer is none that this version knows.
    #[error("the collector at {url} did not answer the report ({what})")]
    Unanswered {
        /// Where it was tried.
        url: String,
        /// What was wrong with the answer.
        what: Invalid,
    },
    /// The collector's answer brings no certificate.
    #[error("the collector at {url} issued no certificate ({what})")]
    Unissued {
        /// Where it was tried.
        url: String,
        /// What was wrong with the answer.
        what: Invalid,
    },
    /// The collector's answer brings a certificate that this host cannot use.
    #[error("what the collector at {url} issued is of no use to this host: {what}")]
    NotOurs {
        /// Where it was tried.
        url: String,
        /// What was wrong with it.
        what: NotOurs,
    },
    /// The certificate cannot be renewed.
    #[error("this host's certificate cannot be renewed: {0}")]
    NotRenewed(Box<DeliveryError>),
    /// Somebody else changed who this host is.
    #[error("this host has joined anew, or left, since this was started; start it again")]
    JoinedAnew,
    /// What was named to be shown or believed cannot be used.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// What this host has since it joined cannot be read or kept.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The host's key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The collector took too long.
    #[error("the collector at {url} did not answer within {} s", (.patience.as_secs_f64() * 10.0).round() / 10.0)]
    TooSlow {
        /// Where it was tried.
        url: String,
        /// For how long.
        patience: Duration,
    },
    /// The spool could not be read or written.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

impl DeliveryError {
    /// What a connection came to that could not be made.
    pub(super) fn of_dial(url: String, source: tonic::transport::Error) -> Self {
        let fault = causes(&source).find_map(|cause| cause.downcast_ref::<Fault>()).cloned();
        match fault {
            Some(fault) => Self::Tls { url, fault },
            None => Self::Unreachable { url, source },
        }
    }

    /// What a call came to that the collector or the network failed as a whole.
    pub(super) fn of_call(url: String, status: &Status, patience: Duration) -> Self {
        let Some(source) = status.source() else {
            return Self::Refused {
                url,
                code: status.code(),
                message: plain(status.message()),
                asked: asked(status),
            };
        };
        // A status with a source was made here, of what the network did. Its code is a guess: a connection that a
        // restarting collector closes may become `Internal`.
        if is_timeout(source) {
            return Self::TooSlow { url, patience };
        }
        Self::Broken { url, cause: plain(&shell::one_line(source)) }
    }

    /// Whether another certificate may be the end of it. A collector that closes a connection at once may have refused the one
    /// that it was shown.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Refused { code, .. } => *code == Code::Unauthenticated,
            Self::Tls { fault, .. } => {
                matches!(
                    fault,
                    Fault::Refused(_) | Fault::RefusedNamed(_) | Fault::Silent(Spoken::Tls)
                )
            }
            _ => false,
        }
    }

    /// Whether the collector takes nothing of this host for who it is or for what it shows: it was revoked, or its token or
    /// certificate is unknown or has ended, and there is no other to be had.
    pub(super) fn turns_away(&self) -> bool {
        match self {
            Self::Refused { code, .. } => {
                matches!(code, Code::PermissionDenied | Code::Unauthenticated)
            }
            Self::Tls { fault, .. } => {
                matches!(fault, Fault::Refused(_) | Fault::RefusedNamed(_))
            }
            Self::NotRenewed(source) => source.turns_away(),
            _ => false,
        }
    }

    /// The code to go by, and how long the collector asked to be left alone.
    pub(super) fn code(&self) -> (Code, Option<Duration>) {
        match self {
            Self::Refused { code, asked, .. } => (*code, *asked),
            Self::TooSlow { .. } => (Code::DeadlineExceeded, None),
            Self::Unreachable { .. }
            | Self::Broken { .. }
            | Self::Unanswered { .. }
            | Self::Unissued { .. }
            | Self::Spool(_)
            | Self::Credentials(_) => (Code::Unavailable, None),
            Self::NotRenewed(source) => source.code(),
            Self::Tls { fault, .. } if fault.may_pass() => (Code::Unavailable, None),
            Self::NeedsInsecure { .. }
            | Self::NoCollector
            | Self::NobodyBelieved { .. }
            | Self::Tls { .. }
            | Self::NotOurs { .. }
            | Self::JoinedAnew
            | Self::Access(_)
            | Self::Key(_) => (Code::FailedPrecondition, None),
        }
    }
}

impl From<rustls::Error> for DeliveryError {
    fn from(error: rustls::Error) -> Self {
        Self::Access(error.into())
    }
}

fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| cause.is::<TimeoutExpired>())
}

/// An error and all that caused it.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

/// What was said, or the word for it where nothing was.
fn said(code: Code, message: &str) -> String {
    match message {
        "" => format!("{code:?}"),
        message => message.to_owned(),
    }
}

/// A `RetryInfo` without a delay allows to come back at once.
fn asked(status: &Status) -> Option<Duration> {
    status.get_details_retry_info().map(|info| info.retry_delay.unwrap_or_default())
}

/// What a server said, fit for a terminal and a file: one line without control characters, of bounded length.
#[must_use]
pub fn plain(text: &str) -> String {
    let text = &text[..text.floor_char_boundary(limits::LONG_TEXT_BYTES)];
    let visible = text.replace(char::is_control, " ");
    visible.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_told_only_where_nothing_else_was_said() {
        let line = |status| {
            DeliveryError::of_call("https://a:7600/".to_owned(), &status, Duration::ZERO)
                .to_string()
        };
        assert_eq!(
            line(Status::permission_denied("host web-1 was revoked")),
            "the collector at https://a:7600/ answers: host web-1 was revoked"
        );
        assert_eq!(
            line(Status::unavailable("\n")),
            "the collector at https://a:7600/ answers: Unavailable"
        );
    }

    #[test]
    fn only_a_word_against_this_host_turns_it_away() {
        let url = || "https://a:7600/".to_owned();
        let refused =
            |code| DeliveryError::Refused { url: url(), code, message: String::new(), asked: None };
        for number in 0..17 {
            let code = Code::from_i32(number);
            let is_word = matches!(code, Code::PermissionDenied | Code::Unauthenticated);
            assert_eq!(refused(code).turns_away(), is_word, "{code:?}");
        }
        let faulty = |fault| DeliveryError::Tls { url: url(), fault };
        let refusal = Fault::Refused("CertificateExpired".into());
        assert!(faulty(refusal.clone().of_named()).turns_away());
        assert!(faulty(refusal).turns_away());
        assert!(!faulty(Fault::UnknownAuthority).turns_away(), "that is this host's word");
        assert!(!faulty(Fault::Silent(Spoken::Tls)).turns_away());
        let not_renewed = |error| DeliveryError::NotRenewed(Box::new(error));
        assert!(not_renewed(refused(Code::PermissionDenied)).turns_away());
        assert!(!not_renewed(refused(Code::Unavailable)).turns_away());
    }

    #[test]
    fn what_a_server_says_becomes_one_harmless_line() {
        assert_eq!(plain("no\n\tspace \u{1b}[31mleft\u{7}"), "no space [31mleft");
        let long = plain(&"ä".repeat(limits::LONG_TEXT_BYTES));
        assert_eq!(long.len(), limits::LONG_TEXT_BYTES);
        let odd = plain(&format!("x{}", "ä".repeat(limits::LONG_TEXT_BYTES)));
        assert_eq!(odd.len(), limits::LONG_TEXT_BYTES - 1);
    }
}
