//! The agent's commands: from what was typed to what is printed, and how each ends.

mod collectors;
mod daemon;
mod enroll;
mod hardware;
mod run;
mod spool;

use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
};

use clap::CommandFactory;
use fleetmark_proto::shell::{
    self, Exit,
    about::{self, AboutCommand, Place},
    output::tell,
};
use rustix::process::Signal;
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
};
use url::Url;

pub use run::{conclude, measured};

use crate::{
    args::{AccessArgs, Cli, Command, GlobalArgs},
    delivery::{Courier, Event, Keyring, Pace},
    memory, private,
    run::RunError,
    spool::Spool,
};

/// Does what was typed.
pub(crate) fn obey(cli: Cli) -> Result<Exit, Stopped> {
    let state_dir = &cli.global.state_dir;
    survive_file_size_limits()?;
    let folder = state_dir.join("agent");
    if !matches!(cli.command, Command::About(_)) {
        // Where there is none yet, whoever makes it does so; and whoever cannot have it so says why where it needs the folder.
        let _ = private::tighten(&folder);
    }
    match cli.command {
        Command::Run(arguments) => run::run(&arguments, state_dir),
        Command::Daemon(arguments) => daemon::daemon(*arguments, state_dir),
        Command::Spool(arguments) => spool::spool(&arguments, state_dir),
        Command::Enroll(arguments) => enroll::enroll(&arguments, state_dir),
        Command::Hardware(arguments) => hardware::hardware(&arguments),
        Command::About(command) => about::<Cli>("agent", &command, &cli.global),
    }
}

/// Tells what is asked of `binary` itself, whose command line is `T`.
///
/// # Errors
///
/// If it cannot be told.
pub fn about<T: CommandFactory>(
    binary: &str,
    command: &AboutCommand,
    global: &GlobalArgs,
) -> Result<Exit, Stopped> {
    let place = Place { config: global.config.as_deref(), state_dir: &global.state_dir };
    about::obey::<T>(binary, command, place).map_err(|error| match error.is_usage() {
        true => Stopped::usage(&error),
        false => Stopped::from(error),
    })
}

/// Whoever writes past a limit on the size of files is killed, unless somebody takes the signal; then writing fails. It is
/// taken until the process ends, whoever listens.
fn survive_file_size_limits() -> io::Result<()> {
    let taking = async { signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).map(drop) };
    wait_for(taking).flatten()
}

/// Takes care of the secrets among these files before they are read: they stay in this process' memory, and whoever leaves them
/// to everybody hears of it.
pub fn take_care_of(access: &AccessArgs) {
    let secrets = [&access.tls_key, &access.bearer_token_file];
    for path in secrets.into_iter().flatten() {
        memory::keep_private();
        warn_if_open(path);
    }
}

/// Whoever leaves a secret to everybody hears of it.
fn warn_if_open(path: &Path) {
    if private::is_open_to_all(path) {
        let path = path.display();
        tell(format_args!(
            "warning: everybody on this host can read or change {path}; `chmod 600 {path}` ends that"
        ));
    }
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

/// A plan that cannot be is wrong usage; all else has failed.
#[must_use]
pub fn run_error(error: RunError) -> Stopped {
    match error {
        RunError::Plan(error) => Stopped::usage(&error),
        error @ RunError::Refused(_) => {
            Stopped { exit: Exit::Suspect, line: shell::one_line(&error) }
        }
        error => Stopped::from(error),
    }
}

/// Where the agent's spool lies.
fn spool_folder(state_dir: &Path) -> PathBuf {
    state_dir.join("agent").join("spool")
}

/// Delivers from the spool, and says on standard error what an operator should hear.
fn courier(urls: Vec<Url>, keyring: Keyring, spool: Spool) -> Courier {
    Courier::new(urls, spool, Pace::default(), tell).with(keyring)
}

/// The same for a command that tells in the end why reports are left.
fn brief_courier(urls: Vec<Url>, keyring: Keyring, spool: Spool) -> Courier {
    let outlet = |event| match event {
        Event::Failing { .. } | Event::Recovered { .. } | Event::Renewed { .. } => {}
        event => tell(event),
    };
    Courier::new(urls, spool, Pace::default(), outlet).with(keyring)
}

/// Waits for the network, on this thread, which has no need of others. Whatever is left then is left behind: a look-up of a
/// name that nobody answers cannot be broken off, and would hold the process for most of a minute.
fn wait_for<T>(future: impl Future<Output = T>) -> io::Result<T> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(future);
    runtime.shutdown_background();
    Ok(done)
}
