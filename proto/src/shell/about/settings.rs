//! What is set, by whom, and what is wrong with it.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
};

use clap::{Arg, ArgAction, Command};
use serde::Serialize;
use toml::{Table, Value, de::DeTable};

use super::{AboutError, ConfigCheckArgs, ConfigShowArgs, NAMES, Place};
use crate::{
    shell::{
        Exit, config, default_config,
        grid::{Align, Grid},
        output::{Form, Format, tell},
    },
    token,
};

/// Prints what is wrong with a settings file.
pub(super) fn check(
    cli: &Command,
    binary: &str,
    asked: &ConfigCheckArgs,
    place: Place<'_>,
) -> Result<Exit, AboutError> {
    let Some(path) = asked.file.clone().or_else(|| file(place)) else {
        tell("there is no settings file, so nothing is wrong with it");
        return Ok(Exit::Success);
    };
    let text = read(&path)?;
    let checked = Checked {
        schema: "fleetmark.config-check/1",
        binary: format!("fleetmark-{binary}"),
        file: path.display().to_string(),
        problems: problems(cli, binary, &text),
    };
    asked.output.write(&match asked.output.format {
        Format::Table => checked.lines(),
        Format::Json => serde_json::to_string_pretty(&checked)? + "\n",
        Format::Csv => checked.grid().csv(),
        Format::Markdown => checked.grid().markdown(),
    })?;
    Ok(if checked.problems.is_empty() { Exit::Success } else { Exit::Usage })
}

/// Prints every setting.
pub(super) fn show(
    cli: &Command,
    binary: &str,
    asked: &ConfigShowArgs,
    place: Place<'_>,
) -> Result<Exit, AboutError> {
    let path = file(place);
    let text = path.as_deref().map(read).transpose()?.unwrap_or_default();
    if let Some(path) = &path {
        let wrong = |problem| AboutError::Settings { path: path.clone(), problem };
        config::settle(cli.clone(), binary, &text).map_err(wrong)?;
    }
    let typed = [
        ("config", place.config.map(|path| path.display().to_string())),
        ("state-dir", Some(place.state_dir.display().to_string())),
    ];
    let shown = Shown {
        schema: "fleetmark.config/1",
        binary: format!("fleetmark-{binary}"),
        file: path.map(|path| path.display().to_string()),
        settings: settings(cli, &entries(&text, binary), &typed, &|name| {
            env::var_os(name).map(|value| value.to_string_lossy().into_owned())
        }),
    };
    asked.output.write(&match asked.output.form() {
        Form::People(look) => look.grid(&shown.grid()),
        Form::Json => serde_json::to_string_pretty(&shown)? + "\n",
        Form::Csv => shown.grid().csv(),
    })?;
    Ok(Exit::Success)
}

/// The settings file that is read.
fn file(place: Place<'_>) -> Option<PathBuf> {
    place.config.map(Path::to_owned).or_else(|| default_config(place.state_dir))
}

fn read(path: &Path) -> Result<String, AboutError> {
    fs::read_to_string(path).map_err(|source| AboutError::Read { path: path.to_owned(), source })
}

/// A flag with the command that has it; all commands have those without.
struct Flag<'a> {
    command: Option<String>,
    arg: &'a Arg,
}

/// The flags that can be set, by their keys.
fn flags(cli: &Command) -> BTreeMap<&str, Vec<Flag<'_>>> {
    fn add<'a>(
        command: &'a Command,
        path: Option<&str>,
        flags: &mut BTreeMap<&'a str, Vec<Flag<'a>>>,
    ) {
        for arg in command.get_arguments() {
            if let Some(key) = arg.get_long().filter(|key| !matches!(*key, "help" | "version")) {
                let command = path.map(str::to_owned);
                flags.entry(key).or_default().push(Flag { command, arg });
            }
        }
        for below in command.get_subcommands() {
            let name = below.get_name();
            let is_about = path.is_none() && NAMES.contains(&name);
            if !is_about {
                let path = path.map_or_else(|| name.to_owned(), |path| format!("{path} {name}"));
                add(below, Some(&path), flags);
            }
        }
    }
    let mut all = BTreeMap::new();
    add(cli, None, &mut all);
    all
}

/// A value of a settings file, and the line on which its key stands.
struct Entry {
    value: Value,
    line: usize,
}

/// What the binary's table has; nothing where the text is no TOML.
fn entries(text: &str, binary: &str) -> BTreeMap<String, Entry> {
    let (Ok(values), Ok(spans)) = (text.parse::<Table>(), DeTable::parse(text)) else {
        return BTreeMap::new();
    };
    let values = values.get(binary).and_then(Value::as_table);
    let spans = spans.get_ref().get(binary).and_then(|table| table.get_ref().as_table());
    let (Some(values), Some(spans)) = (values, spans) else { return BTreeMap::new() };
    let entry = |(key, value): (&String, &Value)| {
        let (found, _) = spans.get_key_value(key.as_str())?;
        let entry = Entry { value: value.clone(), line: line_at(text, found.span().start) };
        Some((key.clone(), entry))
    };
    values.iter().filter_map(entry).collect()
}

/// The line of a place in a text, from 1 on.
fn line_at(text: &str, place: usize) -> usize {
    text.bytes().take(place).filter(|byte| *byte == b'\n').count() + 1
}

/// What is wrong with a settings file.
#[derive(Debug, Serialize)]
struct Checked {
    schema: &'static str,
    binary: String,
    file: String,
    problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
struct Problem {
    line: usize,
    key: Option<String>,
    problem: String,
}

impl Checked {
    fn lines(&self) -> String {
        let Self { binary, file, problems, .. } = self;
        if problems.is_empty() {
            return format!("{file}: nothing is wrong with what it says to {binary}\n");
        }
        let line = |problem: &Problem| format!("{file}:{}: {}\n", problem.line, problem.problem);
        problems.iter().map(line).collect()
    }

    fn grid(&self) -> Grid {
        let row = |problem: &Problem| {
            let Problem { line, key, problem } = problem;
            let key = key.clone().unwrap_or_default();
            vec![self.file.clone(), line.to_string(), key, problem.clone()]
        };
        Grid {
            title: String::new(),
            columns: vec![
                ("file", Align::Left),
                ("line", Align::Right),
                ("key", Align::Left),
                ("problem", Align::Left),
            ],
            rows: self.problems.iter().map(row).collect(),
        }
    }
}

/// Everything that is wrong with what a settings file says to `binary`, by lines.
fn problems(cli: &Command, binary: &str, text: &str) -> Vec<Problem> {
    let tables = match DeTable::parse(text) {
        Ok(tables) => tables,
        Err(error) => {
            let line = line_at(text, error.span().map_or(0, |span| span.start));
            return vec![Problem { line, key: None, problem: one_line(error.message()) }];
        }
    };
    let flags = flags(cli);
    let mut problems = BTreeSet::new();
    for (key, value) in tables.get_ref() {
        let name = key.get_ref().as_ref();
        let is_table = value.get_ref().as_table().is_some();
        let problem = match name {
            "agent" | "collector" if is_table => continue,
            "agent" | "collector" => format!("{name} must be a table"),
            _ if !is_table && flags.contains_key(name) => {
                format!("{name} must stand in the table [{binary}]")
            }
            _ if is_table => {
                let likely = nearest(name, ["agent", "collector"].into_iter());
                format!("[{name}] is not a table of fleetmark's{}", hint(likely))
            }
            _ => format!("{name} stands in no table; the tables are [agent] and [collector]"),
        };
        let line = line_at(text, key.span().start);
        problems.insert(Problem { line, key: Some(name.to_owned()), problem });
    }
    for (key, Entry { value, line }) in entries(text, binary) {
        let found = match flags.get(key.as_str()) {
            None => {
                let likely = nearest(&key, flags.keys().copied());
                vec![format!("no flag of fleetmark-{binary} is called {key}{}", hint(likely))]
            }
            Some(_) if key == "config" => {
                vec!["config is how this file is found, and cannot be set in it".to_owned()]
            }
            Some(flags) => flags.iter().filter_map(|flag| refused(flag.arg, &value)).collect(),
        };
        for problem in found {
            problems.insert(Problem { line, key: Some(key.clone()), problem });
        }
    }
    problems.into_iter().collect()
}

fn hint(likely: Option<&str>) -> String {
    likely.map(|likely| format!("; the nearest is {likely}")).unwrap_or_default()
}

/// The name that is most like what was written, if any is like it.
fn nearest<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const LEAST: f64 = 0.6;
    let likeness = |name: &str| strsim::normalized_damerau_levenshtein(name, written);
    names
        .map(|name| (likeness(name), name))
        .filter(|(likeness, _)| *likeness >= LEAST)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

fn one_line(text: &str) -> String {
    token::masked(&text.split_whitespace().collect::<Vec<_>>().join(" ")).into_owned()
}

/// Why a flag cannot have this value, if it cannot.
fn refused(arg: &Arg, value: &Value) -> Option<String> {
    let words = match config::words(arg, value) {
        Ok(words) => words,
        Err(problem) => return Some(problem),
    };
    // A command with this flag alone, as others of the command might have to be there, or must not be.
    let key = arg.get_long()?.to_owned();
    let mut alone = Arg::new(key.clone())
        .long(key.clone())
        .value_parser(arg.get_value_parser().clone())
        .action(ArgAction::Append)
        .num_args(1);
    if let Some(names) = arg.get_value_names() {
        alone = alone.value_names(names.to_vec());
    }
    if let Some(delimiter) = arg.get_value_delimiter() {
        alone = alone.value_delimiter(delimiter);
    }
    let command = Command::new("fleetmark").no_binary_name(true).arg(alone);
    let typed = words.iter().map(|word| format!("--{key}={word}"));
    let error = command.try_get_matches_from(typed).err()?;
    Some(one_line(&config::complaint(&error.to_string())))
}

/// Every setting of a binary.
#[derive(Debug, Serialize)]
struct Shown {
    schema: &'static str,
    binary: String,
    file: Option<String>,
    settings: Vec<Setting>,
}

/// A setting. One that has several defaults is there for each of them.
#[derive(Debug, PartialEq, Serialize)]
struct Setting {
    key: String,
    variable: String,
    value: Option<Set>,
    source: Source,
    /// Of the settings file, where the value is from there.
    line: Option<usize>,
    /// That have the flag.
    commands: Vec<String>,
    /// Other commands have another default.
    #[serde(skip)]
    is_one_of_several: bool,
}

/// What is set.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(untagged)]
enum Set {
    One(String),
    Many(Vec<String>),
}

/// Who set it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Source {
    Flag,
    Variable,
    File,
    Default,
}

impl Shown {
    fn grid(&self) -> Grid {
        let row = |setting: &Setting| {
            let value = match &setting.value {
                None => "not set".to_owned(),
                Some(Set::One(value)) => value.clone(),
                Some(Set::Many(values)) => values.join(", "),
            };
            let from = match (setting.source, setting.line) {
                (Source::Flag, _) => "flag".to_owned(),
                (Source::Variable, _) => setting.variable.clone(),
                (Source::File, Some(line)) => format!("file, line {line}"),
                (Source::File, None) => "file".to_owned(),
                (Source::Default, _) => "default".to_owned(),
            };
            let of = match setting.is_one_of_several {
                true => setting.commands.join(", "),
                false => String::new(),
            };
            vec![setting.key.clone(), value, from, of]
        };
        let file = self.file.as_deref().unwrap_or("none");
        Grid {
            title: format!("settings of {}; settings file: {file}", self.binary),
            columns: vec![
                ("setting", Align::Left),
                ("value", Align::Left),
                ("from", Align::Left),
                ("only for", Align::Left),
            ],
            rows: self.settings.iter().map(row).collect(),
        }
    }
}

/// Every setting with its value; `typed` are the flags that were given, or that have their defaults.
fn settings(
    cli: &Command,
    entries: &BTreeMap<String, Entry>,
    typed: &[(&str, Option<String>)],
    variable: &dyn Fn(&str) -> Option<String>,
) -> Vec<Setting> {
    let mut settings = Vec::new();
    for (key, flags) in flags(cli) {
        let mut by_default: Vec<(Option<Set>, Vec<&Flag<'_>>)> = Vec::new();
        for flag in &flags {
            let default = default(flag.arg);
            match by_default.iter_mut().find(|(found, _)| *found == default) {
                Some((_, same)) => same.push(flag),
                None => by_default.push((default, vec![flag])),
            }
        }
        let Some(Flag { arg, .. }) = flags.first() else { continue };
        let name = arg.get_env().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        let from_variable = variable(&name).map(|text| set(arg, &text));
        let given = typed.iter().find(|(flag, _)| *flag == key).and_then(|(_, text)| text.clone());
        let given = given.map(|text| set(arg, &text));
        let entry = entries.get(key);
        let of_file = entry.and_then(|entry| Some((written(arg, &entry.value)?, entry.line)));
        let said = match (given, from_variable, of_file) {
            (Some(given), Some(value), _) if given == value => {
                Some((value, Source::Variable, None))
            }
            (Some(given), _, _) if Some(&given) != default(arg).as_ref() => {
                Some((given, Source::Flag, None))
            }
            (_, Some(value), _) => Some((value, Source::Variable, None)),
            (_, None, Some((value, line))) => Some((value, Source::File, Some(line))),
            (_, None, None) => None,
        };
        // What was said holds for all commands.
        if said.is_some() {
            by_default = vec![(None, flags.iter().collect())];
        }
        let is_one_of_several = by_default.len() > 1;
        for (default, flags) in by_default {
            let (value, source, line) = match said.clone() {
                Some((value, source, line)) => (Some(value), source, line),
                None => (default, Source::Default, None),
            };
            settings.push(Setting {
                key: key.to_owned(),
                variable: name.clone(),
                value: value.map(masked),
                source,
                line,
                commands: flags.iter().filter_map(|flag| flag.command.clone()).collect(),
                is_one_of_several,
            });
        }
    }
    settings
}

/// The value of a flag that nobody set.
fn default(arg: &Arg) -> Option<Set> {
    let values: Vec<String> =
        arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    match (arg.get_action(), values.as_slice()) {
        (ArgAction::SetTrue, []) => Some(Set::One("false".to_owned())),
        (_, []) => None,
        (ArgAction::Append, _) => Some(Set::Many(values)),
        (_, _) => Some(Set::One(values.concat())),
    }
}

/// A value as it stands in a variable or on the command line.
fn set(arg: &Arg, text: &str) -> Set {
    match (arg.get_action(), arg.get_value_delimiter()) {
        (ArgAction::Append, Some(delimiter)) => {
            Set::Many(text.split(delimiter).map(str::to_owned).collect())
        }
        (ArgAction::Append, None) => Set::Many(vec![text.to_owned()]),
        _ => Set::One(text.to_owned()),
    }
}

/// A value of the settings file.
fn written(arg: &Arg, value: &Value) -> Option<Set> {
    let words = config::words(arg, value).ok()?;
    Some(match arg.get_action() {
        ArgAction::Append => Set::Many(words),
        _ => Set::One(words.concat()),
    })
}

/// The value without what lets somebody in: a token, or the password of a URL.
fn masked(value: Set) -> Set {
    let mask = |text: String| {
        let text = token::masked(&text);
        without_password(&text).into_owned()
    };
    match value {
        Set::One(text) => Set::One(mask(text)),
        Set::Many(texts) => Set::Many(texts.into_iter().map(mask).collect()),
    }
}

fn without_password(text: &str) -> Cow<'_, str> {
    let password = || {
        let (scheme, rest) = text.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        let (user, password) = authority.rsplit_once('@')?.0.split_once(':')?;
        let begin = scheme.len() + "://".len() + user.len() + ":".len();
        Some((text.get(..begin)?, text.get(begin + password.len()..)?))
    };
    match password() {
        Some((before, after)) => format!("{before}…{after}").into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests;
