//! What only SQLite's store has to promise.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::{store::NewRun, testing};

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    (folder, path)
}

fn refused(path: &Path, mode: Mode) -> StoreError {
    Sqlite::open(path.to_owned(), mode).unwrap_err()
}

#[test]
fn commits_are_on_the_disk_before_they_return() {
    let (_folder, path) = folder();
    let store = Sqlite::open(path, Mode::Write).unwrap();
    let connection = store.connection.lock().unwrap();
    let pragma = |name: &str| -> String {
        connection
            .pragma_query_value(None, name, |row| {
                row.get::<_, rusqlite::types::Value>(0).map(|value| format!("{value:?}"))
            })
            .unwrap()
    };
    assert_eq!(pragma("journal_mode"), r#"Text("wal")"#);
    assert_eq!(pragma("synchronous"), "Integer(2)", "FULL");
    assert_eq!(pragma("foreign_keys"), "Integer(1)");
}

#[test]
fn reading_never_makes_a_store() {
    let (_folder, path) = folder();
    assert!(matches!(refused(&path, Mode::Read), StoreError::Missing(_)));
    assert!(!path.exists());
}

#[test]
fn other_files_are_refused_and_left_alone() {
    let (_folder, path) = folder();
    fs::write(&path, "this is a text file, and it is longer than a header of SQLite's would be.")
        .unwrap();
    for mode in [Mode::Read, Mode::Write] {
        assert!(matches!(refused(&path, mode), StoreError::NotAStore(_)));
    }
    assert!(fs::read_to_string(&path).unwrap().starts_with("this is a text file"));

    let (_folder, path) = folder();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let before = fs::read(&path).unwrap();
    for mode in [Mode::Read, Mode::Write] {
        assert!(matches!(refused(&path, mode), StoreError::NotAStore(_)));
    }
    assert_eq!(fs::read(&path).unwrap(), before, "somebody else's database");
}

#[test]
fn stores_of_other_versions_are_refused_and_left_alone() {
    let (_folder, path) = folder();
    drop(Sqlite::open(path.clone(), Mode::Write).unwrap());
    let history = |sql: &str| Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    history("INSERT INTO refinery_schema_history VALUES (99, 'future', '', '')");
    for mode in [Mode::Read, Mode::Write] {
        let error = refused(&path, mode);
        assert!(matches!(error, StoreError::Newer { found: 99, known: 1, .. }), "{error}");
    }
    history(
        "DELETE FROM refinery_schema_history WHERE name = 'future'; UPDATE refinery_schema_history SET version = 0",
    );
    assert!(matches!(refused(&path, Mode::Read), StoreError::Older(_)));
}

#[tokio::test]
async fn a_damaged_row_is_named() {
    let (_folder, path) = folder();
    let store = Sqlite::open(path.clone(), Mode::Write).unwrap();
    let report = testing::report("a", &[1]);
    let run = NewRun { encoded: fleetmark_proto::convert::Encoded::new(&report), report };
    store.put(vec![run.clone()], Timestamp::now()).await.unwrap();
    Connection::open(&path).unwrap().execute_batch("UPDATE run SET report = x'ff'").unwrap();
    let error = store.runs(None).await.unwrap_err().to_string();
    assert_eq!(
        error,
        format!("the store is damaged: table run, column report, row {}", run.report.id)
    );
}

#[tokio::test]
async fn a_reader_sees_what_a_writer_commits() {
    let (_folder, path) = folder();
    let writer = Sqlite::open(path.clone(), Mode::Write).unwrap();
    let reader = Sqlite::open(path, Mode::Read).unwrap();
    let report = testing::report("a", &[1]);
    let run = NewRun { encoded: fleetmark_proto::convert::Encoded::new(&report), report };
    writer.put(vec![run], Timestamp::now()).await.unwrap();
    assert_eq!(reader.runs(None).await.unwrap().len(), 1);
    let report = testing::report("b", &[1]);
    let other = NewRun { encoded: fleetmark_proto::convert::Encoded::new(&report), report };
    let refused = reader.put(vec![other], Timestamp::now()).await;
    assert!(refused.is_err(), "a reader writes nothing");
}
