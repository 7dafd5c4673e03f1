//! What binds every run of a daemon: windows, pressure, a budget of CPU time, a pause file. Asked before a run and again
//! before each of its samples, so that a benchmark is never what hurts production.

mod budget;
mod window;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use fleetmark_proto::{report::Usage, unit::Nanos};
use jiff::Timestamp;

pub use budget::{Budget, Ledger};
pub use window::Window;

use crate::{
    evidence::{self, Others},
    measure::{Continue, Progress},
    usage,
};

/// How often what others use is looked at during a run: ticks of 10 ms say nothing about less.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How often what was used is written down during a run. So much at most is forgotten by a daemon that is killed.
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// What the owner allows.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// When to measure; always, if there are none.
    pub windows: Vec<Window>,
    /// How busy others may keep the CPUs, as a share from 0 to 1.
    pub max_pressure: f64,
    /// How much CPU time all runs of a day may use.
    pub budget: Budget,
}

/// Why no run may begin, or why one must end.
#[derive(Clone, Debug, PartialEq)]
pub enum Held {
    /// The owner says so by a file.
    Paused(PathBuf),
    /// It is not the time.
    Window(Vec<Window>),
    /// Others need the CPUs.
    Pressure {
        /// How busy they keep them.
        seen: f64,
        /// How busy they may.
        max: f64,
    },
    /// What is left of today's CPU time does not suffice.
    Budget {
        /// What is left.
        left: Nanos,
        /// What a run takes, as far as can be told before.
        needed: Nanos,
    },
    /// No day's CPU time ever suffices.
    TooDear {
        /// What a day has.
        budget: Nanos,
        /// What a run takes, as far as can be told before.
        needed: Nanos,
    },
}

impl Held {
    /// Whether this is the same kind of reason, whatever its numbers.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused(file) => write!(f, "{} is there; remove it to go on", file.display()),
            Self::Window(windows) => {
                let windows: Vec<String> = windows.iter().map(Window::to_string).collect();
                write!(f, "outside of --window {}", windows.join(" and "))
            }
            Self::Pressure { seen, max } => write!(
                f,
                "others keep the CPUs busy by {:.0}%, more than the {:.0}% of --max-pressure",
                seen * 100.0,
                max * 100.0
            ),
            Self::Budget { left, needed } => write!(
                f,
                "a run takes about {needed} of CPU time, and {left} are left of today's --budget; the next day begins at 00:00 UTC"
            ),
            Self::TooDear { budget, needed } => write!(
                f,
                "a run takes about {needed} of CPU time, and --budget allows {budget} a day: raise it, or ask for less work"
            ),
        }
    }
}

/// Keeps to the rules.
#[derive(Clone, Debug)]
pub struct Guard {
    rules: Rules,
    pause: PathBuf,
    ledger: Ledger,
    usable_cpus: u32,
}

impl Guard {
    /// A guard of the runs that share this state folder and its ledger, on a host with so many usable CPUs.
    #[must_use]
    pub fn new(rules: Rules, state_dir: &Path, ledger: Ledger, usable_cpus: u32) -> Self {
        Self { rules, pause: state_dir.join("pause"), ledger, usable_cpus }
    }

    /// Why no run that takes about this much CPU time may begin. `pressure` is how busy others keep the CPUs, where that
    /// is known.
    #[must_use]
    pub fn before(&self, now: Timestamp, needed: Nanos, pressure: Option<f64>) -> Option<Held> {
        let budget = self.rules.budget.of(self.usable_cpus);
        let left = Nanos(budget.0.saturating_sub(self.ledger.used(now).0));
        self.told_to_wait(now).or_else(|| {
            if needed > budget {
                return Some(Held::TooDear { budget, needed });
            }
            if needed > left {
                return Some(Held::Budget { left, needed });
            }
            self.too_busy(pressure?)
        })
    }

    /// A watch over one run, which is about to begin. It stops the run once `stop` is set, too.
    #[must_use]
    pub fn watch<'a>(&'a self, stop: &'a Arc<AtomicBool>, root: &'a Path) -> Watch<'a> {
        Watch {
            guard: self,
            stop,
            root,
            used_before: self.ledger.used(Timestamp::now()),
            parent_before: own_cpu_time(),
            earlier_passes: Nanos(0),
            this_pass: Nanos(0),
            others: Others::look(root, Nanos(0)),
            looked: Instant::now(),
            written: Instant::now(),
        }
    }

    fn told_to_wait(&self, now: Timestamp) -> Option<Held> {
        if self.pause.exists() {
            return Some(Held::Paused(self.pause.clone()));
        }
        let windows = &self.rules.windows;
        let open = windows.is_empty() || windows.iter().any(|window| window.is_open(now));
        (!open).then(|| Held::Window(windows.clone()))
    }

    fn too_busy(&self, seen: f64) -> Option<Held> {
        let max = self.rules.max_pressure;
        (seen > max).then_some(Held::Pressure { seen, max })
    }
}

/// Watches over one run, between its samples.
#[derive(Debug)]
pub struct Watch<'a> {
    guard: &'a Guard,
    stop: &'a Arc<AtomicBool>,
    root: &'a Path,
    used_before: Nanos,
    parent_before: Nanos,
    earlier_passes: Nanos,
    this_pass: Nanos,
    others: Option<Others>,
    looked: Instant,
    written: Instant,
}

impl Watch<'_> {
    /// Whether the run goes on.
    pub fn between(&mut self, progress: &Progress<'_>) -> Continue {
        if progress.done == 0 {
            // The children of each pass count from nothing.
            self.earlier_passes = Nanos(self.earlier_passes.0.saturating_add(self.this_pass.0));
        }
        self.this_pass = cpu_time(progress.usage);
        if self.stop.load(Ordering::Relaxed) {
            return Continue::Break("the daemon was told to end".to_owned());
        }
        match self.held(Timestamp::now()) {
            Some(held) => Continue::Break(held.to_string()),
            None => Continue::Continue(()),
        }
    }

    fn held(&mut self, now: Timestamp) -> Option<Held> {
        let used = self.used();
        if self.written.elapsed() >= WRITE_EVERY {
            self.written = Instant::now();
            // A ledger that cannot be written is told of at the end of the run.
            let _ = self.guard.ledger.write(now, self.total());
        }
        let waits = self.guard.told_to_wait(now);
        if waits.is_some() {
            return waits;
        }
        let budget = self.guard.rules.budget.of(self.guard.usable_cpus);
        if self.total() > budget {
            return Some(Held::Budget { left: Nanos(0), needed: used });
        }
        if self.looked.elapsed() < LOOK_EVERY {
            return None;
        }
        self.looked = Instant::now();
        let run = Nanos(self.earlier_passes.0.saturating_add(self.this_pass.0));
        let share = self.others.as_mut().and_then(|others| others.share_since(self.root, run))?;
        self.guard.too_busy(share)
    }

    /// What this run has used so far: the children for their samples, and this process.
    fn used(&self) -> Nanos {
        let parent = own_cpu_time().0.saturating_sub(self.parent_before.0);
        let children = self.earlier_passes.0.saturating_add(self.this_pass.0);
        Nanos(parent.saturating_add(children))
    }

    fn total(&self) -> Nanos {
        Nanos(self.used_before.0.saturating_add(self.used().0))
    }

    /// Writes down what the run used, `usage` being that of all its samples, and tells how much that is.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn end(mut self, usage: Option<Usage>) -> std::io::Result<Nanos> {
        if let Some(usage) = usage {
            self.earlier_passes = Nanos(0);
            self.this_pass = cpu_time(usage);
        }
        self.guard.ledger.write(Timestamp::now(), self.total())?;
        Ok(self.used())
    }
}

/// How busy others keep the CPUs, 0 to 1, before a run: the share of the last ten seconds in which some thread waited for
/// a CPU; where the kernel does not tell, the share of the CPUs that were busy in the second that this takes.
pub async fn pressure(root: &Path) -> Option<f64> {
    const A_SECOND: Duration = Duration::from_secs(1);
    if let Some(pressure) = evidence::recent_pressure(root) {
        return Some(pressure);
    }
    let mut others = Others::look(root, Nanos(0))?;
    tokio::time::sleep(A_SECOND).await;
    others.share_since(root, Nanos(0))
}

fn cpu_time(usage: Usage) -> Nanos {
    Nanos(usage.user_ns.0.saturating_add(usage.system_ns.0))
}

fn own_cpu_time() -> Nanos {
    usage::own().map_or(Nanos(0), |counted| counted.cpu_time())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser as _;
    use fleetmark_proto::unit::Nanos;

    use super::*;
    use crate::{
        args::{Cli, Command},
        plan::Plan,
    };

    const SECOND: Nanos = Nanos(1_000_000_000);

    fn rules() -> Rules {
        Rules {
            windows: vec![],
            max_pressure: 0.1,
            budget: Budget::PerCpu(Duration::from_secs(60)),
        }
    }

    fn guard(rules: Rules, state: &Path) -> Guard {
        fs::create_dir_all(state.join("agent")).unwrap();
        Guard::new(rules, state, Ledger::new(state), 2)
    }

    fn plan() -> Plan {
        let cli = Cli::parse_from(["fleetmark-agent", "run"]);
        let Command::Run(run) = cli.command else { panic!("not a run") };
        Plan::new(&run.measure.asked(), 2).unwrap()
    }

    fn used(seconds: u64) -> Usage {
        Usage { user_ns: Nanos(seconds * SECOND.0), ..Usage::default() }
    }

    #[test]
    fn what_speaks_against_a_run_is_found_before_it() {
        let state = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
        let night = Rules { windows: vec!["22:00-06:00".parse().unwrap()], ..rules() };
        let held = |rules: &Rules, needed: u64, pressure: f64| {
            let guard = guard(rules.clone(), state.path());
            guard.before(now, Nanos(needed * SECOND.0), Some(pressure)).map(|held| held.to_string())
        };
        let says = |held: Option<String>, words: &str| {
            assert!(held.as_ref().is_some_and(|held| held.contains(words)), "{held:?}");
        };
        assert_eq!(held(&rules(), 120, 0.1), None);
        says(held(&rules(), 120, 0.11), "busy by 11%, more than the 10% of --max-pressure");
        says(
            held(&rules(), 121, 0.0),
            "a run takes about 121 s of CPU time, and --budget allows 120 s",
        );
        says(held(&night, 1, 0.0), "outside of --window 22:00-06:00 UTC");
        Ledger::new(state.path()).write(now, Nanos(100 * SECOND.0)).unwrap();
        assert_eq!(held(&rules(), 20, 0.0), None);
        says(held(&rules(), 21, 0.0), "20.0 s are left of today's --budget");
        fs::write(state.path().join("pause"), "").unwrap();
        says(held(&rules(), 1, 0.0), "pause is there; remove it");
    }

    #[test]
    fn a_run_ends_at_a_word_a_file_or_the_end_of_its_budget() {
        let state = tempfile::tempdir().unwrap();
        let guard = guard(rules(), state.path());
        let plan = plan();
        let stop = Arc::new(AtomicBool::new(false));
        let between = |watch: &mut Watch<'_>, done: u64, seconds: u64| {
            let usage = used(seconds);
            let ended = watch.between(&Progress { done, total: 9, next: &plan.cells[0], usage });
            ended.break_value()
        };
        // No such host shows what others use.
        let mut watch = guard.watch(&stop, Path::new("/nonexistent"));
        assert_eq!(between(&mut watch, 0, 0), None);
        assert_eq!(between(&mut watch, 1, 60), None);
        assert_eq!(between(&mut watch, 0, 0), None, "the next pass counts from nothing");
        let over = between(&mut watch, 1, 61);
        assert!(over.is_some_and(|words| words.contains("are left of today's --budget")));
        watch.end(Some(used(121))).unwrap();
        let ledger = Ledger::new(state.path());
        assert!(ledger.used(Timestamp::now()) >= Nanos(121 * SECOND.0), "and is written down");

        ledger.write(Timestamp::now(), Nanos(0)).unwrap();
        let mut watch = guard.watch(&stop, Path::new("/nonexistent"));
        assert_eq!(between(&mut watch, 0, 0), None);
        fs::write(state.path().join("pause"), "").unwrap();
        assert!(between(&mut watch, 1, 0).is_some_and(|words| words.contains("pause is there")));
        fs::remove_file(state.path().join("pause")).unwrap();
        assert_eq!(between(&mut watch, 1, 0), None);
        stop.store(true, Ordering::Relaxed);
        assert!(between(&mut watch, 2, 0).is_some_and(|words| words.contains("told to end")));
    }
    #[test]
    fn a_run_ends_while_others_need_the_cpus() {
        let (state, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        // So many CPUs that those which this process uses itself, for other tests too, are few beside them.
        let stat = |busy: u32| -> String {
            (0..64).map(|cpu| format!("cpu{cpu} {busy} 0 0 100 0 0 0 0 0 0\n")).collect()
        };
        put("proc/self/status", "Cpus_allowed_list:\t0-63\n");
        put("proc/stat", &stat(0));
        let guard = guard(rules(), state.path());
        let plan = plan();
        let stop = Arc::new(AtomicBool::new(false));
        let mut watch = guard.watch(&stop, root.path());
        put("proc/stat", &stat(300));
        let begin = Instant::now();
        let ended = loop {
            let progress = Progress { done: 1, total: 9, next: &plan.cells[0], usage: used(0) };
            if let Continue::Break(words) = watch.between(&progress) {
                break words;
            }
            assert!(begin.elapsed() < 10 * LOOK_EVERY, "it never ends");
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(begin.elapsed() >= LOOK_EVERY, "ticks say nothing about less");
        assert!(ended.starts_with("others keep the CPUs busy by "), "{ended}");
        assert!(ended.ends_with("more than the 10% of --max-pressure"), "{ended}");
    }
}
