//! Which spawner for which kind of work, profile by profile.

use fleetmark_proto::unit::count;
use maud::{Markup, html};

use super::{
    chart::{Block, Row, Rows, Told, duration},
    page::{self, Links, Page},
    profile::in_words,
};
use crate::{
    render::advise::{facts, grid, heading},
    view::{Advice, ProfileAdvice, SpawnerAdvice, Work, WorkAdvice},
};

/// Which spawner for which kind of work, with the evidence.
#[must_use]
pub fn advise(advice: &Advice, links: Links) -> Page {
    let title = "fleetmark advice".to_owned();
    let runs: u64 = advice.profiles.iter().map(|profile| profile.runs).sum();
    let profiles = page::many(count(advice.profiles.len()), "profile");
    let holds = format!("{profiles}, {}", page::many(runs, "run"));
    let body = html! {
        (page::top(&title, &holds, advice.generated_at, &page::asked(&advice.filter)))
        main {
            @for (profile, number) in advice.profiles.iter().zip(1_u32..) {
                (section(profile, &format!("p{number}"), links))
            }
            section aria-labelledby="reading" {
                h2 #reading { "How to read this" }
                p {
                    "The mark is the median of the hosts' values, the whisker its interval; axes are logarithmic, and less is better. CPU-bound \
                     work never goes by wall time alone, which hides what such work does to others: a spawner is fit for it if it is not \
                     slower, soon worth its cost, and does not hold up what runs beside it."
                }
            }
        }
    };
    Page { title, body }
}

fn section(profile: &ProfileAdvice, id: &str, links: Links) -> Markup {
    let ProfileAdvice { id: profile_id, name, works, .. } = profile;
    html! {
        section aria-labelledby=(id) {
            h2 id=(id) { (links.profile(profile_id.as_str(), &format!("{name} ({profile_id})"))) }
            (page::facts(&facts(profile)))
            @for (work, number) in works.iter().zip(1_u32..) {
                h3 { (heading(work)) }
                p { (in_words(work)) }
                @if !work.spawners.is_empty() {
                    (picture(work, &format!("{id}-{number}")))
                    (page::folded("Numbers of each spawner", &grid(work, heading(work))))
                }
            }
        }
    }
}

/// What each spawner takes, or how late others become beside it.
fn picture(work: &WorkAdvice, id: &str) -> Markup {
    let row = |it: &SpawnerAdvice| {
        let median = it.median_ns?;
        Some(Row {
            spawner: it.spawner,
            value: median.to_f64(),
            interval: it.interval.map(|it| (it.low_ns.to_f64(), it.high_ns.to_f64())),
            text: median.to_string(),
        })
    };
    let what = match work.work {
        Work::CpuBesideOthers => "how late a tick beside it is, the 99th percentile",
        Work::CpuBound => "wall time, which alone says nothing of others",
        Work::ShortTasks | Work::Waiting => "wall time",
    };
    let heading = work.workload.map_or_else(String::new, |workload| workload.to_string());
    let rows = work.spawners.iter().filter_map(row).collect();
    let blocks = vec![Block { heading, rows }];
    let title = format!("{}: {what}", self::heading(work));
    let description = "A row a spawner, the best first: the mark is the median, the whisker its interval. The table below has the numbers.";
    let told = Told { id, title: &title, description };
    html! {
        @if let Some(scale) = Rows::log(&blocks) {
            figure {
                (Rows { scale, name: duration, blocks }.draw(&told))
                figcaption { "Here: " (what) "." }
            }
        }
    }
}
