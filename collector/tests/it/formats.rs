//! Every command that reads, in every form that it has, as it was read last: of a fleet that does not exist, at a time that is over.

use crate::support::{collector, command, run};

const WEB: &str = "label.role=web";
const API: &str = "label.role=api";
/// What these commands are asked of, small enough to be read.
const WAITING: [&str; 4] = ["--scenario", "waiting", "--label", "role=web"];
const WHEN: [&str; 4] = ["--since", "2026-11-01T00:00:00Z", "--until", "2026-12-01T00:00:00Z"];

/// The text without the times at which it was made.
fn without_now(text: &str) -> String {
    let mut rest = text;
    let mut settled = String::new();
    // In JSON, and on a page.
    let marks = [("\"generated_at\": \"", "\""), ("Made <time datetime=\"", "</time>")];
    while let Some((at, begin, end)) = marks
        .iter()
        .filter_map(|(begin, end)| Some((rest.find(begin)? + begin.len(), begin, end)))
        .min()
    {
        let (before, after) = rest.split_at(at);
        let length = after.find(end).unwrap_or_else(|| panic!("{begin} does not end"));
        settled.push_str(before);
        settled.push_str("NOW");
        rest = &after[length..];
    }
    settled + rest
}

#[test]
fn what_is_printed_is_as_it_was_read_last() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("made-up.db").display());
    let asks = |words: &[&str]| run(command(&collector()).args(words).args(["--store", &store]));
    let made = ["--hosts", "14", "--weeks", "2", "--seed", "7", "--now", "2026-11-25T12:00:00Z"];
    assert_eq!(asks(&[&["simulate"], &made[..]].concat()).code, 0);

    let chosen = |words: &[&'static str]| [words, &WAITING, &WHEN].concat();
    let timed = |words: &[&'static str]| [words, &WHEN].concat();
    let since = |words: &[&'static str]| [words, &WHEN[..2]].concat();
    let page = ["table", "markdown", "json", "csv", "html"];
    let list = ["table", "markdown", "json", "csv"];
    let commands: [(&str, Vec<&str>, &[&str]); 10] = [
        ("report", chosen(&["report"]), &page),
        ("compare", timed(&["compare", WEB, API, "--scenario", "waiting"]), &page),
        ("outliers", chosen(&["outliers"]), &page),
        ("history", chosen(&["history"]), &page),
        ("host", since(&["host", "web-07"]), &page),
        ("advise", chosen(&["advise"]), &page),
        ("hosts", vec!["hosts"], &list),
        ("profiles", vec!["profiles"], &list),
        ("diff", vec!["profiles", "diff", "a47b356bda0a", "8884f369034d"], &list),
        ("export", chosen(&["export", "--host", "web-07", "--spawner", "tokio"]), &["json", "csv"]),
    ];
    for (name, words, formats) in commands {
        for format in formats {
            let done = asks(&[&words[..], &["--format", format]].concat());
            assert_eq!(done.code, 0, "{words:?} as {format}: {done:?}");
            assert_eq!(done.stderr, "", "{words:?} as {format}");
            insta::assert_snapshot!(format!("{name}-{format}"), without_now(&done.stdout));
        }
    }
}
