//! What a process used of its host, as the kernel counts it.

use fleetmark_proto::{report::Usage, unit::Nanos};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::{TimeVal, TimeValLike as _},
};

/// What was counted up to one moment.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// All that was used so far.
    pub usage: Usage,
    /// The most memory held at once so far.
    pub peak_memory_bytes: u64,
}

/// What this process and its threads used so far; `None` where the host does not count.
#[must_use]
pub fn own() -> Option<Counted> {
    counted(UsageWho::RUSAGE_SELF)
}

/// What the children used that have ended and been waited for.
#[must_use]
pub fn children() -> Option<Counted> {
    counted(UsageWho::RUSAGE_CHILDREN)
}

fn counted(who: UsageWho) -> Option<Counted> {
    /// Linux counts the peak in KiB, macOS in bytes.
    const PEAK_UNIT: u64 = if cfg!(target_os = "macos") { 1 } else { 1024 };
    let seen = getrusage(who).ok()?;
    let time = |time: TimeVal| {
        let micros = u64::try_from(time.num_microseconds()).unwrap_or(0);
        Nanos(micros.saturating_mul(1000))
    };
    let count = |count| u64::try_from(count).unwrap_or(0);
    Some(Counted {
        usage: Usage {
            user_ns: time(seen.user_time()),
            system_ns: time(seen.system_time()),
            voluntary_switches: count(seen.voluntary_context_switches()),
            involuntary_switches: count(seen.involuntary_context_switches()),
        },
        peak_memory_bytes: count(seen.max_rss()).saturating_mul(PEAK_UNIT),
    })
}

impl Counted {
    /// What was used since an earlier moment.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Usage {
        let (now, then) = (self.usage, earlier.usage);
        Usage {
            user_ns: Nanos(now.user_ns.0.saturating_sub(then.user_ns.0)),
            system_ns: Nanos(now.system_ns.0.saturating_sub(then.system_ns.0)),
            voluntary_switches: now.voluntary_switches.saturating_sub(then.voluntary_switches),
            involuntary_switches: now
                .involuntary_switches
                .saturating_sub(then.involuntary_switches),
        }
    }

    /// CPU time so far, in user space and in the kernel.
    #[must_use]
    pub fn cpu_time(&self) -> Nanos {
        Nanos(self.usage.user_ns.0.saturating_add(self.usage.system_ns.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted() {
        let before = own().unwrap();
        std::hint::black_box(crate::scenario::cpu_bound::kernel(1, 30_000_000));
        let after = own().unwrap();
        assert!(after.since(&before).user_ns > Nanos(0));
        assert!(after.cpu_time() > before.cpu_time());
        assert!(after.peak_memory_bytes > 1 << 20, "{after:?}");
        assert_eq!(before.since(&after).user_ns, Nanos(0), "never less than nothing");
    }
}
