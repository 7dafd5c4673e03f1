//! Agents of two profiles, one collector that is restarted in between, and a report that is checked against a computation
//! of its own.

use std::{collections::BTreeMap, process::Command};

use fleetmark_collector::store::{self, Mode};
use fleetmark_proto::{
    convert::Encoded,
    v1::{self, SubmitRequest, answer::Outcome, ingest_client::IngestClient},
};
use prost::Message as _;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{SMALL, Serving, agent, collector, command, has, run, skip};

#[test]
fn two_hosts_in_two_profiles() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("fleet.db").display());

    let first = Serving::start(&store);
    measure(command(&agent()), &first, folder.path(), "host-a");
    let (status, log) = first.stop(Signal::TERM);
    assert!(status.success(), "{log:?}");
    let last = log.last().unwrap();
    assert!(last.contains("stopped; reports: 1 stored, 0 duplicate"), "{log:?}");

    let second = Serving::start(&store);
    let mut profiles = 1;
    if has("taskset") {
        let mut pinned = command("taskset".as_ref());
        pinned.args(["-c", "0"]).arg(agent());
        measure(pinned, &second, folder.path(), "host-b");
        profiles = 2;
    } else {
        skip("taskset", true);
    }
    mangled_reports_are_answered_one_by_one(&second, &store);
    measure(command(&agent()), &second, folder.path(), "host-a");
    let (status, log) = second.stop(Signal::INT);
    assert!(status.success(), "{log:?}");

    let read =
        |arguments: &[&str]| run(command(&collector()).args(arguments).args(["--store", &store]));
    let view = read(&["report", "--include-suspect", "--format", "json"]).json();
    let found = view["profiles"].as_array().unwrap();
    assert_eq!(found.len(), profiles, "{view}");
    for profile in found {
        assert_eq!(profile["cells"].as_array().unwrap().len(), 11);
        assert_eq!(profile["verdicts"].as_array().unwrap().len(), 8);
        assert_eq!(profile["hosts"], 1);
    }
    let raw = read(&["export", "--format", "csv"]);
    assert_eq!(raw.code, 0, "{raw:?}");
    medians_are_right(found, &raw.stdout);

    let hosts = read(&["hosts", "--format", "json"]).json();
    let runs: Vec<_> = hosts
        .as_array()
        .unwrap()
        .iter()
        .map(|host| (host["id"].as_str().unwrap().to_owned(), host["runs"].as_u64().unwrap()))
        .collect();
    let expected = [("host-a".to_owned(), 2), ("host-b".to_owned(), 1)];
    assert_eq!(runs, expected[..profiles]);
    let listed = read(&["profiles", "--format", "json"]).json();
    assert_eq!(listed.as_array().unwrap().len(), profiles);
}

/// Has an agent measure and deliver.
fn measure(mut agent: Command, collector: &Serving, folder: &std::path::Path, host: &str) {
    agent.arg("run").args(SMALL).args(["--host-id", host, "--collector", &collector.url]);
    agent.arg("--state-dir").arg(folder.join(host));
    let done = run(&mut agent);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stderr.contains("stored by the collector"), "{done:?}");
}

/// A duplicate, a conflicting and an invalid report, in one batch.
fn mangled_reports_are_answered_one_by_one(collector: &Serving, store: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let kept = store::open(&store.parse().unwrap(), Mode::Read).await.unwrap();
        let report = kept.runs(None).await.unwrap().remove(0).report;
        let duplicate = Encoded::new(&report);
        let mut conflicting = report.clone();
        conflicting.seed ^= 1;
        let mut wire = v1::Report::decode(duplicate.bytes.as_slice()).unwrap();
        wire.cells[0].median_ns = Some(1);
        let bytes = wire.encode_to_vec();
        let digest = fleetmark_proto::id::Digest::of(&bytes);
        let invalid = Encoded { id: duplicate.id, digest, bytes };
        let reports = [duplicate, Encoded::new(&conflicting), invalid];
        let reports = reports.map(Encoded::into_envelope).into();
        let mut client = IngestClient::connect(collector.url.clone()).await.unwrap();
        let response =
            client.submit(SubmitRequest { reports, sent_at: None }).await.unwrap().into_inner();
        let outcomes: Vec<_> =
            response.answers.into_iter().map(|answer| answer.outcome.unwrap()).collect();
        assert!(
            matches!(
                &outcomes[..],
                [Outcome::Duplicate(_), Outcome::Conflict(_), Outcome::Rejected(rejected)]
                    if rejected.field == "cells[0].median_ns"
            ),
            "{outcomes:?}"
        );
    });
}

/// Computes each host's median of its newest run from the exported samples, the plain way, and compares.
fn medians_are_right(profiles: &[Value], csv: &str) {
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let mut newest: BTreeMap<[String; 3], (String, Vec<u64>)> = BTreeMap::new();
    for line in lines {
        let mut reader = Fields::new(line, &names);
        if reader.get("round") == "0" {
            continue;
        }
        let key = ["profile_id", "scenario", "spawner"].map(|name| reader.get(name));
        let report = reader.get("report_id");
        let entry = newest.entry(key).or_default();
        // Report ids are in the order of time.
        if entry.0 < report {
            *entry = (report, Vec::new());
        }
        entry.1.push(reader.get("sample_ns").parse().unwrap());
    }
    for profile in profiles {
        for cell in profile["cells"].as_array().unwrap() {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let key = [text(&profile["id"]), text(&cell["scenario"]), text(&cell["spawner"])];
            let (_, samples) = &newest[&key];
            let mut sorted = samples.clone();
            sorted.sort_unstable();
            assert_eq!(sorted.len(), 6);
            let median = (sorted[2] + sorted[3]) / 2;
            assert_eq!(cell["median_ns"].as_u64(), Some(median), "{key:?}");
            assert_eq!(cell["interval"]["low_ns"].as_u64(), Some(sorted[0]));
            assert_eq!(cell["interval"]["high_ns"].as_u64(), Some(sorted[5]));
            assert_eq!(cell["samples"], 6);
        }
    }
}

/// The fields of a line of CSV by their names.
struct Fields<'a> {
    values: BTreeMap<&'a str, String>,
}

impl<'a> Fields<'a> {
    fn new(line: &str, names: &[&'a str]) -> Self {
        let mut values = vec![String::new()];
        let mut is_quoted = false;
        for c in line.chars() {
            match c {
                // A quote within quotes is written twice; it ends them and begins them again.
                '"' => is_quoted = !is_quoted,
                ',' if !is_quoted => values.push(String::new()),
                c => values.last_mut().unwrap().push(c),
            }
        }
        assert_eq!(values.len(), names.len(), "{line}");
        Self { values: names.iter().copied().zip(values).collect() }
    }

    fn get(&mut self, name: &str) -> String {
        self.values[name].clone()
    }
}

#[test]
fn local_shows_this_host_and_again_with_two_runs() {
    let folder = tempfile::tempdir().unwrap();
    let local = |format: &str| {
        let mut local = command(&collector());
        local.arg("local").args(SMALL).args(["--host-id", "me", "--format", format]);
        local.arg("--state-dir").arg(folder.path()).current_dir(folder.path());
        run(&mut local)
    };
    let first = local("table");
    assert_eq!(first.code, 0, "{first:?}");
    for scenario in ["spawn-overhead: 20 units", "waiting: 20 units", "cpu-bound: 2 units"] {
        assert!(first.stdout.contains(scenario), "{first:?}");
    }
    let second = local("json").json();
    let profile = &second["profiles"][0];
    assert_eq!((profile["hosts"].as_u64(), profile["runs"].as_u64()), (Some(1), Some(2)));
    assert_eq!(profile["cells"].as_array().unwrap().len(), 11);
    assert!(folder.path().join("fleetmark.db").is_file(), "the default store");
}
