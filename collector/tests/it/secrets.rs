//! Tokens and keys are where they belong, and nowhere else: not in what is said of wrong usage, not in lists of processes, and
//! not in memory that others of the same user could read.

use std::{
    fs::{self, File, Permissions},
    net::TcpListener,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use fleetmark_proto::{
    id::Digest,
    secret::Secret,
    token::{BearerToken, JoinToken},
};
use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

use crate::support::{Done, Serving, TINY, agent, collector, command, has, run, skip};

const PATIENCE: Duration = Duration::from_secs(30);

/// A token of each kind, as they are typed. The first leads to a port of this host.
fn tokens(port: u16) -> [String; 2] {
    let secret = Secret::from_slice(&[7; 32]).unwrap();
    let join = JoinToken {
        endpoint: format!("https://127.0.0.1:{port}").parse().unwrap(),
        pin: Digest::of(b"key"),
        secret: secret.clone(),
    };
    [join.expose().to_string(), BearerToken { secret }.expose().to_string()]
}

fn shows_none(done: &Done, words: &[&str]) {
    let [join, bearer] = tokens(1);
    for token in [&join[5..20], &bearer[5..20]] {
        for said in [&done.stdout, &done.stderr, &done.warnings] {
            assert!(!said.contains(token), "{words:?}: {done:?}");
        }
    }
}

#[test]
fn a_token_that_is_typed_where_it_does_not_belong_is_not_repeated() {
    let [join, bearer] = tokens(1);
    let (join, bearer) = (join.as_str(), bearer.as_str());
    let folder = tempfile::tempdir().unwrap();
    let not_a_file = "this is a token, not a file";
    let (an_agent, a_collector) = (agent(), collector());
    for (program, words, says) in [
        (&an_agent, &["enroll", "--token-file", join][..], not_a_file),
        (&an_agent, &["enroll", join, join], "unexpected argument 'fmj1_…'"),
        (&an_agent, &["enroll", bearer], "a host joins with one that begins with fmj1_"),
        (&an_agent, &["enroll", "--tls-ca", join, "--token-file", join], not_a_file),
        (&an_agent, &["enroll", "--host-id", "a", "--tls-ca", join, join], "read fmj1_…: No such"),
        (&an_agent, &["run", join], "unexpected argument 'fmj1_…'"),
        (&an_agent, &["run", "--collector", bearer], "'fmb1_…'"),
        (&an_agent, &["run", "--bearer-token-file", bearer], not_a_file),
        (&an_agent, &[join], "unrecognized subcommand 'fmj1_…'"),
        (&an_agent, &["run", "--config", join], "fmj1_…: No such file"),
        (&a_collector, &["report", "--bearer-token-file", bearer], not_a_file),
        (&a_collector, &["report", "--server", bearer], "'fmb1_…'"),
        (&a_collector, &["report", bearer], "unexpected argument 'fmb1_…'"),
        (&a_collector, &["report", "--store", &format!("sqlite:{bearer}")], "fmb1_…"),
        (&a_collector, &["token", "revoke", join], "'fmj1_…'"),
        (&a_collector, &["token", join], "'fmj1_…'"),
    ] {
        let mut typed = command(program);
        let done = run(typed.args(words).arg("--state-dir").arg(folder.path()));
        assert_ne!(done.code, 0, "{words:?}: {done:?}");
        assert!(done.stderr.contains(says), "{words:?} without {says:?}: {done:?}");
        assert_eq!(done.stderr.lines().count(), 1, "{words:?}: {done:?}");
        shows_none(&done, words);
    }
}

#[test]
fn a_token_in_the_settings_or_a_variable_is_not_repeated() {
    let [join, bearer] = tokens(1);
    let folder = tempfile::tempdir().unwrap();
    for settings in [
        format!("[agent]\n\"{join}\" = 1\n"),
        format!("[agent]\ncollector = \"{bearer}\"\n"),
        format!("[agent]\nbearer-token-file = \"{bearer}\"\n"),
        format!("[agent]\nbearer-token-file = {bearer}\n"),
        format!("[{join}]\n"),
    ] {
        fs::write(folder.path().join("fleetmark.toml"), &settings).unwrap();
        let words = ["run", "--state-dir", folder.path().to_str().unwrap()];
        let done = run(command(&agent()).args(words));
        assert_eq!(done.code, 2, "{settings}: {done:?}");
        shows_none(&done, &words);
        let help = run(command(&agent()).args(words).arg("--help"));
        shows_none(&help, &words);
    }
    fs::remove_file(folder.path().join("fleetmark.toml")).unwrap();
    for name in ["COLLECTOR", "BEARER_TOKEN_FILE", "ROUNDS", "CONFIG"] {
        let mut set = command(&agent());
        set.env(format!("FLEETMARK_AGENT_{name}"), &bearer).arg("run");
        let done = run(set.arg("--state-dir").arg(folder.path()));
        assert_eq!(done.code, 2, "{name}: {done:?}");
        assert!(done.stderr.contains("fmb1_…"), "{name}: {done:?}");
        shows_none(&done, &[name]);
    }
    let serving = Serving::begin(command(&collector()), &format!("sqlite:/nonexistent/{join}"));
    let (_, log) = serving.stop(Signal::TERM);
    assert!(log.iter().all(|line| !line.contains(&join[5..20])), "{log:?}");
}

/// Binaries, and a folder for state, of somebody who is not root.
struct Ordinary {
    folder: TempDir,
    user: u32,
}

/// A process, which ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Ordinary {
    /// `None` if nobody can be one here.
    fn new() -> Option<Self> {
        if geteuid().is_root() && !has("setpriv") {
            skip("setpriv", true);
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        // The checkout may lie where nobody may look.
        for binary in [agent(), collector()] {
            fs::copy(&binary, folder.path().join(binary.file_name().unwrap())).unwrap();
        }
        let root = geteuid().is_root();
        // Another one than where threads are limited: a user's threads are counted together.
        let user = if root { 50_000 + std::process::id() % 10_000 } else { geteuid().as_raw() };
        Some(Self { folder, user })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program that is run as this user.
    fn program(&self, program: &str) -> Command {
        let mut begun = match geteuid().is_root() {
            true => command("setpriv".as_ref()),
            false => command("env".as_ref()),
        };
        if geteuid().is_root() {
            begun.args([&format!("--reuid={}", self.user), "--regid=65534", "--clear-groups"]);
        }
        begun.current_dir(self.folder.path()).env("HOME", self.folder.path());
        begun.arg(program);
        begun
    }

    fn agent(&self) -> Command {
        let mut agent = self.program("./fleetmark-agent");
        agent.arg("--state-dir").arg(self.path("agent"));
        agent
    }

    fn collector(&self) -> Command {
        let mut collector = self.program("./fleetmark-collector");
        collector.arg("--state-dir").arg(self.path("home"));
        collector
    }

    /// A collector of this user's that was set up, and an agent that joined it.
    fn joined(&self) -> Serving {
        let init = run(self.collector().args(["init", "--name", "localhost"]));
        assert_eq!(init.code, 0, "{init:?}");
        let store = format!("sqlite:{}", self.path("home/collector/fleetmark.db").display());
        let serving = Serving::start_as(self.collector(), &store);
        let endpoint = serving.url.replace("http:", "https:");
        let create = ["token", "create", "--output", "token", "--endpoint", &endpoint];
        let created = run(self.collector().args(create));
        assert_eq!(created.code, 0, "{created:?}");
        let enroll = ["enroll", "--token-file", "token", "--host-id", "web-1"];
        let joined = run(self.agent().args(enroll));
        assert_eq!(joined.code, 0, "{joined:?}");
        serving
    }

    /// Waits until a process is what was asked for and keeps its memory to itself.
    fn is_private(&self, pid: u32, what: &str) {
        let until = Instant::now() + PATIENCE;
        let of = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
        loop {
            // The tools that begin it are root's, and called otherwise.
            let is_begun = of("comm").starts_with("fleetmark-");
            let owner = fs::metadata(format!("/proc/{pid}/mem")).unwrap().uid();
            if is_begun && owner == 0 {
                break;
            }
            assert!(Instant::now() < until, "{what}: others of its user can read it");
            thread::sleep(Duration::from_millis(5));
        }
        let uid = of("status").lines().find_map(|line| line.strip_prefix("Uid:\t")).map(owned);
        assert!(uid.unwrap().starts_with(&self.user.to_string()), "{what}");
        for name in ["environ", "mem", "maps"] {
            let read = run(self.program("cat").arg(format!("/proc/{pid}/{name}")));
            assert!(read.stderr.contains("Permission denied"), "{what}, {name}: {read:?}");
        }
        let limits = of("limits");
        let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size"));
        let core: Vec<_> = core.unwrap().split_whitespace().take(2).collect();
        assert_eq!(core, ["0", "0"], "{what}");
    }

    fn start(&self, mut program: Command, words: &[&str]) -> Running {
        let quiet = program.args(words).stdout(Stdio::null()).stderr(Stdio::null());
        Running(quiet.stdin(Stdio::null()).spawn().unwrap())
    }
}

fn owned(text: &str) -> String {
    text.trim().to_owned()
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
}

#[test]
fn whoever_has_a_key_or_a_token_keeps_its_memory_to_itself() {
    let Some(ordinary) = Ordinary::new() else { return };
    let serving = ordinary.joined();
    ordinary.is_private(u32::try_from(serving.pid().as_raw_nonzero().get()).unwrap(), "serve");
    // Whoever speaks to it waits for ever.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let [join, bearer] = tokens(port);
    write(&ordinary.path("bearer"), &bearer);
    let server = format!("https://127.0.0.1:{port}");
    let ca = "home/collector/authority/ca.pem";
    let asking = ["--server", &server, "--tls-ca", ca, "--bearer-token-file", "bearer"];
    let long = ["--wait", "10s", "--deadline", "30s", "--scenario", "waiting"];
    let sending = ["--collector", &server, "--tls-ca", ca, "--bearer-token-file", "bearer"];
    let fifo = ordinary.path("fifo");
    let made = run(ordinary.program("mkfifo").arg(&fifo));
    assert_eq!(made.code, 0, "{made:?}");
    let not_joined = || {
        let mut agent = ordinary.program("./fleetmark-agent");
        agent.arg("--state-dir").arg(ordinary.path("other"));
        agent
    };
    for (program, words, what) in [
        (ordinary.agent(), [&["run"], &long[..]].concat(), "run"),
        (ordinary.agent(), vec!["daemon"], "daemon"),
        (not_joined(), [&["run"], &long[..], &sending].concat(), "run with a token"),
        (not_joined(), [&["daemon"], &sending[..]].concat(), "daemon with a token"),
        (not_joined(), vec!["enroll", &join], "enroll"),
        (ordinary.collector(), [&["report"], &asking[..]].concat(), "report"),
        (
            ordinary.collector(),
            [&["token", "create"], &asking[..]].concat(),
            "token by a collector",
        ),
        (ordinary.collector(), vec!["token", "create", "--output", "fifo"], "token create"),
    ] {
        let running = ordinary.start(program, &words);
        ordinary.is_private(running.0.id(), what);
    }
}

#[test]
fn keys_and_tokens_that_everybody_can_read_are_told_or_refused() {
    let place = tempfile::tempdir().unwrap();
    let state = place.path().to_str().unwrap();
    let [_, bearer] = tokens(1);
    let file = place.path().join("bearer");
    write(&file, &bearer);
    let nobody = ["--server", "http://127.0.0.1:9", "--state-dir", state, "--bearer-token-file"];
    let read = run(command(&collector()).arg("report").args(nobody).arg(&file));
    assert!(read.warnings.contains("everybody on this host can read"), "{read:?}");
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    let read = run(command(&collector()).arg("report").args(nobody).arg(&file));
    assert_eq!((read.code, read.warnings.as_str()), (1, ""), "{read:?}");

    let in_state =
        |words: &[&str]| run(command(&collector()).args(words).args(["--state-dir", state]));
    let init = in_state(&["init", "--name", "localhost"]);
    assert_eq!(init.code, 0, "{init:?}");
    for key in ["ca.key", "server.key"] {
        let key = place.path().join("collector/authority").join(key);
        fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
        for words in [&["serve"][..], &["token", "create"]] {
            let done = in_state(words);
            assert_eq!(done.code, 1, "{done:?}");
            assert!(done.stderr.contains("can be read or changed by everybody"), "{done:?}");
        }
        fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    }
    let agents = place.path().join("agent");
    fs::create_dir(&agents).unwrap();
    fs::set_permissions(&agents, Permissions::from_mode(0o755)).unwrap();
    let list = run(command(&agent()).args(["spool", "list", "--state-dir", state]));
    assert_eq!(list.code, 0, "{list:?}");
    assert_eq!(fs::metadata(&agents).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn an_ordinary_user_measures_as_much_when_its_memory_is_private() {
    let Some(ordinary) = Ordinary::new() else { return };
    let facts = |words: &[&str]| {
        let done = run(ordinary.agent().args(["run", "-f", "json"]).args(TINY).args(words));
        assert_eq!(done.code, 0, "{done:?}");
        let report = done.json();
        let evidence = report["evidence"].as_object().unwrap();
        let known =
            evidence.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name.clone());
        (report["facets"].clone(), report["workers"].clone(), known.collect::<Vec<_>>())
    };
    let before = facts(&["--host-id", "web-1"]);
    let _serving = ordinary.joined();
    assert_eq!(facts(&[]), before);
}

#[test]
fn a_token_from_a_file_or_standard_input_is_in_no_list_of_processes() {
    let folder = tempfile::tempdir().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let [join, _] = tokens(silent.local_addr().unwrap().port());
    let file = folder.path().join("token");
    fs::write(&file, &join).unwrap();
    for source in [file.to_str().unwrap(), "-"] {
        let mut enroll = command(&agent());
        enroll.args(["enroll", "--host-id", "a", "--token-file", source, "--state-dir"]);
        enroll.arg(folder.path()).stdin(File::open(&file).unwrap()).stderr(Stdio::null());
        let running = Running(enroll.spawn().unwrap());
        // It has the token once it calls.
        let _call = silent.accept().unwrap();
        for name in ["cmdline", "environ", "comm"] {
            let shown = fs::read(format!("/proc/{}/{name}", running.0.id())).unwrap();
            let shown = String::from_utf8_lossy(&shown);
            assert!(!shown.contains(&join[5..20]), "{name}: {shown}");
        }
    }
}
