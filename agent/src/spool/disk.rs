//! The calls to the file system that a spool is made of, so that tests can put another one in its place.

pub(super) mod real;

use std::{ffi::OsString, fmt, io, path::Path};

use uuid::Uuid;

/// Who may do what in a folder that is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Access {
    /// Its owner alone.
    Owner,
    /// As the user's mask says.
    Usual,
}

/// A regular file in a folder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Item {
    pub(super) name: OsString,
    pub(super) bytes: u64,
}

/// A file system. Each call is one step that a crash may come before or after; what it changed is on the disk only once the
/// file, or the folder that names it, is synced.
pub(super) trait Disk: fmt::Debug + Send + Sync {
    fn make_folder(&self, folder: &Path, access: Access) -> io::Result<()>;
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// The regular files in a folder, in no order. One that comes or goes meanwhile may be there or not.
    fn items(&self, folder: &Path) -> io::Result<Vec<Item>>;
    /// Whether anything has this path; links are not followed.
    fn is_taken(&self, path: &Path) -> io::Result<bool>;
    /// Makes an empty file, only its owner's, that was not there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Handle>>;
    /// Opens a file to lock it, made where it is missing.
    fn lock_file(&self, path: &Path) -> io::Result<Box<dyn Handle>>;
    /// Opens a regular file to read it; anything else is not found.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Handle>>;
    /// Opens a regular file to read and write it; anything else is not found.
    fn edit(&self, path: &Path) -> io::Result<Box<dyn Handle>>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Random, for a name that nobody else uses. A simulated disk repeats itself.
    fn unique(&self) -> Uuid;
}

/// An open file. Closing it gives up its lock.
pub(super) trait Handle: fmt::Debug + Send {
    fn size(&self) -> io::Result<u64>;
    /// Reads until the buffer is full or the file ends; says how many bytes that were.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    fn set_size(&self, bytes: u64) -> io::Result<()>;
    /// Takes the blocks of the first `bytes` from the disk. [`io::ErrorKind::Unsupported`] where that cannot be done.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
    /// Waits until no other handle has the file locked.
    fn lock(&self) -> io::Result<()>;
    /// `false` if another handle has the file locked.
    fn try_lock(&self) -> io::Result<bool>;
}
