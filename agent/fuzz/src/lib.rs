//! What holds of any input, as each of the fuzz targets checks it. `agent/tests/it/corpus.rs` checks the same of the corpora.

#![forbid(unsafe_code)]

use std::{fs, path::Path};

use clap::FromArgMatches as _;
use fleetmark_agent::{
    args::Cli,
    spool::{Bounds, Fetched, Spool},
};
use fleetmark_proto::{
    id::{Digest, ReportId},
    shell::config,
};

/// Bytes of a record before those of its report.
const HEADER_BYTES: usize = 72;

/// A file in the spool. The first byte says whether the rest is all of the file, or the report of one that is intact; and
/// whether the file has the name of another report.
pub fn spool(bytes: &[u8]) {
    let Some((form, content)) = bytes.split_first() else { return };
    let content = if form & 1 == 0 { content.to_vec() } else { intact(content) };
    let told = content.get(16..32).and_then(|id| ReportId::from_bytes(id).ok());
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), Bounds::default()).unwrap();
    let id = told.filter(|_| form & 2 == 0).unwrap_or_else(|| an_id(2));
    fs::write(spool.folder().join(format!("{id}.report")), &content).unwrap();

    let listed = spool.list().unwrap();
    assert_eq!(listed.iter().map(|entry| entry.id).collect::<Vec<_>>(), [id]);
    match spool.fetch(id).unwrap() {
        Fetched::Gone => panic!("it was listed"),
        Fetched::Foreign => {
            assert!(listed[0].foreign && spool.quarantine(id, "why").is_err());
            assert_eq!(fs::read(only_file(spool.folder())).unwrap(), content);
        }
        Fetched::Damaged(why) => {
            assert!(!why.is_empty() && spool.list().unwrap().is_empty());
            let [aside] = &spool.quarantined().unwrap()[..] else { panic!("one is aside") };
            assert!(spool.requeue(id).is_err() || aside.id != Some(id));
            assert_eq!(fs::read(only_file(&aside_folder(&spool))).unwrap(), content);
            assert!(spool.discard(&aside.name).unwrap());
        }
        Fetched::Report(encoded) => {
            let end = HEADER_BYTES + encoded.bytes.len();
            assert_eq!(Some(encoded.bytes.as_slice()), content.get(HEADER_BYTES..end));
            assert_eq!((encoded.id, encoded.digest), (id, Digest::of(&encoded.bytes)));
            spool.quarantine(id, "why").unwrap();
            assert_eq!(spool.quarantined().unwrap().len(), 1);
            let kept = fs::read(only_file(&aside_folder(&spool))).unwrap();
            assert_eq!(kept.len(), content.len(), "what is counted does not change");
            assert_eq!(kept[..end], content[..end], "nor does the report");
            assert!(spool.requeue(id).unwrap());
            assert_eq!(spool.fetch(id).unwrap(), Fetched::Report(encoded));
        }
    }
}

/// A record of these bytes, which are no report.
fn intact(report: &[u8]) -> Vec<u8> {
    let length = u64::try_from(report.len()).unwrap().to_le_bytes();
    let digest = Digest::of(report);
    let version = 1_u32;
    [
        b"FMSPOOL\0".as_slice(),
        &version.to_le_bytes(),
        &(!version).to_le_bytes(),
        an_id(1).as_bytes(),
        &length,
        digest.as_bytes(),
        report,
        &[0; 2048],
    ]
    .concat()
}

fn an_id(last: u8) -> ReportId {
    format!("0192f0c1-7b00-7000-8000-0000000000{last:02x}").parse().unwrap()
}

fn aside_folder(spool: &Spool) -> std::path::PathBuf {
    spool.folder().join("quarantine")
}

/// The only record of a folder.
fn only_file(folder: &Path) -> std::path::PathBuf {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let records: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|ending| ending == "report")).collect();
    let [record] = &records[..] else { panic!("{records:?}") };
    record.clone()
}

/// Any text, taken for the settings file of each of the agent's commands.
pub fn config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let line = match config::settle(config::command::<Cli>("agent"), "agent", &text) {
        Err(line) => line,
        Ok(command) => {
            let names: Vec<_> =
                command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
            for name in names {
                let read = command.clone().try_get_matches_from(["fleetmark-agent", &name]);
                let _ = read.and_then(|matches| Cli::from_arg_matches(&matches));
            }
            return;
        }
    };
    assert!(!line.contains('\n'), "{line:?}");
}
