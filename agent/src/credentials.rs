//! What a host has since it joined a collector: who it is there, a certificate, and the key that never leaves it.
//!
//! All of it is one file, `agent/credentials/credentials.json` in the state folder, which its owner alone can read. It is replaced as
//! a whole, so that no certificate ever stands beside another's key.

mod folder;
mod key;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fleetmark_proto::{
    enrollment::Issued,
    host::HostIdSource,
    id::HostId,
    role::{Role, Subject},
};
use jiff::Timestamp;
use rustls::{
    RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, UnixTime},
    server::WebPkiClientVerifier,
};
use url::Url;

pub use folder::{CredentialsError, Folder};
pub use key::{Key, KeyError};

use crate::certificate::{self, Life};

/// Who a host is to its collector. Nothing of it is secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Membership {
    /// What the host is known by.
    pub host: HostId,
    /// Where that came from when the host joined.
    pub id_source: HostIdSource,
    /// What the collector says of the host. It stands in each report, over what the owner says.
    pub labels: BTreeMap<String, String>,
}

impl Membership {
    /// The labels of a report: the collector's, and the owner's under other keys. Readers see it so whatever a report says.
    #[must_use]
    pub fn beside(&self, mut own: BTreeMap<String, String>) -> BTreeMap<String, String> {
        own.extend(self.labels.clone());
        own
    }
}

/// What a host has since it joined. The key is not in its debug text.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Who it is.
    pub membership: Membership,
    /// Where it joined.
    pub endpoint: Url,
    /// Its key.
    pub key: Key,
    /// The certificate of that key.
    pub certificate: CertificateDer<'static>,
    /// The authority that signed it.
    pub authority: CertificateDer<'static>,
    /// By whom the collector is believed; usually the same authority.
    pub believed: Vec<CertificateDer<'static>>,
}

/// A collector has issued something that is no certificate of this host.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotOurs {
    /// It cannot be read.
    #[error("it is no certificate")]
    Unreadable,
    /// It is for another key.
    #[error("it is for another key")]
    Key,
    /// It is for somebody else.
    #[error("it is for somebody else")]
    Subject,
    /// The authority beside it did not sign it, or not for this.
    #[error("it is not signed by the authority beside it")]
    Signature,
}

impl Credentials {
    /// From when until when the certificate counts, by the collector's clock. One that cannot be read never does.
    #[must_use]
    pub fn life(&self) -> Life {
        certificate::life(&self.certificate)
            .unwrap_or(Life { begins_at: Timestamp::MIN, ends_at: Timestamp::MIN })
    }

    /// When to ask for the next certificate: at half of its life, and up to a tenth of that earlier or later. How much is drawn
    /// from the certificate itself, so that each host has another time, and the same one each time it looks.
    #[must_use]
    pub fn renew_at(&self) -> Timestamp {
        let Life { begins_at, ends_at } = self.life();
        let half = ends_at.duration_since(begins_at) / 2;
        let [first, second, ..] = *fleetmark_proto::id::Digest::of(&self.certificate).as_bytes();
        let drawn = f64::from(u16::from_be_bytes([first, second])) / f64::from(u16::MAX);
        begins_at.saturating_add(half.mul_f64(0.9 + 0.2 * drawn)).unwrap_or(ends_at)
    }

    /// The same with the next certificate.
    ///
    /// # Errors
    ///
    /// If it is not this host's.
    pub fn renewed(&self, issued: &Issued) -> Result<Self, NotOurs> {
        check(issued, &self.key, &self.membership.host)?;
        if certificate::key_digest(&CertificateDer::from(issued.authority.as_slice()))
            != certificate::key_digest(&self.authority)
        {
            return Err(NotOurs::Signature);
        }
        let membership = Membership { labels: issued.labels.clone(), ..self.membership.clone() };
        let certificate = CertificateDer::from(issued.certificate.clone());
        Ok(Self { membership, certificate, ..self.clone() })
    }
}

/// Whether what was issued is a certificate of this key for this host, signed by the authority beside it.
///
/// # Errors
///
/// If it is not.
pub fn check(issued: &Issued, key: &Key, host: &HostId) -> Result<(), NotOurs> {
    let certificate = CertificateDer::from(issued.certificate.as_slice());
    if certificate::key_digest(&certificate).ok_or(NotOurs::Unreadable)? != key.digest() {
        return Err(NotOurs::Key);
    }
    let subject = Subject { role: Role::Agent, name: host.clone() };
    if certificate::subject(&certificate) != Some(subject) {
        return Err(NotOurs::Subject);
    }
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(issued.authority.clone())).map_err(|_| NotOurs::Signature)?;
    let provider = Arc::new(ring::default_provider());
    // By the collector's clock: that this host's is off must not make its certificates wrong.
    let now = u64::try_from(issued.now.as_second()).unwrap_or_default();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|_| NotOurs::Signature)?
        .verify_client_cert(&certificate, &[], now)
        .map_err(|_| NotOurs::Signature)?;
    Ok(())
}
