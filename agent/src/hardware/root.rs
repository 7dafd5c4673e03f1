//! The files of a host: a folder, or what was captured of one. Every read passes here, so that it can be captured.

use std::{cell::RefCell, fs, io::Read as _, path::Path};

use super::capture::Capture;

/// The files of a host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Root<'a> {
    files: Files<'a>,
    seen: Option<&'a RefCell<Capture>>,
}

#[derive(Clone, Copy, Debug)]
enum Files<'a> {
    Folder(&'a Path),
    Captured(&'a Capture),
}

impl<'a> Root<'a> {
    pub(super) fn folder(path: &'a Path) -> Self {
        Self { files: Files::Folder(path), seen: None }
    }

    pub(super) fn captured(capture: &'a Capture) -> Self {
        Self { files: Files::Captured(capture), seen: None }
    }

    /// The same files; what is read of them is noted too.
    pub(super) fn noting(self, seen: &'a RefCell<Capture>) -> Self {
        Self { seen: Some(seen), ..self }
    }

    /// A file as text without the white space around it; `None` if it is missing, empty, or not text.
    pub(super) fn read(self, path: &str) -> Option<String> {
        let text = match self.files {
            Files::Folder(root) => file(&root.join(path))?,
            Files::Captured(capture) => capture.files.get(path)?.clone(),
        };
        self.note(|seen| seen.files.insert(path.to_owned(), text.clone()));
        // Device trees end their text in a NUL.
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// What a symbolic link says. A folder of captured files may hold the text in a file instead, as git leaves it where
    /// it cannot make links.
    pub(super) fn link(self, path: &str) -> Option<String> {
        let target = match self.files {
            Files::Folder(root) => match fs::read_link(root.join(path)) {
                Ok(target) => target.into_os_string().into_string().ok()?,
                Err(_) => file(&root.join(path))?.trim().to_owned(),
            },
            Files::Captured(capture) => capture.links.get(path)?.clone(),
        };
        self.note(|seen| seen.links.insert(path.to_owned(), target.clone()));
        Some(target)
    }

    /// The names in a folder, sorted; none if there is no such folder.
    pub(super) fn list(self, path: &str) -> Vec<String> {
        let mut names = match self.files {
            Files::Folder(root) => {
                let Ok(entries) = fs::read_dir(root.join(path)) else {
                    return Vec::new();
                };
                entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
            }
            Files::Captured(capture) => capture.folders.get(path).cloned().unwrap_or_default(),
        };
        names.sort_unstable();
        if !names.is_empty() {
            self.note(|seen| seen.folders.insert(path.to_owned(), names.clone()));
        }
        names
    }

    /// Whether there is a file or a folder.
    pub(super) fn exists(self, path: &str) -> bool {
        let exists = match self.files {
            Files::Folder(root) => root.join(path).exists(),
            Files::Captured(capture) => capture.exists(path),
        };
        if exists {
            self.note(|seen| seen.present.insert(path.to_owned()));
        }
        exists
    }

    fn note<T>(self, add: impl FnOnce(&mut Capture) -> T) {
        if let Some(seen) = self.seen {
            add(&mut seen.borrow_mut());
        }
    }
}

fn file(path: &Path) -> Option<String> {
    /// The largest, `/proc/cpuinfo` of a machine with 1,000 CPUs, has two megabytes.
    const LONGEST: u64 = 16 << 20;
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(LONGEST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
