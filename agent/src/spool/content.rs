//! Reads a record, and tells an intact one from a damaged one.

use std::io;

use fleetmark_proto::{convert::Encoded, id::Digest, limits};
use rustix::io::Errno;

use super::{
    disk::Handle,
    record::{self, HEADER_BYTES, Head, Header, RESERVE_BYTES},
};

/// What a record holds.
#[derive(Debug)]
pub(super) enum Content {
    Intact(Encoded),
    /// Written by another version of the format.
    Foreign(u32),
    /// No report can be read, for this reason.
    Damaged(String),
}

/// Reads the first bytes of a record. A disk that cannot read them back has damaged it.
pub(super) fn head(file: &dyn Handle) -> io::Result<Head> {
    let mut bytes = [0; HEADER_BYTES];
    match file.read_at(&mut bytes, 0) {
        Ok(read) => Ok(record::head(bytes.get(..read).unwrap_or_default())),
        Err(error) => unreadable(error).map(Head::Damaged),
    }
}

/// Reads a whole record.
pub(super) fn read(file: &dyn Handle) -> io::Result<Content> {
    let Header { id, length, digest } = match head(file)? {
        Head::Known(header) => header,
        Head::Foreign(version) => return Ok(Content::Foreign(version)),
        Head::Damaged(why) => return Ok(Content::Damaged(why)),
    };
    let most = limits::REPORT_BYTES;
    let Some(size) = usize::try_from(length).ok().filter(|&size| size <= most) else {
        return Ok(Content::Damaged(too_large(length)));
    };
    let mut bytes = vec![0; size];
    let read = match file.read_at(&mut bytes, record::wide(HEADER_BYTES)) {
        Ok(read) => read,
        Err(error) => return unreadable(error).map(Content::Damaged),
    };
    Ok(if read < size {
        Content::Damaged(format!("the file ends after {read} of the report's {size} bytes"))
    } else if Digest::of(&bytes) != digest {
        Content::Damaged("the report's bytes have another SHA-256 than when it was kept".to_owned())
    } else {
        Content::Intact(Encoded { id, digest, bytes })
    })
}

/// Why a report of this many bytes is not kept for a collector.
pub(super) fn too_large(bytes: u64) -> String {
    let most = limits::REPORT_BYTES;
    format!("the report has {bytes} bytes, and collectors take no more than {most}")
}

/// Writes a reason into the reserve of a record, if the record has its full length: one that was cut short is not made
/// longer, as its length is what the bounds count.
pub(super) fn write_reason(file: &dyn Handle, header: &Header, reason: &str) -> io::Result<()> {
    if file.size()? == record::record_bytes(header.length) {
        file.write_at(&record::encode_reason(reason), reserve_offset(header))?;
        file.sync()?;
    }
    Ok(())
}

/// The reason in the reserve of a record, if a whole one is there.
pub(super) fn read_reason(file: &dyn Handle, header: &Header) -> Option<String> {
    let mut reserve = [0; RESERVE_BYTES];
    let read = file.read_at(&mut reserve, reserve_offset(header)).ok()?;
    record::decode_reason(reserve.get(..read)?)
}

fn reserve_offset(header: &Header) -> u64 {
    header.length.saturating_add(record::wide(HEADER_BYTES))
}

/// Why a record is damaged, if the error says that the disk has lost it; any other error may be gone the next time.
fn unreadable(error: io::Error) -> io::Result<String> {
    let lost = [Errno::IO, Errno::BADMSG, Errno::UCLEAN];
    match Errno::from_io_error(&error) {
        Some(errno) if lost.contains(&errno) => Ok(format!("the disk cannot read it: {error}")),
        _ => Err(error),
    }
}
