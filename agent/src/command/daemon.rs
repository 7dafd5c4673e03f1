//! `daemon`.

use std::path::Path;

use fleetmark_proto::shell::Exit;

use super::{Stopped, courier, runtime, some_collectors, spool_folder};
use crate::{
    args::DaemonArgs,
    daemon::{self, DaemonError, Settings},
    spool::Spool,
};

pub(super) fn daemon(arguments: DaemonArgs, state_dir: &Path) -> Result<Exit, Stopped> {
    let collectors = some_collectors(&arguments.collectors)?;
    let spool = Spool::open(&spool_folder(state_dir), arguments.bounds.into())?;
    let courier = courier(collectors, spool.clone());
    let settings = Settings {
        rules: arguments.rules(),
        every: arguments.every,
        jitter: arguments.jitter.unwrap_or_default(),
        state_dir: state_dir.to_owned(),
        measure: arguments.measure,
    };
    runtime()?.block_on(daemon::stay(settings, spool, courier)).map_err(|error| match error {
        DaemonError::Plan(error) => Stopped::usage(&error),
        error => Stopped::from(error),
    })?;
    Ok(Exit::Success)
}
