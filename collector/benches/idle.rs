//! What an agent in daemon mode costs its host while it does nothing: once with all delivered, once with a report in its
//! spool and no collector to take it, and once with a full spool, no collector, and a run that is due.
//!
//! `cargo bench -p fleetmark-collector --bench idle`
//!
//! Both binaries are the real ones. Memory is the most that was resident in any second; CPU time is the kernel's count, in
//! hundredths of a second.

#[path = "support/collector.rs"]
mod collector;

use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use fleetmark_agent::spool::{Bounds, Spool};
use fleetmark_proto::id::ReportId;

use collector::{Collector, Split, approximate, conclude, cpu_of, judge, say};

/// How long the daemon is watched in each state.
const WATCHED: Duration = Duration::from_secs(120);
/// How long it gets to become idle after its last work.
const SETTLING: Duration = Duration::from_secs(5);
/// How long a report may take to be measured and delivered.
const DELIVERED: Duration = Duration::from_secs(60);
/// The most memory that may be resident.
const MEMORY_KIB: u64 = 12 * 1024;
/// The share of a core that it has to stay below.
const SHARE: f64 = 0.000_5;
/// A run that takes next to nothing.
const TINY: [&str; 8] =
    ["--rounds", "1", "--wait", "1ms", "--cpu-rounds", "1000", "--cpu-units", "1"];

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    conclude(benchmark())
}

fn benchmark() -> Outcome<bool> {
    let agent = agent()?;
    let split = Split::of_this_machine();
    split.keep_to(&split.clients)?;
    say(format_args!("{}\n", split.words()))?;
    let collector = Collector::start(&split)?;
    let url = collector.url.to_string();
    let state = tempfile::tempdir()?;
    let daemon = Daemon::start(&agent, &url, state.path())?;
    daemon.until(|| Ok(fs::exists(state.path().join("agent/measured"))?))?;
    daemon.until(|| Ok(waiting(state.path())? == 0))?;
    let before = collector.cpu()?;
    let mut met = daemon.watch("all delivered")?;
    let busy = (collector.cpu()? - before).as_secs_f64() / WATCHED.as_secs_f64();
    let memory = approximate(collector.peak_memory_kib()?) / 1024.0;
    say(format_args!(
        "  the collector meanwhile: {:.4}% of a core; {memory:.1} MiB at most since it began\n",
        busy * 100.0
    ))?;

    collector.stop()?;
    let mut run = Command::new(&agent);
    run.args(["run", "--collector", &url, "--state-dir"]).arg(state.path()).args(TINY);
    let run = run.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if !run.success() || waiting(state.path())? == 0 {
        return Err("no report waits in the spool".into());
    }
    met &= daemon.watch("a report waits, and no collector answers")?;
    drop(daemon);

    let full = tempfile::tempdir()?;
    fill(state.path(), full.path())?;
    let daemon = Daemon::start(&agent, &url, full.path())?;
    met &= daemon.watch("the spool is full, no collector answers, and a run is due")?;
    Ok(met)
}

/// Fills a spool with as many records as it may have, all with the report of another state folder.
fn fill(from: &Path, to: &Path) -> Outcome<()> {
    const ID: std::ops::Range<usize> = 16..32;
    let waits = fs::read_dir(from.join("agent").join("spool"))?.find_map(|entry| {
        let path = entry.ok()?.path();
        path.extension().is_some_and(|extension| extension == "report").then_some(path)
    });
    let mut record = fs::read(waits.ok_or("no report waits")?)?;
    let spool = Spool::open(&to.join("agent").join("spool"), Bounds::default())?;
    for _ in 0..Bounds::default().files {
        let id = ReportId::now();
        record.get_mut(ID).ok_or("no record")?.copy_from_slice(id.as_bytes());
        fs::write(spool.folder().join(format!("{id}.report")), &record)?;
    }
    Ok(())
}

/// The agent's binary beside the collector's, which alone cargo builds for this benchmark.
fn agent() -> Outcome<PathBuf> {
    let collector = Path::new(env!("CARGO_BIN_EXE_fleetmark-collector"));
    let folder = collector.parent().ok_or("no folder")?;
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--release", "--package", "fleetmark-agent", "--target-dir"]);
    build.arg(folder.parent().ok_or("no folder")?);
    if !build.status()?.success() {
        return Err("the agent does not build".into());
    }
    Ok(folder.join("fleetmark-agent"))
}

/// Reports that wait in the spool of this state folder.
fn waiting(state: &Path) -> io::Result<usize> {
    let spool = state.join("agent").join("spool");
    let names = fs::read_dir(spool)?.map(|entry| entry.map(|entry| entry.file_name()));
    let names = names.collect::<io::Result<Vec<_>>>()?;
    Ok(names.iter().filter(|name| name.to_string_lossy().ends_with(".report")).count())
}

/// The real agent in daemon mode.
struct Daemon(Child);

impl Daemon {
    fn start(agent: &Path, url: &str, state: &Path) -> Outcome<Self> {
        let mut command = Command::new(agent);
        command.args(["daemon", "--max-pressure", "1", "--collector", url, "--state-dir"]);
        command.arg(state).args(TINY).stderr(Stdio::null());
        Ok(Self(command.spawn()?))
    }

    /// Waits until something holds.
    fn until(&self, holds: impl Fn() -> Outcome<bool>) -> Outcome<()> {
        let begin = Instant::now();
        while begin.elapsed() < DELIVERED {
            if holds()? {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(100));
        }
        Err(format!("the daemon, process {}, did not measure and deliver", self.0.id()).into())
    }

    /// Whether it costs as little as it should.
    fn watch(&self, state: &str) -> Outcome<bool> {
        thread::sleep(SETTLING);
        let process = self.0.id().to_string();
        let (begin, before) = (Instant::now(), cpu_of(&process)?);
        let mut memory_kib = 0;
        while begin.elapsed() < WATCHED {
            thread::sleep(Duration::from_secs(1));
            memory_kib = memory_kib.max(self.resident_kib()?);
        }
        let (used, lasted) = (cpu_of(&process)? - before, begin.elapsed());
        let share = used.as_secs_f64() / lasted.as_secs_f64();
        say(format_args!("{state}, for {} s:\n", lasted.as_secs()))?;
        let memory = format!("{:.1} MiB, at most 12", approximate(memory_kib) / 1024.0);
        let (memory, memory_met) = judge("resident memory", memory, memory_kib <= MEMORY_KIB);
        let cpu = format!("{:.4}% of a core, below 0.05%", share * 100.0);
        let (cpu, cpu_met) = judge("CPU time", cpu, share < SHARE);
        say(format_args!("{memory}{cpu}"))?;
        Ok(memory_met && cpu_met)
    }

    fn resident_kib(&self) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS")?;
        Ok(number.parse()?)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
