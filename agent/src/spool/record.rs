//! The form of a record, and of its name. Nothing here touches a disk.

use std::ffi::OsStr;

use fleetmark_proto::{
    id::{Digest, ReportId},
    limits,
};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// What every version of the format begins with.
const MAGIC: [u8; 8] = *b"FMSPOOL\0";
/// The version that this agent writes and reads.
pub(super) const VERSION: u32 = 1;
/// What the reserve of a record in quarantine begins with, where it holds a reason.
const REASON_MAGIC: [u8; 8] = *b"FMREASON";

/// Bytes before the report's.
pub(super) const HEADER_BYTES: usize = 72;
/// Bytes behind the report's, kept free for the reason of a quarantine.
pub(super) const RESERVE_BYTES: usize = 2048;
/// Bytes of the longest reason that the reserve holds.
pub(super) const REASON_BYTES: usize = RESERVE_BYTES - 8 - 4 - 32;

/// Bytes of the record of a report of this many bytes.
pub(super) fn record_bytes(report: u64) -> u64 {
    report.saturating_add(wide(HEADER_BYTES + RESERVE_BYTES))
}

/// Bytes of the largest record, which a reservation holds.
pub(super) fn most_record_bytes() -> u64 {
    record_bytes(wide(limits::REPORT_BYTES))
}

/// Bytes in the width of file sizes.
pub(super) fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// What stands before a report's bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Header {
    pub(super) id: ReportId,
    /// Bytes of the report.
    pub(super) length: u64,
    pub(super) digest: Digest,
}

/// What the first bytes of a record say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Head {
    Known(Header),
    /// Written by another version of the format, this one.
    Foreign(u32),
    /// No version wrote this, for this reason.
    Damaged(String),
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let parts: [&[u8]; 6] = [
            &MAGIC,
            &VERSION.to_le_bytes(),
            &(!VERSION).to_le_bytes(),
            self.id.as_bytes(),
            &self.length.to_le_bytes(),
            self.digest.as_bytes(),
        ];
        for (byte, part) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *byte = *part;
        }
        bytes
    }
}

/// Takes fixed fields off the front of a text of bytes.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(field)
    }
}

/// Reads what stands before a report's bytes, from the first [`HEADER_BYTES`] of a record.
pub(super) fn head(bytes: &[u8]) -> Head {
    let torn = || {
        Head::Damaged(match bytes.len() {
            0 => "the file is empty".to_owned(),
            some => format!("the file ends after {some} bytes, within its header"),
        })
    };
    let mut fields = Fields(bytes);
    let (Some(magic), Some(version), Some(inverse)) = (fields.take(), fields.take(), fields.take())
    else {
        return torn();
    };
    let version = u32::from_le_bytes(*version);
    if *magic != MAGIC || u32::from_le_bytes(*inverse) != !version {
        return Head::Damaged("the file does not begin as a record of a spool does".to_owned());
    }
    if version != VERSION {
        return Head::Foreign(version);
    }
    let (Some(id), Some(length), Some(digest)) =
        (fields.take::<16>(), fields.take(), fields.take::<32>())
    else {
        return torn();
    };
    match (ReportId::from_bytes(id), Digest::from_bytes(digest)) {
        (Ok(id), Ok(digest)) => {
            Head::Known(Header { id, length: u64::from_le_bytes(*length), digest })
        }
        (Err(error), _) | (_, Err(error)) => {
            Head::Damaged(format!("the header is damaged ({error})"))
        }
    }
}

/// A reserve that holds this reason, shortened where it is too long.
pub(super) fn encode_reason(reason: &str) -> [u8; RESERVE_BYTES] {
    const MARK: &str = " …";
    let mut text = reason.to_owned();
    if text.len() > REASON_BYTES {
        text.truncate(text.floor_char_boundary(REASON_BYTES - MARK.len()));
        text.push_str(MARK);
    }
    let digest: [u8; 32] = Sha256::digest(&text).into();
    let length = u32::try_from(text.len()).unwrap_or(0).to_le_bytes();
    let parts: [&[u8]; 4] = [&REASON_MAGIC, &length, &digest, text.as_bytes()];
    let mut bytes = [0; RESERVE_BYTES];
    for (byte, part) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
        *byte = *part;
    }
    bytes
}

/// The reason that a reserve holds; `None` if it holds none, or a torn one.
pub(super) fn decode_reason(reserve: &[u8]) -> Option<String> {
    let mut fields = Fields(reserve);
    let (magic, length, digest) = (fields.take()?, fields.take()?, fields.take::<32>()?);
    let text = fields.0.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    let whole = *magic == REASON_MAGIC && <[u8; 32]>::from(Sha256::digest(text)) == *digest;
    String::from_utf8(text.to_vec()).ok().filter(|_| whole)
}

/// What a file's name says that it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// A record; of a report with this id, if the name is one that a spool gives.
    Record(Option<ReportId>),
    /// What is being written, or was when its process died.
    Unfinished,
    /// Nothing of a spool's.
    Stranger,
}

/// The name of a report's record.
pub(super) fn file_name(id: ReportId) -> String {
    format!("{id}.report")
}

/// The name of what is being written.
pub(super) fn unfinished_name(unique: Uuid) -> String {
    format!("{unique}.tmp")
}

/// What a file in a spool's folder is, by its name.
pub(super) fn kind(name: &OsStr) -> Kind {
    let name = name.to_str().unwrap_or_default();
    if let Some(stem) = name.strip_suffix(".report").filter(|stem| !stem.is_empty()) {
        let id = stem.parse::<ReportId>().ok();
        return Kind::Record(id.filter(|id| id.to_string() == stem));
    }
    let stem = name.strip_suffix(".tmp").unwrap_or_default();
    match Uuid::try_parse(stem) {
        Ok(unique) if unfinished_name(unique) == name => Kind::Unfinished,
        _ => Kind::Stranger,
    }
}

/// The report that a record in quarantine is of, by its name, which may carry a number between id and ending.
pub(super) fn id_in_quarantine(name: &str) -> Option<ReportId> {
    name.split('.').next()?.parse().ok()
}

/// The name of a record in quarantine where `taken` others have the names before.
pub(super) fn name_in_quarantine(name: &str, taken: u32) -> String {
    match (taken, name.strip_suffix(".report")) {
        (1.., Some(stem)) => format!("{stem}.{taken}.report"),
        _ => name.to_owned(),
    }
}
