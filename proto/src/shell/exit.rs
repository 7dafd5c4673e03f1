//! Exit codes.

use std::process::ExitCode;

/// How a command ended. Where several apply, the first of this list wins.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Exit {
    /// The command line, a variable or the settings file is wrong; nothing was done.
    Usage,
    /// The command failed, or a cell did; what was measured is printed all the same.
    Failed,
    /// With `--strict`: the report is in the spool and not delivered yet.
    Undelivered,
    /// With `--strict`: the run is suspect.
    Suspect,
    /// Nothing matches what was asked for.
    NoMatch,
    /// All is well.
    Success,
}

impl Exit {
    /// Every exit code with what it means, in the order of precedence.
    pub const ALL: [Self; 6] =
        [Self::Usage, Self::Failed, Self::Undelivered, Self::Suspect, Self::NoMatch, Self::Success];

    /// The number that the shell sees.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Suspect => 3,
            Self::Undelivered => 4,
            Self::NoMatch => 5,
        }
    }

    /// For `--help`.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Usage => "wrong usage",
            Self::Failed => "failed, or a cell failed (what was measured is printed all the same)",
            Self::Undelivered => "with --strict: not delivered yet (it is in the spool)",
            Self::Suspect => "with --strict: the run is suspect",
            Self::NoMatch => "nothing matches",
            Self::Success => "otherwise",
        }
    }

    /// The paragraph on exit codes at the end of every `--help`.
    #[must_use]
    pub fn help() -> String {
        let mut help = String::from("Exit codes, the first that applies:");
        for exit in Self::ALL {
            help.push_str(&format!("\n  {}  {}", exit.code(), exit.meaning()));
        }
        help
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_documented_ones_and_precedence_is_the_order() {
        assert_eq!(Exit::ALL.map(Exit::code), [2, 1, 4, 3, 5, 0]);
        assert!(Exit::ALL.is_sorted());
        assert_eq!(
            [Exit::Success, Exit::Suspect, Exit::Failed].into_iter().min(),
            Some(Exit::Failed)
        );
    }
}
