//! What both binaries promise a person at a shell: exit codes, where settings come from, formats, and one line an error.

pub mod about;
pub mod config;
pub mod exit;
pub mod grid;
pub mod look;
pub mod output;
pub mod passes;
pub mod screen;
pub mod value;
mod wrap;

use std::{
    env,
    path::{Path, PathBuf},
};

pub use exit::Exit;

/// What is wrong, in one line: a chain of causes joined by colons, as it follows `error: `.
#[must_use]
pub fn one_line(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut last = line.clone();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some libraries repeat their cause in their own text; others are repeated by it.
        if !line.contains(&cause_text) {
            line = match line.strip_suffix(&last) {
                Some(before) if cause_text.contains(&last) => format!("{before}{cause_text}"),
                _ => format!("{line}: {cause_text}"),
            };
            last = cause_text;
        }
        source = cause.source();
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Where state lives unless `--state-dir` says so: `$STATE_DIRECTORY`, else `/var/lib/fleetmark` as root, else
/// `$XDG_STATE_HOME/fleetmark`, else `~/.local/state/fleetmark`.
#[must_use]
pub fn default_state_dir(is_root: bool) -> PathBuf {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(given) = variable("STATE_DIRECTORY") {
        return given;
    }
    if is_root {
        return PathBuf::from("/var/lib/fleetmark");
    }
    variable("XDG_STATE_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".local/state")))
        .unwrap_or_else(env::temp_dir)
        .join("fleetmark")
}

/// The settings file that is read where `--config` names none: the state folder's, else the system's.
#[must_use]
pub fn default_config(state_dir: &Path) -> Option<PathBuf> {
    [state_dir.join("fleetmark.toml"), PathBuf::from("/etc/fleetmark/fleetmark.toml")]
        .into_iter()
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use std::{error::Error, fmt};

    use super::*;

    #[derive(Debug)]
    struct Told(&'static str, Option<Box<Told>>);

    impl fmt::Display for Told {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Told {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            let cause = self.1.as_deref()?;
            Some(cause)
        }
    }

    fn line(texts: &[&'static str]) -> String {
        let chain = texts.iter().rev().fold(None, |cause, text| Some(Box::new(Told(text, cause))));
        one_line(&*chain.unwrap())
    }

    #[test]
    fn a_line_says_nothing_twice() {
        assert_eq!(line(&["cannot open it", "it is gone"]), "cannot open it: it is gone");
        assert_eq!(line(&["broken: it is gone", "it is gone"]), "broken: it is gone");
        let doubled = ["the store failed", "it is locked", "code 5: it is locked", "code 5"];
        assert_eq!(line(&doubled), "the store failed: code 5: it is locked");
        assert_eq!(line(&["it is\n locked", "code 5"]), "it is locked: code 5");
    }
}
