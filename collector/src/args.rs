//! What is typed: the collector's command line.

mod control;
mod hosts;
mod reading;
mod server;
mod store;

pub use control::{
    AgentArgs, AgentCommand, AuditArgs, RevokeAgentArgs, RevokeTokenArgs, TokenArgs, TokenCommand,
    TokenCreateArgs,
};
pub use hosts::{ForgetArgs, HistoryArgs, HostArgs, HostsArgs, HostsCommand, OutliersArgs};
pub use reading::{
    AdviseArgs, CompareArgs, DiffArgs, ExportArgs, ListArgs, ProfilesArgs, ProfilesCommand,
    ReportArgs, SelectArgs,
};
pub use server::{InitArgs, ServeArgs};
pub use store::{CheckArgs, MigrateArgs, UpkeepArgs, UpkeepCommand};

use std::time::Duration;

use clap::{
    ArgMatches, Args, FromArgMatches, Parser, Subcommand, error::ErrorKind, parser::ValueSource,
};
use fleetmark_agent::args::{AccessArgs, GlobalArgs, MeasureArgs};
use fleetmark_proto::shell::{about::AboutCommand, output::OutputArgs, value};
use jiff::Timestamp;
use url::Url;

use crate::{store::StoreUrl, view};

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
    /// Compare profiles, builds, kernels, labels or times, each with the first
    ///
    /// Hosts that are on both sides are compared with themselves, others as groups, from four hosts a side. A cell is faster or slower
    /// where the evidence suffices for that, and what it would take is said where it does not. Machines with other numbers of
    /// workers compare by what follows from their cells: the cost of a unit, and what each core does.
    Compare(CompareArgs),
    /// Say per hardware profile which spawner fits which kind of work, and where the evidence does not suffice
    ///
    /// Kinds of work are many short tasks, waiting, CPU-bound work, and CPU-bound work beside tasks that must answer in time. The
    /// latter two need what `fleetmark-agent run --preset grain --neighbours` measures: wall time alone hides what CPU-bound work
    /// does to others.
    Advise(AdviseArgs),
    /// List the hardware profiles that are known
    Profiles(ProfilesArgs),
    /// List the hosts that are known, or forget one
    Hosts(HostsArgs),
    /// Print all that is known of one host
    Host(HostArgs),
    /// Find hosts that are slow among others of their profile: since when, in what, and what differs beside it
    ///
    /// In a group of 12 hosts or more a host is slow whose newest clean run has a modified z-score over 3.5 and is at least 5% over
    /// the median; it is confirmed if the run before was slow, too. Whoever is asked for by --host is judged among all others.
    Outliers(OutliersArgs),
    /// Print cells over time, per host or per profile, with what changed beside them
    ///
    /// A point of a host is a run, a point of a profile the median over its hosts in a week. A step of 5% or more between points
    /// whose intervals are apart is a jump. Suspect runs of a host are shown and marked.
    History(HistoryArgs),
    /// Print raw samples with all that is known of their runs, a line each, as CSV or JSON
    #[command(long_about = view::export_help())]
    Export(ExportArgs),
    /// Remove old runs and old lines of the audit trail; a report that comes again is a duplicate all the same
    Prune(PruneArgs),
    /// Bring a store up to date that an older version wrote
    Migrate(MigrateArgs),
    /// Check a store
    Store(UpkeepArgs),
    /// Fill an empty store with a fleet that does not exist, to try the other commands on
    ///
    /// Three kinds of machines have as many hosts each, measured once a week. Planted among them are a host that became slow, two
    /// machines with one id, a new kernel, a new Tokio, and a container that its quota throttles.
    Simulate(SimulateArgs),
    /// Make, list and revoke tokens, which hosts join and people read with
    Token(TokenArgs),
    /// List the hosts that joined, and revoke them and whom other authorities name
    Agent(AgentArgs),
    /// Print the audit trail: who joined, renewed and was refused, and what operators did
    ///
    /// Each line has one of the events enrolled, replaced (a host joined again, with another key), renewed, refused, token-created,
    /// token-revoked, agent-revoked, agent-restored (that was taken back), host-forgotten (its runs were removed) and pruned (old lines were removed).
    /// Of refusals the newest 100,000 are kept.
    Audit(AuditArgs),
    /// What the binary tells of itself.
    #[command(flatten)]
    About(AboutCommand),
}

/// Where runs are kept.
#[derive(Args, Clone, Debug)]
pub struct StoreArgs {
    /// Where runs are kept
    #[arg(long, value_name = "URL", default_value = "sqlite:fleetmark.db")]
    pub store: StoreUrl,
}

/// Where a command reads: the store, or a collector with what that is believed by and shown.
#[derive(Clone, Debug)]
pub enum SourceArgs {
    /// This store.
    Store(StoreUrl),
    /// The collector at this URL.
    Server(Url, AccessArgs),
}

/// What can be typed of it.
#[derive(Args, Clone, Debug)]
struct TypedSource {
    #[command(flatten)]
    store: StoreArgs,
    /// Ask the collector at this URL in place of a store
    #[arg(long, value_name = "URL", value_parser = value::collector_url)]
    server: Option<Url>,
    #[command(flatten)]
    access: AccessArgs,
}

impl Args for SourceArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        TypedSource::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        TypedSource::augment_args_for_update(command)
    }
}

impl FromArgMatches for SourceArgs {
    /// Of both, the one that was said closer at hand counts: a flag before a variable before a file. Two flags are one too many.
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let TypedSource { store, server, access } = TypedSource::from_arg_matches(matches)?;
        let (store_said, server_said) =
            (matches.value_source("store"), matches.value_source("server"));
        match server {
            Some(_)
                if store_said == Some(ValueSource::CommandLine) && server_said == store_said =>
            {
                let words = "the argument '--server <URL>' cannot be used with '--store <URL>'";
                Err(clap::Error::raw(ErrorKind::ArgumentConflict, words))
            }
            Some(url) if server_said >= store_said => Ok(Self::Server(url, access)),
            _ => Ok(Self::Store(store.store)),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
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

/// Flags of `simulate`.
#[derive(Args, Clone, Debug)]
pub struct SimulateArgs {
    /// Where to keep the runs
    #[arg(long, value_name = "URL")]
    pub store: StoreUrl,
    /// Hosts of each kind
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub hosts: u32,
    /// For how many weeks they were measured
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(0..=25))]
    pub weeks: u32,
    /// Of the noise; the same seed gives the same samples
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// When the newest run ended, in place of just now
    #[arg(long, value_name = "TIME")]
    pub now: Option<Timestamp>,
}

/// Flags of `prune`.
#[derive(Args, Clone, Debug)]
pub struct PruneArgs {
    /// Where runs are kept.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Keep runs that ended, and lines of the audit trail that were written, within this duration back from now, such as 90d;
    /// tokens and hosts that joined are kept for ever
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub keep: Duration,
    /// Only tell what would be removed
    #[arg(long)]
    pub dry_run: bool,
    /// Form and place of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}
