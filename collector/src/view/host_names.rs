//! Which host somebody means.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use fleetmark_proto::{id::HostId, report::Report};
use serde::Serialize;
use strsim::normalized_damerau_levenshtein as likeness;

use crate::store::StoredRun;

/// What a host is called.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct HostLabel {
    /// What it is known by.
    pub id: HostId,
    /// What it calls itself; not unique.
    pub name: String,
}

impl From<&Report> for HostLabel {
    fn from(report: &Report) -> Self {
        Self { id: report.host.id.clone(), name: report.host.name.clone() }
    }
}

impl fmt::Display for HostLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id.as_str() == self.name {
            true => write!(f, "{}", self.id),
            false => write!(f, "{} ({})", self.id, self.name),
        }
    }
}

/// What was typed does not name one host.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotOneHost {
    /// It names none.
    #[error("no host is called {wanted:?}; {}", what_there_is(.nearest))]
    Unknown {
        /// What was typed.
        wanted: String,
        /// Those whose ids or names are most like it, first the likeliest.
        nearest: Vec<HostLabel>,
    },
    /// It names several.
    #[error("{wanted:?} is {}; give the id", listed(.candidates))]
    Ambiguous {
        /// What was typed.
        wanted: String,
        /// Those that it names.
        candidates: Vec<HostLabel>,
    },
}

/// How many hosts one line lists.
const MOST: usize = 8;

fn what_there_is(nearest: &[HostLabel]) -> String {
    match nearest.is_empty() {
        true => "the store holds none".to_owned(),
        false => format!("the nearest: {}", listed(nearest)),
    }
}

fn listed(labels: &[HostLabel]) -> String {
    let mut shown: Vec<String> = labels.iter().take(MOST).map(ToString::to_string).collect();
    if labels.len() > MOST {
        shown.push(format!("and {} more that `hosts` lists", labels.len() - MOST));
    }
    shown.join(", ")
}

/// Each host with what its newest run calls it.
fn labels(runs: &[StoredRun]) -> BTreeMap<&HostId, &StoredRun> {
    let mut all: BTreeMap<&HostId, &StoredRun> = BTreeMap::new();
    for run in runs {
        let newest = all.entry(&run.report.host.id).or_insert(run);
        if (newest.time(), newest.report.id) < (run.time(), run.report.id) {
            *newest = run;
        }
    }
    all
}

/// The one host that is meant by its id, or by a name that it has or had.
///
/// # Errors
///
/// If none is, or several are.
pub fn one_host(runs: &[StoredRun], wanted: &str) -> Result<HostLabel, NotOneHost> {
    let all = labels(runs);
    let label = |id: &HostId| all.get(id).map(|run| HostLabel::from(&run.report));
    let by_id = runs.iter().find(|run| run.report.host.id.as_str() == wanted);
    if let Some(found) = by_id.and_then(|run| label(&run.report.host.id)) {
        return Ok(found);
    }
    let named = runs.iter().filter(|run| run.report.host.name == wanted);
    let meant: BTreeSet<&HostId> = named.map(|run| &run.report.host.id).collect();
    let mut meant: Vec<HostLabel> = meant.into_iter().filter_map(label).collect();
    match meant.len() {
        0 => {
            let nearest =
                nearest(all.values().map(|run| HostLabel::from(&run.report)).collect(), wanted);
            Err(NotOneHost::Unknown { wanted: wanted.to_owned(), nearest })
        }
        1 => Ok(meant.remove(0)),
        _ => Err(NotOneHost::Ambiguous { wanted: wanted.to_owned(), candidates: meant }),
    }
}

/// All hosts, those first whose id or name is most like what was typed.
fn nearest(labels: Vec<HostLabel>, wanted: &str) -> Vec<HostLabel> {
    let wanted = wanted.to_lowercase();
    let like = |text: &str| match !wanted.is_empty() && text.to_lowercase().contains(&wanted) {
        // A part of a name is what people remember of it.
        true => 1.0,
        false => likeness(&text.to_lowercase(), &wanted),
    };
    let mut labels: Vec<(f64, HostLabel)> = labels
        .into_iter()
        .map(|label| (like(label.id.as_str()).max(like(&label.name)), label))
        .collect();
    labels.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    labels.into_iter().map(|(_, label)| label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn run(id: &str, name: &str) -> StoredRun {
        let mut report = testing::report(id, &[1]);
        report.host.name = name.to_owned();
        StoredRun { received_at: report.ended_at, sent_at: None, report }
    }

    #[test]
    fn a_host_is_meant_by_its_id_or_its_name() {
        let runs = [run("i-1", "web"), run("i-2", "db"), run("db", "other"), run("i-3", "web")];
        let id = |wanted: &str| one_host(&runs, wanted).map(|label| label.id.to_string());
        assert_eq!(id("i-1"), Ok("i-1".to_owned()));
        assert_eq!(id("other"), Ok("db".to_owned()));
        assert_eq!(id("db"), Ok("db".to_owned()), "an id comes before a name");
        let several = id("web").unwrap_err().to_string();
        assert_eq!(several, "\"web\" is i-1 (web), i-3 (web); give the id");
        let unknown = id("i-4").unwrap_err().to_string();
        assert!(unknown.starts_with("no host is called \"i-4\"; the nearest: i-1 (web), "));
        let part = id("othe").unwrap_err().to_string();
        assert!(part.contains("the nearest: db (other), "), "{part}");
        assert_eq!(
            one_host(&[], "x").unwrap_err().to_string(),
            "no host is called \"x\"; the store holds none"
        );
    }
}
