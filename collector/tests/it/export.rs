//! Exported samples are read as they are by the tools that people read tables with.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::support::{collector, command, run, skip};

/// A Python with pandas and DuckDB: the one that `.ci/run` makes, else this host's.
fn python() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    [root.join("target/ci-tools/bin/python3"), "python3".into()].into_iter().find(|python| {
        let mut python = Command::new(python);
        python.args(["-c", "import duckdb, pandas"]).stdout(Stdio::null()).stderr(Stdio::null());
        python.status().is_ok_and(|status| status.success())
    })
}

/// A small fleet, exported in both forms.
fn exported(folder: &Path) -> [PathBuf; 2] {
    let store = format!("sqlite:{}", folder.join("made-up.db").display());
    let simulate = ["simulate", "--hosts", "3", "--weeks", "1", "--store", &store];
    assert_eq!(run(command(&collector()).args(simulate)).code, 0);
    ["csv", "json"].map(|format| {
        let path = folder.join(format!("samples.{format}"));
        let words = ["export", "--format", format, "--store", &store, "--output"];
        let done = run(command(&collector()).args(words).arg(&path));
        assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (0, "", ""));
        path
    })
}

#[test]
fn pandas_and_duckdb_read_exports_as_they_are() {
    let Some(python) = python() else { return skip("pandas or DuckDB", true) };
    let folder = tempfile::tempdir().unwrap();
    let [csv, json] = exported(folder.path());
    let script = r#"
import json, sys
import duckdb, pandas

csv, js = sys.argv[1:]
tables = [
    pandas.read_csv(csv),
    pandas.read_json(js),
    duckdb.sql(f"SELECT * FROM '{csv}'").df(),
    duckdb.sql(f"SELECT * FROM '{js}'").df(),
]

def told(table):
    clean = table[(table["round"] > 0) & (table["quality"] == "clean")]
    median = clean.groupby(["label.role", "scenario", "spawner"])["sample_ns"].median()
    return {
        "columns": list(table.columns),
        "lines": len(table),
        "sum": int(table["sample_ns"].sum()),
        "whole": str(table["sample_ns"].dtype) == "int64",
        "hosts": sorted(table["host.id"].unique()),
        "l3": int(table["l3_bytes"].max()),
        "began": pandas.to_datetime(table["started_at"], utc=True).min().strftime("%FT%T"),
        "medians": {" ".join(key): value for key, value in median.items()},
    }

print(json.dumps([told(table) for table in tables]))
"#;
    let mut python = command(&python);
    let told = run(python.args(["-c", script]).arg(csv).arg(&json)).json();
    let [first, others @ ..] = &told.as_array().unwrap()[..] else { panic!("{told}") };
    for other in others {
        assert_eq!(other, first);
    }
    let lines: Vec<Value> = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    let sum: u64 = lines.iter().map(|line| line["sample_ns"].as_u64().unwrap()).sum();
    assert_eq!(first["lines"], lines.len());
    assert_eq!(first["sum"], sum);
    assert_eq!(first["whole"], true);
    assert!(first["hosts"].as_array().unwrap().contains(&json!("web-01")), "{first}");
    assert_eq!(first["medians"].as_object().unwrap().len(), 3 * 11, "the container is suspect");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("made-up.db").display());
    let simulate = ["simulate", "--hosts", "3", "--weeks", "1", "--store", &store];
    assert_eq!(run(command(&collector()).args(simulate)).code, 0);
    let mut bash = command("bash".as_ref());
    let script = r#""$0" export --store "$1" | head -n 1; exit "${PIPESTATUS[0]}""#;
    let done = run(bash.args(["-c", script]).arg(collector()).arg(&store));
    assert_eq!((done.code, done.stderr.as_str(), done.stdout.lines().count()), (0, "", 1));
}

#[test]
fn exports_have_everything_unless_something_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("made-up.db").display());
    let long_ago = ["--hosts", "3", "--weeks", "1", "--now", "2026-01-01T00:00:00Z"];
    let simulate =
        run(command(&collector()).arg("simulate").args(long_ago).args(["--store", &store]));
    assert_eq!(simulate.code, 0);
    let lines = |words: &[&str]| {
        run(command(&collector()).arg("export").args(words).args(["--store", &store]))
    };
    let all = lines(&[]);
    let suspect = |text: &str| text.lines().filter(|line| line.contains(",suspect,")).count();
    assert!(all.code == 0 && suspect(&all.stdout) > 0, "the container's runs are in it");
    let one = lines(&["--host", "web-01", "--scenario", "waiting", "--spawner", "tokio"]);
    // Two weeks of eleven rounds and a cold one, below the names.
    assert_eq!(one.stdout.lines().count(), 1 + 2 * 12, "{one:?}");
    let none = lines(&["--since", "30d", "-f", "json"]);
    assert_eq!((none.code, none.stdout.as_str()), (5, "[\n]\n"), "{none:?}");
    assert!(none.stderr.contains("without --since "), "{none:?}");
    let reports = lines(&["--reports", "-f", "json", "--host", "web-01"]).json();
    assert_eq!(reports.as_array().unwrap().len(), 2);
    assert!(reports[0]["evidence"]["canary_before_ns"].is_u64(), "{reports}");
    let wrong = lines(&["--reports"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("whole reports have json alone"), "{wrong:?}");
}
