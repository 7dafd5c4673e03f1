//! The passes beside the eleven cells, from the flag to the fleet's report.

use std::path::Path;

use serde_json::Value;

use crate::support::{Done, Serving, agent, collector, command, run};

/// Small enough for a test, with intervals at 95%.
const SMALL: [&str; 8] =
    ["--rounds", "6", "--spawn-units", "20", "--wait-units", "20", "--cpu-rounds", "5000"];

fn agent_in(folder: &Path, words: &[&str]) -> Done {
    run(command(agent().as_ref()).args(words).args(["--state-dir"]).arg(folder).current_dir(folder))
}

fn series(report: &Value, pass: &str) -> Vec<Value> {
    let all = report["series"].as_array().unwrap();
    all.iter().filter(|series| series["pass"] == pass).cloned().collect()
}

#[test]
fn passes_travel_and_never_mix_with_the_cells() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("fleet.db").display());
    let serving = Serving::start(&store);
    let mut words = vec!["run", "--neighbours", "--diagnose", "-f", "json", "--host-id", "me"];
    words.extend(["--collector", &serving.url]);
    words.extend(SMALL);
    let report = agent_in(folder.path(), &words).json();
    assert_eq!(report["cells"].as_array().unwrap().len(), 11);
    // Elapsed, p99 and worst of four spawners.
    assert_eq!(series(&report, "neighbours").len(), 12);
    let diagnose = series(&report, "diagnose");
    let variants =
        |variant: &str| diagnose.iter().filter(|series| series["variant"] == variant).count();
    assert_eq!((variants("plain"), variants("split")), (11, 33));
    assert_eq!((variants("from-worker"), variants("vector")), (8, 6));
    assert_eq!((variants("cold-pool"), variants("single")), (3, 2));
    for series in report["series"].as_array().unwrap() {
        assert_eq!(series["samples_ns"].as_array().unwrap().len(), 6, "{series}");
        assert_eq!(series["failure"], Value::Null, "{series}");
    }

    let read = |words: &[&str]| {
        let mut collector = command(collector().as_ref());
        run(collector.args(words).args(["--store", &store]).current_dir(folder.path()))
    };
    let view = read(&["report", "--include-suspect", "-f", "json"]).json();
    let profile = &view["profiles"][0];
    assert_eq!(profile["cells"].as_array().unwrap().len(), 11, "cells stay what they are");
    assert_eq!(profile["series"].as_array().unwrap().len(), 12 + 63);
    for cell in profile["cells"].as_array().unwrap() {
        assert_eq!(cell["samples"], 6, "{cell}");
    }
    let table = read(&["report", "--include-suspect"]).stdout;
    assert!(table.contains("neighbours: a task that ticks every millisecond"), "{table}");
    assert!(table.contains("diagnose: parts of waiting"), "{table}");
    let csv = read(&["report", "--include-suspect", "-f", "csv"]).stdout;
    assert!(csv.contains(",neighbours,plain,lateness-p99,cpu-bound,tokio,"), "{csv}");
    let csv = read(&["export", "-f", "csv"]).stdout;
    assert!(csv.contains(",diagnose,single,overshoot,waiting,thread,"), "{csv}");
}

#[test]
fn presets_take_the_place_of_the_cells() {
    let folder = tempfile::tempdir().unwrap();
    let article = ["run", "--preset", "article", "--cpu-rounds", "5000", "--wait-units", "20"];
    let report = agent_in(folder.path(), &[&article[..], &["-f", "json"]].concat()).json();
    assert_eq!(report["cells"].as_array().unwrap().len(), 0);
    let seven = series(&report, "article");
    assert_eq!(seven.len(), 7);
    for series in &seven {
        assert_eq!(series["samples_ns"].as_array().unwrap().len(), 5, "{series}");
        assert_eq!(series["cold_ns"], Value::Null, "{series}");
    }
    let table = agent_in(folder.path(), &article).stdout;
    assert!(table.contains("14.240 ms"), "the published median: {table}");
    assert!(table.contains("\nCaveats, from what was seen here:\n"), "{table}");
    assert!(table.contains("An interval at 95% takes 6 rounds, and these are 5"), "{table}");

    let grain = ["run", "--preset", "grain", "--rounds", "1", "--spawner", "tokio,rayon"];
    let table = agent_in(folder.path(), &grain).stdout;
    assert!(table.contains("grain: what one of 1,000 units costs"), "{table}");
    assert!(table.contains("\ntokio: "), "{table}");
    let grown = agent_in(folder.path(), &[&grain[..], &["-f", "json"]].concat()).json();
    assert_eq!(series(&grown, "grain").len(), 20);
}

#[test]
fn what_makes_no_pass_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    for (words, says) in [
        (&["run", "--preset", "article", "--rounds", "7"][..], "leave --rounds out"),
        (&["run", "--neighbours", "--scenario", "waiting"], "the pass neighbours has no cell"),
        (&["run", "--preset", "unheard-of"], "invalid value"),
        (&["run", "--precision", "0"], "over 0 and below 1"),
        (&["run", "--precision", "2"], "over 0 and below 1"),
    ] {
        let done = agent_in(folder.path(), words);
        assert_eq!(done.code, 2, "{words:?} {done:?}");
        assert!(done.stderr.contains(says), "{words:?} {done:?}");
    }
}

#[test]
fn rounds_go_on_until_intervals_are_narrow_or_time_is_up() {
    let folder = tempfile::tempdir().unwrap();
    let measure = |words: &[&str]| {
        let mut all = vec!["run", "-f", "json", "--scenario", "waiting", "--spawner", "tokio"];
        all.extend(SMALL);
        all.extend(words);
        agent_in(folder.path(), &all).json()
    };
    let easy = measure(&["--precision", "0.99"]);
    assert_eq!(easy["rounds"], 6, "narrow enough from the start");
    assert_eq!(easy["precision"], 0.99);
    let hard = measure(&["--precision", "0.0000001", "--max-time", "2s"]);
    let rounds = hard["rounds"].as_u64().unwrap();
    assert!(rounds > 6, "{rounds}");
    assert_eq!(
        hard["cells"][0]["samples_ns"].as_array().unwrap().len(),
        usize::try_from(rounds).unwrap()
    );
    let none = measure(&["--precision", "0.0000001", "--max-time", "1ms"]);
    assert_eq!(none["rounds"], 6, "no time for another");
    let mut words =
        vec!["run", "--scenario", "waiting", "--spawner", "tokio", "--precision", "0.0000001"];
    words.extend(["--max-time", "1ms"]);
    words.extend(SMALL);
    let table = agent_in(folder.path(), &words).stdout;
    assert!(table.contains("these intervals are still wider than"), "{table}");
    assert!(table.contains("waiting tokio; allow more with --max-time"), "{table}");
}
