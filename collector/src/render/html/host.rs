//! All about one host.

use fleetmark_proto::shell::grid::Grid;
use maud::{Markup, html};

use super::{
    chart::{self, Strip, Told},
    history::{self, Room, course},
    page::{self, Further, Links, Page},
    profile::alike,
};
use crate::{
    render::host::{cells, machine, runs, standing},
    view::{CellSpread, Facet, History, HostView, LookedState, PointState, Spread},
};

/// All that is known of a host, beside the hosts of its profile, with its own history.
#[must_use]
pub fn host(view: &HostView, spreads: &[Spread], history: &History, links: Links) -> Page {
    let title = format!("fleetmark host {}", view.host);
    let holds = page::many(view.runs, "run");
    let (id, profile) = (view.host.id.as_str(), view.profile.id.as_str());
    let of_profile = [("profile", profile)];
    let room = Room::of(&history.subjects);
    let body = html! {
        (page::top(&title, &holds, view.generated_at, &html! {}))
        (chart::marks())
        main {
            (links.further(&[
                Further { path: "/report", query: &of_profile, name: "its profile" },
                Further { path: "/outliers", query: &of_profile, name: "slow hosts of its profile" },
                Further { path: "/history", query: &[("host", id)], name: "its history alone" },
            ]))
            (page::facts(&standing(view)))
            (newest(view, spreads, links))
            section aria-labelledby="runs" {
                h2 #runs { "Runs" }
                (page::table(&runs(&view.last_runs)))
            }
            @for subject in history.subjects.iter().take(1) {
                section aria-labelledby="course" {
                    h2 #course { "History" }
                    (history::key())
                    (course(subject, history, "course", room))
                }
            }
            section aria-labelledby="machine" {
                h2 #machine { "The machine" }
                (page::facts(&machine(view)))
            }
        }
    };
    Page { title, body }
}

/// Where its newest values stand among those of others.
fn newest(view: &HostView, spreads: &[Spread], links: Links) -> Markup {
    let spread = spreads.iter().find(|spread| {
        let is_its = |it: &crate::view::FacetValue| it.value == view.profile.id.as_str();
        matches!(&spread.by[..], [only] if only.facet == Facet::Profile && is_its(only))
    });
    let pictures = spread.map(|spread| pictures(view, spread, links)).unwrap_or_default();
    html! {
        section aria-labelledby="newest" {
            h2 #newest { "Newest values" }
            @if pictures.is_empty() {
                p { "No other host of its profile was measured in the same way, so there is nothing to compare with." }
            } @else {
                (key())
                @for picture in &pictures { (picture) }
            }
            (page::table(&Grid { title: "newest values beside the medians of its profile".to_owned(), ..cells(view) }))
        }
    }
}

fn key() -> Markup {
    let marks = [
        ("this", chart::ring(7.0, 7.0, 6), "this host"),
        ("dot", chart::ring(7.0, 7.0, 3), "other hosts of its profile"),
        ("cross", chart::cross(7.0, 7.0), "slow"),
    ];
    chart::key(marks.into_iter())
}

fn pictures(view: &HostView, spread: &Spread, links: Links) -> Vec<Markup> {
    let judged = view.looked.as_ref().is_some_and(|looked| looked.state == LookedState::Judged);
    let mut spread = spread.clone();
    for host in spread.cells.iter_mut().flat_map(|cell| &mut cell.hosts) {
        host.stands_out &= judged;
    }
    let this = |cell: &CellSpread| {
        let found = view.cells.iter().find(|it| {
            (it.scenario, it.spawner, it.workload) == (cell.scenario, cell.spawner, cell.workload)
                && (it.units, &it.build) == (cell.units, &cell.build)
        });
        found.and_then(|cell| cell.ratio)
    };
    let title = "Where this host stands, cell by cell";
    let description = "A strip a cell: the ring is this host's newest value by the median of its profile, each dot another host, a cross \
                       with a name a slow one. The table below has the numbers.";
    let all = alike(&spread);
    let picture = |(cells, number): (&Vec<&CellSpread>, u32)| {
        let strips: Vec<Strip<'_>> = cells
            .iter()
            .map(|cell| Strip { cell, this: this(cell) })
            .filter(|strip| strip.this.is_some())
            .collect();
        let id = format!("newest-{number}");
        let drawn = chart::strips(&strips, links, &Told { id: &id, title, description })?;
        let counts = view.cells.iter().all(|cell| cell.state == PointState::Counts);
        Some(html! {
            figure {
                (drawn)
                figcaption {
                    "Time to the median of its profile, which stands at the right."
                    @if !counts { " Some of its values do not count; the table says which." }
                }
            }
        })
    };
    all.iter().zip(1_u32..).filter_map(picture).collect()
}
