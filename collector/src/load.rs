//! Load for a collector: reports of a fleet that does not exist, delivered over real connections by as many clients as are
//! wanted, either each as soon as it has its answer, or so many a second whatever the collector makes of it.

mod link;
mod offer;

pub use link::{Answer, Batch, Link, LinkError};
pub use offer::{Load, Seen, Supply, closed, open};
