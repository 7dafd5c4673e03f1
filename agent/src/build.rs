//! What measuring code was built with.

use fleetmark_proto::report::Build;

/// Raised only when measuring code changes in a way that can change a sample: medians of different meters never mix.
pub const METER: u32 = 1;

/// This binary's build.
#[must_use]
pub fn this() -> Build {
    let mut optimisation = format!("opt-level {}", env!("FLEETMARK_OPT_LEVEL"));
    if cfg!(debug_assertions) {
        optimisation.push_str(" debug-assertions");
    }
    Build {
        meter: METER,
        tokio: env!("FLEETMARK_TOKIO").to_owned(),
        rustc: env!("FLEETMARK_RUSTC").to_owned(),
        target: env!("FLEETMARK_TARGET").to_owned(),
        optimisation,
        allocator: "system".to_owned(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}
