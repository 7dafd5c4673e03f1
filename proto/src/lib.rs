//! The contract between fleetmark's agent and its collector.
//!
//! Here are the `.proto` files, the domain types that they mean, the conversions between the two, every limit, the one
//! definition of a median, and what both binaries promise a person at a shell. Nothing here measures, stores or renders.

pub mod control;
pub mod convert;
pub mod document;
pub mod enrollment;
pub mod grain;
pub mod host;
pub mod id;
pub mod invalid;
pub mod limits;
pub mod neighbours;
pub mod plan;
pub mod profile;
pub mod report;
pub mod role;
pub mod samples;
pub mod secret;
pub mod series;
pub mod shell;
pub mod token;
pub mod unit;
pub mod verdict;

/// The generated messages and services of package `fleetmark.v1`.
///
/// They are named only in [`convert`], in the agent's delivery and in the collector's services; everything else sees
/// the domain types.
#[allow(
    missing_docs,
    clippy::all,
    clippy::as_conversions,
    reason = "generated; the .proto files are the documentation"
)]
pub mod v1 {
    tonic::include_proto!("fleetmark.v1");

    /// The encoded descriptors of the package, for gRPC reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/fleetmark.v1.bin"));
}
