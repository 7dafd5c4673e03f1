//! The agent that stays: when it measures, what holds it back, how it ends, and what the service manager hears of it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    full_disk::Small,
    support::{Serving, TINY, agent, collector, command, has, run, skip},
};

/// Nobody listens on the discard port of this host.
const NOBODY: &str = "http://127.0.0.1:9";
/// How long anything here is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon, and what it says.
pub(crate) struct Daemon {
    child: Child,
    log: mpsc::Receiver<String>,
    heard: Vec<String>,
}

impl Daemon {
    /// Starts one with tiny workloads; any pressure will do, as tests make some.
    pub(crate) fn start(
        mut program: Command,
        state: &Path,
        collector: &str,
        words: &[&str],
    ) -> Self {
        program.args(["daemon", "--collector", collector]).args(words);
        for pair in TINY.chunks(2).filter(|pair| !words.contains(&pair[0])) {
            program.args(pair);
        }
        if !words.contains(&"--max-pressure") {
            program.args(["--max-pressure", "1"]);
        }
        let mut child =
            program.arg("--state-dir").arg(state).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let (sender, log) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { child, log, heard: Vec::new() }
    }

    /// Waits until it says something with these words in it.
    pub(crate) fn says(&mut self, words: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.log.recv_timeout(left).unwrap_or_else(|_| {
                panic!("it never said {words:?}: {:#?}", self.heard);
            });
            self.heard.push(line.clone());
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Waits until samples are taken; returns the process that takes them.
    fn is_measuring(&mut self) -> u32 {
        self.says("measuring: ");
        measuring_child(self.child.id())
    }

    fn tell(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks it to end; returns how it did, and all that it ever said.
    pub(crate) fn end(mut self) -> (ExitStatus, Vec<String>) {
        self.tell(Signal::TERM);
        let status = self.child.wait().unwrap();
        let mut heard = std::mem::take(&mut self.heard);
        heard.extend(self.log.iter());
        (status, heard)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until this process has samples taken; returns the process that takes them.
pub(crate) fn measuring_child(parent: u32) -> u32 {
    let until = Instant::now() + PATIENCE;
    loop {
        let tasks = fs::read_dir(format!("/proc/{parent}/task")).unwrap();
        let children =
            tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("children")).ok());
        let mut children = children
            .flat_map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        if let Some(child) = children.next() {
            // From here to its first sample it takes milliseconds.
            thread::sleep(Duration::from_secs(1));
            return child.parse().unwrap();
        }
        assert!(Instant::now() < until, "it starts no measuring process");
        thread::sleep(Duration::from_millis(5));
    }
}

fn waiting(state: &Path) -> Vec<Value> {
    let list =
        run(command(&agent()).args(["spool", "list", "-f", "json", "--state-dir"]).arg(state));
    list.json().as_array().unwrap().clone()
}

fn started(lines: &[String]) -> usize {
    lines.iter().filter(|line| line.starts_with("measuring: ")).count()
}

#[test]
fn a_host_is_measured_once_and_again_when_it_has_changed() {
    if !has("taskset") {
        return skip("taskset", true);
    }
    let folder = tempfile::tempdir().unwrap();
    let start = |cpus: &str| {
        let mut pinned = command("taskset".as_ref());
        pinned.args(["-c", cpus]).arg(agent());
        Daemon::start(pinned, folder.path(), NOBODY, &[])
    };
    let mut first = start("0");
    assert!(first.says("measuring: ").contains("not measured yet"));
    first.says(" is in the spool (SHA-256");
    let (status, heard) = first.end();
    assert!(status.success(), "{heard:?}");
    assert_eq!(waiting(folder.path()).len(), 1);

    let mut second = start("0");
    second.says("watching this host");
    // It looks at once, and looking takes milliseconds; the collector that is not there is found missing after that.
    second.says("cannot deliver");
    assert_eq!(started(&second.end().1), 0, "nothing has changed");

    let mut third = start("0,1");
    let why = third.says("measuring: ");
    assert!(why.ends_with("changed since the last run: profile"), "{why}");
    third.says(" is in the spool (SHA-256");
    drop(third);
    assert_eq!(waiting(folder.path()).len(), 2);
}

#[test]
fn a_run_that_is_broken_off_is_a_partial_report_in_no_median() {
    let folder = tempfile::tempdir().unwrap();
    // Rounds enough for minutes.
    let long = ["--rounds", "10000", "--wait", "50ms"];
    let mut daemon = Daemon::start(command(&agent()), folder.path(), NOBODY, &long);
    daemon.is_measuring();
    let (status, heard) = daemon.end();
    assert!(status.success(), "{heard:?}");
    let told = heard.iter().any(|line| line.contains("ended early: the daemon was told"));
    assert!(told, "{heard:?}");
    let [report] = &waiting(folder.path())[..] else { panic!("one report") };

    let store = format!("sqlite:{}", folder.path().join("fleet.db").display());
    let serving = Serving::start(&store);
    let mut flush = command(&agent());
    flush.args(["spool", "flush", "--collector", &serving.url, "--state-dir"]).arg(folder.path());
    let flushed = run(&mut flush);
    assert_eq!(flushed.code, 0, "{flushed:?}");
    assert_eq!(waiting(folder.path()).len(), 0);
    serving.stop(Signal::TERM);

    let read = |words: &[&str]| {
        run(command(&collector()).args(words).args(["-f", "json", "--store", &store])).json()
    };
    let export = read(&["export"]);
    assert_eq!(export[0]["report_id"], report["report_id"]);
    assert!(export[0]["partial"].as_str().unwrap().contains("told to end"), "{export}");
    let view = read(&["report", "--include-suspect"]);
    let cells = view["profiles"][0]["cells"].as_array().unwrap();
    assert!(cells.iter().all(|cell| cell["median_ns"].is_null()), "{view}");
    assert_eq!(view["profiles"][0]["partial_runs"], 1, "{view}");

    // And the host counts as not measured.
    let mut again = Daemon::start(command(&agent()), folder.path(), NOBODY, &[]);
    assert!(again.says("measuring: ").contains("not measured yet"));
}

#[test]
fn a_pause_file_holds_a_run_back_and_ends_one() {
    let folder = tempfile::tempdir().unwrap();
    let pause = folder.path().join("pause");
    fs::write(&pause, "").unwrap();
    let long = ["--rounds", "10000", "--wait", "50ms"];
    let mut daemon = Daemon::start(command(&agent()), folder.path(), NOBODY, &long);
    let held = daemon.says("not measuring yet");
    assert!(held.contains("pause is there; remove it to go on"), "{held}");
    fs::remove_file(&pause).unwrap();
    daemon.is_measuring();
    fs::write(&pause, "").unwrap();
    let ended = daemon.says("ended early: ");
    assert!(ended.contains("pause is there"), "{ended}");
}

#[test]
fn windows_budget_and_a_full_spool_hold_a_run_back() {
    let yesterday = {
        let day =
            jiff::Timestamp::now().to_zoned_datetime(jiff::tz::TimeZone::UTC).weekday().previous();
        format!("{day:?}").to_lowercase()[..3].to_owned()
    };
    let window = format!("{yesterday} 00:00-00:01");
    for (words, says) in [
        (&["--window", &window][..], "outside of --window"),
        (&["--budget", "1ms", "--rounds", "500"], "allows 1.00 ms a day: raise it"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut daemon = Daemon::start(command(&agent()), folder.path(), NOBODY, words);
        let held = daemon.says("not measuring yet");
        assert!(held.contains(says), "{held}");
        assert_eq!(waiting(folder.path()).len(), 0);
    }
    let folder = tempfile::tempdir().unwrap();
    let words = ["--every", "1s", "--jitter", "10ms", "--spool-files", "2"];
    let mut daemon = Daemon::start(command(&agent()), folder.path(), NOBODY, &words);
    let held = daemon.says("not measuring yet (it is time, by --every)");
    assert!(held.contains("2 waiting"), "{held}");
    assert_eq!(started(&daemon.end().1), 2, "a full spool is found before measuring");
    assert_eq!(waiting(folder.path()).len(), 2);
}

#[test]
fn a_busy_host_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    // More threads than there are CPUs: the kernel's pressure, or the busy CPUs, show it.
    let cpus = thread::available_parallelism().unwrap().get();
    let mut burners: Vec<Child> = (0..2 * cpus)
        .map(|_| Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap())
        .collect();
    thread::sleep(Duration::from_secs(3));
    let words = ["--max-pressure", "0.2"];
    let mut daemon = Daemon::start(command(&agent()), folder.path(), NOBODY, &words);
    let held = daemon.says("not measuring yet");
    for burner in &mut burners {
        burner.kill().unwrap();
        burner.wait().unwrap();
    }
    assert!(held.contains("more than the 20% of --max-pressure"), "{held}");
}

/// Listens as a service manager until it hears this.
fn hear(socket: &UnixDatagram, heard: &mut Vec<String>, wanted: &str) {
    let mut buffer = [0; 4096];
    while heard.last().is_none_or(|last| !last.contains(wanted)) {
        let length = socket.recv(&mut buffer).unwrap();
        heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
    }
}

#[test]
fn the_service_manager_hears_of_a_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut program = command(&agent());
    program.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    // Long enough for pings between samples.
    let words = ["--rounds", "10000", "--wait", "50ms"];
    let daemon = Daemon::start(program, folder.path(), NOBODY, &words);
    let mut heard = Vec::new();
    let mut hear = |wanted: &str| hear(&socket, &mut heard, wanted);
    hear("READY=1");
    hear("STATUS=measuring");
    hear("WATCHDOG=1");
    daemon.tell(Signal::TERM);
    hear("STOPPING=1");
    assert!(daemon.end().0.success());
}

#[test]
fn the_measuring_child_dies_first_and_with_its_parent() {
    let folder = tempfile::tempdir().unwrap();
    let long = ["--rounds", "10000", "--wait", "200ms"];
    let mut daemon = Daemon::start(command(&agent()), folder.path(), NOBODY, &long);
    let child = daemon.is_measuring();
    let score = fs::read_to_string(format!("/proc/{child}/oom_score_adj")).unwrap();
    assert_eq!(score.trim(), "1000");
    let until = Instant::now() + PATIENCE;
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    let gone = || {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        // A zombie that nobody has waited for yet is as dead.
        stat.is_empty() || stat.contains(") Z ")
    };
    while !gone() {
        assert!(Instant::now() < until, "the child outlived its parent");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn two_daemons_share_a_state_folder() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("fleet.db").display());
    let serving = Serving::start(&store);
    let start = |host: &str| {
        let words = ["--host-id", host, "--every", "1s"];
        Daemon::start(command(&agent()), folder.path(), &serving.url, &words)
    };
    let mut daemons = [start("first"), start("second")];
    for daemon in &mut daemons {
        daemon.says(" is in the spool (SHA-256");
        daemon.says(" is in the spool (SHA-256");
    }
    let measured: usize = daemons
        .into_iter()
        .map(|daemon| {
            let (status, heard) = daemon.end();
            assert!(status.success(), "{heard:?}");
            heard.iter().filter(|line| line.contains(" is in the spool (SHA-256")).count()
        })
        .sum();
    let mut flush = command(&agent());
    flush.args(["spool", "flush", "--collector", &serving.url, "--state-dir"]).arg(folder.path());
    assert_eq!(run(&mut flush).code, 0);
    serving.stop(Signal::TERM);
    let export =
        run(command(&collector()).args(["export", "-f", "json", "--store", &store])).json();
    assert_eq!(export.as_array().unwrap().len(), measured, "each report once");
}

#[test]
fn two_daemons_of_one_host_measure_it_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let words = ["--host-id", "one", "--rounds", "60", "--wait", "50ms"];
    let mut first = Daemon::start(command(&agent()), folder.path(), NOBODY, &words);
    first.says("measuring: ");
    let mut program = command(&agent());
    program.env("NOTIFY_SOCKET", &path);
    let mut second = Daemon::start(program, folder.path(), NOBODY, &words);
    second.says("another run goes on with this state folder");
    first.says(" is in the spool (SHA-256");
    let mut heard = Vec::new();
    let mut hear = |wanted: &str| hear(&socket, &mut heard, wanted);
    hear("STATUS=another run");
    hear("STATUS=idle");
    assert!(!heard.concat().contains("measuring\n"), "{heard:?}");
    assert_eq!(started(&second.end().1), 0, "the other has measured this host");
    assert_eq!(waiting(folder.path()).len(), 1);
}

#[test]
fn a_record_that_cannot_be_written_makes_no_run_follow_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("agent");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("measured"), "a file").unwrap();
    let mut daemon = Daemon::start(command(&agent()), folder.path(), NOBODY, &[]);
    daemon.says("cannot keep that this host is measured");
    // A tiny run takes less.
    thread::sleep(Duration::from_secs(3));
    assert_eq!(started(&daemon.end().1), 1);
}

#[test]
fn no_run_begins_whose_cpu_time_cannot_be_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("agent/cpu-today.json");
    fs::create_dir_all(&ledger).unwrap();
    let mut daemon = Daemon::start(command(&agent()), folder.path(), NOBODY, &[]);
    let held = daemon.says("not measuring yet");
    assert!(held.contains("the CPU time that runs use cannot be written down in"), "{held}");
    assert_eq!(waiting(folder.path()).len(), 0);
    fs::remove_dir(&ledger).unwrap();
    daemon.says(" is in the spool (SHA-256");
    let (_, heard) = daemon.end();
    assert_eq!(started(&heard), 1, "{heard:?}");
    let told = heard.iter().filter(|line| line.contains("not measuring yet")).count();
    assert_eq!(told, 1, "it is said once: {heard:?}");
}

#[test]
fn a_full_disk_holds_runs_back_and_costs_none_that_has_begun() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_small) = Small::mount(folder.path()) else {
        return skip("the right to mount a small file system", false);
    };
    // All that is left of two megabytes.
    let filler = folder.path().join("filler");
    let fill = || {
        let mut file = fs::File::options().create(true).append(true).open(&filler).unwrap();
        while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    };
    fill();
    let long = ["--rounds", "10000", "--wait", "50ms"];
    let state = folder.path().join("state");
    let cut = fs::File::options().write(true).open(&filler).unwrap();
    // Room for the folders, and not for a report.
    cut.set_len(cut.metadata().unwrap().len() - 64 * 1024).unwrap();
    drop(cut);
    let mut daemon = Daemon::start(command(&agent()), &state, NOBODY, &long);
    let held = daemon.says("not measuring yet");
    assert!(held.contains("the disk of the spool in "), "{held}");
    fs::remove_file(&filler).unwrap();
    daemon.is_measuring();
    fill();
    let (status, heard) = daemon.end();
    assert!(status.success(), "{heard:?}");
    let [report] = &waiting(&state)[..] else { panic!("one report: {heard:?}") };

    let elsewhere = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", elsewhere.path().join("fleet.db").display());
    let serving = Serving::start(&store);
    let mut flush = command(&agent());
    flush.args(["spool", "flush", "--collector", &serving.url, "--state-dir"]).arg(&state);
    let flushed = run(&mut flush);
    assert_eq!(flushed.code, 0, "{flushed:?}");
    assert!(flushed.stderr.contains(report["report_id"].as_str().unwrap()), "{flushed:?}");
    serving.stop(Signal::TERM);
}
