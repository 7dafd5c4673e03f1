//! Advice, as tables with sentences, and as CSV.

use fleetmark_proto::{
    id::HostId,
    samples::Interval,
    shell::{
        grid::{Align, Grid, csv},
        look::Look,
    },
    unit::{Nanos, Times, grouped},
    verdict::Verdict,
};
use serde::Serialize;

use crate::view::{Advice, GoodFromView, ProfileAdvice, SpawnerAdvice, Work, WorkAdvice};

pub(super) fn people(advice: &Advice, look: Look) -> String {
    let profiles: Vec<String> =
        advice.profiles.iter().map(|profile| one_profile(profile, look)).collect();
    profiles.join("\n")
}

fn one_profile(profile: &ProfileAdvice, look: Look) -> String {
    let ProfileAdvice { id, name, .. } = profile;
    let mut text = look.heading(&match look {
        Look::Text(_) => format!("profile {name} ({id})"),
        Look::Markdown => format!("{name} ({id})"),
    });
    text.push_str(&look.facts(&facts(profile)));
    for work in &profile.works {
        text.push('\n');
        text.push_str(&one_work(work, look));
    }
    text
}

fn one_work(work: &WorkAdvice, look: Look) -> String {
    let title = heading(work);
    let mut text = if work.spawners.is_empty() {
        match look {
            Look::Text(_) => look.heading(&title),
            Look::Markdown => format!("### {title}\n"),
        }
    } else {
        look.grid(&grid(work, title))
    };
    let mut lines = vec![work.advice.clone()];
    lines.extend(work.missing.iter().map(|missing| match &missing.command {
        Some(command) => format!("not known: {}; measure it with `{command}`", missing.what),
        None => format!("not known: {}", missing.what),
    }));
    lines.extend(work.caveats.iter().map(|caveat| format!("note: {caveat}")));
    text.push_str(&look.sentences(&lines));
    text
}

/// What the work is, as a title.
pub(super) fn heading(work: &WorkAdvice) -> String {
    let what = match work.work {
        Work::ShortTasks => "many short tasks",
        Work::Waiting => "waiting, as for I/O",
        Work::CpuBound => "CPU-bound work",
        Work::CpuBesideOthers => "CPU-bound work beside tasks that must answer in time",
    };
    match work.recommended {
        Some(spawner) => format!("{what}: {spawner}"),
        None => format!("{what}: not known yet"),
    }
}

pub(super) fn grid(work: &WorkAdvice, title: String) -> Grid {
    let is_long = work.work == Work::CpuBound;
    let (value, ratio) = match work.work {
        Work::CpuBesideOthers => ("tick late", "to least"),
        _ => ("median", "to best"),
    };
    let mut columns = vec![("spawner", Align::Left), ("fit", Align::Verdict)];
    if is_long {
        columns.extend([("good from", Align::Right), ("tick late", Align::Right)]);
    } else {
        columns.push((value, Align::Right));
    }
    columns.extend([
        (ratio, Align::Right),
        ("interval", Align::RightAside),
        ("hosts", Align::Right),
    ]);
    let medians = Times::of(work.spawners.iter().filter_map(|it| it.median_ns));
    let lates = Times::of(work.spawners.iter().filter_map(|it| it.late_p99_ns));
    let row = |it: &SpawnerAdvice| {
        let mut row = vec![it.spawner.to_string(), it.fit.name().replace('-', " ")];
        if is_long {
            row.extend([good_from(it.good_from), shown(it.late_p99_ns, lates)]);
        } else {
            row.push(shown(it.median_ns, medians));
        }
        let interval = it.verdict.as_ref().and_then(|verdict| verdict.interval);
        row.extend([
            match &it.verdict {
                Some(verdict) => times(verdict.ratio),
                None if it.median_ns.is_some() => "1×".to_owned(),
                None => String::new(),
            },
            interval.map_or_else(String::new, |it| format!("{}–{}", times(it.low), times(it.high))),
            grouped(it.hosts),
        ]);
        row
    };
    Grid { title, columns, rows: work.spawners.iter().map(row).collect() }
}

/// From which length of work on.
fn good_from(from: Option<GoodFromView>) -> String {
    match from {
        None => "unknown".to_owned(),
        Some(GoodFromView { rounds: None, .. }) => "never".to_owned(),
        Some(GoodFromView { rounds: Some(0), .. }) => "any length".to_owned(),
        Some(GoodFromView { about_ns: Some(about), .. }) => about.to_string(),
        Some(GoodFromView { rounds: Some(rounds), .. }) => format!("{} rounds", grouped(rounds)),
    }
}

fn shown(value: Option<Nanos>, times: Times) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| times.show(value))
}

/// A ratio with three digits.
fn times(ratio: f64) -> String {
    match ratio {
        ..9.995 => format!("{ratio:.2}×"),
        ..99.95 => format!("{ratio:.1}×"),
        _ => format!("{ratio:.0}×"),
    }
}

pub(super) fn facts(profile: &ProfileAdvice) -> Vec<(&'static str, String)> {
    let mut runs = grouped(profile.runs);
    for (number, what) in [(profile.suspect_runs, "suspect"), (profile.partial_runs, "partial")] {
        if number > 0 {
            runs.push_str(&format!(", {} of them {what}", grouped(number)));
        }
    }
    let mut facts = vec![("hosts", grouped(profile.hosts)), ("runs", runs)];
    if !profile.uncounted_hosts.is_empty() {
        let hosts = listed(&profile.uncounted_hosts);
        facts.push((
            "left out",
            format!(
                "{hosts}: suspect or partial runs only; `fleetmark-collector host` says why, --include-suspect lets suspect ones in"
            ),
        ));
    }
    if !profile.collisions.is_empty() {
        let hosts = listed(&profile.collisions);
        facts.push(("collision", format!("{hosts}: two machines claim this id, left out")));
    }
    if !profile.complete {
        facts.push(("incomplete", "the CPU's model is unknown: no advice".to_owned()));
    }
    let mut builds: Vec<&String> =
        profile.works.iter().filter_map(|work| work.build.as_ref()).collect();
    builds.dedup();
    if let [build] = builds[..] {
        facts.push(("build", build.clone()));
    }
    for build in &profile.other_builds {
        facts.push(("other build", format!("{build}: left out, unless --build asks for it")));
    }
    facts
}

/// The first few hosts.
fn listed(hosts: &[HostId]) -> String {
    const MOST: usize = 5;
    let mut shown: Vec<String> = hosts.iter().take(MOST).map(ToString::to_string).collect();
    if hosts.len() > MOST {
        shown.push(format!("{} more", hosts.len() - MOST));
    }
    shown.join(", ")
}

/// A line a spawner, and one for work of which nothing is known.
pub(super) fn lines(advice: &Advice) -> String {
    csv(advice.profiles.iter().flat_map(|profile| {
        profile.works.iter().flat_map(move |work| {
            let nothing = work.spawners.is_empty().then(|| line(profile, work, None));
            let spawners = work.spawners.iter().map(move |it| line(profile, work, Some(it)));
            nothing.into_iter().chain(spawners)
        })
    }))
}

#[derive(Serialize)]
struct Line<'a> {
    profile_id: &'a str,
    profile_name: &'a str,
    work: &'a str,
    recommended: Option<&'a str>,
    spawner: Option<&'a str>,
    fit: Option<&'a str>,
    measure: &'a str,
    workload: Option<String>,
    build: Option<&'a str>,
    median_ns: Option<u64>,
    low_ns: Option<u64>,
    high_ns: Option<u64>,
    hosts: u64,
    against: Option<&'a str>,
    ratio: Option<f64>,
    ratio_low: Option<f64>,
    ratio_high: Option<f64>,
    confidence: Option<f64>,
    verdict: Option<&'a str>,
    good_from_rounds: Option<u64>,
    good_from_ns: Option<u64>,
    late_p99_ns: Option<u64>,
    missing: Option<&'a str>,
}

fn line<'a>(
    profile: &'a ProfileAdvice,
    work: &'a WorkAdvice,
    it: Option<&'a SpawnerAdvice>,
) -> Line<'a> {
    let verdict: Option<&Verdict> = it.and_then(|it| it.verdict.as_ref());
    let of_ratio = verdict.and_then(|verdict| verdict.interval);
    let interval: Option<Interval> = it.and_then(|it| it.interval);
    let from = it.and_then(|it| it.good_from);
    Line {
        profile_id: profile.id.as_str(),
        profile_name: &profile.name,
        work: work.work.name(),
        recommended: work.recommended.map(|spawner| spawner.name()),
        spawner: it.map(|it| it.spawner.name()),
        fit: it.map(|it| it.fit.name()),
        measure: work.measure.name(),
        workload: work.workload.map(|workload| workload.to_string()),
        build: work.build.as_deref(),
        median_ns: it.and_then(|it| it.median_ns).map(|it| it.0),
        low_ns: interval.map(|it| it.low_ns.0),
        high_ns: interval.map(|it| it.high_ns.0),
        hosts: it.map_or(0, |it| it.hosts),
        against: verdict.map(|verdict| verdict.against.name()),
        ratio: verdict.map(|verdict| verdict.ratio),
        ratio_low: of_ratio.map(|it| it.low),
        ratio_high: of_ratio.map(|it| it.high),
        confidence: of_ratio.map(|it| it.confidence),
        verdict: verdict.map(|verdict| verdict.verdict.name()),
        good_from_rounds: from.and_then(|from| from.rounds),
        good_from_ns: from.and_then(|from| from.about_ns).map(|it| it.0),
        late_p99_ns: it.and_then(|it| it.late_p99_ns).map(|it| it.0),
        missing: work.missing.iter().find_map(|missing| missing.command.as_deref()),
    }
}
