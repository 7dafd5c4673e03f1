//! What a person or a program reads of a run and of the hardware. No I/O; text comes out.

mod caveats;
mod csv;
mod hardware;
mod report;

pub use hardware::hardware;
pub use report::report;
