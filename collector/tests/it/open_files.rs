//! A collector that runs out of files to open.

use std::{fs, net::TcpStream, thread, time::Duration};

use fleetmark_collector::{
    load::{Answer, Batch, Link},
    simulate::Fleet,
};
use rustix::process::{Resource, Rlimit, Signal, prlimit};

use crate::support::Serving;

/// CPU time that a process used, in hundredths of a second.
fn cpu_ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

#[test]
fn without_files_a_collector_waits_quietly_until_there_are_some() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("fleet.db").display());
    let serving = Serving::start(&store);
    let few = Rlimit { current: Some(30), maximum: Some(30) };
    prlimit(Some(serving.pid()), Resource::Nofile, few).unwrap();

    let address = serving.url.trim_start_matches("http://");
    let connections: Vec<TcpStream> =
        (0..60).map(|_| TcpStream::connect(address).unwrap()).collect();
    thread::sleep(Duration::from_millis(500));
    let before = cpu_ticks(serving.pid().as_raw_nonzero().get());
    thread::sleep(Duration::from_secs(1));
    let used = cpu_ticks(serving.pid().as_raw_nonzero().get()) - before;
    assert!(used < 30, "it does not spin: {used} hundredths of a second");

    drop(connections);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let answer = runtime.block_on(async {
        let link = Link::open(&serving.url.parse().unwrap()).await.unwrap();
        link.submit(&Batch::of(&mut Fleet::new("sim", 1, 1).unwrap(), 1)).await
    });
    assert_eq!(answer, Answer::Answered { stored: 1, duplicate: 0, other: 0 });
    let (status, log) = serving.stop(Signal::TERM);
    assert!(status.success(), "{log:?}");
    // Which of them depends on whether it had looked at its limit when that was lowered.
    let ways = ["cannot accept a connection", "further ones wait until others end"];
    let told = log.iter().filter(|line| ways.iter().any(|way| line.contains(way))).count();
    assert_eq!(told, 1, "{log:?}");
}
