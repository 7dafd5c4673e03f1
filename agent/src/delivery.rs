//! The reports' way from the spool to a collector. Here, and nowhere else in the agent, are the generated messages.
//!
//! A report leaves the spool only at a collector's word for it: stored or already known, it is removed; in conflict or
//! rejected, it goes to quarantine. A call that fails says nothing of its reports, and [`policy()`] decides how to go on.

mod access;
mod batch;
mod connector;
mod courier;
mod error;
mod event;
mod fault;
mod herald;
mod joining;
mod keyring;
mod line;
mod pace;
mod pinned;
mod policy;
mod turned_away;

pub use access::{Access, AccessError, Bearer};
pub use courier::{Courier, Flushed};
pub use error::{DeliveryError, plain};
pub use event::{Again, Event, words};
pub use fault::{Fault, Spoken};
pub use herald::Fate;
pub use joining::{Joined, Joining};
pub use keyring::{CLOCKS_APART, Keyring};
pub use line::{Authorized, Connection, connect};
pub use pace::Pace;
pub use policy::{Next, policy};
pub use turned_away::TurnedAway;

use fleetmark_proto::shell::value;
use url::Url;

/// Whether anything may be sent there.
///
/// # Errors
///
/// If it would go in plaintext to another host and nobody said `--insecure`, or if nobody would be believed there.
pub fn check(url: &Url, access: &Access) -> Result<(), DeliveryError> {
    let url_text = || url.to_string();
    match url.scheme() {
        "https" if access.trust.is_none() => Err(DeliveryError::NobodyBelieved { url: url_text() }),
        "http" if !access.insecure && !value::is_loopback(url) => {
            Err(DeliveryError::NeedsInsecure { url: url_text() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
