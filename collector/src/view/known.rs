//! Tokens and hosts that joined, with what became of them.

use std::collections::{BTreeMap, BTreeSet};

use fleetmark_proto::{
    control::{KnownAgent, KnownToken, RevokedSubject},
    id::HostId,
    limits,
    role::{Role, Subject},
    token::TokenId,
};
use jiff::Timestamp;
use serde::Serialize;

/// A token, in one row.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct TokenRow {
    /// The token.
    #[serde(flatten)]
    pub token: KnownToken,
    /// What became of it.
    pub state: TokenState,
}

/// Whether a token can be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenState {
    /// It can.
    Open,
    /// As many hosts joined as may.
    UsedUp,
    /// Its time is over.
    Ended,
    /// Somebody revoked it.
    Revoked,
}

impl TokenState {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::UsedUp => "used-up",
            Self::Ended => "ended",
            Self::Revoked => "revoked",
        }
    }

    fn of(token: &KnownToken, now: Timestamp) -> Self {
        if token.revoked_at.is_some() {
            Self::Revoked
        } else if token.is_to_join() && token.used >= token.uses {
            Self::UsedUp
        } else if token.ends_at <= now {
            Self::Ended
        } else {
            Self::Open
        }
    }
}

/// A host that joined, or somebody else who was revoked, in one row.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct AgentRow {
    /// The host's id, or the name of a reader or an operator.
    pub host_id: HostId,
    /// What it may do.
    pub role: Role,
    /// Whose certificates the row is about.
    pub issuer: Issuer,
    /// How they stand.
    pub state: AgentState,
    /// What the host calls itself.
    pub host_name: Option<String>,
    /// When it joined.
    pub enrolled_at: Option<Timestamp>,
    /// From where.
    pub address: Option<String>,
    /// With which token.
    pub token_id: Option<TokenId>,
    /// When its newest certificate was issued.
    pub renewed_at: Option<Timestamp>,
    /// When that one ends.
    pub ends_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// What is said of it.
    pub labels: BTreeMap<String, String>,
}

/// Who issued certificates.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Issuer {
    /// This collector's own authority.
    Own,
    /// Any other that it believes.
    Others,
}

impl Issuer {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Others => "others",
        }
    }
}

/// How the newest certificate of a host stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentState {
    /// It counts.
    Valid,
    /// It has ended; the host renews it as soon as it comes.
    Ended,
    /// It ended too long ago to be renewed; the host has to join again.
    LongEnded,
    /// Somebody revoked the host.
    Revoked,
}

impl AgentState {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Ended => "ended",
            Self::LongEnded => "long-ended",
            Self::Revoked => "revoked",
        }
    }

    fn of(agent: &KnownAgent, now: Timestamp) -> Self {
        let since_end = now.duration_since(agent.ends_at);
        if agent.revoked_at.is_some() {
            Self::Revoked
        } else if since_end.is_negative() {
            Self::Valid
        } else if since_end.unsigned_abs() <= limits::RENEWAL_AGE {
            Self::Ended
        } else {
            Self::LongEnded
        }
    }
}

/// What came of revoking something.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Revocation {
    /// What was revoked: `token`, `host`, `reader` or `operator`.
    pub what: &'static str,
    /// Its id or name.
    pub id: String,
    /// Whether this did it; false if it was so before.
    pub changed: bool,
    /// How it stands now.
    pub state: RevocationState,
}

/// How something stands that was to be revoked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RevocationState {
    /// It is revoked.
    Revoked,
    /// It is, and it has no certificate or token of this collector: those of other authorities are refused.
    NeverEnrolled,
    /// It is not revoked any more.
    Restored,
}

impl RevocationState {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::NeverEnrolled => "never-enrolled",
            Self::Restored => "restored",
        }
    }
}

/// Every token, as they come.
#[must_use]
pub fn tokens(tokens: Vec<KnownToken>, now: Timestamp) -> Vec<TokenRow> {
    let row = |token| TokenRow { state: TokenState::of(&token, now), token };
    tokens.into_iter().map(row).collect()
}

/// Every host that joined, as they come, and then whose certificates of other authorities are refused. A host whose own are
/// refused too has one row.
#[must_use]
pub fn agents(
    agents: Vec<KnownAgent>,
    revoked: Vec<RevokedSubject>,
    now: Timestamp,
) -> Vec<AgentRow> {
    let mut rows: Vec<_> = agents.into_iter().map(|agent| joined(agent, now)).collect();
    let told: BTreeSet<HostId> =
        rows.iter().filter(|row| row.revoked_at.is_some()).map(|row| row.host_id.clone()).collect();
    let is_news = |revoked: &RevokedSubject| {
        let Subject { role, name } = &revoked.subject;
        *role != Role::Agent || !told.contains(name)
    };
    rows.extend(revoked.into_iter().filter(is_news).map(refused));
    rows
}

fn joined(agent: KnownAgent, now: Timestamp) -> AgentRow {
    let state = AgentState::of(&agent, now);
    let KnownAgent {
        host_id,
        host_name,
        enrolled_at,
        address,
        token_id,
        renewed_at,
        ends_at,
        revoked_at,
        labels,
    } = agent;
    AgentRow {
        host_id,
        role: Role::Agent,
        issuer: Issuer::Own,
        state,
        host_name: Some(host_name),
        enrolled_at: Some(enrolled_at),
        address: Some(address),
        token_id: Some(token_id),
        renewed_at: Some(renewed_at),
        ends_at: Some(ends_at),
        revoked_at,
        labels,
    }
}

fn refused(revoked: RevokedSubject) -> AgentRow {
    let RevokedSubject { subject: Subject { role, name }, revoked_at } = revoked;
    AgentRow {
        host_id: name,
        role,
        issuer: Issuer::Others,
        state: AgentState::Revoked,
        host_name: None,
        enrolled_at: None,
        address: None,
        token_id: None,
        renewed_at: None,
        ends_at: None,
        revoked_at: Some(revoked_at),
        labels: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use fleetmark_proto::{control::NewToken, secret::Secret};
    use jiff::ToSpan as _;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-25T09:00:00Z".parse().unwrap()
    }

    fn token(role: Role, uses: u32) -> KnownToken {
        let asked = NewToken {
            role,
            host: None,
            uses,
            ttl: std::time::Duration::from_secs(60),
            labels: [].into(),
            replace_host: None,
            network: None,
            note: String::new(),
        };
        asked.made(&Secret::new().unwrap(), now())
    }

    #[test]
    fn a_token_is_open_until_it_is_used_up_or_ends_or_is_revoked() {
        let state = |token: &KnownToken, at| tokens(vec![token.clone()], at)[0].state;
        let bearer = token(Role::Reader, 0);
        assert_eq!(state(&bearer, now()), TokenState::Open, "a bearer token is never used up");
        let bearer = KnownToken { host: Some("web-1".parse().unwrap()), ..token(Role::Agent, 0) };
        assert_eq!(state(&bearer, now()), TokenState::Open, "an agent's neither");
        let join = token(Role::Agent, 2);
        assert_eq!(state(&join, now()), TokenState::Open);
        assert_eq!(state(&join, now() + 1.minute()), TokenState::Ended);
        let join = KnownToken { used: 2, ..join };
        assert_eq!(state(&join, now()), TokenState::UsedUp);
        let join = KnownToken { revoked_at: Some(now()), ..join };
        assert_eq!(state(&join, now()), TokenState::Revoked);
    }

    #[test]
    fn a_host_says_how_its_certificate_stands() {
        let agent = KnownAgent {
            host_id: "web-1".parse().unwrap(),
            host_name: "web-1.example".into(),
            enrolled_at: now(),
            address: "192.0.2.7".into(),
            token_id: token(Role::Agent, 1).id,
            renewed_at: now(),
            ends_at: now() + 24.hours(),
            revoked_at: None,
            labels: [].into(),
        };
        let state = |agent: &KnownAgent, at| agents(vec![agent.clone()], vec![], at)[0].state;
        assert_eq!(state(&agent, now()), AgentState::Valid);
        assert_eq!(state(&agent, agent.ends_at), AgentState::Ended);
        assert_eq!(state(&agent, agent.ends_at + (24 * 90).hours()), AgentState::Ended);
        assert_eq!(state(&agent, agent.ends_at + (24 * 91).hours()), AgentState::LongEnded);
        let revoked = KnownAgent { revoked_at: Some(now()), ..agent.clone() };
        assert_eq!(state(&revoked, now()), AgentState::Revoked);

        let refused =
            |uri: &str| RevokedSubject { subject: uri.parse().unwrap(), revoked_at: now() };
        let others = ["fleetmark://agent/web-1", "fleetmark://reader/web-1"].map(refused).to_vec();
        let rows = |agent| agents(vec![agent], others.clone(), now());
        let row = |row: &AgentRow| (row.role, row.issuer, row.state);
        let reader = (Role::Reader, Issuer::Others, AgentState::Revoked);
        let told: Vec<_> = rows(revoked).iter().map(row).collect();
        assert_eq!(told, [(Role::Agent, Issuer::Own, AgentState::Revoked), reader]);
        // It has joined again since; only what others issued is refused.
        let told: Vec<_> = rows(agent).iter().map(row).collect();
        let others = (Role::Agent, Issuer::Others, AgentState::Revoked);
        assert_eq!(told, [(Role::Agent, Issuer::Own, AgentState::Valid), others, reader]);
    }
}
