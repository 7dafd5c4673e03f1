//! Records what measuring code is built with: it keys every median.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn main() -> Result<(), Box<dyn Error>> {
    let rustc = Command::new(env::var("RUSTC")?).arg("--version").output()?;
    let rustc = String::from_utf8(rustc.stdout)?;
    // "rustc 1.95.0 (59807616e 2026-04-14)": the number says it all.
    let rustc = rustc.split_whitespace().nth(1).unwrap_or("unknown");
    println!("cargo::rustc-env=FLEETMARK_RUSTC={rustc}");
    println!("cargo::rustc-env=FLEETMARK_TARGET={}", env::var("TARGET")?);
    println!("cargo::rustc-env=FLEETMARK_OPT_LEVEL={}", env::var("OPT_LEVEL")?);
    println!("cargo::rustc-env=FLEETMARK_TOKIO={}", locked_version("tokio")?);
    println!("cargo::rerun-if-changed=build.rs");
    Ok(())
}

/// The version of a package in the nearest `Cargo.lock`: cargo tells a build script nothing of its dependencies.
fn locked_version(package: &str) -> Result<String, Box<dyn Error>> {
    let Some(lock) = nearest_lock(Path::new(&env::var("CARGO_MANIFEST_DIR")?)) else {
        return Ok("unknown".to_owned());
    };
    println!("cargo::rerun-if-changed={}", lock.display());
    let text = fs::read_to_string(lock)?;
    let mut lines = text.lines().skip_while(|line| *line != format!("name = \"{package}\""));
    let version = lines.nth(1).and_then(|line| line.strip_prefix("version = "));
    Ok(version.unwrap_or("unknown").trim_matches('"').to_owned())
}

fn nearest_lock(from: &Path) -> Option<PathBuf> {
    from.ancestors().map(|folder| folder.join("Cargo.lock")).find(|lock| lock.is_file())
}
