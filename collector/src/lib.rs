//! fleetmark's collector: takes reports from agents, stores them, and answers with medians per hardware profile.

pub mod args;
pub mod authority;
pub mod control;
pub mod enrollment;
pub mod identity;
pub mod ingest;
pub mod load;
pub mod local;
mod operate;
pub mod query;
pub mod registry;
pub mod remote;
pub mod render;
mod seldom;
pub mod server;
mod serving;
mod setup;
pub mod source;
pub mod stats;
pub mod status;
pub mod store;
pub mod view;

#[cfg(test)]
mod testing;

use std::{ffi::OsString, io, time::Duration};

use fleetmark_agent::{
    args::GlobalArgs,
    command::{Stopped, conclude, run_error},
    run::Findings,
};
use fleetmark_proto::shell::{
    Exit, config,
    output::{Format, OutputArgs, tell},
};
use jiff::Timestamp;
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use args::{
    AgentArgs, Cli, Command, DiffArgs, ListArgs, LocalArgs, ProfilesArgs, ProfilesCommand,
    PruneArgs, ReportArgs, SourceArgs, TokenArgs,
};
use local::{Local, LocalError};
use render::RenderError;
use source::Source;
use store::{Mode, Retention, StoredRun};
use view::{Filter, NotOne, Pruning};

/// Does what the command line says.
pub fn main(arguments: Vec<OsString>) -> Exit {
    let cli: Cli = match config::parse("collector", arguments) {
        Ok(cli) => cli,
        Err(stop) => return stop.tell(),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Stopped::from(error).tell(),
    };
    let outcome = runtime.block_on(async {
        survive_file_size_limits()?;
        obey(cli).await
    });
    // What was cut off is not waited for again.
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome.unwrap_or_else(Stopped::tell)
}

/// Whoever writes past a limit on the size of files is killed, unless somebody takes the signal; then writing fails. It is
/// taken until the process ends, whoever listens.
fn survive_file_size_limits() -> io::Result<()> {
    signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).map(drop)
}

async fn obey(cli: Cli) -> Result<Exit, Stopped> {
    match cli.command {
        Command::Local(arguments) => local(*arguments, &cli.global).await,
        Command::Init(arguments) => setup::init(arguments, &cli.global).await,
        Command::Serve(arguments) => serving::serve(arguments, &cli.global).await,
        Command::Report(arguments) => report(arguments).await,
        Command::Profiles(ProfilesArgs { command: Some(ProfilesCommand::Diff(diff)), .. }) => {
            profiles_diff(&diff).await
        }
        Command::Profiles(ProfilesArgs { command: None, list: arguments }) => {
            list(&arguments, |runs, format| render::profiles(&view::profiles(runs), format)).await
        }
        Command::Hosts(arguments) => {
            list(&arguments, |runs, format| render::hosts(&view::hosts(runs), format)).await
        }
        Command::Export(arguments) => {
            if !matches!(arguments.output.format, Format::Json | Format::Csv) {
                return Err(Stopped::usage(&RenderError::NoSuchForm));
            }
            list(&arguments, |runs, format| render::export(&view::export(runs), format)).await
        }
        Command::Prune(arguments) => prune(&arguments).await,
        Command::Token(TokenArgs { command }) => operate::token(command, &cli.global).await,
        Command::Agent(AgentArgs { command }) => operate::agent(command).await,
        Command::Audit(arguments) => operate::audit(arguments).await,
    }
}

async fn local(arguments: LocalArgs, global: &GlobalArgs) -> Result<Exit, Stopped> {
    let LocalArgs { measure, store, strict, output } = arguments;
    let store = store::open(&store.store, Mode::Write).await?;
    let findings = if strict { Findings::Refuse } else { Findings::Warn };
    let local = local::local(measure, &global.state_dir, findings, store.clone()).await;
    let Local { report, flushed } = local.map_err(|error| match error {
        LocalError::Run(error) => run_error(error),
        error => Stopped::from(error),
    })?;
    // This host's own profile is shown whatever else is in the store, and whatever its run's quality.
    let filter = Filter {
        profile: vec![report.profile.id.to_string()],
        include_suspect: true,
        against: report.against,
        ..Filter::default()
    };
    let view = view::medians(&whole(store.runs(None).await?), &filter, Timestamp::now());
    output.write(&render::medians(&view, output.format)?)?;
    // With --strict it is an error, and told as one below.
    if !report.quality.is_clean() && !strict {
        tell(format_args!("suspect: {}", report.quality.reasons.join("; ")));
    }
    Ok(conclude(&report, strict, Some(&flushed)))
}

async fn report(arguments: ReportArgs) -> Result<Exit, Stopped> {
    let now = Timestamp::now();
    let filter = arguments.filter(now);
    let runs = whole(source(&arguments.source).await?.runs(filter.since).await?);
    let view = view::medians(&runs, &filter, now);
    let text = render::medians(&view, arguments.output.format)?;
    finish(&arguments.output, &text, view.profiles.is_empty())
}

async fn list(
    arguments: &ListArgs,
    render: impl Fn(&[StoredRun], Format) -> Result<String, RenderError>,
) -> Result<Exit, Stopped> {
    let runs = whole(source(&arguments.source).await?.runs(None).await?);
    let text = render(&runs, arguments.output.format)?;
    finish(&arguments.output, &text, runs.is_empty())
}

async fn profiles_diff(arguments: &DiffArgs) -> Result<Exit, Stopped> {
    let DiffArgs { a, b, list: ListArgs { source: from, output } } = arguments;
    match view::diff(&source(from).await?.runs(None).await?, a, b) {
        Ok(diff) => {
            output.write(&render::profile_diff(&diff, output.format)?)?;
            Ok(Exit::Success)
        }
        Err(unknown @ NotOne::Unknown { .. }) => {
            tell(unknown);
            Ok(Exit::NoMatch)
        }
        Err(ambiguous @ NotOne::Ambiguous { .. }) => Err(Stopped::usage(&ambiguous)),
    }
}

async fn prune(arguments: &PruneArgs) -> Result<Exit, Stopped> {
    let PruneArgs { store, keep, dry_run, output } = arguments;
    let retention = Retention::of(*keep, Timestamp::now());
    let removed = if *dry_run {
        store::open(&store.store, Mode::Read).await?.expired(retention).await?
    } else {
        let (runs, registry) = store::open_both(&store.store, Mode::Change).await?;
        let removed = runs.prune(retention).await?;
        if removed.audit > 0 {
            operate::say_pruned(&*registry, removed.audit, retention.runs_before).await?;
        }
        removed
    };
    let pruning = Pruning { dry_run: *dry_run, retention, removed };
    output.write(&render::pruning(&pruning, output.format)?)?;
    Ok(Exit::Success)
}

/// Where a command reads.
async fn source(arguments: &SourceArgs) -> Result<Source, Stopped> {
    Source::open(arguments).await.map_err(|error| match error.is_usage() {
        true => Stopped::usage(&error),
        false => Stopped::from(error),
    })
}

/// What was read, with what only all of it together shows.
fn whole(mut runs: Vec<StoredRun>) -> Vec<StoredRun> {
    stats::mark_overlaps(runs.iter_mut().map(|run| &mut run.report));
    runs
}

/// Writes what was asked for. A table of nothing says so instead.
fn finish(output: &OutputArgs, text: &str, nothing: bool) -> Result<Exit, Stopped> {
    if !nothing || !matches!(output.format, Format::Table | Format::Markdown) {
        output.write(text)?;
    }
    if nothing {
        tell("nothing matches");
        return Ok(Exit::NoMatch);
    }
    Ok(Exit::Success)
}
