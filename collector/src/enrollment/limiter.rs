//! How often somebody may ask.

use std::{
    fmt,
    hash::Hash,
    net::IpAddr,
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use fleetmark_proto::{id::Digest, limits};
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::NoOpMiddleware,
    state::keyed::DefaultKeyedStateStore,
};

use crate::identity::Address;

/// Who was not heard of for a while is forgotten once in so many calls.
const TURN: u64 = 1_024;
const SIX: NonZeroU32 = NonZeroU32::new(6).unwrap();
const HUNDRED: NonZeroU32 = NonZeroU32::new(100).unwrap();

/// Lets everybody ask a few times at once, and then now and then.
pub(super) struct Limiter<K: Clone + Eq + Hash, C: Clock = DefaultClock> {
    limiter: RateLimiter<K, DefaultKeyedStateStore<K>, C, NoOpMiddleware<C::Instant>>,
    asked: AtomicU64,
}

impl Limiter<Address> {
    /// Lets every address, as [`place`] gives it, ask [`limits::ENROLLMENTS`] times at once, and then once a second.
    pub(super) fn of_addresses() -> Self {
        Self::by(DefaultClock::default(), Quota::per_second(NonZeroU32::MIN), limits::ENROLLMENTS)
    }

    /// Lets every address, as [`place`] gives it, ask [`limits::RENEWALS_OF_ADDRESS`] times at once, and then 100 times a second.
    pub(super) fn of_fleets() -> Self {
        Self::by(DefaultClock::default(), Quota::per_second(HUNDRED), limits::RENEWALS_OF_ADDRESS)
    }
}

impl Limiter<Digest> {
    /// Lets every key of a host ask [`limits::RENEWALS`] times at once, and then once in ten minutes.
    pub(super) fn of_keys() -> Self {
        Self::by(DefaultClock::default(), Quota::per_hour(SIX), limits::RENEWALS)
    }
}

impl<K: Clone + Eq + Hash, C: Clock> Limiter<K, C> {
    /// One that goes by this clock, and lets everybody ask so often at once.
    fn by(clock: C, then: Quota, at_once: u32) -> Self {
        let quota = then.allow_burst(NonZeroU32::new(at_once).unwrap_or(NonZeroU32::MIN));
        let limiter = RateLimiter::new(quota, DefaultKeyedStateStore::default(), clock);
        Self { limiter, asked: AtomicU64::new(0) }
    }

    /// Whether it may ask now.
    ///
    /// # Errors
    ///
    /// If not: with how long to wait until it may.
    pub(super) fn check(&self, who: &K) -> Result<(), Duration> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % TURN == TURN - 1 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        self.limiter
            .check_key(who)
            .map_err(|until| until.wait_time_from(self.limiter.clock().now()))
    }
}

impl<K: Clone + Eq + Hash, C: Clock> fmt::Debug for Limiter<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("remembered", &self.limiter.len()).finish()
    }
}

/// What of an address counts. Of IPv6, where one host has as many addresses as it likes, it is the network: the first 64 bits.
pub(super) fn place(address: Address) -> Address {
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
        place(Address::Ip(address.parse().unwrap()))
    }

    fn of_addresses(clock: FakeRelativeClock) -> Limiter<Address, FakeRelativeClock> {
        Limiter::by(clock, Quota::per_second(NonZeroU32::MIN), limits::ENROLLMENTS)
    }

    #[test]
    fn an_address_may_ask_a_few_times_at_once_and_then_once_a_second() {
        let clock = FakeRelativeClock::default();
        let limiter = of_addresses(clock.clone());
        let asks = |address: &str| limiter.check(&ip(address));
        for _ in 0..limits::ENROLLMENTS {
            assert_eq!(asks("192.0.2.7"), Ok(()));
        }
        assert_eq!(asks("192.0.2.7"), Err(Duration::from_secs(1)));
        assert_eq!(asks("::ffff:192.0.2.7"), Err(Duration::from_secs(1)), "it is the same");
        assert_eq!(asks("192.0.2.8"), Ok(()), "others are not held up");
        assert_eq!(limiter.check(&Address::Unix), Ok(()));
        clock.advance(Duration::from_secs(1));
        assert_eq!(asks("192.0.2.7"), Ok(()));
        assert!(asks("192.0.2.7").is_err());
    }

    #[test]
    fn a_fleet_behind_one_address_may_renew_at_once() {
        let fleets = Limiter::of_fleets();
        for _ in 0..10_000 {
            assert_eq!(fleets.check(&ip("192.0.2.7")), Ok(()));
        }
        let flood = (0..100_000).find_map(|_| fleets.check(&ip("192.0.2.7")).err());
        assert!(flood.is_some_and(|wait| wait <= Duration::from_millis(10)), "{flood:?}");
        assert_eq!(fleets.check(&ip("192.0.2.8")), Ok(()));
    }

    #[test]
    fn all_addresses_of_a_network_of_ipv6_are_one() {
        let limiter = of_addresses(FakeRelativeClock::default());
        for host in 0..limits::ENROLLMENTS {
            assert_eq!(limiter.check(&ip(&format!("2001:db8:0:1::{host:x}"))), Ok(()));
        }
        assert!(limiter.check(&ip("2001:db8:0:1:ffff::")).is_err());
        assert_eq!(limiter.check(&ip("2001:db8:0:2::1")), Ok(()));
    }

    #[test]
    fn addresses_are_forgotten() {
        let clock = FakeRelativeClock::default();
        let limiter = of_addresses(clock.clone());
        for address in 0..10_000_u32 {
            assert_eq!(limiter.check(&Address::Ip(IpAddr::V4(address.into()))), Ok(()));
            clock.advance(Duration::from_millis(100));
        }
        assert!(limiter.limiter.len() < 1_400, "{limiter:?}");
    }
}
