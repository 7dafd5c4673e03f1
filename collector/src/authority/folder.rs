//! The authority's folder: `ca.pem`, `server.pem` (the server's certificate, then the authority's), and a key beside each.
//! Only their owner may read them.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use fleetmark_agent::private;
use fleetmark_proto::id::Digest;
use jiff::Timestamp;
use pem::Pem;
use rcgen::{Issuer, KeyPair, PublicKeyData as _};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use zeroize::Zeroizing;

use super::{Authority, AuthorityError, ServerCertificate, certificate};

const AUTHORITY: (&str, &str) = ("ca.pem", "ca.key");
const SERVER: (&str, &str) = ("server.pem", "server.key");

impl Authority {
    /// Whether there is one in this folder. One that cannot be seen is there: a collector that may not read its authority must
    /// not do without.
    #[must_use]
    pub fn is_in(folder: &Path) -> bool {
        !matches!(folder.try_exists(), Ok(false))
    }

    /// Reads the authority that was saved there.
    ///
    /// # Errors
    ///
    /// If there is none, or its files do not fit each other.
    pub fn load(folder: &Path) -> Result<Self, AuthorityError> {
        if !Self::is_in(folder) {
            return Err(AuthorityError::Missing(folder.to_owned()));
        }
        let (certificate, key) = read_pair(folder, AUTHORITY)?;
        let pin = Digest::of(&key.subject_public_key_info());
        let malformed = |error: rcgen::Error| AuthorityError::Malformed {
            path: folder.join(AUTHORITY.0),
            what: format!("cannot be used: {error}"),
        };
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(malformed)?;
        let (server, server_key) = read_pair(folder, SERVER)?;
        let server = ServerCertificate::new(server, server_key)?;
        Ok(Self { issuer, certificate, pin, server })
    }

    /// Saves it in a new folder, whole or not at all.
    ///
    /// # Errors
    ///
    /// If the folder is there already or cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), AuthorityError> {
        if Self::is_in(folder) {
            return Err(AuthorityError::Exists(folder.to_owned()));
        }
        let parent = folder.parent().unwrap_or(Path::new("/"));
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| AuthorityError::File { path, source }
        };
        private::folder(parent).map_err(failed(parent))?;
        let new = folder.with_extension("new");
        // What is there was begun by somebody who did not come to the end.
        match fs::remove_dir_all(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(&new)(error));
            }
            _ => {}
        }
        DirBuilder::new().mode(0o700).create(&new).map_err(failed(&new))?;
        write(&new.join(AUTHORITY.0), pem([&self.certificate]).as_bytes())?;
        write(
            &new.join(AUTHORITY.1),
            Zeroizing::new(self.issuer.key().serialize_pem()).as_bytes(),
        )?;
        write(&new.join(SERVER.0), self.server_pem().as_bytes())?;
        write(&new.join(SERVER.1), Zeroizing::new(self.server.key.serialize_pem()).as_bytes())?;
        sync(&new)?;
        fs::rename(&new, folder).map_err(failed(folder))?;
        sync(parent)
    }

    /// Makes another certificate for the server if it is time to, and saves it in the folder; tells whether it did.
    ///
    /// # Errors
    ///
    /// If it cannot be made or saved.
    pub fn renew_server(folder: &Path, now: Timestamp) -> Result<bool, AuthorityError> {
        let authority = Self::load(folder)?;
        if now < authority.server.due_at() {
            return Ok(false);
        }
        let renewed = authority.with_new_server(now)?;
        let (path, new) = (folder.join(SERVER.0), folder.join("server.pem.new"));
        match fs::remove_file(&new) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(AuthorityError::File { path: new, source });
            }
            _ => {}
        }
        write(&new, renewed.server_pem().as_bytes())?;
        fs::rename(&new, &path).map_err(|source| AuthorityError::File { path, source })?;
        sync(folder)?;
        Ok(true)
    }

    /// The files of the server's certificate, which may change while it runs.
    #[must_use]
    pub fn server_files(folder: &Path) -> [PathBuf; 2] {
        [folder.join(SERVER.0), folder.join(SERVER.1)]
    }

    fn server_pem(&self) -> String {
        pem(&self.server_chain())
    }
}

fn pem<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>) -> String {
    let pems: Vec<Pem> = certificates
        .into_iter()
        .map(|certificate| Pem::new("CERTIFICATE", certificate.to_vec()))
        .collect();
    pem::encode_many(&pems)
}

/// The first certificate of one file, and the key of another, which must be its own.
fn read_pair(
    folder: &Path,
    (certificate, key): (&str, &str),
) -> Result<(CertificateDer<'static>, KeyPair), AuthorityError> {
    let certificate_path = folder.join(certificate);
    let key_path = folder.join(key);
    let malformed = |path: &Path, what: &str| AuthorityError::Malformed {
        path: path.to_owned(),
        what: what.to_owned(),
    };
    if private::is_open_to_all(&key_path) {
        let what = "can be read or changed by everybody on this host, and is not used; if nobody has, take that from them with \
                    `chmod 600`, otherwise move its folder away and run `fleetmark-collector init`";
        return Err(malformed(&key_path, what));
    }
    let certificate = CertificateDer::from_pem_slice(&read(&certificate_path)?)
        .map_err(|_| malformed(&certificate_path, "holds no certificate"))?;
    let key = PrivatePkcs8KeyDer::from_pem_slice(&read(&key_path)?)
        .ok()
        .and_then(|key| KeyPair::try_from(&key).ok())
        .ok_or_else(|| malformed(&key_path, "holds no key"))?;
    let public_key = certificate::parse(&certificate)?.public_key().raw.to_vec();
    if public_key != key.subject_public_key_info() {
        return Err(malformed(&key_path, "is not the key of the certificate beside it"));
    }
    Ok((certificate, key))
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, AuthorityError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Zeroizing::new(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(AuthorityError::Missing(path.to_owned()))
        }
        Err(source) => Err(AuthorityError::File { path: path.to_owned(), source }),
    }
}

/// Writes a new file that only its owner may read.
fn write(path: &Path, bytes: &[u8]) -> Result<(), AuthorityError> {
    let written = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    written().map_err(|source| AuthorityError::File { path: path.to_owned(), source })
}

fn sync(folder: &Path) -> Result<(), AuthorityError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| AuthorityError::File { path: folder.to_owned(), source })
}
