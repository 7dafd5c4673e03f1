//! The contract from outside: round trips over the wire, and bytes that must be read for ever.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod corpus;
mod golden;
mod profile_key;
mod round_trip;
