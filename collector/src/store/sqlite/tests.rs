//! What only SQLite's store has to promise.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::registry::Registry as _;
use crate::{store::Clocks, testing};

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    (folder, path)
}

/// One run, to be stored.
fn run(report: &fleetmark_proto::report::Report) -> Vec<Arc<NewRun>> {
    let encoded = fleetmark_proto::convert::Encoded::new(report);
    vec![Arc::new(NewRun::new(encoded, report, Clocks::new(report.ended_at, None)))]
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
        assert!(matches!(error, StoreError::Newer { found: 99, known: 7, .. }), "{error}");
    }
    history(
        "DELETE FROM refinery_schema_history WHERE name = 'future';
         DELETE FROM refinery_schema_history WHERE version = 7",
    );
    assert!(matches!(refused(&path, Mode::Read), StoreError::Older(_)));
}

#[tokio::test]
async fn a_damaged_row_is_named() {
    let (_folder, path) = folder();
    let store = Sqlite::open(path.clone(), Mode::Write).unwrap();
    let report = testing::report("a", &[1]);
    store.put(run(&report)).await.unwrap();
    Connection::open(&path).unwrap().execute_batch("UPDATE run SET report = x'ff'").unwrap();
    let error = store.runs(None).await.unwrap_err().to_string();
    assert_eq!(error, format!("the store is damaged: table run, column report, row {}", report.id));
}

#[tokio::test]
async fn a_damaged_key_costs_its_own_report_alone() {
    let (_folder, path) = folder();
    let store = Sqlite::open(path.clone(), Mode::Write).unwrap();
    let (damaged, whole) = (testing::report("a", &[1]), testing::report("b", &[1]));
    store.put(run(&damaged)).await.unwrap();
    let damage = |sql: &str| Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    damage(
        "PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(sql, 'sha256         BLOB', 'sha256         ANY')
         WHERE name = 'receipt'",
    );
    let id = damaged.id.to_string().replace('-', "");
    for value in ["x'ff'", "'text'"] {
        damage(&format!(
            "PRAGMA ignore_check_constraints = ON;
             UPDATE receipt SET sha256 = {value} WHERE report_id = x'{id}'"
        ));
        let mut batch = run(&damaged);
        batch.extend(run(&whole));
        let outcomes = store.put(batch).await.unwrap();
        let [Outcome::Rejected(invalid), other] = &outcomes[..] else { panic!("{outcomes:?}") };
        assert!(invalid.to_string().starts_with("report_id: is damaged"), "{invalid}");
        assert!(matches!(other, Outcome::Stored | Outcome::Duplicate), "{other:?}");
    }
    assert_eq!(store.runs(None).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_reader_sees_what_a_writer_commits() {
    let (_folder, path) = folder();
    let writer = Sqlite::open(path.clone(), Mode::Write).unwrap();
    let reader = Sqlite::open(path, Mode::Read).unwrap();
    writer.put(run(&testing::report("a", &[1]))).await.unwrap();
    assert_eq!(reader.runs(None).await.unwrap().len(), 1);
    let refused = reader.put(run(&testing::report("b", &[1]))).await;
    assert!(refused.is_err(), "a reader writes nothing");
}

#[tokio::test]
async fn a_store_of_the_first_version_is_brought_up_to_date() {
    let (_folder, path) = folder();
    let report = testing::report("a", &[1]);
    let encoded = fleetmark_proto::convert::Encoded::new(&report);
    let mut old = Connection::open(&path).unwrap();
    migrations::migrations::runner()
        .set_target(refinery::Target::Version(1))
        .run(&mut old)
        .unwrap();
    let ended_us = microseconds(report.ended_at);
    let id = encoded.id.as_bytes().as_slice();
    old.execute(
        "INSERT INTO receipt (report_id, sha256, received_at_us) VALUES (?1, ?2, ?3)",
        params![id, encoded.digest.as_bytes().as_slice(), ended_us],
    )
    .unwrap();
    old.execute(
        "INSERT INTO run (report_id, report, host_id, profile_id, clean, time_us, received_at_us)
         VALUES (?1, ?2, 'a', 'p', 1, ?3, ?3)",
        params![id, encoded.bytes, ended_us],
    )
    .unwrap();
    drop(old);
    for mode in [Mode::Read, Mode::Change] {
        assert!(matches!(refused(&path, mode), StoreError::Older(_)), "{mode:?}");
    }

    let store = Sqlite::open(path, Mode::Write).unwrap();
    let [kept] = &store.runs(None).await.unwrap()[..] else { panic!("one run") };
    assert_eq!(kept.report, report);
    assert_eq!((kept.sent_at, kept.clock_skew()), (None, None));
    assert_eq!(store.put(run(&report)).await.unwrap(), [Outcome::Duplicate]);
    let other = testing::report("b", &[1]);
    assert_eq!(store.put(run(&other)).await.unwrap(), [Outcome::Stored]);
}

#[tokio::test]
async fn rollups_are_made_of_runs_that_were_there_before_them() {
    let (_folder, path) = folder();
    let mut old = Connection::open(&path).unwrap();
    let before = refinery::Target::Version(6);
    migrations::migrations::runner().set_target(before).run(&mut old).unwrap();
    let reports: Vec<_> = (0..3).map(|host| testing::pair(&format!("h{host}"), 0.5)).collect();
    for report in &reports {
        let encoded = fleetmark_proto::convert::Encoded::new(report);
        let (id, ended_us) = (encoded.id.as_bytes().as_slice(), microseconds(report.ended_at));
        let digest = encoded.digest;
        old.execute(
            "INSERT INTO receipt (report_id, sha256, received_at_us) VALUES (?1, ?2, ?3)",
            params![id, digest.as_bytes().as_slice(), ended_us],
        )
        .unwrap();
        old.execute(
            "INSERT INTO run (report_id, report, host_id, profile_id, clean, time_us, received_at_us)
             VALUES (?1, ?2, ?3, 'p', 1, ?4, ?4)",
            params![id, encoded.bytes, report.host.id.as_str(), ended_us],
        )
        .unwrap();
    }
    drop(old);
    let expected = Migrated { from: 6, to: 7, rolled_up: 3, damaged: 0 };
    assert_eq!(Sqlite::migrate(path.clone(), false).unwrap(), expected);
    let again = Migrated { from: 7, to: 7, rolled_up: 0, damaged: 0 };
    assert_eq!(Sqlite::migrate(path.clone(), false).unwrap(), again);
    let rebuilt = Migrated { from: 7, to: 7, rolled_up: 3, damaged: 0 };
    assert_eq!(Sqlite::migrate(path.clone(), true).unwrap(), rebuilt);
    let store = Sqlite::open(path, Mode::Read).unwrap();
    assert_eq!(store.rollup(None).await.unwrap().unwrap().hosts.len(), 3);
    let checked = store.check().await.unwrap();
    assert_eq!((checked.hosts, checked.runs, checked.values), (3, 3, 6));
    assert!(checked.differences.is_empty(), "{checked:?}");
}

#[tokio::test]
async fn a_damaged_run_keeps_nobody_from_storing_others() {
    let (_folder, path) = folder();
    let store = Sqlite::open(path.clone(), Mode::Write).unwrap();
    let [damaged, whole] = ["a", "b"].map(|host| testing::report(host, &[1]));
    store.put(run(&damaged)).await.unwrap();
    Connection::open(&path)
        .unwrap()
        .execute_batch(
            "UPDATE run SET report = x'ff'; UPDATE rollup SET complete = 0; DELETE FROM outline;
             DELETE FROM newest; DELETE FROM tally; DELETE FROM boots",
        )
        .unwrap();
    drop(store);
    let store = Sqlite::open(path.clone(), Mode::Write).unwrap();
    assert_eq!(store.put(run(&whole)).await.unwrap(), [Outcome::Stored]);
    let rollup = store.rollup(None).await.unwrap().unwrap();
    let hosts: Vec<&str> = rollup.hosts.iter().map(|it| it.host.as_str()).collect();
    assert_eq!(hosts, ["b"], "what can be read");
    let migrated = Sqlite::migrate(path, true).unwrap();
    assert_eq!((migrated.rolled_up, migrated.damaged), (1, 1));
    let checked = store.check().await.unwrap().differences;
    assert!(checked.iter().all(|line| line.contains(&damaged.id.to_string())), "{checked:?}");
}

#[tokio::test]
async fn damaged_rollups_are_named() {
    let (_folder, path) = folder();
    let store = Sqlite::open(path.clone(), Mode::Write).unwrap();
    store.put(run(&testing::report("a", &[1]))).await.unwrap();
    let damage = |sql: &str| Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    let says = async |place: &str| {
        let error = store.rollup(None).await.unwrap_err().to_string();
        assert_eq!(error, format!("the store is damaged: {place}"));
        let checked = store.check().await.unwrap();
        assert!(!checked.differences.is_empty(), "{place}");
    };
    damage("UPDATE newest SET kept = x'ff'");
    says("table newest, column kept, row a").await;
    store.rebuild().await.unwrap();
    damage("UPDATE form SET form = 'none'");
    says("table form, column form, row 1").await;
    store.rebuild().await.unwrap();
    store.put(run(&testing::report("b", &[1]))).await.unwrap();
    assert_eq!(store.check().await.unwrap().differences, [""; 0]);
    damage("DELETE FROM form WHERE form <> 'none'");
    says("table tally, column form_id, row 2").await;
}

#[tokio::test]
async fn who_was_revoked_before_others_could_be_is_so_for_their_certificates() {
    let (_folder, path) = folder();
    let mut old = Connection::open(&path).unwrap();
    let before = refinery::Target::Version(4);
    migrations::migrations::runner().set_target(before).run(&mut old).unwrap();
    old.execute_batch(
        "INSERT INTO token VALUES ('0123456789ab', zeroblob(32), 'agent', 0, 1, 2, 2, NULL, '{}', NULL, NULL, '');
         INSERT INTO agent VALUES ('a', 'a', zeroblob(32), 0, '', '0123456789ab', 0, 1, NULL, '{}');
         INSERT INTO agent VALUES ('b', 'b', zeroblob(32), 0, '', '0123456789ab', 0, 1, 7, '{}');",
    )
    .unwrap();
    drop(old);
    let store = Sqlite::open(path, Mode::Write).unwrap();
    let revoked = store.standing().await.unwrap().revoked;
    let expected = "fleetmark://agent/b".parse().unwrap();
    assert_eq!(revoked.into_iter().collect::<Vec<_>>(), [expected]);
    let token = &store.tokens().await.unwrap()[0];
    assert!(token.is_to_join(), "what was made before is to join with: {token:?}");
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_is_survived() {
    let (_folder, path) = folder();
    let store = Sqlite::open(path.clone(), Mode::Write).unwrap();
    let at_most = |pages: u32| {
        let connection = store.connection.lock().unwrap();
        connection.pragma_update(None, "max_page_count", pages).unwrap();
    };
    let report = |host: String| {
        let mut report = testing::report(&host, &[1]);
        report.labels.insert("bulk".into(), "x".repeat(200));
        report
    };
    at_most(40);
    let mut kept = 0;
    let error = loop {
        match store.put(run(&report(format!("h{kept}")))).await {
            Ok(outcomes) => assert_eq!(outcomes, [Outcome::Stored]),
            Err(error) => break error,
        }
        kept += 1;
    };
    let StoreError::Sqlite(cause) = &error else { panic!("{error:?}") };
    assert_eq!(cause.sqlite_error_code(), Some(ErrorCode::DiskFull));
    assert!(!error.is_busy());
    assert_eq!(store.runs(None).await.unwrap().len(), kept, "what was told stays");
    let refused = report(format!("h{kept}"));
    assert!(store.put(run(&refused)).await.is_err(), "and it goes on being full");
    at_most(4_000);
    assert_eq!(store.put(run(&refused)).await.unwrap(), [Outcome::Stored], "until there is room");
    let reader = Sqlite::open(path, Mode::Read).unwrap();
    assert_eq!(reader.runs(None).await.unwrap().len(), kept + 1);
}

#[tokio::test]
async fn a_store_that_another_holds_is_busy() {
    let (_folder, path) = folder();
    let store = Sqlite::open(path.clone(), Mode::Write).unwrap();
    store.connection.lock().unwrap().busy_timeout(std::time::Duration::ZERO).unwrap();
    let holder = Connection::open(path).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let report = testing::report("a", &[1]);
    let error = store.put(run(&report)).await.unwrap_err();
    assert!(error.is_busy());
    let line = fleetmark_proto::shell::one_line(&error);
    assert_eq!(line.matches("database is locked").count(), 1, "{line}");
    holder.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.put(run(&report)).await.unwrap(), [Outcome::Stored]);
}

#[tokio::test]
async fn damaged_rows_of_the_registry_are_named_and_let_nobody_in() {
    let (_folder, path) = folder();
    let store = Sqlite::open(path.clone(), Mode::Write).unwrap();
    let damage = |sql: &str| Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    damage(
        "INSERT INTO token VALUES ('0123456789ab', randomblob(32), 'reader', 0, 0, 0, 0, NULL, '{}',
                                   NULL, '10.2/16', '', NULL);
         INSERT INTO revoked_subject VALUES ('reader', 'a b', 0);
         INSERT INTO agent VALUES ('a b', '', randomblob(32), 0, '', '0123456789ab', 0, 0, NULL, '{}');
         INSERT INTO audit VALUES (7, 0, 'exploded', '', '', '')",
    );
    let says = |error: StoreError, place: &str| {
        assert_eq!(error.to_string(), format!("the store is damaged: {place}"));
    };
    let network = "table token, column network, row 0123456789ab";
    says(store.tokens().await.unwrap_err(), network);
    says(store.agents().await.unwrap_err(), "table agent, column host_id, row a b");
    says(store.audit(None).await.unwrap_err(), "table audit, column event, row 7");
    says(store.standing().await.unwrap_err(), "table agent, column host_id, row a b");
    damage("DELETE FROM agent");
    let subject = "table revoked_subject, column name, row reader a b";
    says(store.standing().await.unwrap_err(), subject);
    says(store.revoked().await.unwrap_err(), subject);
    damage("DELETE FROM revoked_subject");
    says(store.standing().await.unwrap_err(), network);
}

#[tokio::test]
async fn a_flood_of_refusals_pushes_out_its_own_oldest_alone() {
    use fleetmark_proto::limits;

    use crate::registry::{AuditEntry, Event};

    let (_folder, path) = folder();
    let store = Sqlite::open(path, Mode::Write).unwrap();
    let entry = |event, detail: &str| AuditEntry {
        at: Timestamp::UNIX_EPOCH,
        event,
        who: String::new(),
        address: "192.0.2.7".into(),
        detail: detail.into(),
    };
    store.record(entry(Event::Enrolled, "before")).await.unwrap();
    let flood = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                 INSERT INTO audit (at_us, event, who, address, detail)
                 SELECT 0, 'refused', '', '192.0.2.7', i FROM n";
    store.connection.lock().unwrap().execute(flood, [limits::AUDIT_REFUSALS + 1_000]).unwrap();
    for _ in 0..256 {
        store.record(entry(Event::Refused, "newest")).await.unwrap();
    }
    let trail = store.audit(None).await.unwrap();
    let (refused, others): (Vec<_>, Vec<_>) =
        trail.iter().partition(|line| line.event == Event::Refused);
    let most = usize::try_from(limits::AUDIT_REFUSALS).unwrap();
    assert!((most..most + 256).contains(&refused.len()), "{}", refused.len());
    assert_eq!(others, [&entry(Event::Enrolled, "before")]);
    assert_eq!(refused.last().unwrap().detail, "newest");
}
