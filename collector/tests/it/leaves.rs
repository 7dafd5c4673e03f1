//! The README tells all that leaves a host.

use std::{collections::BTreeSet, fs, path::Path};

use fleetmark_proto::v1;
use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet};

/// The messages that agents send.
const SENT: [&str; 3] = ["SubmitRequest", "EnrollRequest", "RenewRequest"];

/// Names of all fields of a message, and of the messages within it.
fn fields(message: &DescriptorProto, all: &[DescriptorProto], found: &mut BTreeSet<String>) {
    for field in &message.field {
        found.insert(field.name().to_owned());
        let named = field.type_name().rsplit('.').next().unwrap_or_default();
        let inner = all.iter().chain(&message.nested_type).find(|inner| inner.name() == named);
        if let Some(inner) =
            inner.filter(|inner| !inner.options.as_ref().is_some_and(|options| options.map_entry()))
        {
            fields(inner, all, found);
        }
    }
}

#[test]
fn the_readme_tells_every_field_that_leaves_a_host() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let (_, section) = readme.split_once("## What leaves a host\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let told: BTreeSet<String> = section.split('`').skip(1).step_by(2).map(str::to_owned).collect();

    let files = FileDescriptorSet::decode(v1::DESCRIPTORS).unwrap().file;
    let all: Vec<_> = files
        .into_iter()
        .filter(|file| file.package() == "fleetmark.v1")
        .flat_map(|file| file.message_type)
        .collect();
    let mut sent = BTreeSet::new();
    // A report travels as bytes, so nothing in the messages leads to it.
    for name in SENT.into_iter().chain(["Report"]) {
        let message = all.iter().find(|message| message.name() == name).unwrap();
        fields(message, &all, &mut sent);
    }
    let untold: Vec<_> = sent.difference(&told).collect();
    assert!(untold.is_empty(), "the README does not tell of {untold:?}");
    // `lscpu` is there to explain.
    let gone: Vec<_> = told.difference(&sent).filter(|name| *name != "lscpu").collect();
    assert!(gone.is_empty(), "the README tells of {gone:?}, which nobody sends");
}
