//! What all of these tests need: both binaries, a collector to talk to, and small workloads.

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Workloads that take milliseconds, of all eleven cells.
pub(crate) const SMALL: [&str; 12] = [
    "--rounds",
    "6",
    "--spawn-units",
    "20",
    "--wait-units",
    "20",
    "--wait",
    "1ms",
    "--cpu-units",
    "2",
    "--cpu-rounds",
    "5000",
];

/// Workloads that take next to nothing.
pub(crate) const TINY: [&str; 12] = [
    "--rounds",
    "1",
    "--spawn-units",
    "2",
    "--wait-units",
    "2",
    "--wait",
    "1ms",
    "--cpu-units",
    "1",
    "--cpu-rounds",
    "1000",
];

/// The collector's binary.
pub(crate) fn collector() -> PathBuf {
    env!("CARGO_BIN_EXE_fleetmark-collector").into()
}

/// The agent's binary. cargo builds that of the package under test only, so this one is built here.
pub(crate) fn agent() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let path = BUILT.get_or_init(|| {
        let folder = collector().parent().unwrap().to_owned();
        let mut build = Command::new(env!("CARGO"));
        build.args([
            "build",
            "--quiet",
            "--package",
            "fleetmark-agent",
            "--bin",
            "fleetmark-agent",
        ]);
        build.args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
        build.arg("--target-dir").arg(folder.parent().unwrap());
        if folder.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "the agent does not build");
        folder.join("fleetmark-agent")
    });
    path.clone()
}

/// A command with nothing of the tester's own settings in its way.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("FLEETMARK_") {
            command.env_remove(name);
        }
    }
    command.env_remove("COLUMNS").env_remove("STATE_DIRECTORY");
    command
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    /// Without warnings.
    pub(crate) stderr: String,
    /// What a run was warned of: a build with checks, as these tests use, and a busy host, as tests make.
    pub(crate) warnings: String,
}

impl Done {
    /// The result as JSON, of a command that went well.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Done {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    let (warnings, stderr) =
        said.split_inclusive('\n').partition(|line| line.starts_with("warning: "));
    Done {
        code: status.code().unwrap_or(-1),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr,
        warnings,
    }
}

/// A collector that serves on a free port.
pub(crate) struct Serving {
    child: Child,
    log: mpsc::Receiver<String>,
    pub(crate) url: String,
}

impl Serving {
    pub(crate) fn start(store: &str) -> Self {
        Self::start_as(command(&collector()), store)
    }

    /// The same, of a program that begins like this.
    pub(crate) fn start_as(program: Command, store: &str) -> Self {
        Self::begin(program, store).listening()
    }

    /// The same, which may take long to listen.
    pub(crate) fn begin(mut program: Command, store: &str) -> Self {
        Self::spawn(program.args(["serve", "--listen", "127.0.0.1:0", "--store", store]))
    }

    /// One that is told all it needs.
    pub(crate) fn spawn(program: &mut Command) -> Self {
        let mut child = program.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let (sender, log) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { child, log, url: String::new() }
    }

    /// The next line of its log.
    pub(crate) fn says(&self) -> String {
        self.log.recv_timeout(Duration::from_secs(30)).unwrap()
    }

    /// Waits until it says where it listens.
    pub(crate) fn listening(mut self) -> Self {
        loop {
            if let Some((_, place)) = self.says().split_once("listening on ") {
                let address = place.split(',').next().unwrap();
                self.url = format!("http://{address}");
                return self;
            }
        }
    }

    /// Asks the only child of what was started to stop, where that is a tool around the collector.
    pub(crate) fn stop_child(mut self, signal: Signal) {
        let parent = self.child.id();
        let children =
            fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
        let child = Pid::from_raw(children.trim().parse().unwrap()).unwrap();
        kill_process(child, signal).unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Asks the collector to stop; returns how it ended and the rest of its log.
    pub(crate) fn stop(mut self, signal: Signal) -> (ExitStatus, Vec<String>) {
        kill_process(self.pid(), signal).unwrap();
        let status = self.child.wait().unwrap();
        (status, self.log.iter().collect())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says loudly that a test was skipped, as a tool is missing. Where `.ci/run` has installed it, that is a failure.
pub(crate) fn skip(tool: &str, installed_by_ci: bool) {
    let ci = env::var_os("CI").is_some_and(|ci| ci == "true");
    assert!(!(ci && installed_by_ci), "{tool} is missing, though .ci/run installs it");
    eprintln!("SKIPPED: {tool} is missing");
}

/// Whether a tool is there.
pub(crate) fn has(tool: &str) -> bool {
    Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Stands between two sides, hands on what they say, and counts connections.
pub(crate) struct Relay {
    /// Where it is reached.
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Relay {
    /// Starts one on a free port of this address of this host, which ends with the process.
    pub(crate) fn start(at: &str, to: SocketAddr) -> Self {
        let listener = TcpListener::bind((at, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        thread::spawn(move || {
            for here in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::Relaxed);
                let Ok(there) = TcpStream::connect(to) else { continue };
                for (from, into) in [(&here, &there), (&there, &here)] {
                    let (mut from, mut into) =
                        (from.try_clone().unwrap(), into.try_clone().unwrap());
                    thread::spawn(move || {
                        let _ = io::copy(&mut from, &mut into);
                        let _ = into.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        Self { address, connections }
    }

    /// How many it has taken.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}
