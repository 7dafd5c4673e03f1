//! The commands that look after a store.

use fleetmark_agent::command::Stopped;
use fleetmark_proto::shell::Exit;

use crate::{
    args::{CheckArgs, MigrateArgs},
    render,
    store::{self, Mode},
};

/// Brings a store up to date.
pub(crate) async fn migrate(arguments: &MigrateArgs) -> Result<Exit, Stopped> {
    let MigrateArgs { store, rebuild, output } = arguments;
    let migrated = store::migrate(&store.store, *rebuild).await?;
    output.write(&render::migrated(&migrated, output.form())?)?;
    Ok(Exit::Success)
}

/// Compares what a store keeps beside the runs with what these say.
pub(crate) async fn check(arguments: &CheckArgs) -> Result<Exit, Stopped> {
    let CheckArgs { store, output } = arguments;
    let checked = store::open(&store.store, Mode::Read).await?.check().await?;
    output.write(&render::checked(&checked, output.form())?)?;
    Ok(if checked.differences.is_empty() { Exit::Success } else { Exit::Failed })
}
