//! Every run with its raw samples: whole, or as a table with a line a sample.

mod columns;

use std::collections::BTreeSet;

use fleetmark_proto::{document::ReportDocument, report::Cell, series::SeriesKey};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::Filter;
use crate::store::StoredRun;

pub use columns::help;

/// A run as it is exported whole.
#[derive(Clone, Debug, Serialize)]
pub struct ExportedRun {
    /// When the collector took it.
    pub received_at: Timestamp,
    /// When the agent sent it, by the agent's clock; `null` if it did not tell.
    pub sent_at: Option<Timestamp>,
    /// What the agent said, as `fleetmark-agent run --format json` prints it.
    #[serde(flatten)]
    pub report: ReportDocument,
}

impl ExportedRun {
    /// All that is known of a run.
    #[must_use]
    pub fn of(run: &StoredRun) -> Self {
        Self {
            received_at: run.received_at,
            sent_at: run.sent_at,
            report: ReportDocument::from(&run.report),
        }
    }
}

/// Samples as a table. Runs, and cells within a run, say the same in many lines, so that is asked of each once.
#[derive(Clone, Debug)]
pub struct Samples<'a> {
    runs: Vec<&'a StoredRun>,
    filter: &'a Filter,
    labels: Vec<&'a str>,
}

/// The lines of a cell.
#[derive(Clone, Debug, PartialEq)]
pub struct CellSamples {
    /// What they have in common, by [`Samples::of_cell`].
    pub values: Vec<Value>,
    /// Rounds with their samples in nanoseconds. Round 0 is the cold one.
    pub rounds: Vec<(u64, u64)>,
}

/// A cell with what is known around it.
struct Measured<'a> {
    key: Option<SeriesKey>,
    cell: &'a Cell,
}

/// The samples of the runs and cells that are asked for, in the order of the runs.
#[must_use]
pub fn samples<'a>(runs: &'a [StoredRun], filter: &'a Filter) -> Samples<'a> {
    let runs = filter.runs(runs);
    let keys = runs.iter().flat_map(|run| run.report.labels.keys().map(String::as_str));
    let labels: BTreeSet<&str> = keys.collect();
    Samples { runs, filter, labels: labels.into_iter().collect() }
}

impl<'a> Samples<'a> {
    /// The runs.
    #[must_use]
    pub fn runs(&self) -> &[&'a StoredRun] {
        &self.runs
    }

    /// The names of the columns that are the same in all lines of a run.
    #[must_use]
    pub fn of_run(&self) -> Vec<String> {
        let named = columns::OF_RUN.iter().map(|column| column.name.to_owned());
        named.chain(self.labels.iter().map(|key| format!("label.{key}"))).collect()
    }

    /// The names of those that are the same in all lines of a cell.
    #[must_use]
    pub fn of_cell(&self) -> Vec<&'static str> {
        columns::OF_CELL.iter().map(|column| column.name).collect()
    }

    /// The names of those that differ by line.
    #[must_use]
    pub fn of_sample(&self) -> [&'static str; 2] {
        columns::OF_SAMPLE.map(|(name, _)| name)
    }

    /// The values of the first.
    #[must_use]
    pub fn run(&self, run: &StoredRun) -> Vec<Value> {
        let labels = &run.report.labels;
        let of_labels = self.labels.iter().map(|key| labels.get(*key).cloned().into());
        columns::OF_RUN.iter().map(|column| (column.value)(run)).chain(of_labels).collect()
    }

    /// The cells of a run that have samples.
    pub fn cells(&self, run: &'a StoredRun) -> impl Iterator<Item = CellSamples> {
        let cells = run.report.cells.iter().map(|cell| Measured { key: None, cell });
        let series = run.report.series.iter();
        let series = series.map(|series| Measured { key: Some(series.key), cell: &series.cell });
        let filter = self.filter;
        let wanted = cells.chain(series).filter(move |measured| {
            let key = measured.cell.key;
            filter.wants(key.scenario, key.spawner)
        });
        wanted.map(|measured| {
            let cold = measured.cell.cold_ns.map(|cold| (0, cold.0));
            let others = (1..).zip(measured.cell.samples_ns.iter().map(|sample| sample.0));
            CellSamples {
                values: columns::OF_CELL.iter().map(|column| (column.value)(&measured)).collect(),
                rounds: cold.into_iter().chain(others).collect(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn each_sample_is_a_line_with_all_that_is_known() {
        let mut report = testing::pair("a", 0.5);
        report.system.instance_type = Some("c7a.large".into());
        let run = StoredRun { received_at: report.ended_at, sent_at: None, report };
        let other = StoredRun {
            report: fleetmark_proto::report::Report {
                labels: [("env".to_owned(), "prod".to_owned())].into(),
                ..testing::report("b", &[7])
            },
            ..run.clone()
        };
        let runs = [run, other];
        let filter = Filter::default();
        let all = samples(&runs, &filter);
        let names = all.of_run();
        let value = |run: usize, name: &str| {
            let place = names.iter().position(|found| found == name).unwrap();
            all.run(&runs[run]).swap_remove(place)
        };
        assert_eq!(names[names.len() - 2..], ["label.env", "label.rack"]);
        assert_eq!(all.run(&runs[0]).len(), names.len());
        assert_eq!(value(0, "host.id"), "a");
        assert_eq!(value(0, "host.arch"), "amd64");
        assert_eq!(value(0, "host.type"), "c7a.large");
        assert_eq!(value(0, "host.cpu.vendor.id"), "AuthenticAMD");
        assert_eq!(value(0, "l3_bytes"), 32 << 20);
        assert_eq!(value(0, "kernel"), Value::Null);
        assert_eq!(value(0, "label.rack"), "7");
        assert_eq!(value(0, "label.env"), Value::Null);
        assert_eq!(value(1, "label.env"), "prod");
        let cells: Vec<CellSamples> = all.cells(&runs[1]).collect();
        let [cell] = &cells[..] else { panic!("{cells:?}") };
        assert_eq!(cell.rounds, [(0, 5_000_000), (1, 7)]);
        assert_eq!(cell.values.len(), all.of_cell().len());

        let filter =
            Filter { spawner: vec![fleetmark_proto::plan::Spawner::Tokio], ..Filter::default() };
        let tokio = samples(&runs, &filter);
        assert_eq!(tokio.runs().len(), 1, "the other has no such cell");
        assert_eq!(tokio.cells(&runs[0]).count(), 1);
        assert_eq!(tokio.of_run().last().map(String::as_str), Some("label.rack"));
    }
}
