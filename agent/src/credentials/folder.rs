//! Where credentials are kept.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fleetmark_proto::{host::HostIdSource, id::HostId};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use url::Url;
use zeroize::Zeroizing;

use super::{Credentials, Key, Membership};
use crate::certificate;

const SCHEMA: &str = "fleetmark.credentials/1";
/// More than any credentials take, so that their bytes are written into one place and overwritten there.
const ROOM_BYTES: usize = 64 << 10;

/// Credentials could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The folder cannot be used.
    #[error("cannot keep credentials in {}", .path.display())]
    Unwritable {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file cannot be read.
    #[error("cannot read the credentials in {}; run this as who joined", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// What is kept is no credentials.
    #[error(
        "{} holds no credentials that this version can read; join again with `fleetmark-agent enroll --force`",
        .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// The folder of one host's credentials.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    state_dir: PathBuf,
}

/// The file. Binary parts are DER in base64.
#[derive(Deserialize, Serialize)]
struct Kept<'a> {
    schema: &'a str,
    endpoint: &'a str,
    host_id: &'a str,
    id_source: HostIdSource,
    labels: BTreeMap<String, String>,
    certificate: &'a str,
    authority: &'a str,
    #[serde(borrow)]
    believed: Vec<&'a str>,
    key: &'a str,
}

impl Folder {
    /// That of the agent with this state folder. Nothing is made yet.
    #[must_use]
    pub fn of(state_dir: &Path) -> Self {
        let path = state_dir.join("agent").join("credentials");
        Self { path, state_dir: state_dir.to_owned() }
    }

    fn file(&self) -> PathBuf {
        self.path.join("credentials.json")
    }

    /// What is kept; `None` if this host never joined.
    ///
    /// # Errors
    ///
    /// If there is something that cannot be read.
    pub fn read(&self) -> Result<Option<Credentials>, CredentialsError> {
        let path = self.file();
        let bytes = match fs::read(&path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(CredentialsError::Unreadable { path, source }),
        };
        decode(&bytes).map(Some).ok_or(CredentialsError::Damaged { path })
    }

    /// Makes sure that something can be kept here.
    ///
    /// # Errors
    ///
    /// If nothing can.
    pub fn prepare(&self) -> Result<(), CredentialsError> {
        self.lock().and_then(|_| NamedTempFile::new_in(&self.path)).map_err(self.unwritable())?;
        Ok(())
    }

    /// Keeps these in place of what was kept.
    ///
    /// # Errors
    ///
    /// If they cannot be written.
    pub fn write(&self, credentials: &Credentials) -> Result<(), CredentialsError> {
        let lock = self.lock().map_err(self.unwritable())?;
        let written = self.replace(credentials).map_err(self.unwritable());
        drop(lock);
        written
    }

    /// Keeps renewed credentials, unless the host has joined anew meanwhile. Says whether they are kept.
    ///
    /// # Errors
    ///
    /// If what is there cannot be read, or these cannot be written.
    pub fn renew(&self, renewed: &Credentials) -> Result<bool, CredentialsError> {
        let lock = self.lock().map_err(self.unwritable())?;
        let is_same = self.read()?.is_some_and(|kept| kept.key.digest() == renewed.key.digest());
        if is_same {
            self.replace(renewed).map_err(self.unwritable())?;
        }
        drop(lock);
        Ok(is_same)
    }

    fn unwritable(&self) -> impl Fn(io::Error) -> CredentialsError {
        let path = self.path.clone();
        move |source| CredentialsError::Unwritable { path: path.clone(), source }
    }

    /// Makes the folder where it is missing, and keeps other writers out.
    fn lock(&self) -> io::Result<File> {
        let above = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(above)?;
        match DirBuilder::new().mode(0o700).create(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        fs::set_permissions(&self.path, Permissions::from_mode(0o700))?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.path.join("lock"))?;
        lock.lock()?;
        self.give(above)?;
        self.give(&self.path)?;
        self.give(&self.path.join("lock"))?;
        Ok(lock)
    }

    /// What root makes in another's state folder is that other's to use.
    fn give(&self, path: &Path) -> io::Result<()> {
        let (owner, now) = (fs::metadata(&self.state_dir)?, fs::metadata(path)?);
        let is_root = rustix::process::geteuid().is_root();
        if is_root && now.uid() == 0 && owner.uid() != 0 {
            chown(path, Some(owner.uid()), Some(owner.gid()))?;
        }
        Ok(())
    }

    fn replace(&self, credentials: &Credentials) -> io::Result<()> {
        // Others cannot read it from its first byte on.
        let mut file = NamedTempFile::new_in(&self.path)?;
        file.write_all(&encode(credentials)?)?;
        file.as_file().sync_all()?;
        self.give(file.path())?;
        file.persist(self.file()).map_err(|error| error.error)?;
        File::open(&self.path)?.sync_all()
    }
}

fn encode(credentials: &Credentials) -> io::Result<Zeroizing<Vec<u8>>> {
    let Credentials { membership, endpoint, key, certificate, authority, believed } = credentials;
    let Membership { host, id_source, labels } = membership;
    let mut key_text = Zeroizing::new(String::with_capacity(2 * key.expose().len()));
    STANDARD.encode_string(key.expose(), &mut key_text);
    let believed: Vec<_> = believed.iter().map(|authority| STANDARD.encode(authority)).collect();
    let kept = Kept {
        schema: SCHEMA,
        endpoint: endpoint.as_str(),
        host_id: host.as_str(),
        id_source: *id_source,
        labels: labels.clone(),
        certificate: &STANDARD.encode(certificate),
        authority: &STANDARD.encode(authority),
        believed: believed.iter().map(String::as_str).collect(),
        key: &key_text,
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(ROOM_BYTES));
    serde_json::to_writer_pretty(&mut *bytes, &kept)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Option<Credentials> {
    let kept: Kept<'_> = serde_json::from_slice(bytes).ok()?;
    let Kept {
        schema,
        endpoint,
        host_id,
        id_source,
        labels,
        certificate,
        authority,
        believed,
        key,
    } = kept;
    if schema != SCHEMA {
        return None;
    }
    let der = |text: &str| Some(CertificateDer::from(STANDARD.decode(text).ok()?));
    let host: HostId = host_id.parse().ok()?;
    let key = Key::from_bytes(&Zeroizing::new(STANDARD.decode(key).ok()?)).ok()?;
    let certificate = der(certificate)?;
    if certificate::key_digest(&certificate) != Some(key.digest()) {
        return None;
    }
    Some(Credentials {
        membership: Membership { host, id_source, labels },
        endpoint: Url::parse(endpoint).ok()?,
        key,
        certificate,
        authority: der(authority)?,
        believed: believed.into_iter().map(der).collect::<Option<_>>()?,
    })
}
