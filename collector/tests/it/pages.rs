//! Reports as pages for a browser.

use std::{fs, process::Command};

use crate::{
    simulated::Simulated,
    support::{has, skip},
};

#[test]
fn a_report_is_one_file_for_a_browser() {
    let simulated = Simulated::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.html");
    let path = file.to_str().unwrap();
    let done = simulated.asks(&["report", "--format", "html", "--output", path]);
    assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (0, "", ""), "{done:?}");
    let page = fs::read_to_string(&file).unwrap();
    assert!(page.starts_with("<!DOCTYPE html><html lang=\"en\">"), "{page:.100}");
    assert!(page.contains(">web-07</text>"), "the slow host has its name in the picture");

    let nothing = simulated.asks(&["report", "-f", "html", "--label", "role=none"]);
    assert_eq!((nothing.code, nothing.stdout.as_str()), (5, ""), "{nothing:?}");
    let other = simulated.asks(&["hosts", "--format", "html"]);
    assert_eq!(other.code, 2, "{other:?}");
    assert!(other.stderr.contains("table, json, csv, markdown"), "{other:?}");
    assert!(!other.stderr.contains("markdown, html"), "{other:?}");
}

/// Each command that has a page, and what stands on it.
const PAGES: [(&[&str], &str); 6] = [
    (&["report"], "Which spawner for which work"),
    (&["advise"], "waiting, as for I/O: tokio"),
    (&["compare", "tokio=1.54.1", "tokio=1.55.0"], ">11% faster</text>"),
    (&["host", "web-07"], "slow among hosts of its profile, confirmed"),
    (&["history", "--label", "role=db"], "6.12.41-cloud-amd64 on 16 hosts; wait thread +"),
    (&["outliers"], "host web-07 (web-07.example) is slow, confirmed"),
];

#[test]
fn each_command_that_has_a_page_answers_on_it_and_a_validator_finds_nothing_wrong() {
    let simulated = Simulated::new();
    let folder = tempfile::tempdir().unwrap();
    let can_check = has("tidy");
    for (words, said) in PAGES {
        let file = folder.path().join(words[0]);
        let form = ["--format", "html", "--output", file.to_str().unwrap()];
        let done = simulated.asks(&[words, &form].concat());
        assert_eq!(
            (done.code, done.stdout.as_str(), done.stderr.as_str()),
            (0, "", ""),
            "{done:?}"
        );
        let page = fs::read_to_string(&file).unwrap();
        assert!(page.starts_with("<!DOCTYPE html>") && page.contains(said), "{words:?}: {page}");
        if can_check {
            let tidy =
                Command::new("tidy").args(["-errors", "-quiet"]).arg(&file).output().unwrap();
            let wrong = String::from_utf8_lossy(&tidy.stderr);
            assert!(tidy.status.success(), "{words:?}: {wrong}");
        }
    }
    if !can_check {
        skip("tidy", true);
    }
}

#[test]
fn a_page_of_nothing_is_not_written() {
    let simulated = Simulated::new();
    for words in [
        &["outliers", "--label", "role=none"][..],
        &["history", "--label", "role=none"],
        &["host", "none"],
    ] {
        let done = simulated.asks(&[words, &["-f", "html"]].concat());
        assert_eq!((done.code, done.stdout.as_str()), (5, ""), "{done:?}");
    }
}
