//! A disk that is full while a collector commits.

use std::{fs, path::Path, process::Command};

use fleetmark_collector::{
    load::{Answer, Batch, Fleet, Link},
    store::{self, Mode},
};

use crate::support::{Serving, skip};

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
    let (status, log) = serving.stop(rustix::process::Signal::TERM);
    assert!(status.success(), "{log:?}");
    let told = log.iter().filter(|line| line.contains("nothing can be stored")).count();
    assert!((1..5).contains(&told), "the operator is told, and not flooded: {log:?}");
}
