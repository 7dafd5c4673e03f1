//! The collector's binary.

use std::{env, ffi::OsString, process::ExitCode};

use fleetmark_agent::measure;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    match measure::take_over(&arguments) {
        Some(exit) => exit,
        None => fleetmark_collector::main(arguments).into(),
    }
}
