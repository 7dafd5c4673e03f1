use fleetmark_proto::report::{Quality, Report};
use jiff::ToSpan as _;

use super::*;
use crate::testing;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn weeks_begin_on_monday_and_days_at_midnight() {
    let start = |bucket: Bucket, time: &str| bucket.start(at(time)).to_string();
    assert_eq!(start(Bucket::Week, "2026-11-25T12:00:00Z"), "2026-11-23T00:00:00Z");
    assert_eq!(start(Bucket::Week, "2026-11-23T00:00:00Z"), "2026-11-23T00:00:00Z");
    assert_eq!(start(Bucket::Week, "2026-11-22T23:59:59Z"), "2026-11-16T00:00:00Z");
    assert_eq!(start(Bucket::Week, "1969-12-31T12:00:00Z"), "1969-12-29T00:00:00Z");
    assert_eq!(start(Bucket::Day, "2026-11-25T23:59:59Z"), "2026-11-25T00:00:00Z");
}

/// A host's runs, a day apart, each taking so long.
fn runs(host: &str, values: &[u64], change: impl Fn(usize, &mut Report)) -> Vec<StoredRun> {
    // Those of a later host end later.
    let first = at("2026-11-23T06:00:00Z") + i64::from(host.as_bytes()[0] - b'a').minutes();
    let one = |(day, value): (usize, &u64)| {
        let samples: Vec<u64> = (0..11).map(|round| value + round).collect();
        let mut report = testing::report(host, &samples);
        report.ended_at = first + i64::try_from(day * 24).unwrap().hours();
        change(day, &mut report);
        StoredRun { received_at: report.ended_at, sent_at: Some(report.ended_at), report }
    };
    values.iter().enumerate().map(one).collect()
}

fn asked(runs: &[StoredRun], host: &[&str], bucket: Option<Bucket>) -> History {
    let host = host.iter().map(|host| (*host).to_owned()).collect();
    let filter = Filter { host, ..Filter::default() };
    history(runs, &filter, &[Facet::Profile], bucket, Timestamp::now())
}

fn jumps(line: &Line) -> Vec<(usize, String)> {
    let jumps = line.points.iter().enumerate().filter_map(|(place, point)| {
        let jump = point.jump.as_ref()?;
        let beside = jump.beside.iter().map(|beside| beside.change.fact.as_str());
        Some((place, beside.collect::<Vec<_>>().join(",")))
    });
    jumps.collect()
}

#[test]
fn a_host_has_a_point_a_run_and_a_jump_is_told_with_what_changed() {
    let runs = runs("a", &[1_000, 1_010, 1_200, 1_400], |day, report| {
        report.system.kernel = Some(if day < 2 { "6.1" } else { "6.12" }.to_owned());
    });
    let view = asked(&runs, &["a"], None);
    let [subject] = &view.subjects[..] else { panic!("one: {view:?}") };
    assert_eq!(subject.name, "a (a.example)");
    assert_eq!(subject.changes.len(), 1);
    assert_eq!(subject.changes[0].at, at("2026-11-25T06:00:00Z"));
    let points = &subject.lines[0].points;
    assert_eq!((points.len(), points[1].median_ns), (4, Some(Nanos(1_015))));
    let expected = [(2, "kernel".to_owned()), (3, String::new())];
    assert_eq!(jumps(&subject.lines[0]), expected);
    assert_eq!(points[2].changed.len(), 1);
}

#[test]
fn suspect_runs_are_shown_and_are_no_jump() {
    let runs = runs("a", &[1_000, 2_000, 1_000], |day, report| {
        if day == 1 {
            report.quality = Quality::from_reasons(vec!["throttled".into()]);
            report.system.kernel = Some("6.12".into());
        }
    });
    let view = asked(&runs, &["a.example"], None);
    let line = &view.subjects[0].lines[0];
    assert_eq!(line.points[1].state, PointState::Suspect);
    assert_eq!(line.points[1].median_ns, Some(Nanos(2_005)));
    assert_eq!(jumps(line), []);
    let view = asked(&runs, &[], Some(Bucket::Day));
    let points = &view.subjects[0].lines[0].points;
    assert_eq!((points[1].median_ns, points[1].suspect_left_out), (None, 1));
    assert_eq!(points[1].state, PointState::Suspect);
}

#[test]
fn a_profile_has_medians_over_hosts_and_never_of_two_builds() {
    let tokio = |from: usize| {
        move |day: usize, report: &mut Report| {
            if day >= from {
                report.build.tokio = "1.55.0".into();
            }
        }
    };
    let mut all = runs("a", &[1_000, 1_000, 800], tokio(2));
    all.extend(runs("b", &[1_100, 1_100, 900], tokio(2)));
    all.extend(runs("c", &[1_200, 1_200, 1_200], tokio(3)));
    let view = asked(&all, &[], Some(Bucket::Day));
    let subject = &view.subjects[0];
    assert_eq!((subject.hosts, subject.runs), (3, 9));
    let points: Vec<_> = subject.lines[0]
        .points
        .iter()
        .map(|point| (point.median_ns.unwrap().0, point.hosts, point.build.contains("1.55.0")))
        .collect();
    let expected = [(1_105, 3, false), (1_105, 3, false), (855, 2, true), (1_205, 1, false)];
    assert_eq!(points, expected);
    assert_eq!(subject.changes.len(), 1);
    assert_eq!(subject.changes[0].hosts, 2);

    assert_eq!(jumps(&subject.lines[0]), [(2, "tokio".to_owned())], "and not of c's old one");

    let weeks = asked(&all, &[], None);
    assert_eq!(weeks.bucket, Some(Bucket::Week));
    let points = &weeks.subjects[0].lines[0].points;
    assert_eq!(points.len(), 2, "one a build");
    assert_eq!(points[1].hosts, 2, "the newest run of each host in the week");
}
