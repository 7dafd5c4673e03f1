//! How what people read looks: on a screen, or in a document.

use super::{
    grid::Grid,
    screen::{Screen, Tone},
    wrap,
};

/// Where what people read stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Look {
    /// On a terminal, or in a file.
    Text(Screen),
    /// In a document.
    Markdown,
}

impl Look {
    /// What all that follows is of.
    #[must_use]
    pub fn heading(self, title: &str) -> String {
        match self {
            Self::Text(screen) => format!("{}\n", screen.toned(Tone::Title, title)),
            Self::Markdown => format!("## {title}\n\n"),
        }
    }

    /// Facts under each other, their names aligned; in a document as a list.
    #[must_use]
    pub fn facts(self, facts: &[(&str, String)]) -> String {
        match self {
            Self::Text(screen) => facts_text(facts, screen),
            Self::Markdown => {
                facts.iter().map(|(name, value)| format!("- **{name}**: {value}\n")).collect()
            }
        }
    }

    /// A table.
    #[must_use]
    pub fn grid(self, grid: &Grid) -> String {
        match self {
            Self::Text(screen) => grid.text(screen),
            Self::Markdown => grid.markdown(),
        }
    }

    /// Sentences, each from a new line on.
    #[must_use]
    pub fn sentences(self, sentences: &[String]) -> String {
        match self {
            _ if sentences.is_empty() => String::new(),
            Self::Text(screen) => {
                let lines = sentences.iter().flat_map(|it| wrap::sentences(it, screen.width));
                lines.map(|line| line + "\n").collect()
            }
            Self::Markdown => format!("\n{}\n", sentences.join("\n\n")),
        }
    }

    /// Points under each other, with a dash before each.
    #[must_use]
    pub fn points(self, points: &[String]) -> String {
        let width = match self {
            Self::Text(screen) => screen.width,
            Self::Markdown => usize::MAX,
        };
        let point = |it: &String| wrap::sentences(it, width - 2).join("\n  ");
        points.iter().map(|it| format!("- {}\n", point(it))).collect()
    }

    /// Lines whose characters stand under each other, such as a chart's.
    #[must_use]
    pub fn lines(self, lines: &[String]) -> String {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        match self {
            Self::Markdown if !lines.is_empty() => format!("\n```text\n{text}```\n"),
            _ => text,
        }
    }
}

fn facts_text(facts: &[(&str, String)], screen: Screen) -> String {
    let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let behind = width + 2;
    let indent = format!("\n{}", " ".repeat(behind));
    let fact = |(name, value): &(&str, String)| {
        let value = wrap::value(value, screen.width.saturating_sub(behind)).join(&indent);
        let (name, gap) = (screen.toned(Tone::Name, name), behind - name.chars().count());
        format!("{name}{:gap$}{value}\n", "")
    };
    facts.iter().map(fact).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: Look = Look::Text(Screen { width: 20, color: false });

    #[test]
    fn facts_are_aligned_and_broken_where_they_may_be() {
        let facts = [("host", "a".to_owned()), ("profile", "b c d e f g h i".to_owned())];
        assert_eq!(TEXT.facts(&facts), "host     a\nprofile  b c d e f g\n         h i\n");
        let document = "- **host**: a\n- **profile**: b c d e f g h i\n";
        assert_eq!(Look::Markdown.facts(&facts), document);
        let colored = Look::Text(Screen { width: 20, color: true });
        assert_eq!(colored.facts(&facts[..1]), "\u{1b}[2mhost\u{1b}[0m  a\n");
    }

    #[test]
    fn sentences_are_broken_between_words_alone() {
        let sentences = ["All that is known of it.".to_owned(), "/a/path/that/is/long".repeat(2)];
        let text = format!("All that is known of\nit.\n{}\n", sentences[1]);
        assert_eq!(TEXT.sentences(&sentences), text);
        assert_eq!(TEXT.sentences(&[]), "");
        assert_eq!(TEXT.points(&sentences[..1]), "- All that is known\n  of it.\n");
    }

    #[test]
    fn charts_keep_their_columns() {
        let lines = ["▁ █".to_owned()];
        assert_eq!(TEXT.lines(&lines), "▁ █\n");
        assert_eq!(Look::Markdown.lines(&lines), "\n```text\n▁ █\n```\n");
        assert_eq!(Look::Markdown.lines(&[]), "");
    }
}
