//! How somebody came: what a connection tells of who calls over it.

use fleetmark_proto::role::Subject;

use crate::identity::{Address, Certificate};

/// What a connection tells.
#[derive(Debug)]
pub(super) struct Arrival {
    /// From where it comes.
    pub(super) address: Address,
    /// What it showed.
    pub(super) shown: Shown,
}

/// What was shown in a handshake. An authority that is trusted here has signed it.
#[derive(Debug)]
pub(super) enum Shown {
    /// Nothing.
    Nothing,
    /// A certificate of somebody's.
    Certificate(Subject, Certificate),
    /// A certificate of nobody's, and why.
    Nobody(String),
}
