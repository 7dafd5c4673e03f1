//! The file system of the operating system.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, FileExt},
    path::Path,
};

use rustix::{
    fs::{FallocateFlags, Mode, OFlags, fallocate},
    io::{Errno, retry_on_intr},
};
use uuid::Uuid;

use super::{Access, Disk, Handle, Item};

/// The operating system's.
#[derive(Debug)]
pub(in crate::spool) struct Real;

/// What opening says of a link, a folder, and a socket or a pipe.
const NOT_REGULAR: [Errno; 3] = [Errno::LOOP, Errno::ISDIR, Errno::NXIO];

fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    let mode = Mode::RUSR | Mode::WUSR;
    let opened = retry_on_intr(|| rustix::fs::open(path, flags | OFlags::CLOEXEC, mode))?;
    Ok(File::from(opened))
}

/// Opens a regular file, and neither follows a link nor waits at a pipe.
fn regular(path: &Path, flags: OFlags) -> io::Result<Box<dyn Handle>> {
    match open(path, flags | OFlags::NOFOLLOW | OFlags::NONBLOCK) {
        Ok(file) if file.metadata()?.is_file() => Ok(Box::new(file)),
        Ok(_) => Err(io::ErrorKind::NotFound.into()),
        Err(error)
            if Errno::from_io_error(&error).is_some_and(|errno| NOT_REGULAR.contains(&errno)) =>
        {
            Err(io::ErrorKind::NotFound.into())
        }
        Err(error) => Err(error),
    }
}

impl Disk for Real {
    fn make_folder(&self, folder: &Path, access: Access) -> io::Result<()> {
        let mode = match access {
            Access::Owner => 0o700,
            Access::Usual => 0o777,
        };
        DirBuilder::new().mode(mode).create(folder)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        open(folder, OFlags::RDONLY | OFlags::DIRECTORY)?.sync_all()
    }

    fn items(&self, folder: &Path) -> io::Result<Vec<Item>> {
        let mut items = vec![];
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            match entry.metadata() {
                Ok(seen) if seen.is_file() => {
                    items.push(Item { name: entry.file_name(), bytes: seen.len() });
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(items)
    }

    fn is_taken(&self, path: &Path) -> io::Result<bool> {
        match fs::symlink_metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        Ok(Box::new(open(path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?))
    }

    fn lock_file(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        Ok(Box::new(open(path, OFlags::RDWR | OFlags::CREATE)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        regular(path, OFlags::RDONLY)
    }

    fn edit(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        regular(path, OFlags::RDWR)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn unique(&self) -> Uuid {
        Uuid::new_v4()
    }
}

impl Handle for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
            match FileExt::read_at(self, rest, at) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        Ok(retry_on_intr(|| fallocate(self, FallocateFlags::empty(), 0, bytes))?)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }

    fn lock(&self) -> io::Result<()> {
        File::lock(self)
    }

    fn try_lock(&self) -> io::Result<bool> {
        match File::try_lock(self) {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}
