//! Keeps rollups in step with the runs, in the transactions that add and remove these.

mod boots;
mod build;
mod check;
mod read;

pub(super) use build::{Built, clear, complete, is_complete};
pub(super) use check::check;
pub(super) use read::read;

use std::collections::{BTreeMap, BTreeSet};

use fleetmark_proto::{convert, id::ReportId, invalid::Invalid, limits, shell};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::StoreError;
use crate::store::rollup::{Counts, Extract, Form, FormId, Kept, RunAt};

/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;

/// The forms whose ids are known, and as of which version of the file.
#[derive(Debug, Default)]
pub(super) struct Forms {
    ids: BTreeMap<String, FormId>,
    version: i64,
}

/// A row of `outline`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Outline {
    pub(super) run: RunAt,
    pub(super) form: FormId,
    pub(super) boot: Option<i64>,
    pub(super) started_us: i64,
    pub(super) ended_us: i64,
    pub(super) clean: bool,
    pub(super) partial: bool,
    pub(super) shared_us: Option<i64>,
}

/// The columns that [`Outline::take`] reads.
const OUTLINE: &str =
    "report_id, form_id, time_us, boot, started_us, ended_us, clean, partial, shared_us";

impl Outline {
    fn take(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            run: RunAt { time_us: row.get("time_us")?, id: report_id(row, "report_id")? },
            form: FormId(row.get("form_id")?),
            boot: row.get("boot")?,
            started_us: row.get("started_us")?,
            ended_us: row.get("ended_us")?,
            clean: row.get("clean")?,
            partial: row.get("partial")?,
            shared_us: row.get("shared_us")?,
        })
    }

    /// Until when a window may begin that has this run and finds it suspect for that one. A window that begins later than this run ended
    /// does not have it, so that later ones change nothing any more.
    fn shared_with(&self, other: &Self) -> i64 {
        other.run.time_us.min(self.run.time_us)
    }

    /// Whether it is clean, those beside it included.
    fn is_clean(&self) -> bool {
        self.clean && self.shared_us.is_none()
    }
}

/// A report's id in a column; what is none is told as SQLite tells of values of another type.
fn report_id(row: &Row<'_>, column: &str) -> rusqlite::Result<ReportId> {
    let bytes: Vec<u8> = row.get(column)?;
    ReportId::from_bytes(&bytes).map_err(|invalid| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, Box::new(invalid))
    })
}

/// A value of a rollup that was never stored.
fn corrupt(
    table: &'static str,
    column: &'static str,
    row: impl ToString,
    source: Invalid,
) -> StoreError {
    StoreError::Corrupt { table, column, row: row.to_string(), source }
}

/// Takes runs in and out of the rollups, within one transaction. What is done once for several runs is done at the end.
pub(super) struct Keeper<'c> {
    connection: &'c Connection,
    forms: Forms,
    tallies: BTreeMap<(FormId, i64), Counts>,
    /// Hosts whose values of a form are to be made anew.
    stale: BTreeSet<(String, FormId)>,
    /// Hosts that lost runs.
    thinned: BTreeSet<String>,
}

impl<'c> Keeper<'c> {
    /// `connection` is in a transaction that may write. Forms that were known stay known if nobody else has written since.
    pub(super) fn new(connection: &'c Connection, mut forms: Forms) -> Result<Self, StoreError> {
        let version = connection.pragma_query_value(None, "data_version", |row| row.get(0))?;
        if forms.version != version {
            forms = Forms { ids: BTreeMap::new(), version };
        }
        let (tallies, stale, thinned) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Ok(Self { connection, forms, tallies, stale, thinned })
    }

    /// Takes a run in that is stored.
    pub(super) fn add(
        &mut self,
        host: &str,
        run: RunAt,
        extract: &Extract,
    ) -> Result<(), StoreError> {
        let Extract { boot, started_us, ended_us, clean, partial, .. } = *extract;
        let form = self.form(&extract.form)?;
        let outline =
            Outline { run, form, boot, started_us, ended_us, clean, partial, shared_us: None };
        let beside = self.beside(&outline)?;
        let shared_us = beside.iter().map(|other| outline.shared_with(other)).max();
        let outline = Outline { shared_us, ..outline };
        self.insert(&outline)?;
        self.count(&outline, 1);
        for other in beside {
            self.share(&other, other.shared_us.max(Some(other.shared_with(&outline))))?;
        }
        let mut kept = self.kept(host, form)?.unwrap_or_else(|| Kept::new(run));
        kept.merge(run, extract, outline.is_clean());
        self.keep(host, form, &kept)?;
        boots::add(self.connection, host, &outline)
    }

    /// Removes a run with what is known of it beside the key of its report. Whether it was there.
    pub(super) fn remove(&mut self, report_id: &[u8]) -> Result<bool, StoreError> {
        let host: Option<String> = self
            .connection
            .prepare_cached("DELETE FROM run WHERE report_id = ?1 RETURNING host_id")?
            .query_row([report_id], |row| row.get(0))
            .optional()?;
        let Some(host) = host else { return Ok(false) };
        let sql = format!("DELETE FROM outline WHERE report_id = ?1 RETURNING {OUTLINE}");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let Some(outline) = statement.query_row([report_id], Outline::take).optional()? else {
            return Ok(true);
        };
        self.count(&outline, -1);
        if outline.shared_us.is_some() {
            for other in self.beside(&outline)? {
                let still = self.beside(&other)?;
                let shared_us = still.iter().map(|it| other.shared_with(it)).max();
                self.share(&other, shared_us)?;
            }
        }
        if self.kept(&host, outline.form)?.is_none_or(|kept| kept.is_of(outline.run.id)) {
            self.stale.insert((host.clone(), outline.form));
        }
        self.thinned.insert(host);
        Ok(true)
    }

    /// Does what is left to be done. The forms are good for the next transaction once this one is committed.
    pub(super) fn finish(mut self) -> Result<Forms, StoreError> {
        for (host, form) in std::mem::take(&mut self.stale) {
            self.renew(&host, form)?;
        }
        for host in &self.thinned {
            boots::renew(self.connection, host)?;
        }
        for ((form, day), counts) in &self.tallies {
            let Counts { clean, suspect, partial, partial_suspect } = counts;
            self.connection
                .prepare_cached(
                    "INSERT INTO tally VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET
                       clean = clean + ?3, suspect = suspect + ?4, partial = partial + ?5,
                       partial_suspect = partial_suspect + ?6",
                )?
                .execute(params![form.0, day, clean, suspect, partial, partial_suspect])?;
            if [clean, suspect, partial, partial_suspect].into_iter().all(|more| *more >= 0) {
                continue;
            }
            self.connection
                .prepare_cached(
                    "DELETE FROM tally WHERE form_id = ?1 AND day = ?2 AND clean = 0 AND suspect = 0
                       AND partial = 0 AND partial_suspect = 0",
                )?
                .execute(params![form.0, day])?;
        }
        Ok(self.forms)
    }

    /// The id of a form, which it gets here if it has none.
    fn form(&mut self, form: &Form) -> Result<FormId, StoreError> {
        let text = serde_json::to_string(form)
            .map_err(|error| corrupt("form", "form", &form.profile, Invalid::new("form", error)))?;
        if let Some(id) = self.forms.ids.get(&text) {
            return Ok(*id);
        }
        let known: Option<i64> = self
            .connection
            .prepare_cached("SELECT form_id FROM form WHERE form = ?1")?
            .query_row([&text], |row| row.get(0))
            .optional()?;
        let id = match known {
            Some(id) => id,
            None => self
                .connection
                .prepare_cached("INSERT INTO form (form) VALUES (?1) RETURNING form_id")?
                .query_row([&text], |row| row.get(0))?,
        };
        // What is asked of hosts may be another thing each time; then it is looked up again.
        if self.forms.ids.len() >= limits::FORMS_KNOWN {
            self.forms.ids.clear();
        }
        self.forms.ids.insert(text, FormId(id));
        Ok(FormId(id))
    }

    fn insert(&self, outline: &Outline) -> Result<(), StoreError> {
        let Outline { run, form, boot, started_us, ended_us, clean, partial, shared_us } = outline;
        self.connection
            .prepare_cached(&format!(
                "INSERT INTO outline ({OUTLINE}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
            ))?
            .execute(params![
                run.id.as_bytes().as_slice(),
                form.0,
                run.time_us,
                boot,
                started_us,
                ended_us,
                clean,
                partial,
                shared_us,
            ])?;
        Ok(())
    }

    /// The runs of the same boot that went on at the same time.
    fn beside(&self, outline: &Outline) -> Result<Vec<Outline>, StoreError> {
        let Some(boot) = outline.boot else { return Ok(Vec::new()) };
        let longest_us = i64::try_from(limits::RUN_DURATION.as_micros()).unwrap_or(i64::MAX);
        // No run that began longer ago went on until then.
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT {OUTLINE} FROM outline WHERE boot = ?1 AND started_us BETWEEN ?2 AND ?3 - 1
               AND ended_us > ?4 AND report_id <> ?5"
        ))?;
        let rows = statement.query_map(
            params![
                boot,
                outline.started_us.saturating_sub(longest_us),
                outline.ended_us,
                outline.started_us,
                outline.run.id.as_bytes().as_slice(),
            ],
            Outline::take,
        )?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Has a run say that the newest of those beside it ended then.
    fn share(&mut self, outline: &Outline, shared_us: Option<i64>) -> Result<(), StoreError> {
        if outline.shared_us == shared_us {
            return Ok(());
        }
        let id = outline.run.id.as_bytes().as_slice();
        self.connection
            .prepare_cached("UPDATE outline SET shared_us = ?2 WHERE report_id = ?1")?
            .execute(params![id, shared_us])?;
        let after = Outline { shared_us, ..*outline };
        if after.is_clean() != outline.is_clean() {
            self.count(outline, -1);
            self.count(&after, 1);
            let host: Option<String> = self
                .connection
                .prepare_cached("SELECT host_id FROM run WHERE report_id = ?1")?
                .query_row([id], |row| row.get(0))
                .optional()?;
            self.stale.extend(host.map(|host| (host, outline.form)));
        }
        Ok(())
    }

    fn count(&mut self, outline: &Outline, more: i64) {
        let day = outline.run.time_us.div_euclid(DAY_US);
        let counts = self.tallies.entry((outline.form, day)).or_default();
        counts.add(outline.is_clean(), outline.partial, more);
    }

    fn kept(&self, host: &str, form: FormId) -> Result<Option<Kept>, StoreError> {
        let row = self
            .connection
            .prepare_cached(
                "SELECT last_us, last_id, kept FROM newest WHERE host_id = ?1 AND form_id = ?2",
            )?
            .query_row(params![host, form.0], |row| {
                let last = RunAt { time_us: row.get(0)?, id: report_id(row, "last_id")? };
                Ok((last, row.get::<_, Vec<u8>>(2)?))
            })
            .optional()?;
        row.map(|(last, bytes)| Kept::decode(last, &bytes))
            .transpose()
            .map_err(|invalid| corrupt("newest", "kept", host, invalid))
    }

    fn keep(&self, host: &str, form: FormId, kept: &Kept) -> Result<(), StoreError> {
        let last = kept.last.id.as_bytes().as_slice();
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO newest (host_id, form_id, last_us, last_id, kept)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![host, form.0, kept.last.time_us, last, kept.encode()])?;
        Ok(())
    }

    /// Makes a host's values of a form anew from its runs.
    fn renew(&self, host: &str, form: FormId) -> Result<(), StoreError> {
        match newest(self.connection, &outlines_of(self.connection, host, form)?)? {
            Some(kept) => self.keep(host, form, &kept),
            None => {
                self.connection
                    .prepare_cached("DELETE FROM newest WHERE host_id = ?1 AND form_id = ?2")?
                    .execute(params![host, form.0])?;
                Ok(())
            }
        }
    }
}

/// The runs of a form of this host.
fn outlines_of(
    connection: &Connection,
    host: &str,
    form: FormId,
) -> Result<Vec<Outline>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT outline.* FROM run JOIN outline USING (report_id)
         WHERE run.host_id = ?1 AND outline.form_id = ?2",
    )?;
    let rows = statement.query_map(params![host, form.0], Outline::take)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What these runs of one form of one host say, read from their reports: of as many of the newest as it takes. One that is damaged
/// says nothing.
fn newest(connection: &Connection, outlines: &[Outline]) -> Result<Option<Kept>, StoreError> {
    let mut outlines = outlines.to_vec();
    outlines.sort_unstable_by_key(|outline| std::cmp::Reverse(outline.run));
    let Some(first) = outlines.first() else { return Ok(None) };
    let mut kept = Kept::new(first.run);
    let mut statement = connection.prepare_cached("SELECT report FROM run WHERE report_id = ?1")?;
    for outline in &outlines {
        if kept.is_full() {
            break;
        }
        // One that gives no value is read for the kernel's time alone.
        let adds = !outline.partial && (outline.is_clean() || kept.kernel.is_none());
        if !adds && !kept.values.is_empty() {
            continue;
        }
        let id = outline.run.id;
        let bytes: Vec<u8> =
            statement.query_row([id.as_bytes().as_slice()], |row| row.get("report"))?;
        match convert::decode(&bytes) {
            Ok(report) => kept.merge(outline.run, &Extract::of(&report), outline.is_clean()),
            Err(invalid) => {
                let error = corrupt("run", "report", id, invalid);
                tracing::error!("{}", shell::one_line(&error));
            }
        }
    }
    Ok(Some(kept))
}
