//! What is advised of fleets that do not exist.

use fleetmark_proto::{
    report::{Cell, Quality, Report},
    series::{Pass, Series},
};

use super::*;
use crate::{simulate::Scene, testing};

/// The made-up fleet with these changes, of the hosts with this name.
fn fleet(hosts: u32, name: &str, change: impl Fn(&mut Report)) -> Advice {
    let now: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
    let runs: Vec<StoredRun> = Scene { hosts, weeks: 2, seed: 1 }
        .reports(now)
        .map(Result::unwrap)
        .filter(|report| report.host.id.as_str().starts_with(name))
        .map(|mut report| {
            change(&mut report);
            StoredRun { received_at: report.ended_at, sent_at: None, report }
        })
        .collect();
    advise(&runs, &Filter::default(), now)
}

fn only(advice: &Advice) -> &ProfileAdvice {
    let [profile] = &advice.profiles[..] else { panic!("one profile: {advice:?}") };
    profile
}

fn of(profile: &ProfileAdvice, work: Work) -> &WorkAdvice {
    profile.works.iter().find(|it| it.work == work).unwrap()
}

fn fit(work: &WorkAdvice, spawner: Spawner) -> Fit {
    work.spawners.iter().find(|it| it.spawner == spawner).unwrap().fit
}

/// Makes the samples of some cells this many times as long.
fn stretch(report: &mut Report, wanted: impl Fn(&Cell) -> bool, times: f64) {
    for cell in report.cells.iter_mut().filter(|cell| wanted(cell)) {
        for sample in &mut cell.samples_ns {
            *sample = Nanos(fleetmark_proto::unit::rounded(sample.to_f64() * times));
        }
    }
}

fn without(passes: &'static [Pass]) -> impl Fn(&mut Report) {
    move |report| {
        report.series.retain(|Series { key, .. }| !passes.contains(&key.pass));
    }
}

#[test]
fn each_kind_of_work_has_its_spawner() {
    let advice = fleet(12, "web", |_| {});
    let profile = only(&advice);
    assert_eq!(profile.collisions, ["web-03".parse().unwrap()]);
    let short = of(profile, Work::ShortTasks);
    assert_eq!(short.recommended, Some(Spawner::Rayon), "{short:?}");
    assert!(short.advice.starts_with("Use rayon: a task costs 24"), "{}", short.advice);
    assert!(
        short.caveats[0].contains("cannot await: async tasks need a runtime, tokio, which is 2.4")
    );
    let verdict = short.spawners[1].verdict.as_ref().unwrap();
    assert_eq!((verdict.spawner, verdict.against), (Spawner::Tokio, Spawner::Rayon));
    assert!(verdict.interval.unwrap().low > 2.0, "{verdict:?}");
    assert_eq!(of(profile, Work::Waiting).recommended, Some(Spawner::Tokio));

    let cpu = of(profile, Work::CpuBound);
    assert_eq!(cpu.recommended, Some(Spawner::Rayon), "{cpu:?}");
    assert_eq!(fit(cpu, Spawner::Tokio), Fit::HoldsUp, "though its wall time is a tie");
    assert_eq!(fit(cpu, Spawner::Thread), Fit::AsGood);
    let thread = cpu.spawners.iter().find(|it| it.spawner == Spawner::Thread).unwrap();
    let from = thread.good_from.unwrap();
    assert_eq!((from.rounds, from.hosts), (Some(100_000), 11), "the collided host is left out");
    assert!(cpu.advice.contains("it is within 10% of the best at every length"), "{}", cpu.advice);

    let beside = of(profile, Work::CpuBesideOthers);
    assert_eq!(beside.recommended, Some(Spawner::Rayon));
    assert_eq!(fit(beside, Spawner::Tokio), Fit::HoldsUp);
    assert_eq!(fit(beside, Spawner::SpawnBlocking), Fit::Behind);
    assert!(beside.advice.contains("tokio makes it 3"), "{}", beside.advice);
    assert!(beside.advice.contains("× later: keep such work out of it"), "{}", beside.advice);
    assert!(profile.works.iter().all(|work| work.missing.is_empty()), "{profile:?}");
}

#[test]
fn cpu_bound_work_never_goes_by_wall_time_alone() {
    let is_tokio = |cell: &Cell| cell.key.spawner == Spawner::Tokio;
    let advice = fleet(12, "web", |report| {
        report.series.clear();
        stretch(report, is_tokio, 0.5);
    });
    let cpu = of(only(&advice), Work::CpuBound);
    assert_eq!(cpu.recommended, None, "{cpu:?}");
    assert!(cpu.advice.starts_with("The evidence does not suffice: there is only wall time"));
    assert!(cpu.spawners.iter().all(|it| it.fit == Fit::Unknown));
    let commands: Vec<_> = cpu.missing.iter().filter_map(|it| it.command.as_deref()).collect();
    assert_eq!(commands, ["fleetmark-agent run --preset grain --neighbours"; 2]);
    let beside = of(only(&advice), Work::CpuBesideOthers);
    assert_eq!((beside.recommended, beside.missing.len()), (None, 1));
    assert_eq!(of(only(&advice), Work::Waiting).recommended, Some(Spawner::Tokio));
}

#[test]
fn a_task_of_tokio_is_not_fit_before_its_neighbours_were_asked() {
    let is_tokio = |cell: &Cell| cell.key.spawner == Spawner::Tokio;
    let advice = fleet(12, "web", |report| {
        without(&[Pass::Neighbours])(report);
        stretch(report, is_tokio, 0.5);
    });
    let cpu = of(only(&advice), Work::CpuBound);
    assert_eq!(fit(cpu, Spawner::Tokio), Fit::Unknown, "{cpu:?}");
    assert_eq!(cpu.recommended, None, "all others are slower");
    assert_eq!(cpu.missing.len(), 1);
    let kind = fleet(12, "web", |report| {
        for series in report.series.iter_mut().filter(|it| it.key.pass == Pass::Neighbours) {
            series.cell.samples_ns = vec![Nanos(1_500_000); 11];
        }
    });
    let cpu = of(only(&kind), Work::CpuBound);
    assert_eq!(fit(cpu, Spawner::Tokio), Fit::AsGood, "within two milliseconds nobody is held up");
}

#[test]
fn what_counts_for_nothing_is_told() {
    let throttled = fleet(2, "ci", |_| {});
    let profile = only(&throttled);
    assert_eq!(profile.uncounted_hosts, ["ci-00".parse().unwrap()]);
    assert_eq!(profile.suspect_runs, profile.runs);
    assert_eq!(profile.works.len(), 4);
    for work in &profile.works {
        assert_eq!((work.recommended, work.spawners.len()), (None, 0), "{work:?}");
        assert!(!work.missing.is_empty(), "{work:?}");
    }
    let unknown = fleet(2, "web", |report| report.profile.facets.cpu_model = None);
    let profile = only(&unknown);
    assert!(!profile.complete && profile.works.is_empty());
}

#[test]
fn few_hosts_speak_each_for_itself_and_noise_says_nothing() {
    let one = fleet(1, "web", |_| {});
    let short = of(only(&one), Work::ShortTasks);
    assert_eq!(short.recommended, Some(Spawner::Rayon));
    assert!(short.caveats.iter().any(|it| it.starts_with("one host has measured")), "{short:?}");
    let three = fleet(3, "db", |_| {});
    let short = of(only(&three), Work::ShortTasks);
    assert!(short.caveats.iter().any(|it| it.starts_with("hosts are few")), "{short:?}");

    let run = |(host, ratio): (usize, f64)| {
        let report = testing::pair(&format!("h{host}"), ratio);
        StoredRun { received_at: report.ended_at, sent_at: None, report }
    };
    let runs: Vec<StoredRun> = [0.7, 1.4, 0.8, 1.3].into_iter().enumerate().map(run).collect();
    let advice = advise(&runs, &Filter::default(), Timestamp::now());
    let short = of(only(&advice), Work::ShortTasks);
    assert_eq!(short.recommended, None, "{short:?}");
    assert!(short.advice.contains("no spawner is told apart"), "{}", short.advice);
    assert!(short.missing[0].what.contains("hosts of this profile"), "{short:?}");
}

#[test]
fn builds_are_never_joined() {
    let advice = fleet(4, "api", |_| {});
    let profile = only(&advice);
    let builds: Vec<&str> = profile.works.iter().filter_map(|it| it.build.as_deref()).collect();
    assert!(builds.len() == 4 && builds.iter().all(|it| it.contains("tokio 1.55.0")), "{builds:?}");
    let [other] = &profile.other_builds[..] else { panic!("{profile:?}") };
    assert!(other.contains("tokio 1.54.1"), "of as many hosts, but measured before: {other}");
}

#[test]
fn suspect_runs_can_be_let_in_and_spawners_left_out() {
    let report = |host: &str| {
        let mut report = testing::pair(host, 0.5);
        report.quality = Quality::from_reasons(vec!["throttled".into()]);
        StoredRun { received_at: report.ended_at, sent_at: None, report }
    };
    let runs = [report("a")];
    let asked = |filter: &Filter| {
        of(only(&advise(&runs, filter, Timestamp::now())), Work::ShortTasks).recommended
    };
    assert_eq!(asked(&Filter::default()), None);
    let all = Filter { include_suspect: true, ..Filter::default() };
    assert_eq!(asked(&all), Some(Spawner::Tokio));
    assert_eq!(
        asked(&Filter { spawner: vec![Spawner::Thread], ..all }),
        None,
        "nothing to compare"
    );
}
