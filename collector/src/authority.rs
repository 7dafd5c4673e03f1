//! The authority of a collector: who its hosts are, and that it is itself. It signs the certificates of hosts and of the
//! server, and is known by the digest of its public key, its pin.

mod certificate;
mod folder;
mod server;

pub use certificate::read;
pub use server::ServerCertificate;

use std::{fmt, io, path::PathBuf, time::Duration};

use fleetmark_proto::{id::Digest, limits, role::Subject};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKey, PublicKeyData as _, SanType, SerialNumber, date_time_ymd,
};
use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, CertificateSigningRequestDer, ServerName},
};

use crate::identity::Certificate;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a host's certificate counts.
pub const HOST_LIFE: Duration = DAY;
/// How long before it was made a host's certificate begins to count, for clocks that are behind.
pub const HOST_AHEAD: Duration = Duration::from_secs(5 * 60);
/// How long the authority's own certificate counts.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// How long before they were made the authority's and the server's certificates begin to count: hosts look at them by their own
/// clocks, and may join on the first day though those are behind.
const AHEAD: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What the authority could not do, or not allow.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// There is one already.
    #[error("{} is there already; it is not overwritten", .0.display())]
    Exists(PathBuf),
    /// There is none yet.
    #[error("there is no {}; make an authority with `fleetmark-collector init`", .0.display())]
    Missing(PathBuf),
    /// A file of the authority's cannot be read or written.
    #[error("cannot use {}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the authority's holds something else.
    #[error("{} {what}", .path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A request for a certificate cannot be granted.
    #[error("the certificate signing request {0}")]
    Request(&'static str),
    /// A certificate is none of a fleet's.
    #[error("the certificate {0}")]
    Certificate(&'static str),
    /// A certificate was signed by somebody else.
    #[error("the certificate is not one of this collector's")]
    Foreign,
    /// Nothing can be signed.
    #[error("cannot make a certificate")]
    Sign(#[from] rcgen::Error),
    /// The operating system has no random bytes.
    #[error("the operating system has no random bytes")]
    Random,
}

/// A host's certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signed {
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// SHA-256 of its public key (its `SubjectPublicKeyInfo`, DER).
    pub key: Digest,
    /// Until when it counts.
    pub ends_at: Timestamp,
}

/// Signs for a collector.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pin: Digest,
    server: ServerCertificate,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("pin", &self.pin).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new one, with a certificate for a server that has these names.
    ///
    /// # Errors
    ///
    /// If there are no random bytes, or no certificate can be made of the names.
    pub fn make(names: &[ServerName<'_>], now: Timestamp) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate()?;
        let pin = Digest::of(&key.subject_public_key_info());
        let mut params = params(now, AHEAD, AUTHORITY_LIFE)?;
        // Those who have to do with several collectors tell their authorities apart by it.
        let short: String = pin.to_string().chars().take(8).collect();
        params.distinguished_name = named(&format!("fleetmark authority {short}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.into();
        let issuer = Issuer::new(params, key);
        let server = ServerCertificate::make(&issuer, names, now)?;
        Ok(Self { issuer, certificate, pin, server })
    }

    /// SHA-256 of its public key (its `SubjectPublicKeyInfo`, DER), by which hosts that join know it.
    #[must_use]
    pub fn pin(&self) -> Digest {
        self.pin
    }

    /// Its own certificate, DER.
    #[must_use]
    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate
    }

    /// The certificate of the collector's server.
    #[must_use]
    pub fn server(&self) -> &ServerCertificate {
        &self.server
    }

    /// Makes a certificate for whoever has the key that the request (PKCS #10, DER) was signed with. Of the request only the
    /// public key is taken.
    ///
    /// # Errors
    ///
    /// If the request is not valid, or nothing can be signed.
    pub fn sign(
        &self,
        request_der: &[u8],
        subject: &Subject,
        now: Timestamp,
    ) -> Result<Signed, AuthorityError> {
        let public_key = public_key(request_der)?;
        let mut params = params(now, HOST_AHEAD, HOST_LIFE)?;
        params.distinguished_name = named(&format!("fleetmark {}", subject.role));
        params.subject_alt_names = vec![SanType::URI(subject.uri().try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&public_key, &self.issuer)?;
        Ok(Signed {
            certificate: certificate.der().to_vec(),
            key: Digest::of(&public_key.subject_public_key_info()),
            ends_at: whole_second(now + HOST_LIFE),
        })
    }

    /// SHA-256 of the public key of a request, whose signature is checked.
    ///
    /// # Errors
    ///
    /// If the request is not valid.
    pub fn request_key(&self, request_der: &[u8]) -> Result<Digest, AuthorityError> {
        Ok(Digest::of(&public_key(request_der)?.subject_public_key_info()))
    }

    /// Whose certificate this is, if this authority signed it. It may have ended.
    ///
    /// # Errors
    ///
    /// If it is not a certificate, or another authority's, or names nobody.
    pub fn read_own(
        &self,
        certificate_der: &[u8],
    ) -> Result<(Subject, Certificate), AuthorityError> {
        certificate::read_signed_by(certificate_der, &self.certificate)
    }
}

/// A certificate's parameters that all have in common.
fn params(
    now: Timestamp,
    ahead: Duration,
    life: Duration,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    let since_1970 = whole_second(now).duration_since(Timestamp::UNIX_EPOCH).unsigned_abs();
    let now = date_time_ymd(1970, 1, 1) + since_1970;
    params.not_before = now - ahead;
    params.not_after = now + life;
    params.serial_number = Some(serial()?);
    Ok(params)
}

/// The second that a certificate can tell.
fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// A number of 127 random bits: positive, and never met again.
fn serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0; 16];
    provider().secure_random.fill(&mut bytes).map_err(|_| AuthorityError::Random)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// The cryptography that everything here uses. It is handed on, and never made the process' own.
#[must_use]
pub fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// The public key of a request that was signed with it.
fn public_key(request_der: &[u8]) -> Result<PublicKey, AuthorityError> {
    if request_der.len() > limits::CERTIFICATE_BYTES {
        return Err(AuthorityError::Request("is too long"));
    }
    let request = CertificateSigningRequestDer::from(request_der);
    let parsed =
        CertificateSigningRequestParams::from_der(&request).map_err(|error| match error {
            rcgen::Error::InvalidCertificationRequestSignature => {
                AuthorityError::Request("was not signed with its own key")
            }
            _ => AuthorityError::Request("cannot be read"),
        })?;
    if *parsed.public_key.algorithm() != PKCS_ECDSA_P256_SHA256 {
        return Err(AuthorityError::Request("must have a key on the curve P-256"));
    }
    Ok(parsed.public_key)
}

#[cfg(test)]
mod tests;
