//! What `fleetmark-agent hardware` tells of this host, and what it saves of it.

use std::{fs, path::Path};

use fleetmark_agent::hardware::{Capture, detect_captured};

use crate::support::{Done, agent, command, run};

fn hardware(folder: &Path, words: &[&str]) -> Done {
    let mut agent = command(&agent());
    run(agent.arg("hardware").args(words).arg("--state-dir").arg(folder).current_dir(folder))
}

#[test]
fn explained_facts_say_whether_they_are_in_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let told = hardware(folder.path(), &["--format", "json"]).json();
    let facets = told["profile"]["facets"].as_object().unwrap();
    for fact in told["facts"].as_array().unwrap() {
        let name = fact["name"].as_str().unwrap();
        assert_eq!(fact["in_key"].as_bool(), Some(facets.contains_key(name)), "{fact}");
    }
    let csv = hardware(folder.path(), &["--explain", "--format", "csv"]).stdout;
    assert!(csv.starts_with("fact,value,in key,read from\narch,"), "{csv}");
    let facts = told["facts"].as_array().unwrap().len();
    assert_eq!(csv.lines().count(), facts + 1, "every fact, known or not");
    let table = hardware(folder.path(), &["--explain"]).stdout;
    let widest = table.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(widest <= 120, "{widest}: {table}");
    assert!(table.contains(" in key "), "{table}");
    for name in ["numa_nodes", "l1d_cache", "l1i_cache", "l2_cache", "l3_cache"] {
        assert!(table.contains(name), "{name}: {table}");
    }
}

#[test]
fn a_capture_is_this_host_and_nothing_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["--capture", "host.json", "--format", "json"];
    let done = hardware(folder.path(), &words);
    assert!(done.stderr.starts_with("saved what was read, "), "{done:?}");
    let told = done.json();
    let file = folder.path().join("host.json");
    let text = fs::read_to_string(&file).unwrap();
    let found = detect_captured(&Capture::parse(&text).unwrap());
    assert_eq!(found.facets.key(), told["key"].as_str().unwrap());
    assert_eq!(found.workers(None).count, told["workers"]["count"]);
    for path in ["/etc/machine-id", "/proc/sys/kernel/random/boot_id"] {
        let secret = fs::read_to_string(path).unwrap_or_default();
        assert!(secret.trim().is_empty() || !text.contains(secret.trim()), "{path}");
    }

    let again = hardware(folder.path(), &words);
    assert_eq!((again.code, again.stdout.as_str()), (2, ""), "{again:?}");
    assert_eq!(
        again.stderr,
        "error: host.json exists already; remove it, or choose another name\n"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    let nowhere = hardware(folder.path(), &["--capture", "missing/host.json"]);
    assert_eq!((nowhere.code, nowhere.stdout.as_str()), (1, ""), "{nowhere:?}");
    assert!(
        nowhere.stderr.starts_with("error: cannot write to missing/host.json: "),
        "{nowhere:?}"
    );
}
