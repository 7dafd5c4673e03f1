use fleetmark_proto::{
    plan::{Amount, CellKey},
    profile::{Facets, Profile},
    report::{Quality, Report},
    unit::Nanos,
};

use super::*;
use crate::testing;

fn run(report: Report) -> StoredRun {
    StoredRun { received_at: report.ended_at, sent_at: None, report }
}

/// A run of each of some hosts, whose label `side` says this.
fn group(side: &str, hosts: u64, samples: u64, change: impl Fn(&mut Report)) -> Vec<StoredRun> {
    let one = |host: u64| {
        let mut report = testing::report(&format!("{side}-{host}"), &[samples + 1_000 * host; 3]);
        report.labels.insert("side".to_owned(), side.to_owned());
        change(&mut report);
        run(report)
    };
    (0..hosts).map(one).collect()
}

fn asked(runs: &[StoredRun], sides: &[&str]) -> Result<Comparison, NotComparable> {
    let sides: Vec<Side> = sides.iter().map(|side| side.parse().unwrap()).collect();
    let now = Timestamp::now() + std::time::Duration::from_secs(60);
    compare(runs, &Filter::default(), &sides, now)
}

const BOTH: [&str; 2] = ["label.side=a", "label.side=b"];

#[test]
fn groups_of_other_hosts_are_compared_in_cells_and_what_follows() {
    let runs = [group("a", 8, 1_000_000, |_| {}), group("b", 8, 1_300_000, |_| {})].concat();
    let found = asked(&runs, &BOTH).unwrap();
    assert_eq!((found.comparisons, found.sides[0].letter, found.sides[1].hosts), (2, 'A', 8));
    assert!((found.confidence - 0.975).abs() < 1e-12, "{found:?}");
    assert!(found.not_measured.is_empty(), "it is the same hardware");
    let [build] = &found.against_base[0].builds[..] else { panic!("one build: {found:?}") };
    let [cell] = &build.cells[..] else { panic!("one cell: {build:?}") };
    assert_eq!((cell.verdict.verdict, cell.verdict.basis.name()), (Outcome::Slower, "groups"));
    assert!((cell.verdict.a.median - 1_003_500.0).abs() < 1e-6, "{cell:?}");
    let [cost] = &build.derived[..] else { panic!("one follows: {build:?}") };
    assert_eq!((cost.measure, cost.verdict.verdict), (Measure::SpawnCost, Outcome::Slower));
    assert!((cost.verdict.a.median - 1_003.5).abs() < 1e-9, "{cost:?}");
}

#[test]
fn what_does_not_count_is_left_out_and_said() {
    let suspect = group("b", 2, 9_000_000, |report| {
        report.quality = Quality::from_reasons(vec!["throttled".into()]);
    });
    let partial = group("b", 1, 9_000_000, |report| {
        report.partial = Some("stopped".into());
    });
    let (a, b) = (group("a", 4, 1_000_000, |_| {}), group("b", 4, 1_000_000, |_| {}));
    let runs = [a, b, suspect.clone(), partial].concat();
    let found = asked(&runs, &BOTH).unwrap();
    let side = &found.sides[1];
    assert_eq!((side.hosts, side.runs, side.suspect_left_out, side.partial_left_out), (4, 4, 2, 1));
    let cell = &found.against_base[0].builds[0].cells[0];
    assert!((cell.verdict.b.median - 1_001_500.0).abs() < 1e-6, "{cell:?}");
    let none = asked(&[group("a", 4, 1_000_000, |_| {}), suspect].concat(), &BOTH).unwrap_err();
    assert!(none.to_string().contains("2 of its runs are suspect"), "{none}");
}

#[test]
fn builds_are_compared_one_by_one_unless_they_are_what_is_asked() {
    let tokio =
        |version: &'static str| move |report: &mut Report| report.build.tokio = version.into();
    let old =
        || [group("a", 4, 1_000_000, tokio("1.54.1")), group("b", 4, 1_000_000, tokio("1.54.1"))];
    let new = group("b", 4, 2_000_000, tokio("1.55.0"));
    let runs = [old().concat(), new.clone()].concat();
    let found = asked(&runs, &BOTH).unwrap();
    let against = &found.against_base[0];
    assert_eq!(against.builds.len(), 1);
    assert!(against.notes[0].starts_with("on B alone, and left out: meter 1 · tokio 1.55.0"));
    let apart = [group("a", 4, 1_000_000, tokio("1.54.1")), new].concat();
    let line = asked(&apart, &BOTH).unwrap_err().to_string();
    assert!(line.contains("they differ in tokio 1.54.1 on A and 1.55.0 on B"), "{line}");
    for sides in [
        ["tokio=1.54.1,label.side=a", "label.side=b,tokio=1.55.0"],
        ["build=tokio 1.54", "build=tokio 1.55"],
    ] {
        let found = asked(&runs, &sides).unwrap();
        let [build] = &found.against_base[0].builds[..] else { panic!("{found:?}") };
        assert!(build.build_a.contains("1.54.1") && build.build_b.contains("1.55.0"), "{build:?}");
        assert!(
            (build.cells[0].verdict.b.median - 2_001_500.0).abs() < 1e-6,
            "no builds are put together"
        );
    }
    let rustc = |report: &mut Report| report.build.rustc = "1.96.0".into();
    let both = [old().concat(), group("c", 4, 1_000_000, rustc)].concat();
    assert!(asked(&both, &["label.side=a,tokio=1.54.1", "label.side=c,tokio=1.54.1"]).is_err());
}

#[test]
fn another_architecture_is_compared_though_its_target_is_another() {
    let arm = |report: &mut Report| {
        report.build.target = "aarch64-unknown-linux-gnu".into();
        let facets = Facets { arch: "aarch64".into(), ..report.profile.facets.clone() };
        report.profile = Profile::new(facets, None);
    };
    let runs = [group("a", 8, 1_000_000, |_| {}), group("b", 8, 800_000, arm)].concat();
    let found = asked(&runs, &BOTH).unwrap();
    let against = &found.against_base[0];
    assert_eq!(against.builds[0].cells[0].verdict.verdict, Outcome::Faster);
    assert!(against.builds[0].build_b.contains("aarch64"), "{against:?}");
    let hardware = against.hardware.as_ref().unwrap();
    assert_eq!(hardware.facets.len(), 1);
    assert_eq!(found.not_measured, NOT_MEASURED);
}

/// Makes the report's cell one of CPU-bound work on so many workers.
fn cpu_bound(workers: u32) -> impl Fn(&mut Report) {
    move |report| {
        report.workers.count = workers;
        report.evidence.canary_before_ns = Some(Nanos(10_000));
        let cell = &mut report.cells[0];
        cell.key = CellKey { scenario: Scenario::CpuBound, spawner: Spawner::Tokio };
        cell.workload.amount = Amount::UnitsPerWorker(2);
        cell.workload.kernel_rounds = Some(20_000_000);
        cell.units = cell.workload.amount.units(workers);
    }
}

#[test]
fn other_numbers_of_workers_compare_by_what_follows_alone() {
    let (a, b) = (group("a", 8, 2_000_000, cpu_bound(2)), group("b", 8, 2_600_000, cpu_bound(8)));
    let found = asked(&[a.clone(), b].concat(), &BOTH).unwrap();
    let against = &found.against_base[0];
    assert!(against.builds[0].cells.is_empty(), "{against:?}");
    let rows = against.builds[0].derived.iter().map(|row| (row.measure, row.verdict.verdict));
    let expected = [(Measure::RoundRate, Outcome::Slower), (Measure::Efficiency, Outcome::Slower)];
    assert_eq!(rows.collect::<Vec<_>>(), expected);
    let [note] = &against.notes[..] else { panic!("{against:?}") };
    assert!(note.contains("2 workers on A, 8 workers on B"), "{note}");
    let same = asked(&[a, group("b", 8, 2_600_000, cpu_bound(2))].concat(), &BOTH).unwrap();
    let build = &same.against_base[0].builds[0];
    assert_eq!((build.cells.len(), build.derived.len()), (1, 2));
}

#[test]
fn other_numbers_of_workers_that_were_asked_for_compare_by_what_follows_alone() {
    let told = |workers: u32| {
        move |report: &mut Report| {
            cpu_bound(workers)(report);
            report.cells[0].workload.workers = Some(workers);
        }
    };
    let (a, b) = (group("a", 8, 2_000_000, told(2)), group("b", 8, 2_600_000, told(8)));
    let found = asked(&[a.clone(), b.clone()].concat(), &BOTH).unwrap();
    let against = &found.against_base[0];
    assert!(against.builds[0].cells.is_empty(), "{against:?}");
    assert_eq!(against.builds[0].derived.len(), 2, "{against:?}");
    assert!(against.notes[0].ends_with("compared by what follows alone"), "{against:?}");
    // Of three kinds nobody can tell which two are meant.
    let third = group("b", 8, 2_600_000, told(4));
    assert!(asked(&[a, b, third].concat(), &BOTH).is_err());
}

#[test]
fn other_workloads_are_named_and_not_compared() {
    let more = |report: &mut Report| {
        report.cells[0].workload.amount = Amount::Units(2_000);
        report.cells[0].units = 2_000;
    };
    let runs = [group("a", 4, 1_000_000, |_| {}), group("b", 4, 1_000_000, more)].concat();
    let line = asked(&runs, &BOTH).unwrap_err().to_string();
    let says = "spawn-overhead is not compared: 1,000 units on A, 2,000 units on B";
    assert!(line.contains(says), "{line}");
}

#[test]
fn hosts_of_an_unknown_cpu_get_no_verdict() {
    let unknown = |report: &mut Report| {
        let facets = Facets { cpu_model: None, ..report.profile.facets.clone() };
        report.profile = Profile::new(facets, None);
    };
    let runs = [group("a", 8, 1_000_000, unknown), group("b", 8, 2_000_000, unknown)].concat();
    let found = asked(&runs, &BOTH).unwrap();
    let against = &found.against_base[0];
    assert!(!against.complete && found.sides[0].incomplete == 8, "{found:?}");
    assert_eq!(against.builds[0].cells[0].verdict.verdict, Outcome::Unresolved);
}

#[test]
fn a_run_is_not_compared_with_itself() {
    let runs = group("a", 8, 1_000_000, |_| {});
    let line = asked(&runs, &["label.side=a", "amd-epyc-2c1t-vm-24g"]).unwrap_err().to_string();
    assert!(line.contains("8 hosts left out, of which both sides have the same run"), "{line}");
    let twice = asked(&runs, &["label.side=a", "label.side=a"]).unwrap_err();
    assert_eq!(twice, NotComparable::Twice("label.side=a".into()));
}
