//! A panel a cell over one axis of time: a point a run or a bucket, with its interval. What was left out is a ring, a step a
//! triangle, and numbers above stand for what changed.

use fleetmark_proto::unit::{Nanos, approximate, rounded};
use jiff::Timestamp;
use maud::{Markup, html};

use super::{RIGHT, Scale, Told, WIDTH, cell_name, cross, down, ring, short, size, up};
use crate::view::{Line, Point, PointState};

/// Where the plot begins, right of the names and the axes' ends.
const LEFT: f64 = 164.0;
/// Of one panel, and of the plot in it.
const PANEL: f64 = 66.0;
const PLOT: f64 = 44.0;
/// Above the panels without marks, and a row of marks' numbers.
const EDGE: f64 = 6.0;
const NUMBER: f64 = 13.0;
/// A number has so much room at least, or it goes to another row.
const ROOM: f64 = 16.0;
/// More points than this are a line without marks.
const DENSE: usize = 60;
/// Between two names on the axis of time, in seconds, of which the first that fits is taken.
const STEPS: [i64; 14] = [
    60, 600, 3_600, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800, 1_209_600, 2_592_000,
    7_862_400, 15_724_800, 31_536_000,
];
const DAY: i64 = 86_400;

/// A cell, with as many of its newest points as are drawn.
pub(in super::super) struct Panel<'a> {
    pub(in super::super) line: &'a Line,
    pub(in super::super) points: &'a [Point],
}

/// The axis of time.
struct Time {
    from: i64,
    to: i64,
}

impl Time {
    fn of(panels: &[Panel<'_>]) -> Option<Self> {
        let times = || panels.iter().flat_map(|it| it.points).map(|point| point.at.as_second());
        Some(Self { from: times().min()?, to: times().max()? })
    }

    fn at(&self, time: i64) -> f64 {
        let seconds = |span: i64| approximate(u64::try_from(span).unwrap_or(0));
        match seconds(self.to - self.from) {
            // All of one time is in the middle.
            0.0 => LEFT.midpoint(RIGHT),
            span => LEFT + 8.0 + seconds(time - self.from) / span * (RIGHT - LEFT - 16.0),
        }
    }

    /// Round times with their names.
    fn ticks(&self) -> Vec<(f64, String)> {
        let Self { from, to } = *self;
        let step =
            STEPS.into_iter().find(|step| (to - from) / step <= 5).unwrap_or((to - from) / 5);
        let first = (from + step - 1).div_euclid(step) * step;
        let form = if step < DAY { "%m-%d %H:%M" } else { "%Y-%m-%d" };
        let mut times: Vec<i64> =
            (0..6).map(|number| first + number * step).filter(|time| *time <= to).collect();
        if times.is_empty() {
            times.push(from);
        }
        let named = times.into_iter().filter_map(|time| {
            let name = Timestamp::from_second(time).ok()?.strftime(form).to_string();
            Some((self.at(time), name))
        });
        named.collect()
    }
}

/// The picture; `None` if there is nothing to draw. Marks are numbered from 1 on, in their order.
pub(in super::super) fn courses(
    panels: &[Panel<'_>],
    marks: &[Timestamp],
    told: &Told<'_>,
) -> Option<Markup> {
    let time = Time::of(panels)?;
    let within = |at: &Timestamp| (time.from..=time.to).contains(&at.as_second());
    let marks: Vec<(f64, u32)> = marks
        .iter()
        .zip(1_u32..)
        .filter(|(at, _)| within(at))
        .map(|(at, number)| (time.at(at.as_second()), number))
        .collect();
    let (numbers, rows) = numbers(&marks);
    let top = EDGE + NUMBER * size(rows);
    let bottom = top + PANEL * size(panels.len());
    let dashes: String = marks
        .iter()
        .map(|(x, _)| format!("M{} {}V{bottom}", short(*x), short(top - 2.0)))
        .collect();
    let ticks = time.ticks();
    let upright: String =
        ticks.iter().map(|(x, _)| format!("M{} {top}V{bottom}", short(*x))).collect();
    let picture = html! {
        path.grid d=(upright) {}
        path.median d=(dashes) {}
        g.number {
            @for (x, row, number) in &numbers {
                text x=(short(*x)) y=(short(top - 4.0 - NUMBER * size(*row))) { (number) }
            }
        }
        @for (panel, number) in panels.iter().zip(0_u32..) {
            (one(panel, &time, top + PANEL * f64::from(number)))
        }
        g.tick {
            @for (x, name) in &ticks { text x=(short(*x)) y=(short(bottom + 14.0)) { (name) } }
        }
    };
    Some(told.svg(bottom + 22.0, &picture))
}

/// In which row above the panels the number of each mark stands, and how many rows there are: the lowest that has room, or the
/// highest.
fn numbers(marks: &[(f64, u32)]) -> (Vec<(f64, usize, u32)>, usize) {
    let mut ends = [f64::MIN; 3];
    let place = |(x, number): &(f64, u32)| {
        let free = ends.iter().position(|end| x - end >= ROOM).unwrap_or(ends.len() - 1);
        if let Some(end) = ends.get_mut(free) {
            *end = *x;
        }
        (*x, free, *number)
    };
    let placed: Vec<(f64, usize, u32)> = marks.iter().map(place).collect();
    let rows = placed.iter().map(|(_, row, _)| row + 1).max().unwrap_or(0);
    (placed, rows)
}

fn one(panel: &Panel<'_>, time: &Time, top: f64) -> Markup {
    let Panel { line, points } = panel;
    let floor = top + 8.0 + PLOT;
    let scale = scale(points, floor);
    let last = points.iter().rev().find(|point| point.state == PointState::Counts);
    let last = last.and_then(|point| point.median_ns);
    let value = |value: f64| Nanos(rounded(value)).to_string();
    let middle = short(floor - PLOT / 2.0 + 4.0);
    html! {
        path.grid d=(format!("M{LEFT} {}H{RIGHT}", short(floor + 4.0))) {}
        text y=(middle) { (cell_name(line.scenario, line.spawner)) }
        @if let Some(scale) = &scale {
            g.low {
                text x=(short(LEFT - 6.0)) y=(short(floor - PLOT + 5.0)) { (value(scale.high)) }
                text x=(short(LEFT - 6.0)) y=(short(floor + 3.0)) { (value(scale.low)) }
            }
        }
        (drawn(panel, time, scale.as_ref(), floor))
        text.end x=(WIDTH) y=(middle) { (last.map_or_else(|| "none".to_owned(), |last| last.to_string())) }
    }
}

/// From the least to the most that counts, a tenth of it at least. Where nothing counts, what does not.
fn scale(points: &[Point], floor: f64) -> Option<Scale> {
    let values = |counts: bool| {
        let these = points.iter().filter(move |point| !counts || point.state == PointState::Counts);
        these.filter_map(|point| Some((point.median_ns?, point.interval))).flat_map(
            |(median, interval)| {
                let (low, high) = interval.map_or((median, median), |it| (it.low_ns, it.high_ns));
                // A wide interval of few hosts must not make a line of all others.
                let median = median.to_f64();
                [low.to_f64().max(median / 1.5), median, high.to_f64().min(median * 1.5)]
            },
        )
    };
    let span = |counts| {
        values(counts).fold((f64::MAX, 0.0_f64), |(low, high), it| (low.min(it), high.max(it)))
    };
    let (low, high) = match span(true) {
        (_, 0.0) => span(false),
        found => found,
    };
    let high_enough = high.max(1.1 * low);
    // Nothing at all leaves the most at 0.
    (high > 0.0).then_some(Scale {
        low,
        high: high_enough,
        is_log: false,
        from: floor,
        to: floor - PLOT,
    })
}

fn drawn(panel: &Panel<'_>, time: &Time, scale: Option<&Scale>, floor: f64) -> Markup {
    let Panel { line, points } = panel;
    let mut builds: Vec<&str> = points.iter().map(|point| point.build.as_str()).collect();
    builds.sort_unstable();
    builds.dedup();
    let (mut course, mut whiskers) = (String::new(), String::new());
    let (mut slower, mut faster) = (String::new(), String::new());
    let (mut left_out, mut nothing) = (String::new(), String::new());
    for build in builds {
        let mut begins = true;
        for point in points.iter().filter(|point| point.build == build) {
            let x = time.at(point.at.as_second());
            let Some((median, scale)) = point.median_ns.zip(scale) else {
                nothing.push_str(&cross(x, floor - 5.0));
                continue;
            };
            let y = scale.at(median.to_f64());
            if point.state != PointState::Counts {
                left_out.push_str(&ring(x, y, 4));
                continue;
            }
            let word = if std::mem::take(&mut begins) { "M" } else { "L" };
            course.push_str(&format!("{word}{} {}", short(x), short(y)));
            if let Some(interval) = point.interval {
                let (low, high) =
                    (scale.at(interval.low_ns.to_f64()), scale.at(interval.high_ns.to_f64()));
                whiskers.push_str(&format!("M{} {}V{}", short(x), short(low), short(high)));
            }
            if let Some(jump) = &point.jump {
                match jump.ratio > 1.0 {
                    true => slower.push_str(&up(x, y - 2.0)),
                    false => faster.push_str(&down(x, y + 2.0)),
                }
            }
        }
    }
    let marked = if points.len() > DENSE { "" } else { " marked" };
    let drawn = [
        (format!("line thin {}", line.spawner), whiskers),
        (format!("line{marked} {}", line.spawner), course),
        ("left-out".to_owned(), left_out),
        ("nothing".to_owned(), nothing),
        ("slower".to_owned(), slower),
        ("faster".to_owned(), faster),
    ];
    html! {
        @for (class, form) in drawn.iter().filter(|(_, form)| !form.is_empty()) {
            path class=(class) d=(form) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_round_and_few() {
        let names = |from: &str, to: &str| {
            let second = |text: &str| text.parse::<Timestamp>().unwrap().as_second();
            let ticks = Time { from: second(from), to: second(to) }.ticks();
            assert!(ticks.iter().all(|(x, _)| (LEFT..=RIGHT).contains(x)));
            ticks.into_iter().map(|(_, name)| name).collect::<Vec<_>>()
        };
        let weeks = names("2026-10-28T10:00:00Z", "2026-11-25T10:00:00Z");
        assert!((2..7).contains(&weeks.len()) && weeks[0].starts_with("2026-1"), "{weeks:?}");
        let hours = names("2026-10-28T10:00:00Z", "2026-10-28T14:30:00Z");
        assert_eq!(
            hours,
            ["10-28 10:00", "10-28 11:00", "10-28 12:00", "10-28 13:00", "10-28 14:00"]
        );
        assert_eq!(names("2026-10-28T10:00:00Z", "2026-10-28T10:00:00Z"), ["10-28 10:00"]);
        assert!(names("1990-01-01T00:00:00Z", "2026-01-01T00:00:00Z").len() > 1);
    }

    #[test]
    fn numbers_do_not_stand_on_each_other() {
        let close: Vec<(f64, u32)> = (1..=3).map(|at| (100.0 + 4.0 * f64::from(at), at)).collect();
        let (placed, rows) = numbers(&close);
        assert_eq!(placed.iter().map(|it| it.1).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!((rows, numbers(&[]).1), (3, 0));
    }
}
