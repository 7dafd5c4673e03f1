//! Of tokens, hosts and the audit trail.

use std::time::Duration;

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{
    check::{Checked, in_range, known, present, required_text, text, unspecified, within},
    read, write,
};
use crate::{
    control::{AuditEntry, Created, KnownAgent, KnownToken, Network, NewToken},
    id::HostId,
    invalid::Invalid,
    limits,
    role::Role,
    v1,
};

impl NewToken {
    /// Reads a request.
    ///
    /// # Errors
    ///
    /// If a field is not what it must be, or there can be no such token.
    pub fn from_wire(wire: v1::CreateTokenRequest) -> Result<Self, Invalid> {
        let v1::CreateTokenRequest {
            role: what,
            uses,
            ttl_s,
            labels,
            replace_host,
            network,
            note,
            host,
        } = wire;
        let token = Self {
            role: role(what)?,
            host: optional_host("host", host)?,
            uses,
            ttl: Duration::from_secs(ttl_s),
            labels: read::labels(labels)?,
            replace_host: optional_host("replace_host", replace_host)?,
            network: net(network)?,
            note: text("note", note)?,
        };
        token.check()?;
        Ok(token)
    }

    /// The request as it is sent.
    #[must_use]
    pub fn into_wire(self) -> v1::CreateTokenRequest {
        let Self { role, host, uses, ttl, labels, replace_host, network, note } = self;
        v1::CreateTokenRequest {
            role: role_word(role).into(),
            uses,
            ttl_s: ttl.as_secs(),
            labels: labels.into_iter().collect(),
            replace_host: replace_host.map(|host| host.to_string()),
            network: network.map(|network| network.to_string()),
            note,
            host: host.map(|host| host.to_string()),
        }
    }
}

impl Created {
    /// Reads an answer.
    ///
    /// # Errors
    ///
    /// If a field is missing or not what it must be.
    pub fn from_wire(wire: v1::CreatedToken) -> Result<Self, Invalid> {
        let v1::CreatedToken { token, known } = wire;
        let token = Zeroizing::new(token);
        if token.is_empty() || token.len() > limits::TOKEN_CHARS {
            return Err(Invalid::new("token", "is missing or too long"));
        }
        let known = within("known", present(known).and_then(KnownToken::from_wire))?;
        Ok(Self { token, known })
    }

    /// The answer as it is sent.
    #[must_use]
    pub fn into_wire(self) -> v1::CreatedToken {
        let Self { token, known } = self;
        v1::CreatedToken { token: token.as_str().to_owned(), known: Some(known.into_wire()) }
    }
}

impl KnownToken {
    /// Reads a token of a list.
    ///
    /// # Errors
    ///
    /// If a field is missing or not what it must be.
    pub fn from_wire(wire: v1::KnownToken) -> Result<Self, Invalid> {
        let v1::KnownToken {
            id,
            role: what,
            created_at,
            ends_at,
            uses,
            used,
            revoked_at,
            labels,
            replace_host,
            network,
            note,
            host,
        } = wire;
        Ok(Self {
            id: id.parse()?,
            role: role(what)?,
            host: optional_host("host", host)?,
            created_at: within("created_at", present(created_at).and_then(read::timestamp))?,
            ends_at: within("ends_at", present(ends_at).and_then(read::timestamp))?,
            uses: in_range("uses", uses, 0..=limits::TOKEN_USES)?,
            used: in_range("used", used, 0..=uses)?,
            revoked_at: within("revoked_at", revoked_at.map(read::timestamp).transpose())?,
            labels: read::labels(labels)?,
            replace_host: optional_host("replace_host", replace_host)?,
            network: net(network)?,
            note: text("note", note)?,
        })
    }

    /// The token as it is sent.
    #[must_use]
    pub fn into_wire(self) -> v1::KnownToken {
        let Self {
            id,
            role,
            host,
            created_at,
            ends_at,
            uses,
            used,
            revoked_at,
            labels,
            replace_host,
            network,
            note,
        } = self;
        v1::KnownToken {
            id: id.to_string(),
            role: role_word(role).into(),
            created_at: Some(write::timestamp(created_at)),
            ends_at: Some(write::timestamp(ends_at)),
            uses,
            used,
            revoked_at: revoked_at.map(write::timestamp),
            labels: labels.into_iter().collect(),
            replace_host: replace_host.map(|host| host.to_string()),
            network: network.map(|network| network.to_string()),
            note,
            host: host.map(|host| host.to_string()),
        }
    }
}

impl KnownAgent {
    /// Reads a host of a list.
    ///
    /// # Errors
    ///
    /// If a field is missing or not what it must be.
    pub fn from_wire(wire: v1::KnownAgent) -> Result<Self, Invalid> {
        let v1::KnownAgent {
            host_id,
            host_name,
            enrolled_at,
            address,
            token_id,
            renewed_at,
            ends_at,
            revoked_at,
            labels,
        } = wire;
        Ok(Self {
            host_id: read::host_id("host_id", &host_id)?,
            host_name: text("host_name", host_name)?,
            enrolled_at: within("enrolled_at", present(enrolled_at).and_then(read::timestamp))?,
            address: required_text("address", address)?,
            token_id: token_id.parse()?,
            renewed_at: within("renewed_at", present(renewed_at).and_then(read::timestamp))?,
            ends_at: within("ends_at", present(ends_at).and_then(read::timestamp))?,
            revoked_at: within("revoked_at", revoked_at.map(read::timestamp).transpose())?,
            labels: read::labels(labels)?,
        })
    }

    /// The host as it is sent.
    #[must_use]
    pub fn into_wire(self) -> v1::KnownAgent {
        let Self {
            host_id,
            host_name,
            enrolled_at,
            address,
            token_id,
            renewed_at,
            ends_at,
            revoked_at,
            labels,
        } = self;
        v1::KnownAgent {
            host_id: host_id.to_string(),
            host_name,
            enrolled_at: Some(write::timestamp(enrolled_at)),
            address,
            token_id: token_id.to_string(),
            renewed_at: Some(write::timestamp(renewed_at)),
            ends_at: Some(write::timestamp(ends_at)),
            revoked_at: revoked_at.map(write::timestamp),
            labels: labels.into_iter().collect(),
        }
    }
}

impl AuditEntry {
    /// Reads a line.
    ///
    /// # Errors
    ///
    /// If a field is missing or not what it must be.
    pub fn from_wire(wire: v1::AuditEntry) -> Result<Self, Invalid> {
        let v1::AuditEntry { at, event, who, address, detail } = wire;
        Ok(Self {
            at: within("at", present(at).and_then(read::timestamp))?,
            event: event.parse()?,
            who: text("who", who)?,
            address: text("address", address)?,
            detail: text("detail", detail)?,
        })
    }

    /// The line as it is sent.
    #[must_use]
    pub fn into_wire(self) -> v1::AuditEntry {
        let Self { at, event, who, address, detail } = self;
        v1::AuditEntry {
            at: Some(write::timestamp(at)),
            event: event.to_string(),
            who,
            address,
            detail,
        }
    }
}

/// Asks for the audit trail from then on; `None` for all of it.
#[must_use]
pub fn audit_request(since: Option<Timestamp>) -> v1::AuditRequest {
    v1::AuditRequest { since: since.map(write::timestamp) }
}

/// From when on the audit trail is asked for; `None` for all of it.
///
/// # Errors
///
/// If it is no time.
pub fn audit_since(wire: v1::AuditRequest) -> Result<Option<Timestamp>, Invalid> {
    let v1::AuditRequest { since } = wire;
    within("since", since.map(read::timestamp).transpose())
}

fn role(wire: i32) -> Checked<Role> {
    match known("role", wire)? {
        v1::Role::Unspecified => Err(unspecified("role")),
        v1::Role::Agent => Ok(Role::Agent),
        v1::Role::Reader => Ok(Role::Reader),
        v1::Role::Operator => Ok(Role::Operator),
    }
}

fn role_word(role: Role) -> v1::Role {
    match role {
        Role::Agent => v1::Role::Agent,
        Role::Reader => v1::Role::Reader,
        Role::Operator => v1::Role::Operator,
    }
}

fn optional_host(field: &str, wire: Option<String>) -> Checked<Option<HostId>> {
    wire.map(|host| read::host_id(field, &host)).transpose()
}

fn net(wire: Option<String>) -> Checked<Option<Network>> {
    let read =
        |text: String| text.parse().map_err(|reason: String| Invalid::new("network", reason));
    wire.map(read).transpose()
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;

    use super::*;
    use crate::{control::Event, secret::Secret};

    fn now() -> Timestamp {
        "2026-11-25T09:00:00.123456Z".parse().unwrap()
    }

    fn asked() -> NewToken {
        NewToken {
            role: Role::Agent,
            uses: 1,
            host: None,
            ttl: Duration::from_secs(86_400),
            labels: [("rack".to_owned(), "7".to_owned())].into(),
            replace_host: Some("web-1".parse().unwrap()),
            network: Some("10.2.0.0/16".parse().unwrap()),
            note: "autoscaling".into(),
        }
    }

    fn token() -> KnownToken {
        let token = asked().made(&Secret::from_slice(&[7; 32]).unwrap(), now());
        KnownToken { used: 1, revoked_at: Some(now() + 1.hour()), ..token }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(NewToken::from_wire(asked().into_wire()), Ok(asked()));
        let reader = NewToken {
            role: Role::Reader,
            uses: 0,
            labels: [].into(),
            replace_host: None,
            network: None,
            ..asked()
        };
        assert_eq!(NewToken::from_wire(reader.clone().into_wire()), Ok(reader.clone()));
        let host = Some("web-1".parse().unwrap());
        let agents = NewToken { role: Role::Agent, host, ..reader };
        assert_eq!(NewToken::from_wire(agents.clone().into_wire()), Ok(agents.clone()));
        let agents = agents.made(&Secret::from_slice(&[7; 32]).unwrap(), now());
        assert_eq!(KnownToken::from_wire(agents.clone().into_wire()), Ok(agents));
        assert_eq!(KnownToken::from_wire(token().into_wire()), Ok(token()));
        let created = || Created { token: Zeroizing::new("fmj1_x".into()), known: token() };
        assert_eq!(Created::from_wire(created().into_wire()), Ok(created()));
        let agent = KnownAgent {
            host_id: "web-1".parse().unwrap(),
            host_name: "web-1.example".into(),
            enrolled_at: now(),
            address: "192.0.2.7".into(),
            token_id: token().id,
            renewed_at: now() + 12.hours(),
            ends_at: now() + 36.hours(),
            revoked_at: None,
            labels: [("rack".to_owned(), "7".to_owned())].into(),
        };
        assert_eq!(KnownAgent::from_wire(agent.clone().into_wire()), Ok(agent));
        let entry = AuditEntry {
            at: now(),
            event: Event::TokenCreated,
            who: "operator ann".into(),
            address: "here".into(),
            detail: "token 123456789abc".into(),
        };
        assert_eq!(AuditEntry::from_wire(entry.clone().into_wire()), Ok(entry));
        for since in [None, Some(now())] {
            assert_eq!(audit_since(audit_request(since)), Ok(since));
        }
    }

    #[test]
    fn what_cannot_be_is_told_by_its_field() {
        let refused = |change: fn(&mut v1::CreateTokenRequest)| {
            let mut wire = asked().into_wire();
            change(&mut wire);
            NewToken::from_wire(wire).unwrap_err().field
        };
        assert_eq!(refused(|wire| wire.role = 0), "role");
        assert_eq!(refused(|wire| wire.role = 9), "role");
        assert_eq!(refused(|wire| wire.uses = 0), "uses");
        assert_eq!(refused(|wire| wire.ttl_s = 0), "ttl");
        assert_eq!(refused(|wire| wire.ttl_s = u64::MAX), "ttl");
        assert_eq!(refused(|wire| wire.replace_host = Some(String::new())), "replace_host");
        assert_eq!(refused(|wire| wire.host = Some("a b".into())), "host");
        assert_eq!(refused(|wire| wire.network = Some("10.2/16".into())), "network");
        assert_eq!(refused(|wire| wire.note = "x".repeat(1 << 20)), "note");

        let refused = |change: fn(&mut v1::KnownToken)| {
            let mut wire = token().into_wire();
            change(&mut wire);
            KnownToken::from_wire(wire).unwrap_err().field
        };
        assert_eq!(refused(|wire| wire.id = "7".into()), "token_id");
        assert_eq!(refused(|wire| wire.used = 501), "used");
        assert_eq!(refused(|wire| wire.ends_at = None), "ends_at");
        let entry = v1::AuditEntry { at: Some(write::timestamp(now())), ..Default::default() };
        assert_eq!(AuditEntry::from_wire(entry).unwrap_err().field, "event");
    }

    #[test]
    fn a_token_is_not_shown() {
        let created = Created { token: Zeroizing::new("fmj1_secret".into()), known: token() };
        assert!(!format!("{created:?}").contains("fmj1"));
    }
}
