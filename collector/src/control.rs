//! What operators do, whichever way they come: over the wire, or at the collector's own command line.

mod service;

pub use service::ControlService;

use std::{io, sync::Arc};

use fleetmark_proto::{
    control::{AuditEntry, Created, Event, Forgotten, KnownToken, NewToken, Revoked, Revoking},
    id::{Digest, HostId},
    invalid::Invalid,
    limits,
    role::{Role, Subject},
    secret::Secret,
    token::{BearerToken, JoinToken, TokenId},
};
use jiff::Timestamp;
use url::Url;

use crate::{identity::Address, registry::Registry, status::ControlError};

/// A token cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// There can be no such token.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// There is no authority that hosts could know the collector by.
    #[error("hosts cannot join yet; run `fleetmark-collector init` first")]
    NoAuthority,
    /// Nobody said where hosts reach the collector.
    #[error("nobody said where hosts reach the collector; give it as --endpoint https://HOST:7600")]
    NoEndpoint,
    /// The endpoint is not one that hosts can join at.
    #[error("{0} is no endpoint that hosts can join at; it must be a short https URL")]
    WrongEndpoint(Url),
    /// The operating system has no random bytes.
    #[error("the operating system has no random bytes")]
    Random(#[source] io::Error),
}

/// Makes tokens that lead to one collector.
#[derive(Clone, Debug, Default)]
pub struct Issuing {
    /// Where hosts reach it.
    pub endpoint: Option<Url>,
    /// SHA-256 of its authority's public key.
    pub pin: Option<Digest>,
}

impl Issuing {
    /// Makes a token. Its secret's digest comes beside it; the secret itself is in the token alone.
    ///
    /// # Errors
    ///
    /// If there can be no such token, or it would lead nowhere.
    pub fn issue(&self, asked: NewToken, now: Timestamp) -> Result<(Created, Digest), IssueError> {
        asked.check()?;
        let secret = Secret::new().map_err(IssueError::Random)?;
        let digest = secret.digest();
        let is_to_join = asked.is_to_join();
        let known = asked.made(&secret, now);
        let token = if is_to_join {
            let pin = self.pin.ok_or(IssueError::NoAuthority)?;
            let endpoint = self.endpoint.clone().ok_or(IssueError::NoEndpoint)?;
            let token = JoinToken { endpoint: endpoint.clone(), pin, secret }.expose();
            if endpoint.scheme() != "https" || token.len() > limits::TOKEN_CHARS {
                return Err(IssueError::WrongEndpoint(endpoint));
            }
            token
        } else {
            BearerToken { secret }.expose()
        };
        Ok((Created { token, known }, digest))
    }
}

/// Who does something, as the audit trail says it.
#[derive(Clone, Debug)]
pub struct By {
    /// Who.
    pub who: String,
    /// From where.
    pub address: Address,
    /// When.
    pub at: Timestamp,
}

impl By {
    fn entry(&self, event: Event, detail: String) -> AuditEntry {
        let Self { who, address, at } = self;
        AuditEntry { at: *at, event, who: who.clone(), address: address.to_string(), detail }
    }
}

/// What a token lets its bearer do, as the audit trail says it.
fn leave(token: &KnownToken) -> String {
    let KnownToken { id, role, host, ends_at, uses, labels, replace_host, network, .. } = token;
    let host = host.as_ref().map(|host| format!(" {host}")).unwrap_or_default();
    let mut said = vec![format!("token {id}: {role}{host}, until {ends_at}")];
    if token.is_to_join() {
        said.push(match uses {
            1 => "for 1 host".to_owned(),
            uses => format!("for {uses} hosts"),
        });
    }
    said.extend(replace_host.as_ref().map(|host| format!("replaces host {host}")));
    said.extend(network.map(|network| format!("from {network}")));
    if !labels.is_empty() {
        let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        said.push(format!("labels {}", labels.join(" ")));
    }
    said.join(", ")
}

/// Where operators have things changed.
#[derive(Clone)]
pub struct Desk {
    registry: Arc<dyn Registry>,
    issuing: Issuing,
}

impl Desk {
    /// One that changes this registry.
    #[must_use]
    pub fn new(registry: Arc<dyn Registry>, issuing: Issuing) -> Self {
        Self { registry, issuing }
    }

    /// Makes a token, and keeps what may be known of it.
    ///
    /// # Errors
    ///
    /// If there can be no such token, or it cannot be kept.
    pub async fn create_token(&self, asked: NewToken, by: &By) -> Result<Created, ControlError> {
        let (created, digest) = self.issuing.issue(asked, by.at)?;
        let known = created.known.clone();
        let entry = by.entry(Event::TokenCreated, leave(&known));
        self.registry.create_token(known, digest, entry).await?;
        Ok(created)
    }

    /// Revokes a token, and tells whether this did it.
    ///
    /// # Errors
    ///
    /// If there is none, or it cannot be changed.
    pub async fn revoke_token(&self, id: TokenId, by: &By) -> Result<bool, ControlError> {
        let name = format!("token {id}");
        let entry = by.entry(Event::TokenRevoked, name.clone());
        self.registry.revoke_token(id, entry).await?.ok_or(ControlError::Unknown(name))
    }

    /// Revokes a host, or a reader or operator with a certificate of another authority, or takes that back.
    ///
    /// # Errors
    ///
    /// If it cannot be changed.
    pub async fn revoke(&self, revoking: Revoking, by: &By) -> Result<Revoked, ControlError> {
        let event = match revoking.undo {
            false => Event::AgentRevoked,
            true => Event::AgentRestored,
        };
        let Subject { role, name } = &revoking.subject;
        let whom = match role {
            Role::Agent => format!("host {name}"),
            Role::Reader | Role::Operator => format!("{role} {name}"),
        };
        Ok(self.registry.revoke(revoking, by.entry(event, whom)).await?)
    }

    /// Removes all runs of a host.
    ///
    /// # Errors
    ///
    /// If it has none, or the store cannot be changed.
    pub async fn forget(&self, id: HostId, by: &By) -> Result<Forgotten, ControlError> {
        let name = format!("host {id}");
        let entry = by.entry(Event::HostForgotten, name.clone());
        match self.registry.forget(id.clone(), entry).await? {
            0 => Err(ControlError::Unknown(name)),
            runs => Ok(Forgotten { id, runs }),
        }
    }
}

#[cfg(test)]
mod tests;
