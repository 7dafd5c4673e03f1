//! A host joins a collector, reports as who it is, and is stopped by an operator.

use std::{
    fs,
    io::Write as _,
    os::unix::{fs::MetadataExt as _, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Done, Relay, Serving, TINY, agent, collector, command, run};

/// A collector that was made known, and the folders of two hosts.
pub(crate) struct Fleet {
    pub(crate) folder: TempDir,
    pub(crate) serving: Serving,
}

impl Fleet {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let init = ["init", "--name", "127.0.0.1", "--listen", "127.0.0.1:7600"];
        let made = run(program(&collector(), &folder.path().join("home")).args(init));
        assert_eq!(made.code, 0, "{made:?}");
        let serving = Self::serve(folder.path());
        Self { folder, serving }
    }

    fn serve(folder: &Path) -> Serving {
        let program = program(&collector(), &folder.join("home"));
        let mut serving = Serving::start_as(program, &Self::store(folder));
        serving.url = serving.url.replace("http:", "https:");
        serving
    }

    fn store(folder: &Path) -> String {
        format!("sqlite:{}", folder.join("store.db").display())
    }

    pub(crate) fn collector(&self, words: &[&str]) -> Done {
        let mut program = program(&collector(), &self.folder.path().join("home"));
        run(program.args(words).arg("--store").arg(Self::store(self.folder.path())))
    }

    pub(crate) fn token(&self, words: &[&str]) -> String {
        let create = ["token", "create", "--format", "json", "--endpoint", &self.serving.url];
        let made = self.collector(&[&create, words].concat()).json();
        made["token"].as_str().unwrap().to_owned()
    }

    pub(crate) fn state(&self, host: &str) -> PathBuf {
        self.folder.path().join(host)
    }

    pub(crate) fn agent(&self, host: &str, words: &[&str]) -> Done {
        run(program(&agent(), &self.state(host)).args(words))
    }

    pub(crate) fn measure(&self, host: &str, words: &[&str]) -> Done {
        let measure = [&["run", "--format", "json"], &TINY[..], words].concat();
        self.agent(host, &measure)
    }

    /// Joins with a token that comes by standard input.
    pub(crate) fn enroll(&self, host: &str, token: &str, words: &[&str]) -> Done {
        let file = self.folder.path().join("token");
        fs::write(&file, format!("{token}\n")).unwrap();
        let input = Stdio::from(fs::File::open(&file).unwrap());
        let mut program = program(&agent(), &self.state(host));
        run(program.args(["enroll", "--token-file", "-"]).args(words).stdin(input))
    }
}

pub(crate) fn program(path: &Path, state: &Path) -> Command {
    let mut program = command(path);
    program.arg("--state-dir").arg(state);
    program
}

pub(crate) fn refused(done: &Done, code: i32, says: &str) {
    assert_eq!(done.code, code, "{done:?}");
    assert!(done.stderr.contains(says), "expected {says:?}: {done:?}");
    assert_eq!(done.stderr.lines().count(), 1, "one line: {done:?}");
}

#[test]
fn a_host_joins_and_reports_as_who_it_is() {
    let fleet = Fleet::new();
    let token = fleet.token(&["--label", "rack=7", "--label", "env=prod"]);
    let joined = fleet.enroll("one", &token, &["--host-id", "web-1"]);
    assert_eq!(joined.code, 0, "{joined:?}");
    assert!(joined.stderr.starts_with("this host has joined https://127.0.0.1:"), "{joined:?}");
    assert!(joined.stderr.contains(" as web-1; its certificate counts until "), "{joined:?}");
    assert!(!joined.stderr.contains(&token[..16]), "{joined:?}");
    let kept = fleet.state("one").join("agent/credentials");
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode(&kept), mode(&kept.join("credentials.json"))), (0o700, 0o600));

    // No more flags are needed.
    let moved = fleet.measure("one", &["--label", "rack=8"]);
    refused(&moved, 2, "the collector says rack=7 of this host; leave --label rack=8 out");
    let done = fleet.measure("one", &["--label", "rack=7", "--label", "owner=ann"]);
    let report = done.json();
    assert_eq!(report["host"]["id"], "web-1");
    assert_eq!(report["labels"], json!({ "env": "prod", "owner": "ann", "rack": "7" }));
    assert!(done.stderr.contains(": stored by the collector at https://"), "{done:?}");
    let stored = fleet.collector(&["export", "--format", "json"]).json();
    let text = stored.to_string();
    assert!(text.contains("web-1") && text.contains("prod"), "{text}");

    refused(&fleet.measure("one", &["--host-id", "web-2"]), 2, "this host has joined as web-1");
    refused(&fleet.enroll("one", &token, &[]), 2, "--force joins again");
    refused(&fleet.enroll("two", &token, &[]), 1, "answers: this token is used up");
    let again = fleet.token(&["--replace-host", "web-1"]);
    let joined = fleet.enroll("one", &again, &["--force"]);
    assert!(joined.stderr.contains(" as web-1; "), "who joins again is who it was: {joined:?}");
    assert!(fleet.measure("one", &[]).stderr.contains(": stored by"), "{joined:?}");
}

#[test]
fn a_host_that_was_revoked_keeps_its_reports_and_joins_again_with_leave() {
    let mut fleet = Fleet::new();
    let joined = fleet.enroll("one", &fleet.token(&[]), &["--host-id", "web-1"]);
    assert_eq!(joined.code, 0, "{joined:?}");
    let (status, _) =
        std::mem::replace(&mut fleet.serving, Serving::start(&Fleet::store(fleet.folder.path())))
            .stop(Signal::TERM);
    assert!(status.success());
    let revoked = fleet.collector(&["agent", "revoke", "web-1"]);
    assert_eq!(revoked.code, 0, "{revoked:?}");
    fleet.serving = Fleet::serve(fleet.folder.path());
    let url = fleet.serving.url.clone();

    let done = fleet.measure("one", &["--collector", &url]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stderr.starts_with("not delivered yet, and kept in the spool: "), "{done:?}");
    assert!(done.stderr.contains("answers: host web-1 was revoked"), "{done:?}");
    assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
    let waiting = fleet.agent("one", &["spool", "list", "--format", "json"]).json();
    assert_eq!(waiting.as_array().map(Vec::len), Some(1), "{waiting}");

    let again = fleet.enroll("one", &fleet.token(&[]), &["--force"]);
    assert_eq!(again.code, 1, "without leave for this host: {again:?}");
    let joined = fleet.enroll("one", &fleet.token(&["--replace-host", "web-1"]), &["--force"]);
    assert_eq!(joined.code, 0, "{joined:?}");
    let flushed = fleet.agent("one", &["spool", "flush"]);
    assert!(flushed.stderr.contains("1 delivered"), "{flushed:?}");
}

#[test]
fn a_daemon_that_was_revoked_stays_and_measures_no_more() {
    let fleet = Fleet::new();
    let joined = fleet.enroll("one", &fleet.token(&[]), &["--host-id", "web-1"]);
    assert_eq!(joined.code, 0, "{joined:?}");
    let revoked = fleet.collector(&["agent", "revoke", "web-1"]);
    assert_eq!(revoked.code, 0, "{revoked:?}");
    let path = fleet.folder.path().join("manager");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let mut program = program(&agent(), &fleet.state("one"));
    program.args(["daemon", "--every", "1s", "--max-pressure", "1", "--budget", "1h"]).args(TINY);
    let log = fleet.folder.path().join("log");
    let stderr = fs::File::create(&log).unwrap();
    let mut daemon = program.env("NOTIFY_SOCKET", &path).stderr(stderr).spawn().unwrap();
    let mut message = [0; 4096];
    loop {
        let length = manager.recv(&mut message).unwrap();
        let said = String::from_utf8_lossy(&message[..length]);
        if said.starts_with("STATUS=the collector takes no reports of this host any more") {
            break;
        }
    }
    kill_process(Pid::from_child(&daemon), Signal::TERM).unwrap();
    assert!(daemon.wait().unwrap().success());
    let log = fs::read_to_string(&log).unwrap();
    let (_, after) = log.split_once("not measuring any more: ").unwrap();
    assert!(!after.contains("measuring: "), "{log}");
    let waiting = fleet.agent("one", &["spool", "list", "--format", "json"]).json();
    assert!(!waiting.as_array().unwrap().is_empty(), "what was measured is kept");
}

#[test]
fn what_speaks_otherwise_is_told_in_one_line() {
    let fleet = Fleet::new();
    let joined = fleet.enroll("one", &fleet.token(&[]), &[]);
    assert_eq!(joined.code, 0, "{joined:?}");
    let other = Fleet::new();
    let plain_store = format!("sqlite:{}", fleet.folder.path().join("plain.db").display());
    let plain = Serving::start(&plain_store);
    let as_plain = fleet.serving.url.replace("https:", "http:");
    let as_secure = plain.url.replace("http:", "https:");
    let misnamed = fleet.serving.url.replace("127.0.0.1", "127.0.0.2");
    assert_eq!(fleet.measure("one", &["--collector", "http://127.0.0.1:1"]).code, 0);
    for (url, says) in [
        (&as_plain, "if it speaks TLS, begin its URL with https:"),
        (&as_secure, "begin its URL with http:"),
        (&other.serving.url, "no authority signed which this host believes"),
        (&misnamed, "no collector answers at"),
    ] {
        let flush = ["spool", "flush", "--max-time", "1s", "--collector", url];
        refused(&fleet.agent("one", &flush), 1, says);
    }
    let waiting: Value = fleet.agent("one", &["spool", "list", "--format", "json"]).json();
    assert_eq!(waiting.as_array().map(Vec::len), Some(1), "{waiting}");
    let socket = fleet.folder.path().join("home/collector/collector.sock");
    let near = format!("unix:{}", socket.display());
    let flushed = fleet.agent("one", &["spool", "flush", "--collector", &near]);
    assert!(flushed.stderr.contains("1 delivered"), "{flushed:?}");
}

#[test]
fn two_hosts_race_for_the_last_use_of_a_token_and_one_joins() {
    let fleet = Fleet::new();
    for round in 0..4 {
        let token = fleet.token(&[]);
        let hosts = ["one", "two"].map(|name| format!("{name}-{round}"));
        // Both are there before either has the token.
        let mut racing = hosts.each_ref().map(|host| {
            let mut program = program(&agent(), &fleet.state(host));
            program.args(["enroll", "--token-file", "-", "--host-id", host]);
            program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            program.spawn().unwrap()
        });
        let inputs = racing.each_mut().map(|racing| racing.stdin.take().unwrap());
        for mut input in inputs {
            input.write_all(token.as_bytes()).unwrap();
        }
        let done = racing.map(|racing| racing.wait_with_output().unwrap());
        let said = |output: &Output| String::from_utf8(output.stderr.clone()).unwrap();
        let [winner, loser] = match done[0].status.success() {
            true => [0, 1],
            false => [1, 0],
        };
        assert_eq!(done[winner].status.code(), Some(0), "{done:?}");
        assert!(said(&done[winner]).starts_with("this host has joined https://"), "{done:?}");
        assert_eq!(done[loser].status.code(), Some(1), "{done:?}");
        let told = said(&done[loser]);
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(told.contains("answers: this token is used up"), "{told}");
        assert!(!fleet.state(&hosts[loser]).join("agent/credentials/credentials.json").exists());

        let audit = fleet.collector(&["audit", "--format", "json"]).json();
        let who = |index: usize| format!("agent {}", hosts[index]);
        let lines = |of: &dyn Fn(&Value) -> bool| {
            let lines = audit.as_array().unwrap().iter().filter(|line| of(line));
            lines.map(|line| line["event"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(lines(&|line| line["who"] == who(winner)), ["enrolled"], "{audit}");
        // Nobody has proved that it is the loser who was refused.
        let claim = format!("claims to be {}: this token is used up", who(loser));
        let is_refusal = |line: &Value| line["detail"].as_str().unwrap().starts_with(&claim);
        assert_eq!(lines(&is_refusal), ["refused"], "{audit}");
    }
    let joined = fleet.collector(&["agent", "list", "--format", "json"]).json();
    assert_eq!(joined.as_array().map(Vec::len), Some(4), "{joined}");
}

#[test]
fn a_collector_under_a_name_that_is_not_its_own_is_not_believed_and_both_sides_say_so() {
    let fleet = Fleet::new();
    let joined = fleet.enroll("one", &fleet.token(&[]), &["--host-id", "web-1"]);
    assert_eq!(joined.code, 0, "{joined:?}");
    // All of 127/8 is this host; the certificate is for the first address of it.
    let address = fleet.serving.url.strip_prefix("https://").unwrap();
    let relay = Relay::start("127.0.0.2", address.parse().unwrap());
    let misnamed = format!("https://{}", relay.address);
    let says = "shows a certificate for other names (";
    let done = fleet.measure("one", &["--collector", &misnamed]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stderr.starts_with("not delivered yet, and kept in the spool: "), "{done:?}");
    assert!(done.stderr.contains(says), "{done:?}");
    assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
    let flush = ["spool", "flush", "--max-time", "1s", "--collector", &misnamed];
    refused(&fleet.agent("one", &flush), 1, says);
    let token = fleet.collector(&["token", "create", "--endpoint", &misnamed]);
    assert_eq!(token.code, 0, "{token:?}");
    let stranger = fleet.enroll("two", token.stdout.trim(), &["--max-time", "1s"]);
    assert_eq!(stranger.code, 1, "{stranger:?}");
    assert!(stranger.stderr.contains(says), "{stranger:?}");
    assert!(relay.connections() >= 3);
    let hosts = fleet.collector(&["hosts"]);
    assert_eq!(hosts.code, 5, "nothing was stored: {hosts:?}");
    let (_, log) = fleet.serving.stop(Signal::TERM);
    let log = log.join("\n");
    assert!(log.contains("no TLS with 127.0.0.1:"), "{log}");
    assert!(log.contains("it does not trust this collector's certificate: "), "{log}");
}
