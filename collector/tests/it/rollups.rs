//! What is kept beside runs says what they say, on the made-up fleet; and what does not is found and mended.

use serde_json::Value;

use crate::simulated::Simulated;

impl Simulated {
    /// Changes the store behind everybody's back.
    fn damage(&self, sql: &str) {
        let path = self.store.strip_prefix("sqlite:").unwrap();
        rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
    }

    /// What a report says, but for when it was made.
    fn report(&self, words: &[&str]) -> Value {
        let mut all = vec!["report", "-f", "json", "--since", "2026-01-01T00:00:00Z"];
        all.extend(words);
        let done = self.asks(&all);
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
        let mut view = done.json();
        view["generated_at"] = Value::Null;
        view
    }
}

const QUESTIONS: [&[&str]; 5] = [
    &[],
    &["--against", "tokio"],
    &["--scenario", "waiting,cpu-bound"],
    &["--spawner", "rayon"],
    &["--profile", "amd-epyc-7b13-2c1t-vm-8g"],
];

#[test]
fn a_report_is_the_same_with_rollups_and_without() {
    let simulated = Simulated::new();
    let asked = || QUESTIONS.map(|words| simulated.report(words));
    let with = asked();
    assert_eq!(with[0]["profiles"].as_array().unwrap().len(), 4);
    // They go by it: a value that is damaged is told.
    simulated.damage("UPDATE tally SET clean = clean + 1000");
    let wrong = simulated.report(&[]);
    assert_ne!(wrong, with[0]);
    simulated.damage("UPDATE rollup SET complete = 0");
    let without = asked();
    assert_eq!(with, without);
}

#[test]
fn what_differs_is_named_and_mended() {
    let simulated = Simulated::new();
    let check = || simulated.asks(&["store", "check"]);
    let whole = "checked 49 hosts, 245 runs, ";
    let done = check();
    assert!(done.code == 0 && done.stderr.is_empty(), "{done:?}");
    assert!(done.stdout.starts_with(whole) && done.stdout.lines().count() == 1, "{done:?}");
    assert!(done.stdout.ends_with("rollups say the same as the runs\n"), "{done:?}");

    simulated.damage(
        "UPDATE newest SET kept = (SELECT kept FROM newest AS other
                                   WHERE other.host_id = 'web-02' AND other.form_id = newest.form_id)
         WHERE host_id = 'web-01'",
    );
    let done = check();
    assert_eq!((done.code, done.stderr.as_str()), (1, ""), "{done:?}");
    let lines: Vec<&str> = done.stdout.lines().collect();
    let named =
        |line: &&str| line.starts_with("host web-01, form ") && line.contains(", cell 1: it has ");
    assert!(lines.len() > 11 && lines.iter().any(named), "{done:?}");
    assert!(lines.last().unwrap().starts_with(whole), "{done:?}");
    let said = simulated.asks(&["store", "check", "-f", "json"]).stdout;
    let json: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&json["hosts"], &json["runs"]), (&49.into(), &245.into()));
    assert_eq!(json["differences"].as_array().unwrap().len(), lines.len() - 1);

    let done = simulated.asks(&["migrate"]);
    assert_eq!(done.stdout, "the store is of schema 7, as before\n", "{done:?}");
    assert_eq!(check().code, 1, "that alone mends nothing");
    let done = simulated.asks(&["migrate", "--rebuild"]);
    let expected = "the store is of schema 7, as before; rollups were made of 245 runs\n";
    assert_eq!((done.code, done.stdout.as_str()), (0, expected), "{done:?}");
    assert_eq!(check().code, 0);
}

#[test]
fn what_is_damaged_is_told_and_the_runs_are_read_instead() {
    let simulated = Simulated::new();
    let expected = simulated.report(&[]);
    simulated.damage("UPDATE newest SET kept = x'ff' WHERE host_id = 'web-01'");
    let words = ["report", "-f", "json", "--since", "2026-01-01T00:00:00Z"];
    let done = simulated.asks(&words);
    let says = "warning: the store is damaged: table newest, column kept, row web-01";
    assert!(done.code == 0 && done.warnings.starts_with(says), "{done:?}");
    assert!(done.warnings.contains("migrate --rebuild"), "{done:?}");
    assert_eq!(done.json()["profiles"], expected["profiles"]);
}

#[test]
fn a_damaged_run_costs_no_other_its_place() {
    let simulated = Simulated::new();
    let numbers = |report: Value| {
        let profiles = report["profiles"].as_array().unwrap().clone();
        profiles.into_iter().map(|profile| profile["cells"].clone()).collect::<Vec<_>>()
    };
    let before = numbers(simulated.report(&[]));
    // The oldest run of a host whose newer ones count.
    simulated.damage(
        "UPDATE run SET report = x'ff00' WHERE host_id = 'web-01' AND time_us =
           (SELECT min(time_us) FROM run WHERE host_id = 'web-01')",
    );
    assert_eq!(numbers(simulated.report(&[])), before, "they do not need it");
    let rebuilt = simulated.asks(&["migrate", "--rebuild"]);
    assert_eq!(rebuilt.code, 0, "{rebuilt:?}");
    let says = "rollups were made of 244 runs; 1 more could not be read and are in none";
    assert!(rebuilt.stdout.contains(says), "{rebuilt:?}");
    assert_eq!(numbers(simulated.report(&[])), before);
    let checked = simulated.asks(&["store", "check"]);
    assert_eq!(checked.code, 1, "{checked:?}");
    let damaged = checked.stdout.lines().filter(|line| line.contains("its report is damaged"));
    assert_eq!((damaged.count(), checked.stdout.lines().count()), (1, 2), "{checked:?}");
}

#[test]
fn a_store_is_migrated_where_there_is_one() {
    let simulated = Simulated::new();
    let nowhere = format!("{}.none", simulated.store);
    for words in [&["migrate"][..], &["store", "check"]] {
        let mut all = words.to_vec();
        all.extend(["--store", &nowhere]);
        let done =
            crate::support::run(crate::support::command(&crate::support::collector()).args(all));
        assert!(done.code == 1 && done.stderr.contains("there is no store at"), "{done:?}");
    }
    simulated.damage(
        "DELETE FROM refinery_schema_history WHERE version = 7;
         DROP TABLE form; DROP TABLE outline; DROP TABLE newest; DROP TABLE tally; DROP TABLE boots; DROP TABLE rollup",
    );
    let done = simulated.asks(&["report"]);
    assert!(done.code == 1 && done.stderr.contains("fleetmark-collector migrate"), "{done:?}");
    let done = simulated.asks(&["migrate", "-f", "json"]);
    assert_eq!(
        done.json(),
        serde_json::json!({ "from": 6, "to": 7, "rolled_up": 245, "damaged": 0 })
    );
    assert_eq!(simulated.asks(&["store", "check"]).code, 0);
}
