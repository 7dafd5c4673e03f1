//! What is typed for the commands that read.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use fleetmark_proto::{
    plan::{Scenario, Spawner},
    shell::{
        output::{OutputArgs, PageFormat},
        value::{self, Since},
    },
};
use jiff::Timestamp;

use super::SourceArgs;
use crate::view::{Facet, Filter, Side};

/// Which runs and cells a command is about.
#[derive(Args, Clone, Debug)]
pub struct SelectArgs {
    /// Only this profile: its name, its id, or the start of its id (repeatable)
    #[arg(long, value_name = "PROFILE")]
    pub profile: Vec<String>,
    /// Only this host: its id or its name (repeatable)
    #[arg(long, value_name = "HOST")]
    pub host: Vec<String>,
    /// Only hosts with this label; of one key several values, of several keys all must be there (repeatable)
    #[arg(long, value_name = "KEY=VALUE", value_parser = value::label)]
    pub label: Vec<(String, String)>,
    /// Only this scenario (repeatable)
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SCENARIO")]
    pub scenario: Vec<Scenario>,
    /// Only this spawner (repeatable)
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SPAWNER")]
    pub spawner: Vec<Spawner>,
    /// Only builds that have this text, such as "tokio 1.54" (repeatable)
    #[arg(long, value_name = "TEXT")]
    pub build: Vec<String>,
    /// Leave out runs that ended before: a duration back from now, or a time
    #[arg(long, value_name = "WHEN", default_value = "30d", value_parser = value::since)]
    pub since: Since,
    /// Leave out runs that ended then or later: a duration back from now, or a time
    #[arg(long, value_name = "WHEN", value_parser = value::since)]
    pub until: Option<Since>,
    /// Let suspect runs into medians
    #[arg(long)]
    pub include_suspect: bool,
}

impl SelectArgs {
    /// Which runs and cells are meant, if it is now `now`.
    #[must_use]
    pub fn filter(&self, now: Timestamp) -> Filter {
        let mut label: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, value) in &self.label {
            label.entry(key.clone()).or_default().push(value.clone());
        }
        Filter {
            profile: self.profile.clone(),
            host: self.host.clone(),
            label,
            scenario: self.scenario.clone(),
            spawner: self.spawner.clone(),
            build: self.build.clone(),
            since: Some(self.since.before(now)),
            until: self.until.map(|until| until.before(now)),
            include_suspect: self.include_suspect,
        }
    }
}

/// Flags of `report`.
#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// Where to read.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which runs and cells.
    #[command(flatten)]
    pub select: SelectArgs,
    /// Put hosts together by this in place of their profiles: profile, build, kernel, instance-type, tokio, any facet of the hardware
    /// such as cpu-model, or label.KEY; several part further (repeatable)
    #[arg(long, value_delimiter = ',', value_name = "FACET", default_value = "profile")]
    pub by: Vec<Facet>,
    /// Compare the other spawners with this one
    #[arg(long, value_enum, default_value_t = Spawner::Thread, value_name = "SPAWNER")]
    pub against: Spawner,
    /// Form and place of the result.
    #[command(flatten)]
    pub output: OutputArgs<PageFormat>,
}

/// Flags of `advise`.
#[derive(Args, Clone, Debug)]
pub struct AdviseArgs {
    /// Where to read.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which runs and cells.
    #[command(flatten)]
    pub select: SelectArgs,
    /// Form and place of the result.
    #[command(flatten)]
    pub output: OutputArgs<PageFormat>,
}

/// Flags of `export`. Unlike a report it has all there is unless something is left out.
#[derive(Args, Clone, Debug)]
#[command(
    mut_arg("since", |arg| arg.default_value("1970-01-01T00:00:00Z").hide_default_value(true)),
    mut_arg("include_suspect", |arg| arg.hide(true)),
    mut_arg("format", |arg| arg.default_value("csv"))
)]
pub struct ExportArgs {
    /// Where to read.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which runs and cells.
    #[command(flatten)]
    pub select: SelectArgs,
    /// Print whole reports in place of samples, with evidence and verdicts, each as `fleetmark-agent run --format json` does;
    /// in JSON alone
    #[arg(long)]
    pub reports: bool,
    /// Form and place of the result.
    #[command(flatten)]
    pub output: OutputArgs,
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

/// Flags of lists.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Where to read.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Form and place of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Flags of `compare`.
#[derive(Args, Clone, Debug)]
pub struct CompareArgs {
    /// What to compare; the first is the base. A profile (its name, its id, or the start of its id), or FACET=VALUE: kernel=6.12.41,
    /// tokio=1.55.0, build=TEXT that it has, instance-type=m6g.xlarge, label.env=prod, any facet of `report --by`, or
    /// time=FROM..TO, each a duration back from now or a time, such as time=30d..7d, in place of --since and --until. Several
    /// are joined by commas, and a run must have all
    #[arg(value_name = "SIDE", required = true, num_args = 2..=26)]
    pub sides: Vec<Side>,
    /// Where to read.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which runs and cells, of all sides.
    #[command(flatten)]
    pub select: SelectArgs,
    /// Form and place of the result.
    #[command(flatten)]
    pub output: OutputArgs<PageFormat>,
}
