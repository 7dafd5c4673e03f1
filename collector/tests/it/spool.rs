//! What is not delivered yet: how it waits, how it is shown, and what becomes of records that cannot be sent.

use std::{fs, net::TcpListener, path::Path, time::Duration};

use fleetmark_agent::spool::{Bounds, Spool};
use fleetmark_proto::{
    convert::{self, Encoded},
    id::ReportId,
};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Done, Serving, TINY, agent, collector, command, has, run, skip};

/// A report as version 1 of the contract encoded it.
const REPORT: &[u8] = include_bytes!("../../../proto/tests/golden/report-v1.bin");

fn spool_in(state: &Path) -> Spool {
    Spool::open(&state.join("agent/spool"), Bounds::default()).unwrap()
}

/// A valid report of today.
fn report() -> Encoded {
    let mut report = convert::decode(REPORT).unwrap();
    report.id = ReportId::now();
    report.started_at = jiff::Timestamp::now();
    report.ended_at = report.started_at + Duration::from_secs(9);
    Encoded::new(&report)
}

fn put(state: &Path, encoded: &Encoded) {
    spool_in(state).reserve().unwrap().commit(encoded).unwrap();
}

/// `spool` with these words.
fn spool(state: &Path, words: &[&str]) -> Done {
    run(command(&agent()).arg("spool").args(words).arg("--state-dir").arg(state))
}

fn measure(state: &Path, url: &str, words: &[&str]) -> Done {
    let mut measure = command(&agent());
    measure.args(["run", "--format", "json", "--collector", url]).args(TINY).args(words);
    run(measure.arg("--state-dir").arg(state))
}

/// The URL of a collector that is not there.
fn nobody() -> String {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    format!("http://{free}")
}

#[test]
fn a_report_waits_for_its_collector() {
    let folder = tempfile::tempdir().unwrap();
    let done = measure(folder.path(), &nobody(), &[]);
    assert_eq!(done.code, 0, "{done:?}");
    let said = "not delivered yet, and kept in the spool: no collector answers at";
    assert!(done.stderr.starts_with(said), "{done:?}");
    assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    let id = report["report_id"].as_str().unwrap();

    let list = spool(folder.path(), &["list", "--format", "json"]).json();
    assert_eq!(list[0]["report_id"], id);
    assert_eq!(list[0]["state"], "waiting");
    assert!(list[0]["bytes"].as_u64() > Some(500), "{list}");
    for (format, line) in
        [("table", id), ("csv", "report_id,made_at,bytes,state"), ("markdown", "| ")]
    {
        let file = folder.path().join(format);
        let output = file.to_str().unwrap();
        let listed = spool(folder.path(), &["list", "--format", format, "--output", output]);
        assert_eq!((listed.code, listed.stdout.as_str()), (0, ""), "{listed:?}");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(id) && text.contains(line), "{text}");
    }
    let refused = spool(folder.path(), &["flush", "--collector", &nobody(), "--max-time", "1s"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("1 left: no collector answers at"), "{refused:?}");

    let store = format!("sqlite:{}", folder.path().join("fleet.db").display());
    let serving = Serving::start(&store);
    let both = format!("{},{}", nobody(), serving.url);
    let next = measure(folder.path(), &both, &[]);
    assert_eq!(next.code, 0, "{next:?}");
    assert_eq!(next.stderr.matches("stored by the collector").count(), 2, "{next:?}");
    assert_eq!(spool(folder.path(), &["list", "-f", "json"]).json(), json!([]));
    serving.stop(Signal::TERM);
    let export =
        run(command(&collector()).args(["export", "--reports", "-f", "json", "--store", &store]))
            .json();
    assert_eq!(export.as_array().unwrap().len(), 2);
}

#[test]
fn a_full_spool_refuses_a_run_before_it_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), &report());
    let done = measure(folder.path(), &nobody(), &["--spool-files", "1"]);
    assert_eq!((done.code, done.stdout.as_str()), (1, ""), "{done:?}");
    assert!(done.stderr.starts_with("error: the spool in "), "{done:?}");
    assert!(done.stderr.contains(" is full: 1 waiting, 0 in quarantine"), "{done:?}");
    assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
    let done = measure(folder.path(), &nobody(), &["--spool-bytes", "2MiB"]);
    assert_eq!(done.code, 0, "there is room for one more: {done:?}");
}

#[test]
fn what_no_collector_takes_is_set_aside_and_can_be_acted_on() {
    let folder = tempfile::tempdir().unwrap();
    let [kept, damaged] = [report(), report()];
    put(folder.path(), &kept);
    put(folder.path(), &damaged);
    let place = folder.path().join(format!("agent/spool/{}.report", damaged.id));
    let mut bytes = fs::read(&place).unwrap();
    bytes[100] ^= 1;
    fs::write(&place, bytes).unwrap();
    spool_in(folder.path()).quarantine(kept.id, "host.id is not allowed here").unwrap();

    let store = format!("sqlite:{}", folder.path().join("fleet.db").display());
    let serving = Serving::start(&store);
    let flush = || spool(folder.path(), &["flush", "--collector", &serving.url]);
    let flushed = flush();
    assert_eq!(flushed.code, 1, "{flushed:?}");
    assert!(flushed.stderr.contains("0 delivered, 1 moved to quarantine"), "{flushed:?}");
    let aside = spool(folder.path(), &["quarantine", "-f", "json"]).json();
    let reason = |id: &ReportId| {
        let is = |record: &&Value| record["report_id"] == json!(id.to_string());
        aside.as_array().unwrap().iter().find(is).unwrap()["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(reason(&kept.id), "host.id is not allowed here");
    assert!(reason(&damaged.id).contains("another SHA-256"), "{aside}");

    let unknown = ReportId::now().to_string();
    let refused = spool(folder.path(), &["quarantine", "--requeue", &unknown]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("there is no report"), "{refused:?}");
    let requeued = spool(folder.path(), &["quarantine", "--requeue", &kept.id.to_string()]);
    assert_eq!(requeued.code, 0, "{requeued:?}");
    let flushed = flush();
    assert_eq!(flushed.code, 0, "{flushed:?}");
    assert!(flushed.stderr.contains("1 delivered, 0 moved to quarantine, nothing left"));
    let discarded = spool(folder.path(), &["quarantine", "--discard", "all"]);
    assert_eq!(discarded.code, 0, "{discarded:?}");
    assert_eq!(spool(folder.path(), &["quarantine", "-f", "json"]).json(), json!([]));
    assert!(serving.stop(Signal::TERM).0.success());
}

#[test]
fn records_of_another_version_are_kept_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let [foreign, ours] = [report(), report()];
    put(folder.path(), &foreign);
    let place = folder.path().join(format!("agent/spool/{}.report", foreign.id));
    let mut bytes = fs::read(&place).unwrap();
    bytes[8..12].copy_from_slice(&2u32.to_le_bytes());
    bytes[12..16].copy_from_slice(&(!2u32).to_le_bytes());
    fs::write(&place, &bytes).unwrap();
    put(folder.path(), &ours);
    let store = format!("sqlite:{}", folder.path().join("fleet.db").display());
    let serving = Serving::start(&store);
    let flushed = spool(folder.path(), &["flush", "--collector", &serving.url]);
    assert!(flushed.stderr.contains("another version"), "{flushed:?}");
    let said = "1 delivered, 0 moved to quarantine, 1 left for another version of the agent";
    assert!(flushed.stderr.contains(said), "{flushed:?}");
    assert_eq!(flushed.code, 1, "{flushed:?}");
    assert!(serving.stop(Signal::TERM).0.success());
    let list = spool(folder.path(), &["list", "-f", "json"]).json();
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(list[0]["state"], "of another version");
    assert_eq!(fs::read(&place).unwrap(), bytes, "not a byte was touched");
}

#[test]
fn state_and_collectors_that_cannot_be_are_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let (state, url) = (folder.path(), nobody());
    let bad_list = format!("{url},collector:7600");
    for (state, words, code, says) in [
        (state, &["daemon"][..], 2, "no collector is named"),
        (state, &["daemon", "--collector", &bad_list], 2, "invalid value 'collector:7600'"),
        (state, &["daemon", "--collector", "http://192.0.2.1"], 2, "plaintext needs --insecure"),
        (state, &["daemon", "--collector", &url, "--jitter", "1s"], 2, "--every"),
        (state, &["daemon", "--collector", &url, "--window", "night"], 2, "must be such as"),
        (state, &["daemon", "--collector", &url, "--max-pressure", "0"], 2, "at most 1"),
        (state, &["daemon", "--collector", &url, "--budget", "10"], 2, "must be CPU time a day"),
        (state, &["daemon", "--collector", &url, "--spool-bytes", "1KiB"], 2, "at least 2MiB"),
        (state, &["spool"], 2, "requires a subcommand"),
        (state, &["spool", "flush"], 2, "no collector is named"),
        (&file, &["daemon", "--collector", &url], 1, "choose another folder with --state-dir"),
        (&file, &["run", "--collector", &url], 1, "choose another folder with --state-dir"),
    ] {
        let done = run(command(&agent()).args(words).arg("--state-dir").arg(state));
        assert_eq!(done.code, code, "{words:?}: {done:?}");
        assert!(done.stderr.contains(says), "{words:?}: {done:?}");
        assert_eq!(done.stderr.lines().count(), 1, "{words:?}: {done:?}");
    }
    assert_eq!(spool(state, &["flush", "--collector", &url]).code, 0, "there is nothing to do");
    assert_eq!(spool(state, &["list", "-f", "json"]).json(), json!([]));
    assert!(!state.join("agent").exists(), "reading makes no spool");
}

/// Changes a byte of what waits.
fn damage(state: &Path, id: ReportId) {
    let place = state.join(format!("agent/spool/{id}.report"));
    let mut bytes = fs::read(&place).unwrap();
    bytes[100] ^= 1;
    fs::write(&place, bytes).unwrap();
}

#[test]
fn a_damaged_record_costs_only_itself() {
    let folder = tempfile::tempdir().unwrap();
    let reports = [report(), report(), report()];
    for report in &reports {
        put(folder.path(), report);
    }
    let spool_folder = spool_in(folder.path()).folder().to_owned();
    fs::write(spool_folder.join(format!("{}.report", reports[1].id)), "torn").unwrap();
    let list = || spool(folder.path(), &["list", "-f", "json"]).json().as_array().unwrap().clone();
    assert_eq!(list().len(), 3);

    // In quarantine, the first in the order of names is damaged.
    damage(folder.path(), reports[0].id);
    for report in &reports {
        spool_in(folder.path()).quarantine(report.id, "it was odd").unwrap();
    }
    let requeued = spool(folder.path(), &["quarantine", "--requeue", "all"]);
    assert_eq!(requeued.code, 1, "{requeued:?}");
    assert_eq!(requeued.stderr.matches(" cannot be delivered: ").count(), 2, "{requeued:?}");
    let again = format!("{} waits to be delivered again", reports[2].id);
    assert!(requeued.stderr.contains(&again), "{requeued:?}");
    assert_eq!(list().len(), 1);
}

#[test]
fn a_limit_on_the_size_of_files_is_a_full_disk() {
    if !has("prlimit") {
        return skip("prlimit", false);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut limited = command("prlimit".as_ref());
    limited.args(["--fsize=262144", "--"]).arg(agent());
    limited.args(["run", "--collector", &nobody(), "--state-dir"]).arg(folder.path());
    let refused = run(limited.args(TINY));
    assert_eq!((refused.code, refused.stdout.as_str()), (1, ""), "{refused:?}");
    assert!(refused.stderr.starts_with("error: the disk of the spool in "), "{refused:?}");
    assert!(refused.stderr.contains("File too large"), "{refused:?}");
}
