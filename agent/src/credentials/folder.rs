//! Where credentials are kept.

mod joining;

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, Permissions},
    io::{self, ErrorKind as Kind, Write as _},
    os::unix::fs::{
        DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown,
    },
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fleetmark_proto::{host::HostIdSource, id::HostId};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use url::Url;
use zeroize::Zeroizing;

use super::{Credentials, Key, KeyError, Membership};
use crate::{certificate, private};

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
    /// Others can read the key.
    #[error(
        "everybody on this host can read or change {path}, and so pass for it; if nobody has, `chmod 600 {path}` ends that, \
         otherwise join again with `fleetmark-agent enroll --force`",
        path = .path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
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
    /// There is no key to join with.
    #[error(transparent)]
    Key(#[from] KeyError),
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

    /// What is kept while a host joins.
    fn joining(&self) -> PathBuf {
        self.path.join("joining.json")
    }

    /// Whether there may be something to read.
    #[must_use]
    pub fn is_there(&self) -> bool {
        !matches!(self.path.try_exists(), Ok(false))
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
            // Where there is no folder for them there are none either; whoever needs one there says what is wrong.
            Err(error) if matches!(error.kind(), Kind::NotFound | Kind::NotADirectory) => {
                return Ok(None);
            }
            Err(source) => return Err(CredentialsError::Unreadable { path, source }),
        };
        if private::is_open_to_all(&path) {
            return Err(CredentialsError::Open { path });
        }
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

    /// Keeps these in place of what was kept. Whoever was about to join has joined.
    ///
    /// # Errors
    ///
    /// If they cannot be written.
    pub fn write(&self, credentials: &Credentials) -> Result<(), CredentialsError> {
        let lock = self.lock().map_err(self.unwritable())?;
        self.replace(credentials).map_err(self.unwritable())?;
        // What is left of it is of no use to anybody, and in nobody's way.
        let _ = fs::remove_file(self.joining());
        drop(lock);
        Ok(())
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
        private::folder(above)?;
        match DirBuilder::new().mode(0o700).create(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        fs::set_permissions(&self.path, Permissions::from_mode(0o700))?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
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
        self.put(&self.file(), &encode(credentials)?)
    }

    fn put(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        // Others cannot read it from its first byte on.
        let mut file = NamedTempFile::new_in(&self.path)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        self.give(file.path())?;
        file.persist(path).map_err(|error| error.error)?;
        File::open(&self.path)?.sync_all()
    }
}

fn encode(credentials: &Credentials) -> io::Result<Zeroizing<Vec<u8>>> {
    let Credentials { membership, endpoint, key, certificate, authority, believed } = credentials;
    let Membership { host, id_source, labels } = membership;
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
        key: &key_text(key),
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(ROOM_BYTES));
    serde_json::to_writer_pretty(&mut *bytes, &kept)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn key_text(key: &Key) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(2 * key.expose().len()));
    STANDARD.encode_string(key.expose(), &mut text);
    text
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

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, SigningKey as _};

    use super::*;

    /// Credentials with a certificate that the key signed for itself.
    pub(super) fn credentials(host: &str) -> Credentials {
        let key = Key::new().unwrap();
        let pair = rcgen::KeyPair::try_from(key.expose()).unwrap();
        let mut parameters = CertificateParams::default();
        // Two of one key differ.
        parameters.serial_number = Some(pair.sign(host.as_bytes()).unwrap()[..8].to_vec().into());
        let certificate = parameters.self_signed(&pair).unwrap().der().clone();
        Credentials {
            membership: Membership {
                host: host.parse().unwrap(),
                id_source: HostIdSource::Cloud,
                labels: [("note".to_owned(), "a \"quoted\" ä".to_owned())].into(),
            },
            endpoint: "https://collector:7600".parse().unwrap(),
            key,
            authority: certificate.clone(),
            believed: vec![certificate.clone(), certificate.clone()],
            certificate,
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn what_is_kept_is_read_and_only_its_owner_can() {
        let state = tempfile::tempdir().unwrap();
        let folder = Folder::of(state.path());
        assert!(folder.read().unwrap().is_none());
        assert!(!state.path().join("agent").exists(), "reading makes nothing");
        let kept = credentials("web-1");
        folder.write(&kept).unwrap();
        let read = folder.read().unwrap().unwrap();
        assert_eq!(read.membership, kept.membership);
        assert_eq!((read.endpoint, read.key.digest()), (kept.endpoint, kept.key.digest()));
        assert_eq!(read.believed, kept.believed);
        assert_eq!((mode(&folder.path), mode(&folder.file())), (0o700, 0o600));
        let names: Vec<_> = fs::read_dir(&folder.path).unwrap().collect();
        assert_eq!(names.len(), 2, "the file and its lock: {names:?}");
    }

    #[test]
    fn a_renewal_is_kept_only_beside_the_key_that_it_is_for() {
        let state = tempfile::tempdir().unwrap();
        let folder = Folder::of(state.path());
        let (before, anew) = (credentials("web-1"), credentials("web-1"));
        assert!(!folder.renew(&before).unwrap(), "it has left");
        folder.write(&before).unwrap();
        assert!(folder.renew(&before).unwrap());
        folder.write(&anew).unwrap();
        assert!(!folder.renew(&before).unwrap());
        assert_eq!(folder.read().unwrap().unwrap().key.digest(), anew.key.digest());
    }

    #[test]
    fn what_is_damaged_or_of_another_key_is_told() {
        let state = tempfile::tempdir().unwrap();
        let folder = Folder::of(state.path());
        folder.write(&credentials("web-1")).unwrap();
        let whole = fs::read_to_string(folder.file()).unwrap();
        let other = STANDARD.encode(credentials("web-1").key.expose());
        let mine = STANDARD.encode(folder.read().unwrap().unwrap().key.expose());
        let damaged = [
            String::new(),
            whole[..whole.len() / 2].to_owned(),
            whole.replace("credentials/1", "credentials/2"),
            whole.replace(&mine, &other),
        ];
        for text in damaged {
            fs::write(folder.file(), &text).unwrap();
            let error = folder.read().unwrap_err();
            assert!(error.to_string().contains("enroll --force"), "{error}");
            assert!(!error.to_string().contains(&mine[40..60]), "{error}");
        }
    }

    #[test]
    fn what_everybody_can_read_is_not_used() {
        let state = tempfile::tempdir().unwrap();
        let folder = Folder::of(state.path());
        folder.write(&credentials("web-1")).unwrap();
        fs::set_permissions(folder.file(), Permissions::from_mode(0o644)).unwrap();
        let error = folder.read().unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
        fs::set_permissions(folder.file(), Permissions::from_mode(0o640)).unwrap();
        assert!(folder.read().unwrap().is_some());
    }
}
