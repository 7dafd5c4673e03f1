//! Where each host stands among those of its group.

use std::collections::BTreeSet;

use fleetmark_proto::{
    id::HostId,
    plan::{Scenario, Spawner, Workload},
    report::Report,
    unit::{Nanos, count},
};

use super::{Facet, FacetValue, Filter, Question, grouped, medians::groups};
use crate::{
    stats::{HOSTS, Spread as Lie, collided},
    store::StoredRun,
};

/// The hosts of one group of a report.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    /// What makes the group.
    pub by: Vec<FacetValue>,
    /// Its cells that at least two hosts have.
    pub cells: Vec<CellSpread>,
}

/// The hosts' values of one cell.
#[derive(Clone, Debug, PartialEq)]
pub struct CellSpread {
    /// What units do.
    pub scenario: Scenario,
    /// How they are started.
    pub spawner: Spawner,
    /// What was asked.
    pub workload: Workload,
    /// The units that came of it.
    pub units: u64,
    /// What was measured with.
    pub build: String,
    /// The median of the hosts' values.
    pub median: Nanos,
    /// Each host, fastest first.
    pub hosts: Vec<HostValue>,
}

/// One host's value.
#[derive(Clone, Debug, PartialEq)]
pub struct HostValue {
    /// Which.
    pub id: HostId,
    /// What it is called.
    pub name: String,
    /// The median of its newest run that counts.
    pub value: Nanos,
    /// To the median of all.
    pub ratio: f64,
    /// Whether it is slow among the others, as `outliers` has it, of as many hosts as that takes.
    pub stands_out: bool,
}

/// Where hosts stand, group by group.
#[must_use]
pub fn spreads(runs: &[StoredRun], filter: &Filter, question: &Question) -> Vec<Spread> {
    let in_window = runs.iter().filter(|run| filter.in_window(run));
    let collided = collided(in_window.map(|run| &run.report));
    let groups = grouped(&filter.runs(runs), &question.by);
    groups.values().filter_map(|runs| spread(runs, filter, question, &collided)).collect()
}

/// Where all hosts stand, whoever is asked for, as each is judged among all others.
#[must_use]
pub fn spreads_of_all(runs: &[StoredRun], filter: &Filter, by: &[Facet]) -> Vec<Spread> {
    let all = Filter { host: vec![], ..filter.clone() };
    spreads(runs, &all, &Question { by: by.to_vec(), ..Question::default() })
}

fn spread(
    runs: &[&StoredRun],
    filter: &Filter,
    question: &Question,
    collided: &BTreeSet<&HostId>,
) -> Option<Spread> {
    let newest = runs.last()?;
    let mut cells = Vec::new();
    for (key, group) in &groups(runs, filter, collided) {
        let wanted = group.spawners().filter(|spawner| filter.wants(key.scenario, *spawner));
        for spawner in wanted.filter(|_| key.series.is_none()) {
            let values: Vec<_> = group.values(spawner).collect();
            let Some(lie) = Lie::of(&values.iter().map(|it| it.1).collect::<Vec<_>>()) else {
                continue;
            };
            if lie.hosts < 2 || lie.median.0 == 0 {
                continue;
            }
            let can_tell = lie.hosts >= count(HOSTS);
            let host = |(report, value): (&Report, Nanos)| {
                let deviation = lie.deviation(value);
                HostValue {
                    id: report.host.id.clone(),
                    name: report.host.name.clone(),
                    value,
                    ratio: deviation.ratio,
                    stands_out: can_tell && deviation.is_slow(),
                }
            };
            let mut hosts: Vec<HostValue> = values.into_iter().map(host).collect();
            hosts.sort_by(|a, b| (a.value, &a.id).cmp(&(b.value, &b.id)));
            cells.push(CellSpread {
                scenario: key.scenario,
                spawner,
                workload: key.workload,
                units: key.units,
                build: key.build.clone(),
                median: lie.median,
                hosts,
            });
        }
    }
    let by = question.by.iter().map(|facet| FacetValue::of(facet, newest)).collect();
    Some(Spread { by, cells })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn stand_out(samples: &[u64]) -> Vec<String> {
        let run = |(host, sample): (usize, &u64)| {
            let report = testing::report(&format!("h{host}"), &[*sample; 3]);
            StoredRun { received_at: report.ended_at, sent_at: None, report }
        };
        let runs: Vec<StoredRun> = samples.iter().enumerate().map(run).collect();
        let spreads = spreads(&runs, &Filter::default(), &Question::default());
        let [Spread { cells, .. }] = &spreads[..] else { panic!("one profile") };
        let hosts = cells.iter().flat_map(|cell| &cell.hosts);
        hosts.filter(|host| host.stands_out).map(|host| host.id.to_string()).collect()
    }

    #[test]
    fn who_is_far_from_all_others_stands_out() {
        let healthy: Vec<u64> = (0..11).map(|host| 10_000 + 20 * host).collect();
        let with = |slow: u64| [&healthy[..], &[slow]].concat();
        assert_eq!(stand_out(&with(12_500)), ["h11"]);
        assert_eq!(stand_out(&with(10_400)), [""; 0], "far, but less than 5% off");
        assert_eq!(stand_out(&with(5_000)), [""; 0], "who is fast is not slow");
        assert_eq!(stand_out(&[100; 11]), [""; 0]);
        assert_eq!(stand_out(&[&healthy[..10], &[12_500]].concat()), [""; 0], "eleven are too few");
        assert_eq!(
            stand_out(&[&[100; 11][..], &[104, 106]].concat()),
            ["h12"],
            "no distance at all"
        );
    }
}
