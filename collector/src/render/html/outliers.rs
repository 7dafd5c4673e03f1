//! Who is slow among others of their kind.

use fleetmark_proto::{
    shell::grid::Grid,
    unit::{count, grouped},
};
use maud::{Markup, html};

use super::{
    chart::{self, Told},
    page::{self, Links, Page},
    profile::alike,
};
use crate::{
    render::outliers::{cells, facts, looked, notes, title},
    view::{Looked, LookedState, OutliersView, SlowHost, Spread},
};

/// Groups that have pictures at most: those with slow hosts come first.
const PICTURED: usize = 30;
/// Slow hosts that are told of in full.
const TOLD: usize = 100;

/// Hosts that are slow, where each host stands, and who was not judged.
#[must_use]
pub fn outliers(view: &OutliersView, spreads: &[Spread], links: Links) -> Page {
    let title = "fleetmark outliers".to_owned();
    let judged: u64 = view.groups.iter().map(|group| group.judged).sum();
    let slow: u64 = view.groups.iter().map(|group| group.slow).sum();
    let holds = format!("{} judged, {} of them slow", page::many(judged, "host"), grouped(slow));
    let body = html! {
        (page::top(&title, &holds, view.generated_at, &page::asked(&view.filter)))
        main {
            section aria-labelledby="slow" {
                h2 #slow { "Slow hosts" }
                @if view.hosts.is_empty() {
                    p { (if judged > 0 { "No host is slow." } else { "No host could be judged." }) }
                }
                @for host in view.hosts.iter().take(TOLD) { (slow_host(host, links)) }
                @if view.hosts.len() > TOLD {
                    p { (grouped(count(view.hosts.len() - TOLD))) " more are not told of here; ask for one --profile, or --format csv." }
                }
            }
            (groups(view, spreads, links))
            section aria-labelledby="looked" {
                h2 #looked { "What was looked at" }
                (page::linked(&looked(&view.groups), &|id| match id {
                    "" => html! { "several" },
                    id => links.profile(id, id),
                }))
                ul { @for line in notes(view) { li { (line) } } }
            }
        }
    };
    Page { title, body }
}

/// Since when, why, and in what.
fn slow_host(host: &SlowHost, links: Links) -> Markup {
    let id = host.host.id.as_str();
    let title = title(host);
    html! {
        h3 { (links.host(id, &title)) }
        (page::facts(&facts(host)))
        (page::folded("In which cells", &Grid { title: format!("cells in which {id} is slow"), ..cells(&host.cells) }))
    }
}

/// A strip a cell of each group that was judged.
fn groups(view: &OutliersView, spreads: &[Spread], links: Links) -> Markup {
    let mut judged: Vec<&Looked> =
        view.groups.iter().filter(|group| group.state == LookedState::Judged).collect();
    judged.sort_by_key(|group| std::cmp::Reverse(group.slow.min(1)));
    let left_out = judged.len().saturating_sub(PICTURED);
    html! {
        @if !judged.is_empty() {
            section aria-labelledby="groups" {
                h2 #groups { "Where each host stands" }
                @for (group, number) in judged.iter().take(PICTURED).zip(1_u32..) {
                    @if let Some(spread) = spreads.iter().find(|spread| spread.by == group.by) {
                        (pictures(group, spread, number, links))
                    }
                }
                @if left_out > 0 {
                    p { (page::many(count(left_out), "more group")) " without a slow host have no picture here; ask for one --profile." }
                }
            }
        }
    }
}

fn pictures(group: &Looked, spread: &Spread, number: u32, links: Links) -> Markup {
    let title = format!("{}: hosts, cell by cell", group.name);
    let description = "Each dot is a host; a cross with a name is a slow one. What they are slow in stands in the tables above.";
    html! {
        h3 { (group.name) }
        p { (page::many(group.judged, "host")) " judged, " (grouped(group.slow)) " slow." }
        @for (cells, part) in alike(spread).iter().zip(1_u32..) {
            @let id = format!("g{number}-{part}");
            @let told = Told { id: &id, title: &title, description };
            @if let Some(picture) = chart::strips(&chart::of_hosts(cells), links, &told) {
                figure {
                    (picture)
                    figcaption {
                        "Each host's time to the median of all, which stands at the right."
                        @if let Some(cell) = cells.first() { " Build: " (cell.build) "." }
                    }
                }
                (page::fold("Numbers of the hosts", &page::linked(
                    &super::profile::numbers(cells, LISTED),
                    &|id| links.host(id, id),
                )))
            }
        }
    }
}

/// Rows of hosts of one picture: those that are farthest off.
const LISTED: usize = 20;
