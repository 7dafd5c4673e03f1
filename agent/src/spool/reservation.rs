//! Room that is held for one report.

use std::{io, path::PathBuf};

use fleetmark_proto::{convert::Encoded, limits};

use super::{
    Spool, SpoolError, content,
    disk::Handle,
    record::{self, Header},
};

/// Room for one report of at most [`limits::REPORT_BYTES`], until it is committed or dropped.
#[derive(Debug)]
pub struct Reservation {
    spool: Spool,
    /// Locked for as long as this lives, which keeps others from clearing it away.
    file: Box<dyn Handle>,
    path: PathBuf,
    placed: bool,
}

impl Reservation {
    pub(super) fn take(spool: &Spool) -> Result<Self, SpoolError> {
        let failed = spool.failed("reserve room");
        let most = record::most_record_bytes();
        if spool.bounds.bytes < most || spool.bounds.files == 0 {
            return Err(SpoolError::TooSmall { bounds: spool.bounds });
        }
        let locked = spool.lock()?;
        let usage = spool.clear(&locked)?;
        if !usage.leaves(most, 1, &spool.bounds) {
            let folder = spool.folder.to_path_buf();
            return Err(SpoolError::Full { folder, usage, bounds: spool.bounds });
        }
        let path = spool.folder.join(record::unfinished_name(spool.disk.unique()));
        let file = spool.disk.create(&path).map_err(&failed)?;
        let made = Self { spool: spool.clone(), file, path, placed: false };
        // Nobody else can have it locked: whoever looks for the files of the dead holds the folder's lock.
        made.file.lock().map_err(&failed)?;
        // From here on the others count it in full.
        made.file.set_size(most).map_err(&failed)?;
        drop(locked);
        allocate(&*made.file, most).map_err(&failed)?;
        // What others removed was counted as gone; it must not come back after a crash beside what is written here.
        spool.sync_both()?;
        Ok(made)
    }

    /// Once this returns, the report is on the disk: written, synced, renamed, folder synced. It then waits to be delivered;
    /// or it is in quarantine, if it is larger than any collector takes.
    ///
    /// # Errors
    ///
    /// If the report could not be kept. Where the very last step fails, which syncs the folder, it may be there all the same.
    pub fn commit(mut self, encoded: &Encoded) -> Result<(), SpoolError> {
        let length = record::wide(encoded.bytes.len());
        if encoded.bytes.len() > limits::REPORT_BYTES {
            return self.commit_to_quarantine(encoded, length);
        }
        self.write(encoded, length)?;
        let spool = &self.spool;
        let failed = spool.failed("keep a report");
        let path = spool.folder.join(record::file_name(encoded.id));
        let locked = spool.lock()?;
        if spool.disk.is_taken(&path).map_err(&failed)? {
            return Err(SpoolError::Exists { id: encoded.id });
        }
        spool.disk.rename(&self.path, &path).map_err(&failed)?;
        drop(locked);
        self.placed = true;
        spool.disk.sync_folder(&spool.folder).map_err(&failed)
    }

    /// Keeps a report that is larger than what was reserved, if the bounds have room for it.
    fn commit_to_quarantine(mut self, encoded: &Encoded, length: u64) -> Result<(), SpoolError> {
        let spool = self.spool.clone();
        let failed = spool.failed("keep a large report");
        let whole = record::record_bytes(length);
        let locked = spool.lock()?;
        let more = whole.saturating_sub(record::most_record_bytes());
        if !spool.count()?.leaves(more, 0, &spool.bounds) {
            let folder = spool.folder.to_path_buf();
            return Err(SpoolError::TooLarge { folder, bytes: length });
        }
        self.file.set_size(whole).map_err(&failed)?;
        drop(locked);
        spool.sync_both()?;
        self.write(encoded, length)?;
        let header = header(encoded, length);
        content::write_reason(&*self.file, &header, &content::too_large(length))
            .map_err(&failed)?;
        let name = record::file_name(encoded.id);
        spool.make_quarantine()?;
        let locked = spool.lock()?;
        spool.rename_to_quarantine(&locked, &self.path, &name).map_err(&failed)?;
        drop(locked);
        self.placed = true;
        spool.sync_both()
    }

    fn write(&self, encoded: &Encoded, length: u64) -> Result<(), SpoolError> {
        let failed = self.spool.failed("write a report");
        let mut bytes = header(encoded, length).encode().to_vec();
        bytes.extend_from_slice(&encoded.bytes);
        self.file.write_at(&bytes, 0).map_err(&failed)?;
        self.file.set_size(record::record_bytes(length)).map_err(&failed)?;
        self.file.sync().map_err(&failed)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.placed {
            // If this fails, whoever comes next finds a file that nobody has locked.
            let _ = self.spool.disk.remove(&self.path);
        }
    }
}

fn header(encoded: &Encoded, length: u64) -> Header {
    Header { id: encoded.id, length, digest: encoded.digest }
}

/// Takes the blocks of a file from the disk, where the file system can.
fn allocate(file: &dyn Handle, bytes: u64) -> io::Result<()> {
    match file.allocate(bytes) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        done => done,
    }
}
