//! A disk that is full while a collector commits, or starts.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    process::Command,
    time::Duration,
};

use fleetmark_collector::{
    load::{Answer, Batch, Link},
    simulate::Fleet,
    store::{self, Mode},
};

use fleetmark_proto::convert::Encoded;
use jiff::Timestamp;
use rustix::process::{Resource, Rlimit, Signal, prlimit};

use crate::support::{Done, Serving, collector, command, has, run, skip};

/// A file system of two megabytes, gone with its value.
pub(crate) struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    pub(crate) fn mount(folder: &'a Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=2m", "fleetmark-test"]).arg(folder);
        let done = mount.output().ok()?;
        done.status.success().then_some(Self(folder))
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        // Processes that were killed may hold it a moment longer; lazily it goes with them.
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_small) = Small::mount(folder.path()) else {
        return skip("the right to mount a small file system", false);
    };
    let filler = folder.path().join("filler");
    fs::write(&filler, vec![0; 1 << 20]).unwrap();
    let url = format!("sqlite:{}", folder.path().join("fleet.db").display());
    let serving = Serving::start(&url);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let link = Link::open(&serving.url.parse().unwrap()).await.unwrap();
        let mut fleet = Fleet::new("sim", 3, 1).unwrap();
        let mut acknowledged = 0;
        let refused = loop {
            let batch = Batch::of(&mut fleet, 10);
            match link.submit(&batch).await {
                Answer::Answered { stored: 10, .. } => acknowledged += 10,
                Answer::Refused(come_again) => {
                    assert!(come_again.is_some(), "every refusal says when to come again");
                    break batch;
                }
                other => panic!("{other:?}"),
            }
            assert!(acknowledged < 10_000, "it is never full");
        };
        for _ in 0..3 {
            assert!(matches!(link.submit(&refused).await, Answer::Refused(Some(_))));
        }
        let stored = async || {
            let store = store::open(&url.parse().unwrap(), Mode::Read).await.unwrap();
            store.runs(None).await.unwrap().len()
        };
        assert_eq!(stored().await, acknowledged);

        fs::remove_file(&filler).unwrap();
        let answer = link.submit(&refused).await;
        let expected = Answer::Answered { stored: 10, duplicate: 0, other: 0 };
        assert_eq!(answer, expected, "it returns by itself when there is room");
        assert_eq!(stored().await, acknowledged + 10);
    });
    let (status, log) = serving.stop(Signal::TERM);
    assert!(status.success(), "{log:?}");
    let told = log.iter().filter(|line| line.contains("nothing can be stored")).count();
    assert!((1..5).contains(&told), "the operator is told, and not flooded: {log:?}");
}

#[test]
fn a_limit_on_the_size_of_files_is_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("fleet.db").display());
    let serving = Serving::start(&url);
    let limit = |bytes| {
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(Some(serving.pid()), Resource::Fsize, limit).unwrap();
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let link = runtime.block_on(Link::open(&serving.url.parse().unwrap())).unwrap();
    let submit = |batch: &Batch| runtime.block_on(link.submit(batch));
    let mut fleet = Fleet::new("sim", 3, 1).unwrap();
    let stored = Answer::Answered { stored: 10, duplicate: 0, other: 0 };
    assert_eq!(submit(&Batch::of(&mut fleet, 10)), stored);
    limit(Some(256 * 1024));
    let mut accepted = 1;
    let refused = loop {
        let batch = Batch::of(&mut fleet, 10);
        match submit(&batch) {
            Answer::Refused(come_again) => {
                assert!(come_again.is_some(), "every refusal says when to come again");
                break batch;
            }
            answer => assert_eq!(answer, stored),
        }
        accepted += 1;
        assert!(accepted < 1_000, "there is no limit");
    };
    assert!(matches!(submit(&refused), Answer::Refused(Some(_))));
    limit(None);
    assert_eq!(submit(&refused), stored, "it returns by itself");
    let (status, log) = serving.stop(Signal::TERM);
    assert!(status.success(), "{log:?}");
    let words = ["export", "--reports", "--format", "json", "--store", &url];
    let export = run(command(&collector()).args(words).arg("--state-dir").arg(folder.path()));
    assert_eq!(export.json().as_array().unwrap().len(), (accepted + 1) * 10);
}

#[test]
fn prune_under_a_limit_on_the_size_of_files_fails_and_says_so() {
    if !has("prlimit") {
        return skip("prlimit", true);
    }
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("fleet.db").display());
    let serving = Serving::start(&url);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let old = Timestamp::now() - Duration::from_secs(100 * 86_400);
    let mut fleet = Fleet::new("old", 2, 1).unwrap();
    let batch = Batch::new((0..100).map(|_| Encoded::new(&fleet.report(old))));
    let answer = runtime.block_on(async {
        Link::open(&serving.url.parse().unwrap()).await.unwrap().submit(&batch).await
    });
    assert_eq!(answer, Answer::Answered { stored: 100, duplicate: 0, other: 0 });
    assert!(serving.stop(Signal::TERM).0.success());
    let mut limited = command("prlimit".as_ref());
    limited.args(["--fsize=8192", "--"]).arg(collector());
    limited.args(["prune", "--keep", "90d", "--store", &url, "--state-dir"]).arg(folder.path());
    let done = run(&mut limited);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.starts_with("error: "), "{done:?}");
}

/// Writes to a file until there is no room.
fn fill(filler: &Path) {
    let mut file = File::create(filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
}

#[test]
fn a_collector_that_starts_on_a_full_disk_waits_for_room() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_small) = Small::mount(folder.path()) else {
        return skip("the right to mount a small file system", false);
    };
    let url = format!("sqlite:{}", folder.path().join("fleet.db").display());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let submit = |serving: &Serving, batch: &Batch| {
        runtime.block_on(async {
            Link::open(&serving.url.parse().unwrap()).await.unwrap().submit(batch).await
        })
    };
    let mut fleet = Fleet::new("old", 2, 1).unwrap();
    let old = Timestamp::now() - Duration::from_secs(100 * 86_400);
    let old = Batch::new((0..20).map(|_| Encoded::new(&fleet.report(old))));
    let stored = |stored| Answer::Answered { stored, duplicate: 0, other: 0 };
    let serving = Serving::start(&url);
    assert_eq!(submit(&serving, &old), stored(20));
    assert!(serving.stop(Signal::TERM).0.success());

    let prune = || -> Done {
        let words = ["prune", "--keep", "90d", "--format", "json", "--store", &url];
        run(command(&collector()).args(words).arg("--state-dir").arg(folder.path()))
    };
    let filler = folder.path().join("filler");
    fill(&filler);
    let stopped = Serving::begin(command(&collector()), &url);
    assert!(stopped.says().contains("nothing is served yet: the disk is full: "));
    let (status, log) = stopped.stop(Signal::TERM);
    assert!(status.success(), "{log:?}");
    assert!(log.iter().any(|line| line.contains("stopped before anything was served")), "{log:?}");
    let waiting = Serving::begin(command(&collector()), &url);
    assert!(waiting.says().contains("nothing is served yet: the disk is full: "));
    let refused = prune();
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("full"), "{refused:?}");

    // Less than a store needs to be opened for all that it does.
    let size = fs::metadata(&filler).unwrap().len();
    File::options().write(true).open(&filler).unwrap().set_len(size - 96 * 1024).unwrap();
    let pruned = prune().json();
    assert_eq!(pruned["removed"]["runs"], 20, "{pruned}");

    fs::remove_file(&filler).unwrap();
    let serving = waiting.listening();
    let again = submit(&serving, &old);
    assert_eq!(again, Answer::Answered { stored: 0, duplicate: 20, other: 0 });
    assert_eq!(submit(&serving, &Batch::of(&mut fleet, 3)), stored(3));
}
