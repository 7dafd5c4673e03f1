//! What browsers and scrapers get over HTTP: metrics, whether all is well, and pages. It only reads.
//!
//! A crowd costs the store one reading: what was read is kept for a moment, and so is each page that was made of it.

mod answer;
mod fleet;
mod metrics;
mod names;
mod pages;
mod probe;
mod query;
mod shelf;

pub(crate) use answer::{Answer, guarded, line};
pub(crate) use metrics::Load;
pub(crate) use names::Names;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use fleetmark_agent::clock::Clock;
use fleetmark_proto::{limits, shell::one_line};
use http::{HeaderValue, StatusCode, header::RETRY_AFTER, request::Parts};
use tokio::{
    sync::{Mutex, Semaphore},
    task::spawn_blocking,
    time::timeout,
};

use crate::{
    ingest::{Committer, Tally},
    render::html::{self, Frame},
    seldom::{Seldom, lately},
    source::kept_medians,
    store::{Store, StoreError},
    view::{self, Choices, Filter, Question},
};
use fleet::{Fleet, Unread};
use metrics::{Form, Measured, Newest, Values};
use pages::{Missed, Wanted};
use probe::Probe;
use shelf::Shelf;

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
    shelf: Mutex<Shelf>,
    seats: Arc<Semaphore>,
    failing: Seldom,
}

/// What keeps a page live.
const SCRIPT: &str = include_str!("web/live.js");

/// That there is too much to do just now.
fn busy(words: &str) -> Answer {
    let mut answer = line(StatusCode::SERVICE_UNAVAILABLE, words);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    answer
}

/// A page that says one thing, with the form in which that was asked for.
fn told(status: StatusCode, title: &str, line: &str, wanted: Option<&Wanted>) -> Answer {
    let choices = Choices::default();
    let page = html::message(title, line);
    let frame = match wanted {
        Some(wanted) => wanted.frame(&choices, ""),
        None => Frame {
            path: "",
            command: None,
            choosing: None,
            pairs: &[],
            choices: &choices,
            tag: "",
        },
    };
    answer::page(status, html::framed(&page, &frame), None)
}

impl Web {
    /// Reads there, this many runs for a page at most, and tells of what is counted here; of the calls in work, what `load` says.
    pub(crate) fn new(
        clock: Clock,
        store: Arc<dyn Store>,
        tally: Arc<Tally>,
        committer: Committer,
        load: Box<dyn Fn() -> Load + Send + Sync>,
        most_runs: u64,
    ) -> Self {
        Self {
            clock,
            fleet: Fleet::new(Arc::clone(&store), Arc::clone(&tally), most_runs),
            probe: Probe::new(Arc::clone(&store)),
            store,
            tally,
            committer,
            load,
            serving: AtomicBool::new(false),
            values: Mutex::new(None),
            shelf: Mutex::default(),
            seats: Arc::new(Semaphore::new(limits::PAGES)),
            failing: Seldom::default(),
        }
    }

    /// Whether agents are served from now on.
    pub(crate) fn set_serving(&self, serving: bool) {
        self.serving.store(serving, Ordering::Release);
    }

    /// What somebody gets who may have it. It is made to its end even if nobody waits for it any more: whoever asks next has it then.
    pub(crate) async fn answer(self: Arc<Self>, asked: Parts) -> Answer {
        if asked.uri.path() == "/healthz" {
            return self.health().await;
        }
        let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() else {
            return busy("as many pages are asked for as can be made; come again in a moment");
        };
        let making = tokio::spawn(async move {
            let _seat = seat;
            match asked.uri.path() {
                "/metrics" => self.metrics(&asked).await,
                "/live.js" => answer::of(StatusCode::OK, "text/javascript; charset=utf-8", SCRIPT),
                _ => self.page(&asked).await,
            }
        });
        match timeout(limits::PAGE_BUILD, making).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => line(StatusCode::INTERNAL_SERVER_ERROR, "this page cannot be made"),
            Err(_) => busy("this page takes long to make; come again in a moment"),
        }
    }

    async fn page(&self, asked: &Parts) -> Answer {
        let query = asked.uri.query().unwrap_or_default();
        let wanted = match Wanted::parse(asked.uri.path(), query) {
            Ok(Some(wanted)) => wanted,
            Ok(None) => {
                let line = format!("There is no page at {}.", asked.uri.path());
                return told(StatusCode::NOT_FOUND, "Not found", &line, None);
            }
            Err(wrong) => return told(StatusCode::BAD_REQUEST, "Wrong address", &wrong, None),
        };
        match self.made(wanted, asked).await {
            Ok(answer) => answer,
            Err(many @ Unread::TooMany { .. }) => {
                told(StatusCode::UNPROCESSABLE_ENTITY, "Too many runs", &many.to_string(), None)
            }
            Err(Unread::Store(error)) => {
                self.say(&error);
                let line = "The store cannot be read; the collector's log says why.";
                told(StatusCode::SERVICE_UNAVAILABLE, "No page", line, None)
            }
        }
    }

    /// A page of what is stored now, or that it is as whoever asks has it already. One page is made at a time.
    async fn made(&self, wanted: Wanted, asked: &Parts) -> Result<Answer, Unread> {
        let now = self.clock.now();
        let window = match self.fleet.since(wanted.since(now)).await {
            Err(many @ Unread::TooMany { .. }) => {
                return self.made_of_kept(&wanted, now, many).await;
            }
            window => window?,
        };
        let address = asked.uri.to_string();
        let tag = answer::tag(&address, window.mark(), now);
        if answer::has(asked, &tag) {
            return Ok(answer::unchanged(&tag));
        }
        let mut shelf = self.shelf.lock().await;
        if let Some(page) = shelf.get(&address, &tag) {
            return Ok(answer::page(StatusCode::OK, page, Some(&tag)));
        }
        let wanted = Arc::new(wanted);
        let (this, runs, mark) = (Arc::clone(&wanted), window, tag.clone());
        let made = spawn_blocking(move || {
            let choices = Choices::of(runs.runs());
            let page = this.make(runs.runs(), now)?;
            Ok(html::framed(&page, &this.frame(&choices, &mark)))
        });
        let missed = match made.await? {
            Ok(page) => {
                let page = bytes::Bytes::from(page);
                shelf.put(&address, &tag, page.clone());
                return Ok(answer::page(StatusCode::OK, page, Some(&tag)));
            }
            Err(missed) => missed,
        };
        Ok(match missed {
            Missed::Wrong(wrong) => {
                told(StatusCode::BAD_REQUEST, "Wrong address", &wrong, Some(&wanted))
            }
            Missed::Told(line) => {
                told(StatusCode::NOT_FOUND, "Nothing matches", &line, Some(&wanted))
            }
            Missed::Nothing(otherwise) => {
                let all = self.fleet.since(None).await?;
                let this = Arc::clone(&wanted);
                let line =
                    spawn_blocking(move || this.what_would(all.runs(), now, otherwise)).await?;
                told(StatusCode::NOT_FOUND, "Nothing matches", &line, Some(&wanted))
            }
        })
    }

    /// A page of medians alone, of what is kept beside the runs, where these are too many.
    async fn made_of_kept(
        &self,
        wanted: &Wanted,
        now: jiff::Timestamp,
        many: Unread,
    ) -> Result<Answer, Unread> {
        let Some((filter, question)) = wanted.ordinary(now) else { return Err(many) };
        // One at a time, as with other pages.
        let _turn = self.shelf.lock().await;
        let kept = kept_medians(&*self.store, &filter, &question, now).await?;
        let Some(view) = kept else { return Err(many) };
        let page = html::summary(&view, &many.to_string(), wanted.links());
        let page = html::framed(&page, &wanted.frame(&Choices::default(), ""));
        Ok(answer::page(StatusCode::OK, bytes::Bytes::from(page), None))
    }

    async fn health(&self) -> Answer {
        if !self.serving.load(Ordering::Acquire) {
            return line(
                StatusCode::SERVICE_UNAVAILABLE,
                "not serving: starting, or about to stop",
            );
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
                *held = values.map(Arc::new);
                held.clone()
            }
            Err(error) => {
                self.say(&error);
                None
            }
        }
    }

    /// What is kept beside runs says it too, and costs less to read, the more runs there are.
    async fn work_out(&self, now: jiff::Timestamp) -> Result<Option<Values>, StoreError> {
        let filter = Filter { since: Some(metrics::since(now)), ..Filter::default() };
        let question = Question::default();
        let kept = match kept_medians(&*self.store, &filter, &question, now).await {
            // The runs are there all the same.
            Err(StoreError::Corrupt { .. }) => None,
            kept => kept?,
        };
        if let Some(view) = kept
            && let Some(rollup) = self.store.rollup(filter.since).await?
        {
            return Ok(Some(Values::of(&view, &Newest::of_rollup(&rollup), now)));
        }
        let runs = match self.fleet.since(filter.since).await {
            Ok(runs) => runs,
            Err(Unread::Store(error)) => return Err(error),
            // Then rollups are incomplete, and metrics wait for them.
            Err(many @ Unread::TooMany { .. }) => {
                tracing::warn!("metrics tell nothing of the fleet: {many}");
                return Ok(None);
            }
        };
        let values = spawn_blocking(move || {
            let runs = runs.runs();
            let view = view::medians(runs, &filter, &question, now);
            Values::of(&view, &Newest::of_runs(runs), now)
        });
        Ok(Some(values.await?))
    }

    /// Tells the operator what is wrong with the store. It may name files, so nobody else is told.
    fn say(&self, error: &StoreError) {
        self.failing.happened(|times| {
            tracing::error!("no page can be made: {}{}", one_line(error), lately(times));
        });
    }
}

#[cfg(test)]
mod tests {
    use fleetmark_proto::convert::Encoded;
    use http::Request;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::{
        ingest::Grouping,
        store::{self, Clocks, Mode, NewRun, StoreUrl},
        testing,
    };

    #[tokio::test]
    async fn of_too_many_runs_there_are_medians_alone() {
        let folder = tempfile::tempdir().unwrap();
        let url = StoreUrl::Sqlite(folder.path().join("store.db"));
        let store = store::open(&url, Mode::Write).await.unwrap();
        for host in ["a", "b"] {
            let report = testing::pair(host, 0.5);
            let clocks = Clocks::new(report.ended_at, None);
            let run = NewRun::new(Encoded::new(&report), &report, clocks);
            store.put(vec![Arc::new(run)]).await.unwrap();
        }
        let page = async |most: u64, address: &str| {
            let committer = Committer::start(Arc::clone(&store), Grouping::default());
            let load = Box::new(|| Load { let_in: 0, in_work: 0, request_bytes: 0 });
            let (clock, tally) = (Clock::of_host(), Arc::new(Tally::default()));
            let web = Arc::new(Web::new(clock, Arc::clone(&store), tally, committer, load, most));
            let asked = Request::get(address).body(()).unwrap().into_parts().0;
            let answer = web.answer(asked).await;
            let status = answer.status().as_u16();
            let bytes = answer.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8(bytes.to_vec()).unwrap())
        };
        for address in ["/", "/report", "/outliers"] {
            assert_eq!(page(2, address).await.0, 200, "{address}");
        }
        let says = "there are 2 runs in this time, and a page is made of 1 at most";
        for address in ["/", "/report"] {
            let (status, text) = page(1, address).await;
            assert!(status == 200 && text.contains(says), "{address}: {text}");
            assert!(text.contains("2 hosts, 2 runs"), "{text}");
        }
        for address in ["/outliers", "/history", "/runs", "/report?host=a"] {
            let (status, text) = page(1, address).await;
            assert!(status == 422 && text.contains(says), "{address}: {status} {text}");
        }
    }
}
