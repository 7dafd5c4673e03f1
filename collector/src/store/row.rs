//! Between rows and runs. What comes out of the store is checked like what comes in over the wire.

use std::{collections::BTreeMap, time::Duration};

use fleetmark_proto::{convert, id::ReportId, invalid::Invalid};
use jiff::Timestamp;

use super::{KeptRun, Place, StoreError, StoredRun};

/// The columns of `run` that make a [`StoredRun`].
#[derive(Debug)]
pub(super) struct RunRow {
    pub(super) report_id: Vec<u8>,
    pub(super) report: Vec<u8>,
    pub(super) time_us: i64,
    pub(super) received_at_us: i64,
    pub(super) sent_at_us: Option<i64>,
    /// Labels that the host joined with, if it did.
    pub(super) labels: Option<String>,
}

impl RunRow {
    pub(super) fn read(self) -> Result<StoredRun, StoreError> {
        let (received_at, sent_at) = self.clocks()?;
        let labels = self.labels()?;
        let Self { report_id, report, .. } = self;
        let corrupt = |column, source| corrupt(&report_id, column, source);
        let mut report = convert::decode(&report).map_err(|invalid| corrupt("report", invalid))?;
        if report.id.as_bytes().as_slice() != report_id {
            let invalid = Invalid::new("report_id", "is another report's");
            return Err(corrupt("report_id", invalid));
        }
        report.labels.extend(labels);
        Ok(StoredRun { report, received_at, sent_at })
    }

    /// The run with its report unread.
    pub(super) fn keep(self) -> Result<KeptRun, StoreError> {
        let (received_at, sent_at) = self.clocks()?;
        let labels = self.labels()?;
        let Self { report_id, report, time_us, .. } = self;
        Ok(KeptRun { report, received_at, sent_at, labels, place: Place { time_us, report_id } })
    }

    /// What is said of the host.
    fn labels(&self) -> Result<BTreeMap<String, String>, StoreError> {
        let Some(labels) = &self.labels else { return Ok(BTreeMap::new()) };
        serde_json::from_str(labels)
            .map_err(|error| corrupt(&self.report_id, "labels", Invalid::new("labels", error)))
    }

    /// When the run was received and sent.
    fn clocks(&self) -> Result<(Timestamp, Option<Timestamp>), StoreError> {
        let time = |column, us| {
            Timestamp::from_microsecond(us)
                .map_err(|error| corrupt(&self.report_id, column, Invalid::new(column, error)))
        };
        let received_at = time("received_at_us", self.received_at_us)?;
        let sent_at = self.sent_at_us.map(|us| time("sent_at_us", us)).transpose()?;
        Ok((received_at, sent_at))
    }
}

/// A value of this run's row, or its host's, that was never stored.
fn corrupt(report_id: &[u8], column: &'static str, source: Invalid) -> StoreError {
    let row = ReportId::from_bytes(report_id)
        .map_or_else(|_| format!("{report_id:02x?}"), |id| id.to_string());
    StoreError::Corrupt { table: "run", column, row, source }
}

/// A time as it is kept. Both clocks are cut to this before anything else, so that nothing is lost here.
pub(super) fn microseconds(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// How long a writer waits for another process to let go of the store.
pub(super) const BUSY: Duration = Duration::from_secs(5);
