//! Real limits on this machine: cgroups with a quota, and affinity. What the agent makes of them, and whether it sees
//! that it was throttled.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{agent, command, has, run, skip};

/// A cgroup of our own with a quota, which is removed at the end.
struct Cgroup {
    folder: PathBuf,
    path: String,
}

impl Cgroup {
    /// Makes one in whichever version of cgroups controls CPUs here; the reason if that cannot be.
    fn with_quota(name: &str, quota_us: u32) -> Result<Self, String> {
        let name = format!("fleetmark-test-{}-{name}", process::id());
        let places =
            ["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup"].map(Path::new);
        let place = places.into_iter().find(|place| place.join("cgroup.procs").exists());
        let place = place.ok_or("no cgroups are mounted")?;
        let folder = place.join(&name);
        let made =
            fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()));
        made?;
        // From here on it is removed whatever happens.
        let cgroup = Self { folder, path: format!("/{name}") };
        cgroup.set(quota_us).map_err(|error| format!("{}: {error}", cgroup.folder.display()))?;
        Ok(cgroup)
    }

    fn set(&self, quota_us: u32) -> io::Result<()> {
        let write = |file: &str, text: String| {
            // Nothing is created here: a file that is not there is a controller that is not there.
            let mut open = fs::OpenOptions::new();
            io::Write::write_all(
                &mut open.write(true).open(self.folder.join(file))?,
                text.as_bytes(),
            )
        };
        // The share comes first, so that what else runs on the machine does not keep us from reaching our quota.
        if self.folder.join("cpu.cfs_quota_us").exists() {
            write("cpu.shares", "262144".into())?;
            write("cpu.cfs_period_us", "100000".into())?;
            return write("cpu.cfs_quota_us", quota_us.to_string());
        }
        let parent = self.folder.parent().unwrap().join("cgroup.subtree_control");
        if !self.folder.join("cpu.max").exists() {
            fs::write(parent, "+cpu")?;
        }
        write("cpu.weight", "10000".into())?;
        write("cpu.max", format!("{quota_us} 100000"))
    }

    /// A command that runs the agent in this cgroup.
    fn agent(&self) -> Command {
        let mut inside = command("sh".as_ref());
        let procs = self.folder.join("cgroup.procs");
        inside.args(["-c", r#"echo $$ > "$0" && exec "$@""#]).arg(procs).arg(agent());
        inside
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel lets go of the last process a moment after it has ended.
        let begin = Instant::now();
        while fs::remove_dir(&self.folder).is_err() && begin.elapsed() < Duration::from_secs(10) {
            thread::sleep(Duration::from_millis(20));
        }
        assert!(!self.folder.exists() || thread::panicking(), "{} is left", self.folder.display());
    }
}

/// A run that keeps all CPUs busy for longer than a few periods: what it reports.
fn measure(mut agent: Command) -> Value {
    // Side by side, these runs would take from each other what they are to use up.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    agent.args(["run", "--rounds", "1", "--host-id", "me", "--format", "json"]);
    agent.args(["--scenario", "spawn-overhead,cpu-bound", "--spawner", "thread,tokio"]);
    agent.args(["--spawn-units", "20", "--cpu-units", "6", "--cpu-rounds", "50000000"]);
    run(agent.arg("--state-dir").arg(folder.path()).current_dir(folder.path())).json()
}

fn cpus() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn throttled(report: &Value) -> bool {
    let reasons = report["quality"]["reasons"].as_array().unwrap();
    reasons.iter().any(|reason| reason.as_str().unwrap().starts_with("throttled "))
}

/// Measures under a quota of so many microseconds in a tenth of a second.
fn under_quota(quota_us: u32, cpus: &str, reason: &str) {
    let cgroup = match Cgroup::with_quota(cpus, quota_us) {
        Ok(cgroup) => cgroup,
        Err(why) => return skip(&format!("a cgroup with a quota ({why})"), false),
    };
    let report = measure(cgroup.agent());
    assert_eq!(report["workers"]["count"], 1, "{report}");
    let whole = format!("cgroup {} sets a quota of {cpus} CPUs; {reason}", cgroup.path);
    assert_eq!(report["workers"]["reason"], whole.as_str());
    let facets = &report["profile"]["facets"];
    assert_eq!(facets["limit"], "quota");
    assert_eq!(facets["quota_millicpus"], quota_us / 100);
    assert_eq!(facets["usable_cpus"], 1);
    let name = report["profile"]["name"].as_str().unwrap();
    assert!(name.ends_with(&format!("-quota{cpus}")), "{name}");

    let throttling = &report["evidence"]["throttling"];
    assert!(throttling["throttled_periods"].as_u64() > Some(0), "{throttling}");
    assert!(throttling["throttled_periods"].as_u64() <= throttling["periods"].as_u64());
    assert!(throttling["throttled_ns"].as_u64() > Some(0), "{throttling}");
    assert_eq!(report["quality"]["verdict"], "suspect");
    assert!(throttled(&report), "{}", report["quality"]);
    let reasons = report["quality"]["reasons"].to_string();
    let of = format!("by the quota of {cpus} CPUs that cgroup {} sets", cgroup.path);
    assert!(reasons.contains(&of), "{reasons}");
}

#[test]
fn flooring_a_quota_of_one_and_a_half_leaves_half_a_cpu() {
    if cpus() < 2 {
        return skip("a second CPU", false);
    }
    under_quota(150_000, "1.5", "flooring leaves 0.5 CPU that only threads can use");
}

#[test]
fn a_quota_of_half_a_cpu_has_one_worker_all_the_same() {
    under_quota(50_000, "0.5", "one worker is the least, and shares it with all threads");
}

#[test]
fn an_affinity_of_one_core_is_one_worker() {
    if !has("taskset") {
        return skip("taskset", false);
    }
    if cpus() < 2 {
        return skip("a second CPU", false);
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let first = allowed.trim().split([',', '-']).next().unwrap();
    let mut pinned = command("taskset".as_ref());
    pinned.args(["-c", first]).arg(agent());
    let report = measure(pinned);
    assert_eq!(report["workers"]["count"], 1, "{report}");
    let reason = report["workers"]["reason"].as_str().unwrap();
    assert!(reason.starts_with("affinity allows 1 of "), "{reason}");
    assert!(reason.ends_with(&format!(" CPUs ({first})")), "{reason}");
    assert_eq!(report["profile"]["facets"]["limit"], "affinity");
    assert_eq!(report["profile"]["facets"]["quota_millicpus"], Value::Null);
    assert!(report["profile"]["name"].as_str().unwrap().ends_with("-pinned1"));
    assert!(!throttled(&report), "affinity throttles nobody: {}", report["quality"]);
}
