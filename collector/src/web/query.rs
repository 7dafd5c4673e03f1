//! What stands behind the question mark of an address: the flags of a command, by their names. They are given to the parser of
//! that command, which checks them as if they were typed.

use clap::{Args, FromArgMatches};
use fleetmark_proto::shell::config::complaint;
use url::form_urlencoded;

use crate::args::SelectArgs;

/// A command of which there is a page.
#[derive(Debug)]
pub(super) struct Command {
    /// What it is called.
    pub(super) name: &'static str,
    /// Whether it takes what chooses runs.
    pub(super) selects: bool,
    /// Which flags it takes beside these.
    pub(super) flags: &'static [&'static str],
    /// What that is called which is typed without a flag.
    pub(super) words: Option<&'static str>,
}

/// What was asked for.
#[derive(Debug)]
pub(super) struct Typed<T> {
    pub(super) arguments: T,
    /// The command that asks the same.
    pub(super) command: String,
}

/// The pairs of a query. Fields of a form that were left empty say nothing.
pub(super) fn pairs(query: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(query.as_bytes())
        .filter(|(key, value)| !value.trim().is_empty() || key == "include-suspect")
        .map(|(key, value)| (key.into_owned(), value.trim().to_owned()))
        .collect()
}

impl Command {
    /// What a query asks for.
    ///
    /// # Errors
    ///
    /// If it is not what the command takes: the line that the command would say.
    pub(super) fn parse<T: Args + FromArgMatches>(
        &self,
        pairs: &[(String, String)],
    ) -> Result<Typed<T>, String> {
        let mut flags = Vec::new();
        let mut words = Vec::new();
        for (key, value) in pairs {
            if self.words == Some(key.as_str()) {
                words.push(value.clone());
            } else if key == "include-suspect" && self.takes(key) {
                match value.as_str() {
                    "" | "true" | "on" | "yes" | "1" => flags.push((format!("--{key}"), None)),
                    "false" | "off" | "no" | "0" => {}
                    other => {
                        return Err(format!("include-suspect is true or false, not {other:?}"));
                    }
                }
            } else if self.takes(key) {
                flags.push((format!("--{key}"), Some(value.clone())));
            } else {
                return Err(format!("{} has no flag that is called {key:?}", self.name));
            }
        }
        // Values are beside their flags with a sign, and words behind two dashes, so that nothing passes for a flag.
        let mut typed: Vec<String> = flags
            .iter()
            .map(|(flag, value)| match value {
                Some(value) => format!("{flag}={value}"),
                None => flag.clone(),
            })
            .collect();
        typed.push("--".to_owned());
        typed.extend(words.iter().cloned());
        let parser = T::augment_args(clap::Command::new(self.name).no_binary_name(true))
            .disable_help_flag(true);
        let matches =
            parser.try_get_matches_from(typed).map_err(|error| complaint(&error.to_string()))?;
        let arguments =
            T::from_arg_matches(&matches).map_err(|error| complaint(&error.to_string()))?;
        Ok(Typed { arguments, command: self.line(&words, &flags) })
    }

    fn takes(&self, key: &str) -> bool {
        let selects = || {
            let select = SelectArgs::augment_args(clap::Command::new("select"));
            select.get_arguments().any(|flag| flag.get_long() == Some(key))
        };
        self.flags.contains(&key) || (self.selects && selects())
    }

    /// As it is typed in a shell.
    fn line(&self, words: &[String], flags: &[(String, Option<String>)]) -> String {
        let mut line = format!("fleetmark-collector {}", self.name);
        for word in words {
            line.push_str(&format!(" {}", quoted(word)));
        }
        for (flag, value) in flags {
            line.push_str(&format!(" {flag}"));
            if let Some(value) = value {
                line.push_str(&format!(" {}", quoted(value)));
            }
        }
        line
    }
}

/// A word that a shell takes as it is.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@%+".contains(c);
    match !word.is_empty() && !word.starts_with('-') && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{CompareArgs, ReportArgs};

    const REPORT: Command =
        Command { name: "report", selects: true, flags: &["by", "against"], words: None };
    const COMPARE: Command =
        Command { name: "compare", selects: true, flags: &[], words: Some("side") };

    fn report(query: &str) -> Result<Typed<ReportArgs>, String> {
        REPORT.parse(&pairs(query))
    }

    #[test]
    fn an_address_says_what_flags_say() {
        let typed = report(
            "profile=a&profile=b&since=7d&label=role%3Dweb&scenario=waiting&by=kernel&include-suspect=on&host=&until=",
        )
        .unwrap();
        let select = &typed.arguments.select;
        assert_eq!(select.profile, ["a", "b"]);
        assert_eq!(select.host, Vec::<String>::new(), "a field that was left empty");
        assert!(select.include_suspect);
        assert_eq!(typed.arguments.by[0].to_string(), "kernel");
        assert_eq!(
            typed.command,
            "fleetmark-collector report --profile a --profile b --since 7d --label role=web --scenario waiting --by kernel \
             --include-suspect"
        );
        assert!(!report("include-suspect=false").unwrap().arguments.select.include_suspect);
        let sides: Typed<CompareArgs> =
            COMPARE.parse(&pairs("side=kernel%3D6.1&side=it%27s&since=9d")).unwrap();
        assert_eq!(sides.command, "fleetmark-collector compare kernel=6.1 'it'\\''s' --since 9d");
    }

    #[test]
    fn what_is_no_flag_of_the_command_is_refused_with_its_line() {
        for (query, says) in [
            ("colour=red", "report has no flag that is called \"colour\""),
            ("store=sqlite:/etc/passwd", "has no flag that is called \"store\""),
            ("output=/tmp/x", "has no flag that is called \"output\""),
            ("server=http://x", "has no flag that is called \"server\""),
            ("bearer-token-file=x", "has no flag"),
            ("format=json", "has no flag"),
            ("config=x", "has no flag"),
            ("side=a", "has no flag"),
            ("since=yesterday", "invalid value 'yesterday' for '--since <WHEN>'"),
            ("scenario=sleeping", "invalid value 'sleeping' for '--scenario <SCENARIO>'"),
            ("include-suspect=perhaps", "is true or false"),
        ] {
            let said = report(query).unwrap_err();
            assert!(said.contains(says) && !said.contains('\n'), "{query}: {said}");
        }
        let words = "side=--output%3Dx&side=--help";
        let sides = COMPARE.parse::<CompareArgs>(&pairs(words));
        assert!(sides.is_err() || sides.unwrap().arguments.output.output.is_none());
        let one = COMPARE.parse::<CompareArgs>(&pairs("side=a")).unwrap_err();
        assert!(one.contains("2 values required"), "{one}");
    }
}
