//! What a courier shows and by what it believes, kept fresh.
//!
//! A certificate is renewed at half of its life, and one that has ended is renewed without being shown, by proof of its key. What
//! time it is for a certificate says the collector that issued it: a host whose clock is off keeps reporting.

use std::{sync::Arc, time::Duration};

use fleetmark_proto::enrollment::Renewal;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use url::Url;

use super::{
    access::{Access, Shown, Trust},
    error::DeliveryError,
    line::Dialer,
};
use crate::{
    args::AccessArgs,
    backoff::Backoff,
    clock::Clock,
    credentials::{Credentials, Folder},
};

/// Between two tries to renew a certificate that still counts, at first and at most.
const TRY_AGAIN: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(60 * 60)];
/// Clocks that are less apart are right enough.
pub const CLOCKS_APART: SignedDuration = SignedDuration::from_mins(5);

/// What a courier shows and by what it believes. The default is enough for plaintext on this host.
#[derive(Debug)]
pub struct Keyring {
    named: AccessArgs,
    kept: Option<Kept>,
    clock: Clock,
}

/// What this host has since it joined.
#[derive(Debug)]
struct Kept {
    folder: Folder,
    credentials: Credentials,
    /// By how much the collector's clock is ahead of this one.
    ahead: SignedDuration,
    backoff: Backoff,
    /// No try before then, while the certificate counts.
    not_before: Option<Instant>,
    /// Whether it was renewed because it was refused, since it was last accepted.
    replaced: bool,
}

/// What came of a look at the certificate.
#[derive(Debug)]
pub(super) enum Freshened {
    /// It need not be renewed, or there is none.
    Fresh,
    /// There is a new one.
    Renewed {
        /// When it ends.
        ends_at: Timestamp,
        /// By how much the collector's clock is ahead of this one, if it is off.
        ahead: Option<SignedDuration>,
    },
    /// It could not be renewed, and counts until then.
    Later {
        /// When it ends.
        ends_at: Timestamp,
        /// Why not.
        error: DeliveryError,
    },
}

/// What waits for a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Pressing {
    /// Nothing.
    No,
    /// Reports, which are tried as often as the courier sees fit.
    Reports,
}

/// Why a certificate is renewed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Cause {
    Time,
    Refusal,
}

/// How a call to renew is made.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    pub(super) dialer: &'a Dialer,
    pub(super) url: &'a Url,
    /// For the connection, and again for the call.
    pub(super) patience: Duration,
}

impl Default for Keyring {
    fn default() -> Self {
        Self::new(AccessArgs::default(), None, Clock::of_host())
    }
}

impl Keyring {
    /// What was named, and for what was not, what this host has since it joined. A certificate that was named is its owner's to
    /// renew.
    #[must_use]
    pub fn new(named: AccessArgs, kept: Option<(Folder, Credentials)>, clock: Clock) -> Self {
        let kept = kept.filter(|_| named.tls_cert.is_none()).map(|(folder, credentials)| Kept {
            folder,
            credentials,
            ahead: SignedDuration::ZERO,
            backoff: Backoff::unique().within(TRY_AGAIN[0], TRY_AGAIN[1]),
            not_before: None,
            replaced: false,
        });
        Self { named, kept, clock }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What to show and believe now; what was named is read anew, as somebody may have renewed it.
    ///
    /// # Errors
    ///
    /// If what was named cannot be used.
    pub fn access(&self) -> Result<Access, DeliveryError> {
        let named = Access::read(&self.named)?;
        let Some(kept) = &self.kept else { return Ok(named) };
        let shown = kept.counts(self.clock.now()).then(|| kept.shown());
        Ok(Access { shown, ..kept.believing(named)? })
    }

    /// Renews the certificate if it is time.
    ///
    /// # Errors
    ///
    /// If that fails and there is none that counts.
    pub(super) async fn freshen(
        &mut self,
        pressing: Pressing,
        way: Way<'_>,
    ) -> Result<Freshened, DeliveryError> {
        let now = self.clock.now();
        let Some(kept) = &mut self.kept else { return Ok(Freshened::Fresh) };
        let counts = kept.counts(now);
        let is_due = kept.is_due(now);
        let is_urgent = !counts && pressing == Pressing::Reports;
        let may_try = is_urgent || kept.not_before.is_none_or(|then| then <= Instant::now());
        if !is_due || !may_try {
            return Ok(Freshened::Fresh);
        }
        let ends_at = kept.credentials.life().ends_at;
        kept.not_before = Some(Instant::now() + kept.backoff.wait(None));
        match self.renew(Cause::Time, way).await {
            Err(error) if counts => Ok(Freshened::Later { ends_at, error }),
            renewed => renewed,
        }
    }

    /// Renews a certificate that was refused, unless it is new for that reason already.
    ///
    /// # Errors
    ///
    /// If that fails.
    pub(super) async fn replace(&mut self, way: Way<'_>) -> Result<Freshened, DeliveryError> {
        if self.kept.as_ref().is_none_or(|kept| kept.replaced) {
            return Ok(Freshened::Fresh);
        }
        let renewed = self.renew(Cause::Refusal, way).await?;
        if let Some(kept) = &mut self.kept {
            kept.replaced = true;
        }
        Ok(renewed)
    }

    /// What was shown was accepted.
    pub(super) fn accepted(&mut self) {
        if let Some(kept) = &mut self.kept {
            kept.replaced = false;
        }
    }

    async fn renew(&mut self, cause: Cause, way: Way<'_>) -> Result<Freshened, DeliveryError> {
        let named = Access::read(&self.named)?;
        let Some(kept) = &mut self.kept else { return Ok(Freshened::Fresh) };
        // Another process with this state folder may have been here.
        kept.read_again()?;
        let is_due = kept.is_due(self.clock.now());
        if cause == Cause::Time && !is_due {
            return Ok(kept.renewed());
        }
        // Nothing is shown: what is asked for is a new one.
        let access = kept.believing(Access { shown: None, ..named })?;
        let issued = way.dialer.renew(way, &access, &self.clock, kept.renewal()?).await;
        let issued = issued.map_err(|source| DeliveryError::NotRenewed(Box::new(source)))?;
        let what = |what| DeliveryError::NotOurs { url: way.url.to_string(), what };
        kept.credentials = kept.credentials.renewed(&issued).map_err(what)?;
        if !kept.folder.renew(&kept.credentials)? {
            return Err(DeliveryError::JoinedAnew);
        }
        kept.ahead = issued.now.duration_since(self.clock.now());
        kept.backoff.reset();
        Ok(kept.renewed())
    }
}

impl Kept {
    /// What the collector's clock says when this one says so.
    fn there(&self, here: Timestamp) -> Timestamp {
        here.saturating_add(self.ahead).unwrap_or(here)
    }

    /// Whether it is time for another certificate. One that has not begun by this host's clock shows that this clock is behind;
    /// renewing it tells by how much, and otherwise it would be renewed when the collector takes it no more.
    fn is_due(&self, now: Timestamp) -> bool {
        let there = self.there(now);
        there >= self.credentials.renew_at() || there < self.credentials.life().begins_at
    }

    fn counts(&self, now: Timestamp) -> bool {
        self.there(now) < self.credentials.life().ends_at
    }

    fn shown(&self) -> Arc<Shown> {
        let Credentials { certificate, key, .. } = &self.credentials;
        Arc::new(Shown { chain: vec![certificate.clone()], key: key.for_tls(), named: false })
    }

    fn believing(&self, named: Access) -> Result<Access, DeliveryError> {
        let trust = match named.trust {
            Some(trust) => trust,
            None => Trust::authorities(&self.credentials.believed)?,
        };
        Ok(Access { trust: Some(trust), ..named })
    }

    fn renewal(&self) -> Result<Renewal, DeliveryError> {
        let Credentials { certificate, key, .. } = &self.credentials;
        Ok(Renewal { certificate: certificate.to_vec(), request: key.request()? })
    }

    fn read_again(&mut self) -> Result<(), DeliveryError> {
        match self.folder.read()? {
            Some(found) if found.membership.host == self.credentials.membership.host => {
                self.credentials = found;
                Ok(())
            }
            _ => Err(DeliveryError::JoinedAnew),
        }
    }

    fn renewed(&mut self) -> Freshened {
        self.not_before = None;
        let is_off = self.ahead.abs() > CLOCKS_APART;
        Freshened::Renewed {
            ends_at: self.credentials.life().ends_at,
            ahead: is_off.then_some(self.ahead),
        }
    }
}
