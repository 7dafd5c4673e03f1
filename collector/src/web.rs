//! What browsers and scrapers get over HTTP: metrics, whether all is well, and pages. It only reads.
//!
//! A crowd costs the store one reading: what was read is kept for a moment, and so is each page that was made of it.

mod answer;
mod fleet;
mod metrics;
mod names;
mod probe;

pub(crate) use answer::{Answer, guarded, line};
pub(crate) use metrics::Load;
pub(crate) use names::Names;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use fleetmark_agent::clock::Clock;
use fleetmark_proto::{limits, shell::one_line};
use http::{StatusCode, request::Parts};
use tokio::sync::Mutex;

use crate::{
    ingest::{Committer, Tally},
    seldom::{Seldom, lately},
    store::{Store, StoreError},
    view::{self, Filter, Question},
};
use fleet::Fleet;
use metrics::{Form, Measured, Values};
use probe::Probe;

/// What there is over HTTP.
pub(crate) struct Web {
    clock: Clock,
    store: Arc<dyn Store>,
    fleet: Fleet,
    probe: Probe,
    tally: Arc<Tally>,
    committer: Committer,
    load: Box<dyn Fn() -> Load + Send + Sync>,
    serving: AtomicBool,
    values: Mutex<Option<Arc<Values>>>,
    failing: Seldom,
}

impl Web {
    /// Reads there, and tells of what is counted here; of the calls in work, what `load` says.
    pub(crate) fn new(
        clock: Clock,
        store: Arc<dyn Store>,
        tally: Arc<Tally>,
        committer: Committer,
        load: Box<dyn Fn() -> Load + Send + Sync>,
    ) -> Self {
        Self {
            clock,
            fleet: Fleet::new(Arc::clone(&store), Arc::clone(&tally)),
            probe: Probe::new(Arc::clone(&store)),
            store,
            tally,
            committer,
            load,
            serving: AtomicBool::new(false),
            values: Mutex::new(None),
            failing: Seldom::default(),
        }
    }

    /// Whether agents are served from now on.
    pub(crate) fn set_serving(&self, serving: bool) {
        self.serving.store(serving, Ordering::Release);
    }

    /// What somebody gets who may have it.
    pub(crate) async fn answer(&self, asked: &Parts) -> Answer {
        match asked.uri.path() {
            "/healthz" => self.health().await,
            "/metrics" => self.metrics(asked).await,
            _ => line(StatusCode::NOT_FOUND, "there is no such page"),
        }
    }

    async fn health(&self) -> Answer {
        if !self.serving.load(Ordering::Acquire) {
            return line(StatusCode::SERVICE_UNAVAILABLE, "not serving: starting, or about to stop");
        }
        match self.probe.is_readable().await {
            true => line(StatusCode::OK, "ok"),
            false => line(StatusCode::SERVICE_UNAVAILABLE, "the store cannot be read"),
        }
    }

    /// What can be counted. Where the store cannot be read, that is told, and the rest too.
    async fn metrics(&self, asked: &Parts) -> Answer {
        let readable = self.probe.is_readable().await;
        let values = if readable { self.values().await } else { None };
        let size = if readable { self.store.size_bytes().await.ok() } else { None };
        let measured = Measured {
            reports: self.tally.reports(),
            calls_refused: self.tally.calls_refused(),
            calls_denied: self.tally.calls_denied(),
            load: (self.load)(),
            batches_waiting: self.committer.waiting(),
            commit_times: self.committer.times(),
            store_readable: readable,
            store_bytes: size,
            values: values.as_deref(),
        };
        let form = if answer::takes_open_metrics(asked) { Form::Open } else { Form::Classic };
        match measured.text(form) {
            Ok(text) => answer::metrics(form, text),
            Err(error) => line(StatusCode::INTERNAL_SERVER_ERROR, &one_line(&error)),
        }
    }

    /// What is said of the fleet. It is worked out seldom, however many scrape.
    async fn values(&self) -> Option<Arc<Values>> {
        let mut held = self.values.lock().await;
        let now = self.clock.now();
        let fresh = |values: &Arc<Values>| {
            now.duration_since(values.read_at()).unsigned_abs() < limits::METRICS_AGE
        };
        if let Some(values) = held.as_ref().filter(|values| fresh(values)) {
            return Some(Arc::clone(values));
        }
        match self.work_out(now).await {
            Ok(values) => {
                let values = Arc::new(values);
                *held = Some(Arc::clone(&values));
                Some(values)
            }
            Err(error) => {
                self.say(&error);
                None
            }
        }
    }

    async fn work_out(&self, now: jiff::Timestamp) -> Result<Values, StoreError> {
        let filter = Filter { since: Some(metrics::since(now)), ..Filter::default() };
        let runs = self.fleet.since(filter.since).await?;
        let values = tokio::task::spawn_blocking(move || {
            let runs = runs.runs();
            let view = view::medians(runs, &filter, &Question::default(), now);
            Values::of(&view, runs, now)
        });
        Ok(values.await?)
    }

    /// Tells the operator what is wrong with the store. It may name files, so nobody else is told.
    fn say(&self, error: &StoreError) {
        self.failing.happened(|times| {
            tracing::error!("no page can be made: {}{}", one_line(error), lately(times));
        });
    }
}
