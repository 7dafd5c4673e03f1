//! Which page an address means, and what of the store it is made of.

use jiff::Timestamp;

use super::query::{Command, Typed, pairs};
use crate::{
    args::{AdviseArgs, CompareArgs, HistoryArgs, HostArgs, OutliersArgs, ReportArgs},
    render::html::{self, Choosing, Frame, Links, Page},
    store::StoredRun,
    view::{self, Choices, Filter, NotComparable, NotOne, NotOneHost, Question, View},
};

/// Runs on the first page.
const NEWEST: usize = 6;
/// Runs on the page of them.
const LISTED: usize = 200;

const REPORT: Command =
    Command { name: "report", selects: true, flags: &["by", "against"], words: None };
const COMPARE: Command =
    Command { name: "compare", selects: true, flags: &[], words: Some("side") };
const ADVISE: Command = Command { name: "advise", selects: true, flags: &[], words: None };
const HOST: Command =
    Command { name: "host", selects: false, flags: &["since"], words: Some("host") };
const HOSTS: Command = Command { name: "hosts", selects: false, flags: &[], words: None };
const OUTLIERS: Command = Command { name: "outliers", selects: true, flags: &["by"], words: None };
const HISTORY: Command =
    Command { name: "history", selects: true, flags: &["by", "bucket"], words: None };

/// What says which runs a page is about, whatever it says of them.
const CARRIED: [&str; 4] = ["label", "since", "until", "include-suspect"];

/// What somebody wants to see.
#[derive(Debug)]
pub(super) struct Wanted {
    path: &'static str,
    pairs: Vec<(String, String)>,
    /// Those that pages which this one leads to have, too.
    carried: Vec<(String, String)>,
    /// The command that says the same, if one does.
    command: Option<String>,
    what: What,
}

#[derive(Debug)]
enum What {
    Fleet(Box<ReportArgs>),
    Report(Box<ReportArgs>),
    Compare(Box<CompareArgs>),
    /// What to compare is still to be said.
    Sides,
    Advise(Box<AdviseArgs>),
    Host(Box<HostArgs>),
    Hosts,
    Outliers(Box<OutliersArgs>),
    History(Box<HistoryArgs>),
    Runs(Box<ReportArgs>),
}

/// Why there is no such page.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Missed {
    /// What was asked for is wrong, as this line says.
    Wrong(String),
    /// Nothing matches. What would is known when all runs are; if they say no more, this line does, where there is one.
    Nothing(Option<String>),
    /// Nothing matches, as this line says.
    Told(String),
}

impl From<NotOne> for Missed {
    fn from(error: NotOne) -> Self {
        match error {
            NotOne::Ambiguous { .. } => Self::Wrong(error.to_string()),
            NotOne::Unknown { .. } => Self::Nothing(None),
        }
    }
}

impl Wanted {
    /// What is meant by an address; `None` if there is no page there.
    ///
    /// # Errors
    ///
    /// If the query is not what the page's command takes, in one line.
    pub(super) fn parse(path: &str, query: &str) -> Result<Option<Self>, String> {
        let mut pairs = pairs(query);
        let has_host = pairs.iter().any(|(name, _)| name == "host");
        if path == "/host" && !has_host {
            // The list of hosts is of all times, and the form of it asks for one.
            pairs.retain(|(name, _)| name != "since");
        }
        let has = |key: &str| pairs.iter().any(|(name, _)| name == key);
        let (path, what, command) = match path {
            "/" => whole(REPORT.parse(&pairs)?, "/", What::Fleet),
            "/runs" => whole(REPORT.parse(&pairs)?, "/runs", What::Runs),
            "/report" => whole(REPORT.parse(&pairs)?, "/report", What::Report),
            "/compare" if !has("side") => {
                ("/compare", What::Sides, "fleetmark-collector compare A B".to_owned())
            }
            "/compare" => whole(COMPARE.parse(&pairs)?, "/compare", What::Compare),
            "/advise" => whole(ADVISE.parse(&pairs)?, "/advise", What::Advise),
            "/host" if has("host") => whole(HOST.parse(&pairs)?, "/host", What::Host),
            "/host" => {
                // It takes nothing, and whatever is given is refused.
                let Typed::<NoArgs> { command, .. } = HOSTS.parse(&pairs)?;
                ("/host", What::Hosts, command)
            }
            "/outliers" => whole(OUTLIERS.parse(&pairs)?, "/outliers", What::Outliers),
            "/history" => whole(HISTORY.parse(&pairs)?, "/history", What::History),
            _ => return Ok(None),
        };
        let command = (path != "/runs").then_some(command);
        let carried = pairs.iter().filter(|(key, _)| CARRIED.contains(&key.as_str()));
        let carried = carried.cloned().collect();
        Ok(Some(Self { path, pairs, carried, command, what }))
    }

    /// From when on runs are looked at; `None` is all of them.
    pub(super) fn since(&self, now: Timestamp) -> Option<Timestamp> {
        match &self.what {
            What::Fleet(it) | What::Report(it) | What::Runs(it) => it.select.filter(now).since,
            What::Compare(it) => view::earliest(&it.sides, &it.select.filter(now), now),
            What::Advise(it) => it.select.filter(now).since,
            What::Outliers(it) => it.select.filter(now).since,
            What::History(it) => it.select.filter(now).since,
            What::Sides | What::Host(_) | What::Hosts => None,
        }
    }

    /// What is asked of medians, if this page has them.
    pub(super) fn ordinary(&self, now: Timestamp) -> Option<(Filter, Question)> {
        let (What::Fleet(it) | What::Report(it)) = &self.what else { return None };
        Some((it.select.filter(now), Question { by: it.by.clone(), against: it.against }))
    }

    /// Where this page leads.
    pub(super) fn links(&self) -> Links<'_> {
        Links::Dashboard(&self.carried)
    }

    /// The page over the runs from then on.
    ///
    /// # Errors
    ///
    /// If what was asked for is not there.
    pub(super) fn make(&self, runs: &[StoredRun], now: Timestamp) -> Result<Page, Missed> {
        let links = self.links();
        Ok(match &self.what {
            What::Fleet(it) => {
                let view = report(it, runs, now)?.0;
                html::fleet(&view, &view::arrivals(runs, NEWEST), links)
            }
            What::Runs(it) => {
                let filter = it.select.filter(now);
                view::check_profiles(runs, &filter.profile)?;
                html::arrivals(&view::arrivals(filter.runs(runs), LISTED), now, links)
            }
            What::Report(it) => {
                let (view, filter, question) = report(it, runs, now)?;
                found(!view.profiles.is_empty())?;
                let spreads = view::spreads(runs, &filter, &question);
                html::report(&view, &spreads, &view::advise(runs, &filter, now), links)
            }
            What::Compare(it) => {
                let comparison = view::compare(runs, &it.select.filter(now), &it.sides, now);
                html::compare(&comparison.map_err(|why| not_comparable(runs, why))?, links)
            }
            What::Sides => html::message(
                "Compare",
                "Say what to compare: two sides or more, each with the first. A side is a profile, or FACET=VALUE such as \
                 kernel=6.12.41, tokio=1.55.0 or label.env=prod, or a time such as time=30d..7d; several joined by commas must \
                 all be so.",
            ),
            What::Advise(it) => {
                let filter = it.select.filter(now);
                view::check_profiles(runs, &filter.profile)?;
                let advice = view::advise(runs, &filter, now);
                found(!advice.profiles.is_empty())?;
                html::advise(&advice, links)
            }
            What::Host(it) => {
                let view = view::host(runs, &it.host, Some(it.since.before(now)), now);
                let view = view.map_err(|error| match error {
                    NotOneHost::Unknown { .. } => Missed::Told(error.to_string()),
                    NotOneHost::Ambiguous { .. } => Missed::Wrong(error.to_string()),
                })?;
                let (spreads, history) = view::around(&view, runs, now);
                html::host(&view, &spreads, &history, links)
            }
            What::Hosts => html::hosts(&view::hosts(runs), now, links),
            What::Outliers(it) => {
                let filter = it.select.filter(now);
                view::check_profiles(runs, &filter.profile)?;
                let view = view::outliers(runs, &filter, &it.by, now);
                found(!view.groups.is_empty())?;
                html::outliers(&view, &view::spreads_of_all(runs, &filter, &it.by), links)
            }
            What::History(it) => {
                let filter = it.select.filter(now);
                view::check_profiles(runs, &filter.profile)?;
                let view = view::history(runs, &filter, &it.by, it.bucket, now);
                found(!view.subjects.is_empty())?;
                html::history(&view, links)
            }
        })
    }

    /// Says what would match, of all runs that there are, or what is said `otherwise`.
    pub(super) fn what_would(
        &self,
        all: &[StoredRun],
        now: Timestamp,
        otherwise: Option<String>,
    ) -> String {
        match &self.what {
            What::Compare(it) => {
                let filter = it.select.filter(now);
                view::only_earlier(all, &filter, &it.sides, now)
                    .or(otherwise)
                    .unwrap_or_else(|| view::what_would_match(all, &filter))
            }
            What::Fleet(it) | What::Report(it) | What::Runs(it) => {
                view::why_nothing(all, &it.select.filter(now))
            }
            What::Advise(it) => view::why_nothing(all, &it.select.filter(now)),
            What::Outliers(it) => view::why_nothing(all, &it.select.filter(now)),
            What::History(it) => view::why_nothing(all, &it.select.filter(now)),
            What::Sides | What::Host(_) | What::Hosts => view::why_nothing(all, &Filter::default()),
        }
    }

    /// What stands around the page, which has this tag.
    pub(super) fn frame<'a>(&'a self, choices: &'a Choices, tag: &'a str) -> Frame<'a> {
        let choosing = match &self.what {
            What::Fleet(_) | What::Runs(_) | What::Report(_) => Choosing::Groups,
            What::Compare(_) | What::Sides => Choosing::Sides,
            What::Host(_) | What::Hosts => Choosing::Host,
            What::Advise(_) => Choosing::Runs,
            What::Outliers(_) => Choosing::Kinds,
            What::History(_) => Choosing::Lines,
        };
        let (path, pairs) = (self.path, self.pairs.as_slice());
        Frame {
            path,
            command: self.command.as_deref(),
            choosing: Some(choosing),
            pairs,
            choices,
            tag,
        }
    }
}

/// Takes nothing.
#[derive(clap::Args, Debug)]
struct NoArgs {}

fn whole<T>(
    typed: Typed<T>,
    path: &'static str,
    what: impl FnOnce(Box<T>) -> What,
) -> (&'static str, What, String) {
    (path, what(Box::new(typed.arguments)), typed.command)
}

fn found(found: bool) -> Result<(), Missed> {
    if found { Ok(()) } else { Err(Missed::Nothing(None)) }
}

fn report(
    arguments: &ReportArgs,
    runs: &[StoredRun],
    now: Timestamp,
) -> Result<(View, Filter, Question), Missed> {
    let filter = arguments.select.filter(now);
    view::check_profiles(runs, &filter.profile)?;
    let question = Question { by: arguments.by.clone(), against: arguments.against };
    Ok((view::medians(runs, &filter, &question, now), filter, question))
}

fn not_comparable(runs: &[StoredRun], why: NotComparable) -> Missed {
    match why {
        NotComparable::Twice(_) | NotComparable::Profile(NotOne::Ambiguous { .. }) => {
            Missed::Wrong(why.to_string())
        }
        why => Missed::Nothing((!runs.is_empty()).then(|| why.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn runs() -> Vec<StoredRun> {
        let run = |report: fleetmark_proto::report::Report| StoredRun {
            received_at: report.ended_at,
            sent_at: None,
            report,
        };
        let labelled = |host: &str| {
            let mut report = testing::pair(host, 0.5);
            report.labels.insert("of".to_owned(), host.to_owned());
            run(report)
        };
        ["a", "b"].map(labelled).into()
    }

    fn made(path: &str, query: &str) -> Result<Page, Missed> {
        let now = Timestamp::now();
        let wanted = Wanted::parse(path, query).unwrap().unwrap();
        wanted.make(&runs(), now)
    }

    #[test]
    fn every_page_is_made_and_says_its_command() {
        for (path, query, command) in [
            ("/", "", "report"),
            ("/report", "since=7d", "report --since 7d"),
            ("/compare", "", "compare A B"),
            ("/compare", "side=label.of%3Da&side=label.of%3Db", "compare label.of=a label.of=b"),
            ("/advise", "", "advise"),
            ("/outliers", "by=kernel", "outliers --by kernel"),
            ("/history", "bucket=day", "history --bucket day"),
            ("/host", "", "hosts"),
            ("/host", "host=a&since=1d", "host a --since 1d"),
        ] {
            assert!(made(path, query).is_ok(), "{path}?{query}");
            let wanted = Wanted::parse(path, query).unwrap().unwrap();
            let choices = Choices::default();
            let said = wanted.frame(&choices, "1").command.unwrap().to_owned();
            assert_eq!(said, format!("fleetmark-collector {command}"), "{path}?{query}");
        }
        let runs = Wanted::parse("/runs", "host=a").unwrap().unwrap();
        assert_eq!(runs.command, None, "no command lists runs");
        assert!(made("/runs", "host=a").is_ok());
        assert!(made("/host", "since=7d").is_ok(), "as the form of it asks");
        assert!(Wanted::parse("/etc/passwd", "").unwrap().is_none());
    }

    #[test]
    fn pages_lead_to_others_about_the_same_runs() {
        let page =
            made("/report", "label=of%3Da&since=7d&scenario=waiting&scenario=spawn-overhead");
        let page = page.unwrap().body.into_string();
        assert!(page.contains("&amp;label=of%3Da&amp;since=7d\">its history</a>"), "{page}");
        let sides = "side=label.of%3Da&side=label.of%3Db&since=7d";
        let page = made("/compare", sides).unwrap().body.into_string();
        assert!(page.contains("/report?label=of%3Db&amp;since=7d\">report</a>"), "{page}");
        let host = made("/host", "host=a&since=7d").unwrap().body.into_string();
        assert!(host.contains("&amp;since=7d\">its profile</a>"), "{host}");
    }

    #[test]
    fn what_is_wrong_and_what_is_not_there_are_told_apart() {
        for (path, query) in [
            ("/report", "colour=red"),
            ("/host", "profile=a"),
            ("/host", "host=a&host=b"),
            ("/compare", "side=a"),
            ("/history", "bucket=century"),
        ] {
            let line = Wanted::parse(path, query).unwrap_err();
            assert!(!line.is_empty() && !line.contains('\n'), "{path}?{query}: {line}");
        }
        let missed = |path: &str, query: &str| made(path, query).err().unwrap();
        for path in ["/report", "/advise", "/outliers", "/history"] {
            assert_eq!(missed(path, "label=rack%3D9"), Missed::Nothing(None));
            assert_eq!(missed(path, "profile=none"), Missed::Nothing(None));
        }
        let Missed::Told(line) = missed("/host", "host=nobody") else { panic!("not told") };
        assert!(line.starts_with("no host is called \"nobody\""), "{line}");
        let twice = missed("/compare", "side=label.rack%3D7&side=label.rack%3D7");
        assert!(matches!(twice, Missed::Wrong(_)), "{twice:?}");
        let now = Timestamp::now();
        let wanted = Wanted::parse("/report", "label=rack%3D9").unwrap().unwrap();
        let would = wanted.what_would(&runs(), now, None);
        assert_eq!(would, "nothing matches; without --label rack=9 2 runs of 2 hosts would");
    }
}
