//! Who makes a call, and what of it may be done.

use std::{fmt, net::IpAddr};

use fleetmark_proto::{
    id::{Digest, HostId},
    role::{Role, Subject},
    token::TokenId,
};
use jiff::Timestamp;

use crate::registry::Refused;

/// Who makes a call, and from where. Every request that reaches a service has it among its extensions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caller {
    /// Who.
    pub who: Who,
    /// From where.
    pub address: Address,
}

/// Who somebody is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Who {
    /// Nobody knows.
    Nobody,
    /// Trusted for the place from where it calls: the collector's Unix socket, or loopback where that is trusted.
    Near,
    /// Somebody with a certificate or a token.
    Known(Subject, Credential),
}

/// How somebody proved who it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Credential {
    /// A certificate that an authority of this collector's signed.
    Certificate(Certificate),
    /// A bearer token.
    Token(TokenId),
}

/// What of a certificate decides whether it still counts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// SHA-256 of its public key (its `SubjectPublicKeyInfo`, DER).
    pub key: Digest,
    /// Since when it counts.
    pub begins_at: Timestamp,
    /// Until when it counts.
    pub ends_at: Timestamp,
    /// Whether this collector's own authority signed it. Then the registry knows its host and its key.
    pub is_ours: bool,
}

/// From where somebody calls.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Address {
    /// Over a network, or loopback.
    Ip(IpAddr),
    /// Over the collector's Unix socket.
    Unix,
    /// The collector's own command line.
    Here,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
            Self::Here => f.write_str("here"),
        }
    }
}

impl Caller {
    /// Who makes this call; `None` if the server did not say so.
    #[must_use]
    pub fn of(extensions: &tonic::Extensions) -> Option<Self> {
        extensions.get().cloned()
    }

    /// Whether it may submit reports of this host. Who is trusted for its place has no host of its own.
    #[must_use]
    pub fn may_submit_for(&self, host: &HostId) -> bool {
        match &self.who {
            Who::Nobody => false,
            Who::Near => true,
            Who::Known(subject, _) => subject.role == Role::Agent && subject.name == *host,
        }
    }

    /// What is wrong with a host that it may not submit reports of.
    #[must_use]
    pub fn refusal_of_host(&self) -> String {
        match &self.who {
            Who::Known(subject, Credential::Token(_)) => {
                format!("is not {}, the host of this token", subject.name)
            }
            _ => "is not the host of this certificate".to_owned(),
        }
    }
}

impl fmt::Display for Caller {
    /// Who, as logs and the audit trail say it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.who {
            Who::Nobody => f.write_str("nobody known"),
            Who::Near => f.write_str("somebody on this host"),
            Who::Known(subject, _) => subject.fmt(f),
        }
    }
}

/// Why a call is not for whoever makes it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Denied {
    /// It came without anything that says who makes it.
    #[error(
        "this call needs a certificate, which `fleetmark-agent enroll` gets, or a bearer token \
         of `fleetmark-collector token create`"
    )]
    NoCredentials,
    /// What it came with is no bearer token.
    #[error("the header `authorization` is not `Bearer` with a token: {0}")]
    NoToken(String),
    /// Its bearer token is not known.
    #[error("this bearer token is unknown here")]
    UnknownToken,
    /// Somebody revoked its bearer token.
    #[error("this bearer token was revoked")]
    RevokedToken,
    /// Its bearer token has ended.
    #[error("this bearer token ended at {0}")]
    TokenEnded(Timestamp),
    /// Its bearer token is for others.
    #[error("this bearer token may not be used from {0}")]
    OtherNetwork(Address),
    /// Its certificate names nobody.
    #[error("{0}")]
    Nobody(String),
    /// Its certificate does not count yet.
    #[error("the certificate counts from {0} on; one of the clocks is wrong")]
    NotYet(Timestamp),
    /// Its certificate of this collector's has ended.
    #[error("the certificate ended at {0}; renew it")]
    Ended(Timestamp),
    /// Its certificate of another authority has.
    #[error("the certificate ended at {0}; the authority that issued it must issue another")]
    EndedOfOther(Timestamp),
    /// Its certificate is of another authority, and somebody revoked it.
    #[error(
        "{0} was revoked; an operator can let it in again with `fleetmark-collector agent revoke {name} --role {role} --undo`",
        name = .0.name, role = .0.role
    )]
    Revoked(Subject),
    /// Its certificate is that of a host that has no leave any more.
    #[error(transparent)]
    Host(#[from] Refused),
    /// It is known, and may not make this call.
    #[error("{call} is for the role {allowed}, not for {who}")]
    Role {
        /// What it is.
        who: Subject,
        /// What it called.
        call: String,
        /// Who may.
        allowed: String,
    },
    /// Who may do what could not be read for a while.
    #[error("the collector cannot tell now who may do what; try again")]
    CannotTell,
}
