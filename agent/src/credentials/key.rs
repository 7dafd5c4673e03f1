//! The key of a host.

use std::fmt;

use fleetmark_proto::id::Digest;
use rcgen::{
    CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::{Zeroize as _, Zeroizing};

/// A key cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
#[error("the key of this host cannot be used")]
pub struct KeyError(#[from] rcgen::Error);

/// A private key on P-256. No formatter shows it, and its bytes are overwritten when it is dropped.
#[derive(Clone)]
pub struct Key {
    /// PKCS #8, DER.
    bytes: Zeroizing<Vec<u8>>,
    digest: Digest,
}

impl Key {
    /// A new one.
    ///
    /// # Errors
    ///
    /// If the operating system has no random bytes.
    pub fn new() -> Result<Self, KeyError> {
        with(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?, |pair| Ok(Self::of(pair)))
    }

    /// Reads one that was kept.
    ///
    /// # Errors
    ///
    /// If it is none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        with(pair(bytes)?, |pair| Ok(Self::of(pair)))
    }

    fn of(pair: &KeyPair) -> Self {
        let digest = Digest::of(&pair.subject_public_key_info());
        Self { bytes: Zeroizing::new(pair.serialized_der().to_vec()), digest }
    }

    /// Its bytes: PKCS #8, DER. Who has them is taken for this host.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of its public half (its `SubjectPublicKeyInfo`, DER).
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The key as TLS takes it.
    #[must_use]
    pub fn for_tls(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.bytes.to_vec()).into()
    }

    /// A certificate signing request, DER. It says nothing but the public key: who the host is, the collector decides.
    ///
    /// # Errors
    ///
    /// If it cannot be signed.
    pub fn request(&self) -> Result<Vec<u8>, KeyError> {
        with(pair(&self.bytes)?, |pair| {
            let mut parameters = CertificateParams::default();
            parameters.distinguished_name = DistinguishedName::new();
            Ok(parameters.serialize_request(pair)?.der().to_vec())
        })
    }
}

fn pair(bytes: &[u8]) -> Result<KeyPair, rcgen::Error> {
    KeyPair::from_pkcs8_der_and_sign_algo(&bytes.into(), &PKCS_ECDSA_P256_SHA256)
}

/// Uses a key pair, and overwrites what can be overwritten of it.
fn with<T>(
    mut pair: KeyPair,
    use_it: impl FnOnce(&KeyPair) -> Result<T, KeyError>,
) -> Result<T, KeyError> {
    let used = use_it(&pair);
    pair.zeroize();
    used
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_and_are_not_shown() {
        let (one, other) = (Key::new().unwrap(), Key::new().unwrap());
        assert_ne!(one.digest(), other.digest());
        assert_eq!(format!("{one:?}"), format!("Key({})", one.digest()));
        assert_eq!(Key::from_bytes(one.expose()).unwrap().digest(), one.digest());
        assert!(Key::from_bytes(b"none").is_err());
    }
}
