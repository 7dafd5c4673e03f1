//! Who is revoked. Certificates of this collector's own authority are judged by the host's row, all others by the table of who was
//! revoked: a host that joins again has a new key here, and others' certificates for it stay as they are.

use fleetmark_proto::{
    id::HostId,
    role::{Role, Subject},
};
use jiff::Timestamp;
use rusqlite::{Connection, Transaction, params};

use super::{StoreError, microseconds, row::RevokedRow};
use crate::registry::{Revoked, RevokedSubject};

/// Revokes somebody, and all that an agent has here.
pub(super) fn revoke(
    transaction: &Transaction<'_>,
    subject: &Subject,
    at: Timestamp,
) -> Result<Revoked, StoreError> {
    let Subject { role, name } = subject;
    let at_us = microseconds(at);
    let mut changed = transaction
        .prepare_cached(
            "INSERT OR IGNORE INTO revoked_subject (role, name, revoked_at_us) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![role.as_str(), name.as_str(), at_us])?;
    if *role == Role::Agent {
        for sql in [
            "UPDATE agent SET revoked_at_us = ?2 WHERE host_id = ?1 AND revoked_at_us IS NULL",
            "UPDATE token SET revoked_at_us = ?2 WHERE host = ?1 AND revoked_at_us IS NULL",
        ] {
            changed += transaction.prepare_cached(sql)?.execute(params![name.as_str(), at_us])?;
        }
    }
    Ok(Revoked { changed: changed > 0, only_others: only_others(transaction, subject)? })
}

/// Takes it back. A token that was revoked stays so: another one is made as easily.
pub(super) fn restore(
    transaction: &Transaction<'_>,
    subject: &Subject,
) -> Result<Revoked, StoreError> {
    let Subject { role, name } = subject;
    let mut changed = transaction
        .prepare_cached("DELETE FROM revoked_subject WHERE role = ?1 AND name = ?2")?
        .execute(params![role.as_str(), name.as_str()])?;
    if *role == Role::Agent {
        changed += transaction
            .prepare_cached(
                "UPDATE agent SET revoked_at_us = NULL
                 WHERE host_id = ?1 AND revoked_at_us IS NOT NULL",
            )?
            .execute([name.as_str()])?;
    }
    Ok(Revoked { changed: changed > 0, only_others: only_others(transaction, subject)? })
}

/// Whether there is nothing of it here, so that only others can have given it something.
fn only_others(transaction: &Transaction<'_>, subject: &Subject) -> Result<bool, StoreError> {
    let Subject { role, name } = subject;
    if *role != Role::Agent {
        return Ok(true);
    }
    let is_here: bool = transaction
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM agent WHERE host_id = ?1)
                 OR EXISTS (SELECT 1 FROM token WHERE host = ?1)",
        )?
        .query_row([name.as_str()], |row| row.get(0))?;
    Ok(!is_here)
}

/// Whether somebody's certificates of other authorities are refused.
pub(super) fn is_revoked(
    transaction: &Transaction<'_>,
    role: Role,
    name: &HostId,
) -> Result<bool, StoreError> {
    let is_revoked = transaction
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM revoked_subject WHERE role = ?1 AND name = ?2)",
        )?
        .query_row([role.as_str(), name.as_str()], |row| row.get(0))?;
    Ok(is_revoked)
}

/// Everybody whose certificates of other authorities are refused.
pub(super) fn all(connection: &Connection) -> Result<Vec<RevokedSubject>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT * FROM revoked_subject ORDER BY role, name")?;
    let rows = statement.query_map([], RevokedRow::take)?;
    rows.map(|row| row?.read()).collect()
}
