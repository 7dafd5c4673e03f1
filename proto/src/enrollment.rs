//! What a host that wants to be known says, and what it gets.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{id::HostId, secret::Secret};

/// A host that wants to join, and shows a token's secret for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Join {
    /// The secret.
    pub secret: Secret,
    /// What it wants to be known by.
    pub host_id: HostId,
    /// What it calls itself.
    pub host_name: String,
    /// A certificate signing request, DER.
    pub request: Vec<u8>,
}

/// A host that wants its next certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Renewal {
    /// The one that it has, DER.
    pub certificate: Vec<u8>,
    /// A certificate signing request with the same key, DER.
    pub request: Vec<u8>,
}

/// What a host gets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Issued {
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
    /// The certificate of the authority that signed it, DER.
    pub authority: Vec<u8>,
    /// When the certificate ends, by the collector's clock.
    pub ends_at: Timestamp,
    /// What the collector's clock says.
    pub now: Timestamp,
    /// What the collector says of the host.
    pub labels: BTreeMap<String, String>,
}
