//! Under which boots a host was seen. Nearly all hosts are one machine that restarts at times, and that can be told from little;
//! the others are doubtful until somebody reads their runs.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Outline, StoreError};

/// A host that restarted more often is doubtful, so that what is kept of it stays short.
const MOST: usize = 32;

/// A row of `boots`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Boots {
    boot: i64,
    earlier_end_us: Option<i64>,
    earlier: Vec<i64>,
    pub(super) doubtful: bool,
}

/// Takes in the boot of a run of this host.
pub(super) fn add(connection: &Connection, host: &str, run: &Outline) -> Result<(), StoreError> {
    let Some(boot) = run.boot else { return Ok(()) };
    let Some(known) = find(connection, host)? else {
        return put(connection, host, &Boots { boot, ..Boots::default() });
    };
    if known.doubtful {
        return Ok(());
    }
    let is_later = |end: Option<i64>| end.is_none_or(|end| run.started_us > end);
    if boot == known.boot {
        return match is_later(known.earlier_end_us) {
            true => Ok(()),
            false => put(connection, host, &Boots { doubtful: true, ..known }),
        };
    }
    // Of all that share the machine; that is no less than this host's.
    let end: Option<i64> = connection
        .prepare_cached("SELECT max(ended_us) FROM outline WHERE boot = ?1")?
        .query_row([known.boot], |row| row.get(0))?;
    let earlier_end_us = end.max(known.earlier_end_us);
    if known.earlier.contains(&boot) || known.earlier.len() >= MOST || !is_later(earlier_end_us) {
        return put(connection, host, &Boots { doubtful: true, ..known });
    }
    let mut earlier = known.earlier;
    earlier.push(known.boot);
    put(connection, host, &Boots { boot, earlier_end_us, earlier, doubtful: false })
}

/// Makes what is known of a host that lost runs anew. One that was never seen under another boot needs that only once it has none.
pub(super) fn renew(connection: &Connection, host: &str) -> Result<(), StoreError> {
    let Some(known) = find(connection, host)? else { return Ok(()) };
    let is_there: bool = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM run WHERE host_id = ?1)")?
        .query_row([host], |row| row.get(0))?;
    if is_there && !known.doubtful && known.earlier.is_empty() {
        return Ok(());
    }
    let mut statement = connection.prepare_cached(
        "SELECT boot, started_us, ended_us FROM run JOIN outline USING (report_id)
         WHERE run.host_id = ?1 AND boot IS NOT NULL",
    )?;
    let stays = statement.query_map([host], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    match of(stays.collect::<Result<Vec<_>, _>>()?) {
        Some(boots) => put(connection, host, &boots),
        None => {
            connection.prepare_cached("DELETE FROM boots WHERE host_id = ?1")?.execute([host])?;
            Ok(())
        }
    }
}

/// What runs say that were under these boots, from then to then; `None` of no runs.
fn of(stays: Vec<(i64, i64, i64)>) -> Option<Boots> {
    let mut spans: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for (boot, started_us, ended_us) in stays {
        let (began, ended) = spans.entry(boot).or_insert((started_us, ended_us));
        (*began, *ended) = (started_us.min(*began), ended_us.max(*ended));
    }
    let mut spans: Vec<(i64, i64, i64)> =
        spans.into_iter().map(|(boot, (began, ended))| (began, ended, boot)).collect();
    spans.sort_unstable();
    let (&(.., boot), before) = spans.split_last()?;
    let apart = spans.is_sorted_by(|(_, ended, _), (began, ..)| ended < began);
    Some(Boots {
        boot,
        earlier_end_us: before.iter().map(|(_, ended, _)| *ended).max(),
        doubtful: !apart || before.len() > MOST,
        earlier: before.iter().take(MOST).map(|(.., boot)| *boot).collect(),
    })
}

/// What is wrong with what is known of a host, if its runs are these.
pub(super) fn wrong(
    connection: &Connection,
    host: &str,
    stays: Vec<(i64, i64, i64)>,
) -> Result<Option<&'static str>, StoreError> {
    let seen: Vec<i64> = stays.iter().map(|(boot, ..)| *boot).collect();
    Ok(match (find(connection, host)?, of(stays)) {
        // Boots that no run shows any more do no harm.
        (_, None) => None,
        (None, Some(_)) => Some("its boots are missing"),
        (Some(known), Some(_)) if known.doubtful => None,
        (Some(_), Some(found)) if found.doubtful => {
            Some("it may be two machines, and passes for one")
        }
        (Some(known), Some(found)) => {
            let knows = |boot: &i64| *boot == known.boot || known.earlier.contains(boot);
            let whole = seen.iter().all(knows)
                && (found.boot != known.boot || known.earlier_end_us >= found.earlier_end_us);
            (!whole).then_some("its boots are others")
        }
    })
}

fn find(connection: &Connection, host: &str) -> Result<Option<Boots>, StoreError> {
    let row = connection
        .prepare_cached(
            "SELECT boot, earlier_end_us, earlier, doubtful FROM boots WHERE host_id = ?1",
        )?
        .query_row([host], |row| {
            let earlier: Vec<u8> = row.get(2)?;
            let (boots, _) = earlier.as_chunks();
            Ok(Boots {
                boot: row.get(0)?,
                earlier_end_us: row.get(1)?,
                earlier: boots.iter().map(|bytes| i64::from_be_bytes(*bytes)).collect(),
                doubtful: row.get(3)?,
            })
        })
        .optional()?;
    Ok(row)
}

fn put(connection: &Connection, host: &str, boots: &Boots) -> Result<(), StoreError> {
    let Boots { boot, earlier_end_us, earlier, doubtful } = boots;
    let earlier: Vec<u8> = earlier.iter().flat_map(|boot| boot.to_be_bytes()).collect();
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO boots (host_id, boot, earlier_end_us, earlier, doubtful)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![host, boot, earlier_end_us, earlier, doubtful])?;
    Ok(())
}
