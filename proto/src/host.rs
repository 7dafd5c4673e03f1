//! Whose run it was.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::HostId;

/// One machine or container with a stable identity.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Host {
    /// What the host is known by, everywhere.
    pub id: HostId,
    /// The host name, for people; never a key.
    pub name: String,
    /// Where the id came from.
    pub id_source: HostIdSource,
    /// Keyed hash of the kernel's boot id, which tells two machines with one id apart. `None`: not shown by the host.
    pub boot_id_hash: Option<String>,
}

/// Where a host's id came from, in the order in which they are tried.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostIdSource {
    /// `--host-id`.
    Flag,
    /// The cloud's instance id, read from DMI.
    Cloud,
    /// A keyed hash of the machine id.
    MachineId,
    /// A UUID kept in the agent's state folder.
    State,
}

impl HostIdSource {
    /// For people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Flag => "--host-id",
            Self::Cloud => "cloud instance id",
            Self::MachineId => "machine id, hashed",
            Self::State => "state folder",
        }
    }
}
