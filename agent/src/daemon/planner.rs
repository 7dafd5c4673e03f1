//! One host's runs: when they are due, what holds them back, and how they are made.

use std::{
    path::Path,
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
    task::JoinError,
    time::{sleep, timeout},
};

use super::{
    DaemonError, Settings, Signals,
    measured::{Last, Record, Subject},
    notify::Watchdog,
    schedule::{Due, Why, due},
    waiting::{Refusal, Waiting},
};
use crate::{
    build,
    delivery::TurnedAway,
    evidence,
    guard::{Guard, Ledger, pressure},
    hardware, identity,
    plan::Passes,
    preflight::RunLock,
    run::{self, Findings, Request, RunError},
    spool::{Reservation, Spool, SpoolError},
};

/// How often it is looked whether kernel, microcode, build or profile changed. Looking takes milliseconds.
const LOOK_EVERY: Duration = Duration::from_secs(60 * 60);
/// After a run that came to nothing or was broken off. Whatever ended it should not be met again at once.
const AFTER_TROUBLE: Duration = Duration::from_secs(15 * 60);

/// A run that may begin.
pub(super) struct Ready {
    why: Why,
    lock: RunLock,
    room: Reservation,
    guard: Guard,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ended {
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
pub(super) struct Planner {
    settings: Settings,
    spool: Spool,
    record: Record,
    ledger: Ledger,
    /// This interval's share of the jitter.
    jitter: Duration,
    not_before: Option<Instant>,
    waiting: Waiting,
    turned_away: TurnedAway,
}

impl Planner {
    pub(super) fn new(
        settings: Settings,
        spool: Spool,
        turned_away: TurnedAway,
    ) -> Result<Self, DaemonError> {
        let root = Path::new("/");
        let workers = hardware::detect_live(root).workers(settings.measure.workers);
        Passes::new(&settings.measure.asked(), workers.count)?;
        let known = run::known(&settings.measure, settings.membership.as_ref());
        let host = identity::host(root, known, &settings.state_dir)?;
        let record = Record::new(&settings.state_dir, &host.id);
        let ledger = Ledger::new(&settings.state_dir);
        let jitter = share_of(settings.jitter);
        let waiting = Waiting::default();
        Ok(Self { settings, spool, record, ledger, jitter, not_before: None, waiting, turned_away })
    }

    /// Waits until a run is due and nothing speaks against it. While something does, it is asked again and again whether the
    /// run is still due: a daemon of the same host may have measured it meanwhile.
    pub(super) async fn ready(&mut self) -> Ready {
        loop {
            if let Some(then) = self.not_before {
                sleep(then.saturating_duration_since(Instant::now())).await;
            }
            if self.turned_away.is_so() {
                let pause = self.waiting.on(None, Refusal::TurnedAway);
                self.rest(pause).await;
                continue;
            }
            let why = match self.due() {
                Due::Now(why) => why,
                Due::In(left) => {
                    self.waiting.end();
                    self.rest(left.min(LOOK_EVERY)).await;
                    continue;
                }
                Due::OnChange => {
                    self.waiting.end();
                    self.rest(LOOK_EVERY).await;
                    continue;
                }
            };
            match self.may_begin().await {
                Ok((lock, room, guard)) => {
                    // Another run may have ended since.
                    if let Due::Now(why) = self.due() {
                        self.waiting.end();
                        return Ready { why, lock, room, guard };
                    }
                }
                Err(refusal) => {
                    let pause = self.waiting.on(Some(&why), refusal);
                    self.rest(pause).await;
                }
            }
        }
    }

    /// Waits, but no longer than until it is news whether anybody takes reports of this host.
    async fn rest(&self, pause: Duration) {
        let _ = timeout(pause, self.turned_away.changes()).await;
    }

    fn due(&mut self) -> Due {
        let found = hardware::detect_live(Path::new("/"));
        let profile = Profile::new(found.facets, found.system.instance_type.as_deref());
        let subject = Subject::new(&found.system, &build::this(), profile.id.as_str());
        let every = self.settings.every.map(|every| every.saturating_add(self.jitter));
        let now = Timestamp::now();
        due(&subject, self.record.read_at(now).as_ref(), every, now)
    }

    async fn may_begin(&self) -> Result<(RunLock, Reservation, Guard), Refusal> {
        let Settings { measure, state_dir, rules, .. } = &self.settings;
        let found = hardware::detect_live(Path::new("/"));
        let needed = self.cpu_time(found.workers(measure.workers).count);
        let cpus = found.facets.usable_cpus;
        let guard = Guard::new(rules.clone(), state_dir, self.ledger.clone(), cpus);
        // The cheap questions first: while they say no, nothing else is asked.
        if let Some(held) = guard.before(Timestamp::now(), needed, None) {
            return Err(Refusal::Held(held));
        }
        let pressure = pressure(Path::new("/")).await;
        if let Some(held) = guard.before(Timestamp::now(), needed, pressure) {
            return Err(Refusal::Held(held));
        }
        let lock = RunLock::take(state_dir);
        if lock.other_run() {
            return Err(Refusal::OtherRun);
        }
        let room = self.spool.reserve().map_err(Refusal::Spool)?;
        // What cannot be written down binds nobody after this process.
        let now = Timestamp::now();
        self.ledger.write(now, self.ledger.used(now)).map_err(|source| {
            let path = self.ledger.path().to_owned();
            Refusal::Ledger { path, source }
        })?;
        Ok((lock, room, guard))
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

    /// Measures, and puts the report into the spool.
    pub(super) async fn measure(
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
