//! What fuzzing started from and what it found, checked as it checks them.

use std::fs;

#[allow(unreachable_pub, reason = "it is a crate of its own where it is fuzzed")]
#[path = "../../fuzz/src/lib.rs"]
mod checks;

/// Has every file in the corpus of a target checked.
fn go_through(target: &str, check: fn(&[u8])) {
    let folder = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        check(&fs::read(entry.unwrap().path()).unwrap());
        files += 1;
    }
    assert!(files > 0, "the corpus of {target} is empty");
}

#[test]
fn damaged_spools_are_read() {
    go_through("spool", checks::spool);
}

#[test]
fn settings_files_are_settled_or_refused() {
    go_through("config", checks::config);
}
