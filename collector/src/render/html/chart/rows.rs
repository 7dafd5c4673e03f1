//! A row a value: where it lies on one axis, with its interval.

use fleetmark_proto::plan::Spawner;
use maud::{Markup, html};

use super::{LEFT, RIGHT, Scale, Told, WIDTH, grid_lines, mark, short, size};

/// Between two rows.
const ROW: f64 = 18.0;
/// Height of a heading.
const HEADING: f64 = 22.0;
/// Above the first row, and below the last.
const EDGE: f64 = 24.0;

/// Rows of one axis, block by block.
pub(in super::super) struct Rows {
    pub(in super::super) scale: Scale,
    /// What stands at a value of the axis.
    pub(in super::super) name: fn(f64) -> String,
    pub(in super::super) blocks: Vec<Block>,
}

/// Rows under one heading.
pub(in super::super) struct Block {
    pub(in super::super) heading: String,
    pub(in super::super) rows: Vec<Row>,
}

/// One value of a spawner.
pub(in super::super) struct Row {
    pub(in super::super) spawner: Spawner,
    pub(in super::super) value: f64,
    pub(in super::super) interval: Option<(f64, f64)>,
    /// The value as people read it.
    pub(in super::super) text: String,
}

impl Rows {
    /// The axis for values as these rows have, from left to right.
    pub(in super::super) fn log(blocks: &[Block]) -> Option<Scale> {
        let rows = blocks.iter().flat_map(|block| &block.rows);
        let values = rows.flat_map(|row| {
            let (low, high) = row.interval.unwrap_or((row.value, row.value));
            [low, row.value, high]
        });
        Scale::log(values, LEFT, RIGHT)
    }

    /// The same from 0 on.
    pub(in super::super) fn linear(blocks: &[Block]) -> Scale {
        let rows = blocks.iter().flat_map(|block| &block.rows);
        let highest = rows.map(|row| row.value).fold(1.0, f64::max);
        Scale::linear(highest * 1.05, LEFT, RIGHT)
    }

    pub(in super::super) fn draw(&self, told: &Told<'_>) -> Markup {
        let Self { scale, name, blocks } = self;
        let of_block = |block: &Block| HEADING + ROW * size(block.rows.len());
        let bottom = EDGE + blocks.iter().map(of_block).sum::<f64>();
        let heads = blocks.iter().scan(EDGE, |top, block| {
            let here = *top;
            *top += of_block(block);
            Some((here, block))
        });
        let tops = heads.clone();
        let rows = tops.flat_map(|(top, block)| {
            let place = move |number| top + HEADING + ROW * (f64::from(number) + 0.5);
            block.rows.iter().zip(0_u32..).map(move |(row, number)| (place(number), row))
        });
        let rows: Vec<(f64, &Row)> = rows.collect();
        let baseline = |y: f64| short(y + 4.0);
        let picture = html! {
            (grid_lines(scale, (EDGE, bottom), &|value| name(value)))
            @for (top, block) in heads {
                text.heading y=(short(top + HEADING - 7.0)) { (block.heading) }
            }
            g transform="translate(12)" {
                @for (y, row) in &rows { text y=(baseline(*y)) { (row.spawner) } }
            }
            g.end transform=(format!("translate({WIDTH})")) {
                @for (y, row) in &rows { text y=(baseline(*y)) { (row.text) } }
            }
            @for (y, row) in &rows { (self.marks(row, *y)) }
        };
        told.svg(bottom + EDGE, &picture)
    }

    fn marks(&self, row: &Row, y: f64) -> Markup {
        let Row { spawner, value, interval, .. } = row;
        let whisker = interval.map(|(low, high)| {
            let (low, high) = (short(self.scale.at(low)), short(self.scale.at(high)));
            format!("M{low} {}v8m0-4H{high}m0-4v8", short(y - 4.0))
        });
        html! {
            @if let Some(whisker) = whisker {
                path class=(format!("line {spawner}")) d=(whisker) {}
            }
            path class=(spawner.name()) d=(mark(*spawner, self.scale.at(*value), y)) {}
        }
    }
}
