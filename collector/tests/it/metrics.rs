//! Metrics: what they say of a fleet, and that what reads them finds them.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    simulated::Simulated,
    support::{has, run, skip},
    web::{Served, fetch},
};

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy")
}

/// The metrics that are in a text of them.
fn names(text: &str) -> BTreeSet<&str> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.split(['{', ' ']).next().unwrap()).collect()
}

/// All words of a text that begin as a metric does.
fn mentioned(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("fleetmark_")).collect()
}

#[test]
fn metrics_say_what_the_report_says() {
    let simulated = Simulated::new();
    let served = Served::start(&simulated.store);
    let metrics = served.fetch("/metrics").body;
    let view = simulated.asks(&["report", "-f", "json"]).json();
    let mut medians = 0;
    for profile in view["profiles"].as_array().unwrap() {
        let (id, name) = (profile["id"].as_str().unwrap(), profile["name"].as_str().unwrap());
        let hosts = format!(
            "fleetmark_profile_hosts{{profile=\"{name}\",profile_id=\"{id}\"}} {}\n",
            profile["hosts"]
        );
        assert!(metrics.contains(&hosts), "{hosts}: {metrics}");
        for cell in profile["cells"].as_array().unwrap() {
            let labels = ["scenario", "spawner", "build"]
                .map(|label| format!("{label}=\"{}\"", cell[label].as_str().unwrap()));
            let line = metrics.lines().find(|line| {
                line.starts_with("fleetmark_median_seconds{")
                    && line.contains(&format!("profile_id=\"{id}\""))
                    && labels.iter().all(|label| line.contains(label.as_str()))
            });
            // Of two builds, the newest counts.
            let Some(line) = line else { continue };
            let seconds: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            let expected = cell["median_ns"].as_f64().unwrap() / 1e9;
            assert!((seconds - expected).abs() < 1e-9, "{line}: {cell}");
            medians += 1;
        }
    }
    let told = metrics.lines().filter(|it| it.starts_with("fleetmark_median_seconds{")).count();
    assert_eq!(medians, told, "and nothing else");
    assert_eq!(told, 3 * 11, "of the container there are suspect runs alone: {metrics}");
    assert!(metrics.contains("fleetmark_hosts 49\n"), "{metrics}");
    let runs = |quality: &str| -> u64 {
        let begin = format!("fleetmark_runs{{quality=\"{quality}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&begin)).unwrap();
        line.parse().unwrap()
    };
    let sum = |field: &str| -> u64 {
        view["profiles"].as_array().unwrap().iter().map(|it| it[field].as_u64().unwrap()).sum()
    };
    assert_eq!(runs("suspect"), sum("suspect_runs"));
    assert_eq!(runs("clean") + runs("suspect"), sum("runs"));
}

#[test]
fn metrics_are_well_formed() {
    if !has("promtool") {
        return skip("promtool", true);
    }
    let simulated = Simulated::new();
    let served = Served::start(&simulated.store);
    let classic = served.fetch("/metrics");
    assert!(classic.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let mut lint = Command::new("promtool");
    let mut lint = lint
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    lint.stdin.take().unwrap().write_all(classic.body.as_bytes()).unwrap();
    let linted = lint.wait_with_output().unwrap();
    let said = String::from_utf8(linted.stderr).unwrap();
    assert!(linted.status.success() && said.is_empty(), "{said}");

    let accept = [("Accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")];
    let open = fetch(served.address, "/metrics", &accept);
    assert!(open.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(open.body.ends_with("# EOF\n"), "{open:?}");
    assert_eq!(names(&open.body), names(&classic.body));
    // What makes blocks of OpenMetrics reads it strictly, and wants a time with each sample.
    let timed = open.body.lines().map(|line| match line.starts_with('#') {
        true => format!("{line}\n"),
        false => format!("{line} 1790000000\n"),
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("metrics");
    fs::write(&file, timed.collect::<String>()).unwrap();
    let mut blocks = Command::new("promtool");
    blocks.args(["tsdb", "create-blocks-from", "openmetrics"]).arg(&file);
    let made = run(blocks.arg(folder.path().join("blocks")));
    assert_eq!(made.code, 0, "{made:?}");
}

#[test]
fn whatever_reads_metrics_finds_them() {
    let simulated = Simulated::new();
    let served = Served::start(&simulated.store);
    let metrics = served.fetch("/metrics").body;
    let there = names(&metrics);
    for file in ["grafana/fleetmark.json", "prometheus/fleetmark.rules.yml"] {
        let text = fs::read_to_string(deploy().join(file)).unwrap();
        let mentioned = mentioned(&text);
        assert!(mentioned.len() > 5, "{file}: {mentioned:?}");
        let missing: Vec<_> = mentioned.difference(&there).collect();
        assert!(missing.is_empty(), "{file}: {missing:?}");
    }
    let text = fs::read_to_string(deploy().join("grafana/fleetmark.json")).unwrap();
    let board: Value = serde_json::from_str(&text).unwrap();
    let panels = board["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels {
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{panel}");
        assert!(panel["description"].as_str().unwrap().ends_with('.'), "{panel}");
    }
}

#[test]
fn alerts_do_what_they_say() {
    if !has("promtool") {
        return skip("promtool", true);
    }
    let folder = deploy().join("prometheus");
    for words in [
        &["check", "rules", "fleetmark.rules.yml"][..],
        &["test", "rules", "fleetmark.rules.test.yml"],
        &["check", "config", "--syntax-only", "scrape.yml"],
    ] {
        let done = run(Command::new("promtool").args(words).current_dir(&folder));
        assert_eq!(done.code, 0, "{done:?}");
    }
    let rules = fs::read_to_string(folder.join("fleetmark.rules.yml")).unwrap();
    let tests = fs::read_to_string(folder.join("fleetmark.rules.test.yml")).unwrap();
    for line in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(line), "{line} has no test");
    }
}
