//! The agent that stays: measures a host once and whenever something changed, and delivers what is in the spool.
//!
//! It is made for hosts that have something better to do. While it is idle it sleeps; before a run it ends its calls; while
//! a run goes on it acts between samples only, on the thread that measures.

mod measured;
mod notify;
mod schedule;

use std::{
    convert::Infallible,
    future::pending,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use fleetmark_proto::{
    convert::Encoded,
    profile::Profile,
    report::Report,
    shell::{self, output::tell},
    unit::Nanos,
};
use jiff::Timestamp;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, oneshot},
    task::JoinError,
    time::{sleep, timeout},
};

use crate::{
    args::MeasureArgs,
    build,
    credentials::Membership,
    delivery::Courier,
    evidence,
    guard::{Guard, Held, Rules, pressure},
    hardware,
    identity::{self, IdentityError},
    plan::{Passes, PlanError},
    preflight::RunLock,
    run::{self, Findings, Request, RunError},
    spool::{Reservation, Spool, SpoolError},
};
use measured::{Last, Record, Subject};
use notify::Watchdog;
use schedule::{Due, Why, due};

/// How often it is looked whether kernel, microcode, build or profile changed. Looking takes milliseconds.
const LOOK_EVERY: Duration = Duration::from_secs(60 * 60);
/// How often it is looked whether a run that is due may begin. Looking takes microseconds.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// After a run that came to nothing or was broken off. Whatever ended it should not be met again at once.
const AFTER_TROUBLE: Duration = Duration::from_secs(15 * 60);
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
    let mut planner = Planner::new(settings, spool)?;
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
    // A call that is cut off is made again later; the collector knows its reports by their ids.
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

/// A run that may begin.
struct Ready {
    why: Why,
    lock: RunLock,
    room: Reservation,
    guard: Guard,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ended {
    /// By itself, or by the rules.
    ByItself,
    /// The daemon was told to end.
    ByOrder,
}

/// A run that came to nothing.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("the run panicked")]
    Panicked(#[from] JoinError),
}

/// Decides when to measure, and does.
struct Planner {
    settings: Settings,
    spool: Spool,
    record: Record,
    /// This interval's share of the jitter.
    jitter: Duration,
    not_before: Option<Instant>,
    /// What was said last of why no run begins; it is said once.
    told: Option<Refusal>,
}

/// Why a run that is due does not begin.
enum Refusal {
    Held(Held),
    OtherRun,
    Spool(SpoolError),
}

impl Refusal {
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Held(one), Self::Held(other)) => one.is_like(other),
            (Self::OtherRun, Self::OtherRun) | (Self::Spool(_), Self::Spool(_)) => true,
            _ => false,
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Held(held) => held.to_string(),
            Self::OtherRun => "another run goes on with this state folder".to_owned(),
            Self::Spool(error) => shell::one_line(error),
        }
    }
}

impl Planner {
    fn new(settings: Settings, spool: Spool) -> Result<Self, DaemonError> {
        let root = Path::new("/");
        let workers = hardware::detect_live(root).workers(settings.measure.workers);
        Passes::new(&settings.measure.asked(), workers.count)?;
        let known = run::known(&settings.measure, settings.membership.as_ref());
        let host = identity::host(root, known, &settings.state_dir)?;
        let record = Record::new(&settings.state_dir, &host.id);
        let jitter = share_of(settings.jitter);
        Ok(Self { settings, spool, record, jitter, not_before: None, told: None })
    }

    /// Waits until a run is due and nothing speaks against it.
    async fn ready(&mut self) -> Ready {
        loop {
            if let Some(then) = self.not_before {
                sleep(then.saturating_duration_since(Instant::now())).await;
            }
            match self.due() {
                Due::Now(why) => return self.allowed(why).await,
                Due::In(left) => sleep(left.min(LOOK_EVERY)).await,
                Due::OnChange => sleep(LOOK_EVERY).await,
            }
        }
    }

    fn due(&self) -> Due {
        let found = hardware::detect_live(Path::new("/"));
        let profile = Profile::new(found.facets, found.system.instance_type.as_deref());
        let subject = Subject::new(&found.system, &build::this(), profile.id.as_str());
        let every = self.settings.every.map(|every| every.saturating_add(self.jitter));
        due(&subject, self.record.read().as_ref(), every, Timestamp::now())
    }

    /// Waits until the run that is due may begin.
    async fn allowed(&mut self, why: Why) -> Ready {
        let found = hardware::detect_live(Path::new("/"));
        let needed = self.cpu_time(found.workers(self.settings.measure.workers).count);
        let guard = Guard::new(
            self.settings.rules.clone(),
            &self.settings.state_dir,
            found.facets.usable_cpus,
        );
        loop {
            match self.may_begin(&guard, needed).await {
                Ok((lock, room)) => {
                    self.told = None;
                    return Ready { why, lock, room, guard };
                }
                Err(refusal) => self.say_once(&why, refusal),
            }
            sleep(ASK_EVERY).await;
        }
    }

    async fn may_begin(
        &self,
        guard: &Guard,
        needed: Nanos,
    ) -> Result<(RunLock, Reservation), Refusal> {
        // The cheap questions first: while they say no, nothing else is asked.
        if let Some(held) = guard.before(Timestamp::now(), needed, None) {
            return Err(Refusal::Held(held));
        }
        let pressure = pressure(Path::new("/")).await;
        if let Some(held) = guard.before(Timestamp::now(), needed, pressure) {
            return Err(Refusal::Held(held));
        }
        let lock = RunLock::take(&self.settings.state_dir);
        if lock.other_run() {
            return Err(Refusal::OtherRun);
        }
        let room = self.spool.reserve().map_err(Refusal::Spool)?;
        Ok((lock, room))
    }

    /// What a run takes, told before it; nothing where the plan has become one that cannot be.
    fn cpu_time(&self, workers: u32) -> Nanos {
        let (Ok(passes), Some(canary)) =
            (Passes::new(&self.settings.measure.asked(), workers), evidence::canary())
        else {
            return Nanos(0);
        };
        let all = passes.plans().map(|plan| plan.cpu_time(canary).0);
        Nanos(all.fold(0, u64::saturating_add))
    }

    fn say_once(&mut self, why: &Why, refusal: Refusal) {
        if self.told.as_ref().is_none_or(|told| !told.is_like(&refusal)) {
            let words = refusal.words();
            notify::status(&words);
            tell(format_args!("not measuring yet ({why}): {words}"));
        }
        self.told = Some(refusal);
    }

    /// Measures, and puts the report into the spool.
    async fn measure(
        &mut self,
        ready: Ready,
        signals: &mut Signals,
        mut watchdog: Watchdog,
    ) -> Ended {
        let Ready { why, lock, room, guard } = ready;
        tell(format_args!("measuring: {why}"));
        let stop = Arc::new(AtomicBool::new(false));
        let told_to_stop = Arc::clone(&stop);
        let Settings { measure, membership, state_dir, .. } = self.settings.clone();
        let mut running = tokio::task::spawn_blocking(move || {
            let request = Request {
                measure: &measure,
                membership: membership.as_ref(),
                state_dir: &state_dir,
                findings: Findings::Warn,
                lock: &lock,
            };
            let mut watch = guard.watch(&told_to_stop, Path::new("/"));
            let ran = run::run(request, &mut |progress| {
                watchdog.ping();
                watch.between(&progress)
            });
            let usage = ran.as_ref().ok().and_then(|report| report.evidence.usage);
            if let Err(error) = watch.end(usage) {
                tell(format_args!(
                    "warning: cannot write down the CPU time that was used: {error}"
                ));
            }
            let report = ran?;
            keep(&report, room)?;
            Ok::<Report, Trouble>(report)
        });
        let ran = loop {
            tokio::select! {
                ran = &mut running => break ran,
                () = signals.any() => stop.store(true, Ordering::Relaxed),
            }
        };
        self.conclude(ran.unwrap_or_else(|panicked| Err(panicked.into())));
        if stop.load(Ordering::Relaxed) { Ended::ByOrder } else { Ended::ByItself }
    }

    /// Tells what came of a run, and keeps that the host is measured.
    fn conclude(&mut self, ran: Result<Report, Trouble>) {
        self.jitter = share_of(self.settings.jitter);
        self.not_before = None;
        let report = match ran {
            Ok(report) => report,
            Err(trouble) => {
                tell(format_args!("error: {}", shell::one_line(&trouble)));
                self.not_before = Some(Instant::now() + AFTER_TROUBLE);
                return;
            }
        };
        if report.partial.is_some() {
            self.not_before = Some(Instant::now() + AFTER_TROUBLE);
            return;
        }
        if let Err(error) = self.record.write(&Last::of(&report)) {
            tell(format_args!(
                "warning: cannot keep that this host is measured, so it is measured again after a restart: {error}"
            ));
        }
    }
}

/// Says what was measured, puts it into the spool, and says that it is there: only then it counts as done.
fn keep(report: &Report, room: Reservation) -> Result<(), SpoolError> {
    let id = report.id;
    let quality = match (&report.partial, report.quality.is_clean()) {
        (Some(reason), _) => format!("partial, as the run ended early: {reason}"),
        (None, true) => "clean".to_owned(),
        (None, false) => format!("suspect: {}", report.quality.reasons.join("; ")),
    };
    tell(format_args!("measured report {id}, {quality}"));
    let encoded = Encoded::new(report);
    room.commit(&encoded)?;
    tell(format_args!("report {id} is in the spool (SHA-256 {})", encoded.digest));
    Ok(())
}

/// A random part of this time.
fn share_of(time: Duration) -> Duration {
    let bits = uuid::Uuid::new_v4().as_u64_pair().1;
    // 32 random bits as a fraction.
    time.mul_f64(
        f64::from(u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(0)) / f64::from(u32::MAX),
    )
}
