//! Which runs and cells a view is made of.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use fleetmark_proto::{
    id::HostId,
    plan::{Scenario, Spawner},
    report::Report,
    unit::{count, grouped},
};
use jiff::Timestamp;
use serde::Serialize;

use super::{check_profiles, names};
use crate::store::StoredRun;

/// Which runs and cells are asked for. What is empty asks for all.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Filter {
    /// Ids, starts of ids, or names of profiles.
    pub profile: Vec<String>,
    /// Ids or names of hosts.
    pub host: Vec<String>,
    /// Labels with the values that they may have. A host must have all of the labels.
    pub label: BTreeMap<String, Vec<String>>,
    /// Scenarios.
    pub scenario: Vec<Scenario>,
    /// Spawners.
    pub spawner: Vec<Spawner>,
    /// Texts of which the build's key contains one.
    pub build: Vec<String>,
    /// No run that ended before.
    pub since: Option<Timestamp>,
    /// No run that ended then or later.
    pub until: Option<Timestamp>,
    /// Whether suspect runs enter medians.
    pub include_suspect: bool,
}

/// A part of a filter without which something would match.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hint {
    /// What was typed for it.
    pub without: String,
    /// The runs that would match.
    pub runs: u64,
    /// Their hosts.
    pub hosts: u64,
}

impl Filter {
    /// The runs that are asked for.
    #[must_use]
    pub fn runs<'a>(&self, runs: &'a [StoredRun]) -> Vec<&'a StoredRun> {
        runs.iter().filter(|run| self.wants_run(run)).collect()
    }

    /// Whether a run ended in the time that is asked for.
    #[must_use]
    pub fn in_window(&self, run: &StoredRun) -> bool {
        // Stores keep microseconds, and select by them.
        let time_us = run.time().as_microsecond();
        let is_before = |end: Timestamp| time_us < end.as_microsecond();
        !self.since.is_some_and(is_before) && self.until.is_none_or(is_before)
    }

    /// Whether a run is asked for, and has a cell that is.
    #[must_use]
    pub fn wants_run(&self, run: &StoredRun) -> bool {
        let report = &run.report;
        let is_any = |wanted: &[String], is: &dyn Fn(&str) -> bool| {
            wanted.is_empty() || wanted.iter().any(|wanted| is(wanted))
        };
        let build = || report.build.key();
        let series = report.series.iter().map(|series| &series.cell);
        let mut cells = report.cells.iter().chain(series);
        self.in_window(run)
            && is_any(&self.profile, &|wanted| names::is_of(report, wanted))
            && self.wants_host(report)
            && self.label.iter().all(|(key, values)| {
                report.labels.get(key).is_some_and(|value| values.contains(value))
            })
            && (self.build.is_empty() || is_any(&self.build, &|wanted| build().contains(wanted)))
            && cells.any(|cell| self.wants(cell.key.scenario, cell.key.spawner))
    }

    /// Whether the host of this run is asked for.
    #[must_use]
    pub fn wants_host(&self, report: &Report) -> bool {
        let is = |wanted: &String| report.host.id.as_str() == wanted || report.host.name == *wanted;
        self.host.is_empty() || self.host.iter().any(is)
    }

    /// Whether a scenario is asked for.
    #[must_use]
    pub fn wants_scenario(&self, scenario: Scenario) -> bool {
        self.scenario.is_empty() || self.scenario.contains(&scenario)
    }

    /// Whether a cell is asked for.
    #[must_use]
    pub fn wants(&self, scenario: Scenario, spawner: Spawner) -> bool {
        self.wants_scenario(scenario)
            && (self.spawner.is_empty() || self.spawner.contains(&spawner))
    }

    /// The parts without which something of these runs would match, each by itself.
    #[must_use]
    pub fn hints(&self, runs: &[StoredRun]) -> Vec<Hint> {
        self.parts()
            .into_iter()
            .filter_map(|(without, filter)| {
                let found = filter.runs(runs);
                let hosts: BTreeSet<&HostId> =
                    found.iter().map(|run| &run.report.host.id).collect();
                let (runs, hosts) = (count(found.len()), count(hosts.len()));
                (runs > 0).then_some(Hint { without, runs, hosts })
            })
            .collect()
    }

    /// Each part as it is typed, with the filter that is left without it.
    fn parts(&self) -> Vec<(String, Self)> {
        let mut parts = Vec::new();
        let mut part = |typed: String, without: &dyn Fn(&mut Self)| {
            let mut filter = self.clone();
            without(&mut filter);
            if filter != *self {
                parts.push((typed, filter));
            }
        };
        part(flag("profile", &self.profile), &|filter| filter.profile.clear());
        part(flag("host", &self.host), &|filter| filter.host.clear());
        for (key, values) in &self.label {
            let values: Vec<String> = values.iter().map(|value| format!("{key}={value}")).collect();
            part(flag("label", &values), &|filter| drop(filter.label.remove(key)));
        }
        part(flag("scenario", &self.scenario), &|filter| filter.scenario.clear());
        part(flag("spawner", &self.spawner), &|filter| filter.spawner.clear());
        part(flag("build", &self.build), &|filter| filter.build.clear());
        part(flag("since", self.since.as_slice()), &|filter| filter.since = None);
        part(flag("until", self.until.as_slice()), &|filter| filter.until = None);
        parts
    }
}

fn flag(name: &str, values: &[impl ToString]) -> String {
    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
    format!("--{name} {}", values.join(","))
}

/// Says why nothing of these runs matches: a profile that is none, or the parts of the filter.
#[must_use]
pub fn why_nothing(runs: &[StoredRun], filter: &Filter) -> String {
    match check_profiles(runs, &filter.profile) {
        Err(unknown) => unknown.to_string(),
        Ok(()) => what_would_match(runs, filter),
    }
}

/// Says that nothing of these runs matches, and without which part of the filter something would.
#[must_use]
pub fn what_would_match(runs: &[StoredRun], filter: &Filter) -> String {
    let hints: Vec<String> = filter.hints(runs).iter().map(ToString::to_string).collect();
    let newest = runs.iter().map(StoredRun::time).max();
    match (hints.is_empty(), newest) {
        (false, _) => format!("nothing matches; {}", hints.join(", ")),
        (true, Some(newest)) => {
            let runs = grouped(count(runs.len()));
            let newest = newest.strftime("%Y-%m-%dT%H:%M:%SZ");
            format!("nothing matches; ask for less: there are {runs} runs, the newest of {newest}")
        }
        (true, None) => "nothing matches; the store holds no runs yet".to_owned(),
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { without, runs, hosts } = self;
        let plural = |number: u64| if number == 1 { "" } else { "s" };
        let (run, host) = (plural(*runs), plural(*hosts));
        let (runs, hosts) = (grouped(*runs), grouped(*hosts));
        write!(f, "without {without} {runs} run{run} of {hosts} host{host} would")
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;

    use super::*;
    use crate::testing;

    fn run(host: &str, change: impl FnOnce(&mut fleetmark_proto::report::Report)) -> StoredRun {
        let mut report = testing::pair(host, 0.5);
        change(&mut report);
        StoredRun { received_at: report.ended_at, sent_at: None, report }
    }

    #[test]
    fn each_part_chooses() {
        let wanted = run("a", |report| {
            report.labels = [("env", "prod"), ("rack", "7")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into();
            report.build.tokio = "1.55.0".into();
        });
        let other = run("b", |report| report.labels = [("env".into(), "test".into())].into());
        let now = wanted.time();
        let label = |pairs: &[(&str, &str)]| {
            let mut label: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (key, value) in pairs {
                label.entry((*key).to_owned()).or_default().push((*value).to_owned());
            }
            Filter { label, ..Filter::default() }
        };
        let cases = [
            (Filter::default(), [true, true]),
            (Filter { host: vec!["a".into()], ..Filter::default() }, [true, false]),
            (Filter { host: vec!["b.example".into()], ..Filter::default() }, [false, true]),
            (Filter { host: vec!["a".into(), "b".into()], ..Filter::default() }, [true, true]),
            (Filter { build: vec!["tokio 1.55".into()], ..Filter::default() }, [true, false]),
            (label(&[("env", "prod")]), [true, false]),
            (label(&[("env", "prod"), ("env", "test")]), [true, true]),
            (label(&[("env", "prod"), ("rack", "8")]), [false, false]),
            (Filter { since: Some(now + 1.hour()), ..Filter::default() }, [false, false]),
            (Filter { until: Some(now), ..Filter::default() }, [false, false]),
            (Filter { spawner: vec![Spawner::Rayon], ..Filter::default() }, [false, false]),
        ];
        for (filter, expected) in cases {
            let found = [&wanted, &other].map(|run| filter.wants_run(run));
            assert_eq!(found[0], expected[0], "{filter:?}");
            // Made a moment later, so the end of the window may lie between the two.
            assert!(found[1] == expected[1] || filter.until.is_some(), "{filter:?}");
        }
    }

    #[test]
    fn what_would_match_is_known() {
        let runs = [run("a", |_| {}), run("b", |_| {})];
        let filter = Filter {
            host: vec!["a".into()],
            label: [("rack".to_owned(), vec!["9".to_owned()])].into(),
            ..Filter::default()
        };
        assert!(filter.runs(&runs).is_empty());
        let hint = Hint { without: "--label rack=9".into(), runs: 1, hosts: 1 };
        assert_eq!(filter.hints(&runs), [hint], "host a alone would match without the label");
    }
}
