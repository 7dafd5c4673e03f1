//! How much memory there is.

use fleetmark_proto::{limits, unit::approximate};
use procfs_core::{FromBufRead as _, Meminfo};

use super::{Fact, Found, Root};

const MEMINFO: &str = "proc/meminfo";
const MIB: u64 = 1 << 20;

/// The memory that the kernel manages.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) bytes: Found<u64>,
}

pub(super) fn read(root: Root<'_>) -> Memory {
    let bytes = root.read(MEMINFO).and_then(|text| parse(&text));
    Memory { bytes: Found::new(bytes, format!("/{MEMINFO}")) }
}

fn parse(text: &str) -> Option<u64> {
    // The parser wants fields that captured files leave out; the total is the first line of them all.
    let whole = Meminfo::from_buf_read(text.as_bytes()).ok().map(|info| info.mem_total);
    let first = || {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    };
    whole.or_else(first).filter(|bytes| (1..=limits::MEMORY_BYTES).contains(bytes))
}

impl Memory {
    /// The size that the memory was sold as: firmware and kernel keep some, so the total is always a little less. The
    /// nearest of 1, 1.5, 2, 3, 4, 6, 8, 12, … MiB by factor.
    pub(super) fn class_mib(&self) -> Option<u64> {
        let mib = approximate(self.bytes.value?) / approximate(MIB);
        (0..40)
            .flat_map(|power| [2 << power, 3 << power])
            .map(|doubled: u64| (doubled / 2, (approximate(doubled) / 2.0 / mib).ln().abs()))
            .filter(|(class, _)| *class > 0)
            .min_by(|(_, near), (_, nearer)| near.total_cmp(nearer))
            .map(|(class, _)| class)
    }

    pub(super) fn facts(&self) -> [Fact; 2] {
        let class =
            Found::new(self.class_mib(), "the size as sold that is nearest to memory_bytes");
        [
            class.fact("memory_class_mib", u64::to_string),
            self.bytes.fact("memory_bytes", u64::to_string),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(kib: u64) -> Option<u64> {
        let bytes = Found::new(parse(&format!("MemTotal: {kib} kB\n")), "");
        Memory { bytes }.class_mib()
    }

    #[test]
    fn memory_is_what_was_sold() {
        assert_eq!(class(24_564_000), Some(24 * 1024));
        assert_eq!(class(263_761_000), Some(256 * 1024));
        assert_eq!(class(1_014_000), Some(1024));
        assert_eq!(class(3_884_000), Some(4 * 1024));
        assert_eq!(class(461_000), Some(512), "half a gigabyte, a tenth of it the firmware's");
        assert_eq!(class(0), None);
    }

    #[test]
    fn nonsense_is_unknown() {
        for text in ["", "MemTotal:", "MemTotal: lots kB", "MemTotal: 99999999999999999999 kB"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
