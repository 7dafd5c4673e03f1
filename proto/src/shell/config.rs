//! Where settings come from: the command line, then a variable, then `fleetmark.toml`, then the default.
//!
//! Every flag of a binary has a variable, `FLEETMARK_<BINARY>_<FLAG>`, and a key in its table of the settings file:
//!
//! ```toml
//! [agent]
//! rounds = 22
//! label = ["rack=7", "env=prod"]
//! ```

use std::{ffi::OsString, fs, io::Write as _, path::PathBuf};

use clap::{
    Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches,
    builder::BoolishValueParser, error::ErrorKind,
};
use toml::{Table, Value};

use super::{Exit, about, default_config, output::tell};
use crate::token;

/// What a command line came to, if it is not to be run.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// Help or version was asked for; this is it.
    #[error("{0}")]
    Told(String),
    /// Something that was typed, set or written is wrong; one line.
    #[error("{0}")]
    Wrong(String),
}

impl Stop {
    /// Says it, on the stream where it belongs, and how to exit.
    #[must_use]
    pub fn tell(self) -> Exit {
        match self {
            // Nobody is left to hear of a stream that cannot be written. Help has the values of the settings file in it.
            Self::Told(text) => {
                let _ = std::io::stdout().write_all(token::masked(&text).as_bytes());
                Exit::Success
            }
            Self::Wrong(line) => {
                tell(format_args!("error: {line}"));
                Exit::Usage
            }
        }
    }
}

/// The command with what all commands share: the variables, and the exit codes at the end of the help.
#[must_use]
pub fn command<T: CommandFactory>(binary: &str) -> Command {
    dress(T::command(), binary)
}

/// Parses a command line of `binary` (`agent` or `collector`), which has the global arguments `config` and `state_dir`.
///
/// # Errors
///
/// If help or version was asked for, or if anything that was typed, set or written is wrong.
pub fn parse<T: CommandFactory + FromArgMatches>(
    binary: &str,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<T, Stop> {
    let command = command::<T>(binary);
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let matches = matches(command.clone(), &arguments)?;
    let is_about = matches.subcommand_name().is_some_and(|name| about::NAMES.contains(&name));
    let matches = match settings_file(&matches).filter(|_| !is_about) {
        None => matches,
        Some(path) => {
            let wrong = |what: String| Stop::Wrong(format!("{}: {what}", path.display()));
            let text = fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
            let settled = settle(command, binary, &text).map_err(wrong)?;
            self::matches(settled, &arguments)?
        }
    };
    T::from_arg_matches(&matches).map_err(stop)
}

fn matches(command: Command, arguments: &[OsString]) -> Result<ArgMatches, Stop> {
    command.try_get_matches_from(arguments).map_err(stop)
}

/// clap explains over several lines; the first paragraph says it all.
fn stop(error: clap::Error) -> Stop {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Stop::Told(text),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Stop::Wrong("a command is needed; see --help".to_owned())
        }
        _ => Stop::Wrong(complaint(&text)),
    }
}

/// The first paragraph of what clap says, on one line.
#[must_use]
pub fn complaint(text: &str) -> String {
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    line.trim_start_matches("error: ").to_owned()
}

fn dress(command: Command, binary: &str) -> Command {
    let prefix = format!("FLEETMARK_{}_", binary.to_uppercase());
    let command = command.after_help(Exit::help()).mut_args(|arg| {
        let Some(long) = arg.get_long().map(str::to_owned) else {
            return arg;
        };
        if matches!(long.as_str(), "help" | "version") {
            return arg;
        }
        let variable = prefix.clone() + &long.replace('-', "_").to_uppercase();
        let arg = arg.env(variable).hide_env(true);
        match arg.get_action() {
            ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()),
            _ => arg,
        }
    });
    command.mut_subcommands(|subcommand| dress(subcommand, binary))
}

fn settings_file(matches: &ArgMatches) -> Option<PathBuf> {
    let given = matches.get_one::<PathBuf>("config").cloned();
    given.or_else(|| default_config(matches.get_one::<PathBuf>("state_dir")?))
}

/// The command with what a settings file says as the defaults of its flags.
///
/// # Errors
///
/// If the file is no settings file of `binary`'s, in one line.
pub fn settle(command: Command, binary: &str, text: &str) -> Result<Command, String> {
    let mut all: Table = text.parse().map_err(|error: toml::de::Error| {
        error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
    })?;
    if let Some(stranger) = all.keys().find(|key| !matches!(key.as_str(), "agent" | "collector")) {
        return Err(format!("[{stranger}] is not a table of fleetmark's"));
    }
    let table = match all.remove(binary) {
        None => Table::new(),
        Some(Value::Table(table)) => table,
        Some(_) => return Err(format!("{binary} must be a table")),
    };
    match table.keys().find(|key| !has_flag(&command, key)) {
        Some(stranger) => Err(format!("no flag of fleetmark-{binary} is called {stranger}")),
        None => apply(command, &table),
    }
}

fn has_flag(command: &Command, key: &str) -> bool {
    command.get_arguments().any(|arg| arg.get_long() == Some(key))
        || command.get_subcommands().any(|subcommand| has_flag(subcommand, key))
}

/// Makes what the file says the flags' defaults, so that clap checks and explains it like anything typed.
fn apply(command: Command, table: &Table) -> Result<Command, String> {
    let mut wrong = None;
    let command = command.mut_args(|arg| {
        let value = arg.get_long().and_then(|long| table.get(long));
        match value.map(|value| with_default(arg.clone(), value)) {
            None => arg,
            Some(Ok(settled)) => settled,
            Some(Err(what)) => {
                wrong = Some(what);
                arg
            }
        }
    });
    match wrong {
        Some(what) => Err(what),
        None => {
            let names: Vec<String> =
                command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
            names.into_iter().try_fold(command, |command, name| {
                let mut failed = None;
                let command = command.mut_subcommand(name, |subcommand| {
                    apply(subcommand.clone(), table).unwrap_or_else(|what| {
                        failed = Some(what);
                        subcommand
                    })
                });
                failed.map_or(Ok(command), Err)
            })
        }
    }
}

fn with_default(arg: Arg, value: &Value) -> Result<Arg, String> {
    words(&arg, value).map(|words| arg.default_values(words))
}

/// What a value of the settings file is as if it was typed: each part, where the flag can be typed several times.
///
/// # Errors
///
/// If no flag, or not this one, can have such a value.
pub(super) fn words(arg: &Arg, value: &Value) -> Result<Vec<String>, String> {
    let key = arg.get_long().unwrap_or_default();
    let scalar = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => Ok(value.to_string()),
        _ => Err(format!("{key} must be a string, a number, true or false")),
    };
    match value {
        Value::Array(_) if !matches!(arg.get_action(), ArgAction::Append) => {
            Err(format!("{key} has one value, and cannot be a list"))
        }
        Value::Array(values) => values.iter().map(scalar).collect(),
        value => Ok(vec![scalar(value)?]),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[arg(long, global = true)]
        config: Option<PathBuf>,
        #[arg(long, global = true, default_value = "/nonexistent")]
        state_dir: PathBuf,
        #[command(subcommand)]
        command: Sub,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Sub {
        Run {
            #[arg(long, default_value_t = 11)]
            rounds: u32,
            #[arg(long)]
            strict: bool,
            #[arg(long)]
            label: Vec<String>,
        },
    }

    fn run(file: &str, arguments: &[&str]) -> Result<(u32, bool, Vec<String>), String> {
        let folder = std::env::temp_dir().join(format!("fleetmark-{}", uuid::Uuid::now_v7()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("fleetmark.toml");
        fs::write(&path, file).unwrap();
        let start = ["x", "--config", path.to_str().unwrap(), "run"];
        let line = start.iter().chain(arguments).map(OsString::from);
        let parsed = parse::<Cli>("agent", line);
        fs::remove_dir_all(&folder).unwrap();
        match parsed {
            Ok(Cli { command: Sub::Run { rounds, strict, label }, .. }) => {
                Ok((rounds, strict, label))
            }
            Err(stop) => Err(stop.to_string()),
        }
    }

    #[test]
    fn file_sets_what_the_command_line_does_not() {
        let file = "[agent]\nrounds = 22\nstrict = true\nlabel = [\"a=1\", \"b=2\"]\n[collector]\nlisten = \"x\"";
        assert_eq!(run(file, &[]), Ok((22, true, vec!["a=1".into(), "b=2".into()])));
        assert_eq!(run(file, &["--rounds", "5"]).unwrap().0, 5);
        assert_eq!(run("", &[]), Ok((11, false, vec![])));
        assert_eq!(run("[agent]\nlabel = []", &[]).unwrap().2, Vec::<String>::new());
    }

    #[test]
    fn wrong_files_are_told_in_one_line() {
        for (file, says) in [
            ("[agent]\nronds = 1", "no flag of fleetmark-agent is called ronds"),
            ("[agnet]\n", "[agnet] is not a table"),
            ("[agent]\nrounds = \"many\"", "invalid value 'many'"),
            ("[agent]\nrounds = {}", "rounds must be a string, a number"),
            ("[agent]\nrounds = [1, 2]", "rounds has one value"),
            ("agent = 3", "agent must be a table"),
            ("[agent", "TOML"),
        ] {
            let line = run(file, &[]).unwrap_err();
            assert!(line.contains(says), "{file}: {line}");
            assert!(!line.contains('\n'), "{line}");
        }
    }
}
