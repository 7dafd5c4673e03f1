//! Old runs are removed while a collector serves from the same file.

use std::{path::Path, time::Duration};

use fleetmark_collector::{
    load::{Answer, Batch, Link},
    simulate::Fleet,
};
use fleetmark_proto::convert::Encoded;
use jiff::Timestamp;

use crate::support::{Done, Serving, collector, command, run};

fn run_collector(folder: &Path, words: &[&str]) -> Done {
    run(command(&collector()).args(words).arg("--state-dir").arg(folder).current_dir(folder))
}

/// A batch of runs that ended so many days ago.
fn ended(name: &str, days: u64, runs: usize) -> Batch {
    let mut fleet = Fleet::new(name, 2, 1).unwrap();
    let at = Timestamp::now() - Duration::from_secs(days * 86_400);
    Batch::new((0..runs).map(|_| Encoded::new(&fleet.report(at))))
}

#[test]
fn old_runs_go_and_do_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("fleet.db").display());
    let serving = Serving::start(&store);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let link = runtime.block_on(Link::open(&serving.url.parse().unwrap())).unwrap();
    let submit = |batch: &Batch| runtime.block_on(link.submit(batch));
    let (old, young) = (ended("old", 100, 120), ended("young", 80, 3));
    for batch in [&old, &young] {
        let stored = batch.reports();
        assert_eq!(submit(batch), Answer::Answered { stored, duplicate: 0, other: 0 });
    }

    let prune = |words: &[&str]| {
        let mut prune = vec!["prune", "--keep", "90d", "--store", &store];
        prune.extend(words);
        run_collector(folder.path(), &prune)
    };
    let told = prune(&["--dry-run", "--format", "json"]).json();
    assert_eq!((&told["dry_run"], &told["removed"]["runs"]), (&true.into(), &120.into()));
    let told = prune(&["--dry-run"]).stdout;
    assert!(told.starts_with("would be removed\n"), "{told}");
    let done = prune(&["--format", "csv"]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
    let lines: Vec<&str> = done.stdout.lines().collect();
    assert_eq!(lines[0], "what,before,rows");
    assert!(lines[1].starts_with("runs,") && lines[1].ends_with("Z,120"), "{lines:?}");
    assert!(lines[2].starts_with("keys,") && lines[2].ends_with("Z,0"), "{lines:?}");
    assert!(lines[3].starts_with("audit,") && lines[3].ends_with("Z,0"), "{lines:?}");
    let again = prune(&["--format", "json"]).json();
    assert_eq!(again["removed"], serde_json::json!({ "runs": 0, "keys": 0, "audit": 0 }));

    let again = submit(&old);
    assert_eq!(again, Answer::Answered { stored: 0, duplicate: 120, other: 0 });
    let hosts = run_collector(folder.path(), &["hosts", "--store", &store, "-f", "json"]).json();
    let ids: Vec<&str> =
        hosts.as_array().unwrap().iter().map(|host| host["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["young-0", "young-1"]);
}

#[test]
fn prune_refuses_what_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    for (words, code, says) in [
        (&["prune"][..], 2, "--keep"),
        (&["prune", "--keep", "0s"], 2, "must be longer than 0"),
        (&["prune", "--keep", "all"], 2, "must be a duration"),
        (&["prune", "--keep", "90d"], 1, "there is no store at"),
        (&["prune", "--keep", "90d", "--dry-run"], 1, "there is no store at"),
    ] {
        let done = run_collector(folder.path(), words);
        assert_eq!(done.code, code, "{words:?} {done:?}");
        assert!(done.stderr.contains(says), "{words:?} {done:?}");
    }
    assert!(!folder.path().join("fleetmark.db").exists(), "it never makes a store");
}
