//! What parts two profiles, from the real collector.

use std::path::Path;

use crate::support::{Done, SMALL, agent, collector, command, has, run};

/// Stores a run of this host under a name of its own, on the CPUs of this list if there is one.
fn local(folder: &Path, cpus: Option<&str>) {
    let mut local = match cpus {
        None => command(&collector()),
        Some(cpus) => {
            let mut pinned = command("taskset".as_ref());
            pinned.args(["-c", cpus]).arg(collector());
            pinned
        }
    };
    let words = ["local", "--scenario", "spawn-overhead", "--spawner", "tokio,thread"];
    local.args(words).args(SMALL).arg("--state-dir").arg(folder).current_dir(folder);
    assert_eq!(run(&mut local).code, 0);
}

fn diff(folder: &Path, words: &[&str]) -> Done {
    let mut diff = command(&collector());
    diff.args(["profiles", "diff"]).args(words);
    run(diff.arg("--state-dir").arg(folder).current_dir(folder))
}

#[test]
fn profiles_differ_in_what_the_owner_changed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    local(folder, None);
    let hardware = run(command(&agent()).args(["hardware", "-f", "json"])).json();
    let name = hardware["profile"]["name"].as_str().unwrap();
    let id = hardware["profile"]["id"].as_str().unwrap();
    let same = diff(folder, &[name, &id[..6]]);
    assert_eq!((same.code, same.stderr.as_str()), (0, ""), "{same:?}");
    assert_eq!(same.stdout, format!("a  {name} ({id})\nb  {name} ({id})\n\nthe same hardware\n"));
    assert_eq!(diff(folder, &[id, id, "-f", "csv"]).stdout, "facet,a,b\n");

    // What an older version called the profile is written beside the report; nobody goes by it.
    let store = rusqlite::Connection::open(folder.join("fleetmark.db")).unwrap();
    assert_eq!(store.execute("UPDATE run SET profile_id = 'older'", []).unwrap(), 1);
    assert_eq!(diff(folder, &[name, &id[..6]]).stdout, same.stdout);
    assert_eq!(diff(folder, &["older", id]).code, 5);

    let unknown = diff(folder, &[id, "nothing"]);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (5, ""), "{unknown:?}");
    let line = format!("no profile is called \"nothing\"; the nearest: {name} ({id})\n");
    assert_eq!(unknown.stderr, line);
    let misplaced = run(command(&collector())
        .args(["profiles", "--format", "json", "diff", id, id])
        .current_dir(folder));
    assert_eq!(misplaced.code, 2, "flags come after what they are of: {misplaced:?}");
    assert_eq!(misplaced.stderr.lines().count(), 1, "{misplaced:?}");

    if hardware["profile"]["facets"]["usable_cpus"].as_u64() < Some(2) || !has("taskset") {
        return crate::support::skip("taskset, or a second CPU", false);
    }
    local(folder, Some("0"));
    let pinned = format!("{name}-pinned1");
    let table = diff(folder, &[name, &pinned]);
    assert!(table.stdout.contains("\nusable_cpus  2"), "{table:?}");
    let told = diff(folder, &[name, &pinned, "-f", "json"]).json();
    assert_eq!(told["schema"], "fleetmark.profile-diff/1");
    assert_eq!(told["a"]["id"], id);
    assert_eq!(told["b"]["name"], pinned.as_str());
    let facets = told["facets"].as_array().unwrap();
    let names: Vec<_> = facets.iter().map(|facet| facet["facet"].as_str().unwrap()).collect();
    assert_eq!(names, ["usable_cpus", "limit"]);
    assert_eq!((&facets[1]["a"], &facets[1]["b"]), (&"none".into(), &"affinity".into()));
    let markdown = diff(folder, &[name, &pinned, "-f", "markdown"]).stdout;
    assert!(markdown.contains("- **a**: ") && markdown.contains("| facet "), "{markdown}");
}
