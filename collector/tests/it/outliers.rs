//! Slow hosts of the fleet that does not exist: the one that was planted, and no other.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use crate::simulated::Simulated;

/// What `outliers` says as JSON.
fn view(simulated: &Simulated, words: &[&str]) -> Value {
    let done = simulated.asks(&[&["outliers", "-f", "json"], words].concat());
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
    done.json()
}

fn hosts(view: &Value) -> Vec<&str> {
    view["hosts"].as_array().unwrap().iter().map(|host| host["id"].as_str().unwrap()).collect()
}

/// How many days ago this was, by the clock of the view.
fn days_ago(view: &Value, time: &Value) -> f64 {
    let parsed = |time: &Value| time.as_str().unwrap().parse::<Timestamp>().unwrap();
    parsed(&view["generated_at"]).duration_since(parsed(time)).as_secs_f64() / 86_400.0
}

#[test]
fn the_slow_host_is_found_and_no_other() {
    let simulated = Simulated::new();
    let view = view(&simulated, &[]);
    assert_eq!(view["schema"], "fleetmark.outliers/1");
    assert_eq!(hosts(&view), ["web-07"]);
    let slow = &view["hosts"][0];
    assert_eq!((&slow["state"], &slow["runs"]), (&"confirmed".into(), &2.into()));
    assert_eq!(slow["or_before"], false);
    // It is slow since ten days ago; the first run after that is a week old.
    assert!((6.9..10.0).contains(&days_ago(&view, &slow["since"])), "{slow}");
    assert_eq!(slow["differs"].as_array().unwrap().len(), 0, "{slow}");
    let cells = slow["cells"].as_array().unwrap();
    let keys: BTreeSet<_> =
        cells.iter().map(|cell| (cell["scenario"].as_str(), cell["spawner"].as_str())).collect();
    assert_eq!((cells.len(), keys.len()), (11, 11));
    for cell in cells {
        let ratio = cell["ratio"].as_f64().unwrap();
        assert!((1.2..1.3).contains(&ratio) && cell["score"].as_f64() > Some(3.5), "{cell}");
        assert_eq!((&cell["hosts"], &cell["confirmed"]), (&15.into(), &true.into()));
    }
}

#[test]
fn what_was_looked_at_is_told_and_who_is_missing() {
    let simulated = Simulated::new();
    let all = view(&simulated, &[]);
    let groups = all["groups"].as_array().unwrap();
    let told: Vec<_> = groups
        .iter()
        .map(|group| {
            let state = group["state"].as_str().unwrap();
            (state, group["hosts"].as_u64().unwrap(), group["judged"].as_u64().unwrap())
        })
        .collect();
    let (web, ci) = (("judged", 16, 15), ("too-few", 1, 0));
    let expected = BTreeSet::from([web, ci, ("judged", 16, 16)]);
    assert_eq!((told.iter().copied().collect::<BTreeSet<_>>(), told.len()), (expected, 4));
    let ci = groups.iter().find(|group| group["state"] == "too-few").unwrap();
    assert_eq!((&ci["missing_hosts"], &ci["without_clean_run"]), (&12.into(), &1.into()));
    let web = groups.iter().find(|group| group["collisions"] != serde_json::json!([])).unwrap();
    assert_eq!(web["collisions"], serde_json::json!(["web-03"]));

    let table = simulated.asks(&["outliers"]);
    assert_eq!(table.code, 0, "{table:?}");
    for part in [
        "host web-07 (web-07.example) is slow, confirmed\n",
        "nothing that is recorded differs from its group",
        "+25.",
        "not judged, 12 more hosts are needed that",
        "web-03 left out, as two machines claim this id",
        "slow: over 3.5 by the modified z-score and 5% over the median, among 12 hosts or\nmore",
    ] {
        assert!(table.stdout.contains(part), "{part}: {}", table.stdout);
    }
    let of_cells = table.stdout.split("looked at").next().unwrap();
    assert!(of_cells.lines().all(|line| line.chars().count() <= 80), "{of_cells}");
}

#[test]
fn who_is_asked_for_is_judged_among_all() {
    let simulated = Simulated::new();
    assert_eq!(hosts(&view(&simulated, &["--host", "web-07.example"])), ["web-07"]);
    let well = simulated.asks(&["outliers", "--host", "web-08"]);
    assert_eq!(well.code, 0, "{well:?}");
    assert!(well.stdout.starts_with("no host is slow\n\nlooked at\n"), "{well:?}");
    let few = simulated.asks(&["outliers", "--host", "ci-00", "--include-suspect"]);
    assert_eq!(few.code, 0, "{few:?}");
    assert!(few.stdout.starts_with("no host could be judged\n"), "{few:?}");
    let none = simulated.asks(&["outliers", "--host", "web-70"]);
    assert_eq!((none.code, none.stdout.as_str()), (5, ""), "{none:?}");
    assert!(none.stderr.contains("without --host web-70 "), "{none:?}");
}

#[test]
fn a_run_that_stands_alone_awaits_another() {
    let simulated = Simulated::new();
    let one = view(&simulated, &["--since", "5d", "--label", "role=web"]);
    assert_eq!(hosts(&one), ["web-07"]);
    assert_eq!(one["hosts"][0]["state"], "awaiting");
    assert_eq!(one["hosts"][0]["or_before"], true, "the window shows nothing older");
    let before = simulated.asks(&["outliers", "--until", "10d", "-f", "csv"]);
    assert_eq!((before.code, before.stdout.lines().count()), (0, 1), "nobody was: {before:?}");
    assert!(before.stdout.starts_with("host_id,host_name,profile_id,"), "{before:?}");
}

#[test]
fn hosts_are_put_together_by_what_was_asked_for() {
    let simulated = Simulated::new();
    let coarse = view(&simulated, &["--by", "label.role", "--scenario", "waiting"]);
    assert_eq!(hosts(&coarse), ["web-07"]);
    assert_eq!(coarse["hosts"][0]["group"], "label.role web");
    assert_eq!(coarse["hosts"][0]["cells"].as_array().unwrap().len(), 3);
    let fine = view(&simulated, &["--by", "profile,host"]);
    assert_eq!((hosts(&fine).len(), fine["groups"].as_array().unwrap().len()), (0, 49));
}
