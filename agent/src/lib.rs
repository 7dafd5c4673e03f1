//! fleetmark's agent: detects what a host has, measures how it runs concurrent Rust work, and delivers the report.

pub mod args;
pub mod backoff;
pub mod build;
pub mod certificate;
pub mod clock;
pub mod command;
pub mod credentials;
pub mod daemon;
pub mod delivery;
pub mod evidence;
pub mod guard;
pub mod hardware;
pub mod identity;
pub mod measure;
pub mod memory;
pub mod plan;
pub mod preflight;
pub mod private;
pub mod progress;
pub mod render;
pub mod run;
pub mod scenario;
pub mod spawner;
pub mod spool;
pub mod usage;

use std::ffi::OsString;

use fleetmark_proto::shell::{Exit, config};

use command::{Stopped, obey};

/// Does what the command line says.
pub fn main(arguments: Vec<OsString>) -> Exit {
    match config::parse("agent", arguments) {
        Ok(cli) => obey(cli).unwrap_or_else(Stopped::tell),
        Err(stop) => stop.tell(),
    }
}
