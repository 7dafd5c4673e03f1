//! What the service manager hears of a daemon: systemd's notify protocol. Without such a manager nothing is said.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// The daemon is up.
pub(super) fn ready() {
    say(&[NotifyState::Ready]);
}

/// The daemon is about to end.
pub(super) fn stopping() {
    say(&[NotifyState::Stopping]);
}

/// What the daemon does, for `systemctl status`.
pub(super) fn status(text: &str) {
    say(&[NotifyState::Status(text)]);
}

fn say(states: &[NotifyState<'_>]) {
    // Nobody need listen; whether anybody does is not the daemon's to judge.
    let _ = sd_notify::notify(states);
}

/// Tells the service manager that the daemon is alive, twice in each of the manager's periods.
#[derive(Clone, Debug)]
pub(super) struct Watchdog {
    every: Option<Duration>,
    last: Instant,
}

impl Watchdog {
    /// A watchdog as the manager asks for one; a silent one where it does not.
    pub(super) fn new() -> Self {
        let every = sd_notify::watchdog_enabled().map(|period| period / 2);
        Self { every, last: Instant::now() }
    }

    /// Pings if it is time; called between samples.
    pub(super) fn ping(&mut self) {
        if self.every.is_some_and(|every| self.last.elapsed() >= every) {
            self.last = Instant::now();
            say(&[NotifyState::Watchdog]);
        }
    }

    /// Pings as long as it is polled; called while nothing is measured. Never ends.
    pub(super) async fn ping_on(&mut self) {
        let Some(every) = self.every else { return std::future::pending().await };
        loop {
            say(&[NotifyState::Watchdog]);
            self.last = Instant::now();
            tokio::time::sleep(every).await;
        }
    }
}
