//! Where each host stands among those of its group.

use std::collections::BTreeSet;

use fleetmark_proto::{
    id::HostId,
    plan::{Scenario, Spawner, Workload},
    samples::{median, median_ratio},
    unit::Nanos,
};

use super::{FacetValue, Filter, Question, grouped, medians::groups};
use crate::{stats::collided, store::StoredRun};

/// Fewer hosts than this do not tell who stands out.
const FEWEST: usize = 12;
/// A modified z-score over this stands out.
const FAR: f64 = 3.5;
/// But only if it is this many times as slow as the median.
const OFF: f64 = 1.05;
/// By what the distance to the median, in median distances, is a standard score.
const TO_Z: f64 = 0.6745;

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
    /// Whether it is far slower than the others are from each other: modified z-score over 3.5 and at least 5%, of twelve hosts or more.
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
            let Some(median) = median(&values.iter().map(|it| it.1).collect::<Vec<_>>()) else {
                continue;
            };
            if values.len() < 2 || median.0 == 0 {
                continue;
            }
            let ratio = |value: Nanos| value.to_f64() / median.to_f64();
            let far = far(&values.iter().map(|it| ratio(it.1)).collect::<Vec<_>>());
            let host = |(report, value): (&fleetmark_proto::report::Report, Nanos)| HostValue {
                id: report.host.id.clone(),
                name: report.host.name.clone(),
                value,
                ratio: ratio(value),
                stands_out: far.is_some_and(|far| ratio(value) > far),
            };
            let mut hosts: Vec<HostValue> = values.into_iter().map(host).collect();
            hosts.sort_by(|a, b| (a.value, &a.id).cmp(&(b.value, &b.id)));
            cells.push(CellSpread {
                scenario: key.scenario,
                spawner,
                workload: key.workload,
                units: key.units,
                build: key.build.clone(),
                median,
                hosts,
            });
        }
    }
    let by = question.by.iter().map(|facet| FacetValue::of(facet, newest)).collect();
    Some(Spread { by, cells })
}

/// The ratio to the median over which a host stands out; `None` if there are too few to tell.
fn far(ratios: &[f64]) -> Option<f64> {
    if ratios.len() < FEWEST {
        return None;
    }
    let middle = median_ratio(ratios)?;
    let distances: Vec<f64> = ratios.iter().map(|ratio| (ratio - middle).abs()).collect();
    let distance = median_ratio(&distances)?;
    Some((middle + FAR * distance / TO_Z).max(middle * OFF))
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
