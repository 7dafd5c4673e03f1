//! What can be counted, in seconds and bytes, with few labels whose values are few.

mod values;

pub(super) use values::{Newest, Values, since};

use std::fmt;

use prometheus_client::{
    encoding::{EncodeLabelSet, prometheus_text, text},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::ConstGauge,
        histogram::Histogram,
        info::Info,
    },
    registry::{Registry, Unit},
};

use crate::ingest::Answered;

/// Calls that were let in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Load {
    /// All of them.
    pub(crate) let_in: usize,
    /// Those whose requests are there.
    pub(crate) in_work: usize,
    /// Bytes of their requests.
    pub(crate) request_bytes: usize,
}

/// In which form metrics are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    /// OpenMetrics.
    Open,
    /// The form from before it, which all tools read.
    Classic,
}

/// All that is told.
#[derive(Debug)]
pub(super) struct Measured<'a> {
    pub(super) reports: Answered,
    pub(super) calls_refused: u64,
    pub(super) calls_denied: u64,
    pub(super) load: Load,
    /// Batches that wait for a commit.
    pub(super) batches_waiting: usize,
    /// How long commits took, in seconds.
    pub(super) commit_times: &'a Histogram,
    pub(super) store_readable: bool,
    pub(super) store_bytes: Option<u64>,
    /// What is said of the fleet; `None` where that cannot be read.
    pub(super) values: Option<&'a Values>,
}

/// A label of one.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Outcome {
    outcome: &'static str,
}

/// What is told of the collector itself.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Version {
    version: &'static str,
}

impl Measured<'_> {
    /// As text.
    ///
    /// # Errors
    ///
    /// If the form refuses a value.
    pub(super) fn text(&self, form: Form) -> Result<String, fmt::Error> {
        let mut all = Registry::with_prefix("fleetmark");
        let version = Version { version: env!("CARGO_PKG_VERSION") };
        all.register("collector", "What serves here", Info::new(version));
        self.calls(&mut all);
        self.store(&mut all);
        if let Some(values) = self.values {
            values.register(&mut all);
        }
        let mut text = String::new();
        match form {
            Form::Open => text::encode(&mut text, &all)?,
            Form::Classic => prometheus_text::encode(&mut text, &all)?,
        }
        Ok(text)
    }

    fn calls(&self, all: &mut Registry) {
        let Answered { stored, duplicate, conflict, rejected } = self.reports;
        let reports = Family::<Outcome, Counter>::default();
        for (outcome, number) in [
            ("stored", stored),
            ("duplicate", duplicate),
            ("conflict", conflict),
            ("rejected", rejected),
        ] {
            reports.get_or_create(&Outcome { outcome }).inc_by(number);
        }
        all.register("reports", "Reports that were answered since the collector started", reports);
        let refused = ConstCounter::new(self.calls_refused);
        all.register("calls_refused", "Calls that were told to come again", refused);
        let denied = ConstCounter::new(self.calls_denied);
        all.register("calls_denied", "Calls that were not for whoever made them", denied);
        let Load { let_in, in_work, request_bytes } = self.load;
        gauge(all, "calls_let_in", "Calls that were let in and are not answered", let_in);
        gauge(all, "calls_in_work", "Those of them whose requests are there", in_work);
        let bytes = ConstGauge::new(wide(request_bytes));
        let help = "Bytes of requests that are held";
        all.register_with_unit("requests", help, Unit::Bytes, bytes);
    }

    fn store(&self, all: &mut Registry) {
        let help = "Batches of reports that wait for a commit";
        gauge(all, "commit_queue_batches", help, self.batches_waiting);
        let help = "How long commits took, failed ones too";
        all.register_with_unit("commit_duration", help, Unit::Seconds, self.commit_times.clone());
        let help = "Whether the store can be read";
        gauge(all, "store_readable", help, usize::from(self.store_readable));
        if let Some(bytes) = self.store_bytes {
            let help = "How much of its disk the store takes";
            all.register_with_unit("store", help, Unit::Bytes, ConstGauge::new(bytes));
        }
    }
}

/// A gauge of something that is counted.
fn gauge(all: &mut Registry, name: &str, help: &str, number: usize) {
    all.register(name, help, ConstGauge::new(wide(number)));
}

fn wide(number: usize) -> u64 {
    fleetmark_proto::unit::count(number)
}
