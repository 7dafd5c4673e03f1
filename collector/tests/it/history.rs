//! What changed in the fleet that does not exist, and what jumped beside it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::simulated::Simulated;

fn view(simulated: &Simulated, words: &[&str]) -> Value {
    let done = simulated.asks(&[&["history", "-f", "json"], words].concat());
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
    let mut view = done.json();
    assert_eq!(view["schema"], "fleetmark.history/1");
    assert_eq!(view["subjects"].as_array().unwrap().len(), 1, "{view}");
    view["subjects"][0].take()
}

/// Each jump: the cell, the ratio, and the facts that changed beside it.
fn jumps(subject: &Value) -> Vec<(String, f64, BTreeSet<String>)> {
    let mut found = Vec::new();
    for line in subject["lines"].as_array().unwrap() {
        let cell = format!("{} {}", line["scenario"], line["spawner"]).replace('"', "");
        for point in line["points"].as_array().unwrap() {
            let jump = &point["jump"];
            if !jump.is_null() {
                let beside = jump["beside"].as_array().unwrap().iter();
                let beside = beside.map(|change| change["fact"].as_str().unwrap().to_owned());
                found.push((cell.clone(), jump["ratio"].as_f64().unwrap(), beside.collect()));
            }
        }
    }
    found
}

fn facts<const N: usize>(facts: [&str; N]) -> BTreeSet<String> {
    facts.into_iter().map(str::to_owned).collect()
}

#[test]
fn the_new_kernel_is_marked_where_threads_became_slower() {
    let simulated = Simulated::new();
    let host = view(&simulated, &["--host", "db-02"]);
    assert_eq!(host["host"]["id"], "db-02");
    let [(cell, ratio, beside)] = &jumps(&host)[..] else { panic!("one jump: {host}") };
    assert_eq!(cell, "waiting thread");
    assert!((1.08..1.17).contains(ratio), "{ratio}");
    assert_eq!(*beside, facts(["kernel", "boot"]));
    let kernel = host["changes"].as_array().unwrap().iter().find(|it| it["fact"] == "kernel");
    let kernel = kernel.unwrap();
    assert_eq!(
        (&kernel["from"], &kernel["to"]),
        (&"6.1.0-40-amd64".into(), &"6.12.41-cloud-amd64".into())
    );

    let days = view(&simulated, &["--label", "role=db", "--bucket", "day"]);
    let [(cell, ..)] = &jumps(&days)[..] else { panic!("one jump: {days}") };
    assert_eq!(cell, "waiting thread");
    let changed: u64 = days["changes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["fact"] == "kernel")
        .map(|it| it["hosts"].as_u64().unwrap())
        .sum();
    assert_eq!(changed, 16, "on every host");
}

#[test]
fn the_new_tokio_is_marked_where_its_tasks_became_cheaper() {
    let simulated = Simulated::new();
    let host = view(&simulated, &["--host", "api-00"]);
    let [(cell, ratio, beside)] = &jumps(&host)[..] else { panic!("one jump: {host}") };
    assert_eq!((cell.as_str(), beside), ("spawn-overhead tokio", &facts(["tokio"])));
    assert!((0.86..0.94).contains(ratio), "{ratio}");
    let only = ["--host", "api-00", "--scenario", "spawn-overhead", "--spawner", "tokio"];
    let host = view(&simulated, &only);
    let points = host["lines"][0]["points"].as_array().unwrap();
    let builds: Vec<bool> =
        points.iter().map(|point| point["build"].as_str().unwrap().contains("1.55.0")).collect();
    assert_eq!(builds, [false, false, false, false, true]);
    let table = simulated.asks(&[&["history"], &only[..]].concat()).stdout;
    assert!(table.contains("tokio  1.54.1  1.55.0"), "{table}");
    assert!(table.contains("what jumped"), "{table}");
}

#[test]
fn a_host_that_became_slow_says_that_nothing_changed_beside_it() {
    let simulated = Simulated::new();
    let host = view(&simulated, &["--host", "web-07"]);
    let found = jumps(&host);
    assert_eq!(found.len(), 11, "all cells: {found:?}");
    assert!(found.iter().all(|(_, ratio, beside)| *ratio > 1.2 && beside.is_empty()));
    let table = simulated.asks(&["history", "--host", "web-07"]).stdout;
    assert!(table.contains("nothing recorded"), "{table}");
    assert!(!table.contains("what changed\n"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    let as_ever = view(&simulated, &["--host", "web-08"]);
    assert_eq!(jumps(&as_ever), []);
    assert_eq!(as_ever["changes"], serde_json::json!([]));
}

#[test]
fn suspect_runs_are_shown_and_marked() {
    let simulated = Simulated::new();
    let host = view(&simulated, &["--host", "ci-00"]);
    for point in host["lines"][0]["points"].as_array().unwrap() {
        assert_eq!((&point["state"], point["median_ns"].is_u64()), (&"suspect".into(), true));
    }
    assert_eq!(jumps(&host), []);
    let cell = ["--host", "ci-00", "--scenario", "waiting", "--spawner", "tokio"];
    let table = simulated.asks(&[&["history"], &cell[..]].concat()).stdout;
    assert_eq!(table.matches("suspect, not counted").count(), 5, "{table}");
    let twins = simulated.asks(&["history", "--host", "web-03"]).stdout;
    assert!(twins.contains("  web-03: two machines claim this id\n"), "{twins}");
    let none = simulated.asks(&["history", "--since", "2d", "--until", "1d"]);
    assert_eq!((none.code, none.stdout.as_str()), (5, ""), "{none:?}");
}
