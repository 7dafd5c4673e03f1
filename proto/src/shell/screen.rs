//! Where a table is read: how wide it may be, and whether it may have colours.

use std::{env, io};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use clap::ValueEnum;

/// How wide a table may be where nobody tells.
const WIDTH: usize = 80;
/// No table is made for less, or its words would be in pieces.
const NARROWEST: usize = 40;

/// When a result has colours.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// In files and pipes, too.
    Always,
    /// Nowhere.
    Never,
}

/// Where a table is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Screen {
    /// Characters in a line.
    pub width: usize,
    /// Whether there are colours.
    pub color: bool,
}

impl Default for Screen {
    /// A file, or a pipe.
    fn default() -> Self {
        Self { width: WIDTH, color: false }
    }
}

impl Screen {
    /// The terminal that standard output is, or a file.
    pub(super) fn detect(color: Color, is_file: bool) -> Self {
        let terminal = match is_file {
            true => None,
            false => terminal_size::terminal_size_of(io::stdout())
                .map(|(terminal_size::Width(width), _)| usize::from(width)),
        };
        // Shells set this for themselves, and whoever means it exports it.
        let told = || env::var("COLUMNS").ok()?.parse().ok();
        let width = terminal.or_else(told).unwrap_or(WIDTH).max(NARROWEST);
        let color = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => !is_file && AutoStream::choice(&io::stdout()) != ColorChoice::Never,
        };
        Self { width, color }
    }

    /// The text in this tone, if there are colours.
    pub(super) fn toned(self, tone: Tone, text: &str) -> String {
        let style = tone.style();
        if !self.color || text.is_empty() || style == Style::new() {
            return text.to_owned();
        }
        format!("{style}{text}{style:#}")
    }
}

/// What colours say beside the words. They follow from the words, so whoever does not see them misses nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Tone {
    /// Nothing.
    Plain,
    /// What a table is of.
    Title,
    /// Names of columns and facts.
    Name,
    /// It took less.
    Good,
    /// It took more, or failed.
    Bad,
    /// Nobody can tell.
    Doubt,
}

impl Tone {
    /// The tone of what these words say.
    pub(super) fn of(words: &str) -> Self {
        let says = |tone_words: &[&str]| {
            words.split(|c: char| !c.is_alphanumeric()).any(|word| tone_words.contains(&word))
        };
        match () {
            () if says(&["failed", "slow", "slower", "collision", "behind"]) => Self::Bad,
            () if says(&["suspect", "unresolved", "partial", "unknown"]) => Self::Doubt,
            () if says(&["faster", "use", "ok", "clean"]) => Self::Good,
            () => Self::Plain,
        }
    }

    fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Title => Style::new().bold(),
            Self::Name => Style::new().dimmed(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Bad => AnsiColor::Red.on_default(),
            Self::Doubt => AnsiColor::Yellow.on_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tones_follow_from_words() {
        let cases = [
            ("5.8× faster", Tone::Good),
            ("1.1× slower, each host by itself", Tone::Bad),
            ("unresolved, needs 11 rounds", Tone::Doubt),
            ("failed: the host refused thread 195", Tone::Bad),
            ("tie", Tone::Plain),
            ("", Tone::Plain),
            ("slowly", Tone::Plain),
        ];
        for (words, tone) in cases {
            assert_eq!(Tone::of(words), tone, "{words}");
        }
    }

    #[test]
    fn without_colours_text_is_as_it_is() {
        assert_eq!(Screen::default().toned(Tone::Bad, "slow"), "slow");
        let colored = Screen { color: true, ..Screen::default() };
        assert_eq!(colored.toned(Tone::Bad, "slow"), "\u{1b}[31mslow\u{1b}[0m");
        assert_eq!(colored.toned(Tone::Plain, "tie"), "tie");
        assert_eq!(colored.toned(Tone::Bad, ""), "");
    }

    #[test]
    fn who_is_told_nothing_makes_lines_of_eighty() {
        assert_eq!(Screen::detect(Color::Never, true), Screen { width: 80, color: false });
        assert!(Screen::detect(Color::Always, true).color);
    }
}
