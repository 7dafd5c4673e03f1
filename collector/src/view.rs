//! What a report of the collector says, before anybody decides how it looks. No I/O.

mod advise;
mod arrivals;
mod compare;
mod diff;
mod export;
mod facet;
mod fact;
mod filter;
mod fleet;
mod history;
mod host;
mod host_names;
mod kept;
mod known;
mod medians;
mod names;
mod outliers;
mod pruning;
mod scaling;
mod side;
mod spread;

pub use advise::{
    Advice, Fit, GoodFromView, Missing, ProfileAdvice, SpawnerAdvice, Work, WorkAdvice, advise,
};
pub use arrivals::{Arrival, Choices, arrivals};
pub use compare::{
    AgainstBase, BuildView, Compared, Comparison, Differs, NotComparable, SideView, compare,
    earliest, only_earlier,
};
pub use diff::{FacetDiff, ProfileDiff, diff};
pub use export::{CellSamples, ExportedRun, Samples, help as export_help, samples};
pub use facet::{Facet, FacetValue};
pub use fact::{BOOT, Change, Difference};
pub use filter::{Filter, Hint, what_would_match, why_nothing};
pub use fleet::{HostRow, ProfileRow, hosts, profiles};
pub use history::{Bucket, GroupChange, History, Jump, Line, Point, PointState, Subject, history};
pub use host::{BuildRow, CellRow, HostView, Reason, RunRow, around, host};
pub use host_names::{HostLabel, NotOneHost, one_host};
pub use kept::{Draft, unshared};
pub use known::{
    AgentRow, AgentState, Issuer, Revocation, RevocationState, TokenRow, TokenState, agents, tokens,
};
pub use medians::{CellView, ProfileView, Question, SeriesView, VerdictView, View, medians};
pub use names::{NotOne, ProfileLabel, check_profiles};
pub use outliers::{
    Looked, LookedState, OutliersView, SlowCellView, SlowHost, SlowState, outliers,
};
pub use pruning::Pruning;
pub use scaling::Scaling;
pub use side::Side;
pub use spread::{CellSpread, HostValue, Spread, spreads, spreads_of_all};

use std::collections::BTreeMap;

use fleetmark_proto::unit::count;

use crate::store::StoredRun;

/// The runs of each group, oldest first.
fn grouped<'a>(runs: &[&'a StoredRun], by: &[Facet]) -> BTreeMap<Vec<String>, Vec<&'a StoredRun>> {
    let mut groups: BTreeMap<Vec<String>, Vec<&StoredRun>> = BTreeMap::new();
    let mut runs = runs.to_vec();
    runs.sort_by_key(|run| (run.time(), run.report.id));
    for run in runs {
        let values = by.iter().map(|facet| facet.of(run)).collect();
        groups.entry(values).or_default().push(run);
    }
    groups
}

/// How many of these are suspect.
fn suspect(runs: &[&StoredRun]) -> u64 {
    count(runs.iter().filter(|run| !run.report.quality.is_clean()).count())
}

/// How many of these ended before their plan did.
fn partial(runs: &[&StoredRun]) -> u64 {
    count(runs.iter().filter(|run| run.report.partial.is_some()).count())
}
