//! Flags, formats and exit codes of both binaries, and what they say to bad input.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, path::Path};

use fleetmark_proto::document;
use serde_json::Value;

use crate::support::{Done, SMALL, Serving, agent, collector, command, run};

/// Runs the agent with these words, in a folder of its own.
fn run_agent(folder: &Path, words: &[&str]) -> Done {
    run(command(&agent()).args(words).arg("--state-dir").arg(folder).current_dir(folder))
}

/// Runs the collector with these words, in a folder of its own.
fn run_collector(folder: &Path, words: &[&str]) -> Done {
    run(command(&collector()).args(words).arg("--state-dir").arg(folder).current_dir(folder))
}

fn refused(done: &Done, code: i32, says: &str) {
    assert_eq!(done.code, code, "{done:?}");
    assert!(done.stderr.contains(says), "expected {says:?}: {done:?}");
    assert_eq!(done.stderr.lines().count(), 1, "one line: {done:?}");
    assert!(done.stderr.starts_with("error: "), "{done:?}");
    assert_eq!(done.stdout, "", "{done:?}");
}

#[test]
fn agents_refuse_what_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    for (words, says) in [
        (&["run", "--rounds", "0"][..], "0 is not in 1..=10000"),
        (&["run", "--rounds", "many"], "invalid digit"),
        (&["run", "--spawn-units", "0"], "must be 1 to 1000000"),
        (&["run", "--wait-units", "-1"], "unexpected argument '-1'"),
        (&["run", "--cpu-units", "2/core"], "such a number a worker"),
        (&["run", "--cpu-units", "1000000/worker", "--workers", "2"], "2,000,000 units, more than"),
        (&["run", "--cpu-rounds", "0"], "0 is not in"),
        (&["run", "--workers", "0"], "0 is not in"),
        (
            &["run", "--scenario", "sleeping"],
            "[possible values: spawn-overhead, waiting, cpu-bound]",
        ),
        (&["run", "--spawner", "fork"], "invalid value 'fork'"),
        (&["run", "--against", "fork"], "invalid value 'fork'"),
        (&["run", "--scenario", "waiting", "--spawner", "rayon"], "there is no cell"),
        (&["run", "--wait", "99999999999999999999s"], "must be a duration"),
        (&["run", "--wait", "300000y"], "must be"),
        (&["run", "--deadline", "0s"], "must be longer than 0"),
        (&["run", "--seed", "-1"], "unexpected argument '-1'"),
        (&["run", "--label", "rack"], "must be KEY=VALUE"),
        (&["run", "--host-id", "a b"], "must be 1 to 128 letters"),
        (&["run", "--collector", "collector"], "must be a URL such as https://collector:7600"),
        (&["run", "--collector", "https://x"], "nothing says whether the collector"),
        (&["run", "--tls-cert", "x.pem"], "not provided: --tls-key"),
        (&["run", "--tls-ca", "missing.pem"], "cannot read missing.pem"),
        (&["enroll"], "a token is needed"),
        (&["enroll", "hunter2"], "this is no token; one begins with fmj1_"),
        (&["enroll", "fmj1_aGVsbG8gd29ybGQ"], "mistyped or cut off"),
        (&["enroll", "fmb1_aGVsbG8gd29ybGQ"], "a host joins with one that begins with fmj1_"),
        (&["enroll", "--token-file", "missing"], "cannot read the token from missing"),
        (&["run", "--collector", "http://192.0.2.1:7600"], "plaintext needs --insecure"),
        (&["run", "--format", "xml"], "invalid value 'xml'"),
        (&["run", "--config", "missing.toml"], "missing.toml: No such file"),
        (&["walk"], "unrecognized subcommand 'walk'"),
        (&[], "a command is needed"),
    ] {
        // Alone, the state folder would not parse either.
        let done = match words {
            [] => run(&mut command(&agent())),
            words => run_agent(folder.path(), words),
        };
        refused(&done, 2, says);
    }
}

#[test]
fn a_token_that_everybody_can_read_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, "hunter2").unwrap();
    for (mode, is_open) in [(0o644, true), (0o600, false)] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let done = run_agent(folder.path(), &["enroll", "--token-file", file.to_str().unwrap()]);
        assert_eq!(done.code, 2, "{done:?}");
        let says = format!("warning: everybody on this host can read or change {}", file.display());
        assert_eq!(done.warnings.contains(&says), is_open, "{done:?}");
    }
}

#[test]
fn collectors_refuse_what_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
    fs::write(
        folder.path().join("text.db"),
        "this is not a database, however long one looks at it",
    )
    .unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (missing, text) = (path("missing.db"), path("text.db"));
    for (words, code, says) in [
        (&["serve", "--listen", "0.0.0.0:7600"][..], 2, "plaintext needs --insecure"),
        (&["serve", "--listen", "here"], 2, "invalid socket address"),
        (&["serve", "--listen", &address], 1, "is in use"),
        (&["serve", "--listen", "127.0.0.1:0", "--store", &text], 1, "is not a fleetmark store"),
        (&["serve", "--store", "postgres://x"], 2, "not supported by this version"),
        (&["report", "--store", "mysql:x"], 2, "must be sqlite:FILE"),
        (&["report", "--store", &missing], 1, "there is no store at"),
        (&["report", "--store", &text], 1, "is not a fleetmark store"),
        (&["report", "--since", "yesterday"], 2, "must be a duration such as 30d"),
        (&["hosts", "--store", &missing], 1, "there is no store at"),
        (
            &["export", "--store", &missing, "--format", "table"],
            2,
            "export has the formats json and csv",
        ),
        (&["local", "--rounds", "0"], 2, "0 is not in"),
        (&["local", "--store", &text], 1, "is not a fleetmark store"),
        (&["local", "--scenario", "waiting", "--spawner", "rayon"], 2, "there is no cell"),
    ] {
        let done = run_collector(folder.path(), words);
        assert_eq!(done.code, code, "{words:?} {done:?}");
        assert!(done.stderr.contains(says), "{words:?}: expected {says:?}: {done:?}");
        let errors = done.stderr.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(errors, 1, "{done:?}");
    }
    assert!(!folder.path().join("missing.db").exists(), "reading never makes a store");
}

#[test]
fn a_newer_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut local = vec!["local", "--scenario", "spawn-overhead"];
    local.extend(SMALL);
    assert_eq!(run_collector(folder.path(), &local).code, 0);
    let store = rusqlite::Connection::open(folder.path().join("fleetmark.db")).unwrap();
    store
        .execute_batch("INSERT INTO refinery_schema_history VALUES (99, 'future', '', '')")
        .unwrap();
    for words in [&["report"][..], &["serve", "--listen", "127.0.0.1:0"], &local] {
        let done = run_collector(folder.path(), words);
        assert_eq!(done.code, 1, "{done:?}");
        assert!(done.stderr.contains("written by a newer fleetmark"), "{done:?}");
    }
}

#[test]
fn reports_have_every_form_and_fit_their_schema() {
    let folder = tempfile::tempdir().unwrap();
    let form = |format: &str| {
        let mut words = vec!["run", "--format", format, "--label", "rack=7", "--seed", "5"];
        words.extend(SMALL);
        let done = run_agent(folder.path(), &words);
        assert_eq!(done.code, 0, "{done:?}");
        assert_eq!(done.stderr, "", "no progress where there is no terminal");
        done.stdout
    };
    let report: Value = serde_json::from_str(&form("json")).unwrap();
    let schema = document::schema().to_value();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(&report).map(|error| error.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(report["schema"], "fleetmark.report/1");
    assert_eq!(report["seed"], 5);
    assert_eq!(report["labels"]["rack"], "7");
    assert_eq!(report["cells"].as_array().unwrap().len(), 11);
    for cell in report["cells"].as_array().unwrap() {
        assert_eq!(cell["samples_ns"].as_array().unwrap().len(), 6);
        assert!(cell["cold_ns"].as_u64() > Some(0), "{cell}");
        assert_eq!(cell["failure"], Value::Null);
    }
    let csv = form("csv");
    assert_eq!(csv.lines().count(), 12);
    assert!(csv.starts_with(
        "report_id,host_id,profile_id,quality,pass,variant,metric,scenario,spawner,workload,"
    ));
    assert!(form("markdown").contains("| spawner "));
    assert!(form("table").contains("against thread"));
}

#[test]
fn parameters_reach_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let words = [
        "run",
        "-f",
        "json",
        "--scenario",
        "cpu-bound,waiting",
        "--spawner",
        "tokio",
        "--spawner",
        "rayon",
        "--against",
        "rayon",
        "--rounds",
        "2",
        "--workers",
        "3",
        "--cpu-units",
        "4/worker",
        "--cpu-rounds",
        "77",
        "--wait-units",
        "5",
        "--wait",
        "2ms",
        "--deadline",
        "9s",
        "--host-id",
        "me",
    ];
    let report = run_agent(folder.path(), &words).json();
    let cells = report["cells"].as_array().unwrap();
    let named: Vec<_> =
        cells.iter().map(|cell| (cell["scenario"].as_str(), cell["spawner"].as_str())).collect();
    let expected = [("waiting", "tokio"), ("cpu-bound", "tokio"), ("cpu-bound", "rayon")];
    assert_eq!(named, expected.map(|(scenario, spawner)| (Some(scenario), Some(spawner))));
    assert_eq!(cells[0]["workload"]["wait_ns"], 2_000_000);
    assert_eq!(cells[0]["units"], 5);
    assert_eq!(cells[1]["workload"]["units_per_worker"], 4);
    assert_eq!(cells[1]["workload"]["kernel_rounds"], 77);
    assert_eq!(cells[1]["workload"]["workers"], 3);
    assert_eq!(cells[1]["units"], 12);
    assert_eq!(report["workers"]["count"], 3);
    assert_eq!(report["host"]["id"], "me");
    assert_eq!(report["verdicts"].as_array().unwrap().len(), 1);
    assert_eq!(report["verdicts"][0]["against"], "rayon");
}

#[test]
fn a_missed_deadline_is_a_failed_cell() {
    let folder = tempfile::tempdir().unwrap();
    let words = [
        "run",
        "-f",
        "json",
        "--rounds",
        "1",
        "--scenario",
        "spawn-overhead,waiting",
        "--spawner",
        "tokio",
        "--wait",
        "20s",
        "--wait-units",
        "1",
        "--deadline",
        "1s",
    ];
    let done = run_agent(folder.path(), &words);
    assert_eq!(done.code, 1, "{done:?}");
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(report["cells"][0]["failure"], Value::Null, "the other is measured");
    assert_eq!(report["cells"][1]["failure"]["kind"], "deadline");
    assert_eq!(report["cells"][1]["median_ns"], Value::Null);
}

#[test]
fn settings_come_from_flags_then_variables_then_the_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("fleetmark.toml"),
        "[agent]\nrounds = 3\nscenario = \"spawn-overhead\"\nspawner = [\"tokio\"]\nspawn-units = 10\n",
    )
    .unwrap();
    let rounds = |variable: Option<&str>, flags: &[&str]| {
        let mut agent = command(&agent());
        if let Some(value) = variable {
            agent.env("FLEETMARK_AGENT_ROUNDS", value);
        }
        agent.args(["run", "-f", "json"]).args(flags).arg("--state-dir").arg(folder.path());
        run(&mut agent).json()["rounds"].as_u64().unwrap()
    };
    assert_eq!(rounds(None, &[]), 3);
    assert_eq!(rounds(Some("2"), &[]), 2);
    assert_eq!(rounds(Some("2"), &["--rounds", "1"]), 1);
}

#[test]
fn hardware_is_told_with_its_sources() {
    let folder = tempfile::tempdir().unwrap();
    let told = run_agent(folder.path(), &["hardware", "--format", "json"]).json();
    assert_eq!(told["profile"]["facets"]["arch"], std::env::consts::ARCH);
    let key = told["key"].as_str().unwrap();
    assert!(key.starts_with("fleetmark-profile/1 arch="), "{key}");
    for fact in told["facts"].as_array().unwrap() {
        assert!(!fact["source"].as_str().unwrap().is_empty(), "{fact}");
    }
    let table = run_agent(folder.path(), &["hardware"]).stdout;
    let explained = run_agent(folder.path(), &["hardware", "--explain"]).stdout;
    assert!(explained.lines().count() >= table.lines().count());
    assert!(explained.contains("/proc/cpuinfo"), "{explained}");
    assert!(
        run_agent(folder.path(), &["hardware", "-f", "csv"])
            .stdout
            .starts_with("fact,value,read from")
    );
    assert!(run_agent(folder.path(), &["hardware", "-f", "markdown"]).stdout.contains("| fact"));
}

#[test]
fn reading_commands_have_every_form_and_filter() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("fleet.db").display());
    let serving = Serving::start(&store);
    let mut words =
        vec!["run", "--host-id", "me", "--label", "rack=7", "--collector", &serving.url];
    words.extend(SMALL);
    assert_eq!(run_agent(folder.path(), &words).code, 0);
    let read = |words: &[&str]| {
        let words: Vec<&str> = words.iter().copied().chain(["--store", &store]).collect();
        run_collector(folder.path(), &words)
    };
    for (words, says) in [
        (&["report", "--include-suspect"][..], "against thread"),
        (&["report", "--include-suspect", "--against", "tokio"], "against tokio"),
        (&["report", "-f", "markdown"], "| spawner"),
        (
            &["report", "-f", "csv"],
            "profile_id,profile_name,pass,variant,metric,scenario,spawner,workload,units,build,median_ns",
        ),
        (&["profiles"], "last_seen"),
        (&["profiles", "-f", "csv"], "id,name,hosts,runs,suspect,partial,last_seen"),
        (&["profiles", "-f", "markdown"], "| id"),
        (&["hosts"], "rack=7"),
        (&["hosts", "-f", "csv"], "id,name,profile,runs,suspect,partial,last_seen,labels,state"),
        (
            &["export", "-f", "csv"],
            "report_id,received_at,sent_at,started_at,ended_at,host.id,host.name",
        ),
        (&["export", "-f", "json"], "\"sample_ns\":"),
        (&["export", "--reports", "-f", "json"], "\"samples_ns\":["),
        (&["export", "--scenario", "waiting"], ",waiting,tokio,"),
    ] {
        let done = read(words);
        assert_eq!(done.code, 0, "{words:?} {done:?}");
        assert!(done.stdout.contains(says), "{words:?}: {done:?}");
    }
    let cells = |words: &[&str]| {
        let words: Vec<&str> =
            ["report", "-f", "json", "--include-suspect"].iter().chain(words).copied().collect();
        let view = read(&words).json();
        view["profiles"][0]["cells"].as_array().unwrap().len()
    };
    assert_eq!(cells(&[]), 11);
    assert_eq!(cells(&["--scenario", "waiting"]), 3);
    assert_eq!(cells(&["--spawner", "rayon,tokio"]), 5);
    let profiles = read(&["profiles", "-f", "json"]).json();
    let id = profiles[0]["id"].as_str().unwrap();
    assert_eq!(cells(&["--profile", &id[..5]]), 11);
    assert_eq!(cells(&["--since", "1h"]), 11);
    for (nothing, says) in [
        (["--profile", "nothing"], "no profile is called \"nothing\"; the nearest: "),
        (
            ["--since", "2999-01-01T00:00:00Z"],
            "nothing matches; without --since 2999-01-01T00:00:00Z",
        ),
    ] {
        let words: Vec<&str> = ["report"].iter().chain(&nothing).copied().collect();
        let done = read(&words);
        assert!(done.code == 5 && done.stderr.starts_with(says), "{done:?}");
    }
    let file = folder.path().join("view.json");
    assert_eq!(read(&["report", "-f", "json", "--output", file.to_str().unwrap()]).stdout, "");
    let view: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(view["schema"], "fleetmark.view/1");
}

#[test]
fn strict_refuses_what_a_warning_would_say() {
    let folder = tempfile::tempdir().unwrap();
    let mut words = vec!["run", "--strict", "-f", "json"];
    words.extend(SMALL);
    let done = run_agent(folder.path(), &words);
    assert_eq!((done.code, done.stdout.as_str()), (3, ""), "{done:?}");
    assert!(done.stderr.starts_with("error: not measured, as --strict asks: "), "{done:?}");
    assert!(done.stderr.contains("debug build"), "{done:?}");
    words.retain(|word| *word != "--strict");
    let done = run_agent(folder.path(), &words);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.warnings.contains("warning: this is a debug build"), "{done:?}");
}
