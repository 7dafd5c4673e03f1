//! `compare` on the fleet that does not exist: it finds what was planted, and nothing else.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::simulated::Simulated;

const WEB: &str = "amd-epyc-7b13-2c1t-vm-8g";
const DB: &str = "intel-xeon-gold-6338-32c1t-metal-256g";
const API: &str = "m6g.xlarge-4c1t-vm-16g";

/// Every row of a comparison of two sides.
fn rows(simulated: &Simulated, words: &[&str]) -> (Value, Vec<Value>) {
    let view = simulated.asks(&[&["compare", "-f", "json"], words].concat()).json();
    let builds = view["against_base"][0]["builds"].as_array().unwrap();
    let of = |build: &Value, part: &str| build[part].as_array().unwrap().clone();
    let all = builds.iter().flat_map(|build| [of(build, "cells"), of(build, "derived")].concat());
    let all = all.collect();
    (view, all)
}

fn name(row: &Value) -> String {
    let [measure, scenario, spawner] =
        ["measure", "scenario", "spawner"].map(|part| row[part].as_str().unwrap());
    format!("{measure} {scenario} {spawner}")
}

/// The names of the rows with this verdict.
fn with(rows: &[Value], verdict: &str) -> BTreeSet<String> {
    rows.iter().filter(|row| row["verdict"] == verdict).map(name).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn one<'a>(rows: &'a [Value], named: &str) -> &'a Value {
    rows.iter().find(|row| name(row) == named).unwrap()
}

#[test]
fn a_kernel_under_which_threads_wait_longer() {
    let simulated = Simulated::new();
    let kernels = ["kernel=6.1.0-40-amd64", "kernel=6.12.41-cloud-amd64", "--label", "role=db"];
    // The same hosts before and after, by time.
    let times = ["time=30d..13d", "time=11d..0d", "--label", "role=db"];
    for words in [kernels, times] {
        let (view, rows) = rows(&simulated, &words);
        assert_eq!(view["schema"], "fleetmark.comparison/1");
        assert_eq!(view["comparisons"], 26, "eleven cells, and fifteen that follow");
        assert!(view["not_measured"].as_array().unwrap().is_empty(), "it is the same hardware");
        let slower = ["elapsed waiting thread", "wait-overshoot waiting thread"];
        assert_eq!(with(&rows, "slower"), set(&slower));
        assert_eq!(with(&rows, "faster"), set(&[]));
        let thread = one(&rows, slower[0]);
        let ratio = thread["ratio"].as_f64().unwrap();
        assert!((1.10..1.15).contains(&ratio), "{thread}");
        assert_eq!((&thread["basis"], &thread["a"]["hosts"]), (&"paired".into(), &16.into()));
        assert!(thread["interval"]["confidence"].as_f64() >= view["confidence"].as_f64());
        assert!(thread["interval"]["low"].as_f64() > Some(1.02), "{thread}");
        let differs = view["against_base"][0]["differs"].as_array().unwrap();
        let named: Vec<&Value> = differs.iter().map(|differs| &differs["facet"]).collect();
        // What one asks for need not be told.
        assert_eq!(named.len(), usize::from(words == times), "{differs:?}");
    }
}

#[test]
fn hosts_that_changed_speak_for_themselves_in_a_mixed_fleet() {
    let simulated = Simulated::new();
    let (view, rows) = rows(&simulated, &["kernel=6.1.0-40-amd64", "kernel=6.12.41-cloud-amd64"]);
    // The newer kernel runs on all kinds of machines, of which one had the older.
    assert_eq!((&view["sides"][0]["hosts"], &view["sides"][1]["hosts"]), (&16.into(), &47.into()));
    let slower = ["elapsed waiting thread", "wait-overshoot waiting thread"];
    assert_eq!(with(&rows, "slower"), set(&slower));
    assert_eq!(with(&rows, "faster"), set(&[]));
    let thread = one(&rows, slower[0]);
    let [a, b] = ["a", "b"].map(|side| thread[side]["median"].as_f64().unwrap());
    assert!((b / a / thread["ratio"].as_f64().unwrap() - 1.0).abs() < 0.02, "{thread}");
    assert!(view["not_measured"].as_array().unwrap().is_empty(), "hosts are the same");
}

#[test]
fn a_tokio_whose_tasks_take_less_to_spawn() {
    let simulated = Simulated::new();
    let sides = ["tokio=1.54.1", "tokio=1.55.0", "--label", "role=api"];
    let (_, rows) = rows(&simulated, &sides);
    let faster = ["elapsed spawn-overhead tokio", "spawn-cost spawn-overhead tokio"];
    assert_eq!(with(&rows, "faster"), set(&faster));
    assert_eq!(with(&rows, "slower"), set(&[]));
    let apart = simulated.asks(&["compare", "label.role=api,tokio=1.55.0", WEB]);
    assert_eq!((apart.code, apart.stdout.as_str()), (5, ""), "{apart:?}");
    assert!(apart.stderr.contains("they differ in tokio 1.55.0 on A and 1.54.1 on B"), "{apart:?}");
}

#[test]
fn machines_of_other_kinds_and_sizes() {
    let simulated = Simulated::new();
    let (view, rows) = rows(&simulated, &[WEB, DB]);
    let spawners = ["thread", "tokio", "spawn-blocking", "rayon"];
    let each = |row: &str| spawners.map(|spawner| format!("{row} {spawner}"));
    let faster = with(&rows, "faster");
    for name in [each("elapsed spawn-overhead"), each("spawn-cost spawn-overhead")].concat() {
        assert!(faster.contains(&name), "{name}: {faster:?}");
    }
    assert!(faster.contains("elapsed waiting thread"), "{faster:?}");
    // A core computes slower, and as many of them do not get into each other's way.
    assert_eq!(with(&rows, "slower"), each("round-rate cpu-bound").into());
    let ties = with(&rows, "tie");
    for name in each("efficiency cpu-bound") {
        assert!(ties.contains(&name), "{name}: {ties:?}");
    }
    assert!(!rows.iter().any(|row| name(row).starts_with("elapsed cpu-bound")));
    let thread = one(&rows, "elapsed spawn-overhead thread");
    // Of web-03 nobody knows which machine it is.
    assert_eq!((&thread["basis"], &thread["a"]["hosts"]), (&"groups".into(), &15.into()));
    assert_eq!(view["sides"][0]["collided_left_out"], 1);
    assert!(thread["cliffs_delta"].as_f64() < Some(-0.99), "{thread}");
    assert!(thread["mann_whitney"]["p"].as_f64() < Some(1e-6), "{thread}");
    assert!(!view["not_measured"].as_array().unwrap().is_empty());

    // And another architecture, whose builds have another target.
    let table = simulated.asks(&["compare", WEB, DB, API]).stdout;
    for says in [
        "\nB against A\n",
        "\nC against A\n",
        "cpu-bound: 2 workers on A, 4 workers on C; compared by what follows",
        "\narch              x86_64         aarch64\n",
        "x86_64-unknown-linux-gnu and",
        "\nNot measured: memory bandwidth, caches, disks, networks.\n",
    ] {
        assert!(table.contains(says), "{says}: {table}");
    }
}

#[test]
fn every_form_says_the_same_in_as_little_room_as_it_has() {
    let simulated = Simulated::new();
    let sides = ["kernel=6.1.0-40-amd64", "kernel=6.12.41-cloud-amd64", "--label", "role=db"];
    let said = |words: &[&str]| simulated.asks(&[&["compare"], words].concat());
    let table = said(&sides).stdout;
    let lines = table.lines().skip_while(|line| !line.starts_with("spawn-overhead"));
    for line in lines {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert!(table.contains("12% slower"), "{table}");
    let groups = said(&[WEB, DB]).stdout;
    let cells = groups.lines().skip_while(|line| !line.starts_with("spawn-overhead"));
    assert!(cells.clone().all(|line| line.chars().count() <= 80), "{groups}");
    let csv = said(&[&sides[..], &["-f", "csv"]].concat()).stdout;
    let mut lines = csv.lines();
    assert!(lines.next().unwrap().starts_with("a,b,build_a,build_b,measure,unit,scenario,"));
    assert_eq!(lines.filter(|line| line.contains(",slower,")).count(), 2, "{csv}");
    let markdown = said(&[&sides[..], &["-f", "markdown"]].concat()).stdout;
    assert!(markdown.contains("## B against A\n") && markdown.contains("| thread "), "{markdown}");
}

#[test]
fn what_cannot_be_compared_is_told_in_a_line() {
    let simulated = Simulated::new();
    let says = |words: &[&str], code: i32, line: &str| {
        let done = simulated.asks(&[&["compare"], words].concat());
        assert_eq!((done.code, done.stdout.as_str()), (code, ""), "{done:?}");
        assert!(done.stderr.contains(line) && done.stderr.lines().count() == 1, "{done:?}");
    };
    says(&[WEB, "epyc"], 5, "no profile is called \"epyc\"; the nearest: amd-epyc-7b13-2c1t-");
    says(&[WEB, "8"], 2, "give more of the id");
    says(&[WEB, WEB], 2, "is there twice");
    says(&[WEB, "kernl=6"], 2, "no facet is called \"kernl\"");
    says(&[WEB, "time=7d"], 2, "time must be FROM..TO");
    says(&[WEB, "kernel=6.12"], 5, "nothing is kernel=6.12; kernel is 6.12.41-cloud-amd64,");
    says(&[WEB, "label.role=ci"], 5, "5 of its runs are suspect, which --include-suspect lets in");
    says(&[WEB, "label.role=db,time=200d..100d"], 5, "has no run in this time, the newest is of");
    says(&[WEB, DB, "--label", "rack=9"], 5, "without --label rack=9 245 runs of 49 hosts would");
    let few = simulated.asks(&["compare", "host=web-01", "host=web-02", "-f", "json"]).json();
    let row = &few["against_base"][0]["builds"][0]["cells"][0];
    assert_eq!((&row["verdict"], &row["interval"]), (&"unresolved".into(), &Value::Null), "{row}");
    assert!(row["needed"].as_u64() >= Some(4), "{row}");
}
