//! The caches, as the first CPU that is online sees them.

use std::fmt;

use fleetmark_proto::limits;

use super::{Fact, Found, Root, list, small_count};

/// The caches of one CPU. Where a machine has several kinds of cores, those of another kind may have others.
#[derive(Debug)]
pub(super) struct Caches {
    pub(super) l1d: Found<Cache>,
    pub(super) l1i: Found<Cache>,
    pub(super) l2: Found<Cache>,
    pub(super) l3: Found<Cache>,
    /// Bytes of the level 3 cache.
    pub(super) l3_bytes: Found<u64>,
}

/// One cache.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Cache {
    pub(super) bytes: u64,
    /// How many CPUs share it, where that is told.
    pub(super) shared_by: Option<u32>,
}

impl fmt::Display for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, shared_by } = *self;
        if bytes.is_multiple_of(1 << 20) {
            write!(f, "{} MiB", bytes >> 20)?;
        } else if bytes.is_multiple_of(1 << 10) {
            write!(f, "{} KiB", bytes >> 10)?;
        } else {
            write!(f, "{bytes} bytes")?;
        }
        match shared_by {
            None => Ok(()),
            Some(1) => write!(f, ", for 1 CPU"),
            Some(cpus) => write!(f, ", shared by {cpus} CPUs"),
        }
    }
}

/// Reads the caches of this CPU.
pub(super) fn read(root: Root<'_>, cpu: u32) -> Caches {
    let folder = format!("sys/devices/system/cpu/cpu{cpu}/cache");
    let caches: Vec<Seen> =
        (0..8).filter_map(|index| one(root, format!("{folder}/index{index}"))).collect();
    let cache = |level: &str, kinds: &[&str]| {
        let is_kind = |kind: &str| kinds.contains(&kind);
        let found = caches.iter().find(|seen| {
            seen.level == level && (kinds.is_empty() || seen.kind.as_deref().is_some_and(is_kind))
        });
        match found {
            Some(seen) => Found::new(Some(seen.cache), format!("/{}", seen.folder)),
            None => Found::new(None, format!("/{folder}/index*")),
        }
    };
    let l3 = cache("3", &[]);
    Caches {
        l1d: cache("1", &["Data", "Unified"]),
        l1i: cache("1", &["Instruction", "Unified"]),
        l2: cache("2", &[]),
        l3_bytes: Found::new(
            l3.value.map(|cache| cache.bytes),
            format!("/{folder}/index*/size at level 3"),
        ),
        l3,
    }
}

/// A cache as the kernel shows it.
#[derive(Debug)]
struct Seen {
    folder: String,
    level: String,
    /// `Data`, `Instruction` or `Unified`.
    kind: Option<String>,
    cache: Cache,
}

/// The cache that this folder is of; `None` if there is none, or its size is not told.
fn one(root: Root<'_>, folder: String) -> Option<Seen> {
    let read = |file: &str| root.read(&format!("{folder}/{file}"));
    let (level, kind) = (read("level")?, read("type"));
    let sharing = read("shared_cpu_list").and_then(|text| list::cpus(&text));
    let shared_by = sharing.map(|cpus| small_count(cpus.len()));
    let cache = Cache { bytes: bytes(&read("size")?)?, shared_by };
    Some(Seen { folder, level, kind, cache })
}

impl Caches {
    pub(super) fn facts(&self) -> [Fact; 5] {
        [
            self.l1d.fact("l1d_cache", Cache::to_string),
            self.l1i.fact("l1i_cache", Cache::to_string),
            self.l2.fact("l2_cache", Cache::to_string),
            self.l3.fact("l3_cache", Cache::to_string),
            self.l3_bytes.fact("l3_bytes", u64::to_string),
        ]
    }
}

/// `32768K` or `32M` in bytes.
fn bytes(size: &str) -> Option<u64> {
    let (number, unit) = match size.strip_suffix(['K', 'k']) {
        Some(number) => (number, 1 << 10),
        None => (size.strip_suffix('M')?, 1 << 20),
    };
    let bytes = number.parse::<u64>().ok()?.checked_mul(unit)?;
    (1..=limits::MEMORY_BYTES).contains(&bytes).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        assert_eq!(bytes("32768K"), Some(32 << 20));
        assert_eq!(bytes("36M"), Some(36 << 20));
        for wrong in ["", "K", "0K", "32", "-1K", "99999999999999999999K", "18446744073709551615M"]
        {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
        let shown = |bytes, shared_by| Cache { bytes, shared_by }.to_string();
        assert_eq!(shown(48 << 10, Some(2)), "48 KiB, shared by 2 CPUs");
        assert_eq!(shown(2 << 20, Some(1)), "2 MiB, for 1 CPU");
        assert_eq!(shown(1000, None), "1000 bytes");
    }
}
