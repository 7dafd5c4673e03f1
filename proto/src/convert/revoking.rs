//! Of who is revoked.

use super::{
    check::{present, within},
    read, write,
};
use crate::{
    control::{Revoked, RevokedSubject, Revoking},
    invalid::Invalid,
    role::{Role, Subject},
    v1,
};

impl RevokedSubject {
    /// Reads one of a list.
    ///
    /// # Errors
    ///
    /// If a field is missing or not what it must be.
    pub fn from_wire(wire: v1::RevokedSubject) -> Result<Self, Invalid> {
        let v1::RevokedSubject { subject, revoked_at } = wire;
        Ok(Self {
            subject: subject.parse()?,
            revoked_at: within("revoked_at", present(revoked_at).and_then(read::timestamp))?,
        })
    }

    /// It as it is sent.
    #[must_use]
    pub fn into_wire(self) -> v1::RevokedSubject {
        let Self { subject, revoked_at } = self;
        let revoked_at = Some(write::timestamp(revoked_at));
        v1::RevokedSubject { subject: subject.uri(), revoked_at }
    }
}

impl Revoking {
    /// Reads a request.
    ///
    /// # Errors
    ///
    /// If it does not say who is meant, or says it twice.
    pub fn from_wire(wire: v1::RevokeAgentRequest) -> Result<Self, Invalid> {
        let v1::RevokeAgentRequest { host_id, subject, undo } = wire;
        let subject = match subject {
            None if undo => return Err(Invalid::new("subject", "is missing")),
            None => Subject { role: Role::Agent, name: read::host_id("host_id", &host_id)? },
            Some(_) if !host_id.is_empty() => {
                return Err(Invalid::new("host_id", "must be empty beside a subject"));
            }
            Some(subject) => subject.parse()?,
        };
        Ok(Self { subject, undo })
    }

    /// The request as it is sent. A collector that knows hosts alone must not take it for one about a host.
    #[must_use]
    pub fn into_wire(self) -> v1::RevokeAgentRequest {
        let Self { subject, undo } = self;
        match subject.role {
            Role::Agent if !undo => {
                v1::RevokeAgentRequest { host_id: subject.name.to_string(), subject: None, undo }
            }
            _ => v1::RevokeAgentRequest {
                host_id: String::new(),
                subject: Some(subject.uri()),
                undo,
            },
        }
    }
}

impl Revoked {
    /// Reads an answer.
    #[must_use]
    pub fn from_wire(wire: v1::Revoked) -> Self {
        let v1::Revoked { changed, only_others } = wire;
        Self { changed, only_others }
    }

    /// The answer as it is sent.
    #[must_use]
    pub fn into_wire(self) -> v1::Revoked {
        let Self { changed, only_others } = self;
        v1::Revoked { changed, only_others }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_revocation_is_about_a_host_unless_it_says_otherwise() {
        for (uri, undo, host_id) in [
            ("fleetmark://agent/web-1", false, "web-1"),
            ("fleetmark://agent/web-1", true, ""),
            ("fleetmark://reader/ann", false, ""),
            ("fleetmark://operator/ann", true, ""),
        ] {
            let revoking = Revoking { subject: uri.parse().unwrap(), undo };
            let wire = revoking.clone().into_wire();
            assert_eq!(wire.host_id, host_id, "what knows hosts alone takes no other for one");
            assert_eq!(Revoking::from_wire(wire), Ok(revoking));
        }
        let wire = |host_id: &str, subject: Option<&str>, undo| v1::RevokeAgentRequest {
            host_id: host_id.into(),
            subject: subject.map(str::to_owned),
            undo,
        };
        for (wire, field) in [
            (wire("", None, false), "host_id"),
            (wire("web-1", None, true), "subject"),
            (wire("", Some("web-1"), false), "subject"),
            (wire("web-1", Some("fleetmark://reader/ann"), false), "host_id"),
        ] {
            assert_eq!(Revoking::from_wire(wire).unwrap_err().field, field);
        }
        for (changed, only_others) in [(true, false), (false, true)] {
            let revoked = Revoked { changed, only_others };
            assert_eq!(Revoked::from_wire(revoked.into_wire()), revoked);
        }
        let subject = "fleetmark://reader/ann".parse().unwrap();
        let revoked = RevokedSubject { subject, revoked_at: Timestamp::UNIX_EPOCH };
        assert_eq!(RevokedSubject::from_wire(revoked.clone().into_wire()), Ok(revoked));
    }
}
