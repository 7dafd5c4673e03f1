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
mod reading;
pub mod registry;
pub mod remote;
pub mod render;
mod seldom;
pub mod server;
mod serving;
mod setup;
pub mod simulate;
pub mod source;
pub mod stats;
pub mod status;
pub mod store;
mod upkeep;
pub mod view;
mod web;

#[cfg(test)]
mod testing;

use std::{ffi::OsString, io, sync::Arc, time::Duration};

use fleetmark_agent::{
    args::GlobalArgs,
    command::{Stopped, about, conclude, run_error},
    run::Findings,
};
use fleetmark_proto::{
    convert::Encoded,
    invalid::Invalid,
    shell::{Exit, config, output::tell},
    unit::{count, grouped},
};
use jiff::Timestamp;
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use args::{
    AgentArgs, Cli, Command, HostsArgs, HostsCommand, LocalArgs, ProfilesArgs, ProfilesCommand,
    PruneArgs, SimulateArgs, TokenArgs, UpkeepArgs, UpkeepCommand,
};
use local::{Local, LocalError};
use simulate::Scene;
use store::{Clocks, Mode, NewRun, Place, Retention, StoreUrl};
use view::{Filter, Pruning, Question};

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
        Command::Report(arguments) => reading::report(arguments).await,
        Command::Compare(arguments) => reading::compare(arguments).await,
        Command::Advise(arguments) => reading::advise(arguments).await,
        Command::Profiles(ProfilesArgs { command: Some(ProfilesCommand::Diff(diff)), .. }) => {
            reading::profiles_diff(&diff).await
        }
        Command::Profiles(ProfilesArgs { command: None, list: arguments }) => {
            reading::profiles(&arguments).await
        }
        Command::Hosts(HostsArgs { command: Some(HostsCommand::Forget(forget)), .. }) => {
            operate::forget(forget).await
        }
        Command::Hosts(HostsArgs { command: None, list: arguments }) => {
            reading::hosts(&arguments).await
        }
        Command::Host(arguments) => reading::host(arguments).await,
        Command::Outliers(arguments) => reading::outliers(arguments).await,
        Command::History(arguments) => reading::history(arguments).await,
        Command::Export(arguments) => reading::export(arguments).await,
        Command::Simulate(arguments) => simulate(arguments).await,
        Command::Prune(arguments) => prune(&arguments).await,
        Command::Migrate(arguments) => upkeep::migrate(&arguments).await,
        Command::Store(UpkeepArgs { command: UpkeepCommand::Check(arguments) }) => {
            upkeep::check(&arguments).await
        }
        Command::Token(TokenArgs { command }) => operate::token(command, &cli.global).await,
        Command::Agent(AgentArgs { command }) => operate::agent(command).await,
        Command::Audit(arguments) => operate::audit(arguments).await,
        Command::About(command) => about::<Cli>("collector", &command, &cli.global),
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
        ..Filter::default()
    };
    let question = Question { against: report.against, ..Question::default() };
    let runs = reading::whole(store.runs(None).await?);
    let view = view::medians(&runs, &filter, &question, Timestamp::now());
    output.write(&render::medians(&view, output.form())?)?;
    // With --strict it is an error, and told as one below.
    if !report.quality.is_clean() && !strict {
        tell(format_args!("suspect: {}", report.quality.reasons.join("; ")));
    }
    Ok(conclude(&report, strict, Some(&flushed)))
}

/// Fills an empty store with a fleet that does not exist.
async fn simulate(arguments: SimulateArgs) -> Result<Exit, Stopped> {
    /// How many runs share a commit.
    const BATCH: usize = 256;
    let SimulateArgs { store: url, hosts, weeks, seed, now } = arguments;
    let now = now.unwrap_or_else(Timestamp::now);
    let store = store::open(&url, Mode::Write).await?;
    if !store.page(Place::before(None), 1).await?.is_empty() {
        return Err(Stopped::usage(&NotEmpty(url)));
    }
    let mut runs: u64 = 0;
    let mut reports = Scene { hosts, weeks, seed }.reports(now).peekable();
    while reports.peek().is_some() {
        let batch = reports.by_ref().take(BATCH).map(|report| {
            let report = report?;
            let clocks = Clocks::new(report.ended_at, Some(report.ended_at));
            Ok(Arc::new(NewRun::new(Encoded::new(&report), &report, clocks)))
        });
        let batch: Vec<Arc<NewRun>> = batch.collect::<Result<_, Invalid>>()?;
        runs += count(store.put(batch).await?.len());
    }
    tell(format_args!("{} made-up runs are in {url}", grouped(runs)));
    Ok(Exit::Success)
}

/// Made-up runs would mix with others.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} holds runs already, and made-up ones must not mix with them; choose another with --store"
)]
struct NotEmpty(StoreUrl);

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
    output.write(&render::pruning(&pruning, output.form())?)?;
    Ok(Exit::Success)
}
