//! What certificates say. Pure: bytes in, facts out; whether to believe them is decided elsewhere.

use fleetmark_proto::{id::Digest, role::Subject};
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use x509_parser::{extensions::GeneralName, prelude::*};

/// From when until when a certificate counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Life {
    /// It begins.
    pub begins_at: Timestamp,
    /// It ends.
    pub ends_at: Timestamp,
}

/// When it begins and ends; `None` if the bytes are no certificate.
#[must_use]
pub fn life(certificate: &CertificateDer<'_>) -> Option<Life> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let validity = parsed.validity();
    Some(Life {
        begins_at: Timestamp::from_second(validity.not_before.timestamp()).ok()?,
        ends_at: Timestamp::from_second(validity.not_after.timestamp()).ok()?,
    })
}

/// SHA-256 of its public key (its `SubjectPublicKeyInfo`, DER); `None` if the bytes are no certificate.
#[must_use]
pub fn key_digest(certificate: &CertificateDer<'_>) -> Option<Digest> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(Digest::of(parsed.public_key().raw))
}

/// Who it is for, as fleetmark's certificates say it; `None` if it does not.
#[must_use]
pub fn subject(certificate: &CertificateDer<'_>) -> Option<Subject> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => uri.parse().ok(),
        _ => None,
    })
}
