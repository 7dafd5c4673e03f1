//! What is typed to ask about single hosts, and to forget one.

use clap::{Args, Subcommand};
use fleetmark_proto::{
    id::HostId,
    shell::{
        output::{OutputArgs, PageFormat},
        value::{self, Since},
    },
};

use super::{ListArgs, SelectArgs, SourceArgs};
use crate::view::{Bucket, Facet};

/// Flags of `outliers`.
#[derive(Args, Clone, Debug)]
pub struct OutliersArgs {
    /// Where to read.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which runs and cells; hosts are judged among all others, and only those asked for are told of.
    #[command(flatten)]
    pub select: SelectArgs,
    /// Judge hosts among those that have this in common, in place of their profile: kernel, instance-type, any facet of the
    /// hardware such as cpu-model, or label.KEY; several part further (repeatable)
    #[arg(long, value_delimiter = ',', value_name = "FACET", default_value = "profile")]
    pub by: Vec<Facet>,
    /// Form and place of the result.
    #[command(flatten)]
    pub output: OutputArgs<PageFormat>,
}

/// Flags of `history`.
#[derive(Args, Clone, Debug)]
#[command(mut_arg("since", |since| since.default_value("365d")))]
pub struct HistoryArgs {
    /// Where to read.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which runs and cells.
    #[command(flatten)]
    pub select: SelectArgs,
    /// Put hosts together by this in place of their profiles; with --host each is by itself (repeatable)
    #[arg(long, value_delimiter = ',', value_name = "FACET", default_value = "profile")]
    pub by: Vec<Facet>,
    /// Put the runs of this time into one point [default: week; with --host a point is a run]
    #[arg(long, value_enum, value_name = "TIME")]
    pub bucket: Option<Bucket>,
    /// Form and place of the result.
    #[command(flatten)]
    pub output: OutputArgs<PageFormat>,
}

/// Flags of `host`.
#[derive(Args, Clone, Debug)]
pub struct HostArgs {
    /// The host: its id or its name
    pub host: String,
    /// Compare it with runs that ended since: a duration back from now, or a time
    #[arg(long, value_name = "WHEN", default_value = "30d", value_parser = value::since)]
    pub since: Since,
    /// Where to read.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Form and place of the result.
    #[command(flatten)]
    pub output: OutputArgs<PageFormat>,
}

/// Flags of `hosts`, and what else can be done with them.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct HostsArgs {
    /// What else to do.
    #[command(subcommand)]
    pub command: Option<HostsCommand>,
    /// Flags of the list.
    #[command(flatten)]
    pub list: ListArgs,
}

/// What can be done with hosts beside listing them.
#[derive(Clone, Debug, Subcommand)]
pub enum HostsCommand {
    /// Remove all runs of a host
    ///
    /// What tells a report that comes again stays, so none that was removed comes back; a new one is stored as ever. The host stays
    /// enrolled, or revoked: `agent revoke` has nothing taken from it any more.
    Forget(ForgetArgs),
}

/// Flags of `hosts forget`.
#[derive(Args, Clone, Debug)]
pub struct ForgetArgs {
    /// The host's id, as `hosts` prints it
    pub id: HostId,
    /// Do not ask first
    #[arg(long)]
    pub yes: bool,
    /// Where it is forgotten.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Form and place of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}
