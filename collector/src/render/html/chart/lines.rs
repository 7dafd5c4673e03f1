//! What a unit costs by its length: a line a spawner, both axes logarithmic.

use fleetmark_proto::{
    grain::{self, Grain},
    plan::Spawner,
    unit::{Nanos, approximate, grouped},
};
use maud::{Markup, html};

use super::{RIGHT, Scale, Told, duration, short};

/// Where the plot begins and ends.
const LEFT: f64 = 70.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 270.0;
/// For a name on the axis.
const ROOM: f64 = 48.0;
/// Of the whole picture, with the axis' names.
const HEIGHT: f64 = 312.0;

/// The picture; `None` if there is nothing to draw.
pub(in super::super) fn lines(
    grain: &Grain,
    kernel_time: Option<Nanos>,
    told: &Told<'_>,
) -> Option<Markup> {
    let lengths: Vec<u64> = grain.lengths().collect();
    let spawners = grain.spawners();
    let costs = lengths.iter().flat_map(|&rounds| {
        spawners.iter().filter_map(move |&spawner| grain.cost(rounds, spawner))
    });
    let y = Scale::log(costs, BOTTOM, TOP)?;
    // Nothing at all has no logarithm: it stands apart, left of the others.
    let shortest = lengths.iter().copied().find(|rounds| *rounds > 0)?;
    let place = |rounds: u64| approximate(if rounds == 0 { shortest } else { rounds });
    let has_nothing = lengths.contains(&0);
    let from = if has_nothing { LEFT + 60.0 } else { LEFT };
    let x = Scale::log(lengths.iter().map(|rounds| place(*rounds)), from, RIGHT + 60.0)?;
    let at = |rounds: u64| if rounds == 0 { LEFT + 24.0 } else { x.at(place(rounds)) };
    let name = |rounds: u64| match kernel_time {
        _ if rounds == 0 => "nothing".to_owned(),
        Some(time) => duration(grain::length(rounds, time).to_f64()),
        None => grouped(rounds),
    };
    let axis = match kernel_time {
        Some(_) => "length of a unit, by itself on one core",
        None => "length of a unit, in rounds of the kernel",
    };
    let line = |spawner: Spawner| {
        let points = lengths
            .iter()
            .filter_map(|&rounds| Some((at(rounds), y.at(grain.cost(rounds, spawner)?))));
        let points: Vec<(f64, f64)> = points.collect();
        let line = points
            .iter()
            .zip(["M"].into_iter().chain(std::iter::repeat("L")))
            .map(|((x, y), move_or_line)| format!("{move_or_line}{} {}", short(*x), short(*y)));
        line.collect::<String>()
    };
    let across: String = y
        .ticks()
        .iter()
        .map(|tick| format!("M{} {}H{}", short(LEFT), short(y.at(*tick)), short(RIGHT + 60.0)))
        .collect();
    let picture = html! {
        path.grid d=(across) {}
        @for tick in y.ticks() {
            text.end x=(short(LEFT - 6.0)) y=(short(y.at(tick) + 4.0)) { (duration(tick)) }
        }
        g.tick {
            @for rounds in named(&lengths, &at) {
                text x=(short(at(rounds))) y=(short(BOTTOM + 16.0)) { (name(rounds)) }
            }
            text x=(short(LEFT.midpoint(RIGHT + 60.0))) y=(short(HEIGHT - 6.0)) { (axis) }
        }
        @for spawner in spawners {
            path class=(format!("line marked {spawner}")) d=(line(spawner)) {}
        }
    };
    Some(told.svg(HEIGHT, &picture))
}

/// The lengths whose names have room beside each other; the longest has its name in any case.
fn named(lengths: &[u64], at: &dyn Fn(u64) -> f64) -> Vec<u64> {
    let mut named: Vec<u64> = Vec::new();
    for &rounds in lengths.iter().rev() {
        if named.last().is_none_or(|next| at(*next) - at(rounds) >= ROOM) {
            named.push(rounds);
        }
    }
    named
}
