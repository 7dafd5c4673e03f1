//! Which profile somebody means.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use fleetmark_proto::{
    id::ProfileId,
    profile::{Facets, Profile},
    report::Report,
};
use serde::Serialize;
use strsim::normalized_damerau_levenshtein as likeness;

use crate::store::StoredRun;

/// What a profile is called.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ProfileLabel {
    /// Short hash of the profile's key.
    pub id: ProfileId,
    /// Readable, not unique.
    pub name: String,
}

impl From<&Profile> for ProfileLabel {
    fn from(profile: &Profile) -> Self {
        Self { name: profile.name.clone(), id: profile.id.clone() }
    }
}

impl fmt::Display for ProfileLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.id)
    }
}

/// What was typed does not name one profile.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotOne {
    /// It names none.
    #[error("no profile is called {wanted:?}; {}", what_there_is(.nearest))]
    Unknown {
        /// What was typed.
        wanted: String,
        /// Those whose names are most like it, first the likeliest.
        nearest: Vec<ProfileLabel>,
    },
    /// It names several.
    #[error("{wanted:?} is {}; give more of the id", listed(.candidates))]
    Ambiguous {
        /// What was typed.
        wanted: String,
        /// Those that it names.
        candidates: Vec<ProfileLabel>,
    },
}

fn what_there_is(labels: &[ProfileLabel]) -> String {
    if labels.is_empty() {
        return "the store holds none".to_owned();
    }
    format!("the nearest: {}", listed(labels))
}

/// The first few, on one line.
fn listed(labels: &[ProfileLabel]) -> String {
    const MOST: usize = 8;
    let mut shown: Vec<String> = labels.iter().take(MOST).map(ToString::to_string).collect();
    if labels.len() > MOST {
        shown.push(format!("and {} more that `profiles` lists", labels.len() - MOST));
    }
    shown.join(", ")
}

/// Whether a profile of this name and id is meant by what was typed: its id, the start of its id, or its name.
#[must_use]
pub(super) fn is_meant(name: &str, id: &str, wanted: &str) -> bool {
    name == wanted || (!wanted.is_empty() && id.starts_with(wanted))
}

/// Whether the profile of a report is.
#[must_use]
pub(super) fn is_of(report: &Report, wanted: &str) -> bool {
    is_meant(&report.profile.name, report.profile.id.as_str(), wanted)
}

/// The newest run of each profile.
fn newest(runs: &[StoredRun]) -> BTreeMap<&ProfileId, &StoredRun> {
    let mut all: BTreeMap<&ProfileId, &StoredRun> = BTreeMap::new();
    for run in runs {
        let newest = all.entry(&run.report.profile.id).or_insert(run);
        if (newest.time(), newest.report.id) < (run.time(), run.report.id) {
            *newest = run;
        }
    }
    all
}

/// The one profile that is meant, with the name that its newest run gives it.
///
/// # Errors
///
/// If none is, or several are.
pub(super) fn one<'a>(
    runs: &'a [StoredRun],
    wanted: &str,
) -> Result<(ProfileLabel, &'a Facets), NotOne> {
    let all = newest(runs);
    let meant: BTreeSet<&ProfileId> = runs
        .iter()
        .filter(|run| is_of(&run.report, wanted))
        .map(|run| &run.report.profile.id)
        .collect();
    let found: Vec<&Profile> =
        meant.iter().filter_map(|id| all.get(id)).map(|run| &run.report.profile).collect();
    match found[..] {
        [only] => Ok((only.into(), &only.facets)),
        [] => Err(NotOne::Unknown { wanted: wanted.to_owned(), nearest: nearest(&all, wanted) }),
        _ => Err(NotOne::Ambiguous {
            wanted: wanted.to_owned(),
            candidates: found.into_iter().map(ProfileLabel::from).collect(),
        }),
    }
}

/// Checks that each of these names profiles: a name all that bear it, the start of an id the one that it begins.
///
/// # Errors
///
/// If one of them names none, or is the start of several ids.
pub fn check_profiles(runs: &[StoredRun], wanted: &[String]) -> Result<(), NotOne> {
    let is_name = |wanted: &str| runs.iter().any(|run| run.report.profile.name == *wanted);
    let mut others = wanted.iter().filter(|wanted| !is_name(wanted));
    others.try_for_each(|wanted| one(runs, wanted).map(drop))
}

/// All profiles, those first whose name or id is most like what was typed.
fn nearest(all: &BTreeMap<&ProfileId, &StoredRun>, wanted: &str) -> Vec<ProfileLabel> {
    let wanted = wanted.to_lowercase();
    let mut labels: Vec<(f64, ProfileLabel)> = all
        .values()
        .map(|run| {
            let label = ProfileLabel::from(&run.report.profile);
            let like = |text: &str| match text.contains(&wanted) {
                // A part of a name is what people remember of it.
                true => 1.0,
                false => likeness(text, &wanted),
            };
            (like(&label.name).max(like(label.id.as_str())), label)
        })
        .collect();
    labels.sort_by(|a, b| {
        b.0.total_cmp(&a.0).then_with(|| (&a.1.name, &a.1.id).cmp(&(&b.1.name, &b.1.id)))
    });
    // Where it is a part of some names, the others are not like it.
    if labels.first().is_some_and(|(like, _)| *like >= 1.0) {
        labels.retain(|(like, _)| *like >= 1.0);
    }
    labels.into_iter().map(|(_, label)| label).collect()
}
