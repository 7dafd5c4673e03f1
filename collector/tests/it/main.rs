//! The real binaries, end to end: what they measure, store, print and refuse.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test stops where it fails")]

mod about;
mod advise;
mod command_line;
mod compare;
mod crowd;
mod daemon;
mod deploy;
mod docker;
mod durability;
mod end_to_end;
mod export;
mod faults;
mod full_disk;
mod hardware;
mod help;
mod history;
mod host;
mod identity;
mod joining;
mod kills;
mod leaves;
mod limits;
mod lost_answers;
mod names;
mod namespaces;
mod open_files;
mod operators;
mod outliers;
mod overlap;
mod pages;
mod passes;
mod profiles;
mod quotas;
mod reading;
mod readme;
mod renewal;
mod retention;
mod revocation;
mod rollups;
mod secrets;
mod silence;
mod simulated;
mod spool;
mod support;
