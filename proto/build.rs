//! Compiles the contract with protox, so that nobody needs protoc.

use std::{env, error::Error, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors =
        protox::compile(["fleetmark/v1/ingest.proto", "fleetmark/v1/report.proto"], ["proto"])?;
    let set = PathBuf::from(env::var("OUT_DIR")?).join("fleetmark.v1.bin");
    std::fs::write(set, descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".fleetmark.v1.Envelope.report")
        .compile_fds(descriptors)?;
    Ok(())
}
