//! What is refused, in the audit trail: a few of each address, and of all addresses no more than the trail can bear.

use std::{net::IpAddr, num::NonZeroU32, sync::Arc};

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::sync::mpsc;

use crate::{
    identity::Address,
    registry::{AuditEntry, Registry},
    seldom::{Seldom, lately},
};

/// Entries a minute of one address, or of one network of IPv6 addresses that belong together.
const OF_ONE: NonZeroU32 = NonZeroU32::new(6).unwrap();
/// Entries a minute of all.
const OF_ALL: NonZeroU32 = NonZeroU32::new(60).unwrap();
/// Addresses of which it is known how many they have had.
const ADDRESSES: usize = 1_024;
/// Entries that wait to be written.
const WAITING: usize = 64;

/// Writes entries, without anybody waiting for it.
pub(crate) struct Trail {
    entries: mpsc::Sender<AuditEntry>,
    of_one: DefaultKeyedRateLimiter<Address>,
    of_all: DefaultDirectRateLimiter,
}

impl Trail {
    /// A trail that ends when this is dropped.
    pub(crate) fn begin(registry: Arc<dyn Registry>) -> Self {
        let (entries, mut waiting) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            let failing = Seldom::default();
            while let Some(entry) = waiting.recv().await {
                if let Err(error) = registry.record(entry).await {
                    failing.happened(|times| {
                        let error = fleetmark_proto::shell::one_line(&error);
                        tracing::error!(
                            "cannot write to the audit trail: {error}{}",
                            lately(times)
                        );
                    });
                }
            }
        });
        Self {
            entries,
            of_one: RateLimiter::keyed(Quota::per_minute(OF_ONE)),
            of_all: RateLimiter::direct(Quota::per_minute(OF_ALL)),
        }
    }

    /// Has an entry written if this address has not had too many.
    pub(crate) fn write(&self, address: Address, entry: impl FnOnce() -> AuditEntry) {
        if self.of_one.len() >= ADDRESSES {
            // What does not matter any more is forgotten. Whoever has that many addresses has filled the trail already.
            self.of_one.retain_recent();
            if self.of_one.len() >= ADDRESSES {
                return;
            }
        }
        if self.of_one.check_key(&together(address)).is_ok() && self.of_all.check().is_ok() {
            // Where so much happens that there is no room, the log tells of it.
            let _ = self.entries.try_send(entry());
        }
    }
}

/// Addresses that are one customer's, by the first of them.
fn together(address: Address) -> Address {
    match address {
        Address::Ip(IpAddr::V6(address)) => {
            let network = address.to_bits() & (u128::MAX << 64);
            Address::Ip(IpAddr::V6(network.into()))
        }
        address => address,
    }
}
