//! A report as JSON: the document that `--format json` prints and whose schema is `schema/report.schema.json`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema};
use serde::Serialize;

use crate::{
    host::Host,
    id::{ProfileId, ReportId},
    plan::{Scenario, Spawner, Workload},
    profile::{Facets, Profile},
    report::{Build, Cell, Evidence, Failure, Quality, Report, System, Usage, Workers},
    samples::Interval,
    series::SeriesKey,
    unit::Nanos,
    verdict::Verdict,
};

/// The name and version of the document.
pub const SCHEMA: &str = "fleetmark.report/1";

/// One run of a plan on one host. Durations are whole nanoseconds, times RFC 3339 in UTC, absent values `null`.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(title = "fleetmark report", deny_unknown_fields)]
pub struct ReportDocument {
    /// `fleetmark.report/1`.
    pub schema: &'static str,
    /// UUIDv7 made when the run ended.
    pub report_id: ReportId,
    /// Whose run it was.
    pub host: Host,
    /// What the owner calls the host.
    pub labels: BTreeMap<String, String>,
    /// What the host's hardware is.
    pub profile: ProfileDocument,
    /// Recorded beside the profile, never part of its key.
    pub system: System,
    /// What was measured with.
    pub build: Build,
    /// How Tokio and rayon were sized.
    pub workers: Workers,
    /// Whether the numbers can be trusted.
    pub quality: Quality,
    /// What the host did meanwhile.
    pub evidence: Evidence,
    /// By the agent's clock.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started_at: Timestamp,
    /// By the agent's clock.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub ended_at: Timestamp,
    /// Why the run ended before its plan did; `null` if it did not. A partial run enters no median.
    pub partial: Option<String>,
    /// Seed of the order of cells within rounds.
    pub seed: u64,
    /// Measured rounds, the cold one not counted.
    pub rounds: u32,
    /// How narrow each interval was to be: half its width as a share of the median; `null` where it was not asked.
    pub precision: Option<f64>,
    /// One for each scenario and spawner of the plan.
    pub cells: Vec<CellDocument>,
    /// What passes beside these cells measured.
    pub series: Vec<SeriesDocument>,
    /// Each spawner compared with one.
    pub verdicts: Vec<Verdict>,
}

/// A profile with its derived names.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ProfileDocument {
    /// Short hash of the key.
    pub id: ProfileId,
    /// Readable, not unique.
    pub name: String,
    /// What makes it.
    pub facets: Facets,
}

/// What came of one scenario with one spawner.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct CellDocument {
    /// What units do.
    pub scenario: Scenario,
    /// How they are started.
    pub spawner: Spawner,
    /// What was asked.
    pub workload: Workload,
    /// The units that came of it.
    pub units: u64,
    /// One a measured round, in the order of the rounds.
    pub samples_ns: Vec<Nanos>,
    /// The sample of the uncounted first round.
    pub cold_ns: Option<Nanos>,
    /// The middle of the samples.
    pub median_ns: Option<Nanos>,
    /// Of the median.
    pub interval: Option<Interval>,
    /// Why there is no result.
    pub failure: Option<Failure>,
    /// The most threads that the spawner kept alive, as far as it shows them.
    pub threads_reached: Option<u64>,
    /// What the measuring process used for all samples, cold ones included.
    pub usage: Option<Usage>,
}

/// One cell of a pass beside the eleven cells. Its samples and what follows from them are values of the metric.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SeriesDocument {
    /// Which pass, in which variant, and what was measured.
    #[serde(flatten)]
    pub key: SeriesKey,
    /// What came of it.
    #[serde(flatten)]
    pub cell: CellDocument,
}

impl From<&Report> for ReportDocument {
    fn from(report: &Report) -> Self {
        Self {
            schema: SCHEMA,
            report_id: report.id,
            host: report.host.clone(),
            labels: report.labels.clone(),
            profile: ProfileDocument::from(&report.profile),
            system: report.system.clone(),
            build: report.build.clone(),
            workers: report.workers.clone(),
            quality: report.quality.clone(),
            evidence: report.evidence.clone(),
            started_at: report.started_at,
            ended_at: report.ended_at,
            partial: report.partial.clone(),
            seed: report.seed,
            rounds: report.rounds,
            precision: report.precision,
            cells: report.cells.iter().map(CellDocument::from).collect(),
            series: report
                .series
                .iter()
                .map(|series| SeriesDocument {
                    key: series.key,
                    cell: CellDocument::from(&series.cell),
                })
                .collect(),
            verdicts: report.verdicts(),
        }
    }
}

impl From<&Profile> for ProfileDocument {
    fn from(profile: &Profile) -> Self {
        Self { id: profile.id.clone(), name: profile.name.clone(), facets: profile.facets.clone() }
    }
}

impl From<&Cell> for CellDocument {
    fn from(cell: &Cell) -> Self {
        Self {
            scenario: cell.key.scenario,
            spawner: cell.key.spawner,
            workload: cell.workload,
            units: cell.units,
            samples_ns: cell.samples_ns.clone(),
            cold_ns: cell.cold_ns,
            median_ns: cell.median(),
            interval: cell.interval(),
            failure: cell.failure.clone(),
            threads_reached: cell.threads_reached,
            usage: cell.usage,
        }
    }
}

/// The JSON Schema of [`ReportDocument`].
#[must_use]
pub fn schema() -> Schema {
    schemars::schema_for!(ReportDocument)
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    #[test]
    fn the_published_schema_is_the_types() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/report.schema.json");
        let current = serde_json::to_string_pretty(&super::schema()).unwrap() + "\n";
        if env::var_os("UPDATE_SCHEMA").is_some() {
            fs::write(&path, &current).unwrap();
        }
        let published = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            published == current,
            "the report's JSON changed; look at it, then publish it: UPDATE_SCHEMA=1 cargo test -p fleetmark-proto"
        );
    }
}
