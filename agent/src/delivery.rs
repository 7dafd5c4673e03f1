//! The reports' way from the spool to a collector. Here, and nowhere else in the agent, are the generated messages.
//!
//! A report leaves the spool only at a collector's word for it: stored or already known, it is removed; in conflict or
//! rejected, it goes to quarantine. A call that fails says nothing of its reports, and [`policy()`] decides how to go on.

mod batch;
mod courier;
mod error;
mod event;
mod herald;
mod line;
mod pace;
mod policy;

pub use courier::{Courier, Flushed};
pub use error::{DeliveryError, plain};
pub use event::{Again, Event, words};
pub use herald::Fate;
pub use pace::Pace;
pub use policy::{Next, policy};

use fleetmark_proto::shell::value;
use url::Url;

/// Whether a report may be sent there.
///
/// # Errors
///
/// If the collector is not on this host and nobody said `--insecure`.
pub fn check(url: &Url, insecure: bool) -> Result<(), DeliveryError> {
    if insecure || value::is_loopback(url) {
        return Ok(());
    }
    Err(DeliveryError::NeedsInsecure { url: url.to_string() })
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
