//! Advice on the fleet that does not exist.

use serde_json::Value;

use crate::simulated::Simulated;

#[test]
fn each_profile_is_told_which_spawner_for_which_work() {
    let simulated = Simulated::new();
    let advice = simulated.asks(&["advise", "-f", "json"]).json();
    assert_eq!(advice["schema"], "fleetmark.advice/1");
    let profiles = advice["profiles"].as_array().unwrap();
    assert_eq!(profiles.len(), 4);
    let recommended = |profile: &Value| -> Vec<Value> {
        let works = profile["works"].as_array().unwrap();
        works.iter().map(|work| work["recommended"].clone()).collect()
    };
    for profile in profiles {
        let expected = match profile["suspect_runs"].as_u64().unwrap() {
            0 => [Some("rayon"), Some("tokio"), Some("rayon"), Some("rayon")],
            _ => [None; 4],
        };
        assert_eq!(recommended(profile), expected.map(Value::from), "{profile}");
        let tokio = profile["works"][2]["spawners"].as_array().unwrap().iter();
        for tokio in tokio.filter(|it| it["spawner"] == "tokio") {
            assert_eq!(tokio["fit"], "holds-up", "though its wall time is as good: {tokio}");
            // It has no verdict where its wall time happens to be the best.
            assert_ne!(tokio["verdict"]["verdict"], "slower", "{tokio}");
        }
    }
    let told: Vec<&Value> =
        profiles.iter().flat_map(|it| it["collisions"].as_array().unwrap()).collect();
    assert_eq!(told, ["web-03"]);
    let told: Vec<&Value> =
        profiles.iter().flat_map(|it| it["uncounted_hosts"].as_array().unwrap()).collect();
    assert_eq!(told, ["ci-00"]);
}

#[test]
fn advice_is_for_people_documents_and_spreadsheets() {
    let simulated = Simulated::new();
    let table = simulated.asks(&["advise", "--label", "role=web"]).stdout;
    for line in [
        "\nmany short tasks: rayon\n",
        "\nwaiting, as for I/O: tokio\n",
        "\nCPU-bound work beside tasks that must answer in time: rayon\n",
        "collision  web-03: two machines claim this id, left out\n",
        "note: a timer was waited for",
    ] {
        assert!(table.contains(line), "{line}: {table}");
    }
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    let fits = ["use", "behind", "as", "holds"];
    let fit = |line: &&str| line.split_whitespace().nth(1).is_some_and(|word| fits.contains(&word));
    let is_row = |line: &&str| fit(line) && !line.contains(':');
    let rows = table.lines().filter(is_row);
    assert_eq!(rows.count(), 15, "{table}");
    let unmeasured = simulated.asks(&["advise", "--label", "role=ci"]).stdout;
    assert!(unmeasured.contains("left out  ci-00: suspect or partial runs only; "), "{unmeasured}");
    let command = "`fleetmark-agent run --preset grain --neighbours`";
    assert!(unmeasured.contains(command), "{unmeasured}");
    let markdown = simulated.asks(&["advise", "--scenario", "waiting", "-f", "markdown"]).stdout;
    assert!(markdown.contains("### waiting, as for I/O: tokio\n\n| spawner"), "{markdown}");
    assert!(!markdown.contains("short tasks"), "{markdown}");
    let csv = simulated.asks(&["advise", "-f", "csv"]).stdout;
    assert!(csv.starts_with("profile_id,profile_name,work,recommended,spawner,fit,"), "{csv}");
    assert_eq!(csv.lines().count(), 1 + 3 * 15 + 4, "{csv}");
    let nothing = simulated.asks(&["advise", "--label", "role=none"]);
    assert_eq!((nothing.code, nothing.stdout.as_str()), (5, ""), "{nothing:?}");
    assert!(nothing.stderr.contains("without --label role=none 245 runs"), "{nothing:?}");
}
