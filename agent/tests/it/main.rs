//! The agent from outside: what was found by fuzzing stays mended.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod corpus;
