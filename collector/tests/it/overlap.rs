//! Two runs at once on one machine.

use std::{process::Stdio, thread, time::Duration};

use crate::support::{SMALL, Serving, agent, collector, command, run};

#[test]
fn runs_that_share_a_machine_are_suspect_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let (shared, other) = (folder.path().join("shared"), folder.path().join("other"));
    let store = format!("sqlite:{}", folder.path().join("fleet.db").display());
    let serving = Serving::start(&store);
    let measure = |host: &str, state: &std::path::Path, words: &[&str]| {
        let mut agent = command(agent().as_ref());
        agent.args(["run", "--format", "json", "--host-id", host, "--collector", &serving.url]);
        agent.args(words).arg("--state-dir").arg(state).current_dir(folder.path());
        agent
    };
    let long = ["--rounds", "6", "--scenario", "waiting", "--spawner", "tokio", "--wait", "1s"];
    let mut first = measure("first", &shared, &long);
    let mut first = first.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let locked = shared.join("agent").join("run.lock");
    while !locked.exists() {
        thread::sleep(Duration::from_millis(10));
    }
    thread::sleep(Duration::from_millis(500));

    let neighbour = run(&mut measure("neighbour", &shared, &SMALL));
    assert!(neighbour.warnings.contains("another fleetmark run"), "{neighbour:?}");
    let quality = neighbour.json()["quality"].clone();
    assert_eq!(quality["verdict"], "suspect");
    assert!(quality.to_string().contains("another fleetmark run went on"), "{quality}");

    // As in another container: another state folder, and the same boot.
    let contained = run(&mut measure("contained", &other, &SMALL));
    assert!(!contained.warnings.contains("another fleetmark run"), "{contained:?}");
    assert_eq!(contained.code, 0, "{contained:?}");
    assert!(first.wait().unwrap().success());

    let mut hosts = command(collector().as_ref());
    hosts.args(["hosts", "-f", "json", "--store", &store]);
    let hosts = run(hosts.current_dir(folder.path())).json();
    for host in ["first", "neighbour", "contained"] {
        let row = hosts.as_array().unwrap().iter().find(|row| row["id"] == host).unwrap();
        assert_eq!(row["suspect_runs"], 1, "{hosts}");
    }
    let mut report = command(collector().as_ref());
    report.args(["report", "--store", &store]);
    let report = run(report.current_dir(folder.path()));
    assert!(report.stdout.contains("3, 3 of them suspect"), "{report:?}");
}
