//! Between rows and what is known. What comes out of the store is checked like what comes in over the wire.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use clap::ValueEnum as _;
use fleetmark_proto::{
    id::{Digest, HostId},
    invalid::Invalid,
    role::{Role, Subject},
};
use jiff::Timestamp;
use rusqlite::Row;
use serde_json::Value;

use super::StoreError;
use crate::registry::{
    AgentStanding, AuditEntry, BearerStanding, KnownAgent, KnownToken, RevokedSubject,
};

/// Labels as they are kept.
pub(super) fn json(labels: &BTreeMap<String, String>) -> String {
    Value::from_iter(labels.clone()).to_string()
}

pub(super) fn bearer_standing(token: KnownToken) -> BearerStanding {
    let KnownToken { id, role, host, ends_at, network, .. } = token;
    BearerStanding { id, role, host, ends_at, network }
}

/// A row of `token`.
#[derive(Debug)]
pub(super) struct TokenRow {
    token_id: String,
    sha256: Vec<u8>,
    role: String,
    created_at_us: i64,
    ends_at_us: i64,
    uses: u32,
    used: u32,
    revoked_at_us: Option<i64>,
    labels: String,
    replace_host: Option<String>,
    network: Option<String>,
    note: String,
    host: Option<String>,
}

impl TokenRow {
    pub(super) fn take(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            token_id: row.get("token_id")?,
            sha256: row.get("sha256")?,
            role: row.get("role")?,
            created_at_us: row.get("created_at_us")?,
            ends_at_us: row.get("ends_at_us")?,
            uses: row.get("uses")?,
            used: row.get("used")?,
            revoked_at_us: row.get("revoked_at_us")?,
            labels: row.get("labels")?,
            replace_host: row.get("replace_host")?,
            network: row.get("network")?,
            note: row.get("note")?,
            host: row.get("host")?,
        })
    }

    /// The token, and the SHA-256 of its secret.
    pub(super) fn read(self) -> Result<(KnownToken, Digest), StoreError> {
        let place = Place { table: "token", row: &self.token_id };
        let token = KnownToken {
            id: place.parse("token_id", &self.token_id)?,
            role: place.checked("role", Role::from_str(&self.role, false))?,
            host: place.optional("host", self.host.as_deref())?,
            created_at: place.time("created_at_us", self.created_at_us)?,
            ends_at: place.time("ends_at_us", self.ends_at_us)?,
            uses: self.uses,
            used: self.used,
            revoked_at: place.optional_time("revoked_at_us", self.revoked_at_us)?,
            labels: place.checked("labels", serde_json::from_str(&self.labels))?,
            replace_host: place.optional("replace_host", self.replace_host.as_deref())?,
            network: place.optional("network", self.network.as_deref())?,
            note: self.note.clone(),
        };
        Ok((token, place.checked("sha256", Digest::from_bytes(&self.sha256))?))
    }
}

/// A row of `agent`.
#[derive(Debug)]
pub(super) struct AgentRow {
    host_id: String,
    host_name: String,
    key_sha256: Vec<u8>,
    enrolled_at_us: i64,
    address: String,
    token_id: String,
    renewed_at_us: i64,
    ends_at_us: i64,
    revoked_at_us: Option<i64>,
    labels: String,
}

impl AgentRow {
    pub(super) fn take(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            host_id: row.get("host_id")?,
            host_name: row.get("host_name")?,
            key_sha256: row.get("key_sha256")?,
            enrolled_at_us: row.get("enrolled_at_us")?,
            address: row.get("address")?,
            token_id: row.get("token_id")?,
            renewed_at_us: row.get("renewed_at_us")?,
            ends_at_us: row.get("ends_at_us")?,
            revoked_at_us: row.get("revoked_at_us")?,
            labels: row.get("labels")?,
        })
    }

    /// The host, and the SHA-256 of its key.
    pub(super) fn read(self) -> Result<(KnownAgent, Digest), StoreError> {
        let place = Place { table: "agent", row: &self.host_id };
        let agent = KnownAgent {
            host_id: place.parse::<HostId>("host_id", &self.host_id)?,
            host_name: self.host_name.clone(),
            enrolled_at: place.time("enrolled_at_us", self.enrolled_at_us)?,
            address: self.address.clone(),
            token_id: place.parse("token_id", &self.token_id)?,
            renewed_at: place.time("renewed_at_us", self.renewed_at_us)?,
            ends_at: place.time("ends_at_us", self.ends_at_us)?,
            revoked_at: place.optional_time("revoked_at_us", self.revoked_at_us)?,
            labels: place.checked("labels", serde_json::from_str(&self.labels))?,
        };
        Ok((agent, place.checked("key_sha256", Digest::from_bytes(&self.key_sha256))?))
    }
}

/// What of a row of `agent` decides of calls. It is read again and again, so it is no more.
#[derive(Debug)]
pub(super) struct StandingRow {
    host_id: String,
    key_sha256: Vec<u8>,
    is_revoked: bool,
}

impl StandingRow {
    pub(super) fn take(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            host_id: row.get("host_id")?,
            key_sha256: row.get("key_sha256")?,
            is_revoked: row.get("is_revoked")?,
        })
    }

    pub(super) fn read(self) -> Result<(HostId, AgentStanding), StoreError> {
        let Self { host_id, key_sha256, is_revoked } = self;
        let place = Place { table: "agent", row: &host_id };
        let key = place.checked("key_sha256", Digest::from_bytes(&key_sha256))?;
        Ok((place.parse("host_id", &host_id)?, AgentStanding { key, is_revoked }))
    }
}

/// A row of `revoked_subject`.
#[derive(Debug)]
pub(super) struct RevokedRow {
    role: String,
    name: String,
    revoked_at_us: i64,
}

impl RevokedRow {
    pub(super) fn take(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            role: row.get("role")?,
            name: row.get("name")?,
            revoked_at_us: row.get("revoked_at_us")?,
        })
    }

    pub(super) fn read(self) -> Result<RevokedSubject, StoreError> {
        let Self { role, name, revoked_at_us } = self;
        let row = format!("{role} {name}");
        let place = Place { table: "revoked_subject", row: &row };
        let role = place.checked("role", Role::from_str(&role, false))?;
        let subject = Subject { role, name: place.parse("name", &name)? };
        Ok(RevokedSubject { subject, revoked_at: place.time("revoked_at_us", revoked_at_us)? })
    }
}

/// A row of `audit`.
#[derive(Debug)]
pub(super) struct AuditRow {
    audit_id: i64,
    at_us: i64,
    event: String,
    who: String,
    address: String,
    detail: String,
}

impl AuditRow {
    pub(super) fn take(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            audit_id: row.get("audit_id")?,
            at_us: row.get("at_us")?,
            event: row.get("event")?,
            who: row.get("who")?,
            address: row.get("address")?,
            detail: row.get("detail")?,
        })
    }

    pub(super) fn read(self) -> Result<AuditEntry, StoreError> {
        let Self { audit_id, at_us, event, who, address, detail } = self;
        let row = audit_id.to_string();
        let place = Place { table: "audit", row: &row };
        Ok(AuditEntry {
            at: place.time("at_us", at_us)?,
            event: place.parse("event", &event)?,
            who,
            address,
            detail,
        })
    }
}

/// Where a value stands, for who has to repair it.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    table: &'static str,
    row: &'a str,
}

impl Place<'_> {
    fn checked<T, E: Display>(
        self,
        column: &'static str,
        value: Result<T, E>,
    ) -> Result<T, StoreError> {
        value.map_err(|error| StoreError::Corrupt {
            table: self.table,
            column,
            row: self.row.to_owned(),
            source: Invalid::new(column, error),
        })
    }

    fn parse<T: FromStr<Err: Display>>(
        self,
        column: &'static str,
        text: &str,
    ) -> Result<T, StoreError> {
        self.checked(column, text.parse())
    }

    fn optional<T: FromStr<Err: Display>>(
        self,
        column: &'static str,
        text: Option<&str>,
    ) -> Result<Option<T>, StoreError> {
        text.map(|text| self.parse(column, text)).transpose()
    }

    fn time(self, column: &'static str, us: i64) -> Result<Timestamp, StoreError> {
        self.checked(column, Timestamp::from_microsecond(us))
    }

    fn optional_time(
        self,
        column: &'static str,
        us: Option<i64>,
    ) -> Result<Option<Timestamp>, StoreError> {
        us.map(|us| self.time(column, us)).transpose()
    }
}
