//! Whether work holds up what shares a runtime with it.

use crate::unit::Nanos;

/// Who makes others this many times as late as the kindest spawner does holds them up.
pub const HELD_UP: u64 = 2;
/// Tokio's timer goes in whole milliseconds: within two of them nobody is held up.
pub const UNNOTICED: Nanos = Nanos(2_000_000);

/// How late a neighbour may be before it is held up, where the kindest spawner makes it this late.
#[must_use]
pub fn bearable(least: Nanos) -> Nanos {
    Nanos(least.0.saturating_mul(HELD_UP)).max(UNNOTICED)
}
