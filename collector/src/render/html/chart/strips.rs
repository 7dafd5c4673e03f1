//! A strip a cell: a dot a host, by how many times as long as the median it takes. Who stands out has a cross and a name.

use std::collections::BTreeSet;

use fleetmark_proto::{
    plan::{Scenario, Spawner},
    unit::rounded,
};
use maud::{Markup, html};

use super::{LEFT, RIGHT, Scale, Told, WIDTH, grid_lines, ratio_name, ring, short, size};
use crate::{
    render::html::page::Links,
    view::{CellSpread, HostValue},
};

/// Between two strips.
const STRIP: f64 = 24.0;
/// Above the first, and below the last.
const EDGE: f64 = 24.0;
/// Names in one strip; crosses are drawn for all.
const NAMED: usize = 3;

/// The hosts of one cell.
pub(in super::super) struct Strip<'a> {
    pub(in super::super) cell: &'a CellSpread,
    /// Where the host lies that all is about, if it is about one: it has a ring.
    pub(in super::super) this: Option<f64>,
}

/// Strips that are about all of their hosts.
pub(in super::super) fn of_hosts<'a>(cells: &[&'a CellSpread]) -> Vec<Strip<'a>> {
    cells.iter().map(|cell| Strip { cell, this: None }).collect()
}

/// The picture; `None` if there is nothing to draw.
pub(in super::super) fn strips(
    cells: &[Strip<'_>],
    links: Links,
    told: &Told<'_>,
) -> Option<Markup> {
    let ratios = cells
        .iter()
        .flat_map(|strip| strip.cell.hosts.iter().map(|host| host.ratio).chain(strip.this));
    // A fleet that is all alike shall look so.
    let scale = Scale::log(ratios.chain([0.9, 1.1]), LEFT + 20.0, RIGHT + 40.0)?;
    let bottom = EDGE + STRIP * size(cells.len());
    let rows = || {
        let place = |number| EDGE + STRIP * (f64::from(number) + 0.5);
        cells.iter().zip(0_u32..).map(move |(strip, number)| (place(number), strip))
    };
    let baseline = |y: f64| short(y + 4.0);
    let picture = html! {
        (grid_lines(&scale, (EDGE, bottom), &ratio_name))
        path.median d=(format!("M{} {EDGE}V{bottom}", short(scale.at(1.0)))) {}
        @for (y, strip) in rows() {
            text y=(baseline(y)) { (cell_name(strip.cell.scenario, strip.cell.spawner)) }
        }
        g.end transform=(format!("translate({WIDTH})")) {
            @for (y, strip) in rows() { text y=(baseline(y)) { (strip.cell.median) } }
        }
        @for (y, strip) in rows() { (one(strip, &scale, y, links)) }
    };
    (!cells.is_empty()).then(|| told.svg(bottom + EDGE, &picture))
}

/// The name of a cell where there is little room.
pub(in super::super) fn cell_name(scenario: Scenario, spawner: Spawner) -> &'static str {
    match (scenario, spawner) {
        (Scenario::SpawnOverhead, Spawner::Thread) => "spawn thread",
        (Scenario::SpawnOverhead, Spawner::Tokio) => "spawn tokio",
        (Scenario::SpawnOverhead, Spawner::SpawnBlocking) => "spawn blocking",
        (Scenario::SpawnOverhead, Spawner::Rayon) => "spawn rayon",
        (Scenario::Waiting, Spawner::Thread) => "wait thread",
        (Scenario::Waiting, Spawner::Tokio) => "wait tokio",
        (Scenario::Waiting, Spawner::SpawnBlocking) => "wait blocking",
        (Scenario::Waiting, Spawner::Rayon) => "wait rayon",
        (Scenario::CpuBound, Spawner::Thread) => "cpu thread",
        (Scenario::CpuBound, Spawner::Tokio) => "cpu tokio",
        (Scenario::CpuBound, Spawner::SpawnBlocking) => "cpu blocking",
        (Scenario::CpuBound, Spawner::Rayon) => "cpu rayon",
    }
}

fn one(strip: &Strip<'_>, scale: &Scale, y: f64, links: Links) -> Markup {
    let Strip { cell, this } = strip;
    let (far, others): (Vec<&HostValue>, Vec<&HostValue>) =
        cell.hosts.iter().partition(|host| host.stands_out);
    let crosses: String = far
        .iter()
        .map(|host| {
            let x = scale.at(host.ratio);
            format!("M{} {}l10 10m0-10l-10 10", short(x - 5.0), short(y - 5.0))
        })
        .collect();
    html! {
        path class=(format!("dots {}", cell.spawner)) d=(dots(&others, scale, y)) {}
        @if !far.is_empty() {
            path.cross d=(crosses) {}
        }
        @for host in far.iter().rev().take(NAMED) {
            text.named x=(short(scale.at(host.ratio) - 9.0)) y=(short(y + 4.0)) {
                (links.host_in_picture(host.id.as_str()))
            }
        }
        @if let Some(ratio) = this {
            path.this d=(ring(scale.at(*ratio), y, 7)) {}
        }
    }
}

/// A dot a host, each by its distance from the one before. Those that would lie on each other are one.
fn dots(hosts: &[&HostValue], scale: &Scale, y: f64) -> String {
    let places: BTreeSet<u64> = hosts.iter().map(|host| rounded(scale.at(host.ratio))).collect();
    let mut last = None;
    let dots = places.into_iter().map(|x| match last.replace(x) {
        None => format!("M{x} {}h0", short(y)),
        Some(last) => format!("m{} 0h0", x - last),
    });
    dots.collect()
}
