//! What a person or a program reads of a run, the hardware and the spool. No I/O; text comes out.

mod caveats;
mod csv;
mod hardware;
mod report;
mod spool;

pub use hardware::hardware;
pub use report::report;
pub use spool::{quarantined, waiting};
