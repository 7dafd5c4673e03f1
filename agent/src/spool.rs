//! Reports that were measured and are not delivered yet, on the disk.
//!
//! # The format
//!
//! ```text
//! <state-dir>/agent/spool/                0700, all files in it 0600
//!     <report id>.report                  a record that waits
//!     <random UUID>.tmp                   a record that is being written, or room that is held for one
//!     lock                                empty
//!     quarantine/<report id>.report       a record that is set aside for a person, with why;
//!     quarantine/<report id>.<n>.report   the same, where the name was taken
//! ```
//!
//! A record is one file. Numbers are little-endian.
//!
//! ```text
//!  0   8  "FMSPOOL\0"
//!  8   4  version of the format, 1
//! 12   4  the same with every bit inverted, so that no flipped bit makes another version's record of this one
//! 16  16  the report's id, a UUIDv7
//! 32   8  length of the report, L
//! 40  32  SHA-256 of the report
//! 72   L  the encoded report, as its agent made it
//!  …  2048  the reserve: zeros while the record waits; in quarantine it may hold a reason:
//!           "FMREASON", 4 bytes of its length, its SHA-256, and the reason in UTF-8
//! ```
//!
//! All versions begin with the same 16 bytes and name their records `….report`. Files with any other name, and what is no
//! regular file, are strangers: neither counted nor touched.
//!
//! # Invariants
//!
//! 1. A file gets the name of a record only after all of it was synced, and [`Reservation::commit`] returns only after the
//!    folder was synced too. So a crash tears temporary files alone, and a report that was said to be kept is kept.
//! 2. What was synced is never written again, but for the reserve. A torn reserve costs the reason, never the report.
//! 3. A record moves between the folders by a rename, which is one step on a file system with a journal; both are synced before
//!    the move is reported.
//! 4. A file's length is what it counts for. It is set under the lock, to that of the largest record, when room is reserved,
//!    and only shrinks from there (but for a report over [`limits::REPORT_BYTES`], which is counted anew). As the reserve is part
//!    of every record, a record that is quarantined or put back keeps its length. What has to be removed to make room is
//!    synced before the room is used.
//! 5. `lock` is made last: where it is, the folders around it are on the disk.
//! 6. Names change and lengths grow only under an exclusive `flock` on `lock`, so that who counts under it misses nothing. Data
//!    is written and synced without it. Removing needs no lock: it can only make the count too high.
//! 7. A temporary file is locked by its process for as long as that lives. One that is not locked was left by the dead, and is
//!    removed by whoever opens the spool or reserves room.
//! 8. A record of another version is never read, sent, moved or removed by itself, and is counted.
//!
//! No process remembers anything about the folder: all that is said here holds for any number of them at the same time.

mod content;
mod disk;
mod error;
mod folder;
mod record;
mod reservation;

use std::{io, path::Path, path::PathBuf, sync::Arc};

use fleetmark_proto::{convert::Encoded, id::ReportId, limits};

pub use error::SpoolError;
pub use reservation::Reservation;

use content::Content;
use disk::{Disk, Handle, real::Real};
use folder::unless_gone;
use record::{Head, Kind};

/// Bounds on all that a spool holds, quarantine and reservations included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bounds {
    /// Bytes of all files.
    pub bytes: u64,
    /// How many files.
    pub files: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { bytes: limits::SPOOL_BYTES, files: limits::SPOOL_FILES }
    }
}

/// What is in use of the bounds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// Records that wait to be delivered, foreign ones included.
    pub waiting: u64,
    /// Records in quarantine.
    pub quarantined: u64,
    /// Reports for which room is held.
    pub reserved: u64,
    /// Bytes of all of these.
    pub bytes: u64,
}

impl Usage {
    /// Counts one more file of the spool's own folder.
    fn add(&mut self, kind: &Kind, bytes: u64) {
        match kind {
            Kind::Record(_) => self.waiting += 1,
            Kind::Unfinished => self.reserved += 1,
            Kind::Stranger => return,
        }
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn files(&self) -> u64 {
        self.waiting.saturating_add(self.quarantined).saturating_add(self.reserved)
    }

    /// Whether this much more is within the bounds.
    fn leaves(&self, bytes: u64, files: u64, bounds: &Bounds) -> bool {
        self.bytes.saturating_add(bytes) <= bounds.bytes
            && self.files().saturating_add(files) <= bounds.files
    }
}

/// A report that waits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The report's id, which says when it was made.
    pub id: ReportId,
    /// Bytes of the encoded report; of a record that is damaged or foreign, those of its file.
    pub bytes: u64,
    /// Written by another version of the spool: kept, and not read.
    pub foreign: bool,
}

/// A record in quarantine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Quarantined {
    /// The file's name, by which it is discarded.
    pub name: String,
    /// The report's id, by which it is put back; `None` if the record does not tell.
    pub id: Option<ReportId>,
    /// Bytes of the encoded report; of a record that is damaged or foreign, those of its file.
    pub bytes: u64,
    /// Why it is there, in a line for a person.
    pub reason: String,
}

/// What became of the wish to read a report.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fetched {
    /// It is intact.
    Report(Encoded),
    /// It is not there (any more).
    Gone,
    /// It was damaged, for this reason, and is in quarantine now.
    Damaged(String),
    /// It is of another version of the spool, and was left where it is.
    Foreign,
}

/// Reports on the disk. Cheap to clone; all clones and all processes may use one folder at the same time. Calls block, and
/// are short.
#[derive(Clone, Debug)]
pub struct Spool {
    disk: Arc<dyn Disk>,
    folder: Arc<Path>,
    bounds: Bounds,
}

impl Spool {
    /// Makes the folder where it is missing, and clears away what dead processes left unfinished.
    ///
    /// # Errors
    ///
    /// If the folder cannot be made or written.
    pub fn open(folder: &Path, bounds: Bounds) -> Result<Self, SpoolError> {
        Self::open_on(Arc::new(Real), folder, bounds)
    }

    fn open_on(disk: Arc<dyn Disk>, folder: &Path, bounds: Bounds) -> Result<Self, SpoolError> {
        let spool = Self { disk, folder: folder.into(), bounds };
        spool.make()?;
        let locked = spool.lock()?;
        spool.clear(&locked)?;
        drop(locked);
        Ok(spool)
    }

    /// For commands that only read: `None` if there is no spool. Creates and changes nothing.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read.
    pub fn open_existing(folder: &Path, bounds: Bounds) -> Result<Option<Self>, SpoolError> {
        let spool = Self { disk: Arc::new(Real), folder: folder.into(), bounds };
        let there = unless_gone(spool.disk.items(folder)).map_err(spool.failed("look"))?;
        Ok(there.map(|_| spool))
    }

    /// The folder in which the reports are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it may hold.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Room for one report of at most [`limits::REPORT_BYTES`], held (and allocated on the disk where the file system can)
    /// until it is committed or dropped.
    ///
    /// # Errors
    ///
    /// [`SpoolError::Full`] says what is in the way and what to do; [`SpoolError::DiskFull`] that the disk has no space.
    pub fn reserve(&self) -> Result<Reservation, SpoolError> {
        Reservation::take(self)
    }

    /// Waiting reports, oldest first.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read.
    pub fn list(&self) -> Result<Vec<Entry>, SpoolError> {
        let failed = self.failed("list what waits");
        let mut entries = vec![];
        for item in self.disk.items(&self.folder).map_err(&failed)? {
            let Kind::Record(Some(id)) = record::kind(&item.name) else { continue };
            let path = self.folder.join(&item.name);
            let head = match unless_gone(self.disk.open(&path)) {
                Ok(None) => continue,
                Ok(Some(file)) => content::head(&*file),
                Err(error) => Err(error),
            };
            let (bytes, foreign) = match head {
                Ok(Head::Known(header)) => (header.length, false),
                Ok(Head::Foreign(_)) => (item.bytes, true),
                // What cannot be read costs only itself; who fetches it hears why.
                Ok(Head::Damaged(_)) | Err(_) => (item.bytes, false),
            };
            entries.push(Entry { id, bytes, foreign });
        }
        entries.sort_unstable_by_key(|entry| entry.id);
        Ok(entries)
    }

    /// Reads a report and checks its digest. A damaged record goes to quarantine.
    ///
    /// # Errors
    ///
    /// If the record cannot be read for a reason that may pass, or a damaged one cannot be moved.
    pub fn fetch(&self, id: ReportId) -> Result<Fetched, SpoolError> {
        let failed = self.failed("read a report");
        let file = unless_gone(self.disk.open(&self.path(id))).map_err(&failed)?;
        let Some(file) = file else { return Ok(Fetched::Gone) };
        let why = match content::read(&*file).map_err(&failed)? {
            Content::Intact(encoded) if encoded.id == id => return Ok(Fetched::Report(encoded)),
            Content::Foreign(_) => return Ok(Fetched::Foreign),
            Content::Intact(encoded) => misnamed(encoded.id),
            Content::Damaged(why) => why,
        };
        self.set_aside(id)?;
        Ok(Fetched::Damaged(why))
    }

    /// Takes delivered reports out. One that is gone already (another agent's doing) is no error.
    ///
    /// # Errors
    ///
    /// If one cannot be removed; it may come again then, and so may those before it.
    pub fn remove(&self, ids: &[ReportId]) -> Result<(), SpoolError> {
        let failed = self.failed("remove a delivered report");
        for id in ids {
            unless_gone(self.disk.remove(&self.path(*id))).map_err(&failed)?;
        }
        self.disk.sync_folder(&self.folder).map_err(&failed)
    }

    /// Moves a report aside, with why. If there is no space on the disk for the reason, the reason is lost, not the report. One
    /// that is gone already is no error.
    ///
    /// # Errors
    ///
    /// If the record cannot be moved, or is another version's; it still waits then.
    pub fn quarantine(&self, id: ReportId, reason: &str) -> Result<(), SpoolError> {
        let failed = self.failed("move a report to quarantine");
        let file = unless_gone(self.disk.edit(&self.path(id))).map_err(&failed)?;
        let Some(file) = file else { return Ok(()) };
        match content::head(&*file).map_err(&failed)? {
            Head::Known(header) => {
                // Better aside without a reason than in the way with one.
                let _ = content::write_reason(&*file, &header, reason);
            }
            Head::Damaged(_) => {}
            Head::Foreign(version) => {
                return Err(SpoolError::Undeliverable { id, why: foreign(version) });
            }
        }
        self.set_aside(id)
    }

    /// Moves a record to quarantine as it is.
    fn set_aside(&self, id: ReportId) -> Result<(), SpoolError> {
        self.make_quarantine()?;
        let locked = self.lock()?;
        let name = record::file_name(id);
        unless_gone(self.rename_to_quarantine(&locked, &self.folder.join(&name), &name))
            .map_err(self.failed("move a report to quarantine"))?;
        drop(locked);
        self.sync_both()
    }

    /// What is in quarantine, in the order of its names.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read.
    pub fn quarantined(&self) -> Result<Vec<Quarantined>, SpoolError> {
        let failed = self.failed("list what is in quarantine");
        let folder = self.quarantine_path();
        let items = unless_gone(self.disk.items(&folder)).map_err(&failed)?.unwrap_or_default();
        let mut aside = vec![];
        for item in items {
            let (Kind::Record(_), Some(name)) = (record::kind(&item.name), item.name.to_str())
            else {
                continue;
            };
            let opened = unless_gone(self.disk.open(&folder.join(name))).map_err(&failed)?;
            let Some(file) = opened else { continue };
            aside.push(look(&*file, name, item.bytes).map_err(&failed)?);
        }
        aside.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(aside)
    }

    /// Puts a quarantined report back to be delivered again. `false` if there is no such one.
    ///
    /// # Errors
    ///
    /// If its record cannot be delivered, as it is damaged, too large, or another version's; or if it waits already.
    pub fn requeue(&self, id: ReportId) -> Result<bool, SpoolError> {
        let failed = self.failed("put a report back");
        let Some(found) = self.quarantined()?.into_iter().find(|one| one.id == Some(id)) else {
            return Ok(false);
        };
        let from = self.quarantine_path().join(found.name);
        let opened = unless_gone(self.disk.open(&from)).map_err(&failed)?;
        let Some(file) = opened else { return Ok(false) };
        let why = match content::read(&*file).map_err(&failed)? {
            Content::Intact(_) => None,
            Content::Foreign(version) => Some(foreign(version)),
            Content::Damaged(why) => Some(why),
        };
        if let Some(why) = why {
            return Err(SpoolError::Undeliverable { id, why });
        }
        let locked = self.lock()?;
        let to = self.path(id);
        // Another process may have put it back meanwhile.
        if !self.disk.is_taken(&from).map_err(&failed)? {
            return Ok(false);
        }
        if self.disk.is_taken(&to).map_err(&failed)? {
            return Err(SpoolError::Exists { id });
        }
        let moved = unless_gone(self.disk.rename(&from, &to)).map_err(&failed)?;
        drop(locked);
        self.sync_both()?;
        Ok(moved.is_some())
    }

    /// Removes a quarantined record for good, at its owner's word. `false` if there is none of this name.
    ///
    /// # Errors
    ///
    /// If it cannot be removed.
    pub fn discard(&self, name: &str) -> Result<bool, SpoolError> {
        let failed = self.failed("discard a record");
        if name.contains('/') || !matches!(record::kind(name.as_ref()), Kind::Record(_)) {
            return Ok(false);
        }
        let folder = self.quarantine_path();
        let removed = unless_gone(self.disk.remove(&folder.join(name))).map_err(&failed)?;
        if removed.is_some() {
            self.disk.sync_folder(&folder).map_err(&failed)?;
        }
        Ok(removed.is_some())
    }

    /// What is in use, for people and for refusals.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read.
    pub fn usage(&self) -> Result<Usage, SpoolError> {
        self.count()
    }

    fn path(&self, id: ReportId) -> PathBuf {
        self.folder.join(record::file_name(id))
    }

    fn lock_path(&self) -> PathBuf {
        self.folder.join("lock")
    }

    fn quarantine_path(&self) -> PathBuf {
        self.folder.join("quarantine")
    }
}

/// What a record in quarantine is, and why it is there: as it says itself, else as can be seen.
fn look(file: &dyn Handle, name: &str, file_bytes: u64) -> io::Result<Quarantined> {
    let by_name = record::id_in_quarantine(name);
    let (id, bytes, reason) = match content::head(file)? {
        Head::Known(header) => match content::read_reason(file, &header) {
            Some(reason) => (Some(header.id), header.length, reason),
            None => match content::read(file)? {
                Content::Intact(encoded) if by_name == Some(encoded.id) => {
                    (by_name, header.length, "no reason was kept".to_owned())
                }
                Content::Intact(encoded) => (Some(encoded.id), header.length, misnamed(encoded.id)),
                Content::Foreign(version) => (by_name, file_bytes, foreign(version)),
                Content::Damaged(why) => (by_name, file_bytes, why),
            },
        },
        Head::Foreign(version) => (by_name, file_bytes, foreign(version)),
        Head::Damaged(why) => (by_name, file_bytes, why),
    };
    Ok(Quarantined { name: name.to_owned(), id, bytes, reason })
}

fn foreign(version: u32) -> String {
    format!(
        "it is of version {version} of the spool, and this agent reads version {}",
        record::VERSION
    )
}

fn misnamed(id: ReportId) -> String {
    format!("the file has another name than its report, {id}")
}

#[cfg(test)]
mod tests;
