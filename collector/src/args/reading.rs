//! What is typed for the commands that read.

use clap::Args;
use fleetmark_proto::shell::output::{OutputArgs, PageFormat};

use super::{SelectArgs, SourceArgs};
use crate::view::Side;

/// Flags of `compare`.
#[derive(Args, Clone, Debug)]
pub struct CompareArgs {
    /// What to compare; the first is the base. A profile (its name, its id, or the start of its id), or FACET=VALUE: kernel=6.12.41,
    /// tokio=1.55.0, build=TEXT that it has, instance-type=m6g.xlarge, label.env=prod, any facet of `report --by`, or
    /// time=FROM..TO, each a duration back from now or a time, such as time=30d..7d, in place of --since and --until. Several
    /// are joined by commas, and a run must have all
    #[arg(value_name = "SIDE", required = true, num_args = 2..=26)]
    pub sides: Vec<Side>,
    /// Where to read.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which runs and cells, of all sides.
    #[command(flatten)]
    pub select: SelectArgs,
    /// Form and place of the result.
    #[command(flatten)]
    pub output: OutputArgs<PageFormat>,
}
