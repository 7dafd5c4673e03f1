//! What a spool does on a day when nothing goes wrong.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;

#[test]
fn a_report_waits_until_it_is_taken_out() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join("agent/spool");
    let spool = Spool::open(&folder, room_for(4)).unwrap();
    let (late, early) = (encoded(7, 300), encoded(3, 0));
    keep(&spool, &late);
    keep(&spool, &early);

    let again = Spool::open(&folder, room_for(4)).unwrap();
    assert_eq!(
        again.list().unwrap(),
        [
            Entry { id: early.id, bytes: 0, foreign: false },
            Entry { id: late.id, bytes: 300, foreign: false }
        ]
    );
    assert_eq!(again.fetch(late.id).unwrap(), Fetched::Report(late.clone()));
    assert_eq!(again.fetch(early.id).unwrap(), Fetched::Report(early.clone()));

    again.remove(&[late.id, id(9)]).unwrap();
    assert_eq!(spool.fetch(late.id).unwrap(), Fetched::Gone);
    assert_eq!(waiting(&spool), [early.id]);
    again.remove(&[early.id]).unwrap();
    assert_eq!(spool.usage().unwrap(), Usage::default());
}

#[test]
fn a_report_in_quarantine_has_a_reason_and_can_come_back() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), room_for(4)).unwrap();
    let report = encoded(1, 100);
    keep(&spool, &report);
    let before = spool.usage().unwrap();
    spool.quarantine(report.id, "host.id must not be empty").unwrap();
    spool.quarantine(report.id, "another agent was faster").unwrap();
    assert_eq!(spool.list().unwrap(), []);
    assert_eq!(spool.fetch(report.id).unwrap(), Fetched::Gone);
    let aside = Quarantined {
        name: format!("{}.report", report.id),
        id: Some(report.id),
        bytes: 100,
        reason: "host.id must not be empty".to_owned(),
    };
    assert_eq!(spool.quarantined().unwrap(), std::slice::from_ref(&aside));
    let usage = spool.usage().unwrap();
    assert_eq!(usage, Usage { waiting: 0, quarantined: 1, ..before });

    assert!(spool.requeue(report.id).unwrap());
    assert!(!spool.requeue(report.id).unwrap());
    assert_eq!(spool.usage().unwrap(), before);
    assert_eq!(spool.fetch(report.id).unwrap(), Fetched::Report(report.clone()));

    spool.quarantine(report.id, "again").unwrap();
    assert!(!spool.discard("../lock").unwrap());
    assert!(!spool.discard("nothing.report").unwrap());
    assert!(spool.discard(&aside.name).unwrap());
    assert!(!spool.discard(&aside.name).unwrap());
    assert_eq!(spool.usage().unwrap(), Usage::default());
}

#[test]
fn a_long_reason_is_shortened() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), room_for(4)).unwrap();
    keep(&spool, &encoded(1, 10));
    let reason = "ä".repeat(5_000);
    spool.quarantine(id(1), &reason).unwrap();
    let kept = spool.quarantined().unwrap().remove(0).reason;
    assert!(kept.len() <= record::REASON_BYTES && kept.len() > record::REASON_BYTES - 4);
    assert!(reason.starts_with(kept.strip_suffix(" …").unwrap()));
}

#[test]
fn who_only_reads_makes_nothing() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join("agent/spool");
    assert!(Spool::open_existing(&folder, Bounds::default()).unwrap().is_none());
    assert!(!state.path().join("agent").exists());

    fs::create_dir_all(&folder).unwrap();
    let spool = Spool::open_existing(&folder, Bounds::default()).unwrap().unwrap();
    assert_eq!(spool.list().unwrap(), []);
    assert_eq!(spool.quarantined().unwrap(), []);
    assert_eq!(spool.usage().unwrap(), Usage::default());
    assert_eq!(spool.fetch(id(1)).unwrap(), Fetched::Gone);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn nobody_else_may_look() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join("agent/spool");
    let spool = Spool::open(&folder, room_for(4)).unwrap();
    let held = spool.reserve().unwrap();
    keep(&spool, &encoded(1, 10));
    keep(&spool, &encoded(2, 10));
    spool.quarantine(id(2), "why").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for folder in [&*folder, &folder.join("quarantine")] {
        assert_eq!(mode(folder), 0o700);
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                assert_eq!(mode(&entry.path()), 0o600, "{entry:?}");
            }
        }
    }
    drop(held);
}

#[test]
fn strangers_are_left_alone_and_not_counted() {
    let state = tempfile::tempdir().unwrap();
    let spool = Spool::open(state.path(), room_for(4)).unwrap();
    let strangers = ["notes.txt", ".report", "x.tmp", "quarantine/notes.txt"];
    for name in strangers {
        fs::write(state.path().join(name), "mine").unwrap();
    }
    fs::create_dir(state.path().join(record::file_name(id(5)))).unwrap();
    std::os::unix::fs::symlink("notes.txt", state.path().join(record::file_name(id(6)))).unwrap();
    let spool = Spool::open(state.path(), spool.bounds()).unwrap();
    drop(spool.reserve().unwrap());
    assert_eq!(spool.usage().unwrap(), Usage::default());
    assert_eq!((spool.list().unwrap(), spool.quarantined().unwrap()), (vec![], vec![]));
    assert_eq!(spool.fetch(id(5)).unwrap(), Fetched::Gone);
    assert_eq!(spool.fetch(id(6)).unwrap(), Fetched::Gone);
    for name in strangers {
        assert_eq!(fs::read_to_string(state.path().join(name)).unwrap(), "mine");
    }
}
