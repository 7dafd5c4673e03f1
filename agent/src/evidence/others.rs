//! What others use of the CPUs while a run goes on.

use std::{fs, path::Path, time::Instant};

use fleetmark_proto::unit::{Nanos, approximate};

use super::moment::Ticks;
use crate::usage;

/// What was seen last, of the CPUs that this process may use.
#[derive(Debug)]
pub struct Others {
    at: Instant,
    ticks: Ticks,
    ours: Nanos,
}

impl Others {
    /// Looks at the host whose files lie under `root`. `children` is the CPU time that our children have used so far;
    /// this process knows its own. `None` where the host does not tell.
    #[must_use]
    pub fn look(root: &Path, children: Nanos) -> Option<Self> {
        let stat = fs::read_to_string(root.join("proc/stat")).ok()?;
        let ours = usage::own()?.cpu_time().0.saturating_add(children.0);
        Some(Self { at: Instant::now(), ticks: Ticks::usable(root, &stat)?, ours: Nanos(ours) })
    }

    /// The share of the CPUs that others used since the last look, 0 to 1; of a second or more, as the kernel counts in
    /// ticks of 10 ms.
    pub fn share_since(&mut self, root: &Path, children: Nanos) -> Option<f64> {
        let now = Self::look(root, children)?;
        let then = std::mem::replace(self, now);
        let busy = then.ticks.busy_cpus(self.ticks)?;
        let time = Nanos::from(self.at.duration_since(then.at)).to_f64();
        let ours = approximate(self.ours.0.saturating_sub(then.ours.0)) / time;
        Some(((busy - ours) / approximate(self.ticks.cpus)).clamp(0.0, 1.0))
    }
}
