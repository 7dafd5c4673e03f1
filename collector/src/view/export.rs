//! Every run with its raw samples.

use fleetmark_proto::document::ReportDocument;
use jiff::Timestamp;
use serde::Serialize;

use crate::store::StoredRun;

/// A run as it is exported.
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

/// Every run, in the order in which the collector took them.
#[must_use]
pub fn export(runs: &[StoredRun]) -> Vec<ExportedRun> {
    runs.iter()
        .map(|run| ExportedRun {
            received_at: run.received_at,
            sent_at: run.sent_at,
            report: ReportDocument::from(&run.report),
        })
        .collect()
}
