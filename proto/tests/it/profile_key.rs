//! The profile's key is derived where a report is read, never where it was made: what a version calls a profile, it
//! calls so for all of history.

use fleetmark_proto::{
    convert,
    id::ProfileId,
    profile::{Facets, KEY_VERSION, Profile},
};

const BYTES: &[u8] = include_bytes!("../golden/report-v1.bin");

/// Field 4 of a report, which has a length.
const FACETS: u8 = 4 << 3 | 2;

/// The golden report with more in its facets: a message that comes twice is merged.
fn with_facets(more: &[u8]) -> Vec<u8> {
    let length = u8::try_from(more.len()).unwrap();
    [BYTES, &[FACETS, length], more].concat()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn history_is_keyed_when_it_is_read() {
    let report = convert::decode(BYTES).unwrap();
    let Profile { id, name, facets } = &report.profile;
    for derived in [id.as_str(), name, "fleetmark-profile/"] {
        assert!(!contains(BYTES, derived), "{derived} would stay as the agent made it");
    }
    // So another key is another id for every report at once, the oldest too; none keeps the one that it had.
    assert!(facets.key().starts_with(&format!("fleetmark-profile/{KEY_VERSION} ")));
    let rekeyed = Profile::new(Facets { container: None, ..facets.clone() }, None);
    assert_ne!(rekeyed.id, *id);
    assert_eq!(Profile::new(facets.clone(), None).id, *id);
    let same: ProfileId = Profile::new(convert::decode(BYTES).unwrap().profile.facets, None).id;
    assert_eq!(same, *id);
}

#[test]
fn a_facet_of_a_later_version_parts_nothing_yet() {
    let known = convert::decode(BYTES).unwrap();
    // Field 1,000, a number; field 1,001, text.
    for more in [&[0xc0, 0x3e, 0x07][..], &[0xca, 0x3e, 0x02, b'h', b'i']] {
        let report = convert::decode(&with_facets(more)).unwrap();
        assert_eq!(report.profile, known.profile);
    }
}

#[test]
fn a_value_of_a_later_version_is_refused_by_its_name() {
    // Field 12, the limit, and field 15, the machine: numbers that mean nothing today.
    for (field, name) in [(12 << 3, "facets.limit"), (15 << 3, "facets.machine")] {
        let invalid = convert::decode(&with_facets(&[field, 99])).unwrap_err();
        assert_eq!(invalid.field, name, "{invalid}");
    }
}
