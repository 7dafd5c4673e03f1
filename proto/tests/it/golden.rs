//! A report as version 1 encoded it. Every later version must read it, to the same meaning.
//!
//! `tests/golden/report-v1.bin` is never made again. A change that breaks this test breaks every agent in the field.

use fleetmark_proto::{convert, document::ReportDocument};

const BYTES: &[u8] = include_bytes!("../golden/report-v1.bin");
const MEANING: &str = include_str!("../golden/report-v1.json");

#[test]
fn version_1_is_read_for_ever() {
    let report = convert::decode(BYTES).unwrap();
    let mut told = serde_json::to_value(ReportDocument::from(&report)).unwrap();
    let meant: serde_json::Value = serde_json::from_str(MEANING).unwrap();
    only_what_was_there(&mut told, &meant);
    assert_eq!(told, meant);
}

/// Later versions may tell more, never less and nothing else.
fn only_what_was_there(told: &mut serde_json::Value, meant: &serde_json::Value) {
    use serde_json::Value::{Array, Object};
    match (told, meant) {
        (Object(told), Object(meant)) => {
            told.retain(|name, _| meant.contains_key(name));
            for (name, value) in told {
                only_what_was_there(value, &meant[name]);
            }
        }
        (Array(told), Array(meant)) => {
            for (told, meant) in told.iter_mut().zip(meant) {
                only_what_was_there(told, meant);
            }
        }
        _ => {}
    }
}
