//! What all tests of the spool need.

mod crash;
mod everyday;
mod model;
mod simulated;
mod turns;

use fleetmark_proto::{
    convert::Encoded,
    id::{Digest, ReportId},
};

use super::*;

/// Where the spool of a simulated disk is.
const FOLDER: &str = "/state/agent/spool";

/// The id of the `n`th report.
fn id(n: u64) -> ReportId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    (bytes[6], bytes[8]) = (0x70, 0x80);
    ReportId::from_bytes(&bytes).unwrap()
}

/// A report that is told from others by its bytes. The spool never looks into them.
fn encoded(n: u64, bytes: usize) -> Encoded {
    let bytes: Vec<u8> = n.to_le_bytes().into_iter().cycle().take(bytes).collect();
    Encoded { id: id(n), digest: Digest::of(&bytes), bytes }
}

/// Room for this many of the largest records.
fn room_for(records: u64) -> Bounds {
    Bounds { bytes: records * record::most_record_bytes(), files: records }
}

/// Reserves and commits.
fn keep(spool: &Spool, report: &Encoded) {
    spool.reserve().unwrap().commit(report).unwrap();
}

fn waiting(spool: &Spool) -> Vec<ReportId> {
    spool.list().unwrap().into_iter().map(|entry| entry.id).collect()
}
