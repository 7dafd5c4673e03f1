//! What would spoil a run, found before it begins. Each finding is a warning; `--strict` refuses to measure.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    path::Path,
};

use fleetmark_proto::plan::Spawner;
use rustix::process::{Resource, geteuid, getrlimit};

use crate::{
    evidence::{self, Clock, threshold},
    plan::Passes,
    private,
};

/// Memory that one waiting thread takes, its stack's first pages and the kernel's part; seen to be under 40 KiB.
const THREAD_BYTES: u64 = 64 * 1024;
/// Memory for all but threads.
const BASE_BYTES: u64 = 64 << 20;
/// Threads that tokio's blocking pool may grow to.
const POOL_THREADS: u64 = 512;

/// What of a host decides whether a run will go well. `None` is unknown, and finds nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Threads that the run will have alive at once, at most.
    pub threads_needed: u64,
    /// How many the user may have; `None` for root, and without a limit.
    pub user_limit: Option<u64>,
    /// How many more the tightest cgroup takes, and the file that says so.
    pub cgroup_room: Option<(u64, String)>,
    /// Memory that could be had.
    pub memory_bytes: Option<u64>,
    /// This binary was built without optimisation, or with checks.
    pub debug_build: bool,
    /// Share of the last ten seconds in which some thread waited for a CPU.
    pub pressure: Option<f64>,
    /// The load average of the last minute, a CPU.
    pub load: Option<f64>,
    /// How the clock is set.
    pub clock: Clock,
    /// Another run goes on with this state folder.
    pub other_run: bool,
}

/// Keeps other runs with the same state folder from thinking that they are alone. Ends with this value, and with the
/// process, however that ends.
#[derive(Debug)]
pub struct RunLock {
    held: Option<File>,
    other_run: bool,
}

impl RunLock {
    /// Takes the lock if it is free. Never waits; a folder that cannot be written locks nothing and tells nothing.
    #[must_use]
    pub fn take(state_dir: &Path) -> Self {
        let folder = state_dir.join("agent");
        let opened = private::folder(&folder).and_then(|()| {
            let file = folder.join("run.lock");
            OpenOptions::new().create(true).truncate(false).write(true).open(file)
        });
        match opened.map(|file| (file.try_lock(), file)) {
            Ok((Ok(()), file)) => Self { held: Some(file), other_run: false },
            Ok((Err(TryLockError::WouldBlock), _)) => Self { held: None, other_run: true },
            Ok((Err(TryLockError::Error(_)), _)) | Err(_) => Self { held: None, other_run: false },
        }
    }

    /// Whether another run holds it.
    #[must_use]
    pub fn other_run(&self) -> bool {
        self.other_run && self.held.is_none()
    }
}

impl Seen {
    /// Looks at the host whose files lie under `root`, for a run of these passes.
    #[must_use]
    pub fn look(root: &Path, passes: &Passes, lock: &RunLock) -> Self {
        let read = |path: &str| fs::read_to_string(root.join(path)).ok();
        let cpus = evidence::allowed_cpus(root);
        let load =
            read("proc/loadavg").and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
        let limit = getrlimit(Resource::Nproc).current;
        Self {
            threads_needed: threads_needed(passes),
            user_limit: limit.filter(|_| !geteuid().is_root()),
            cgroup_room: cgroup_room(root),
            memory_bytes: read("proc/meminfo").and_then(|text| memory_available(&text)),
            debug_build: cfg!(debug_assertions) || env!("FLEETMARK_OPT_LEVEL") == "0",
            pressure: evidence::recent_pressure(root),
            load: load.zip(cpus).map(|(load, cpus)| load / f64::from(cpus)),
            clock: Clock::look(root),
            other_run: lock.other_run(),
        }
    }

    /// What would spoil the run, each with what to do about it.
    #[must_use]
    pub fn findings(&self) -> Vec<String> {
        [
            self.too_few_threads(),
            self.too_little_memory(),
            self.debug_build.then(|| {
                "this is a debug build, whose medians mean little: build with --release".to_owned()
            }),
            self.busy(),
            self.slow_clock(),
            self.other_run.then(|| {
                "another fleetmark run goes on with this state folder: wait for it to end"
                    .to_owned()
            }),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn too_few_threads(&self) -> Option<String> {
        let needed = self.threads_needed;
        if let Some((room, file)) = self.cgroup_room.as_ref().filter(|(room, _)| *room < needed) {
            return Some(format!(
                "up to {needed} threads are needed and {file} has room for {room}: raise it (TasksMax, --pids-limit), or ask for fewer units"
            ));
        }
        let limit = self.user_limit.filter(|&limit| limit < needed)?;
        Some(format!(
            "up to {needed} threads are needed and this user may have {limit}: raise `ulimit -u`, or ask for fewer units"
        ))
    }

    fn too_little_memory(&self) -> Option<String> {
        let needed = BASE_BYTES.saturating_add(self.threads_needed.saturating_mul(THREAD_BYTES));
        let there = self.memory_bytes.filter(|&there| there < needed)?;
        Some(format!(
            "about {} MiB of memory are needed and {} MiB can be had: stop something, or ask for fewer units",
            needed >> 20,
            there >> 20
        ))
    }

    fn busy(&self) -> Option<String> {
        let advice = "stop what runs here, or measure when it is quiet";
        match (self.pressure, self.load) {
            (Some(pressure), _) => (pressure > threshold::PRESSURE).then(|| {
                let percent = pressure * 100.0;
                format!("the host is busy, threads waited for a CPU in {percent:.0}% of the last 10 s: {advice}")
            }),
            (None, Some(load)) => (load > threshold::LOAD)
                .then(|| format!("the host is busy, with a load of {load:.1} a CPU: {advice}")),
            (None, None) => None,
        }
    }

    /// Drivers that leave the choice to the hardware call their usual governor `powersave`; elsewhere it means the lowest
    /// clock there is.
    fn slow_clock(&self) -> Option<String> {
        let by_hardware = self.clock.driver.as_deref().is_some_and(|driver| {
            driver.starts_with("intel_pstate") || driver.starts_with("amd-pstate-epp")
        });
        let slow = self.clock.governor.as_deref().is_some_and(|all| {
            all.split('+').any(|governor| governor == "powersave" || governor == "conservative")
        });
        (slow && !by_hardware).then(|| {
            "the frequency governor saves power: choose another, such as `cpupower frequency-set -g performance`".to_owned()
        })
    }
}

/// The most threads that any cell has alive at once, with those of runtimes and pools.
fn threads_needed(passes: &Passes) -> u64 {
    let of_cell = |work: &crate::spawner::Work| match work.spawner {
        Spawner::Thread => work.units,
        Spawner::SpawnBlocking => work.units.min(POOL_THREADS),
        Spawner::Tokio | Spawner::Rayon => 0,
    };
    let plans = passes.plans();
    let runtimes = |workers: u32| u64::from(workers).saturating_mul(3) + 1;
    plans
        .map(|plan| {
            let most = plan.cells.iter().map(|cell| of_cell(&cell.work)).max().unwrap_or(0);
            most.saturating_add(runtimes(plan.workers))
        })
        .max()
        .unwrap_or(0)
}

/// How many more threads the tightest cgroup over this process takes, in version 1 or 2.
fn cgroup_room(root: &Path) -> Option<(u64, String)> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let trees = text.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        match controllers {
            "" => Some(("sys/fs/cgroup", path)),
            some if some.split(',').any(|one| one == "pids") => Some(("sys/fs/cgroup/pids", path)),
            _ => None,
        }
    });
    let rooms = trees.flat_map(|(mount, path)| {
        Path::new(path).ancestors().filter_map(move |level| {
            let folder = format!("{mount}{}", level.display());
            let folder = folder.trim_end_matches('/');
            let number = |file: &str| {
                let text = fs::read_to_string(root.join(folder).join(file)).ok()?;
                text.trim().parse::<u64>().ok()
            };
            // Without a limit the file says `max`.
            let room = number("pids.max")?.saturating_sub(number("pids.current").unwrap_or(0));
            Some((room, format!("/{folder}/pids.max")))
        })
    });
    rooms.min_by_key(|(room, _)| *room)
}

fn memory_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet() -> Seen {
        Seen {
            threads_needed: 1_007,
            user_limit: Some(90_000),
            cgroup_room: Some((4_000, "/sys/fs/cgroup/pids.max".into())),
            memory_bytes: Some(8 << 30),
            pressure: Some(0.01),
            load: Some(9.0),
            clock: Clock { governor: Some("performance".into()), ..Clock::default() },
            ..Seen::default()
        }
    }

    fn only(seen: &Seen) -> String {
        let findings = seen.findings();
        let [finding] = &findings[..] else { panic!("{findings:?}") };
        finding.clone()
    }

    #[test]
    fn a_quiet_host_finds_nothing_nor_does_the_unknown() {
        assert_eq!(quiet().findings(), [""; 0]);
        assert_eq!(Seen::default().findings(), [""; 0]);
    }

    #[test]
    fn each_finding_says_what_to_do() {
        let room = Some((800, "/sys/fs/cgroup/batch/pids.max".into()));
        let pids = only(&Seen { cgroup_room: room, ..quiet() });
        assert!(pids.contains("1007 threads") && pids.contains("/batch/pids.max"), "{pids}");
        let user = only(&Seen { user_limit: Some(200), ..quiet() });
        assert!(user.contains("ulimit -u"), "{user}");
        let memory = only(&Seen { memory_bytes: Some(100 << 20), ..quiet() });
        assert!(memory.contains("100 MiB"), "{memory}");
        assert!(only(&Seen { debug_build: true, ..quiet() }).contains("--release"));
        assert!(only(&Seen { pressure: Some(0.4), ..quiet() }).contains("40%"));
        assert!(only(&Seen { pressure: None, ..quiet() }).contains("load of 9.0"));
        assert!(only(&Seen { other_run: true, ..quiet() }).contains("another fleetmark run"));
    }

    #[test]
    fn powersave_is_slow_only_where_it_means_the_lowest_clock() {
        let with = |governor: &str, driver: &str| Seen {
            clock: Clock {
                governor: Some(governor.into()),
                driver: Some(driver.into()),
                turbo: None,
            },
            ..quiet()
        };
        assert!(only(&with("performance+powersave", "acpi-cpufreq")).contains("saves power"));
        assert_eq!(with("powersave", "intel_pstate").findings(), [""; 0]);
    }

    #[test]
    fn the_tightest_cgroup_counts() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let put = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(cgroup_room(root), None);
        put("proc/self/cgroup", "7:pids:/a/b\n3:cpu,cpuacct:/x\n0::/c\n");
        put("sys/fs/cgroup/pids/a/b/pids.max", "max\n");
        put("sys/fs/cgroup/pids/a/pids.max", "300\n");
        put("sys/fs/cgroup/pids/a/pids.current", "120\n");
        put("sys/fs/cgroup/c/pids.max", "900\n");
        assert_eq!(cgroup_room(root), Some((180, "/sys/fs/cgroup/pids/a/pids.max".to_owned())));
    }

    #[test]
    fn a_second_run_sees_the_first_and_a_third_sees_none() {
        let folder = tempfile::tempdir().unwrap();
        let first = RunLock::take(folder.path());
        assert!(!first.other_run());
        assert!(RunLock::take(folder.path()).other_run());
        drop(first);
        assert!(!RunLock::take(folder.path()).other_run());
        assert!(!RunLock::take(Path::new("/proc/nowhere")).other_run());
    }

    #[test]
    fn memory_that_can_be_had_is_read() {
        let text = "MemTotal: 100 kB\nMemFree: 1 kB\nMemAvailable:   40 kB\n";
        assert_eq!(memory_available(text), Some(40 * 1024));
        assert_eq!(memory_available("MemAvailable: lots"), None);
    }
}
