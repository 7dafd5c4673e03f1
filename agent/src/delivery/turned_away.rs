//! Whether a collector takes reports of this host at all: one that was revoked, or whose token or certificate counts no more, need
//! not measure for nobody.

use super::error::DeliveryError;
use tokio::sync::watch;

/// What the collector said last; shared by who delivers and who measures.
#[derive(Clone, Debug)]
pub struct TurnedAway(watch::Sender<bool>);

impl Default for TurnedAway {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl TurnedAway {
    /// Whether it takes none.
    #[must_use]
    pub fn is_so(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it is otherwise than now.
    pub async fn changes(&self) {
        // The sender is here, so that there is always something to wait for.
        let _ = self.0.subscribe().changed().await;
    }

    /// A call failed, for good or for now. Only a word against this host counts: who cannot be reached says nothing.
    pub(super) fn failed(&self, error: &DeliveryError) {
        if error.turns_away() {
            self.set(true);
        }
    }

    /// The host was taken for who it is.
    pub(super) fn accepted(&self) {
        self.set(false);
    }

    fn set(&self, is_so: bool) {
        self.0.send_if_modified(|now| std::mem::replace(now, is_so) != is_so);
    }
}
