//! Where the embedded collector's socket lies: in the state folder, or in a folder of temporary files where that cannot be.

use std::{
    env,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process,
};

use fleetmark_proto::shell::value;
use url::Url;

/// Bytes of the longest path that every system allows a socket to have.
const LONGEST: usize = 103;

/// A path for a socket, and the URL of whoever listens there.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    url: Url,
    /// A folder that is there for it alone, and goes with it.
    folder: Option<PathBuf>,
}

impl Place {
    pub(super) fn new(state_dir: &Path) -> io::Result<Self> {
        let name = format!("local-{}", process::id());
        let path = std::path::absolute(state_dir)?.join("collector").join(&name);
        if let Some((path, url)) = fit(path.with_extension("sock")) {
            return Ok(Self { path, url, folder: None });
        }
        let folder = env::temp_dir().join(format!("fleetmark-{name}"));
        let fits = fit(folder.join("own.sock"));
        let (path, url) = fits.ok_or(io::ErrorKind::InvalidFilename)?;
        // It must be new: in one that is there, somebody else might have a say.
        DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self { path, url, folder: Some(folder) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            // Whatever is left is a temporary file.
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// The path with its URL, if a socket can have it and the URL can tell it.
fn fit(path: PathBuf) -> Option<(PathBuf, Url)> {
    let url = Url::parse(&format!("unix:{}", path.to_str()?)).ok()?;
    let is_as_it_reads =
        Path::new(url.path()) == path && value::socket_path(&url).as_ref() == Some(&path);
    let fits = path.as_os_str().len() <= LONGEST && is_as_it_reads;
    fits.then_some((path, url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_lies_in_the_state_folder_if_it_can() {
        let place = Place::new(Path::new("/state")).unwrap();
        assert!(place.path().starts_with("/state/collector"), "{place:?}");
        assert_eq!(place.url().scheme(), "unix");
        assert_eq!(Path::new(place.url().path()), place.path());
    }

    #[test]
    fn where_it_cannot_it_lies_in_a_folder_of_its_own() {
        assert_eq!(fit("/state/a%20b".into()), None, "a URL would lead elsewhere");
        let long = format!("/{}", "long".repeat(50));
        let place = Place::new(Path::new(&long)).unwrap();
        let folder = place.path().parent().unwrap().to_owned();
        assert!(folder.starts_with(env::temp_dir()), "{place:?}");
        assert!(folder.is_dir());
        Place::new(Path::new("/with spaces/and more")).expect_err("there is one of this process");
        drop(place);
        assert!(!folder.exists());
    }
}
