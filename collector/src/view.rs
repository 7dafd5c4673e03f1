//! What a report of the collector says, before anybody decides how it looks. No I/O.

mod diff;
mod export;
mod fleet;
mod known;
mod medians;
mod pruning;

pub use diff::{FacetDiff, NotOne, ProfileDiff, ProfileLabel, diff};
pub use export::{ExportedRun, export};
pub use fleet::{HostRow, ProfileRow, hosts, profiles};
pub use known::{
    AgentRow, AgentState, Issuer, Revocation, RevocationState, TokenRow, TokenState, agents, tokens,
};
pub use medians::{CellView, Filter, ProfileView, SeriesView, VerdictView, View, medians};
pub use pruning::Pruning;

use std::collections::BTreeMap;

use fleetmark_proto::{id::ProfileId, report::Report, unit::count};

use crate::store::StoredRun;

/// Whether a profile is meant by what was typed: its id, the start of its id, or its name.
fn is_meant(report: &Report, wanted: &str) -> bool {
    report.profile.name == wanted
        || (!wanted.is_empty() && report.profile.id.as_str().starts_with(wanted))
}

/// The runs of each profile, oldest first.
fn by_profile<'a>(runs: &[&'a StoredRun]) -> BTreeMap<&'a ProfileId, Vec<&'a StoredRun>> {
    let mut profiles: BTreeMap<&ProfileId, Vec<&StoredRun>> = BTreeMap::new();
    let mut runs = runs.to_vec();
    runs.sort_by_key(|run| (run.time(), run.report.id));
    for run in runs {
        profiles.entry(&run.report.profile.id).or_default().push(run);
    }
    profiles
}

/// How many of these are suspect.
fn suspect(runs: &[&StoredRun]) -> u64 {
    count(runs.iter().filter(|run| !run.report.quality.is_clean()).count())
}

/// How many of these ended before their plan did.
fn partial(runs: &[&StoredRun]) -> u64 {
    count(runs.iter().filter(|run| run.report.partial.is_some()).count())
}
