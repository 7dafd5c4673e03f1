//! The audit trail. Lines are only added, but for what is refused: strangers make those, so a flood of them pushes its own oldest
//! out, and no line of anything else.

use fleetmark_proto::limits;
use jiff::Timestamp;
use rusqlite::{Connection, Transaction, params};

use super::{StoreError, microseconds, row::AuditRow};
use crate::registry::AuditEntry;

/// It is looked after once in so many lines, as counting takes a while.
const TURN: i64 = 256;

pub(super) fn add(transaction: &Transaction<'_>, entry: &AuditEntry) -> Result<(), StoreError> {
    let AuditEntry { at, event, who, address, detail } = entry;
    transaction
        .prepare_cached(
            "INSERT INTO audit (at_us, event, who, address, detail) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![microseconds(*at), event.as_str(), who, address, detail])?;
    if transaction.last_insert_rowid() % TURN == 0 {
        transaction.execute(
            "DELETE FROM audit WHERE event = 'refused' AND audit_id <=
               (SELECT audit_id FROM audit WHERE event = 'refused'
                ORDER BY audit_id DESC LIMIT 1 OFFSET ?1)",
            [limits::AUDIT_REFUSALS],
        )?;
    }
    Ok(())
}

pub(super) fn since(
    connection: &Connection,
    since: Option<Timestamp>,
) -> Result<Vec<AuditEntry>, StoreError> {
    let since_us = since.map_or(i64::MIN, microseconds);
    let mut statement =
        connection.prepare_cached("SELECT * FROM audit WHERE at_us >= ?1 ORDER BY audit_id")?;
    let rows = statement.query_map([since_us], AuditRow::take)?;
    rows.map(|row| row?.read()).collect()
}
