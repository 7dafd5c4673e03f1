//! Compares all that is kept with what the runs themselves say.

use std::collections::BTreeMap;

use fleetmark_proto::{convert, unit::count};
use jiff::Timestamp;
use rusqlite::Connection;

use super::{
    DAY_US, Form, FormId, OUTLINE, Outline, StoreError, boots, build::hex, is_complete, newest,
};
use crate::store::rollup::{CellValue, Checked, Counts, Extract, Kept, RunAt};

/// What the runs say, as far as it is read run by run.
#[derive(Default)]
struct Found {
    /// Each host's runs by form, with the boots that they show.
    hosts: BTreeMap<String, BTreeMap<FormId, Vec<Outline>>>,
    /// What should be said of company: of each boot all runs, by host and form.
    boots: BTreeMap<i64, Vec<(String, Outline)>>,
    checked: Checked,
}

impl Found {
    fn differs(&mut self, line: String) {
        self.checked.differences.push(line);
    }
}

/// Reads all runs, and compares. Nothing is changed.
pub(in super::super) fn check(connection: &mut Connection) -> Result<Checked, StoreError> {
    let transaction = connection.transaction()?;
    let mut found = Found::default();
    if !is_complete(&transaction)? {
        found.differs("rollups are not there for all runs".to_owned());
    }
    runs(&transaction, &mut found)?;
    company(&mut found);
    tallies(&transaction, &mut found)?;
    values(&transaction, &mut found)?;
    strangers(&transaction, &mut found)?;
    let hosts = count(found.hosts.len());
    Ok(Checked { hosts, ..found.checked })
}

/// Compares the outline of each run with its report.
fn runs(connection: &Connection, found: &mut Found) -> Result<(), StoreError> {
    let forms = forms(connection)?;
    let mut outlines =
        connection.prepare(&format!("SELECT {OUTLINE} FROM outline WHERE report_id = ?1"))?;
    let mut statement = connection
        .prepare("SELECT report_id, host_id, report, time_us FROM run ORDER BY host_id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (report_id, host): (Vec<u8>, String) = (row.get(0)?, row.get(1)?);
        let name = hex(&report_id);
        found.checked.runs += 1;
        let report = match convert::decode(row.get_ref(2)?.as_blob().unwrap_or_default()) {
            Ok(report) => report,
            Err(invalid) => {
                found.differs(format!(
                    "run {name} of host {host}: its report is damaged: {invalid}"
                ));
                continue;
            }
        };
        let kept = outlines.query_map([&report_id], Outline::take)?.next().transpose()?;
        let Some(kept) = kept else {
            found.differs(format!("run {name} of host {host}: it is in no rollup"));
            continue;
        };
        let extract = Extract::of(&report);
        let Extract { boot, started_us, ended_us, clean, partial, .. } = extract;
        let (run, form) = (RunAt { time_us: row.get(3)?, id: report.id }, kept.form);
        let shared_us = kept.shared_us;
        let said = Outline { run, form, boot, started_us, ended_us, clean, partial, shared_us };
        if said != kept || forms.get(&form) != Some(&extract.form) {
            found.differs(format!("run {name} of host {host}: its outline is another run's"));
        }
        found.hosts.entry(host.clone()).or_default().entry(form).or_default().push(said);
        if let Some(boot) = boot {
            found.boots.entry(boot).or_default().push((host, said));
        }
    }
    Ok(())
}

fn forms(connection: &Connection) -> Result<BTreeMap<FormId, Form>, StoreError> {
    let mut statement = connection.prepare("SELECT form_id, form FROM form")?;
    let rows =
        statement.query_map([], |row| Ok((FormId(row.get(0)?), row.get::<_, String>(1)?)))?;
    let mut forms = BTreeMap::new();
    for row in rows {
        let (id, text) = row?;
        // One that cannot be read is no run's.
        if let Ok(form) = serde_json::from_str(&text) {
            forms.insert(id, form);
        }
    }
    Ok(forms)
}

/// Compares what runs say of company with the runs of their boot.
fn company(found: &mut Found) {
    for (_, mut runs) in std::mem::take(&mut found.boots) {
        runs.sort_unstable_by_key(|(_, outline)| outline.started_us);
        let mut newest: Vec<Option<i64>> = vec![None; runs.len()];
        for (at, (_, run)) in runs.iter().enumerate() {
            let later = runs.iter().enumerate().skip(at + 1);
            let meanwhile = later.take_while(|(_, (_, other))| other.started_us < run.ended_us);
            for (place, (_, other)) in meanwhile.filter(|(_, it)| it.1.ended_us > run.started_us) {
                // Where both are in a window, both are suspect.
                let both_us = run.run.time_us.min(other.run.time_us);
                for seen in [at, place] {
                    if let Some(seen) = newest.get_mut(seen) {
                        *seen = (*seen).max(Some(both_us));
                    }
                }
            }
        }
        for ((host, outline), shared_us) in runs.iter().zip(newest) {
            if outline.shared_us != shared_us {
                let id = outline.run.id;
                found.differs(format!(
                    "run {id} of host {host}: others on its machine are told of otherwise"
                ));
            }
        }
    }
}

/// A day since 1970 as its date.
fn date(day: i64) -> String {
    let at = Timestamp::from_microsecond(day.saturating_mul(DAY_US));
    at.map_or_else(|_| format!("day {day}"), |at| at.strftime("%Y-%m-%d").to_string())
}

/// How many runs of which kind.
fn words(counts: &Counts) -> String {
    let Counts { clean, suspect, partial, partial_suspect } = counts;
    format!(
        "{clean} clean, {suspect} suspect, {partial} partial and {partial_suspect} partial and suspect runs"
    )
}

fn tallies(connection: &Connection, found: &mut Found) -> Result<(), StoreError> {
    let mut said: BTreeMap<(FormId, i64), Counts> = BTreeMap::new();
    for outline in found.hosts.values().flat_map(BTreeMap::values).flatten() {
        let day = outline.run.time_us.div_euclid(DAY_US);
        let counts = said.entry((outline.form, day)).or_default();
        counts.add(outline.is_clean(), outline.partial, 1);
    }
    let mut statement = connection.prepare("SELECT * FROM tally")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (form, day): (i64, i64) = (row.get("form_id")?, row.get("day")?);
        let kept = Counts {
            clean: row.get("clean")?,
            suspect: row.get("suspect")?,
            partial: row.get("partial")?,
            partial_suspect: row.get("partial_suspect")?,
        };
        let counts = said.remove(&(FormId(form), day)).unwrap_or_default();
        if counts != kept {
            let (date, kept, counts) = (date(day), words(&kept), words(&counts));
            found.differs(format!(
                "tally of form {form}, {date}: it has {kept}, its runs say {counts}"
            ));
        }
    }
    for ((FormId(form), day), counts) in said {
        let (date, counts) = (date(day), words(&counts));
        found
            .differs(format!("tally of form {form}, {date}: it is missing, its runs say {counts}"));
    }
    Ok(())
}

/// Compares each host's values and boots with its runs.
fn values(connection: &Connection, found: &mut Found) -> Result<(), StoreError> {
    let mut statement = connection
        .prepare("SELECT last_us, last_id, kept FROM newest WHERE host_id = ?1 AND form_id = ?2")?;
    let hosts = std::mem::take(&mut found.hosts);
    for (host, forms) in &hosts {
        for (form, outlines) in forms {
            let Some(said) = newest(connection, outlines)? else { continue };
            found.checked.values += count(said.values.iter().flatten().count());
            let mut rows = statement.query((host, form.0))?;
            let place = format!("host {host}, form {}", form.0);
            let Some(row) = rows.next()? else {
                found.differs(format!("{place}: its values are missing"));
                continue;
            };
            let last =
                RunAt { time_us: row.get("last_us")?, id: super::report_id(row, "last_id")? };
            match Kept::decode(last, row.get_ref("kept")?.as_blob().unwrap_or_default()) {
                Ok(kept) => compare(&place, &kept, &said, found),
                Err(invalid) => {
                    found.differs(format!("{place}: its values are damaged: {invalid}"))
                }
            }
        }
        let stays = forms.values().flatten();
        let stays = stays.filter_map(|it| Some((it.boot?, it.started_us, it.ended_us)));
        if let Some(wrong) = boots::wrong(connection, host, stays.collect())? {
            found.differs(format!("host {host}: {wrong}"));
        }
    }
    found.hosts = hosts;
    Ok(())
}

/// Names each value that is not what the runs say.
fn compare(place: &str, kept: &Kept, said: &Kept, found: &mut Found) {
    if kept.last != said.last {
        found.differs(format!("{place}: its newest run is {}, not {}", said.last.id, kept.last.id));
    }
    if kept.kernel != said.kernel {
        found.differs(format!("{place}: the kernel's time is another"));
    }
    if kept.values.len() != said.values.len() {
        found.differs(format!("{place}: it has other cells"));
        return;
    }
    for (cell, (kept, said)) in (1..).zip(kept.values.iter().zip(&said.values)) {
        let words = |value: &Option<_>| match value {
            Some((RunAt { id, .. }, CellValue { median, samples, worst })) => {
                format!("{} ns of {samples} samples up to {} ns by run {id}", median.0, worst.0)
            }
            None => "nothing".to_owned(),
        };
        if kept != said {
            let (kept, said) = (words(kept), words(said));
            found.differs(format!("{place}, cell {cell}: it has {kept}, its runs say {said}"));
        }
    }
}

/// Names what is kept and has no run.
fn strangers(connection: &Connection, found: &mut Found) -> Result<(), StoreError> {
    let all = [
        "SELECT 'run ' || lower(hex(report_id)) || ': it is gone, its outline is there' FROM outline
         WHERE NOT EXISTS (SELECT 1 FROM run WHERE run.report_id = outline.report_id)",
        "SELECT 'host ' || host_id || ', form ' || form_id || ': its runs are gone, its values are there'
         FROM newest WHERE NOT EXISTS
           (SELECT 1 FROM run JOIN outline USING (report_id)
            WHERE run.host_id = newest.host_id AND outline.form_id = newest.form_id)",
        "SELECT 'host ' || host_id || ': its runs are gone, its boots are there' FROM boots
         WHERE NOT EXISTS (SELECT 1 FROM run WHERE run.host_id = boots.host_id)",
    ];
    for sql in all {
        let mut statement = connection.prepare(sql)?;
        let lines = statement.query_map([], |row| row.get(0))?;
        found.checked.differences.extend(lines.collect::<Result<Vec<String>, _>>()?);
    }
    Ok(())
}
