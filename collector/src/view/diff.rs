//! What parts two hardware profiles.

use serde::Serialize;

use super::names::{NotOne, ProfileLabel, one};
use crate::store::StoredRun;

/// Two profiles, and the facets in which they differ.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ProfileDiff {
    schema: &'static str,
    /// The first.
    pub a: ProfileLabel,
    /// The second.
    pub b: ProfileLabel,
    /// The facets that differ, in the order of the key; none if it is the same hardware.
    pub facets: Vec<FacetDiff>,
}

/// A facet that differs.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct FacetDiff {
    /// The name of the facet, as in the key.
    pub facet: &'static str,
    /// What it is in the first profile; `unknown` where its hosts do not show it.
    pub a: String,
    /// What it is in the second.
    pub b: String,
}

/// What parts the profiles that `a` and `b` name: each by its name, its id, or the start of its id.
///
/// # Errors
///
/// If one of them names no profile, or several.
pub fn diff(runs: &[StoredRun], a: &str, b: &str) -> Result<ProfileDiff, NotOne> {
    let ((a, a_facets), (b, b_facets)) = (one(runs, a)?, one(runs, b)?);
    let both = a_facets.named().into_iter().zip(b_facets.named());
    let facets = both
        .filter(|((_, a), (_, b))| a != b)
        .map(|((facet, a), (_, b))| FacetDiff { facet, a, b })
        .collect();
    Ok(ProfileDiff { schema: "fleetmark.profile-diff/1", a, b, facets })
}

#[cfg(test)]
mod tests {
    use fleetmark_proto::profile::{Facets, Profile};

    use super::*;
    use crate::testing::report;

    fn run(host: &str, change: impl FnOnce(&mut Facets)) -> StoredRun {
        let mut report = report(host, &[1_000]);
        change(&mut report.profile.facets);
        report.profile = Profile::new(report.profile.facets, None);
        StoredRun { received_at: report.ended_at, sent_at: None, report }
    }

    #[test]
    fn only_what_differs_is_told_in_the_order_of_the_key() {
        let runs = [
            run("one", |_| {}),
            run("two", |facets| {
                facets.memory_class_mib = None;
                facets.cpu_family = Some("23".into());
            }),
        ];
        let ids: Vec<&str> = runs.iter().map(|run| run.report.profile.id.as_str()).collect();
        let found = diff(&runs, ids[0], &ids[1][..8]).unwrap();
        let facets: Vec<_> = found
            .facets
            .iter()
            .map(|differs| (differs.facet, differs.a.as_str(), differs.b.as_str()))
            .collect();
        let expected = [("cpu_family", "25", "23"), ("memory_class_mib", "24576", "unknown")];
        assert_eq!(facets, expected);
        assert_eq!(diff(&runs, ids[0], "amd-epyc-2c1t-vm-24g").unwrap().facets, []);
    }

    #[test]
    fn what_names_none_or_several_is_told_with_what_there_is() {
        let runs: Vec<StoredRun> = (0..10)
            .map(|family| run("host", |facets| facets.cpu_family = Some(family.to_string())))
            .collect();
        let name = "amd-epyc-2c1t-vm-24g";
        let line = |wanted: &str| diff(&runs, wanted, name).unwrap_err().to_string();
        let unknown = line("arm");
        assert!(unknown.starts_with("no profile is called \"arm\"; the nearest: "), "{unknown}");
        assert!(unknown.ends_with(", and 2 more that `profiles` lists"), "{unknown}");
        let several = line(name);
        assert!(several.starts_with("\"amd-epyc-2c1t-vm-24g\" is amd-epyc-2c1t-vm-24g ("));
        assert!(several.ends_with("; give more of the id"), "{several}");
        assert!(line("").starts_with("no profile is called \"\""), "nothing names nothing");
        assert_eq!(
            diff(&[], "a", "b").unwrap_err().to_string(),
            "no profile is called \"a\"; the store holds none"
        );
    }
}
