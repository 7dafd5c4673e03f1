//! Compiles the contract with protox, so that nobody needs protoc.

use std::{env, error::Error, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = ["control", "enrollment", "ingest", "query", "report"];
    let files = files.map(|name| format!("fleetmark/v1/{name}.proto"));
    let descriptors = protox::compile(files, ["proto"])?;
    let set = PathBuf::from(env::var("OUT_DIR")?).join("fleetmark.v1.bin");
    std::fs::write(set, descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".fleetmark.v1.Envelope.report")
        .bytes(".fleetmark.v1.KeptRun.report")
        // Nobody shall see a secret for having printed a message.
        .skip_debug([".fleetmark.v1.CreatedToken", ".fleetmark.v1.EnrollRequest"])
        .compile_fds(descriptors)?;
    Ok(())
}
