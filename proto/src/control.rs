//! Who may join and read, who has joined, and what came of all that, as those see it who say so. No secret is among it.

mod network;

pub use network::Network;

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use jiff::Timestamp;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{
    convert,
    id::HostId,
    invalid::Invalid,
    limits,
    role::{Role, Subject},
    secret::Secret,
    token::TokenId,
};

/// A token that is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewToken {
    /// What it shall be good for.
    pub role: Role,
    /// The host whose agent sends it with each call. An agent's token without one is to join with.
    pub host: Option<HostId>,
    /// How many hosts may join with it; 0 for a bearer token.
    pub uses: u32,
    /// How long it lives.
    pub ttl: Duration,
    /// What is said of the hosts that join with it.
    pub labels: BTreeMap<String, String>,
    /// The host that may join with it although it is known. No other may.
    pub replace_host: Option<HostId>,
    /// From where it may be used.
    pub network: Option<Network>,
    /// What it is for.
    pub note: String,
}

impl NewToken {
    /// Whether there can be such a token.
    ///
    /// # Errors
    ///
    /// If a field is over its limit, or is for hosts that join and the token is not.
    pub fn check(&self) -> Result<(), Invalid> {
        let Self { role, host, uses, ttl, labels, replace_host, network: _, note } = self;
        if *role != Role::Agent && host.is_some() {
            return Err(Invalid::new("host", "is only for tokens of the role agent"));
        }
        if self.is_to_join() {
            if !(1..=limits::TOKEN_USES).contains(uses) {
                let reason = format!("must be 1 to {}", limits::TOKEN_USES);
                return Err(Invalid::new("uses", reason));
            }
            if replace_host.is_some() && *uses != 1 {
                return Err(Invalid::new("uses", "must be 1 for a token that replaces one host"));
            }
        } else {
            let only_to_join = "is only for tokens that hosts join with";
            for (field, is_set) in [
                ("uses", *uses != 0),
                ("labels", !labels.is_empty()),
                ("replace_host", replace_host.is_some()),
            ] {
                if is_set {
                    return Err(Invalid::new(field, only_to_join));
                }
            }
        }
        if ttl.as_secs() == 0 || *ttl > limits::TOKEN_AGE {
            return Err(Invalid::new("ttl", "must be 1s to 10 years"));
        }
        if labels.len() > limits::LABELS {
            return Err(Invalid::new("labels", format!("has more than {}", limits::LABELS)));
        }
        labels.iter().try_for_each(|(key, value)| convert::check_label(key, value))?;
        convert::check_text("note", note)
    }

    /// Whether hosts join with it. All others are bearer tokens, which are sent with each call.
    #[must_use]
    pub fn is_to_join(&self) -> bool {
        self.role == Role::Agent && self.host.is_none()
    }

    /// The token with this secret, if it is made now. Its times are whole seconds, for people.
    #[must_use]
    pub fn made(self, secret: &Secret, now: Timestamp) -> KnownToken {
        let Self { role, host, uses, ttl, labels, replace_host, network, note } = self;
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        KnownToken {
            id: TokenId::of(secret),
            role,
            host,
            created_at: now,
            ends_at: now.checked_add(ttl).unwrap_or(Timestamp::MAX),
            uses,
            used: 0,
            revoked_at: None,
            labels,
            replace_host,
            network,
            note,
        }
    }
}

/// A token as it is kept: all but its secret.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct KnownToken {
    /// What it is listed by.
    pub id: TokenId,
    /// What it is good for.
    pub role: Role,
    /// The host whose agent sends it with each call.
    pub host: Option<HostId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub ends_at: Timestamp,
    /// How many hosts may join with it; 0 for a bearer token.
    pub uses: u32,
    /// How many have.
    pub used: u32,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// What is said of the hosts that join with it.
    pub labels: BTreeMap<String, String>,
    /// The host that may join with it although it is known. No other may.
    pub replace_host: Option<HostId>,
    /// From where it may be used.
    pub network: Option<Network>,
    /// What it is for.
    pub note: String,
}

impl KnownToken {
    /// Whether hosts join with it. All others are bearer tokens, which are sent with each call.
    #[must_use]
    pub fn is_to_join(&self) -> bool {
        self.role == Role::Agent && self.host.is_none()
    }
}

/// A token that was made just now. It does not show it.
#[derive(Clone, Eq, PartialEq)]
pub struct Created {
    /// Whole, as it is typed. This is the only place where it is.
    pub token: Zeroizing<String>,
    /// What is kept of it.
    pub known: KnownToken,
}

impl fmt::Debug for Created {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Created").field("known", &self.known).finish_non_exhaustive()
    }
}

/// A host that joined.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct KnownAgent {
    /// What it is known by.
    pub host_id: HostId,
    /// What it calls itself.
    pub host_name: String,
    /// When it joined.
    pub enrolled_at: Timestamp,
    /// From where.
    pub address: String,
    /// With which token.
    pub token_id: TokenId,
    /// When its newest certificate was issued.
    pub renewed_at: Timestamp,
    /// When that one ends.
    pub ends_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// What is said of it.
    pub labels: BTreeMap<String, String>,
}

/// Whose certificates of other authorities are refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RevokedSubject {
    /// Who.
    pub subject: Subject,
    /// When that was said.
    pub revoked_at: Timestamp,
}

/// That somebody is revoked, or that this is taken back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Revoking {
    /// Who.
    pub subject: Subject,
    /// Whether it is taken back.
    pub undo: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Revoked {
    /// Whether this did it; false if it was so before.
    pub changed: bool,
    /// Whether it concerns certificates of other authorities alone: this collector never issued one to whom it is about.
    pub only_others: bool,
}

/// What happened, in one word.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A host joined.
    Enrolled,
    /// A host that was known joined again, with another key.
    Replaced,
    /// A host got its next certificate.
    Renewed,
    /// Somebody was refused.
    Refused,
    /// A token was made.
    TokenCreated,
    /// A token was revoked.
    TokenRevoked,
    /// A host was revoked, or somebody with a certificate of another authority.
    AgentRevoked,
    /// That was taken back.
    AgentRestored,
    /// Old lines of the audit trail were removed.
    Pruned,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Enrolled,
        Self::Replaced,
        Self::Renewed,
        Self::Refused,
        Self::TokenCreated,
        Self::TokenRevoked,
        Self::AgentRevoked,
        Self::AgentRestored,
        Self::Pruned,
    ];

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enrolled => "enrolled",
            Self::Replaced => "replaced",
            Self::Renewed => "renewed",
            Self::Refused => "refused",
            Self::TokenCreated => "token-created",
            Self::TokenRevoked => "token-revoked",
            Self::AgentRevoked => "agent-revoked",
            Self::AgentRestored => "agent-restored",
            Self::Pruned => "pruned",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Event {
    type Err = Invalid;

    fn from_str(word: &str) -> Result<Self, Invalid> {
        let event = Self::ALL.into_iter().find(|event| event.as_str() == word);
        event.ok_or_else(|| Invalid::new("event", "is unknown to this version"))
    }
}

/// A line of the audit trail.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct AuditEntry {
    /// When, by the collector's clock.
    pub at: Timestamp,
    /// What.
    pub event: Event,
    /// Who did it, or wanted to.
    pub who: String,
    /// From where.
    pub address: String,
    /// To what, and why it was refused.
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(role: Role, uses: u32) -> NewToken {
        NewToken {
            role,
            host: None,
            uses,
            ttl: Duration::from_secs(600),
            labels: BTreeMap::new(),
            replace_host: None,
            network: None,
            note: String::new(),
        }
    }

    #[test]
    fn tokens_that_cannot_be_are_told_by_their_field() {
        assert_eq!(asked(Role::Agent, 1).check(), Ok(()));
        assert_eq!(asked(Role::Agent, limits::TOKEN_USES).check(), Ok(()));
        assert_eq!(asked(Role::Operator, 0).check(), Ok(()));
        let host: Option<HostId> = Some("web-1".parse().unwrap());
        let leave = NewToken { replace_host: host.clone(), ..asked(Role::Agent, 1) };
        assert_eq!(leave.check(), Ok(()));
        let of_host =
            |role, uses| NewToken { host: Some("web-1".parse().unwrap()), ..asked(role, uses) };
        assert_eq!(of_host(Role::Agent, 0).check(), Ok(()));
        assert!(!of_host(Role::Agent, 0).is_to_join() && asked(Role::Agent, 1).is_to_join());
        let labels: BTreeMap<_, _> = [("rack".to_owned(), "7".to_owned())].into();
        let wrong = [
            ("uses", asked(Role::Agent, 0)),
            ("uses", asked(Role::Agent, limits::TOKEN_USES + 1)),
            ("uses", asked(Role::Reader, 1)),
            ("uses", NewToken { replace_host: host.clone(), ..asked(Role::Agent, 2) }),
            ("uses", of_host(Role::Agent, 1)),
            ("host", of_host(Role::Reader, 0)),
            ("labels", NewToken { labels: labels.clone(), ..of_host(Role::Agent, 0) }),
            ("labels", NewToken { labels, ..asked(Role::Reader, 0) }),
            ("replace_host", NewToken { replace_host: host.clone(), ..asked(Role::Operator, 0) }),
            ("ttl", NewToken { ttl: Duration::from_millis(999), ..asked(Role::Agent, 1) }),
            ("ttl", NewToken { ttl: Duration::MAX, ..asked(Role::Agent, 1) }),
            ("note", NewToken { note: "two\nlines".into(), ..asked(Role::Agent, 1) }),
            (
                "labels",
                NewToken {
                    labels: [("a b".to_owned(), String::new())].into(),
                    ..asked(Role::Agent, 1)
                },
            ),
        ];
        for (field, token) in wrong {
            assert_eq!(token.check().unwrap_err().field, field, "{token:?}");
        }
    }

    #[test]
    fn events_are_their_words() {
        for event in Event::ALL {
            assert_eq!(event.to_string().parse(), Ok(event));
            assert_eq!(serde_json::to_value(event).unwrap(), event.as_str());
        }
        assert!("exploded".parse::<Event>().is_err());
    }
}
