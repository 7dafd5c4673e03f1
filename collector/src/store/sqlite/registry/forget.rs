//! Takes all runs of one host out, in transactions so small that a collector that stores meanwhile hardly waits.

use fleetmark_proto::id::HostId;
use rusqlite::{Connection, params};

use super::{
    super::prune::{Key, Pace, take_out},
    Sqlite, StoreError, audit,
};
use crate::registry::AuditEntry;

/// How many runs are looked at in one go.
const LOOK: i64 = 1_000;

/// Removes them; the line about it is in the first commit.
pub(super) async fn forget(
    store: &Sqlite,
    host_id: HostId,
    by: AuditEntry,
) -> Result<u64, StoreError> {
    let keys = runs_of(store, host_id).await?;
    let line = format!("{}: {} runs", by.detail, keys.len());
    let mut line = Some(AuditEntry { detail: line, ..by });
    let Pace { chunk, pause } = Pace::of(store.company);
    let mut removed = 0;
    for keys in keys.chunks(usize::try_from(chunk).unwrap_or(1)) {
        let (keys, line) = (keys.to_vec(), line.take());
        removed += store
            .commit(move |transaction| {
                let removed = take_out(transaction, &keys)?;
                line.map_or(Ok(()), |line| audit::add(transaction, &line))?;
                Ok(removed)
            })
            .await?;
        tokio::time::sleep(pause).await;
    }
    Ok(removed)
}

/// The keys of a host's runs. All runs are looked at, as an index by host would cost each report that is stored, and hosts are
/// seldom forgotten.
async fn runs_of(store: &Sqlite, host_id: HostId) -> Result<Vec<Key>, StoreError> {
    let mut keys = Vec::new();
    let mut after = i64::MIN;
    loop {
        let host_id = host_id.clone();
        let (found, last) =
            store.with(move |connection| some_of(connection, &host_id, after)).await?;
        keys.extend(found);
        let Some(last) = last else { return Ok(keys) };
        after = last;
    }
}

/// The keys of a host's runs among the next rows, and the last of these rows.
fn some_of(
    connection: &Connection,
    host_id: &HostId,
    after: i64,
) -> Result<(Vec<Key>, Option<i64>), StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT rowid, report_id, host_id = ?1 FROM run WHERE rowid > ?2 ORDER BY rowid LIMIT ?3",
    )?;
    let mut rows = statement.query(params![host_id.as_str(), after, LOOK])?;
    let (mut keys, mut last) = (Vec::new(), None);
    while let Some(row) = rows.next()? {
        last = Some(row.get(0)?);
        if row.get(2)? {
            keys.push(row.get(1)?);
        }
    }
    Ok((keys, last))
}
