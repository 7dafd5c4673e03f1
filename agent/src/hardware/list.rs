//! Lists of CPUs, as the kernel writes them: `0-3,8`.

use std::collections::BTreeSet;

/// The CPUs of a list; `None` if it is not one, names none, or names more than exist anywhere.
pub(crate) fn cpus(text: &str) -> Option<BTreeSet<u32>> {
    let mut cpus = BTreeSet::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= fleetmark_proto::limits::CPUS {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        assert_eq!(cpus("0-2,8\n"), Some(BTreeSet::from([0, 1, 2, 8])));
        assert_eq!(cpus("5"), Some(BTreeSet::from([5])));
        for wrong in ["", "a", "3-1", "1-", "0-4294967295", "-1"] {
            assert_eq!(cpus(wrong), None, "{wrong}");
        }
    }
}
