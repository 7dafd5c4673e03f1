//! A row a comparison: how many times as much one side has as the other, with its interval, round 1. The mark's shape is the
//! verdict, and a word says it, too.

use fleetmark_proto::verdict::{Outcome, TIE};
use maud::{Markup, html};

use super::{
    RIGHT, Scale, Told, WIDTH, grid_lines, ratio_name, ring, short, size, to_left, to_right,
};

/// Where the plot begins, right of the names.
const LEFT: f64 = 180.0;
/// Between two rows.
const ROW: f64 = 22.0;
/// Above the first row, and below the last.
const EDGE: f64 = 24.0;
/// An axis spans this factor to both sides at least, so that what is alike looks so.
const LEAST: f64 = 1.1;
/// Where ratios alone do not ask for more, intervals widen an axis up to this factor. What goes on has no end.
const WIDEST: f64 = 2.0;

/// One comparison.
pub(in super::super) struct Ratio {
    /// What was compared.
    pub(in super::super) name: String,
    pub(in super::super) ratio: f64,
    pub(in super::super) interval: Option<(f64, f64)>,
    pub(in super::super) outcome: Outcome,
    /// What came of it, in words.
    pub(in super::super) words: String,
}

/// The picture; `None` if there is nothing to draw.
pub(in super::super) fn ratios(rows: &[Ratio], told: &Told<'_>) -> Option<Markup> {
    let scale = scale(rows)?;
    let bottom = EDGE + ROW * size(rows.len());
    let placed = || {
        let place = |number| EDGE + ROW * (f64::from(number) + 0.5);
        rows.iter().zip(0_u32..).map(move |(row, number)| (place(number), row))
    };
    let baseline = |y: f64| short(y + 4.0);
    let (from, to) = (scale.at(1.0 - TIE), scale.at(1.0 + TIE));
    let band = format!("M{} {EDGE}H{}V{bottom}H{}z", short(from), short(to), short(from));
    let picture = html! {
        path.band d=(band) {}
        (grid_lines(&scale, (EDGE, bottom), &ratio_name))
        path.median d=(format!("M{} {EDGE}V{bottom}", short(scale.at(1.0)))) {}
        @for (y, row) in placed() { text y=(baseline(y)) { (row.name) } }
        g.end transform=(format!("translate({WIDTH})")) {
            @for (y, row) in placed() { text y=(baseline(y)) { (row.words) } }
        }
        @for (y, row) in placed() { (one(row, &scale, y)) }
    };
    Some(told.svg(bottom + EDGE, &picture))
}

/// What the marks mean.
pub(in super::super) fn key() -> Markup {
    let all = [
        (Outcome::Faster, "faster than A"),
        (Outcome::Slower, "slower than A"),
        (Outcome::Tie, "tie: wholly within 5%, which is shaded"),
        (Outcome::Unresolved, "unresolved"),
    ];
    super::key(
        all.into_iter().map(|(outcome, word)| (outcome.name(), mark(outcome, 7.0, 7.0), word)),
    )
}

fn mark(outcome: Outcome, x: f64, y: f64) -> String {
    match outcome {
        Outcome::Faster => to_left(x, y),
        Outcome::Slower => to_right(x, y),
        Outcome::Tie => ring(x, y, 4),
        Outcome::Unresolved => ring(x, y, 5),
    }
}

/// Logarithmic, and as far to one side of 1 as to the other.
fn scale(rows: &[Ratio]) -> Option<Scale> {
    let off = |ratio: f64| Some(ratio.ln().abs()).filter(|it| it.is_finite());
    let farthest =
        |values: &mut dyn Iterator<Item = f64>| values.filter_map(off).fold(0.0, f64::max);
    let ratios = farthest(&mut rows.iter().map(|row| row.ratio));
    let ends =
        farthest(&mut rows.iter().filter_map(|row| row.interval).flat_map(|it| [it.0, it.1]));
    let half = ratios.max(LEAST.ln()).max(ends.min(WIDEST.ln().max(1.5 * ratios)));
    Scale::log([(-half).exp(), half.exp()].into_iter(), LEFT, RIGHT).filter(|_| !rows.is_empty())
}

fn one(row: &Ratio, scale: &Scale, y: f64) -> Markup {
    let Ratio { ratio, interval, outcome, .. } = row;
    let end = |value: f64| match (scale.low..=scale.high).contains(&value) {
        true => format!("M{} {}v8", short(scale.at(value)), short(y - 4.0)),
        // An arrow would say that it goes on; a line without an end does, too.
        false => String::new(),
    };
    let whisker = interval.map(|(low, high)| {
        let (from, to) = (short(scale.at(low)), short(scale.at(high)));
        format!("M{from} {}H{to}{}{}", short(y), end(low), end(high))
    });
    html! {
        @if let Some(whisker) = whisker { path.line.ink d=(whisker) {} }
        path class=(outcome.name()) d=(mark(*outcome, scale.at(*ratio), y)) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ratio: f64, interval: (f64, f64)) -> Ratio {
        let (name, words) = ("tokio".to_owned(), "tie".to_owned());
        Ratio { name, ratio, interval: Some(interval), outcome: Outcome::Tie, words }
    }

    #[test]
    fn one_is_in_the_middle_and_a_wide_interval_hides_nothing() {
        let middle = LEFT.midpoint(RIGHT);
        for rows in [
            vec![row(1.0, (0.99, 1.01))],
            vec![row(1.12, (1.0, 1.2)), row(0.97, (0.9, 1.0))],
            vec![row(34.0, (30.0, 36.0))],
        ] {
            let scale = scale(&rows).unwrap();
            assert!((scale.at(1.0) - middle).abs() < 1e-6);
            assert!(rows.iter().all(|it| scale.at(it.ratio) < RIGHT));
        }
        let scale = scale(&[row(1.2, (1e-6, 1e6))]).unwrap();
        assert!(scale.at(1.2) - middle > 50.0, "{scale:?}");
    }

    #[test]
    fn nothing_and_nonsense_are_no_picture_and_no_panic() {
        assert!(scale(&[]).is_none());
        assert!(scale(&[row(0.0, (f64::NAN, f64::INFINITY))]).is_some());
    }
}
