//! Fleets that do not exist, and the reports that they would make: load for benchmarks, and a small fleet in which something was
//! planted for each question that people have.

mod fleet;
mod machine;
mod random;
mod scene;

pub use fleet::Fleet;
pub use scene::Scene;
