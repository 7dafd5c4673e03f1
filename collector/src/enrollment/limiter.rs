//! How often an address may ask.

use std::{
    fmt,
    net::IpAddr,
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use fleetmark_proto::limits;
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::NoOpMiddleware,
    state::keyed::DefaultKeyedStateStore,
};

use crate::identity::Address;

/// Addresses that were not heard of for a while are forgotten once in so many calls.
const TURN: u64 = 1_024;

/// Lets every address ask [`limits::ENROLLMENTS`] times at once, and then once a second. Of IPv6, where one host has as many
/// addresses as it likes, what counts is the network: the first 64 bits.
pub struct Limiter<C: Clock = DefaultClock> {
    limiter: RateLimiter<Address, DefaultKeyedStateStore<Address>, C, NoOpMiddleware<C::Instant>>,
    asked: AtomicU64,
}

impl Default for Limiter {
    fn default() -> Self {
        Self::by(DefaultClock::default())
    }
}

impl<C: Clock> Limiter<C> {
    /// One that goes by this clock.
    #[must_use]
    pub fn by(clock: C) -> Self {
        let once = NonZeroU32::MIN;
        let at_once = NonZeroU32::new(limits::ENROLLMENTS).unwrap_or(once);
        let quota = Quota::per_second(once).allow_burst(at_once);
        let limiter = RateLimiter::new(quota, DefaultKeyedStateStore::default(), clock);
        Self { limiter, asked: AtomicU64::new(0) }
    }

    /// Whether this address may ask now.
    ///
    /// # Errors
    ///
    /// If not: with how long to wait until it may.
    pub fn check(&self, address: Address) -> Result<(), Duration> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % TURN == TURN - 1 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        self.limiter
            .check_key(&place(address))
            .map_err(|until| until.wait_time_from(self.limiter.clock().now()))
    }

    /// How many addresses are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.limiter.len()
    }
}

impl<C: Clock> fmt::Debug for Limiter<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("remembered", &self.limiter.len()).finish()
    }
}

/// What of an address counts.
fn place(address: Address) -> Address {
    let Address::Ip(address) = address else { return address };
    Address::Ip(match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
    })
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn ip(address: &str) -> Address {
        Address::Ip(address.parse().unwrap())
    }

    #[test]
    fn an_address_may_ask_a_few_times_at_once_and_then_once_a_second() {
        let clock = FakeRelativeClock::default();
        let limiter = Limiter::by(clock.clone());
        let asks = |address: &str| limiter.check(ip(address));
        for _ in 0..limits::ENROLLMENTS {
            assert_eq!(asks("192.0.2.7"), Ok(()));
        }
        assert_eq!(asks("192.0.2.7"), Err(Duration::from_secs(1)));
        assert_eq!(asks("::ffff:192.0.2.7"), Err(Duration::from_secs(1)), "it is the same");
        assert_eq!(asks("192.0.2.8"), Ok(()), "others are not held up");
        assert_eq!(limiter.check(Address::Unix), Ok(()));
        clock.advance(Duration::from_secs(1));
        assert_eq!(asks("192.0.2.7"), Ok(()));
        assert!(asks("192.0.2.7").is_err());
    }

    #[test]
    fn all_addresses_of_a_network_of_ipv6_are_one() {
        let limiter = Limiter::by(FakeRelativeClock::default());
        for host in 0..limits::ENROLLMENTS {
            assert_eq!(limiter.check(ip(&format!("2001:db8:0:1::{host:x}"))), Ok(()));
        }
        assert!(limiter.check(ip("2001:db8:0:1:ffff::")).is_err());
        assert_eq!(limiter.check(ip("2001:db8:0:2::1")), Ok(()));
    }

    #[test]
    fn addresses_are_forgotten() {
        let clock = FakeRelativeClock::default();
        let limiter = Limiter::by(clock.clone());
        for address in 0..10_000_u32 {
            assert_eq!(limiter.check(Address::Ip(IpAddr::V4(address.into()))), Ok(()));
            clock.advance(Duration::from_millis(100));
        }
        assert!(limiter.remembered() < 1_400, "{limiter:?}");
    }
}
