//! Makes rollups of runs that were there before them.

use fleetmark_proto::{convert, id::ReportId, shell, unit::count};
use rusqlite::{Connection, TransactionBehavior, params};

use super::{Forms, Keeper, StoreError, corrupt};
use crate::store::rollup::{Extract, RunAt};

/// How many runs share a transaction. Whoever stores meanwhile gets a turn between two.
const CHUNK: i64 = 500;

/// Whether rollups are there for all runs.
pub(in super::super) fn is_complete(connection: &Connection) -> Result<bool, StoreError> {
    // Without a row nobody knows.
    let sql = "SELECT EXISTS (SELECT 1 FROM rollup WHERE complete = 1)";
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// Removes all rollups. Forms that runs may be stored under meanwhile keep their ids.
pub(in super::super) fn clear(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(
        "DELETE FROM rollup; INSERT INTO rollup (complete) VALUES (0);
         DELETE FROM newest; DELETE FROM tally; DELETE FROM boots; DELETE FROM outline;",
    )?;
    transaction.commit()?;
    Ok(())
}

/// What came of making rollups.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Built {
    /// Runs that they were made of.
    pub(in super::super) runs: u64,
    /// Runs whose reports are damaged: they are in none, so that one of them does not cost all others.
    pub(in super::super) damaged: u64,
}

/// Makes rollups of the runs that are in none yet, a few at a time, and counts them. What is done stays done if it is broken off.
pub(in super::super) fn complete(connection: &mut Connection) -> Result<Built, StoreError> {
    let mut built = Built::default();
    let mut after = i64::MIN;
    loop {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let runs = without(&transaction, after)?;
        let Some(last) = runs.last() else {
            transaction
                .execute_batch("DELETE FROM rollup; INSERT INTO rollup (complete) VALUES (1);")?;
            transaction.commit()?;
            return Ok(built);
        };
        after = last.rowid;
        let mut keeper = Keeper::new(&transaction, Forms::default())?;
        let mut damaged = 0;
        for Run { report_id, host, report, time_us, .. } in &runs {
            match convert::decode(report) {
                Ok(report) => {
                    let run = RunAt { time_us: *time_us, id: report.id };
                    keeper.add(host, run, &Extract::of(&report))?;
                }
                Err(invalid) => {
                    damaged += 1;
                    let error = corrupt("run", "report", hex(report_id), invalid);
                    tracing::error!("{}: it is in no rollup", shell::one_line(&error));
                }
            }
        }
        keeper.finish()?;
        transaction.commit()?;
        built.damaged += damaged;
        built.runs += count(runs.len()) - damaged;
        if built.runs % 50_000 < count(runs.len()) {
            tracing::info!("{} runs are rolled up", built.runs);
        }
    }
}

/// A run that is in no rollup.
struct Run {
    rowid: i64,
    report_id: Vec<u8>,
    host: String,
    report: Vec<u8>,
    time_us: i64,
}

fn without(connection: &Connection, after: i64) -> Result<Vec<Run>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT rowid, report_id, host_id, report, time_us FROM run
         WHERE rowid > ?1 AND NOT EXISTS
           (SELECT 1 FROM outline WHERE outline.report_id = run.report_id)
         ORDER BY rowid LIMIT ?2",
    )?;
    let rows = statement.query_map(params![after, CHUNK], |row| {
        Ok(Run {
            rowid: row.get(0)?,
            report_id: row.get(1)?,
            host: row.get(2)?,
            report: row.get(3)?,
            time_us: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A key as it is told, whether it is an id or not.
pub(super) fn hex(report_id: &[u8]) -> String {
    ReportId::from_bytes(report_id)
        .map_or_else(|_| format!("{report_id:02x?}"), |id| id.to_string())
}
