//! Identities: of reports, hosts, profiles and bytes.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use uuid::{NoContext, Uuid};

use crate::{invalid::Invalid, limits};

/// Identity of a report: a UUIDv7 made when its run ended.
#[derive(Clone, Copy, Debug, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct ReportId(Uuid);

impl ReportId {
    /// A new id, of now.
    #[must_use]
    pub fn now() -> Self {
        Self(Uuid::now_v7())
    }

    /// A new id, of this time. Times before 1970 are as 1970.
    #[must_use]
    pub fn at(time: Timestamp) -> Self {
        let since_1970 = time.duration_since(Timestamp::UNIX_EPOCH);
        let (seconds, nanos) = match since_1970.is_negative() {
            true => (0, 0),
            false => {
                (since_1970.unsigned_abs().as_secs(), since_1970.unsigned_abs().subsec_nanos())
            }
        };
        Self(Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, nanos)))
    }

    /// The least bytes that an id of this time can have: ids sort by when they were made.
    #[must_use]
    pub fn least_bytes_at(time: Timestamp) -> [u8; 16] {
        let milliseconds = u64::try_from(time.as_millisecond()).unwrap_or_default();
        (u128::from(milliseconds) << 80).to_be_bytes()
    }

    /// Reads the 16 bytes of the wire.
    ///
    /// # Errors
    ///
    /// If these are not the bytes of a UUIDv7 with a time that exists.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Invalid> {
        let uuid = Uuid::from_slice(bytes).map_err(|_| {
            Invalid::new("report_id", format!("must have 16 bytes, has {}", bytes.len()))
        })?;
        Self::from_uuid(uuid)
    }

    fn from_uuid(uuid: Uuid) -> Result<Self, Invalid> {
        if uuid.get_version_num() != 7 {
            return Err(Invalid::new("report_id", "must be a UUID of version 7"));
        }
        Ok(Self(uuid))
    }

    /// The bytes of the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// When the id was made, in whole milliseconds, by the agent's clock.
    #[must_use]
    pub fn made_at(&self) -> Timestamp {
        self.0
            .get_timestamp()
            .and_then(|stamp| i64::try_from(stamp.to_unix().0).ok())
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .unwrap_or(Timestamp::MAX)
    }
}

impl fmt::Display for ReportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ReportId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let uuid = Uuid::try_parse(text).map_err(|error| Invalid::new("report_id", error))?;
        Self::from_uuid(uuid)
    }
}

/// Stable identity of a host: 1 to 128 of letters, digits, `.`, `_`, `:` and `-`.
#[derive(Clone, Debug, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct HostId(String);

impl HostId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for HostId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
        if text.is_empty() || text.len() > limits::HOST_ID_CHARS || !text.chars().all(allowed) {
            return Err(Invalid::new(
                "host.id",
                "must be 1 to 128 letters, digits, '.', '_', ':' or '-'",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Identity of a profile: the first 12 hexadecimal digits of the SHA-256 of its key.
#[derive(Clone, Debug, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct ProfileId(String);

impl ProfileId {
    pub(crate) fn of_key(key: &str) -> Self {
        Self(hex::encode(&Sha256::digest(key)[..6]))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProfileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// SHA-256 of a report's bytes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Reads the 32 bytes of the wire.
    ///
    /// # Errors
    ///
    /// If there are more or fewer.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Invalid> {
        let digest = bytes.try_into().map_err(|_| {
            Invalid::new("sha256", format!("must have 32 bytes, has {}", bytes.len()))
        })?;
        Ok(Self(digest))
    }

    /// The bytes of the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_and_sort_by_when_they_were_made() {
        let time: Timestamp = "2026-11-25T09:00:00.25Z".parse().unwrap();
        let millisecond = std::time::Duration::from_millis(1);
        let (id, again) = (ReportId::at(time), ReportId::at(time));
        assert_ne!(id, again);
        assert_eq!(id.made_at().as_second(), time.as_second());
        assert!(*id.as_bytes() >= ReportId::least_bytes_at(time));
        assert!(*id.as_bytes() < ReportId::least_bytes_at(time + millisecond));
        assert_eq!(ReportId::at(Timestamp::MIN).made_at(), Timestamp::UNIX_EPOCH);
        assert_eq!(ReportId::least_bytes_at(Timestamp::MIN), [0; 16]);
    }
}
