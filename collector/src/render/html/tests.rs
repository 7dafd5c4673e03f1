//! Pages are read back by a browser's parser.

use std::collections::BTreeSet;

use fleetmark_proto::profile::Profile;
use html5ever::{ParseOpts, parse_document, tendril::TendrilSink as _};
use jiff::Timestamp;
use markup5ever_rcdom::{Handle, NodeData, RcDom};

use super::*;
use crate::{
    simulate::Scene,
    store::StoredRun,
    view::{self, Facet, Filter, Question},
};

mod pages;

/// A page as a browser has it.
struct Read {
    text: String,
    elements: Vec<Element>,
    complaints: Vec<String>,
}

struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    text: String,
}

impl Element {
    fn has(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Read {
    fn of(runs: &[StoredRun], filter: &Filter, question: &Question) -> Self {
        let now: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
        let view = view::medians(runs, filter, question, now);
        let advice = view::advise(runs, filter, now);
        Self::new(&report(&view, &view::spreads(runs, filter, question), &advice, Links::None))
    }

    fn new(page: &Page) -> Self {
        let text = page.file();
        let dom = parse_document(RcDom::default(), ParseOpts::default()).one(text.clone());
        let mut elements = Vec::new();
        walk(&dom.document, &mut elements);
        let complaints = dom.errors.borrow().iter().map(ToString::to_string).collect();
        Self { text, elements, complaints }
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.elements.iter().filter(move |element| element.name == name)
    }

    /// All but marks of a legend.
    fn pictures(&self) -> impl Iterator<Item = &Element> {
        self.all("svg").filter(|svg| svg.has("aria-hidden").is_none())
    }

    fn ids(&self) -> BTreeSet<&str> {
        self.elements.iter().filter_map(|element| element.has("id")).collect()
    }
}

fn walk(node: &Handle, elements: &mut Vec<Element>) {
    if let NodeData::Element { name, attrs, .. } = &node.data {
        let attributes = attrs.borrow();
        let attributes =
            attributes.iter().map(|it| (it.name.local.to_string(), it.value.to_string())).collect();
        let mut text = String::new();
        text_of(node, &mut text);
        elements.push(Element { name: name.local.to_string(), attributes, text });
    }
    for child in node.children.borrow().iter() {
        walk(child, elements);
    }
}

fn text_of(node: &Handle, text: &mut String) {
    if let NodeData::Text { contents } = &node.data {
        text.push_str(&contents.borrow());
    }
    for child in node.children.borrow().iter() {
        text_of(child, text);
    }
}

fn scene(hosts: u32, weeks: u32) -> Vec<StoredRun> {
    let now: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
    let reports = Scene { hosts, weeks, seed: 1 }.reports(now).map(Result::unwrap);
    reports
        .map(|report| StoredRun { received_at: report.ended_at, sent_at: None, report })
        .collect()
}

#[test]
fn a_page_is_whole_and_needs_nothing_from_elsewhere() {
    let page = Read::of(&scene(12, 1), &Filter::default(), &Question::default());
    is_whole(&page);
}

/// That a browser has nothing to complain of, and nothing to load.
fn is_whole(page: &Read) {
    assert_eq!(page.complaints, [""; 0]);
    let with_id = page.elements.iter().filter(|element| element.has("id").is_some()).count();
    assert_eq!(page.ids().len(), with_id, "ids are unique");
    for element in &page.elements {
        let refers =
            ["aria-labelledby", "aria-describedby"].into_iter().filter_map(|it| element.has(it));
        let links = element.has("href").into_iter().map(|link| link.strip_prefix('#').unwrap());
        for id in refers.chain(links) {
            assert!(page.ids().contains(id), "{id}");
        }
        assert_eq!(element.has("src"), None, "nothing is loaded");
        assert!(!element.attributes.iter().any(|(name, _)| name.starts_with("on")));
    }
    for missing in ["script", "link", "img", "iframe"] {
        assert_eq!(page.all(missing).count(), 0, "{missing}");
    }
    assert!(!page.text.replace("url(#", "").contains("url(") && !page.text.contains("@import"));
    assert_eq!(page.all("html").next().unwrap().has("lang"), Some("en"));
    assert_eq!(page.all("h1").count(), 1);
}

#[test]
fn pictures_are_told_in_words_and_have_tables() {
    let page = Read::of(&scene(12, 1), &Filter::default(), &Question::default());
    let pictures: Vec<_> = page.pictures().collect();
    // Three of scenarios, one of cores; hosts, grain and neighbours of three profiles, one with two builds.
    assert_eq!(pictures.len(), 3 + 1 + 3 * 3 + 1);
    assert!(pictures.iter().all(|svg| svg.has("role") == Some("img")));
    assert!(pictures.iter().all(|svg| svg.has("aria-label").is_some_and(|it| it.len() > 5)));
    assert_eq!(page.all("title").count(), 1 + pictures.len());
    let described = page.all("desc").filter(|it| it.has("id").is_some() && it.text.len() > 50);
    assert_eq!(described.count(), pictures.len());
    let captions: Vec<&str> = page.all("caption").map(|it| it.text.as_str()).collect();
    for table in [
        "spawn-overhead: 1,000 units",
        "Parallel efficiency by number of workers",
        "Time to the median, the farthest hosts first",
        "grain: what one of 1,000 units costs, by its kernel rounds (= is within 10% of the best)",
    ] {
        assert!(captions.contains(&table), "{table}: {captions:?}");
    }
    assert!(captions.iter().any(|caption| caption.starts_with("neighbours: ")));
    let heads = page.all("th").filter(|th| th.has("scope").is_some()).count();
    assert_eq!(heads, page.all("th").count());
}

#[test]
fn a_profile_says_which_spawner_for_which_work_and_other_groups_do_not() {
    let page = Read::of(&scene(12, 1), &Filter::default(), &Question::default());
    let heads = |page: &Read| -> Vec<String> {
        page.all("dt").map(|dt| dt.text.clone()).filter(|it| it.contains(": ")).collect()
    };
    let found = heads(&page);
    assert_eq!(found.len(), 4 * 4);
    assert!(found.contains(&"waiting, as for I/O: tokio".to_owned()), "{found:?}");
    assert!(
        found.contains(&"CPU-bound work: not known yet".to_owned()),
        "the throttled: {found:?}"
    );
    let command = "fleetmark-agent run --preset grain --neighbours";
    assert!(page.all("code").any(|it| it.text == command));
    let question = Question { by: vec![Facet::Kernel], ..Question::default() };
    assert!(heads(&Read::of(&scene(12, 1), &Filter::default(), &question)).is_empty());
}

#[test]
fn a_slow_host_has_a_cross_a_name_and_a_word() {
    let page = Read::of(&scene(16, 1), &Filter::default(), &Question::default());
    let named: BTreeSet<&str> = page
        .all("text")
        .filter(|text| text.has("class") == Some("named"))
        .map(|text| text.text.as_str())
        .collect();
    assert_eq!(named, BTreeSet::from(["web-07"]));
    let crosses = page.all("path").filter(|path| path.has("class") == Some("cross")).count();
    assert_eq!(crosses, 11, "in each cell");
    let says = |line: &str| page.all("p").filter(|it| it.text.starts_with(line)).count();
    assert_eq!(says("Far slower than the others in at least one cell: web-07. "), 1);
    assert_eq!(says("No host stands out."), 3, "one of two profiles was measured with two builds");
    let rows: Vec<_> = page.all("tr").filter(|row| row.text.starts_with("web-07")).collect();
    assert!(rows[0].text.contains("✕"), "in the table too: {}", rows[0].text);
}

#[test]
fn what_hosts_say_is_text_and_nothing_else() {
    let evil = "<script>alert(1)</script>\"'&<img src=x>";
    let mut runs = scene(2, 0);
    runs.retain(|run| run.report.host.id.as_str().starts_with("web"));
    for run in &mut runs {
        run.report.labels.insert("role".to_owned(), evil.to_owned());
        run.report.host.name = evil.to_owned();
        run.report.build.allocator = evil.to_owned();
    }
    let question = Question { by: vec![Facet::Label("role".to_owned())], ..Question::default() };
    let filter = Filter { build: vec!["<script>".to_owned()], ..Filter::default() };
    let page = Read::of(&runs, &filter, &question);
    assert_eq!(page.complaints, [""; 0]);
    assert_eq!(page.all("script").count() + page.all("img").count(), 0);
    assert!(page.all("h2").any(|it| it.text == format!("label.role {evil}")));
    assert!(page.all("dd").any(|it| it.text.contains(evil)));
    assert!(page.all("code").any(|it| it.text == "--build <script>"));
}

#[test]
fn nothing_known_is_a_page_too() {
    let page = Read::of(&[], &Filter::default(), &Question::default());
    assert_eq!((page.complaints.len(), page.pictures().count()), (0, 0));
}

#[test]
fn fifty_profiles_fit_into_a_mebibyte() {
    let mut runs = Vec::new();
    for copy in 0..17_u64 {
        for mut run in scene(20, 0) {
            let mut facets = run.report.profile.facets.clone();
            facets.memory_class_mib = facets.memory_class_mib.map(|mib| mib + copy * 1024);
            run.report.profile = Profile::new(facets, None);
            run.report.host.id = format!("{}-{copy}", run.report.host.id).parse().unwrap();
            runs.push(run);
        }
    }
    runs.retain(|run| !run.report.host.id.as_str().starts_with("ci"));
    let page = Read::of(&runs, &Filter::default(), &Question::default());
    assert_eq!(page.all("h3").filter(|it| it.text.starts_with("Hosts")).count(), 51);
    assert!(page.text.len() < 1 << 20, "{} bytes", page.text.len());
}
