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

#[test]
fn a_validator_finds_nothing_wrong() {
    if !has("tidy") {
        return skip("tidy", true);
    }
    let simulated = Simulated::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.html");
    simulated.asks(&["report", "--format", "html", "--output", file.to_str().unwrap()]);
    let checked = Command::new("tidy").args(["-errors", "-quiet"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}");
}
