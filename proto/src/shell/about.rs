//! Commands of both binaries that are about the binary itself: its settings, its completions, its man pages.

mod man;
mod settings;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Args, CommandFactory, Subcommand, ValueEnum};

use super::{
    Exit, config,
    output::{Format, OutputArgs, WriteError},
    screen::Color,
};

/// What a binary tells of itself. None of it goes by the settings file, which may be wrong or another user's.
#[derive(Clone, Debug, Subcommand)]
pub enum AboutCommand {
    /// Check the settings file, or print every setting and where it comes from
    Config(ConfigArgs),
    /// Print what a shell needs to complete commands and flags
    Completions(CompletionsArgs),
    /// Write a man page for each command
    Man(ManArgs),
}

/// The names of these commands.
pub(super) const NAMES: [&str; 3] = ["config", "completions", "man"];

/// What can be asked of settings.
#[derive(Args, Clone, Debug)]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// The commands of `config`.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Tell what is wrong in this program's part of a settings file: unknown keys, wrong types and values; exit with 2 if
    /// anything is
    Check(ConfigCheckArgs),
    /// Print every setting with its value and whether that is from a flag, a variable, the settings file or the default
    Show(ConfigShowArgs),
}

/// Flags of `config check`.
#[derive(Args, Clone, Debug)]
pub struct ConfigCheckArgs {
    /// The file to check [default: the settings file that the other commands read]
    pub file: Option<PathBuf>,
    /// Form and place of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Flags of `config show`.
#[derive(Args, Clone, Debug)]
pub struct ConfigShowArgs {
    /// Form and place of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Flags of `completions`.
#[derive(Args, Clone, Debug)]
pub struct CompletionsArgs {
    /// The shell that is to complete
    #[arg(value_enum)]
    pub shell: Shell,
    /// Write the result to FILE instead of standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// A shell that completes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Shell {
    /// Goes to bash-completion/completions/PROGRAM
    Bash,
    /// Goes to zsh/site-functions/_PROGRAM
    Zsh,
    /// Goes to fish/vendor_completions.d/PROGRAM.fish
    Fish,
}

/// Flags of `man`.
#[derive(Args, Clone, Debug)]
pub struct ManArgs {
    /// Folder to write the pages into, such as /usr/local/share/man/man1; it is made where it is missing
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
}

/// Where a binary looks for its settings.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// `--config`.
    pub config: Option<&'a Path>,
    /// `--state-dir`.
    pub state_dir: &'a Path,
}

/// What was asked could not be told.
#[derive(Debug, thiserror::Error)]
pub enum AboutError {
    /// The result could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A page or its folder could not be.
    #[error("cannot write {}", .path.display())]
    Page {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The settings file cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be gone by.
    #[error("{}: {problem}; see `config check`", .path.display())]
    Settings {
        /// Which.
        path: PathBuf,
        /// The first thing that is wrong with it.
        problem: String,
    },
    /// JSON refused a value.
    #[error("cannot write JSON")]
    Json(#[from] serde_json::Error),
}

impl AboutError {
    /// Whether what was typed, set or written is wrong.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Read { .. } | Self::Settings { .. })
    }
}

/// Does what was typed, for the command line `T` of `binary` (`agent` or `collector`).
///
/// # Errors
///
/// If the settings file cannot be read, or the result cannot be written.
pub fn obey<T: CommandFactory>(
    binary: &str,
    command: &AboutCommand,
    place: Place<'_>,
) -> Result<Exit, AboutError> {
    let cli = config::command::<T>(binary);
    match command {
        AboutCommand::Config(ConfigArgs { command: ConfigCommand::Check(asked) }) => {
            settings::check(&cli, binary, asked, place)
        }
        AboutCommand::Config(ConfigArgs { command: ConfigCommand::Show(asked) }) => {
            settings::show(&cli, binary, asked, place)
        }
        AboutCommand::Completions(CompletionsArgs { shell, output }) => {
            let output =
                OutputArgs { format: Format::Table, output: output.clone(), color: Color::Never };
            output.write(&script(*shell, cli))?;
            Ok(Exit::Success)
        }
        AboutCommand::Man(ManArgs { output }) => {
            write_pages(man::pages(cli), output)?;
            Ok(Exit::Success)
        }
    }
}

/// What the shell reads to complete the command.
fn script(shell: Shell, mut command: clap::Command) -> String {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name.clone(), &mut script);
    let script = String::from_utf8_lossy(&script);
    // clap_complete spells the name in two ways in bash, as there is a hyphen in it, and then completes nothing behind a
    // subcommand: https://github.com/clap-rs/clap/issues/6421.
    script.replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__"))
}

fn write_pages(pages: Vec<man::Page>, folder: &Path) -> Result<(), AboutError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| AboutError::Page { path, source }
    };
    fs::create_dir_all(folder).map_err(failed(folder))?;
    for man::Page { file, text } in pages {
        let path = folder.join(file);
        fs::write(&path, text).map_err(failed(&path))?;
    }
    Ok(())
}
