//! What time it is, wherever time decides of somebody's rights. It comes from outside, so that tests can have a weekend pass.

use std::{fmt, sync::Arc};

use jiff::Timestamp;
use rustls::{pki_types::UnixTime, time_provider::TimeProvider};

/// A clock. Clones show the same time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The operating system's.
    #[must_use]
    pub fn system() -> Self {
        Self::new(Timestamp::now)
    }

    /// One that shows what this says.
    #[must_use]
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// What it shows now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

impl TimeProvider for Clock {
    /// The time that certificates are checked by; none before 1970.
    fn current_time(&self) -> Option<UnixTime> {
        let since_1970 = self.now().duration_since(Timestamp::UNIX_EPOCH);
        since_1970.try_into().ok().map(UnixTime::since_unix_epoch)
    }
}
