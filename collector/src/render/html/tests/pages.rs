//! The pages of `advise`, `compare`, `host`, `history` and `outliers`.

use fleetmark_proto::verdict::Outcome;

use super::*;
use crate::view::{Bucket, Side};

const WEB: &str = "amd-epyc-7b13-2c1t-vm-8g";
const DB: &str = "intel-xeon-gold-6338-32c1t-metal-256g";

fn now() -> Timestamp {
    "2026-11-25T12:00:00Z".parse().unwrap()
}

fn compared(runs: &[StoredRun], sides: &[&str], links: Links) -> Page {
    let sides: Vec<Side> = sides.iter().map(|side| side.parse().unwrap()).collect();
    compare(&view::compare(runs, &Filter::default(), &sides, now()).unwrap(), links)
}

fn of_history(runs: &[StoredRun], filter: &Filter, bucket: Option<Bucket>, links: Links) -> Page {
    history(&view::history(runs, filter, &[Facet::Profile], bucket, now()), links)
}

fn of_host(runs: &[StoredRun], wanted: &str, links: Links) -> Page {
    let view = view::host(runs, wanted, None, now()).unwrap();
    let (spreads, history) = view::around(&view, runs, now());
    host(&view, &spreads, &history, links)
}

fn of_outliers(runs: &[StoredRun], filter: &Filter, links: Links) -> Page {
    let by = [Facet::Profile];
    let view = view::outliers(runs, filter, &by, now());
    outliers(&view, &view::spreads_of_all(runs, filter, &by), links)
}

fn all(runs: &[StoredRun], links: Links) -> [Page; 5] {
    [
        compared(runs, &[WEB, DB], links),
        of_history(runs, &Filter::default(), None, links),
        of_host(runs, "web-07", links),
        of_outliers(runs, &Filter::default(), links),
        advise(&view::advise(runs, &Filter::default(), now()), links),
    ]
}

#[test]
fn each_page_is_whole_and_needs_nothing_from_elsewhere() {
    for page in all(&scene(16, 4), Links::None) {
        let read = Read::new(&page);
        is_whole(&read);
        assert!(read.pictures().count() > 0, "{}", page.title);
        assert!(read.pictures().all(|svg| svg.has("aria-label").is_some_and(|it| it.len() > 5)));
        assert_eq!(read.all("desc").count(), read.pictures().count());
        assert!(read.all("table").count() >= read.pictures().count(), "{}", page.title);
        assert!(read.all("caption").all(|caption| !caption.text.is_empty()), "{}", page.title);
        assert!(read.all("th").all(|th| th.has("scope").is_some()));
        assert!(read.all("thead").all(|head| !head.text.is_empty()));
        let columns = read.all("th").filter(|th| th.has("scope") == Some("col"));
        assert!(
            columns.into_iter().all(|th| !th.text.is_empty()),
            "{}: a column has no name",
            page.title
        );
    }
}

#[test]
fn advice_has_its_numbers_beside_it_and_says_what_is_missing() {
    let runs = scene(16, 1);
    let read = Read::new(&advise(&view::advise(&runs, &Filter::default(), now()), Links::None));
    let heads: Vec<&str> = read.all("h3").map(|h3| h3.text.as_str()).collect();
    assert_eq!(heads.len(), 4 * 4, "{heads:?}");
    assert!(heads.contains(&"waiting, as for I/O: tokio"), "{heads:?}");
    let fits = read.all("th").filter(|th| th.text == "fit").count();
    assert_eq!(fits, read.all("table").count());
    let command = "fleetmark-agent run --preset grain --neighbours";
    assert!(read.all("code").any(|it| it.text == command), "of the throttled container");
}

#[test]
fn a_comparison_tells_each_verdict_by_a_form_and_a_word() {
    let read = Read::new(&compared(&scene(16, 4), &["tokio=1.54.1", "tokio=1.55.0"], Links::None));
    let marks = |outcome: Outcome| {
        read.all("path").filter(|path| path.has("class") == Some(outcome.name())).count()
    };
    // One of each is the legend's: tokio's tasks alone are faster to spawn, by the cell and by the unit.
    assert_eq!((marks(Outcome::Faster), marks(Outcome::Slower)), (3, 1));
    let words = read.all("text").filter(|text| text.text.ends_with("% faster")).count();
    assert_eq!(words, 2);
    let heads: Vec<&str> = read.all("th").map(|th| th.text.as_str()).collect();
    for column in ["A", "B", "ratio", "interval", "verdict", "basis"] {
        assert!(heads.contains(&column), "{column}");
    }
    assert!(read.all("td").any(|td| td.text == "paired"));
    let groups = Read::new(&compared(&scene(16, 4), &[WEB, DB], Links::None));
    assert!(groups.all("th").any(|th| th.text == "delta"));
    assert!(groups.all("caption").any(|it| it.text == "what parts the hardware"));
    assert!(groups.all("p").any(|p| p.text.contains("Not measured: memory bandwidth")));
}

#[test]
fn a_history_numbers_what_changed_and_says_it_below() {
    let runs = scene(16, 4);
    let db =
        Filter { label: [("role".to_owned(), vec!["db".to_owned()])].into(), ..Filter::default() };
    let read = Read::new(&of_history(&runs, &db, None, Links::None));
    let said: Vec<&str> = read.all("li").map(|li| li.text.as_str()).collect();
    let kernel = "kernel from 6.1.0-40-amd64 to 6.12.41-cloud-amd64 on 16 hosts; wait thread +";
    assert!(said.iter().any(|li| li.contains(kernel)), "{said:?}");
    assert!(read.all("text").any(|text| text.text == "1"), "the mark has its number");
    let class =
        |name: &str| read.all("path").filter(|path| path.has("class") == Some(name)).count();
    assert_eq!(class("slower"), 1 + 1, "one of the legend, and the jump");
    assert_eq!(class("faster"), 1, "that of the legend");
    let ci = Filter { host: vec!["ci-00".to_owned()], ..Filter::default() };
    let suspect = Read::new(&of_history(&runs, &ci, None, Links::None));
    let rings = suspect.all("path").filter(|path| path.has("class") == Some("left-out"));
    assert_eq!(rings.count(), 1 + 11, "one of the legend, and one a cell");
    assert!(suspect.all("td").any(|td| td.text.ends_with(", suspect")));
}

#[test]
fn a_host_stands_among_others_with_its_history_and_its_runs() {
    let runs = scene(16, 4);
    let read = Read::new(&of_host(&runs, "web-07.example", Links::None));
    let class =
        |name: &str| read.all("path").filter(|path| path.has("class") == Some(name)).count();
    assert_eq!((class("this"), class("cross")), (1 + 11, 1 + 11), "one each of the legend");
    assert!(read.all("dd").any(|dd| dd.text == "slow among hosts of its profile, confirmed"));
    assert!(read.all("h2").any(|h2| h2.text == "History"));
    assert_eq!(
        read.all("li").filter(|li| li.text.contains("nothing that is recorded changed")).count(),
        1
    );
    let throttled = Read::new(&of_host(&runs, "ci-00", Links::None));
    assert!(throttled.all("p").any(|p| p.text.starts_with("No other host of its profile")));
    let runs = throttled
        .all("tr")
        .filter(|row| row.text.contains("suspect") && row.text.contains("throttled"));
    assert_eq!(runs.count(), 5, "each with its reason");
}

#[test]
fn outliers_are_named_and_who_was_not_judged_is_told() {
    let runs = scene(16, 4);
    let read = Read::new(&of_outliers(&runs, &Filter::default(), Links::None));
    let heads: Vec<&str> = read.all("h3").map(|h3| h3.text.as_str()).collect();
    assert_eq!(
        heads[..2],
        ["host web-07 (web-07.example) is slow, confirmed", WEB],
        "the slow come first"
    );
    let named: BTreeSet<&str> = read
        .all("text")
        .filter(|text| text.has("class") == Some("named"))
        .map(|text| text.text.as_str())
        .collect();
    assert_eq!(named, BTreeSet::from(["web-07"]));
    assert!(read.all("li").any(|li| li.text.contains("not judged, 12 more hosts are needed")));
    // The few that are not judged have no picture in which somebody could look slow.
    let few = Read::new(&of_outliers(&scene(4, 1), &Filter::default(), Links::None));
    assert_eq!(few.pictures().count(), 0);
    assert!(few.all("p").any(|p| p.text == "No host could be judged."));
}

#[test]
fn names_lead_somewhere_on_live_pages_and_nowhere_in_a_file() {
    let runs = scene(16, 4);
    let report = |links| {
        let (filter, question) = (Filter::default(), Question::default());
        let view = view::medians(&runs, &filter, &question, now());
        let spreads = view::spreads(&runs, &filter, &question);
        report(&view, &spreads, &view::advise(&runs, &filter, now()), links)
    };
    let outward = |page: &Page| -> Vec<String> {
        let read = Read::new(page);
        assert_eq!(read.complaints, [""; 0]);
        let links = read.all("a").filter_map(|a| a.has("href"));
        links.filter(|to| !to.starts_with('#')).map(str::to_owned).collect()
    };
    for page in all(&runs, Links::None).iter().chain([&report(Links::None)]) {
        assert_eq!(outward(page), [""; 0], "{}", page.title);
    }
    let found: Vec<Vec<String>> = all(&runs, Links::Dashboard(&[]))
        .iter()
        .chain([&report(Links::Dashboard(&[]))])
        .map(outward)
        .collect();
    let leads = |page: usize, start: &str| found[page].iter().any(|to| to.starts_with(start));
    assert!(leads(0, "/report?profile="), "{found:?}");
    assert!(leads(1, "/report?profile=") && leads(1, "/outliers?profile="), "{found:?}");
    assert!(leads(2, "/history?host=web-07") && leads(2, "/host?host=web-07"), "{found:?}");
    assert!(leads(3, "/host?host=web-07") && leads(3, "/report?profile="), "{found:?}");
    assert!(leads(4, "/report?profile="), "{found:?}");
    for start in ["/host?host=web-07", "/history?profile=", "/report?profile=", "/compare?side="] {
        assert!(leads(5, start), "{start}: {found:?}");
    }
}

#[test]
fn what_hosts_say_is_text_on_each_page() {
    let evil = "<script>alert(1)</script>\"'&<img src=x>";
    let mut runs = scene(16, 2);
    runs.retain(|run| run.report.host.id.as_str().starts_with("web"));
    for run in &mut runs {
        run.report.host.name = evil.to_owned();
        run.report.build.allocator = evil.to_owned();
        run.report.labels.insert("role".to_owned(), evil.to_owned());
        let week = run.report.ended_at.strftime("%V").to_string();
        run.report.system.kernel = Some(format!("{evil}{week}"));
        run.report.profile.name = evil.to_owned();
    }
    let last =
        runs.iter().max_by_key(|run| run.report.ended_at).unwrap().report.system.kernel.clone();
    let before =
        runs.iter().min_by_key(|run| run.report.ended_at).unwrap().report.system.kernel.clone();
    let sides = [format!("kernel={}", before.unwrap()), format!("kernel={}", last.unwrap())];
    let sides: Vec<&str> = sides.iter().map(String::as_str).collect();
    for links in [Links::None, Links::Dashboard(&[])] {
        for page in [
            compared(&runs, &sides, links),
            of_history(&runs, &Filter::default(), None, links),
            of_host(&runs, "web-07", links),
            of_outliers(&runs, &Filter::default(), links),
            advise(&view::advise(&runs, &Filter::default(), now()), links),
        ] {
            let read = Read::new(&page);
            assert_eq!(read.complaints, [""; 0], "{}", page.title);
            assert_eq!(read.all("script").count() + read.all("img").count(), 0, "{}", page.title);
            assert!(read.text.contains("&lt;script&gt;alert(1)"), "{}", page.title);
        }
    }
}

#[test]
fn a_long_history_of_many_hosts_stays_small_and_says_what_is_left_out() {
    let runs = scene(16, 25);
    let hosts: BTreeSet<String> = runs.iter().map(|run| run.report.host.id.to_string()).collect();
    let filter = Filter { host: hosts.into_iter().collect(), ..Filter::default() };
    let page = of_history(&runs, &filter, None, Links::None);
    let read = Read::new(&page);
    assert_eq!(read.pictures().count(), 49);
    assert!(read.text.len() < 900 << 10, "{} bytes", read.text.len());
    let caption =
        "Of 26 points a line the newest 18 are drawn; ask for fewer cells or hosts to see more.";
    assert!(read.all("figcaption").any(|it| it.text.contains(caption)));
}

#[test]
fn hosts_for_which_there_is_no_room_are_named() {
    let runs = scene(21, 0);
    let hosts: BTreeSet<String> = runs.iter().map(|run| run.report.host.id.to_string()).collect();
    let filter = Filter { host: hosts.into_iter().collect(), ..Filter::default() };
    let read = Read::new(&of_history(&runs, &filter, None, Links::None));
    assert_eq!(read.pictures().count(), 660 / 11);
    assert!(read.all("h2").any(|h2| h2.text == "Not on this page"));
    let named = "web-17 (web-17.example), web-18 (web-18.example), web-19 (web-19.example), web-20 (web-20.example)";
    assert!(read.all("p").any(|p| p.text == named), "the 61st to the 64th");
}

#[test]
fn fifty_profiles_fit_into_a_mebibyte_on_each_page() {
    let mut runs = Vec::new();
    for copy in 0..17_u64 {
        for mut run in scene(14, 1) {
            let mut facets = run.report.profile.facets.clone();
            facets.memory_class_mib = facets.memory_class_mib.map(|mib| mib + copy * 1024);
            run.report.profile = Profile::new(facets, None);
            run.report.host.id = format!("{}-{copy}", run.report.host.id).parse().unwrap();
            runs.push(run);
        }
    }
    runs.retain(|run| !run.report.host.id.as_str().starts_with("ci"));
    let ids: BTreeSet<String> = runs.iter().map(|run| run.report.profile.id.to_string()).collect();
    let sides: Vec<&str> = ids.iter().map(String::as_str).take(26).collect();
    let pages = [
        compared(&runs, &sides, Links::Dashboard(&[])),
        of_history(&runs, &Filter::default(), Some(Bucket::Day), Links::Dashboard(&[])),
        of_outliers(&runs, &Filter::default(), Links::Dashboard(&[])),
        advise(&view::advise(&runs, &Filter::default(), now()), Links::Dashboard(&[])),
    ];
    for page in &pages {
        let length = page.file().len();
        assert!(length < 1 << 20, "{}: {length} bytes", page.title);
    }
    let outliers = Read::new(&pages[2]);
    assert!(outliers.all("p").any(|p| p.text.contains("without a slow host have no picture here")));
}

#[test]
fn all_text_stands_out_from_its_ground_in_light_and_dark() {
    let style = include_str!("../page.css");
    let (light, dark) = style.split_once("@media screen and (prefers-color-scheme: dark)").unwrap();
    let dark = dark.split_once("* {").unwrap().0;
    for colours in [light, dark] {
        let light_of = |name: &str| {
            let (_, from) = colours.split_once(&format!("--{name}: #")).unwrap();
            let part = |at: usize| {
                let share = f64::from(u8::from_str_radix(&from[at..at + 2], 16).unwrap()) / 255.0;
                if share <= 0.040_45 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * part(0) + 0.7152 * part(2) + 0.0722 * part(4)
        };
        for ground in ["page", "shade"] {
            for name in [
                "ink",
                "muted",
                "link",
                "thread",
                "tokio",
                "spawn-blocking",
                "rayon",
                "cross",
                "good",
            ] {
                let (a, b) = (light_of(name), light_of(ground));
                let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                assert!(contrast >= 4.5, "{name} on {ground}: {contrast:.2}");
            }
        }
    }
}
