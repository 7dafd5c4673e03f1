//! A side of a comparison: which runs are meant by what was typed for it.

use std::{collections::BTreeMap, fmt, str::FromStr};

use fleetmark_proto::shell::value::{self, Since};
use jiff::{Span, Timestamp};
use serde::{Serialize, Serializer};
use strsim::normalized_damerau_levenshtein as likeness;

use super::{Facet, Filter, NotOne, check_profiles, names};
use crate::store::StoredRun;

/// The runs that have all of some facets, in some time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Side {
    /// As it was typed.
    typed: String,
    facets: Vec<(Facet, String)>,
    time: Option<Window>,
}

/// From a time, or the beginning, until another, or now.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Window {
    since: Option<Since>,
    until: Option<Since>,
}

impl Side {
    /// The facet by which this side is chosen, if it is by this one.
    #[must_use]
    pub fn names(&self, facet: &Facet) -> bool {
        self.facets.iter().any(|(named, _)| named == facet)
    }

    /// The filter with this side's own time, if it has one, in place of the filter's.
    #[must_use]
    pub fn window(&self, filter: &Filter, now: Timestamp) -> Filter {
        let Some(Window { since, until }) = self.time else { return filter.clone() };
        let at = |time: Since| time.before(now);
        Filter { since: since.map(at), until: until.map(at), ..filter.clone() }
    }

    /// The flags that have a report be of the same runs, with their values; `None` if none would.
    #[must_use]
    pub fn query(&self) -> Option<Vec<(&'static str, String)>> {
        let flag = |(facet, value): &(Facet, String)| match facet {
            Facet::Profile => Some(("profile", value.clone())),
            Facet::Host => Some(("host", value.clone())),
            Facet::Build => Some(("build", value.clone())),
            Facet::Label(key) => Some(("label", format!("{key}={value}"))),
            _ => None,
        };
        let flags = self.facets.iter().map(flag).collect::<Option<Vec<_>>>()?;
        // Of one flag with several values, any will do; a side has all.
        let mut keys: Vec<&str> = flags.iter().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        let is_plain = self.time.is_none() && keys.windows(2).all(|pair| pair[0] != pair[1]);
        is_plain.then_some(flags)
    }

    /// Whether a run has all facets of this side.
    #[must_use]
    pub fn holds(&self, run: &StoredRun) -> bool {
        self.facets.iter().all(|(facet, wanted)| is_of(facet, wanted, run))
    }

    /// Checks that each profile which is named exists, and is one.
    ///
    /// # Errors
    ///
    /// If one does not, or is the start of several ids.
    pub fn check_profiles(&self, runs: &[StoredRun]) -> Result<(), NotOne> {
        let profiles = self.facets.iter().filter(|(facet, _)| *facet == Facet::Profile);
        let profiles: Vec<String> = profiles.map(|(_, wanted)| wanted.clone()).collect();
        check_profiles(runs, &profiles)
    }

    /// Why none of these runs, which all else that is asked for lets in, is on this side: what the facet is on them that keeps them out.
    #[must_use]
    pub fn why_nothing(&self, runs: &[&StoredRun]) -> String {
        for (facet, wanted) in &self.facets {
            if runs.iter().any(|run| is_of(facet, wanted, run)) {
                continue;
            }
            let mut found: BTreeMap<String, u64> = BTreeMap::new();
            for run in runs {
                *found.entry(facet.of(run)).or_default() += 1;
            }
            let mut found: Vec<String> = found.into_keys().collect();
            // A part of a value is what people remember of it.
            let like = |value: &str| match value.contains(wanted.as_str()) {
                true => 1.0,
                false => likeness(value, wanted),
            };
            found.sort_by(|a, b| like(b).total_cmp(&like(a)));
            let more = if found.len() > 5 { " and others" } else { "" };
            found.truncate(5);
            return format!("{facet} is {}{more}", found.join(", "));
        }
        "no run has all of that".to_owned()
    }
}

/// Whether a facet of a run is what was typed.
fn is_of(facet: &Facet, wanted: &str, run: &StoredRun) -> bool {
    match facet {
        Facet::Profile => names::is_of(&run.report, wanted),
        Facet::Host => run.report.host.id.as_str() == wanted || run.report.host.name == wanted,
        Facet::Build => run.report.build.key().contains(wanted),
        facet => facet.of(run) == wanted,
    }
}

impl FromStr for Side {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut side = Self { typed: text.to_owned(), facets: Vec::new(), time: None };
        for part in text.split(',') {
            match part.split_once('=') {
                Some(("time", range)) if side.time.is_none() => side.time = Some(window(range)?),
                Some(("time", _)) => return Err("has two times".to_owned()),
                Some((name, value)) => {
                    let facet = name.parse().map_err(|error| {
                        format!("no facet is called {name:?}: it {error}, or time=FROM..TO")
                    })?;
                    side.facets.push((facet, value.to_owned()));
                }
                None => match side.facets.last_mut() {
                    // Names of CPUs have commas.
                    Some((facet, value)) if *facet != Facet::Profile => {
                        value.push(',');
                        value.push_str(part);
                    }
                    Some(_) => return Err(format!("{part:?} is a second profile")),
                    None => side.facets.push((Facet::Profile, part.to_owned())),
                },
            }
        }
        match side.facets.iter().find(|(_, value)| value.is_empty()) {
            Some(_) => Err("must be a profile, or FACET=VALUE such as kernel=6.12.41, \
                            label.env=prod or time=30d..7d; several are joined by commas"
                .to_owned()),
            None => Ok(side),
        }
    }
}

/// `FROM..TO`, each a duration back from now, a time, or nothing.
fn window(text: &str) -> Result<Window, String> {
    const FORM: &str = "time must be FROM..TO, each a duration back from now or a time, such as \
                        time=30d..7d, time=7d.. or time=2026-11-01T00:00:00Z..2026-11-08T00:00:00Z";
    let (since, until) = text.split_once("..").ok_or(FORM)?;
    let open = |text: &str| {
        let is_now = text.parse::<Span>().is_ok_and(|span| span.is_zero());
        text.is_empty() || text == "now" || is_now
    };
    let end = |text: &str| match open(text) {
        true => Ok(None),
        false => value::since(text).map(Some).map_err(|_| FORM.to_owned()),
    };
    let (since, until) = (end(since)?, end(until)?);
    let turned = match (since, until) {
        (Some(Since::Ago(since)), Some(Since::Ago(until))) => since <= until,
        (Some(Since::At(since)), Some(Since::At(until))) => since >= until,
        _ => false,
    };
    match turned {
        true => Err("time must begin before it ends, such as time=30d..7d".to_owned()),
        false => Ok(Window { since, until }),
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.typed)
    }
}

impl Serialize for Side {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;

    use super::*;
    use crate::testing;

    fn run() -> StoredRun {
        let mut report = testing::report("a", &[1]);
        report.system.kernel = Some("6.12.41".into());
        report.labels.insert("env".into(), "prod".into());
        StoredRun { received_at: report.ended_at, sent_at: None, report }
    }

    #[test]
    fn a_side_is_what_was_typed() {
        let run = run();
        let id = run.report.profile.id.as_str().to_owned();
        for yes in [
            "amd-epyc-2c1t-vm-24g",
            &id[..5],
            "kernel=6.12.41",
            "tokio=1.54.1",
            "build=tokio 1.54",
            "label.env=prod",
            "host=a.example",
            "cpu-model=AMD EPYC",
            &format!("{id},kernel=6.12.41,label.rack=7"),
            &format!("label.env=prod,profile={id}"),
        ] {
            assert!(yes.parse::<Side>().unwrap().holds(&run), "{yes}");
        }
        for no in ["kernel=6.12", "tokio=1.54", "label.env=test", "arm", "kernel=6.12.41,host=b"] {
            assert!(!no.parse::<Side>().unwrap().holds(&run), "{no}");
        }
        let comma: Side = "cpu-model=Some, Inc. CPU,kernel=6".parse().unwrap();
        assert_eq!(comma.facets[0].1, "Some, Inc. CPU");
        assert_eq!(comma.to_string(), "cpu-model=Some, Inc. CPU,kernel=6");
    }

    #[test]
    fn what_is_no_side_is_told_in_a_line() {
        for (wrong, says) in [
            ("", "must be a profile"),
            ("kernel=", "must be a profile"),
            ("a,b", "second profile"),
            ("kernl=6", "no facet is called \"kernl\": it must be one of profile, host,"),
            ("time=7d", "time must be FROM..TO"),
            ("time=x..y", "time must be FROM..TO"),
            ("time=7d..30d", "must begin before it ends"),
            ("time=7d..7d", "must begin before it ends"),
            ("time=7d..,time=8d..", "two times"),
        ] {
            let line = wrong.parse::<Side>().unwrap_err();
            assert!(line.contains(says) && line.lines().count() == 1, "{wrong}: {line}");
        }
    }

    #[test]
    fn a_time_takes_the_place_of_the_filters() {
        let now: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
        let asked = Filter { since: Some(now - 1.hour()), ..Filter::default() };
        let window = |text: &str| {
            let filter = text.parse::<Side>().unwrap().window(&asked, now);
            (filter.since, filter.until)
        };
        let ago = |days: i64| Some(now - (24 * days).hours());
        assert_eq!(window("kernel=6"), (asked.since, None));
        assert_eq!(window("time=30d..7d"), (ago(30), ago(7)));
        assert_eq!(window("time=7d..0d"), (ago(7), None));
        assert_eq!(window("time=7d..now,kernel=6"), (ago(7), None));
        assert_eq!(window("time=..7d"), (None, ago(7)));
        assert_eq!(window("time=2026-11-24T12:00:00Z.."), (ago(1), None));
    }

    #[test]
    fn what_keeps_runs_out_is_told() {
        let run = run();
        let side: Side = "label.env=prod,kernel=6.12.14".parse().unwrap();
        assert_eq!(side.why_nothing(&[&run]), "kernel is 6.12.41");
    }

    #[test]
    fn what_a_report_can_be_of_is_a_query() {
        let query = |typed: &str| typed.parse::<Side>().unwrap().query();
        assert_eq!(query("a47b"), Some(vec![("profile", "a47b".to_owned())]));
        let two = query("build=tokio 1.55,label.env=prod").unwrap();
        assert_eq!(two, [("build", "tokio 1.55".to_owned()), ("label", "env=prod".to_owned())]);
        for other in ["kernel=6.12", "time=7d..1d", "label.a=1,label.b=2", "host=a,tokio=1.55.0"] {
            assert_eq!(query(other), None, "{other}");
        }
    }
}
