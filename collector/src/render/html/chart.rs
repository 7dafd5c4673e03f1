//! Pictures as SVG. Each has a title and a description, tells spawners apart by shape as well as by colour, and stands above a
//! table of its numbers or beside a link to it.

mod courses;
mod lines;
mod ratios;
mod rows;
mod strips;

pub(super) use courses::{Panel, courses};
pub(super) use lines::lines;
pub(super) use ratios::{Ratio, key as verdict_key, ratios};
pub(super) use rows::{Block, Row, Rows};
pub(super) use strips::{Strip, cell_name, of_hosts, strips};

use fleetmark_proto::{
    plan::Spawner,
    unit::{Nanos, approximate, count, rounded},
};
use maud::{Markup, html};

/// Width of every picture, in its own units.
const WIDTH: f64 = 720.0;
/// Where the plot begins, right of the names.
const LEFT: f64 = 112.0;
/// Where it ends, left of the values.
const RIGHT: f64 = 610.0;

/// What a picture is called, and what it shows, for who does not see it.
pub(super) struct Told<'a> {
    /// Unique on the page.
    pub(super) id: &'a str,
    pub(super) title: &'a str,
    pub(super) description: &'a str,
}

impl Told<'_> {
    fn svg(&self, height: f64, picture: &Markup) -> Markup {
        let Self { id, title, description } = self;
        html! {
            div.scroll tabindex="0" role="region" aria-label=(title) {
                svg viewBox=(format!("0 0 {WIDTH} {}", short(height))) role="img"
                    aria-label=(title) aria-describedby=(format!("{id}-d")) {
                    title { (title) }
                    desc id=(format!("{id}-d")) { (description) }
                    (picture)
                }
            }
        }
    }
}

/// Where values lie on an axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
    from: f64,
    to: f64,
}

impl Scale {
    /// Logarithmic, with some room around these values; `None` if none is more than 0.
    pub(super) fn log(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Option<Self> {
        let values = values.filter(|value| *value > 0.0 && value.is_finite());
        let (low, high) = values
            .fold((f64::MAX, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        let room = (high / low).powf(0.06).max(1.04);
        (high > 0.0).then_some(Self { low: low / room, high: high * room, is_log: true, from, to })
    }

    /// From 0 to `high`.
    pub(super) fn linear(high: f64, from: f64, to: f64) -> Self {
        Self { low: 0.0, high, is_log: false, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let Self { low, high, is_log, from, to } = *self;
        let share = match is_log {
            true => (value / low).ln() / (high / low).ln(),
            false => (value - low) / (high - low),
        };
        from + share.clamp(0.0, 1.0) * (to - from)
    }

    /// A handful of round values.
    fn ticks(&self) -> Vec<f64> {
        let Self { low, high, is_log, .. } = *self;
        let decades = (high / low).log10();
        if !is_log || decades < 0.3 {
            let step = even_step(high - low);
            let first = (low / step).ceil();
            return (0_u32..9)
                .map(|i| (first + f64::from(i)) * step)
                .filter(|it| *it <= high)
                .collect();
        }
        let of_decade: &[f64] = match decades {
            ..1.2 => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0],
            1.2..2.6 => &[1.0, 2.0, 5.0],
            2.6..4.0 => &[1.0, 3.0],
            _ => &[1.0],
        };
        let mut ticks = Vec::new();
        let mut decade = power_of_ten(low);
        while decade <= high {
            ticks.extend(of_decade.iter().map(|it| it * decade));
            decade *= 10.0;
        }
        ticks.retain(|it| *it >= low && *it <= high);
        ticks
    }
}

/// The lowest of 1, 2, 5, 10, … that goes into a span at most eight times.
fn even_step(span: f64) -> f64 {
    let whole = power_of_ten(span);
    let mut steps = [whole / 10.0, whole / 5.0, whole / 2.0, whole].into_iter();
    steps.find(|step| span / step <= 8.0).unwrap_or(whole)
}

/// The highest power of ten that is not over a value.
fn power_of_ten(value: f64) -> f64 {
    10_f64.powf(value.log10().floor())
}

/// The size of a collection, to calculate with.
fn size(of: usize) -> f64 {
    approximate(count(of))
}

/// A coordinate: a 700th of the width is near enough.
fn short(value: f64) -> u64 {
    rounded(value)
}

/// A duration for an axis: `10 ms`.
pub(super) fn duration(nanos: f64) -> String {
    let text = Nanos(rounded(nanos)).to_string();
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

/// The mark of a spawner: square, disc, triangle or diamond.
fn mark(spawner: Spawner, x: f64, y: f64) -> String {
    let (left, top) = (short(x - 4.0), short(y - 4.0));
    match spawner {
        Spawner::Thread => format!("M{left} {top}h8v8h-8z"),
        Spawner::Tokio => {
            format!("M{} {}a5 5 0 1 0 10 0a5 5 0 1 0-10 0z", short(x - 5.0), short(y))
        }
        Spawner::SpawnBlocking => format!("M{} {}l5 9h-10z", short(x), short(y - 5.0)),
        Spawner::Rayon => format!("M{} {}l6 6l-6 6l-6-6z", short(x), short(y - 6.0)),
    }
}

/// The marks that stand at each point of a line; a page with lines has them once.
pub(super) fn marks() -> Markup {
    html! {
        svg.marks aria-hidden="true" {
            defs {
                @for spawner in Spawner::ALL {
                    marker id=(format!("mark-{spawner}")) markerUnits="userSpaceOnUse"
                        markerWidth="14" markerHeight="14" refX="7" refY="7" {
                        path class=(spawner.name()) d=(mark(spawner, 7.0, 7.0)) {}
                    }
                }
            }
        }
    }
}

/// Which mark is which spawner's.
pub(super) fn legend(spawners: &[Spawner]) -> Markup {
    key(spawners.iter().map(|it| (it.name(), mark(*it, 7.0, 7.0), it.name())))
}

/// What marks mean: of each its class, its form round the middle of a square of 14, and its word.
pub(super) fn key(marks: impl Iterator<Item = (&'static str, String, &'static str)>) -> Markup {
    html! {
        ul.legend {
            @for (class, form, word) in marks {
                li {
                    svg viewBox="0 0 14 14" aria-hidden="true" { path class=(class) d=(form) {} }
                    (word)
                }
            }
        }
    }
}

/// A ring, a cross, and a triangle that points somewhere, round a place.
pub(super) fn ring(x: f64, y: f64, radius: u32) -> String {
    let (left, y, across) = (short(x - f64::from(radius)), short(y), 2 * radius);
    format!("M{left} {y}a{radius} {radius} 0 1 0 {across} 0a{radius} {radius} 0 1 0-{across} 0z")
}

pub(super) fn cross(x: f64, y: f64) -> String {
    format!("M{} {}l10 10m0-10l-10 10", short(x - 5.0), short(y - 5.0))
}

pub(super) fn up(x: f64, y: f64) -> String {
    format!("M{} {}l6 10h-12z", short(x), short(y - 6.0))
}

pub(super) fn down(x: f64, y: f64) -> String {
    format!("M{} {}l-6-10h12z", short(x), short(y + 6.0))
}

pub(super) fn to_left(x: f64, y: f64) -> String {
    format!("M{} {}l10-6v12z", short(x - 6.0), short(y))
}

pub(super) fn to_right(x: f64, y: f64) -> String {
    format!("M{} {}l-10-6v12z", short(x + 6.0), short(y))
}

/// A ratio for an axis: `0.95×`.
fn ratio_name(ratio: f64) -> String {
    let text = if ratio < 0.1 { format!("{ratio:.4}") } else { format!("{ratio:.2}") };
    format!("{}×", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Lines from top to bottom at round values, named above and below.
fn grid_lines(scale: &Scale, (top, bottom): (f64, f64), name: &dyn Fn(f64) -> String) -> Markup {
    let ticks = scale.ticks();
    let lines = ticks
        .iter()
        .map(|tick| format!("M{} {}V{}", short(scale.at(*tick)), short(top), short(bottom)));
    html! {
        path.grid d=(lines.collect::<String>()) {}
        // Where the axis is out of sight, it is named above, too.
        @for y in [bottom + 14.0].into_iter().chain((bottom - top > 400.0).then_some(top - 6.0)) {
            g.tick {
                @for tick in &ticks {
                    text x=(short(scale.at(*tick))) y=(short(y)) { (name(*tick)) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lie_between_the_ends_and_ticks_are_round() {
        let scale = Scale::log([240e3, 99e6].into_iter(), 100.0, 600.0).unwrap();
        assert!(scale.at(240e3) > 100.0 && scale.at(71e6) < 600.0);
        assert!((scale.at(0.0) - 100.0).abs() < 1e-9, "what is off the axis is at its end");
        let names: Vec<String> = scale.ticks().into_iter().map(duration).collect();
        assert_eq!(names, ["300 µs", "1 ms", "3 ms", "10 ms", "30 ms", "100 ms"]);
        let narrow = Scale::log([71e6, 74e6].into_iter(), 0.0, 1.0).unwrap();
        assert!((2..12).contains(&narrow.ticks().len()), "{:?}", narrow.ticks());
        assert_eq!(Scale::linear(1.1, 0.0, 1.0).ticks().len(), 6);
        assert!(Scale::log([0.0].into_iter(), 0.0, 1.0).is_none());
    }
}
