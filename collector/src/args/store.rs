//! What is typed to look after a store.

use clap::{Args, Subcommand};
use fleetmark_proto::shell::output::OutputArgs;

use super::StoreArgs;

/// Flags of `migrate`.
#[derive(Args, Clone, Debug)]
pub struct MigrateArgs {
    /// Where runs are kept.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Make anew, from the runs, what is kept beside them for reports: each host's newest values, and how many runs there are
    #[arg(long)]
    pub rebuild: bool,
    /// Form and place of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What can be done with a store.
#[derive(Args, Clone, Debug)]
pub struct UpkeepArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: UpkeepCommand,
}

/// What can be done with a store.
#[derive(Clone, Debug, Subcommand)]
pub enum UpkeepCommand {
    /// Compare what is kept beside the runs with what they say themselves; exit with 1 if anything differs
    ///
    /// Reports go by each host's newest values, which are kept as its runs arrive. This reads all runs, and names each value that is
    /// not theirs. `fleetmark-collector migrate --rebuild` mends them.
    Check(CheckArgs),
}

/// Flags of `store check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Where runs are kept.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Form and place of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}
