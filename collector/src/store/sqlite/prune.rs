//! Takes old runs out, in transactions so small that a collector that stores meanwhile hardly waits.

use std::time::Duration;

use fleetmark_proto::{id::ReportId, unit::count};
use rusqlite::{Connection, TransactionBehavior, params};

use super::{
    Company, Pruned, Retention, Sqlite, StoreError, microseconds,
    rollup::{Forms, Keeper},
};

/// How much goes at a time.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// Rows of one transaction.
    pub(super) chunk: i64,
    /// Between two transactions the store is left to who waits for it.
    pub(super) pause: Duration,
}

impl Pace {
    pub(super) fn of(company: Company) -> Self {
        match company {
            // SQLite's writers look whether it is free up to 100 ms apart, most of them sooner.
            Company::Others => Self { chunk: 100, pause: Duration::from_millis(20) },
            // Nobody waits, and a transaction takes room for what it changes.
            Company::Nobody => Self { chunk: 1, pause: Duration::ZERO },
        }
    }
}

/// A key of `receipt` or `run`.
pub(super) type Key = Vec<u8>;

/// What would be removed.
pub(super) fn expired(connection: &Connection, retention: Retention) -> Result<Pruned, StoreError> {
    let (runs_us, keys_us) = borders(retention);
    let counted = |number: i64| u64::try_from(number).unwrap_or(0);
    let runs = connection
        .prepare_cached("SELECT count(*) FROM run WHERE time_us < ?1")?
        .query_row([runs_us], |row| row.get(0).map(counted))?;
    // A key is free when its run goes, too.
    let keys = connection
        .prepare_cached(
            "SELECT count(*) FROM receipt WHERE report_id < ?3 AND received_at_us < ?1 AND NOT EXISTS
               (SELECT 1 FROM run WHERE run.report_id = receipt.report_id AND run.time_us >= ?2)",
        )?
        .query_row(params![keys_us, runs_us, least_id(retention)], |row| {
            row.get(0).map(counted)
        })?;
    let audit = connection
        .prepare_cached("SELECT count(*) FROM audit WHERE at_us < ?1")?
        .query_row([runs_us], |row| row.get(0).map(counted))?;
    Ok(Pruned { runs, keys, audit })
}

/// Removes runs, then keys that have none, then lines of the audit trail.
pub(super) async fn prune(store: &Sqlite, retention: Retention) -> Result<Pruned, StoreError> {
    let (runs_us, keys_us) = borders(retention);
    let Pace { chunk, pause } = Pace::of(store.company);
    let mut pruned = Pruned::default();
    loop {
        let old = store.with(move |connection| old_runs(connection, runs_us, chunk)).await?;
        if old.is_empty() {
            break;
        }
        pruned.runs += store.with(move |connection| remove_runs(connection, &old)).await?;
        tokio::time::sleep(pause).await;
    }
    // One walk over all keys: those that stay are not looked at again.
    let mut last = Key::new();
    loop {
        let after = last.clone();
        let free = store
            .with(move |connection| {
                let ids = [after, least_id(retention)];
                free_keys(connection, keys_us, &ids, chunk)
            })
            .await?;
        let Some(newest) = free.last() else { break };
        last.clone_from(newest);
        pruned.keys += store.with(move |connection| remove_keys(connection, &free)).await?;
        tokio::time::sleep(pause).await;
    }
    loop {
        let removed =
            store.with(move |connection| remove_lines(connection, runs_us, chunk)).await?;
        if removed == 0 {
            return Ok(pruned);
        }
        pruned.audit += removed;
        tokio::time::sleep(pause).await;
    }
}

/// Keys from there on belong to reports that are not too old by their ids, whenever they came: they may come again.
fn least_id(retention: Retention) -> Key {
    ReportId::least_bytes_at(retention.keys_before).to_vec()
}

fn borders(retention: Retention) -> (i64, i64) {
    (microseconds(retention.runs_before), microseconds(retention.keys_before))
}

fn old_runs(connection: &Connection, before_us: i64, chunk: i64) -> Result<Vec<Key>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT report_id FROM run WHERE time_us < ?1 ORDER BY time_us LIMIT ?2")?;
    let rows = statement.query_map(params![before_us, chunk], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn free_keys(
    connection: &Connection,
    before_us: i64,
    [after, before]: &[Key; 2],
    chunk: i64,
) -> Result<Vec<Key>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT report_id FROM receipt
         WHERE report_id > ?1 AND report_id < ?2 AND received_at_us < ?3 AND NOT EXISTS
           (SELECT 1 FROM run WHERE run.report_id = receipt.report_id)
         ORDER BY report_id LIMIT ?4",
    )?;
    let rows = statement.query_map(params![after, before, before_us, chunk], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Removes a few of the oldest lines of the audit trail.
fn remove_lines(connection: &Connection, before_us: i64, chunk: i64) -> Result<u64, StoreError> {
    let mut statement = connection.prepare_cached(
        "DELETE FROM audit WHERE audit_id IN
           (SELECT audit_id FROM audit WHERE at_us < ?1 ORDER BY at_us LIMIT ?2)",
    )?;
    Ok(count(statement.execute(params![before_us, chunk])?))
}

/// Removes these runs in one transaction, with what is kept beside them, and counts those that were there.
fn remove_runs(connection: &mut Connection, keys: &[Key]) -> Result<u64, StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let removed = take_out(&transaction, keys)?;
    transaction.commit()?;
    Ok(removed)
}

/// The same within a transaction.
pub(super) fn take_out(connection: &Connection, keys: &[Key]) -> Result<u64, StoreError> {
    let mut keeper = Keeper::new(connection, Forms::default())?;
    let mut removed = 0;
    for key in keys {
        removed += u64::from(keeper.remove(key)?);
    }
    keeper.finish()?;
    Ok(removed)
}

/// Removes these keys in one transaction, and counts those that were there.
fn remove_keys(connection: &mut Connection, keys: &[Key]) -> Result<u64, StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut removed = 0;
    for key in keys {
        removed += transaction
            .prepare_cached("DELETE FROM receipt WHERE report_id = ?1")?
            .execute([key])?;
    }
    transaction.commit()?;
    Ok(count(removed))
}
