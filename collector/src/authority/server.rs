//! The certificate by which agents know the collector's server.

use std::{net::IpAddr, time::Duration};

use jiff::Timestamp;
use rcgen::{ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use x509_parser::extensions::GeneralName;

use super::{AHEAD, Authority, AuthorityError, certificate, named, params};

/// How long it counts.
const LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// With how much time left another one is made.
const LEFT: Duration = Duration::from_secs(122 * 24 * 60 * 60);
/// What every server can be called from its own host.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A server's certificate and its key.
#[derive(Debug)]
pub struct ServerCertificate {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) key: KeyPair,
    ends_at: Timestamp,
}

impl ServerCertificate {
    pub(super) fn make(
        issuer: &Issuer<'_, KeyPair>,
        names: &[ServerName<'_>],
        now: Timestamp,
    ) -> Result<Self, AuthorityError> {
        let own = OWN_NAMES.into_iter().filter_map(|name| ServerName::try_from(name).ok());
        let mut all = Vec::new();
        for name in names.iter().cloned().chain(own) {
            let name = match &name {
                ServerName::IpAddress(address) => SanType::IpAddress(IpAddr::from(*address)),
                name => SanType::DnsName(name.to_str().into_owned().try_into()?),
            };
            if !all.contains(&name) {
                all.push(name);
            }
        }
        Self::with_key(issuer, all, KeyPair::generate()?, now)
    }

    fn with_key(
        issuer: &Issuer<'_, KeyPair>,
        names: Vec<SanType>,
        key: KeyPair,
        now: Timestamp,
    ) -> Result<Self, AuthorityError> {
        let mut params = params(now, AHEAD, LIFE)?;
        params.distinguished_name = named("fleetmark collector");
        params.subject_alt_names = names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        Self::new(params.signed_by(&key, issuer)?.into(), key)
    }

    pub(super) fn new(
        certificate: CertificateDer<'static>,
        key: KeyPair,
    ) -> Result<Self, AuthorityError> {
        let ends_at = certificate::time(certificate::parse(&certificate)?.validity().not_after)?;
        Ok(Self { certificate, key, ends_at })
    }

    /// Until when it counts.
    #[must_use]
    pub fn ends_at(&self) -> Timestamp {
        self.ends_at
    }

    /// When it is time for another one.
    #[must_use]
    pub fn due_at(&self) -> Timestamp {
        self.ends_at - LEFT
    }

    /// The names that it was made for.
    fn names(&self) -> Result<Vec<SanType>, AuthorityError> {
        const ODD: AuthorityError = AuthorityError::Certificate("has names of an unknown kind");
        let parsed = certificate::parse(&self.certificate)?;
        let names = certificate::names(&parsed)?.iter().map(|name| match name {
            GeneralName::DNSName(name) => Ok(SanType::DnsName((*name).try_into()?)),
            GeneralName::IPAddress(bytes) => {
                let address = match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
                    (Ok(bytes), _) => IpAddr::from(bytes),
                    (_, Ok(bytes)) => IpAddr::from(bytes),
                    _ => return Err(ODD),
                };
                Ok(SanType::IpAddress(address))
            }
            _ => Err(ODD),
        });
        names.collect()
    }
}

impl Authority {
    /// The same, with another certificate for the same key of the server's.
    ///
    /// # Errors
    ///
    /// If none can be made.
    pub(super) fn with_new_server(self, now: Timestamp) -> Result<Self, AuthorityError> {
        let names = self.server.names()?;
        let server = ServerCertificate::with_key(&self.issuer, names, self.server.key, now)?;
        Ok(Self { server, ..self })
    }

    /// What the server shows: its certificate, and the authority's, by whose pin who joins knows it.
    #[must_use]
    pub fn server_chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.server.certificate.clone(), self.certificate.clone()]
    }

    /// The key that goes with it.
    #[must_use]
    pub fn server_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.server.key.serialize_der()).into()
    }
}
