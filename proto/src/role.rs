//! Who may do what, in three words; and who somebody is, as a certificate says it.

use std::{fmt, str::FromStr};

use clap::ValueEnum;
use serde::Serialize;

use crate::{id::HostId, invalid::Invalid};

/// What somebody may do.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Submit reports of its own host, and take its campaigns
    Agent,
    /// Read what is stored
    Reader,
    /// Read, and say who may do what
    Operator,
}

impl Role {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Reader => "reader",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Who somebody is. A certificate says it as a URI among its subject's alternative names: `fleetmark://agent/web-1`.
/// An agent's name is its host's id; names of others have the same form.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Subject {
    /// What it may do.
    pub role: Role,
    /// Its name.
    pub name: HostId,
}

impl Subject {
    /// The URI of a certificate.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("fleetmark://{}/{}", self.role, self.name)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.role, self.name)
    }
}

impl FromStr for Subject {
    type Err = Invalid;

    /// Reads the URI of a certificate.
    fn from_str(uri: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid::new("subject", "must be such as fleetmark://agent/web-1");
        let rest = uri.strip_prefix("fleetmark://").ok_or_else(wrong)?;
        let (role, name) = rest.split_once('/').ok_or_else(wrong)?;
        let role = match role {
            "agent" => Role::Agent,
            "reader" => Role::Reader,
            "operator" => Role::Operator,
            _ => return Err(wrong()),
        };
        Ok(Self { role, name: name.parse().map_err(|_| wrong())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_its_uri() {
        for (role, word) in
            [(Role::Agent, "agent"), (Role::Reader, "reader"), (Role::Operator, "operator")]
        {
            let subject = Subject { role, name: "web-1".parse().unwrap() };
            assert_eq!(subject.uri(), format!("fleetmark://{word}/web-1"));
            assert_eq!(subject.uri().parse(), Ok(subject.clone()));
            assert_eq!(subject.to_string(), format!("{word} web-1"));
        }
        for wrong in [
            "",
            "agent/web-1",
            "fleetmark://agent",
            "fleetmark://agent/",
            "fleetmark://agent/a/b",
            "fleetmark://root/web-1",
            "FLEETMARK://agent/web-1",
            "https://agent/web-1",
        ] {
            assert!(wrong.parse::<Subject>().is_err(), "{wrong}");
        }
    }
}
