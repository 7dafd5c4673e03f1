//! All about one host of the fleet that does not exist, and how it is forgotten.

use crate::{
    simulated::Simulated,
    support::{collector, command, run},
};

#[test]
fn a_host_says_how_it_stands() {
    let simulated = Simulated::new();
    let table = |host: &str| {
        let done = simulated.asks(&["host", host]);
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
        done.stdout
    };
    let slow = table("web-07.example");
    assert!(slow.starts_with("host web-07 (web-07.example)\n"), "{slow}");
    assert!(slow.contains("  slow among hosts of its profile, confirmed\n"), "{slow}");
    assert!(slow.contains("kernel") && slow.contains("role=web"), "{slow}");
    assert!(table("web-03").contains("collision: two machines claim this id"));
    assert!(table("db-01").contains("  as others: 16 hosts of its profile were judged\n"));
    let suspect = table("ci-00");
    assert!(suspect.contains("not judged, as no run of it in the window counts"), "{suspect}");
    assert!(suspect.contains("5 runs: throttled 14 of 60 periods"), "{suspect}");
    assert!(suspect.contains("suspect, not counted"), "{suspect}");

    let json = simulated.asks(&["host", "web-07", "-f", "json"]).json();
    assert_eq!((&json["schema"], &json["id"]), (&"fleetmark.host/1".into(), &"web-07".into()));
    assert_eq!(json["slow"]["state"], "confirmed");
    let cells = json["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 11);
    for cell in cells {
        assert!((1.2..1.3).contains(&cell["ratio"].as_f64().unwrap()), "{cell}");
        assert_eq!(cell["hosts"], 15);
    }
    assert_eq!(json["last_runs"].as_array().unwrap().len(), 5);
}

#[test]
fn a_host_that_is_not_known_gets_the_nearest() {
    let simulated = Simulated::new();
    let done = simulated.asks(&["host", "web-7"]);
    assert_eq!((done.code, done.stdout.as_str()), (5, ""), "{done:?}");
    let starts = "no host is called \"web-7\"; the nearest: web-0";
    assert!(done.stderr.starts_with(starts), "{done:?}");
    assert!(done.stderr.contains("web-07 (web-07.example)"), "{done:?}");
    assert!(done.stderr.ends_with("and 41 more that `hosts` lists\n"), "{done:?}");
}

#[test]
fn a_host_is_forgotten_with_its_rows() {
    let simulated = Simulated::new();
    let asked = run(command(&collector())
        .args(["hosts", "forget", "web-05"])
        .args(["--store", &simulated.store]));
    assert_eq!((asked.code, asked.stdout.as_str()), (2, ""), "nobody can be asked: {asked:?}");
    assert!(asked.stderr.contains("--yes"), "{asked:?}");
    let forget = |words: &[&str]| simulated.asks(&[&["hosts", "forget", "--yes"], words].concat());
    let named = forget(&["web-05.example"]);
    assert_eq!((named.code, named.stdout.as_str()), (5, ""), "{named:?}");
    assert!(named.stderr.contains("web-05 (web-05.example) has that name"), "{named:?}");
    let done = forget(&["web-05"]);
    assert_eq!(done.stdout, "host web-05 is forgotten: 5 runs were removed\n", "{done:?}");
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    let hosts = simulated.asks(&["hosts", "-f", "csv"]).stdout;
    assert_eq!((hosts.lines().count(), hosts.contains("web-05")), (1 + 48, false));
    let again = forget(&["web-05", "-f", "json"]);
    assert_eq!((again.code, again.stdout.as_str()), (5, ""), "{again:?}");
    assert!(again.stderr.starts_with("no host is called \"web-05\"; the nearest: "), "{again:?}");
    let other = forget(&["web-06", "-f", "json"]).json();
    assert_eq!(other, serde_json::json!({ "id": "web-06", "runs": 5 }));
    let audit = simulated.asks(&["audit", "-f", "csv"]).stdout;
    let lines: Vec<&str> = audit.lines().skip(1).collect();
    assert_eq!(lines.len(), 2, "{audit}");
    assert!(lines[0].contains(",host-forgotten,user "), "{audit}");
    assert!(lines[0].ends_with(",host web-05: 5 runs"), "{audit}");
}
