//! What passes beside the eleven cells measure. A series enters no median of a cell, nor of another series.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::Cell;

/// One cell of a pass. Its samples are values of [`SeriesKey::metric`], one a round.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Series {
    /// Which pass, in which variant, and what was measured.
    pub key: SeriesKey,
    /// What came of it.
    pub cell: Cell,
}

/// What parts one series from another, beside its cell and workload.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
pub struct SeriesKey {
    /// Which pass.
    pub pass: Pass,
    /// How units were started, where not as in the eleven cells.
    pub variant: Variant,
    /// What a sample is.
    pub metric: Metric,
}

/// A pass beside the eleven cells.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Pass {
    /// The article's crate: seven cells, five rounds, in fixed order, without a cold round.
    Article,
    /// Units of growing length.
    Grain,
    /// CPU-bound cells beside a task that ticks every millisecond.
    Neighbours,
    /// Ways of spawning beside the usual one, and the parts of a sample.
    Diagnose,
}

/// How the units of a series are started, where not as in the eleven cells.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// As in the eleven cells.
    Plain,
    /// From inside a worker of the runtime or pool.
    FromWorker,
    /// With handles in a vector, awaited in order, instead of a `JoinSet`.
    Vector,
    /// On a runtime whose blocking pool has no thread yet.
    ColdPool,
    /// One unit alone, which is not spawned.
    Single,
    /// With a clock read at the end of each unit.
    Split,
}

/// What a sample of a series is, in nanoseconds.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// From the first spawn to the last join.
    Elapsed,
    /// How late the neighbour's ticks were: the 99th percentile of a round.
    LatenessP99,
    /// The latest tick of a round.
    LatenessWorst,
    /// From the first spawn to the end of the last.
    Spawn,
    /// From there to the end of the last unit.
    Run,
    /// From there to the last join.
    Join,
    /// The time of a sleep beyond what was asked.
    Overshoot,
}

impl Pass {
    /// The name that is printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Article => "article",
            Self::Grain => "grain",
            Self::Neighbours => "neighbours",
            Self::Diagnose => "diagnose",
        }
    }
}

impl Variant {
    /// The name that is printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::FromWorker => "from-worker",
            Self::Vector => "vector",
            Self::ColdPool => "cold-pool",
            Self::Single => "single",
            Self::Split => "split",
        }
    }
}

impl Metric {
    /// The name that is printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Elapsed => "elapsed",
            Self::LatenessP99 => "lateness-p99",
            Self::LatenessWorst => "lateness-worst",
            Self::Spawn => "spawn",
            Self::Run => "run",
            Self::Join => "join",
            Self::Overshoot => "overshoot",
        }
    }
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
