//! The folder of a spool: how it is made, locked, counted and cleared of what the dead left, and how a record moves in it.

use std::{io, path::Path};

use super::{
    Spool, SpoolError, Usage, content,
    disk::{Access, Disk, Handle},
    record::{self, Head, Kind},
};

/// The lock of the whole folder. Given up when it is dropped.
#[derive(Debug)]
pub(super) struct Locked(#[expect(dead_code, reason = "held, not read")] Box<dyn Handle>);

/// A thing that may have gone while it was looked at, as others use the folder too.
pub(super) fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Spool {
    /// Turns an error of the operating system into the spool's.
    pub(super) fn failed(&self, doing: &'static str) -> impl Fn(io::Error) -> SpoolError {
        move |error| SpoolError::from_io(&self.folder, doing, error)
    }

    /// Makes what is missing of the folder, in the order that the format's invariant 5 wants.
    pub(super) fn make(&self) -> Result<(), SpoolError> {
        let failed = self.failed("make the folder");
        if !self.disk.is_taken(&self.lock_path()).map_err(&failed)? {
            let above = self.folder.parent().unwrap_or(Path::new(""));
            make_above(&*self.disk, above).map_err(&failed)?;
            make_folder(&*self.disk, &self.folder, Access::Owner).map_err(&failed)?;
            self.make_quarantine()?;
        }
        Ok(())
    }

    /// Makes the folder of the quarantine, unless it is there. Once this returns, both folders are on the disk.
    pub(super) fn make_quarantine(&self) -> Result<(), SpoolError> {
        make_folder(&*self.disk, &self.quarantine_path(), Access::Owner)
            .map_err(self.failed("make the quarantine"))
    }

    /// Keeps all others from changing what is counted. To be held for as long as it takes to look and to rename, never while
    /// data goes to the disk.
    pub(super) fn lock(&self) -> Result<Locked, SpoolError> {
        let failed = self.failed("take the lock");
        let file = self.disk.lock_file(&self.lock_path()).map_err(&failed)?;
        file.lock().map_err(&failed)?;
        Ok(Locked(file))
    }

    /// Removes unfinished files whose processes are dead, puts records aside whose names nobody can ask for, and counts what
    /// is there then.
    pub(super) fn clear(&self, locked: &Locked) -> Result<Usage, SpoolError> {
        let failed = self.failed("clear away what is unfinished");
        let mut usage = Usage::default();
        for item in self.disk.items(&self.folder).map_err(&failed)? {
            let kind = record::kind(&item.name);
            let is_left = match (&kind, item.name.to_str()) {
                (Kind::Unfinished, Some(name)) => !self.remove_if_dead(name).map_err(&failed)?,
                (Kind::Record(None), Some(name)) => {
                    let moved = unless_gone(self.put_aside_misnamed(locked, name));
                    moved.map_err(&failed)?.is_some_and(|moved| !moved)
                }
                _ => true,
            };
            if is_left {
                usage.add(&kind, item.bytes);
            }
        }
        self.count_quarantine(&mut usage)?;
        Ok(usage)
    }

    /// Whether it is gone.
    fn remove_if_dead(&self, name: &str) -> io::Result<bool> {
        let path = self.folder.join(name);
        let Some(file) = unless_gone(self.disk.open(&path))? else { return Ok(true) };
        let is_dead = file.try_lock()?;
        if is_dead {
            unless_gone(self.disk.remove(&path))?;
        }
        Ok(is_dead)
    }

    /// Whether it was moved: another version may have its own names.
    fn put_aside_misnamed(&self, locked: &Locked, name: &str) -> io::Result<bool> {
        let path = self.folder.join(name);
        match content::head(&*self.disk.open(&path)?)? {
            Head::Foreign(_) => Ok(false),
            Head::Known(_) | Head::Damaged(_) => {
                self.rename_to_quarantine(locked, &path, name)?;
                Ok(true)
            }
        }
    }

    /// Counts what is in both folders. Without the lock, what moves meanwhile may be missed.
    pub(super) fn count(&self) -> Result<Usage, SpoolError> {
        let failed = self.failed("count what is");
        let mut usage = Usage::default();
        for item in self.disk.items(&self.folder).map_err(&failed)? {
            usage.add(&record::kind(&item.name), item.bytes);
        }
        self.count_quarantine(&mut usage)?;
        Ok(usage)
    }

    fn count_quarantine(&self, usage: &mut Usage) -> Result<(), SpoolError> {
        let aside = unless_gone(self.disk.items(&self.quarantine_path()));
        for item in aside.map_err(self.failed("count what is"))?.unwrap_or_default() {
            if matches!(record::kind(&item.name), Kind::Record(_)) {
                usage.quarantined += 1;
                usage.bytes = usage.bytes.saturating_add(item.bytes);
            }
        }
        Ok(())
    }

    /// Renames a file into quarantine, under a name that is free there. The folders are still to be synced.
    pub(super) fn rename_to_quarantine(
        &self,
        _: &Locked,
        from: &Path,
        name: &str,
    ) -> io::Result<()> {
        let mut taken = 0;
        let free = loop {
            let path = self.quarantine_path().join(record::name_in_quarantine(name, taken));
            if !self.disk.is_taken(&path)? {
                break path;
            }
            taken += 1;
        };
        self.disk.rename(from, &free)
    }

    /// Puts on the disk which records are in which folder.
    pub(super) fn sync_both(&self) -> Result<(), SpoolError> {
        let failed = self.failed("sync the folders");
        self.disk.sync_folder(&self.quarantine_path()).map_err(&failed)?;
        self.disk.sync_folder(&self.folder).map_err(&failed)
    }
}

/// Makes the folders above a spool where they are missing, and puts every one on the disk: one that is there already may
/// have been made a moment ago by a process that died of the crash that is yet to come.
fn make_above(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    let Some(above) = folder.parent() else { return Ok(()) };
    make_above(disk, above)?;
    if disk.is_taken(folder)? {
        // Folders of others need not let this user in, and need no sync either: it could not have made one in them.
        let _ = disk.sync_folder(reachable(above));
        return Ok(());
    }
    make_folder(disk, folder, Access::Usual)
}

/// Makes a folder unless it is there, and puts it on the disk.
fn make_folder(disk: &dyn Disk, folder: &Path, access: Access) -> io::Result<()> {
    match disk.make_folder(folder, access) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    disk.sync_folder(reachable(folder.parent().unwrap_or(Path::new(""))))
}

/// The folder in which a relative path begins has no name.
fn reachable(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}
