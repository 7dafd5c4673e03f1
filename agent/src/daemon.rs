//! The agent that stays: measures a host once and whenever something changed, and delivers what is in the spool.
//!
//! It is made for hosts that have something better to do. While it is idle it sleeps; before a run it ends its calls; while
//! a run goes on it acts between samples only, on the thread that measures.

mod measured;
mod notify;
mod planner;
mod schedule;
mod waiting;

use std::{convert::Infallible, future::pending, io, path::PathBuf, time::Duration};

use fleetmark_proto::shell::output::tell;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, oneshot},
    time::timeout,
};

use crate::{
    args::MeasureArgs, credentials::Membership, delivery::Courier, guard::Rules,
    identity::IdentityError, plan::PlanError, spool::Spool,
};
use notify::Watchdog;
use planner::{Ended, Planner, Ready};

/// How long a call to a collector may still take before a run.
const CALLS_BEFORE_RUN: Duration = Duration::from_secs(5);
/// How long a call to a collector may still take before the daemon ends.
const CALLS_BEFORE_END: Duration = Duration::from_secs(1);

/// What the owner asks of a daemon.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What to measure, and in whose name.
    pub measure: MeasureArgs,
    /// Who this host is to its collector, if it joined one.
    pub membership: Option<Membership>,
    /// Where state is kept.
    pub state_dir: PathBuf,
    /// What binds every run.
    pub rules: Rules,
    /// From the end of one run to the begin of the next; only where something changed, if there is none.
    pub every: Option<Duration>,
    /// Up to so much is added to that, at random.
    pub jitter: Duration,
}

/// The daemon could not begin.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// What is asked for makes no plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The host has no identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Signals cannot be heard.
    #[error("cannot listen for signals")]
    Signals(#[from] io::Error),
}

/// Stays until SIGTERM or SIGINT. What is in the spool then stays there.
///
/// # Errors
///
/// If it cannot begin. All that goes wrong later is told, and tried again.
pub async fn stay(
    settings: Settings,
    spool: Spool,
    mut courier: Courier,
) -> Result<(), DaemonError> {
    let mut signals = Signals::new()?;
    let mut watchdog = Watchdog::new();
    let mut planner = Planner::new(settings, spool, courier.turned_away())?;
    let wake = Notify::new();
    notify::ready();
    tell("watching this host; SIGTERM ends it");
    loop {
        notify::status("idle");
        let Some(ready) =
            idle(&mut planner, &mut courier, &wake, &mut signals, &mut watchdog).await
        else {
            break;
        };
        notify::status("measuring");
        let ended = planner.measure(ready, &mut signals, watchdog.clone()).await;
        wake.notify_one();
        if ended == Ended::ByOrder {
            break;
        }
    }
    notify::stopping();
    tell("ended; what is in the spool stays there");
    Ok(())
}

/// Delivers until a run may begin; `None` if the daemon is to end. No call is open afterwards.
async fn idle(
    planner: &mut Planner,
    courier: &mut Courier,
    wake: &Notify,
    signals: &mut Signals,
    watchdog: &mut Watchdog,
) -> Option<Ready> {
    let (quiesce, quiet) = oneshot::channel::<()>();
    let delivery = courier.stay(wake, async {
        // A sender that is gone says the same.
        let _ = quiet.await;
    });
    tokio::pin!(delivery);
    let on_and_on = async {
        tokio::join!(&mut delivery, watchdog.ping_on());
        pending::<Infallible>().await
    };
    let next = tokio::select! {
        () = signals.any() => None,
        ready = planner.ready() => Some(ready),
        never = on_and_on => match never {},
    };
    drop(quiesce);
    let patience = if next.is_some() { CALLS_BEFORE_RUN } else { CALLS_BEFORE_END };
    // A call that is cut off is made again later; the collector knows its reports by their ids. All that may go on beside a run
    // is the look-up of a name that nobody answers: no call of the system's ends it, and but for a datagram every few seconds
    // its thread sleeps.
    let _ = timeout(patience, &mut delivery).await;
    next
}

/// What tells the daemon to end.
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}
