//! What is kept of a host's newest runs of one form, and its bytes.

use fleetmark_proto::{
    id::ReportId,
    invalid::Invalid,
    report::{Cell, Report},
    unit::Nanos,
};

use super::Extract;
use crate::stats::Newest;

/// A run in the order of runs: by when it ended, those of one time by their ids.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RunAt {
    /// In microseconds since 1970, by the clock that can be trusted.
    pub time_us: i64,
    /// The run's report.
    pub id: ReportId,
}

/// What a cell says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CellValue {
    /// The median of its samples.
    pub median: Nanos,
    /// How many these are.
    pub samples: u64,
    /// The highest of them.
    pub worst: Nanos,
}

impl CellValue {
    /// Of this cell; `None` if it failed.
    pub(super) fn of(report: &Report, cell: &Cell) -> Option<Self> {
        let Newest { median, samples, worst, .. } = Newest::of(report, cell)?;
        Some(Self { median, samples, worst })
    }

    /// The same as a host's newest value, without its rounds.
    #[must_use]
    pub fn newest(self, run: ReportId) -> Newest<'static> {
        let Self { median, samples, worst } = self;
        Newest { run, median, samples, worst, rounds: None }
    }
}

/// What the newest runs of a host say, of one form.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kept {
    /// The newest run, of whatever quality.
    pub last: RunAt,
    /// How long a million rounds of the kernel take on one core, by the newest whole run that shows it.
    pub kernel: Option<(RunAt, Nanos)>,
    /// What the newest clean and whole run says in which the cell did not fail, in the order of the form's cells.
    pub values: Vec<Option<(RunAt, CellValue)>>,
}

impl Kept {
    /// Of a host whose only run this is so far, without what it says.
    #[must_use]
    pub fn new(last: RunAt) -> Self {
        Self { last, kernel: None, values: Vec::new() }
    }

    /// Takes in what a run says, whenever it ended. `clean` is whether it is, by itself and by those beside it.
    pub fn merge(&mut self, run: RunAt, extract: &Extract, clean: bool) {
        self.last = self.last.max(run);
        self.values.resize(extract.values.len(), None);
        if extract.partial {
            return;
        }
        if let Some(kernel) = extract.kernel
            && self.kernel.is_none_or(|(from, _)| from < run)
        {
            self.kernel = Some((run, kernel));
        }
        let pairs = self.values.iter_mut().zip(&extract.values).filter(|_| clean);
        for (kept, value) in pairs {
            if let Some(value) = value
                && kept.is_none_or(|(from, _)| from < run)
            {
                *kept = Some((run, *value));
            }
        }
    }

    /// Whether no older run can add anything.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.kernel.is_some() && !self.values.is_empty() && self.values.iter().all(Option::is_some)
    }

    /// Whether anything of this is from that run.
    #[must_use]
    pub fn is_of(&self, id: ReportId) -> bool {
        let mut sources = self.values.iter().flatten().map(|(run, _)| run);
        self.last.id == id
            || self.kernel.is_some_and(|(run, _)| run.id == id)
            || sources.any(|run| run.id == id)
    }

    /// All but [`Kept::last`] in bytes: the other runs that something is from; then the kernel's time and each value, after which run
    /// it is from: 0 nothing, 1 the last, 2 the first of the others.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut others: Vec<RunAt> = Vec::new();
        let mut place = |run: RunAt| {
            if run == self.last {
                return 1;
            }
            let at = others.iter().position(|other| *other == run).unwrap_or_else(|| {
                others.push(run);
                others.len() - 1
            });
            fleetmark_proto::unit::count(at) + 2
        };
        let mut body = Vec::with_capacity(16 * self.values.len());
        match self.kernel {
            Some((run, kernel)) => put_all(&mut body, [place(run), kernel.0]),
            None => put_all(&mut body, [0, 0]),
        }
        for value in &self.values {
            let Some((run, CellValue { median, samples, worst })) = value else {
                put(&mut body, 0);
                continue;
            };
            let above = worst.0.saturating_sub(median.0);
            put_all(&mut body, [place(*run), median.0, *samples, above]);
        }
        let mut bytes = Vec::with_capacity(body.len() + 24 * others.len() + 1);
        put(&mut bytes, fleetmark_proto::unit::count(others.len()));
        for RunAt { time_us, id } in others {
            bytes.extend(time_us.to_be_bytes());
            bytes.extend(id.as_bytes());
        }
        bytes.extend(body);
        bytes
    }

    /// What [`Kept::encode`] wrote.
    ///
    /// # Errors
    ///
    /// If it did not write this.
    pub fn decode(last: RunAt, bytes: &[u8]) -> Result<Self, Invalid> {
        let mut bytes = Bytes(bytes);
        let mut runs = vec![last];
        for _ in 0..bytes.number()? {
            let time_us = i64::from_be_bytes(bytes.chunk()?);
            let id: [u8; 16] = bytes.chunk()?;
            runs.push(RunAt { time_us, id: ReportId::from_bytes(&id)? });
        }
        let run = |place: u64| -> Result<Option<RunAt>, Invalid> {
            let Some(at) = place.checked_sub(1) else { return Ok(None) };
            let found = usize::try_from(at).ok().and_then(|at| runs.get(at).copied());
            found.map(Some).ok_or_else(|| Invalid::new("kept", "names a run that is not there"))
        };
        let (from, kernel) = (run(bytes.number()?)?, Nanos(bytes.number()?));
        let kernel = from.map(|run| (run, kernel));
        let mut values = Vec::with_capacity(16);
        while !bytes.0.is_empty() {
            values.push(match run(bytes.number()?)? {
                Some(run) => {
                    let (median, samples) = (Nanos(bytes.number()?), bytes.number()?);
                    let worst = Nanos(median.0.saturating_add(bytes.number()?));
                    Some((run, CellValue { median, samples, worst }))
                }
                None => None,
            });
        }
        Ok(Self { last, kernel, values })
    }
}

fn put_all<const N: usize>(bytes: &mut Vec<u8>, numbers: [u64; N]) {
    for number in numbers {
        put(bytes, number);
    }
}

/// Writes a number, seven bits a byte, the lowest first.
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

/// What is left to be read.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn number(&mut self) -> Result<u64, Invalid> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or_else(cut_off)?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Invalid::new("kept", "has a number that is too great"))
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Invalid> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or_else(cut_off)?;
        self.0 = rest;
        Ok(*chunk)
    }
}

fn cut_off() -> Invalid {
    Invalid::new("kept", "is cut off")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing;

    fn at(time_us: i64) -> RunAt {
        RunAt { time_us, id: ReportId::now() }
    }

    /// What a run says of two cells, by their medians; 0 is a cell that failed.
    fn says(medians: [u64; 2]) -> Extract {
        let value = |median: u64| CellValue {
            median: Nanos(median),
            samples: 3,
            worst: Nanos(median.saturating_add(7)),
        };
        let values = medians.map(|median| (median > 0).then(|| value(median)));
        Extract { values: values.to_vec(), ..Extract::of(&testing::pair("a", 0.5)) }
    }

    fn medians(kept: &Kept) -> Vec<u64> {
        kept.values.iter().map(|value| value.map_or(0, |(_, value)| value.median.0)).collect()
    }

    #[test]
    fn the_newest_clean_value_counts_in_whichever_order_runs_come() {
        let runs = [(at(1), [10, 20], true), (at(2), [11, 0], true), (at(3), [12, 22], false)];
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let mut kept = Kept::new(runs[order[0]].0);
            for (run, values, clean) in order.map(|place| runs[place]) {
                kept.merge(run, &says(values), clean);
            }
            assert_eq!(medians(&kept), [11, 20], "{order:?}");
            assert_eq!(kept.last, runs[2].0);
            assert!(runs.iter().all(|(run, ..)| kept.is_of(run.id)));
            assert!(!kept.is_of(ReportId::now()));
        }
    }

    #[test]
    fn a_partial_run_gives_no_value() {
        let mut kept = Kept::new(at(1));
        kept.merge(at(2), &Extract { partial: true, kernel: Some(Nanos(5)), ..says([1, 2]) }, true);
        assert_eq!((medians(&kept), kept.kernel, kept.last.time_us), (vec![0, 0], None, 2));
        assert!(!kept.is_full());
    }

    #[test]
    fn what_was_not_written_is_refused() {
        let mut kept = Kept::new(at(1));
        kept.merge(kept.last, &says([300, 20]), true);
        let bytes = kept.encode();
        assert!(Kept::decode(kept.last, &bytes[..bytes.len() - 1]).is_err(), "cut off");
        for wrong in [&[][..], &[0xff; 12], &[0, 3, 0], &[1, 0, 0]] {
            assert!(Kept::decode(kept.last, wrong).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn bytes_say_what_was_kept(
            runs in prop::collection::vec((any::<i64>(), any::<[u64; 2]>(), any::<bool>()), 1..6),
        ) {
            let mut kept = Kept::new(at(i64::MIN));
            for (time_us, values, clean) in runs {
                kept.merge(at(time_us), &says(values.map(|value| value >> (value % 60))), clean);
            }
            prop_assert_eq!(Kept::decode(kept.last, &kept.encode()).unwrap(), kept);
        }
    }
}
