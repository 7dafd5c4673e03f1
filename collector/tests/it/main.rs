//! The real binaries, end to end: what they measure, store, print and refuse.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test stops where it fails")]

mod command_line;
mod daemon;
mod deploy;
mod docker;
mod durability;
mod end_to_end;
mod faults;
mod hardware;
mod help;
mod kills;
mod limits;
mod overlap;
mod passes;
mod profiles;
mod quotas;
mod readme;
mod silence;
mod spool;
mod support;
