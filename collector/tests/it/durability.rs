//! A report is on the disk before anybody says so: the agent before the run counts as done, the collector before it says
//! `stored`. Seen with strace on the real binaries.

use std::{fs, path::Path};

use rustix::process::Signal;

use crate::support::{Done, Serving, TINY, agent, collector, command, has, run, skip};

/// Calls that put things on the disk, name them, or tell of them.
const CALLS: &str =
    "trace=fsync,fdatasync,rename,renameat,renameat2,write,pwrite64,writev,sendto,sendmsg";

/// Whether a test may trace here; says so loudly if not.
fn may_trace() -> bool {
    if !has("strace") {
        skip("strace", true);
        return false;
    }
    if run(command("strace".as_ref()).args(["-o", "/dev/null", "true"])).code != 0 {
        skip("the right to trace a process", false);
        return false;
    }
    true
}

/// The lines of a trace with calls that came to an end, each at its end.
fn ended(trace: &Path) -> Vec<String> {
    let text = fs::read_to_string(trace).unwrap();
    let mut begun: Vec<(String, String)> = Vec::new();
    let mut lines = Vec::new();
    for line in text.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some(begin) = call.strip_suffix(" <unfinished ...>") {
            begun.push((thread.to_owned(), begin.to_owned()));
        } else if let Some((_, rest)) =
            call.strip_prefix("<... ").and_then(|call| call.split_once(" resumed>"))
        {
            let index = begun.iter().rposition(|(of, _)| of == thread).unwrap();
            lines.push(begun.remove(index).1 + rest);
        } else {
            lines.push(call.to_owned());
        }
    }
    lines
}

/// Where in the trace, from there on, the first call lies that is meant.
fn find(lines: &[String], from: usize, what: &str, is: impl Fn(&str) -> bool) -> usize {
    let found = lines.iter().skip(from).position(|line| is(line));
    from + found.unwrap_or_else(|| panic!("no {what} in {:#?}", &lines[from..]))
}

fn deliver(mut program: std::process::Command, folder: &Path, url: &str) -> Done {
    program.args(["run", "--host-id", "traced", "--collector", url, "-f", "json"]).args(TINY);
    run(program.arg("--state-dir").arg(folder))
}

#[test]
fn a_run_is_done_when_its_report_is_on_the_disk() {
    if !may_trace() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let mut traced = command("strace".as_ref());
    traced.args(["-f", "-y", "-s", "64", "-e", CALLS, "-o"]).arg(&trace).arg(agent());
    let done = deliver(traced, folder.path(), "http://127.0.0.1:9");
    assert_eq!(done.code, 0, "{done:?}");
    let lines = ended(&trace);
    let spool = folder.path().join("agent/spool").display().to_string();
    let written = find(&lines, 0, "fsync of the file", |line| {
        line.starts_with("fsync(") && line.contains(&spool) && line.contains(".tmp>)")
    });
    let named = find(&lines, written, "rename", |line| {
        line.starts_with("rename") && line.contains(".report\"")
    });
    let kept = find(&lines, named, "fsync of the folder", |line| {
        line.starts_with("fsync(") && line.contains(&format!("{spool}>)"))
    });
    let told = find(&lines, 0, "result on standard output", |line| {
        line.starts_with("write(1<") && line.contains("fleetmark.report/1")
    });
    assert!(kept < told, "{lines:#?}");
}

#[test]
fn stored_is_said_after_the_commit_is_on_the_disk() {
    if !may_trace() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let store = folder.path().join("fleet.db");
    let mut traced = command("strace".as_ref());
    // All bytes in hexadecimal, as the answer carries the id of the report.
    traced.args(["-f", "-y", "-xx", "-s", "65536", "-e", CALLS, "-o"]).arg(&trace).arg(collector());
    let serving = Serving::start_as(traced, &format!("sqlite:{}", store.display()));
    let done = deliver(command(&agent()), folder.path(), &serving.url);
    assert_eq!(done.code, 0, "{done:?}");
    serving.stop_child(Signal::TERM);

    let report: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    let id = report["report_id"].as_str().unwrap().replace('-', "");
    let bytes: Vec<&str> = (0..id.len()).step_by(2).map(|at| &id[at..at + 2]).collect();
    let id: String = bytes.iter().map(|byte| format!("\\x{byte}")).collect();
    let lines = ended(&trace);
    let is_sync = |line: &str| line.starts_with("fsync(") || line.starts_with("fdatasync(");
    // `-xx` writes names in hexadecimal as well.
    let wal: String = "fleet.db-wal".bytes().map(|byte| format!("\\x{byte:02x}")).collect();
    let logged = find(&lines, 0, "write of the report to the log", |line| {
        line.contains(&id) && (line.contains(&wal) || line.contains("fleet.db-wal"))
    });
    let synced = find(&lines, logged, "sync of the log", |line| {
        is_sync(line) && (line.contains(&wal) || line.contains("fleet.db-wal"))
    });
    let answered = find(&lines, 0, "answer", |line| {
        line.contains(&id) && !line.contains(&wal) && !line.contains("fleet.db")
    });
    assert!(synced < answered, "synced at {synced}, answered at {answered}: {lines:#?}");
}
