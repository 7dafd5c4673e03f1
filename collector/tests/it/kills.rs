//! Nothing is lost, whoever is killed: agents and collector get SIGKILL at random moments while reports flow.
//!
//! `FLEETMARK_KILL_CYCLES=1000 cargo test -p fleetmark-collector --test it kills -- --nocapture` kills a thousand times.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::{BufRead as _, BufReader},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use fleetmark_proto::{convert, id::Digest};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{TINY, agent, collector, command, run};

/// Kills in the usual suite.
const CYCLES: u64 = 50;

/// What agents said of reports: their ids, with the digest where the report was said to be in the spool.
#[derive(Debug, Default)]
struct Said {
    measured: BTreeSet<String>,
    done: BTreeMap<String, String>,
}

impl Said {
    /// `measured report ID, …` and then, once it counts as done, `report ID is in the spool (SHA-256 …)`.
    fn hear(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("measured report ") {
            self.measured.insert(rest[..36].to_owned());
        }
        if let Some((id, digest)) = line
            .strip_prefix("report ")
            .and_then(|rest| rest.split_once(" is in the spool (SHA-256 "))
        {
            self.done.insert(id.to_owned(), digest.trim_end_matches(')').to_owned());
        }
    }
}

/// A process that is killed and started again.
struct Victim {
    start: Box<dyn Fn() -> Child>,
    child: Child,
    reader: Option<JoinHandle<()>>,
    said: Arc<Mutex<Said>>,
}

impl Victim {
    fn new(said: &Arc<Mutex<Said>>, start: impl Fn() -> Child + 'static) -> Self {
        let child = start();
        let mut victim =
            Self { start: Box::new(start), child, reader: None, said: Arc::clone(said) };
        victim.listen();
        victim
    }

    fn listen(&mut self) {
        let stderr = self.child.stderr.take().unwrap();
        let said = Arc::clone(&self.said);
        self.reader = Some(thread::spawn(move || {
            // The last line of a killed process may be cut off in the middle; then it was not said.
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                said.lock().unwrap().hear(&line);
            }
        }));
    }

    fn end(&mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
    }

    fn kill_and_start(&mut self) {
        self.end(Signal::KILL);
        self.child = (self.start)();
        self.listen();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start_collector(store: PathBuf, port: u16) -> impl Fn() -> Child {
    move || {
        let mut serve = command(&collector());
        serve.arg("serve").args(["--listen", &format!("127.0.0.1:{port}")]);
        serve.arg("--store").arg(format!("sqlite:{}", store.display()));
        serve.stderr(Stdio::piped()).spawn().unwrap()
    }
}

fn start_agent(state: PathBuf, host: &'static str, port: u16) -> impl Fn() -> Child {
    move || {
        let mut daemon = command(&agent());
        daemon.args(["daemon", "--collector", &format!("http://127.0.0.1:{port}")]).args(TINY);
        daemon.args([
            "--host-id",
            host,
            "--every",
            "1ms",
            "--max-pressure",
            "1",
            "--budget",
            "24h",
        ]);
        daemon.arg("--state-dir").arg(&state).stderr(Stdio::piped()).spawn().unwrap()
    }
}

#[test]
fn whoever_is_killed_every_report_is_stored_once_and_no_other_is() {
    let cycles = env::var("FLEETMARK_KILL_CYCLES").map_or(CYCLES, |text| text.parse().unwrap());
    let seed = u64::from(std::process::id());
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("fleet.db");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let said = Arc::default();
    let states = ["first", "second"].map(|host| folder.path().join(host));
    let mut victims = [
        Victim::new(&said, start_collector(store.clone(), port)),
        Victim::new(&said, start_agent(states[0].clone(), "first", port)),
        Victim::new(&said, start_agent(states[1].clone(), "second", port)),
    ];
    let begin = Instant::now();
    for _ in 0..cycles {
        thread::sleep(Duration::from_millis(random.random_range(0..400)));
        let victim = random.random_range(0..victims.len());
        victims[victim].kill_and_start();
    }
    for agent in &mut victims[1..] {
        agent.end(Signal::TERM);
    }
    await_collector(port);
    for state in &states {
        empty(state, port);
    }
    victims[0].end(Signal::TERM);
    let said = said.lock().unwrap();
    let stored = stored(&store);
    eprintln!(
        "{cycles} kills in {:.0} s, seed {seed}: {} reports measured, {} said to be done, {} stored",
        begin.elapsed().as_secs_f64(),
        said.measured.len(),
        said.done.len(),
        stored.len()
    );
    assert!(said.done.len() > 3, "reports flowed");
    for (id, digest) in &said.done {
        assert_eq!(stored.get(id), Some(digest), "{id} was said to be done");
    }
    for id in stored.keys() {
        assert!(said.measured.contains(id), "{id} was never measured");
    }
}

fn await_collector(port: u16) {
    let until = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "the collector does not come back");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Delivers what is left; then nothing may be, neither waiting nor set aside.
fn empty(state: &Path, port: u16) {
    let spool = |words: &[&str]| {
        run(command(&agent()).arg("spool").args(words).arg("--state-dir").arg(state))
    };
    let flushed = spool(&["flush", "--collector", &format!("http://127.0.0.1:{port}")]);
    assert_eq!(flushed.code, 0, "{flushed:?}");
    for list in ["list", "quarantine"] {
        assert_eq!(spool(&[list, "-f", "json"]).json(), serde_json::json!([]), "{list}");
    }
    let left: Vec<_> = fs::read_dir(state.join("agent/spool"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().ends_with(".tmp"))
        .collect();
    assert!(left.is_empty(), "what dead agents began is cleared away: {left:?}");
}

/// Every stored report with its digest, which must be that of its bytes.
fn stored(store: &Path) -> BTreeMap<String, String> {
    let store = rusqlite::Connection::open(store).unwrap();
    let mut statement = store
        .prepare("SELECT run.report, receipt.sha256 FROM receipt LEFT JOIN run USING (report_id)")
        .unwrap();
    let rows = statement
        .query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?)))
        .unwrap();
    rows.map(|row| {
        let (bytes, sha256) = row.unwrap();
        let report = convert::decode(&bytes).unwrap();
        let digest = Digest::of(&bytes);
        assert_eq!(digest, Digest::from_bytes(&sha256).unwrap(), "{}", report.id);
        (report.id.to_string(), digest.to_string())
    })
    .collect()
}
