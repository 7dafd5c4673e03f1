//! What a collector is believed by, and what it is shown.

use std::{fmt, fs, io, path::Path, sync::Arc};

use fleetmark_proto::{
    id::Digest,
    role::Subject,
    token::{BearerToken, TokenError},
};
use rustls::{
    ClientConfig, RootCertStore,
    client::{Resumption, WebPkiServerVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    version::TLS13,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
};
use zeroize::Zeroizing;

use super::pinned::Pinned;
use crate::{args::AccessArgs, certificate, clock::Clock};

/// What was named to be believed or shown cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file has something else in it.
    #[error("{path} holds no {what} in PEM")]
    NotPem {
        /// The file.
        path: String,
        /// What it should hold.
        what: &'static str,
    },
    /// A file holds no token.
    #[error("{path}: {source}")]
    Token {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: TokenError,
    },
    /// The parts do not go together, or with TLS.
    #[error("certificate, key and authority cannot be used together")]
    Unusable(#[from] rustls::Error),
}

/// What a collector is believed by, and what it is shown. The default believes nobody and shows nothing, which is enough for
/// plaintext on this host. Keys and tokens are not in its debug text.
#[derive(Clone, Debug, Default)]
pub struct Access {
    pub(super) trust: Option<Trust>,
    /// The certificates of the authorities that were named.
    pub(super) authorities: Vec<CertificateDer<'static>>,
    pub(super) shown: Option<Arc<Shown>>,
    pub(super) bearer: Bearer,
    /// Whether plaintext may leave this host.
    pub(super) insecure: bool,
}

/// Who may say that a collector is one.
#[derive(Clone, Debug)]
pub(super) enum Trust {
    /// These authorities, and no others.
    Authorities(Arc<RootCertStore>),
    /// The authority with this public key, which the collector shows along with its own certificate.
    Pin(Digest),
}

/// A certificate with those between it and its authority, and its key.
pub(super) struct Shown {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    /// Whether its owner named it. Otherwise the collector issued it, and does so again.
    pub(super) named: bool,
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown(…)")
    }
}

impl Access {
    /// What these arguments name, read and checked.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, holds something else, or the parts do not go together.
    pub fn read(arguments: &AccessArgs) -> Result<Self, AccessError> {
        let AccessArgs { tls_ca, tls_cert, tls_key, bearer_token_file, insecure } = arguments;
        let authorities = match tls_ca {
            Some(path) => certificates(path)?,
            None => Vec::new(),
        };
        let trust = match &authorities[..] {
            [] => None,
            authorities => Some(Trust::authorities(authorities)?),
        };
        let shown = match (tls_cert, tls_key) {
            (Some(chain), Some(key)) => {
                let (chain, key) = (certificates(chain)?, private_key(key)?);
                Some(Arc::new(Shown { chain, key, named: true }))
            }
            _ => None,
        };
        let bearer = match bearer_token_file {
            Some(path) => Bearer::new(&token(path)?),
            None => Bearer::default(),
        };
        let access = Self { trust, authorities, shown, bearer, insecure: *insecure };
        // What does not go together is found before anything else is done.
        access.config(&Clock::of_host())?;
        Ok(access)
    }

    /// As whom its certificate lets an agent of ours speak; `None` without one, or with one that does not say.
    #[must_use]
    pub fn subject(&self) -> Option<Subject> {
        certificate::subject(self.shown.as_ref()?.chain.first()?)
    }

    /// Whether a certificate is shown that was named.
    pub(super) fn shows_named(&self) -> bool {
        self.shown.as_ref().is_some_and(|shown| shown.named)
    }

    /// How TLS is spoken with this access; `None` if nobody would be believed.
    pub(super) fn config(&self, clock: &Clock) -> Result<Option<Arc<ClientConfig>>, rustls::Error> {
        let Some(trust) = &self.trust else { return Ok(None) };
        let provider = Arc::new(ring::default_provider());
        let builder =
            ClientConfig::builder_with_details(Arc::clone(&provider), Arc::new(clock.clone()))
                .with_protocol_versions(&[&TLS13])?;
        let builder = match trust {
            Trust::Authorities(roots) => {
                builder.with_webpki_verifier(verifier(Arc::clone(roots), &provider)?)
            }
            Trust::Pin(pin) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Pinned::new(*pin, provider))),
        };
        let mut config = match self.shown.as_deref() {
            Some(Shown { chain, key, named: _ }) => {
                builder.with_client_auth_cert(chain.clone(), key.clone_key())?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        // Each connection proves anew who its ends are.
        config.resumption = Resumption::disabled();
        Ok(Some(Arc::new(config)))
    }
}

impl Trust {
    /// These authorities.
    pub(super) fn authorities(
        certificates: &[CertificateDer<'static>],
    ) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate.clone())?;
        }
        Ok(Self::Authorities(Arc::new(roots)))
    }
}

/// Checks that a certificate is signed by one of these authorities, is valid now, and is for the host that was asked for.
pub(super) fn verifier(
    roots: Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, rustls::Error> {
    WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider))
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))
}

/// Sends a token with each call; the default sends none. It is never shown.
#[derive(Clone, Debug, Default)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    /// Sends this token.
    #[must_use]
    pub fn new(token: &BearerToken) -> Self {
        let text = Zeroizing::new(format!("Bearer {}", *token.expose()));
        // A token is ASCII, so that there always is a value.
        let value = MetadataValue::try_from(text.as_str()).ok();
        Self(value.map(|mut value| {
            value.set_sensitive(true);
            value
        }))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, AccessError> {
    let bytes = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(not_pem(path, "certificate")),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, AccessError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|_| not_pem(path, "private key"))
}

fn token(path: &Path) -> Result<BearerToken, AccessError> {
    let bytes = read(path)?;
    let wrong = |source| AccessError::Token { path: path.display().to_string(), source };
    str::from_utf8(&bytes).map_err(|_| wrong(TokenError::Mistyped))?.parse().map_err(wrong)
}

fn not_pem(path: &Path, what: &'static str) -> AccessError {
    AccessError::NotPem { path: path.display().to_string(), what }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, AccessError> {
    let unreadable = |source| AccessError::Unreadable { path: path.display().to_string(), source };
    fs::read(path).map(Zeroizing::new).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use fleetmark_proto::{role::Role, secret::Secret, shell::one_line};
    use rcgen::{CertificateParams, KeyPair, SanType};
    use tempfile::TempDir;

    use super::*;

    /// A certificate of an agent and its key, each in a file of its own.
    fn files(folder: &TempDir, name: &str) -> [Option<PathBuf>; 2] {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        let uri = format!("fleetmark://agent/{name}");
        parameters.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().unwrap())];
        let certificate = parameters.self_signed(&key).unwrap();
        let put = |what: &str, text: String| {
            let path = folder.path().join(format!("{name}-{what}"));
            fs::write(&path, text).unwrap();
            Some(path)
        };
        [put("cert.pem", certificate.pem()), put("key.pem", key.serialize_pem())]
    }

    fn refusal(arguments: AccessArgs) -> String {
        one_line(&Access::read(&arguments).unwrap_err())
    }

    #[test]
    fn certificates_of_another_authority_say_who_is_who() {
        let folder = tempfile::tempdir().unwrap();
        let [tls_cert, tls_key] = files(&folder, "web-1");
        let named =
            AccessArgs { tls_ca: tls_cert.clone(), tls_cert, tls_key, ..AccessArgs::default() };
        let access = Access::read(&named).unwrap();
        let subject = access.subject().unwrap();
        assert_eq!((subject.role, subject.name.as_str()), (Role::Agent, "web-1"));
        assert!(access.config(&Clock::of_host()).unwrap().is_some());
        let nothing = Access::read(&AccessArgs::default()).unwrap();
        assert!(nothing.config(&Clock::of_host()).unwrap().is_none(), "nobody is believed");
    }

    #[test]
    fn files_that_cannot_be_used_are_told_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let [tls_ca, tls_key] = files(&folder, "web-1");
        let [tls_cert, _] = files(&folder, "web-2");
        let nothing = AccessArgs::default;
        let mixed =
            AccessArgs { tls_ca: tls_ca.clone(), tls_cert, tls_key: tls_key.clone(), ..nothing() };
        assert!(refusal(mixed).contains("cannot be used together"));
        let swapped = AccessArgs { tls_ca: tls_key, ..nothing() };
        assert!(refusal(swapped).contains("web-1-key.pem holds no certificate in PEM"));
        let missing = AccessArgs { tls_ca: Some(folder.path().join("missing")), ..nothing() };
        assert!(refusal(missing).contains("missing: No such file"));
        let none = AccessArgs { bearer_token_file: tls_ca, ..nothing() };
        assert!(refusal(none).contains("web-1-cert.pem: this token is mistyped"));
    }

    #[test]
    fn a_bearer_token_is_sent_with_each_call_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let token = BearerToken { secret: Secret::from_slice(&[7; 32]).unwrap() };
        fs::write(&path, format!("{}\n", *token.expose())).unwrap();
        let named = AccessArgs { bearer_token_file: Some(path), ..AccessArgs::default() };
        let mut access = Access::read(&named).unwrap();
        let request = access.bearer.call(Request::new(())).unwrap();
        let sent = request.metadata().get("authorization").unwrap();
        assert_eq!(sent.to_str().unwrap(), format!("Bearer {}", *token.expose()));
        let shown = format!("{access:?} {sent:?}");
        assert!(!shown.contains(&token.expose()[5..20]), "{shown}");
    }
}
