//! fleetmark's agent: detects what a host has, measures how it runs concurrent Rust work, and delivers the report.

pub mod args;
pub mod backoff;
pub mod build;
pub mod delivery;
pub mod evidence;
pub mod hardware;
pub mod identity;
pub mod measure;
pub mod plan;
pub mod preflight;
pub mod progress;
pub mod render;
pub mod run;
pub mod scenario;
pub mod spawner;
pub mod spool;
pub mod usage;

use std::{error::Error, ffi::OsString, fmt, path::Path};

use fleetmark_proto::{
    convert::{Encoded, Outcome},
    report::Report,
    shell::{self, Exit, config, output::tell},
};
use url::Url;

use args::{Cli, Command, HardwareArgs, RunArgs};
use delivery::DeliveryError;
use hardware::SaveError;

/// Does what the command line says.
pub fn main(arguments: Vec<OsString>) -> Exit {
    let cli: Cli = match config::parse("agent", arguments) {
        Ok(cli) => cli,
        Err(stop) => return stop.tell(),
    };
    let outcome = match cli.command {
        Command::Run(arguments) => run(&arguments, &cli.global.state_dir),
        Command::Hardware(arguments) => hardware(&arguments),
    };
    outcome.unwrap_or_else(Stopped::tell)
}

/// A command that ended early, with the one line that says why.
#[derive(Debug)]
pub struct Stopped {
    exit: Exit,
    line: String,
}

impl Stopped {
    /// What was typed cannot be done.
    #[must_use]
    pub fn usage(error: &(dyn Error + 'static)) -> Self {
        Self { exit: Exit::Usage, line: shell::one_line(error) }
    }

    /// Says it on standard error.
    #[must_use]
    pub fn tell(self) -> Exit {
        tell(fmt::from_fn(|f| write!(f, "error: {}", self.line)));
        self.exit
    }
}

impl<E: Error + 'static> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self { exit: Exit::Failed, line: shell::one_line(&error) }
    }
}

fn run(arguments: &RunArgs, state_dir: &Path) -> Result<Exit, Stopped> {
    if let Some(url) = &arguments.collector {
        delivery::check(url, arguments.insecure).map_err(|error| Stopped::usage(&error))?;
    }
    let report = run::run(&arguments.measure, state_dir, arguments.strict).map_err(run_error)?;
    arguments.output.write(&render::report(&report, arguments.output.format)?)?;

    let Some(url) = &arguments.collector else {
        return Ok(conclude(&report, arguments.strict, None));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let delivery = runtime.block_on(delivery::deliver(url, &Encoded::new(&report)));
    if let Ok(outcome @ (Outcome::Stored | Outcome::Duplicate)) = &delivery {
        tell(delivery::words(outcome, url));
    }
    Ok(conclude(&report, arguments.strict, Some((url, &delivery))))
}

/// How a command ends that measured a report and perhaps delivered it. Says what went wrong, on standard error.
pub fn conclude(
    report: &Report,
    strict: bool,
    delivery: Option<(&Url, &Result<Outcome, DeliveryError>)>,
) -> Exit {
    let mut exits = vec![Exit::Success];
    if !report.is_whole() {
        exits.push(Exit::Failed);
    }
    if strict && !report.quality.is_clean() {
        tell(format_args!("error: the run is suspect: {}", report.quality.reasons.join("; ")));
        exits.push(Exit::Suspect);
    }
    match delivery {
        None | Some((_, Ok(Outcome::Stored | Outcome::Duplicate))) => {}
        Some((url, Ok(refused))) => {
            tell(format_args!("error: {}", delivery::words(refused, url)));
            exits.push(Exit::Failed);
        }
        Some((_, Err(error))) => {
            let line = shell::one_line(error);
            tell(format_args!("error: {line}; the report was not delivered"));
            exits.push(Exit::Failed);
        }
    }
    exits.into_iter().min().unwrap_or(Exit::Success)
}

/// A plan that cannot be is wrong usage; all else has failed.
#[must_use]
pub fn run_error(error: run::RunError) -> Stopped {
    match error {
        run::RunError::Plan(error) => Stopped::usage(&error),
        error @ run::RunError::Refused(_) => {
            Stopped { exit: Exit::Suspect, line: shell::one_line(&error) }
        }
        error => Stopped::from(error),
    }
}

fn hardware(arguments: &HardwareArgs) -> Result<Exit, Stopped> {
    let root = Path::new("/");
    let found = match &arguments.capture {
        None => hardware::detect_live(root),
        Some(file) => {
            let (found, capture) = hardware::capture_live(root);
            capture.save(file).map_err(|error| match error {
                SaveError::Exists { .. } => Stopped::usage(&error),
                SaveError::Write { .. } => Stopped::from(error),
            })?;
            let read = capture.len();
            tell(format_args!(
                "saved what was read, {read} files and folders, in {}",
                file.display()
            ));
            found
        }
    };
    let text = render::hardware(&found, arguments.explain, arguments.output.format)?;
    arguments.output.write(&text)?;
    Ok(Exit::Success)
}
