//! What is kept beside runs says what these say, whatever came and went.

use fleetmark_proto::{
    plan::{Scenario, Spawner},
    profile::{Facets, Profile},
    report::{Failure, FailureKind, Quality},
    series::{Metric, Pass, Series, SeriesKey, Variant},
    unit::Nanos,
};
use proptest::prelude::*;

use super::*;
use crate::{
    reading::whole,
    source::kept_medians,
    view::{self, Filter, Question},
};

/// What happens to a store.
#[derive(Clone, Debug)]
enum Deed {
    /// Some runs arrive at once.
    Put(Vec<Arriving>),
    /// Runs go that ended so many minutes after the beginning or before.
    Prune(i64),
    /// The runs of a host go.
    Forget(u8),
}

/// A run of a small fleet.
#[derive(Clone, Debug)]
struct Arriving {
    host: u8,
    /// When it ended, in minutes from the beginning, and how long it took.
    minute: i64,
    took: i64,
    boot: u8,
    profile: u8,
    build: u8,
    plan: u8,
    quality: u8,
    canary: u8,
    /// Whether the agent keeps its clock to itself, so that the run counts from when it came, so many minutes later.
    late: Option<i64>,
    median: u64,
}

fn arriving() -> impl Strategy<Value = Arriving> {
    // Few minutes, so that runs meet; and days apart, so that whole days lie between them.
    let minute = (0..4_i64, 0..40_i64).prop_map(|(day, minute)| day * 1_430 + minute);
    let late = prop::option::weighted(0.1, 6..2_000_i64);
    (
        (0..5_u8, minute, 0..6_i64, 0..6_u8, 0..4_u8, 0..2_u8),
        (0..5_u8, 0..8_u8, 0..3_u8, late, 1_000..9_000_u64),
    )
        .prop_map(|((host, minute, took, boot, profile, build), rest)| {
            let (plan, quality, canary, late, median) = rest;
            Arriving {
                host,
                minute,
                took,
                boot,
                profile,
                build,
                plan,
                quality,
                canary,
                late,
                median,
            }
        })
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        12 => prop::collection::vec(arriving(), 1..6).prop_map(Deed::Put),
        1 => (0..6_000_i64).prop_map(Deed::Prune),
        1 => (0..5_u8).prop_map(Deed::Forget),
    ]
}

impl Arriving {
    fn run(&self, begin: Timestamp) -> NewRun {
        let report = self.report(begin);
        let clocks = match self.late {
            Some(minutes) => Clocks::new(report.ended_at + minutes.minutes(), None),
            None => Clocks::new(report.ended_at, Some(report.ended_at)),
        };
        NewRun::new(Encoded::new(&report), &report, clocks)
    }

    fn report(&self, begin: Timestamp) -> Report {
        let ended_at = begin + self.minute.minutes();
        let mut report = testing::pair(&format!("h{}", self.host), 0.5);
        report.id = ReportId::at(ended_at);
        (report.started_at, report.ended_at) = (ended_at - self.took.minutes(), ended_at);
        // Most hosts are on machines of their own that seldom restart.
        report.host.boot_id_hash = match self.boot {
            0 => None,
            1 => Some("shared".into()),
            2 => Some(format!("h{}-{}", self.host, self.minute / 1_430)),
            _ => Some(format!("h{}", self.host)),
        };
        let instance = (self.profile == 1).then_some("m6g.xlarge");
        report.system.instance_type = instance.map(str::to_owned);
        let facets = report.profile.facets.clone();
        report.profile = match self.profile {
            // The same profile by another name, another one, and one that is incomplete.
            0 | 1 => Profile::new(facets, instance),
            2 => Profile::new(Facets { usable_cpus: 7, ..facets }, instance),
            _ => Profile::new(Facets { cpu_model: None, ..facets }, instance),
        };
        if self.build == 1 {
            report.build.tokio = "1.55.0".into();
        }
        for sample in report.cells.iter_mut().flat_map(|cell| &mut cell.samples_ns) {
            *sample = Nanos(sample.0 / 1_000 * self.median);
        }
        self.plan(&mut report);
        report.quality = match self.quality {
            0 | 1 => Quality::from_reasons(vec!["throttled".into()]),
            _ => report.quality,
        };
        report.partial = (self.quality % 4 == 1).then(|| "the agent was stopped".to_owned());
        let canary = u64::from(self.canary);
        report.evidence.canary_before_ns = (canary > 0).then_some(Nanos(canary * self.median));
        report
    }

    /// Other cells than most have.
    fn plan(&self, report: &mut Report) {
        let failure = Failure { kind: FailureKind::Panic, message: "it broke".into() };
        match self.plan {
            0 => {
                report.cells[1].failure = Some(failure);
                report.cells[1].samples_ns.truncate(2);
            }
            1 => report.cells.truncate(1),
            2 => {
                let key = SeriesKey {
                    pass: Pass::Diagnose,
                    variant: Variant::Vector,
                    metric: Metric::Elapsed,
                };
                report.series = vec![Series { key, cell: report.cells[1].clone() }];
            }
            _ => {}
        }
    }
}

/// Questions that are answered by what is kept, about windows that begin so many minutes after the beginning.
fn questions(begin: Timestamp) -> Vec<(Filter, Question)> {
    let mut asked = Vec::new();
    for minute in [-60, 3, 12, 27, 1_435, 1_447, 2_890, 4_300, 9_000] {
        let filter = Filter { since: Some(begin + minute.minutes()), ..Filter::default() };
        asked.push((filter, Question::default()));
    }
    let all = Filter::default;
    let tokio = Question { against: Spawner::Tokio, ..Question::default() };
    let name = testing::report("a", &[1]).profile.name;
    asked.extend([
        (all(), Question::default()),
        (all(), tokio),
        (Filter { scenario: vec![Scenario::SpawnOverhead], ..all() }, Question::default()),
        (Filter { scenario: vec![Scenario::Waiting], ..all() }, Question::default()),
        (Filter { spawner: vec![Spawner::Tokio], ..all() }, Question::default()),
        (Filter { profile: vec![name], ..all() }, Question::default()),
    ]);
    asked
}

/// Asks both ways.
async fn compare(store: &dyn Store, begin: Timestamp) {
    for (filter, question) in questions(begin) {
        let now = begin + 240.hours();
        let kept = kept_medians(store, &filter, &question, now).await.unwrap();
        let runs = whole(store.runs(filter.since).await.unwrap());
        let is_known = view::check_profiles(&runs, &filter.profile).is_ok();
        let expected = view::medians(&runs, &filter, &question, now);
        assert_eq!(kept.is_some(), is_known, "{filter:?}");
        if let Some(kept) = kept {
            let text = |view| serde_json::to_string_pretty(view).unwrap();
            assert_eq!(text(&kept), text(&expected), "{filter:?}");
        }
    }
    let checked = store.check().await.unwrap();
    assert_eq!(checked.differences, [""; 0]);
    assert_eq!(checked.runs, fleetmark_proto::unit::count(store.runs(None).await.unwrap().len()));
}

async fn after(deeds: &[Deed]) {
    // On no border of days.
    let begin: Timestamp = "2026-11-20T23:30:00Z".parse().unwrap();
    for (_folder, url, store) in stores().await {
        let (_, registry) = open_both(&url, Mode::Write).await.unwrap();
        for deed in deeds {
            match deed {
                Deed::Put(runs) => {
                    put(&*store, runs.iter().map(|run| run.run(begin))).await;
                }
                Deed::Prune(minute) => {
                    let runs_before = begin + minute.minutes();
                    let retention = Retention { runs_before, keys_before: begin };
                    store.prune(retention).await.unwrap();
                }
                Deed::Forget(host) => {
                    let by = AuditEntry {
                        at: begin,
                        event: Event::HostForgotten,
                        who: String::new(),
                        address: "here".into(),
                        detail: String::new(),
                    };
                    registry.forget(format!("h{host}").parse().unwrap(), by).await.unwrap();
                }
            }
        }
        compare(&*store, begin).await;
        let runs = store.rebuild().await.unwrap();
        assert_eq!(runs, store.check().await.unwrap().runs);
        compare(&*store, begin).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_is_kept_says_what_the_runs_say(deeds in prop::collection::vec(deed(), 1..14)) {
        tokio::runtime::Runtime::new().unwrap().block_on(after(&deeds));
    }
}

#[tokio::test]
async fn a_writer_that_goes_on_knows_what_another_did() {
    for (_folder, url, store) in stores().await {
        let begin = Timestamp::now() - 240.hours();
        let other = open(&url, Mode::Write).await.unwrap();
        for minute in 0..6 {
            let writer = if minute % 2 == 0 { &store } else { &other };
            let run = Arriving {
                host: 1,
                minute,
                took: 2,
                boot: 1,
                profile: 0,
                build: 0,
                plan: u8::try_from(minute % 3).unwrap(),
                quality: 7,
                canary: 1,
                late: None,
                median: 2_000,
            };
            put(&**writer, [run.run(begin)]).await;
            if minute == 3 {
                other.rebuild().await.unwrap();
            }
        }
        compare(&*store, begin).await;
        assert_eq!(store.runs_by_id(vec![ReportId::now()]).await.unwrap(), []);
    }
}
