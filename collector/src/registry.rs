//! Who may join, who has joined, who may not any more, and what came of all that. Kept in the store beside the runs; the suite
//! of tests in this module holds for every backend.

pub use fleetmark_proto::control::{
    AuditEntry, Event, KnownAgent, KnownToken, Network, Revoked, RevokedSubject, Revoking,
};

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use fleetmark_proto::{
    id::{Digest, HostId},
    limits,
    role::{Role, Subject},
    token::TokenId,
};
use jiff::Timestamp;

use crate::{identity::Address, store::StoreError};

/// A host that wants to join.
#[derive(Clone, Debug)]
pub struct Joining {
    /// SHA-256 of the secret that it showed.
    pub token: Digest,
    /// What it wants to be known by.
    pub host_id: HostId,
    /// What it calls itself.
    pub host_name: String,
    /// SHA-256 of its public key.
    pub key: Digest,
    /// From where.
    pub address: Address,
    /// When.
    pub now: Timestamp,
    /// When its certificate will end.
    pub ends_at: Timestamp,
}

/// Why a host may not join or renew. The host is told so.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// The token is not known.
    #[error("this token is unknown here; make one with `fleetmark-collector token create`")]
    UnknownToken,
    /// It is none to join with.
    #[error("this token is not for hosts to join with")]
    NotToJoin,
    /// It has ended.
    #[error("this token ended at {0}; make another with `fleetmark-collector token create`")]
    Ended(Timestamp),
    /// It was used as often as it may be.
    #[error(
        "this token is used up ({0} of {0}); make another with `fleetmark-collector token create`"
    )]
    UsedUp(u32),
    /// Somebody revoked it.
    #[error("this token was revoked")]
    RevokedToken,
    /// It is for others.
    #[error("this token may not be used from {0}")]
    OtherNetwork(String),
    /// It is for another host.
    #[error("this token is for host {0} alone")]
    OtherHost(HostId),
    /// The host is known.
    #[error("host {0} is enrolled already; to replace it, make a token with --replace-host {0}")]
    KnownHost(HostId),
    /// The host is not known.
    #[error("host {0} is not enrolled here")]
    UnknownHost(HostId),
    /// Somebody revoked the host.
    #[error(
        "host {0} was revoked; it can join again only with a token made with --replace-host {0}"
    )]
    RevokedHost(HostId),
    /// Another key has taken the host's place.
    #[error("host {0} was enrolled again with another key")]
    Replaced(HostId),
    /// It ended too long ago.
    #[error("the certificate ended at {0}, more than 90 days ago; enrol the host again")]
    LongEnded(Timestamp),
    /// Another authority issued it, or none.
    #[error("this certificate was not issued here; enrol the host again")]
    ForeignCertificate,
    /// Whoever asks does not show that it has the key.
    #[error("the request is not signed with the key of the certificate")]
    OtherKey,
}

/// What decides of each call. It is read again and again, and kept in memory between.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Key and revocation of each host that joined.
    pub agents: HashMap<HostId, AgentStanding>,
    /// Whose certificates of other authorities are refused.
    pub revoked: HashSet<Subject>,
    /// Bearer tokens that were not revoked, by the SHA-256 of their secrets.
    pub bearers: HashMap<Digest, BearerStanding>,
}

/// What decides of an agent's calls.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AgentStanding {
    /// SHA-256 of the public key that counts.
    pub key: Digest,
    /// Whether it was revoked.
    pub is_revoked: bool,
}

/// What decides of calls with a bearer token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BearerStanding {
    /// The token.
    pub id: TokenId,
    /// What it is good for.
    pub role: Role,
    /// The host that it speaks for, if it is an agent's.
    pub host: Option<HostId>,
    /// When it ends.
    pub ends_at: Timestamp,
    /// From where it may be used.
    pub network: Option<Network>,
}

/// Whether a host that joined then, and asks for the same again, asks for what it has just been given.
#[must_use]
pub fn is_same_join(joined_at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(joined_at).unsigned_abs() < limits::JOIN_AGAIN
}

/// What every backend can do. Whoever changes something says so in the audit trail, in the same commit.
#[async_trait]
pub trait Registry: Send + Sync {
    /// Keeps a new token, by the SHA-256 of its secret.
    ///
    /// # Errors
    ///
    /// If it could not be committed.
    async fn create_token(
        &self,
        token: KnownToken,
        digest: Digest,
        by: AuditEntry,
    ) -> Result<(), StoreError>;

    /// All tokens, newest first.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    async fn tokens(&self) -> Result<Vec<KnownToken>, StoreError>;

    /// Revokes a token; `None` if it is unknown, `false` if it was revoked before.
    ///
    /// # Errors
    ///
    /// If it could not be committed.
    async fn revoke_token(&self, id: TokenId, by: AuditEntry) -> Result<Option<bool>, StoreError>;

    /// Lets a host join if its token allows, in one transaction: of two that race for the last use, one is refused. The same host
    /// that asks again with the same token and key has joined already. Soon after ([`limits::JOIN_AGAIN`]) that changes nothing and
    /// leaves no line in the audit trail, later it is as a renewal.
    ///
    /// What is refused leaves no line here or below: anybody can be refused as often as he likes, so whoever asks bounds those.
    ///
    /// # Errors
    ///
    /// If it could not be committed.
    async fn join(&self, joining: Joining) -> Result<Result<KnownAgent, Refused>, StoreError>;

    /// Lets a host with this key have its next certificate.
    ///
    /// # Errors
    ///
    /// If it could not be committed.
    async fn renew(
        &self,
        host_id: HostId,
        key: Digest,
        address: Address,
        now: Timestamp,
        ends_at: Timestamp,
    ) -> Result<Result<KnownAgent, Refused>, StoreError>;

    /// All hosts that joined, by their ids.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    async fn agents(&self) -> Result<Vec<KnownAgent>, StoreError>;

    /// Revokes somebody: all certificates, whoever issued them, and the bearer tokens of an agent. Nobody has to be known for
    /// that, as other authorities do not tell whom they know. Or takes it back, but for tokens.
    ///
    /// # Errors
    ///
    /// If it could not be committed.
    async fn revoke(&self, revoking: Revoking, by: AuditEntry) -> Result<Revoked, StoreError>;

    /// Whose certificates of other authorities are refused, by role and name.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    async fn revoked(&self) -> Result<Vec<RevokedSubject>, StoreError>;

    /// What decides of each call.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    async fn standing(&self) -> Result<Standing, StoreError>;

    /// Adds a line to the audit trail.
    ///
    /// # Errors
    ///
    /// If it could not be committed.
    async fn record(&self, entry: AuditEntry) -> Result<(), StoreError>;

    /// The audit trail from then on, oldest first.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    async fn audit(&self, since: Option<Timestamp>) -> Result<Vec<AuditEntry>, StoreError>;
}

#[cfg(test)]
mod tests;
