//! One spawner compared with another over the hosts of a profile.

use std::collections::BTreeSet;

use fleetmark_proto::{
    id::ReportId,
    plan::{Scenario, Spawner},
    samples::{self, Ranks},
    unit::count,
    verdict::{self, Basis, Judgement, Outcome, RatioInterval, Verdict},
};

use super::{Group, GroupKey, Newest, confidence};

/// Two spawners' values on one host, of one run.
type Pair<'g, 'a> = (&'g Newest<'a>, &'g Newest<'a>);

/// A verdict with the group that it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared<'a> {
    /// Workload and build of both sides.
    pub group: &'a GroupKey,
    /// What can be said.
    pub verdict: Verdict,
    /// Hosts that have both spawners.
    pub hosts: u64,
    /// Those of them whose own ratio says the same.
    pub agree: u64,
}

/// Compares every spawner of these groups with `against`, in the eleven cells alone. All comparisons made here share the chance of an error.
#[must_use]
pub fn compare<'a>(groups: &'a [(GroupKey, Group<'_>)], against: Spawner) -> Vec<Compared<'a>> {
    let pairs = pairs(groups, against);
    pairs
        .iter()
        .filter_map(|(key, spawner, hosts)| {
            let verdict = verdict(key.scenario, (*spawner, against), hosts, pairs.len())?;
            let own = ratios(hosts);
            let agree = own.iter().filter(|ratio| verdict.verdict.is_said_by(**ratio)).count();
            Some(Compared { group: key, verdict, hosts: count(own.len()), agree: count(agree) })
        })
        .collect()
}

/// The runs whose rounds medians of these groups go by, or, if they are to be compared with this spawner, [`compare`], and which are
/// not at hand.
#[must_use]
pub fn lacking(groups: &[(GroupKey, Group<'_>)], against: Option<Spawner>) -> BTreeSet<ReportId> {
    let alone = groups
        .iter()
        .flat_map(|(_, group)| group.spawners().filter_map(|spawner| group.only(spawner)));
    let pairs = against.map_or_else(Vec::new, |against| pairs(groups, against));
    let few = pairs.iter().filter(|(.., hosts)| !suffice(hosts, pairs.len()));
    let compared = few.flat_map(|(.., hosts)| hosts.iter().map(|(ours, _)| *ours));
    let wanted = alone.chain(compared).filter(|value| value.rounds.is_none());
    wanted.map(|value| value.run).collect()
}

/// What is compared: each spawner's values with those of `against`, group by group.
fn pairs<'g, 'a>(
    groups: &'g [(GroupKey, Group<'a>)],
    against: Spawner,
) -> Vec<(&'g GroupKey, Spawner, Vec<Pair<'g, 'a>>)> {
    groups
        .iter()
        .filter(|(key, _)| key.series.is_none())
        .flat_map(|(key, group)| {
            let others = group.spawners().filter(move |spawner| *spawner != against);
            others.map(move |spawner| (key, spawner, group.pairs(spawner, against)))
        })
        .filter(|(.., pairs)| !pairs.is_empty())
        .collect()
}

/// Compares two spawners of one group, whatever it is of, as one of `comparisons` that are made together. `None` if no host has both.
#[must_use]
pub fn compare_two(
    (key, group): &(GroupKey, Group<'_>),
    spawner: Spawner,
    against: Spawner,
    comparisons: usize,
) -> Option<Verdict> {
    let hosts = group.pairs(spawner, against);
    verdict(key.scenario, (spawner, against), &hosts, comparisons)
}

fn verdict(
    scenario: Scenario,
    (spawner, against): (Spawner, Spawner),
    hosts: &[Pair<'_, '_>],
    comparisons: usize,
) -> Option<Verdict> {
    let (judged, basis) = judge(hosts, comparisons)?;
    Some(Verdict {
        scenario,
        spawner,
        against,
        ratio: judged.ratio,
        interval: judged.interval,
        basis,
        verdict: judged.outcome,
        needed: judged.needed,
    })
}

/// Judges the ratios of the hosts' values; where these are too few, what all hosts' own rounds agree on.
fn judge(hosts: &[Pair<'_, '_>], comparisons: usize) -> Option<(Judgement, Basis)> {
    if let [only] = hosts {
        return Some((judge_rounds(only, comparisons)?, Basis::Rounds));
    }
    let ratios = ratios(hosts);
    let over_hosts = verdict::judge(&ratios, comparisons)?;
    if over_hosts.interval.is_some() {
        return Some((over_hosts, Basis::Hosts));
    }
    let own: Vec<Judgement> =
        hosts.iter().filter_map(|pair| judge_rounds(pair, comparisons)).collect();
    match agreement(&own) {
        Some(outcome) if own.len() == hosts.len() => {
            let agreed = Judgement {
                ratio: samples::median_ratio(&ratios)?,
                interval: widest(&own),
                outcome,
                needed: None,
            };
            Some((agreed, Basis::Rounds))
        }
        _ => Some((over_hosts, Basis::Hosts)),
    }
}

/// Whether as many hosts are judged by their values alone.
fn suffice(hosts: &[Pair<'_, '_>], comparisons: usize) -> bool {
    hosts.len() > 1 && Ranks::at_least(confidence(comparisons), ratios(hosts).len()).is_some()
}

/// The ratios of the hosts' values. Values too short for the clock have none.
fn ratios(hosts: &[Pair<'_, '_>]) -> Vec<f64> {
    hosts
        .iter()
        .map(|(value, other)| (value.median, other.median))
        .filter(|(ours, theirs)| ours.0 > 0 && theirs.0 > 0)
        .map(|(ours, theirs)| ours.to_f64() / theirs.to_f64())
        .collect()
}

/// Judges one host by the rounds of its run.
fn judge_rounds((value, other): &Pair<'_, '_>, comparisons: usize) -> Option<Judgement> {
    verdict::judge_rounds(value.cell()?, other.cell()?, comparisons)
}

/// What all hosts say, if it is one thing and it is something.
fn agreement(own: &[Judgement]) -> Option<Outcome> {
    let (first, others) = own.split_first()?;
    let agreed = others.iter().all(|other| other.outcome == first.outcome);
    (agreed && first.outcome != Outcome::Unresolved).then_some(first.outcome)
}

/// From the lowest end of all hosts' intervals to the highest, as sure as the least sure of them: what each host says of
/// itself lies within.
fn widest(own: &[Judgement]) -> Option<RatioInterval> {
    own.iter().filter_map(|judged| judged.interval).reduce(|one, other| RatioInterval {
        low: one.low.min(other.low),
        high: one.high.max(other.high),
        confidence: one.confidence.min(other.confidence),
    })
}

#[cfg(test)]
mod tests {
    use fleetmark_proto::report::Report;

    use super::*;
    use crate::{stats::Standing, testing};

    /// What is said of `tokio` against `thread` over hosts whose eleven rounds have these ratios.
    fn over(hosts: &[f64]) -> Verdict {
        with_votes(hosts).0
    }

    /// The same, with how many hosts there are and how many say so by themselves.
    fn with_votes(hosts: &[f64]) -> (Verdict, [u64; 2]) {
        let reports: Vec<Report> = hosts
            .iter()
            .enumerate()
            .map(|(index, ratio)| testing::pair(&format!("host-{index}"), *ratio))
            .collect();
        let mut group = Group::default();
        for report in &reports {
            for cell in &report.cells {
                group.add(report, cell, Standing::Counts);
            }
        }
        let groups = [(testing::group_key(&reports[0]), group)];
        let [compared] = &compare(&groups, Spawner::Thread)[..] else { panic!("one comparison") };
        (compared.verdict.clone(), [compared.hosts, compared.agree])
    }

    #[test]
    fn one_host_speaks_for_itself() {
        let verdict = over(&[0.5]);
        assert_eq!((verdict.verdict, verdict.basis), (Outcome::Faster, Basis::Rounds));
        assert!(verdict.interval.is_some());
    }

    #[test]
    fn few_hosts_must_agree() {
        let agreed = over(&[0.5, 0.6, 0.7]);
        assert_eq!((agreed.verdict, agreed.basis), (Outcome::Faster, Basis::Rounds));
        assert!((agreed.ratio - 0.6).abs() < 0.01, "{agreed:?}");
        let split = over(&[0.5, 1.5, 1.0]);
        assert_eq!((split.verdict, split.basis), (Outcome::Unresolved, Basis::Hosts));
        assert_eq!(split.needed, Some(6), "a single comparison at 95% takes six hosts");
    }

    #[test]
    fn hosts_that_say_the_same_are_counted() {
        let mut ratios = vec![0.5; 12];
        assert_eq!(with_votes(&ratios).1, [12, 12]);
        ratios[0] = 1.5;
        let (verdict, votes) = with_votes(&ratios);
        assert_eq!((verdict.verdict, votes), (Outcome::Faster, [12, 11]));
        assert_eq!(with_votes(&[0.5, 1.5, 1.0]).1, [3, 0], "nothing is said");
    }

    #[test]
    fn many_hosts_are_judged_by_their_values() {
        let verdict = over(&[0.5, 0.52, 0.49, 0.51, 0.53, 0.48]);
        assert_eq!((verdict.verdict, verdict.basis), (Outcome::Faster, Basis::Hosts));
        let split = over(&[0.5, 0.52, 0.49, 1.51, 1.53, 1.48]);
        assert_eq!(split.verdict, Outcome::Unresolved);
    }
}
