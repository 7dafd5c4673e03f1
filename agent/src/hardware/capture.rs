//! What was read of a host, in one document: enough to detect the same hardware again, elsewhere.

mod scrub;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Hardware, Live, Root, detect_with};

/// The form of the document.
const SCHEMA: &str = "fleetmark.capture/1";

/// What was read of a host, without its name, its serials and the ids of its containers. Paths have no leading slash.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub struct Capture {
    schema: String,
    /// Files, with their text.
    pub(super) files: BTreeMap<String, String>,
    /// Symbolic links, with what they say.
    pub(super) links: BTreeMap<String, String>,
    /// Folders, with the names in them.
    pub(super) folders: BTreeMap<String, Vec<String>>,
    /// Files and folders of which it only mattered that they are there.
    pub(super) present: BTreeSet<String>,
    /// What no file shows; `null` if the files were not those of a running host.
    live: Option<Live>,
}

/// A document is not a capture.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// It is not JSON, or lacks a field.
    #[error("this is not a capture; `fleetmark-agent hardware --capture FILE` makes one")]
    Form(#[from] serde_json::Error),
    /// It is of another schema.
    #[error("this capture has the schema {0:?}, and {SCHEMA:?} is read; update fleetmark")]
    Schema(String),
}

/// A capture could not be saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// There is such a file.
    #[error("{} exists already; remove it, or choose another name", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It could not be written.
    #[error("cannot write to {}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl Capture {
    /// Reads a capture.
    ///
    /// # Errors
    ///
    /// If the document is none, or is written by a newer version.
    pub fn parse(json: &str) -> Result<Self, CaptureError> {
        let capture: Self = serde_json::from_str(json)?;
        if capture.schema != SCHEMA {
            return Err(CaptureError::Schema(capture.schema));
        }
        Ok(capture)
    }

    /// The capture as a document.
    ///
    /// # Errors
    ///
    /// If JSON refuses a value, which text does not give cause for.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|json| json + "\n")
    }

    /// Writes the capture into a new file.
    ///
    /// # Errors
    ///
    /// If there is such a file, or it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), SaveError> {
        let write = |source| SaveError::Write { path: path.to_owned(), source };
        let json = self.to_json().map_err(|error| write(io::Error::from(error)))?;
        let mut file = fs::File::create_new(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => SaveError::Exists { path: path.to_owned() },
            _ => write(error),
        })?;
        file.write_all(json.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| {
            // Half a capture is worth nothing, and would stand in the way of the next try.
            let _ = fs::remove_file(path);
            write(error)
        })
    }

    /// How many files, links and folders it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len() + self.links.len() + self.folders.len()
    }

    /// Whether nothing could be read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is a file or a folder at this path.
    pub(super) fn exists(&self, path: &str) -> bool {
        let inside = format!("{path}/");
        let mut paths = self.files.keys().chain(self.links.keys()).chain(self.folders.keys());
        self.present.contains(path)
            || paths.any(|known| known == path || known.starts_with(&inside))
            || self.present.iter().any(|known| known.starts_with(&inside))
    }
}

/// Detects a host from what was captured of it.
#[must_use]
pub fn detect_captured(capture: &Capture) -> Hardware {
    detect_with(Root::captured(capture), capture.live.as_ref())
}

/// Detects this host, as [`super::detect_live`] does, and captures what was read.
#[must_use]
pub fn capture_live(root: &Path) -> (Hardware, Capture) {
    capture_with(Root::folder(root), Some(Live::look()))
}

/// Detects a host and captures what was read of it.
pub(super) fn capture_with(root: Root<'_>, live: Option<Live>) -> (Hardware, Capture) {
    let seen = RefCell::new(Capture::default());
    let hardware = detect_with(root.noting(&seen), live.as_ref());
    // Read apart, as it must not be in what was captured.
    let host_name = root.read("proc/sys/kernel/hostname");
    let seen = Capture { schema: SCHEMA.to_owned(), live, ..seen.into_inner() };
    (hardware, scrub::scrub(seen, host_name.as_deref()))
}
