//! What is kept of the runs of a window.

use std::collections::BTreeMap;

use fleetmark_proto::{id::HostId, invalid::Invalid};
use rusqlite::{Connection, Row, params};

use super::{DAY_US, Outline, StoreError, corrupt, is_complete, report_id};
use crate::{
    stats::Stay,
    store::rollup::{Counts, Form, FormId, HostForm, Rollup, RunAt, Seen, Unshared},
};

/// Reads all of it as of one moment; `None` if rollups are not there for all runs.
pub(in super::super) fn read(
    connection: &mut Connection,
    since_us: i64,
) -> Result<Option<Rollup>, StoreError> {
    let transaction = connection.transaction()?;
    if !is_complete(&transaction)? {
        return Ok(None);
    }
    let (mut counts, unshared) = counted(&transaction, since_us)?;
    let mut forms = BTreeMap::new();
    for (id, form) in all_forms(&transaction)? {
        if let Some(counts) = counts.remove(&id).filter(|counts| counts.runs() > 0) {
            let form: Form = serde_json::from_str(&form)
                .map_err(|error| corrupt("form", "form", id.0, Invalid::new("form", error)))?;
            forms.insert(id, (form, counts));
        }
    }
    let hosts = hosts(&transaction, since_us)?;
    let unknown = |id: &FormId| !forms.contains_key(id);
    let of_hosts = hosts.iter().map(|of| of.form).find(unknown);
    if let Some(FormId(id)) = counts.into_keys().find(unknown).or(of_hosts) {
        let invalid = Invalid::new("form_id", "is of no form that has runs");
        return Err(corrupt("tally", "form_id", id, invalid));
    }
    let doubtful = doubtful(&transaction, since_us)?;
    Ok(Some(Rollup { forms, hosts, since_us, doubtful, unshared }))
}

/// How many runs of each form there are, and which of them are clean in this window alone.
///
/// Tallies have whole days, and take a run that shared its machine for suspect. The window's first day is counted run by run, and
/// runs whose company ended before the window are counted over.
fn counted(
    connection: &Connection,
    since_us: i64,
) -> Result<(BTreeMap<FormId, Counts>, Vec<Unshared>), StoreError> {
    let first_day = since_us.div_euclid(DAY_US);
    let from_us = (first_day + 1).saturating_mul(DAY_US);
    let mut counts: BTreeMap<FormId, Counts> = BTreeMap::new();
    let mut statement = connection.prepare_cached(
        "SELECT form_id, clean = 1 AND (shared_us IS NULL OR shared_us < ?1) AS is_clean, partial, count(*)
         FROM outline WHERE time_us >= ?1 AND time_us < ?2 GROUP BY 1, 2, 3",
    )?;
    let mut rows = statement.query(params![since_us, from_us])?;
    while let Some(row) = rows.next()? {
        let counts = counts.entry(FormId(row.get(0)?)).or_default();
        counts.add(row.get(1)?, row.get(2)?, row.get(3)?);
    }
    let mut statement = connection.prepare_cached(
        "SELECT form_id, sum(clean), sum(suspect), sum(partial), sum(partial_suspect)
         FROM tally WHERE day > ?1 GROUP BY form_id",
    )?;
    let mut rows = statement.query([first_day])?;
    while let Some(row) = rows.next()? {
        let counts = counts.entry(FormId(row.get(0)?)).or_default();
        counts.clean += row.get::<_, i64>(1)?;
        counts.suspect += row.get::<_, i64>(2)?;
        counts.partial += row.get::<_, i64>(3)?;
        counts.partial_suspect += row.get::<_, i64>(4)?;
    }
    let mut statement = connection.prepare_cached(
        "SELECT outline.*, run.host_id FROM outline INDEXED BY outline_shared CROSS JOIN run USING (report_id)
         WHERE outline.time_us >= ?1 AND shared_us < ?1 AND outline.clean = 1",
    )?;
    let mut unshared = Vec::new();
    let mut rows = statement.query([since_us])?;
    while let Some(row) = rows.next()? {
        let Outline { run, form, partial, .. } = Outline::take(row)?;
        if run.time_us >= from_us {
            let counts = counts.entry(form).or_default();
            counts.add(false, partial, -1);
            counts.add(true, partial, 1);
        }
        if !partial {
            unshared.push(Unshared { host: host_id(row)?, run });
        }
    }
    Ok((counts, unshared))
}

fn all_forms(connection: &Connection) -> Result<Vec<(FormId, String)>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT form_id, form FROM form")?;
    let rows = statement.query_map([], |row| Ok((FormId(row.get(0)?), row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn hosts(connection: &Connection, since_us: i64) -> Result<Vec<HostForm>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT host_id, form_id, last_us, last_id, kept FROM newest WHERE last_us >= ?1
         ORDER BY host_id, form_id",
    )?;
    let mut rows = statement.query([since_us])?;
    let mut hosts = Vec::new();
    while let Some(row) = rows.next()? {
        let host = host_id(row)?;
        let last = RunAt { time_us: row.get("last_us")?, id: report_id(row, "last_id")? };
        let bytes = row.get_ref("kept")?.as_blob().map_err(rusqlite::Error::from)?;
        let form = FormId(row.get("form_id")?);
        let host = HostForm::new(host, form, last, bytes);
        let place = || row.get::<_, String>("host_id").unwrap_or_default();
        hosts.push(host.map_err(|invalid| corrupt("newest", "kept", place(), invalid))?);
    }
    Ok(hosts)
}

/// The hosts that may be two, with their runs of the window.
fn doubtful(
    connection: &Connection,
    since_us: i64,
) -> Result<Vec<(HostId, Vec<Seen>)>, StoreError> {
    let mut hosts: Vec<(HostId, Vec<Seen>)> = Vec::new();
    // In this order, so that the runs of no other host are looked at.
    let mut statement = connection.prepare_cached(
        "SELECT outline.*, run.host_id FROM boots CROSS JOIN run USING (host_id) CROSS JOIN outline USING (report_id)
         WHERE doubtful = 1 AND outline.time_us >= ?1 ORDER BY run.host_id",
    )?;
    let mut rows = statement.query([since_us])?;
    while let Some(row) = rows.next()? {
        let Outline { run, form, boot, started_us, ended_us, clean, partial, shared_us } =
            Outline::take(row)?;
        let clean = clean && shared_us.is_none_or(|shared_us| shared_us < since_us);
        let stay = boot.map(|boot| Stay { started_us, id: run.id, ended_us, boot });
        let seen = Seen { form, clean, partial, stay };
        let host = host_id(row)?;
        match hosts.last_mut().filter(|(last, _)| *last == host) {
            Some((_, runs)) => runs.push(seen),
            None => hosts.push((host, vec![seen])),
        }
    }
    Ok(hosts)
}

fn host_id(row: &Row<'_>) -> Result<HostId, StoreError> {
    let text = row.get_ref("host_id")?.as_str().map_err(rusqlite::Error::from)?;
    text.parse().map_err(|invalid| corrupt("newest", "host_id", text, invalid))
}
