//! `hardware`.

use std::path::Path;

use fleetmark_proto::shell::{Exit, output::tell};

use super::Stopped;
use crate::{
    args::HardwareArgs,
    hardware::{self, SaveError},
    render,
};

pub(super) fn hardware(arguments: &HardwareArgs) -> Result<Exit, Stopped> {
    let root = Path::new("/");
    let found = match &arguments.capture {
        None => hardware::detect_live(root),
        Some(file) => {
            let (found, capture) = hardware::capture_live(root);
            capture.save(file).map_err(|error| match error {
                SaveError::Exists { .. } => Stopped::usage(&error),
                SaveError::Write { .. } => Stopped::from(error),
            })?;
            let read = capture.len();
            tell(format_args!(
                "saved what was read, {read} files and folders, in {}",
                file.display()
            ));
            found
        }
    };
    let text = render::hardware(&found, arguments.explain, arguments.output.form())?;
    arguments.output.write(&text)?;
    Ok(Exit::Success)
}
