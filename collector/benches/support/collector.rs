//! What benchmarks of the collector share: the real binary as a child, CPUs apart, and how results are told.

use std::{
    error::Error,
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
    process::{self, Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use fleetmark_proto::unit::Nanos;
use tempfile::TempDir;
use url::Url;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// How a benchmark ends that met all its bounds, missed one, or failed.
pub(crate) fn conclude(met: Outcome<bool>) -> ExitCode {
    match met {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Who may use which CPUs, as `taskset` takes it; empty where all use all.
pub(crate) struct Split {
    collector: String,
    pub(crate) clients: String,
}

impl Split {
    pub(crate) fn of_this_machine() -> Self {
        let cpus = thread::available_parallelism().map_or(1, |cpus| cpus.get());
        let taskset = Command::new("taskset").arg("--version").stdout(Stdio::null()).status();
        if cpus < 2 || taskset.is_err() {
            return Self { collector: String::new(), clients: String::new() };
        }
        let half = cpus / 2;
        Self { collector: format!("0-{}", half - 1), clients: format!("{half}-{}", cpus - 1) }
    }

    /// Keeps this process, which has one thread yet, to some CPUs.
    pub(crate) fn keep_to(&self, cpus: &str) -> io::Result<()> {
        if cpus.is_empty() {
            return Ok(());
        }
        let own = process::id().to_string();
        let mut taskset = Command::new("taskset");
        taskset.args(["-p", "-c", cpus, &own]).stdout(Stdio::null()).status().map(|_| ())
    }

    pub(crate) fn words(&self) -> String {
        if self.collector.is_empty() {
            return "the collector and its clients share all CPUs".to_owned();
        }
        format!("the collector on CPUs {}, its clients on {}", self.collector, self.clients)
    }
}

/// The real collector, with a store of its own.
pub(crate) struct Collector {
    child: Child,
    pub(crate) url: Url,
    _folder: TempDir,
}

impl Collector {
    pub(crate) fn start(split: &Split) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let log = folder.path().join("log");
        let binary = env!("CARGO_BIN_EXE_fleetmark-collector");
        let mut command = if split.collector.is_empty() {
            Command::new(binary)
        } else {
            let mut command = Command::new("taskset");
            command.args(["-c", &split.collector, binary]);
            command
        };
        let store = format!("sqlite:{}", folder.path().join("fleet.db").display());
        command.args(["serve", "--listen", "127.0.0.1:0", "--store", &store, "--state-dir"]);
        command.arg(folder.path()).stderr(File::create(&log)?);
        let child = command.spawn()?;
        let url = listening(&log)?;
        Ok(Self { child, url, _folder: folder })
    }

    /// The most memory that it ever held.
    pub(crate) fn peak_memory_kib(&self) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmHWM")?;
        Ok(number.parse()?)
    }

    /// CPU time that it has used.
    pub(crate) fn cpu(&self) -> Outcome<Duration> {
        cpu_of(&self.child.id().to_string())
    }

    pub(crate) fn stop(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(|_| ())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // Nothing is left of a benchmark that failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the collector says that it listens.
fn listening(log: &Path) -> Outcome<Url> {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(30) {
        let said = fs::read_to_string(log)?;
        if let Some((_, rest)) = said.split_once("listening on ")
            && let Some((address, _)) = rest.split_once(',')
        {
            return Ok(format!("http://{address}").parse()?);
        }
        thread::sleep(Duration::from_millis(10));
    }
    Err("the collector does not listen".into())
}

pub(crate) fn judge(name: &str, text: String, met: bool) -> (String, bool) {
    let word = if met { "met" } else { "missed" };
    (format!("  {name}: {text}: {word}\n"), met)
}

pub(crate) fn approximate(number: impl TryInto<u64>) -> f64 {
    Nanos(number.try_into().unwrap_or(u64::MAX)).to_f64()
}

pub(crate) fn say(text: std::fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.to_string().as_bytes())?;
    out.flush()
}

/// CPU time of a process, by the kernel's hundredths of a second.
pub(crate) fn cpu_of(process: &str) -> Outcome<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no process")?;
    let mut ticks = 0;
    for field in fields.split_whitespace().skip(11).take(2) {
        ticks += field.parse::<u64>()?;
    }
    Ok(Duration::from_millis(ticks * 10))
}
