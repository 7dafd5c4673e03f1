//! Keeps files and folders to their owner.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::Path,
};

/// Makes a folder for its owner alone where there is none, and has one that is this user's be so.
///
/// # Errors
///
/// If it cannot be made, or its mode cannot be changed.
pub fn folder(path: &Path) -> io::Result<()> {
    if let Some(above) = path.parent() {
        fs::create_dir_all(above)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => tighten(path),
    }
}

/// Has a folder that is this user's be for its owner alone. What is another's is that one's to decide.
///
/// # Errors
///
/// If its mode cannot be changed.
pub fn tighten(path: &Path) -> io::Result<()> {
    let data = fs::metadata(path)?;
    let is_ours = data.uid() == rustix::process::geteuid().as_raw();
    if data.is_dir() && is_ours && data.mode() & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Whether everybody on this host may read or change a file. A pipe or a terminal is nobody's to read twice, and who shares a
/// group with its owner was let in by somebody.
#[must_use]
pub fn is_open_to_all(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.mode() & 0o006 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_folder_is_its_owners_whether_it_was_there_or_not() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("above").join("agent");
        folder(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        folder(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        assert!(tighten(&place.path().join("missing")).is_err());
    }

    #[test]
    fn a_file_is_open_to_all_if_others_can_read_or_change_it() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("key");
        fs::write(&path, "").unwrap();
        for (mode, is_open) in [(0o600, false), (0o640, false), (0o644, true), (0o602, true)] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_open_to_all(&path), is_open, "{mode:o}");
        }
        assert!(!is_open_to_all(Path::new("/dev/null")) && !is_open_to_all(Path::new("/missing")));
    }
}
