//! A host that is revoked while it reports: within a minute it is nobody, on connections that are open too.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use fleetmark_agent::{
    args::AccessArgs,
    clock::Clock,
    credentials::Folder,
    delivery::{self, Connection, Keyring},
};
use fleetmark_collector::simulate;
use fleetmark_proto::{
    convert::Encoded,
    v1::{SubmitRequest, ingest_client::IngestClient},
};
use jiff::Timestamp;
use rustix::process::Signal;
use tokio::runtime::Runtime;
use tonic::{Code, Status};

use crate::{
    daemon::Daemon,
    joining::Fleet,
    support::{Relay, agent, command},
};

/// How soon a revocation has to act.
const PROMISED: Duration = Duration::from_secs(60);

/// A connection that a host keeps open, and reports over.
struct Open {
    runtime: Runtime,
    connection: Connection,
    load: simulate::Fleet,
    relay: Relay,
}

impl Open {
    fn of(fleet: &Fleet, host: &str) -> Self {
        let address = fleet.serving.url.strip_prefix("https://").unwrap();
        let relay = Relay::start("127.0.0.1", address.parse().unwrap());
        let folder = Folder::of(&fleet.state(host));
        let credentials = folder.read().unwrap().unwrap();
        let kept = Some((folder, credentials));
        let access = Keyring::new(AccessArgs::default(), kept, Clock::of_host()).access().unwrap();
        let url = format!("https://{}", relay.address).parse().unwrap();
        let runtime = Runtime::new().unwrap();
        let connection = runtime.block_on(delivery::connect(&url, &access)).unwrap();
        let name = host.strip_suffix("-0").unwrap();
        Self { runtime, connection, load: simulate::Fleet::new(name, 1, 7).unwrap(), relay }
    }

    /// Sends another report.
    fn report(&mut self) -> Result<(), Status> {
        let envelope = Encoded::new(&self.load.report(Timestamp::now())).into_envelope();
        let request = SubmitRequest { reports: vec![envelope], sent_at: None };
        let mut client = IngestClient::new(self.connection.channel());
        self.runtime.block_on(client.submit(request)).map(drop)
    }
}

/// How many reports of each host are stored.
fn stored(fleet: &Fleet) -> BTreeMap<String, usize> {
    let runs = fleet.collector(&["export", "--reports", "--format", "json"]).json();
    let mut counts = BTreeMap::new();
    for run in runs.as_array().unwrap() {
        *counts.entry(run["host"]["id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    counts
}

#[test]
fn a_host_that_is_revoked_is_nobody_within_a_minute_on_open_connections_too() {
    let fleet = Fleet::new();
    let mut daemons = Vec::new();
    for host in ["lost-0", "kept-0"] {
        let joined = fleet.enroll(host, &fleet.token(&[]), &["--host-id", host]);
        assert_eq!(joined.code, 0, "{joined:?}");
        let words = ["--every", "1s", "--jitter", "10ms", "--budget", "1h"];
        let url = &fleet.serving.url;
        let mut daemon = Daemon::start(command(&agent()), &fleet.state(host), url, &words);
        daemon.says(": stored by the collector at https://");
        daemons.push(daemon);
    }
    let mut open = Open::of(&fleet, "lost-0");
    open.report().unwrap();

    let revoked = fleet.collector(&["agent", "revoke", "lost-0"]);
    assert_eq!(revoked.code, 0, "{revoked:?}");
    let until = Instant::now() + PROMISED;
    let refused = loop {
        match open.report() {
            Err(refused) => break refused,
            Ok(()) => assert!(Instant::now() < until, "it still reports"),
        }
        thread::sleep(Duration::from_millis(200));
    };
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    assert!(refused.message().contains("host lost-0 was revoked"), "{refused:?}");
    assert_eq!(open.relay.connections(), 1, "it was the connection from before");
    let said = daemons[0].says("cannot deliver: ");
    assert!(said.contains("host lost-0 was revoked"), "{said}");

    let before = stored(&fleet);
    let until = Instant::now() + PROMISED;
    let after = loop {
        open.report().unwrap_err();
        let after = stored(&fleet);
        if after["kept-0"] >= before["kept-0"] + 2 {
            break after;
        }
        assert!(Instant::now() < until, "the other host does not go on: {before:?} {after:?}");
    };
    assert_eq!(before["lost-0"], after["lost-0"], "nothing more of it is stored");
    drop(daemons);
    let waiting = fleet.agent("lost-0", &["spool", "list", "--format", "json"]).json();
    assert!(!waiting.as_array().unwrap().is_empty(), "its reports stay with it");

    let audit = fleet.collector(&["audit", "--format", "json"]).json();
    let told = |event: &str, who: &str, detail: &str| {
        audit.as_array().unwrap().iter().any(|line| {
            let has = |field: &str, part: &str| line[field].as_str().unwrap().contains(part);
            line["event"] == event && has("who", who) && has("detail", detail)
        })
    };
    assert!(told("agent-revoked", "user ", "lost-0"), "{audit}");
    assert!(told("refused", "agent lost-0", "Ingest/Submit: host lost-0 was revoked"), "{audit}");
    assert!(!told("refused", "agent kept-0", ""), "{audit}");
    let (_, log) = fleet.serving.stop(Signal::TERM);
    let log = log.join("\n");
    let says = "refused agent lost-0 at 127.0.0.1: Ingest/Submit: host lost-0 was revoked";
    assert!(log.contains(says), "{log}");
}
