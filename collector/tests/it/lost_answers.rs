//! A host that is stopped while it joins, or never hears the answer, joins with the same token once more.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::MetadataExt as _,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    joining::{Fleet, program},
    support::agent,
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Stands between agents and a collector, and keeps answers to itself while it is told to.
struct Between {
    address: SocketAddr,
    keeps: Arc<AtomicBool>,
}

impl Between {
    fn and(collector: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let keeps = Arc::new(AtomicBool::new(true));
        let kept = Arc::clone(&keeps);
        // It ends with the test.
        thread::spawn(move || {
            for agent in listener.incoming() {
                let Ok(agent) = agent else { continue };
                let collector = TcpStream::connect(collector).unwrap();
                relay(&agent, &collector, kept.load(Ordering::SeqCst));
            }
        });
        Self { address, keeps }
    }
}

/// Passes on what one says to the other. Whoever keeps answers lets the collector's part of the handshake through, and nothing that
/// comes after the agent has spoken again: its request is among that.
fn relay(agent: &TcpStream, collector: &TcpStream, keeps: bool) {
    let has_answered = Arc::new(AtomicBool::new(false));
    let is_over = Arc::new(AtomicBool::new(false));
    let (answered, over) = (Arc::clone(&has_answered), Arc::clone(&is_over));
    pass(agent, collector, move |_| {
        if keeps && answered.load(Ordering::SeqCst) {
            over.store(true, Ordering::SeqCst);
        }
        true
    });
    pass(collector, agent, move |_| {
        has_answered.store(true, Ordering::SeqCst);
        !is_over.load(Ordering::SeqCst)
    });
}

/// Passes bytes on for as long as there are any, but for those that `may` says no to.
fn pass(from: &TcpStream, to: &TcpStream, may: impl Fn(&[u8]) -> bool + Send + 'static) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    thread::spawn(move || {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            if may(&bytes[..read]) && to.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}

fn list(fleet: &Fleet, words: &[&str]) -> Vec<Value> {
    let listed = fleet.collector(&[words, &["--format", "json"]].concat());
    // Of nothing it is an empty list, and another code.
    serde_json::from_str(&listed.stdout).unwrap()
}

#[test]
fn a_host_that_was_killed_before_it_heard_the_answer_joins_with_the_same_token() {
    let fleet = Fleet::new();
    let address = fleet.serving.url.trim_start_matches("https://").parse().unwrap();
    let between = Between::and(address);
    let endpoint = format!("https://{}", between.address);
    let create = ["token", "create", "--format", "json", "--endpoint", &endpoint];
    let token = fleet.collector(&create).json()["token"].as_str().unwrap().to_owned();
    let file = fleet.folder.path().join("token");
    fs::write(&file, format!("{token}\n")).unwrap();
    let enroll = || {
        let mut enroll = program(&agent(), &fleet.state("one"));
        enroll.args(["enroll", "--host-id", "web-1", "--token-file"]).arg(&file);
        enroll.stdout(Stdio::null()).stderr(Stdio::piped());
        enroll
    };

    let mut killed = enroll().spawn().unwrap();
    let begun = Instant::now();
    while list(&fleet, &["agent", "list"]).is_empty() {
        assert!(begun.elapsed() < PATIENCE, "the request never came");
        assert!(killed.try_wait().unwrap().is_none(), "it heard something");
        thread::sleep(Duration::from_millis(50));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let kept = fleet.state("one").join("agent/credentials");
    assert!(!kept.join("credentials.json").exists(), "it has no certificate");
    assert_eq!(fs::metadata(kept.join("joining.json")).unwrap().mode() & 0o777, 0o600);

    between.keeps.store(false, Ordering::SeqCst);
    let other = fleet.enroll("two", &token, &["--host-id", "web-2"]);
    assert_eq!(other.code, 1, "the token is used up for others: {other:?}");
    let thief = fleet.enroll("two", &token, &["--host-id", "web-1"]);
    assert_eq!(thief.code, 1, "and for who has another key: {thief:?}");
    let again = enroll().output().unwrap();
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(again.status.success(), "{said}");
    assert!(said.contains(" as web-1; its certificate counts until "), "{said}");
    assert!(!kept.join("joining.json").exists());
    let measured = fleet.measure("one", &[]);
    assert!(measured.stderr.contains(": stored by the collector at https://"), "{measured:?}");
    let tokens = list(&fleet, &["token", "list"]);
    assert_eq!((tokens.len(), &tokens[0]["used"]), (1, &Value::from(1)));
    let joined: Vec<_> = list(&fleet, &["audit"])
        .into_iter()
        .filter(|line| line["who"] == "agent web-1")
        .map(|line| line["event"].clone())
        .collect();
    assert_eq!(joined, ["enrolled"], "it is one joining");
}
