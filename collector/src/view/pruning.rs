//! What was removed.

use serde::Serialize;

use crate::store::{Pruned, Retention};

/// What `prune` came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Pruning {
    /// Whether nothing was removed, and this is only what would be.
    pub dry_run: bool,
    /// What is kept.
    #[serde(flatten)]
    pub retention: Retention,
    /// What is not.
    pub removed: Pruned,
}
