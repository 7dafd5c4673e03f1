//! Between rows and runs. What comes out of the store is checked like what comes in over the wire.

use std::time::Duration;

use fleetmark_proto::{convert, id::ReportId, invalid::Invalid};
use jiff::Timestamp;

use super::{StoreError, StoredRun};

/// The columns of `run` that make a [`StoredRun`].
#[derive(Debug)]
pub(super) struct RunRow {
    pub(super) report_id: Vec<u8>,
    pub(super) report: Vec<u8>,
    pub(super) received_at_us: i64,
    pub(super) sent_at_us: Option<i64>,
}

impl RunRow {
    pub(super) fn read(self) -> Result<StoredRun, StoreError> {
        let Self { report_id, report, received_at_us, sent_at_us } = self;
        let row = ReportId::from_bytes(&report_id).map(|id| id.to_string());
        let row_name = row.clone().unwrap_or_else(|_| format!("{report_id:02x?}"));
        let corrupt = |column, source| StoreError::Corrupt {
            table: "run",
            column,
            row: row_name.clone(),
            source,
        };
        let report = convert::decode(&report).map_err(|invalid| corrupt("report", invalid))?;
        if report.id.as_bytes().as_slice() != report_id {
            let invalid = Invalid::new("report_id", "is another report's");
            return Err(corrupt("report_id", invalid));
        }
        let time = |column, us| {
            Timestamp::from_microsecond(us)
                .map_err(|error| corrupt(column, Invalid::new(column, error)))
        };
        let received_at = time("received_at_us", received_at_us)?;
        let sent_at = sent_at_us.map(|us| time("sent_at_us", us)).transpose()?;
        Ok(StoredRun { report, received_at, sent_at })
    }
}

/// A time as it is kept. Both clocks are cut to this before anything else, so that nothing is lost here.
pub(super) fn microseconds(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// How long a writer waits for another process to let go of the store.
pub(super) const BUSY: Duration = Duration::from_secs(5);
