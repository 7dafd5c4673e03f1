//! Who a host is. In this order: what the owner says; a cloud's instance id; a keyed hash of the machine id; a UUID that
//! is made once and kept.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use fleetmark_proto::{
    host::{Host, HostIdSource},
    id::HostId,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use uuid::{Builder, Uuid};

use crate::private;

/// What the hashes are keyed for, as `sd_id128_get_machine_app_specific` does: nobody learns the machine id from them,
/// and another application gets another hash.
mod application {
    use uuid::{Uuid, uuid};

    pub(super) const HOST: Uuid = uuid!("6d1f8f3e-5f0e-4c3a-9f63-0a1f5b7c2e91");
    pub(super) const BOOT: Uuid = uuid!("b0c5f2b4-7f5d-4d38-8a1e-93d1c64e7a20");
}

/// The host's id could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The state folder cannot be used.
    #[error("cannot keep this host's id in {}; choose another folder with --state-dir, or give a --host-id", .path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// What is kept is no id.
    #[error("{} does not hold a host id; remove it for a new one, or give a --host-id", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// Who the host is whose files lie under `root`, unless that is known already. The state folder is touched only if nothing
/// else tells.
///
/// # Errors
///
/// If an id has to be kept and cannot be.
pub fn host(
    root: &Path,
    known: Option<(HostId, HostIdSource)>,
    state_dir: &Path,
) -> Result<Host, IdentityError> {
    let (id, id_source) = match known.or_else(|| told(root)) {
        Some(told) => told,
        None => (kept(&state_dir.join("agent").join("host-id"))?, HostIdSource::State),
    };
    let name = line(root, "proc/sys/kernel/hostname").or_else(|| sysinfo::System::host_name().ok());
    let boot = line(root, "proc/sys/kernel/random/boot_id").and_then(|id| secret(&id));
    Ok(Host {
        id,
        name: name.unwrap_or_else(|| "unknown".to_owned()),
        id_source,
        boot_id_hash: boot
            .map(|boot| keyed(boot.as_bytes(), application::BOOT).simple().to_string()),
    })
}

fn told(root: &Path) -> Option<(HostId, HostIdSource)> {
    if line(root, "sys/class/dmi/id/sys_vendor").as_deref() == Some("Amazon EC2") {
        let tag = line(root, "sys/class/dmi/id/board_asset_tag");
        let id = tag.filter(|tag| tag.starts_with("i-")).and_then(|tag| tag.parse().ok());
        if let Some(id) = id {
            return Some((id, HostIdSource::Cloud));
        }
    }
    let machine_id = ["etc/machine-id", "var/lib/dbus/machine-id"]
        .into_iter()
        .filter_map(|path| line(root, path))
        // Images are shipped with an empty file, or this word.
        .find_map(|text| secret(&text))?;
    let id = keyed(machine_id.as_bytes(), application::HOST).to_string().parse().ok()?;
    Some((id, HostIdSource::MachineId))
}

/// An id of the system's; `None` for what is none, such as all zeros.
fn secret(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|id| !id.is_nil())
}

/// A hash of a secret of at most 64 bytes that differs by application, in the form of a UUID.
fn keyed(secret: &[u8], application: Uuid) -> Uuid {
    // HMAC fills a shorter key up with zeros by definition.
    let mut key = [0; 64];
    for (byte, secret) in key.iter_mut().zip(secret) {
        *byte = *secret;
    }
    let mac = Hmac::<Sha256>::new(&key.into()).chain_update(application.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&mac.finalize().into_bytes()[..16]);
    Builder::from_random_bytes(bytes).into_uuid()
}

/// The id in the file, made first if there is none.
fn kept(path: &Path) -> Result<HostId, IdentityError> {
    let unusable = |source| IdentityError::State { path: path.to_owned(), source };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(path).map_err(unusable)?;
            // Whoever was first has made it; read what is there.
            fs::read_to_string(path).map_err(unusable)?
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(IdentityError::Damaged { path: path.to_owned() });
        }
        Err(error) => return Err(unusable(error)),
    };
    text.trim().parse().map_err(|_| IdentityError::Damaged { path: path.to_owned() })
}

/// Keeps a new id, unless another agent is faster.
fn make(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    private::folder(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(file, "{}", Uuid::new_v4())?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
        _ => fs::File::open(folder)?.sync_all(),
    }
}

fn line(root: &Path, path: &str) -> Option<String> {
    let text = fs::read_to_string(root.join(path)).ok()?;
    let line = crate::hardware::one_line(&text);
    (!line.is_empty()).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn source(root: &Path, state: &Path) -> (String, HostIdSource) {
        let host = host(root, None, state).unwrap();
        (host.id.to_string(), host.id_source)
    }

    #[test]
    fn sources_come_in_their_order() {
        let root = tempfile::tempdir().unwrap();
        let state = tempfile::tempdir().unwrap();
        let (root, state) = (root.path(), state.path());
        let (made, from) = source(root, state);
        assert_eq!(from, HostIdSource::State);
        assert_eq!(source(root, state).0, made, "kept");

        put(root, "etc/machine-id", "uninitialized\n");
        assert_eq!(source(root, state).1, HostIdSource::State);
        put(root, "etc/machine-id", "0123456789abcdef0123456789abcdef\n");
        let (hashed, from) = source(root, state);
        assert_eq!(from, HostIdSource::MachineId);
        assert!(!hashed.replace('-', "").contains("0123456789abcdef"), "hashed");
        assert_eq!(source(root, state).0, hashed, "stable");

        put(root, "sys/class/dmi/id/sys_vendor", "Amazon EC2\n");
        put(root, "sys/class/dmi/id/board_asset_tag", "i-0abc123\n");
        assert_eq!(source(root, state), ("i-0abc123".into(), HostIdSource::Cloud));

        let known = Some(("mine".parse().unwrap(), HostIdSource::Flag));
        let given = host(root, known, state).unwrap();
        assert_eq!(given.id_source, HostIdSource::Flag);
    }

    #[test]
    fn hashes_are_those_of_systemd() {
        // What `systemd-id128 machine-id -u -a 6d1f8f3e5f0e4c3a9f630a1f5b7c2e91` says on a host with this machine id.
        let machine = secret("0123456789abcdef0123456789abcdef").unwrap();
        let expected = "72f174f3-d098-497a-8c0d-a8de2b4881c9";
        assert_eq!(keyed(machine.as_bytes(), application::HOST).to_string(), expected);
    }

    #[test]
    fn a_damaged_or_unwritable_state_is_told() {
        let root = tempfile::tempdir().unwrap();
        let state = tempfile::tempdir().unwrap();
        put(state.path(), "agent/host-id", "not an id!\n");
        let error = host(root.path(), None, state.path()).unwrap_err();
        assert!(error.to_string().contains("remove it"), "{error}");
        fs::write(state.path().join("agent/host-id"), [0xff, 0xfe]).unwrap();
        let error = host(root.path(), None, state.path()).unwrap_err();
        assert!(matches!(error, IdentityError::Damaged { .. }), "{error}");
        put(state.path(), "file", "");
        let error = host(root.path(), None, &state.path().join("file")).unwrap_err();
        assert!(matches!(error, IdentityError::State { .. }), "{error}");
    }

    #[test]
    fn boots_differ_and_hide_their_ids() {
        let root = tempfile::tempdir().unwrap();
        let state = tempfile::tempdir().unwrap();
        let boot = |id: &str| {
            put(root.path(), "proc/sys/kernel/random/boot_id", id);
            host(root.path(), None, state.path()).unwrap().boot_id_hash.unwrap()
        };
        let first = boot("7c9e6679-7425-40de-944b-e07fc1f90ae7\n");
        assert_ne!(first, boot("9b2d6c1e-1111-4222-8333-444455556666\n"));
        assert!(!first.contains("7c9e6679"));
    }
}
