//! What is typed: the collector's command line.

mod server;

pub use server::{InitArgs, ServeArgs};

use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use fleetmark_agent::args::{GlobalArgs, MeasureArgs};
use fleetmark_proto::{
    plan::{Scenario, Spawner},
    shell::{
        output::OutputArgs,
        value::{self, Since},
    },
};
use jiff::Timestamp;

use crate::{store::StoreUrl, view::Filter};

/// Collect what agents measure, and answer with medians per hardware profile
#[derive(Debug, Parser)]
#[command(name = "fleetmark-collector", version, max_term_width = 100)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The collector's commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure this host through the whole pipeline: collector, agent, delivery, report
    Local(Box<LocalArgs>),
    /// Make this collector known to agents, and have it ask who they are: an authority, certificates, settings
    Init(InitArgs),
    /// Take reports from agents until told to stop
    Serve(ServeArgs),
    /// Print medians per hardware profile
    Report(ReportArgs),
    /// List the hardware profiles that are known
    Profiles(ProfilesArgs),
    /// List the hosts that are known
    Hosts(ListArgs),
    /// Print every run with its raw samples, as JSON or CSV
    Export(ListArgs),
    /// Remove old runs; a report that comes again is a duplicate all the same
    Prune(PruneArgs),
}

/// Where runs are kept.
#[derive(Args, Clone, Debug)]
pub struct StoreArgs {
    /// Where runs are kept
    #[arg(long, value_name = "URL", default_value = "sqlite:fleetmark.db")]
    pub store: StoreUrl,
}

/// Flags of `local`.
#[derive(Args, Clone, Debug)]
pub struct LocalArgs {
    /// What to measure.
    #[command(flatten)]
    pub measure: MeasureArgs,
    /// Where runs are kept.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Refuse to measure if something would spoil the run, and exit with 3 if it is suspect
    #[arg(long)]
    pub strict: bool,
    /// Form and place of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Flags of `report`.
#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// Where runs are kept.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Show this profile only: its name, its id, or the start of its id (repeatable)
    #[arg(long, value_name = "PROFILE")]
    pub profile: Vec<String>,
    /// Show this scenario only (repeatable)
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SCENARIO")]
    pub scenario: Vec<Scenario>,
    /// Show this spawner only (repeatable)
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SPAWNER")]
    pub spawner: Vec<Spawner>,
    /// Leave out runs that ended before: a duration back from now, or a time
    #[arg(long, value_name = "WHEN", default_value = "30d", value_parser = value::since)]
    pub since: Since,
    /// Let suspect runs into medians
    #[arg(long)]
    pub include_suspect: bool,
    /// Compare the other spawners with this one
    #[arg(long, value_enum, default_value_t = Spawner::Thread, value_name = "SPAWNER")]
    pub against: Spawner,
    /// Form and place of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

impl ReportArgs {
    /// Which runs and cells are asked for, if it is now `now`.
    #[must_use]
    pub fn filter(&self, now: Timestamp) -> Filter {
        Filter {
            profile: self.profile.clone(),
            scenario: self.scenario.clone(),
            spawner: self.spawner.clone(),
            since: Some(self.since.before(now)),
            include_suspect: self.include_suspect,
            against: self.against,
        }
    }
}

/// Flags of `profiles`, and what else can be asked of them.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ProfilesArgs {
    /// What else to ask.
    #[command(subcommand)]
    pub command: Option<ProfilesCommand>,
    /// Flags of the list.
    #[command(flatten)]
    pub list: ListArgs,
}

/// What can be asked of profiles beside their list.
#[derive(Clone, Debug, Subcommand)]
pub enum ProfilesCommand {
    /// Print the facets in which two profiles differ
    Diff(DiffArgs),
}

/// Flags of `profiles diff`.
#[derive(Args, Clone, Debug)]
pub struct DiffArgs {
    /// A profile: its name, its id, or the start of its id
    pub a: String,
    /// The profile to compare it with
    pub b: String,
    /// Flags that it has in common with lists.
    #[command(flatten)]
    pub list: ListArgs,
}

/// Flags of `profiles`, `hosts` and `export`.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Where runs are kept.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Form and place of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Flags of `prune`.
#[derive(Args, Clone, Debug)]
pub struct PruneArgs {
    /// Where runs are kept.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Keep runs that ended within this duration back from now, such as 90d
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub keep: Duration,
    /// Only tell what would be removed
    #[arg(long)]
    pub dry_run: bool,
    /// Form and place of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}
