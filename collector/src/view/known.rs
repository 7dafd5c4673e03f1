//! Tokens and hosts that joined, with what became of them.

use fleetmark_proto::{
    control::{KnownAgent, KnownToken},
    limits,
    role::Role,
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
        } else if token.role == Role::Agent && token.used >= token.uses {
            Self::UsedUp
        } else if token.ends_at <= now {
            Self::Ended
        } else {
            Self::Open
        }
    }
}

/// A host that joined, in one row.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct AgentRow {
    /// The host.
    #[serde(flatten)]
    pub agent: KnownAgent,
    /// How its certificate stands.
    pub state: AgentState,
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
    /// What was revoked: `token` or `host`.
    pub what: &'static str,
    /// Its id.
    pub id: String,
    /// Whether this did it; false if it was revoked before.
    pub changed: bool,
}

/// Every token, as they come.
#[must_use]
pub fn tokens(tokens: Vec<KnownToken>, now: Timestamp) -> Vec<TokenRow> {
    let row = |token| TokenRow { state: TokenState::of(&token, now), token };
    tokens.into_iter().map(row).collect()
}

/// Every host that joined, as they come.
#[must_use]
pub fn agents(agents: Vec<KnownAgent>, now: Timestamp) -> Vec<AgentRow> {
    let row = |agent| AgentRow { state: AgentState::of(&agent, now), agent };
    agents.into_iter().map(row).collect()
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
        let state = |agent: &KnownAgent, at| agents(vec![agent.clone()], at)[0].state;
        assert_eq!(state(&agent, now()), AgentState::Valid);
        assert_eq!(state(&agent, agent.ends_at), AgentState::Ended);
        assert_eq!(state(&agent, agent.ends_at + (24 * 90).hours()), AgentState::Ended);
        assert_eq!(state(&agent, agent.ends_at + (24 * 91).hours()), AgentState::LongEnded);
        let agent = KnownAgent { revoked_at: Some(now()), ..agent };
        assert_eq!(state(&agent, now()), AgentState::Revoked);
    }
}
