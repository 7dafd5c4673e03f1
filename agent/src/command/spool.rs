//! `spool list`, `spool flush` and `spool quarantine`.

use std::path::Path;

use fleetmark_proto::{
    id::ReportId,
    shell::{self, Exit, output::tell},
};

use super::{Stopped, brief_courier, collectors::Collectors, spool_folder, wait_for};
use crate::{
    args::{FlushArgs, QuarantineArgs, SpoolArgs, SpoolCommand, SpoolListArgs},
    delivery::Flushed,
    render,
    spool::{Bounds, Quarantined, Spool, SpoolError},
};

/// What was named is not in quarantine.
#[derive(Debug, thiserror::Error)]
#[error(
    "there is no report {0} in quarantine; `fleetmark-agent spool quarantine` lists those that are"
)]
struct NotThere(String);

pub(super) fn spool(arguments: &SpoolArgs, state_dir: &Path) -> Result<Exit, Stopped> {
    match &arguments.command {
        SpoolCommand::List(arguments) => list(arguments, state_dir),
        SpoolCommand::Flush(arguments) => flush(arguments, state_dir),
        SpoolCommand::Quarantine(arguments) => quarantine(arguments, state_dir),
    }
}

/// The spool, if there is one. What it may hold matters to those who add to it only.
fn existing(state_dir: &Path) -> Result<Option<Spool>, SpoolError> {
    Spool::open_existing(&spool_folder(state_dir), Bounds::default())
}

fn list(arguments: &SpoolListArgs, state_dir: &Path) -> Result<Exit, Stopped> {
    let entries = match existing(state_dir)? {
        Some(spool) => spool.list()?,
        None => Vec::new(),
    };
    arguments.output.write(&render::waiting(&entries, arguments.output.form())?)?;
    Ok(Exit::Success)
}

fn flush(arguments: &FlushArgs, state_dir: &Path) -> Result<Exit, Stopped> {
    let Collectors { urls, keyring, .. } = Collectors::some(&arguments.collectors, state_dir)?;
    if existing(state_dir)?.is_none() {
        tell("there is no spool yet, and nothing to deliver");
        return Ok(Exit::Success);
    }
    let spool = Spool::open(&spool_folder(state_dir), Bounds::default())?;
    let mut courier = brief_courier(urls, keyring, spool);
    let flushed = wait_for(courier.flush(None, arguments.max_time))?;
    let Flushed { stored, duplicate, quarantined, left, foreign, .. } = flushed;
    let rest = match (left, foreign) {
        (Some(0), 0) => "nothing left".to_owned(),
        (Some(0), foreign) => format!("{foreign} left for another version of the agent"),
        (Some(left), _) => format!("{left} left: {}", flushed.why()),
        (None, _) => format!("some left: {}", flushed.why()),
    };
    let delivered = stored + duplicate;
    tell(format_args!("{delivered} delivered, {quarantined} moved to quarantine, {rest}"));
    let is_all = left == Some(0) && quarantined == 0 && foreign == 0;
    Ok(if is_all { Exit::Success } else { Exit::Failed })
}

fn quarantine(arguments: &QuarantineArgs, state_dir: &Path) -> Result<Exit, Stopped> {
    let QuarantineArgs { requeue, discard, output } = arguments;
    let spool = existing(state_dir)?;
    let records = match &spool {
        Some(spool) => spool.quarantined()?,
        None => Vec::new(),
    };
    let Some(spool) = spool.filter(|_| !(requeue.is_empty() && discard.is_empty())) else {
        if let Some(name) = requeue.iter().chain(discard).find(|name| *name != ALL) {
            return Err(NotThere(name.clone()).into());
        }
        output.write(&render::quarantined(&records, output.form())?)?;
        return Ok(Exit::Success);
    };
    let (again, gone) = (chosen(&records, requeue)?, chosen(&records, discard)?);
    let mut exit = Exit::Success;
    for record in again {
        if !put_back(&spool, record) {
            exit = Exit::Failed;
        }
    }
    for record in gone {
        if spool.discard(&record.name)? {
            tell(format_args!("{} is gone for good", record.name));
        }
    }
    Ok(exit)
}

/// Whether a record waits to be delivered again, said either way: one that cannot costs only itself.
fn put_back(spool: &Spool, record: &Quarantined) -> bool {
    let Quarantined { id, name, reason, .. } = record;
    match id.map(|id| (id, spool.requeue(id))) {
        Some((id, Ok(true))) => {
            tell(format_args!("{id} waits to be delivered again"));
            true
        }
        Some((_, Err(error))) => {
            tell(format_args!("{name} cannot be delivered: {}", shell::one_line(&error)));
            false
        }
        Some((_, Ok(false))) | None => {
            tell(format_args!("{name} cannot be delivered: {reason}"));
            false
        }
    }
}

const ALL: &str = "all";

/// The records that are meant: all of them, or those of this id or name.
fn chosen<'a>(
    records: &'a [Quarantined],
    wanted: &[String],
) -> Result<Vec<&'a Quarantined>, NotThere> {
    if wanted.iter().any(|wanted| wanted == ALL) {
        return Ok(records.iter().collect());
    }
    let is = |record: &Quarantined, wanted: &str| {
        record.name == wanted
            || record.id.as_ref().map(ReportId::to_string).as_deref() == Some(wanted)
    };
    wanted
        .iter()
        .map(|wanted| {
            let found = records.iter().find(|record| is(record, wanted));
            found.ok_or_else(|| NotThere(wanted.clone()))
        })
        .collect()
}
