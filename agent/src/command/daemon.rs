//! `daemon`.

use std::path::Path;

use fleetmark_proto::shell::Exit;

use super::{Stopped, collectors::Collectors, courier, spool_folder, wait_for};
use crate::{
    args::DaemonArgs,
    daemon::{self, DaemonError, Settings},
    spool::Spool,
};

pub(super) fn daemon(arguments: DaemonArgs, state_dir: &Path) -> Result<Exit, Stopped> {
    let collectors = Collectors::some(&arguments.collectors, state_dir)?;
    collectors.check(&arguments.collectors, &arguments.measure)?;
    let Collectors { urls, keyring, membership } = collectors;
    let spool = Spool::open(&spool_folder(state_dir), arguments.bounds.into())?;
    let courier = courier(urls, keyring, spool.clone());
    let settings = Settings {
        rules: arguments.rules(),
        every: arguments.every,
        jitter: arguments.jitter.unwrap_or_default(),
        state_dir: state_dir.to_owned(),
        measure: arguments.measure,
        membership,
    };
    wait_for(daemon::stay(settings, spool, courier))?.map_err(|error| match error {
        DaemonError::Plan(error) => Stopped::usage(&error),
        error => Stopped::from(error),
    })?;
    Ok(Exit::Success)
}
