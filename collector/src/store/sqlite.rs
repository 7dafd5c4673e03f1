//! Runs in a file of SQLite's: written ahead to a log that is on the disk before a commit returns.

use std::{
    fs::OpenOptions,
    ops::ControlFlow,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use fleetmark_proto::{
    convert::Outcome,
    id::{Digest, ReportId},
    invalid::Invalid,
    shell,
};
use jiff::Timestamp;
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension as _, Row, Transaction, params,
};
use rustix::{fs::statvfs, process::geteuid};

use super::{
    KeptRun, Mode, NewRun, Place, Pruned, Retention, Store, StoreError, StoredRun, lacks_room,
    rollup::{Checked, Migrated, Rollup, RunAt},
    row::{BUSY, RunRow, microseconds},
};
use rollup::{Forms, Keeper};

mod prune;
mod registry;
mod rollup;

mod migrations {
    refinery::embed_migrations!("migrations/sqlite");
}

/// What is free where a store is opened for others, too: enough for its log, the log's index, and some commits. Where it is not,
/// SQLite would take the last of it for an index that it cannot finish.
const ROOM_BYTES: u64 = 256 * 1024;

/// How many statements stay prepared: more than there are in use.
const STATEMENTS: usize = 64;

/// A store in one file.
#[derive(Debug)]
pub(super) struct Sqlite {
    connection: Arc<Mutex<Connection>>,
    forms: Arc<Mutex<Forms>>,
    company: Company,
}

/// Who else may use the file meanwhile.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Company {
    /// Readers, and writers in turns.
    Others,
    /// Nobody. It takes the least room: no index of the log beside the log, and no log but what one transaction needs.
    Nobody,
}

impl Sqlite {
    pub(super) fn open(path: PathBuf, mode: Mode) -> Result<Self, StoreError> {
        match Self::open_in(Company::Others, path, mode) {
            // On a full disk something may still be changed, or removed, though nothing be added.
            Err(StoreError::Full(path)) if mode == Mode::Change => {
                Self::open_in(Company::Nobody, path, mode)
            }
            opened => opened,
        }
    }

    fn open_in(company: Company, path: PathBuf, mode: Mode) -> Result<Self, StoreError> {
        let flags = match mode {
            Mode::Write => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
            _ if !path.exists() => return Err(StoreError::Missing(path)),
            Mode::Update | Mode::Change => OpenFlags::SQLITE_OPEN_READ_WRITE,
            Mode::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        };
        if company == Company::Others && mode != Mode::Read && !has_room(&path) {
            return Err(StoreError::Full(path));
        }
        if mode == Mode::Write {
            make_private(&path);
        }
        let classify = |source| open_error(&path, source);
        let mut connection = Connection::open_with_flags(&path, flags).map_err(classify)?;
        connection.busy_timeout(BUSY).map_err(classify)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        if company == Company::Nobody {
            connection.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(classify)?;
        }
        let found = schema_version(&connection).map_err(classify)?;
        let known = known_version();
        match found {
            Some(found) if found > known => return Err(StoreError::Newer { path, found, known }),
            None if mode != Mode::Write || has_tables(&connection).map_err(classify)? => {
                return Err(StoreError::NotAStore(path));
            }
            Some(found) if matches!(mode, Mode::Change | Mode::Read) && found < known => {
                return Err(StoreError::Older(path));
            }
            _ => {}
        }
        if mode != Mode::Read {
            let journal = match company {
                Company::Others => "WAL",
                Company::Nobody => "TRUNCATE",
            };
            connection.pragma_update(None, "journal_mode", journal).map_err(classify)?;
            connection.pragma_update(None, "synchronous", "FULL").map_err(classify)?;
            connection.pragma_update(None, "foreign_keys", true).map_err(classify)?;
        }
        if matches!(mode, Mode::Write | Mode::Update) {
            migrations::migrations::runner()
                .run(&mut connection)
                .map_err(|source| migration_error(path, source))?;
        }
        if mode == Mode::Write && !rollup::is_complete(&connection)? {
            roll_up(&mut connection)?;
        }
        let connection = Arc::new(Mutex::new(connection));
        Ok(Self { connection, forms: Arc::default(), company })
    }

    /// Brings a store up to date, and makes rollups where they are missing; all of them if asked to.
    pub(super) fn migrate(path: PathBuf, rebuild: bool) -> Result<Migrated, StoreError> {
        let before = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY);
        let from = before.ok().and_then(|connection| schema_version(&connection).ok().flatten());
        let store = Self::open(path, Mode::Update)?;
        let mut connection = store.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if rebuild {
            rollup::clear(&mut connection)?;
        }
        let built = match rollup::is_complete(&connection)? {
            true => rollup::Built::default(),
            false => rollup::complete(&mut connection)?,
        };
        let to = known_version();
        let (rolled_up, damaged) = (built.runs, built.damaged);
        Ok(Migrated { from: from.unwrap_or(to), to, rolled_up, damaged })
    }

    /// Uses the connection on a thread that may block.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let connection = Arc::clone(&self.connection);
        tokio::task::spawn_blocking(move || {
            // A panic in the middle of a transaction has rolled it back; the connection is good.
            let mut connection: MutexGuard<'_, Connection> =
                connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut connection)
        })
        .await?
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn put(&self, runs: Vec<Arc<NewRun>>) -> Result<Vec<Outcome>, StoreError> {
        let forms = Arc::clone(&self.forms);
        self.with(move |connection| {
            let transaction =
                connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            // What became known in a transaction that fails is forgotten.
            let mut forms = forms.lock().unwrap_or_else(PoisonError::into_inner);
            let mut keeper = Keeper::new(&transaction, std::mem::take(&mut *forms))?;
            let outcomes = runs
                .iter()
                .map(|run| put_one(&transaction, &mut keeper, run))
                .collect::<Result<Vec<_>, _>>()?;
            let known = keeper.finish()?;
            transaction.commit()?;
            *forms = known;
            Ok(outcomes)
        })
        .await
    }

    async fn runs(&self, since: Option<Timestamp>) -> Result<Vec<StoredRun>, StoreError> {
        self.with(move |connection| {
            let mut runs = Vec::new();
            each_run(connection, &Place::before(since), |row| {
                runs.push(row.read()?);
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(runs)
        })
        .await
    }

    async fn runs_by_id(&self, ids: Vec<ReportId>) -> Result<Vec<StoredRun>, StoreError> {
        self.with(move |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {RUN} FROM run LEFT JOIN agent ON agent.host_id = run.host_id
                 WHERE report_id = ?1"
            ))?;
            let mut runs = Vec::new();
            for id in ids {
                let id = id.as_bytes().as_slice();
                if let Some(row) = statement.query_row([id], take_run).optional()? {
                    runs.push(row.read()?);
                }
            }
            Ok(runs)
        })
        .await
    }

    async fn rollup(&self, since: Option<Timestamp>) -> Result<Option<Rollup>, StoreError> {
        let since_us = since.map_or(i64::MIN, microseconds);
        self.with(move |connection| rollup::read(connection, since_us)).await
    }

    async fn rebuild(&self) -> Result<u64, StoreError> {
        let forms = Arc::clone(&self.forms);
        self.with(move |connection| {
            // One that was damaged gets another number.
            *forms.lock().unwrap_or_else(PoisonError::into_inner) = Forms::default();
            rollup::clear(connection)?;
            Ok(rollup::complete(connection)?.runs)
        })
        .await
    }

    async fn check(&self) -> Result<Checked, StoreError> {
        self.with(rollup::check).await
    }

    async fn page(&self, behind: Place, bytes: usize) -> Result<Vec<KeptRun>, StoreError> {
        self.with(move |connection| {
            let mut page = Vec::new();
            let mut left = bytes;
            each_run(connection, &behind, |row| {
                let rest = left.checked_sub(row.report.len()).filter(|rest| *rest > 0);
                page.push(row.keep()?);
                Ok(match rest {
                    Some(rest) => {
                        left = rest;
                        ControlFlow::Continue(())
                    }
                    None => ControlFlow::Break(()),
                })
            })?;
            Ok(page)
        })
        .await
    }

    async fn count(&self, since: Option<Timestamp>) -> Result<u64, StoreError> {
        let since_us = since.map_or(i64::MIN, microseconds);
        self.with(move |connection| {
            let sql = "SELECT count(*) FROM run WHERE time_us >= ?1";
            let runs: i64 =
                connection.prepare_cached(sql)?.query_row([since_us], |row| row.get(0))?;
            Ok(u64::try_from(runs).unwrap_or(0))
        })
        .await
    }

    async fn size_bytes(&self) -> Result<u64, StoreError> {
        self.with(|connection| {
            let words =
                "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()";
            let bytes: i64 = connection.query_row(words, [], |row| row.get(0))?;
            Ok(u64::try_from(bytes).unwrap_or(0))
        })
        .await
    }

    async fn expired(&self, retention: Retention) -> Result<Pruned, StoreError> {
        self.with(move |connection| prune::expired(connection, retention)).await
    }

    async fn prune(&self, retention: Retention) -> Result<Pruned, StoreError> {
        prune::prune(self, retention).await
    }
}

/// Goes through the runs behind a place, in their order, until `visit` has enough.
fn each_run(
    connection: &Connection,
    behind: &Place,
    mut visit: impl FnMut(RunRow) -> Result<ControlFlow<()>, StoreError>,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {RUN} FROM run LEFT JOIN agent ON agent.host_id = run.host_id
         WHERE (time_us, report_id) > (?1, ?2) ORDER BY time_us, report_id",
    ))?;
    let mut rows = statement.query(params![behind.time_us, behind.report_id])?;
    while let Some(row) = rows.next()? {
        if visit(take_run(row)?)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// The columns that [`take_run`] reads.
const RUN: &str = "report_id, report, time_us, received_at_us, sent_at_us, agent.labels AS labels";

fn take_run(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    Ok(RunRow {
        report_id: row.get("report_id")?,
        report: row.get("report")?,
        time_us: row.get("time_us")?,
        received_at_us: row.get("received_at_us")?,
        sent_at_us: row.get("sent_at_us")?,
        labels: row.get("labels")?,
    })
}

/// Makes the rollups that are missing. Where what is there of them is damaged, nobody is kept from storing: then reports go by the
/// runs.
fn roll_up(connection: &mut Connection) -> Result<(), StoreError> {
    match rollup::complete(connection) {
        Err(error @ StoreError::Corrupt { .. }) => {
            tracing::error!("rollups cannot be made: {}", shell::one_line(&error));
            Ok(())
        }
        made => made.map(drop),
    }
}

fn put_one(
    transaction: &Transaction<'_>,
    keeper: &mut Keeper<'_>,
    run: &NewRun,
) -> Result<Outcome, StoreError> {
    let NewRun { encoded, host, profile, extract, clocks, time, proven } = run;
    let id = encoded.id.as_bytes().as_slice();
    let known: Option<Vec<u8>> = transaction
        .prepare_cached("SELECT sha256 FROM receipt WHERE report_id = ?1")?
        // What is no digest any more may be of any type.
        .query_row([id], |row| Ok(row.get_ref(0)?.as_blob().unwrap_or_default().to_vec()))
        .optional()?;
    if let Some(known) = known {
        return Ok(match Digest::from_bytes(&known) {
            Ok(digest) if digest == encoded.digest => Outcome::Duplicate,
            Ok(digest) => Outcome::Conflict(digest),
            Err(source) => damaged(encoded.id, source),
        });
    }
    let received_at_us = microseconds(clocks.received_at());
    transaction
        .prepare_cached(
            "INSERT INTO receipt (report_id, sha256, received_at_us) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![id, encoded.digest.as_bytes().as_slice(), received_at_us])?;
    transaction
        .prepare_cached(
            "INSERT INTO run (report_id, report, host_id, profile_id, clean, time_us, received_at_us,
                              sent_at_us, proven)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            id,
            encoded.bytes,
            host.as_str(),
            profile.as_str(),
            extract.clean,
            microseconds(*time),
            received_at_us,
            clocks.sent_at().map(microseconds),
            proven,
        ])?;
    let run = RunAt { time_us: microseconds(*time), id: encoded.id };
    keeper.add(host.as_str(), run, extract)?;
    Ok(Outcome::Stored)
}

/// Makes the file for its owner alone, as SQLite makes those beside it with the mode of this one. Where that fails, SQLite says
/// why it cannot have it. One that is there has the mode that its owner wants.
fn make_private(path: &Path) {
    let _ = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
}

/// Whether there is room for what a store needs to be opened, or it has been opened by somebody already.
fn has_room(path: &Path) -> bool {
    let mut index = path.as_os_str().to_owned();
    index.push("-shm");
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let is_root = geteuid().is_root();
    let free = statvfs(folder.unwrap_or(Path::new(".")))
        .ok()
        // Where nobody can tell, there may be room.
        .filter(|disk| disk.f_blocks > 0)
        // A part of the disk may be root's alone.
        .map(|disk| {
            disk.f_frsize.saturating_mul(if is_root { disk.f_bfree } else { disk.f_bavail })
        })
        .unwrap_or(u64::MAX);
    free >= ROOM_BYTES || Path::new(&index).exists()
}

/// The answer to a report whose key is damaged. It is told for good, and of this report alone: the key stays as it is until a
/// person looks after it.
fn damaged(id: ReportId, source: Invalid) -> Outcome {
    let row = id.to_string();
    let error = StoreError::Corrupt { table: "receipt", column: "sha256", row, source };
    tracing::error!("{}", shell::one_line(&error));
    Outcome::Rejected(Invalid::new(
        "report_id",
        "is damaged in the collector's store, which cannot tell whether it has this report",
    ))
}

fn open_error(path: &Path, source: rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => StoreError::NotAStore(path),
        _ if lacks_room(&source) => StoreError::Full(path),
        _ => StoreError::Open { path, source },
    }
}

fn migration_error(path: PathBuf, source: refinery::Error) -> StoreError {
    match lacks_room(&source) {
        true => StoreError::Full(path),
        false => StoreError::Migrate { path, source: Box::new(source) },
    }
}

/// The newest migration that the file has seen; `None` if it has no history of migrations.
fn schema_version(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let has_history: bool = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'refinery_schema_history')",
        [],
        |row| row.get(0),
    )?;
    if !has_history {
        return Ok(None);
    }
    connection.query_row("SELECT max(version) FROM refinery_schema_history", [], |row| row.get(0))
}

fn has_tables(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0))
}

fn known_version() -> i64 {
    let runner = migrations::migrations::runner();
    runner
        .get_migrations()
        .iter()
        .map(|migration| i64::from(migration.version()))
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests;
