//! Text in lines.

use std::borrow::Cow;

use textwrap::{Options, WordSeparator, WordSplitter, core::Word};
use unicode_width::UnicodeWidthStr as _;

/// Sentences in lines of at most `width` characters. Longer words stay whole, and so do commands, so that they can be copied.
pub(super) fn sentences(text: &str, width: usize) -> Vec<String> {
    let options = Options::new(width).break_words(false);
    lines(text, width, options.word_separator(WordSeparator::Custom(around_commands)))
}

/// A value in lines of at most `width` characters, broken after spaces and slashes, and elsewhere only where it must be.
pub(super) fn value(text: &str, width: usize) -> Vec<String> {
    let options = Options::new(width).break_words(true);
    lines(text, width, options.word_separator(WordSeparator::Custom(after_slashes)))
}

fn lines(text: &str, width: usize, options: Options<'_>) -> Vec<String> {
    if text.width() <= width {
        return vec![text.to_owned()];
    }
    let options = options.word_splitter(WordSplitter::NoHyphenation);
    textwrap::wrap(text, options).into_iter().map(Cow::into_owned).collect()
}

fn after_slashes(line: &str) -> Box<dyn Iterator<Item = Word<'_>> + '_> {
    Box::new(line.split_inclusive([' ', '/']).map(Word::from))
}

/// Words, of which what stands between two backticks is one.
fn around_commands(line: &str) -> Box<dyn Iterator<Item = Word<'_>> + '_> {
    let mut is_command = false;
    let ends = move |c: char| {
        is_command ^= c == '`';
        c == ' ' && !is_command
    };
    Box::new(line.split_inclusive(ends).map(Word::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_broken_where_they_may_be() {
        let lines = |text: &str| value(text, 12);
        assert_eq!(lines(""), [""]);
        assert_eq!(lines("short"), ["short"]);
        assert_eq!(lines("twelve chars"), ["twelve chars"]);
        assert_eq!(lines("twelve chars and more"), ["twelve chars", "and more"]);
        assert_eq!(lines("/sys/devices/system/cpu"), ["/sys/", "devices/", "system/cpu"]);
        assert_eq!(lines("a é0123456789abcdef b"), ["a", "é0123456789a", "bcdef b"]);
        assert_eq!(value("ab", 1), ["a", "b"]);
    }

    #[test]
    fn sentences_are_broken_between_words_alone() {
        assert_eq!(
            sentences("see /sys/devices/system for it", 12),
            ["see", "/sys/devices/system", "for it"]
        );
    }

    #[test]
    fn commands_stay_whole() {
        assert_eq!(sentences("do `a b c` or `d e` now", 12), ["do `a b c`", "or `d e` now"]);
        let long = sentences("do `fleetmark-agent run` now", 12);
        assert_eq!(long, ["do", "`fleetmark-agent run`", "now"]);
    }
}
