//! The fleet that does not exist: commands find what was planted in it, and nothing else.

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Done, collector, command, run};

/// A store with the fleet in it.
pub(crate) struct Simulated {
    _folder: TempDir,
    pub(crate) store: String,
}

impl Simulated {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = format!("sqlite:{}", folder.path().join("made-up.db").display());
        let simulated = Self { _folder: folder, store };
        let done = simulated.asks(&["simulate"]);
        assert_eq!(done.code, 0, "{done:?}");
        assert!(done.stderr.starts_with("245 made-up runs are in sqlite:"), "{done:?}");
        simulated
    }

    /// What a command says of it.
    pub(crate) fn asks(&self, words: &[&str]) -> Done {
        run(command(&collector()).args(words).args(["--store", &self.store]))
    }
}

#[test]
fn made_up_runs_mix_with_no_others() {
    let simulated = Simulated::new();
    let again = simulated.asks(&["simulate"]);
    assert_eq!((again.code, again.stdout.as_str()), (2, ""), "{again:?}");
    assert!(again.stderr.contains("made-up ones must not mix with them"), "{again:?}");
    let nowhere = run(command(&collector()).arg("simulate"));
    assert_eq!(nowhere.code, 2, "there is no default to fill by mistake: {nowhere:?}");
}

#[test]
fn the_same_seed_gives_the_same_fleet() {
    let folder = tempfile::tempdir().unwrap();
    let said = ["one", "two"].map(|name| {
        let store = format!("sqlite:{}", folder.path().join(name).display());
        let words =
            ["--hosts", "3", "--weeks", "1", "--seed", "7", "--now", "2026-11-25T12:00:00Z"];
        let made = run(command(&collector()).arg("simulate").args(words).args(["--store", &store]));
        assert_eq!(made.code, 0, "{made:?}");
        run(command(&collector()).args(["export", "-f", "csv", "--store", &store])).stdout
    });
    assert_eq!(said[0].lines().next().unwrap().split(',').next(), Some("report_id"));
    assert_eq!(said[0], said[1]);
    assert!(said[0].lines().count() > 1_000);
}

#[test]
fn runs_are_chosen_and_put_together_by_what_they_have() {
    let simulated = Simulated::new();
    let names = |words: &[&str]| -> Vec<String> {
        let mut all = vec!["report", "-f", "json"];
        all.extend(words);
        let view: Value = serde_json::from_str(&simulated.asks(&all).stdout).unwrap();
        let profiles = view["profiles"].as_array().unwrap();
        profiles.iter().map(|profile| profile["name"].as_str().unwrap().to_owned()).collect()
    };
    let web = "amd-epyc-7b13-2c1t-vm-8g";
    assert_eq!(names(&[]).len(), 4);
    assert_eq!(names(&["--label", "role=web"]), [web]);
    assert_eq!(names(&["--host", "web-01,web-02"]), Vec::<String>::new(), "a comma is no list");
    assert_eq!(names(&["--host", "web-01", "--host", "web-02.example"]), [web]);
    assert_eq!(names(&["--build", "tokio 1.55"]), ["m6g.xlarge-4c1t-vm-16g"]);
    assert_eq!(names(&["--until", "8d", "--since", "9d"]), Vec::<String>::new());
    assert_eq!(names(&["--until", "6d", "--since", "8d", "--label", "role=web"]), [web]);
    assert_eq!(names(&["--by", "kernel"]), ["kernel 6.1.0-40-amd64", "kernel 6.12.41-cloud-amd64"]);
    assert_eq!(
        names(&["--by", "profile,kernel", "--label", "role=db"]),
        [
            "intel-xeon-gold-6338-32c1t-metal-256g, kernel 6.1.0-40-amd64",
            "intel-xeon-gold-6338-32c1t-metal-256g, kernel 6.12.41-cloud-amd64"
        ]
    );
    assert_eq!(names(&["--by", "label.role"]).len(), 4);
    let wrong = simulated.asks(&["report", "--by", "colour"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("instance-type"), "{wrong:?}");
}

#[test]
fn what_would_match_is_told() {
    let simulated = Simulated::new();
    let says = |words: &[&str], line: &str| {
        let mut all = vec!["report"];
        all.extend(words);
        let done = simulated.asks(&all);
        assert_eq!((done.code, done.stdout.as_str()), (5, ""), "{done:?}");
        assert!(done.stderr.starts_with(line) && done.stderr.lines().count() == 1, "{done:?}");
    };
    says(&["--profile", "epyc"], "no profile is called \"epyc\"; the nearest: amd-epyc-7b13-2c1t-");
    says(
        &["--label", "rack=9"],
        "nothing matches; without --label rack=9 245 runs of 49 hosts would\n",
    );
    says(
        &["--host", "web-01", "--label", "role=api"],
        "nothing matches; without --host web-01 80 runs of 16 hosts would, without --label role=api 5 runs of 1 host would\n",
    );
    says(
        &["--host", "x", "--label", "rack=9"],
        "nothing matches; ask for less: there are 245 runs",
    );
    let profile = simulated.asks(&["profiles", "-f", "json"]).json();
    let ids = profile.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned());
    let starts: Vec<char> = ids.map(|id| id.chars().next().unwrap()).collect();
    // Two of the four begin with the same digit.
    let shared = starts.iter().find(|start| starts.iter().filter(|it| it == start).count() > 1);
    let done = simulated.asks(&["report", "--profile", &shared.unwrap().to_string()]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(done.stderr.contains("give more of the id"), "{done:?}");
}
