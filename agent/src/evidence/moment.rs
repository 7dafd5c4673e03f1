//! What a host shows at one moment. Thin reads from a root path; what is not there is unknown.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Instant,
};

use fleetmark_proto::{
    report::Throttling,
    unit::{approximate, count, rounded},
};

use crate::{
    hardware::{cgroup, list},
    usage::{self, Counted},
};

const CPUS: &str = "sys/devices/system/cpu";

/// What a host shows at one moment, of the CPUs that this process may use.
#[derive(Debug)]
pub(super) struct Moment {
    pub(super) at: Instant,
    pub(super) ticks: Option<Ticks>,
    pub(super) procs_running: Option<u64>,
    pub(super) pressure: Option<Pressure>,
    pub(super) throttling: Option<Throttling>,
    pub(super) thermal_throttles: Option<u64>,
    pub(super) frequency_khz: Option<u64>,
    /// This process and its children that have ended.
    pub(super) own: Option<(Counted, Counted)>,
}

/// CPU time since the host started, in the kernel's ticks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Ticks {
    pub(super) cpus: u64,
    pub(super) all: u64,
    pub(super) busy: u64,
    pub(super) stolen: u64,
}

/// How long threads of the host waited for a CPU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pressure {
    /// Share of the last ten seconds, 0 to 1.
    pub(super) recent: f64,
    /// Microseconds since the host started.
    pub(super) total_us: u64,
}

/// How the host sets its clock.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Clock {
    /// The frequency governors of the CPUs that this process may use, each once.
    pub governor: Option<String>,
    /// What drives the frequency.
    pub driver: Option<String>,
    /// Whether the clock may rise over its base.
    pub turbo: Option<bool>,
}

impl Moment {
    pub(super) fn look(root: &Path) -> Self {
        let cpus = usable(root);
        let stat = read(root, "proc/stat").unwrap_or_default();
        let each = |file: &str| numbers(root, &cpus, file);
        let throttles = each("thermal_throttle/core_throttle_count");
        let clocks = each("cpufreq/scaling_cur_freq");
        Self {
            at: Instant::now(),
            ticks: Ticks::parse(&stat, &cpus),
            procs_running: stat
                .lines()
                .find_map(|line| line.strip_prefix("procs_running ")?.trim().parse().ok()),
            pressure: read(root, "proc/pressure/cpu").and_then(|text| Pressure::parse(&text)),
            throttling: cgroup::throttling(root),
            thermal_throttles: (!throttles.is_empty())
                .then(|| throttles.iter().fold(0, |sum: u64, one| sum.saturating_add(*one))),
            frequency_khz: (!clocks.is_empty()).then(|| {
                let sum: f64 = clocks.iter().copied().map(approximate).sum();
                rounded(sum / approximate(count(clocks.len())))
            }),
            own: usage::own().zip(usage::children()),
        }
    }
}

impl Clock {
    /// How the host whose files lie under `root` sets its clock.
    #[must_use]
    pub fn look(root: &Path) -> Self {
        let governors: BTreeSet<String> = usable(root)
            .iter()
            .filter_map(|cpu| read(root, &format!("{CPUS}/cpu{cpu}/cpufreq/scaling_governor")))
            .collect();
        let governors: Vec<String> = governors.into_iter().collect();
        let off = read(root, &format!("{CPUS}/intel_pstate/no_turbo")).map(|off| off == "0");
        let on = || read(root, &format!("{CPUS}/cpufreq/boost")).map(|on| on == "1");
        Self {
            governor: (!governors.is_empty()).then(|| governors.join("+")),
            driver: read(root, &format!("{CPUS}/cpu0/cpufreq/scaling_driver")),
            turbo: off.or_else(on),
        }
    }
}

impl Ticks {
    /// What `/proc/stat` says of the CPUs that this process may use.
    pub(super) fn usable(root: &Path, stat: &str) -> Option<Self> {
        Self::parse(stat, &usable(root))
    }

    /// Sums what `/proc/stat` says of these CPUs; of all, where none of them is there. The lines carry the numbers of the
    /// CPUs, as those that are offline have none.
    fn parse(stat: &str, cpus: &BTreeSet<u32>) -> Option<Self> {
        let lines: BTreeMap<u32, Self> = stat
            .lines()
            .filter_map(|line| {
                let (name, ticks) = line.split_once(' ')?;
                Some((name.strip_prefix("cpu")?.parse().ok()?, Self::of_one(ticks)?))
            })
            .collect();
        let wanted: Vec<Self> =
            lines.iter().filter(|(cpu, _)| cpus.contains(cpu)).map(|(_, ticks)| *ticks).collect();
        let wanted = if wanted.is_empty() { lines.into_values().collect() } else { wanted };
        wanted.into_iter().reduce(Self::plus)
    }

    /// One CPU: user, nice, system, idle, iowait, irq, softirq, steal; guests are within user and nice.
    fn of_one(ticks: &str) -> Option<Self> {
        let fields: Option<Vec<u64>> =
            ticks.split_whitespace().map(|field| field.parse().ok()).collect();
        let fields = fields.filter(|fields| fields.len() >= 4)?;
        let field = |index: usize| fields.get(index).copied().unwrap_or(0);
        let sum = |indices: &[usize]| {
            indices.iter().fold(0, |sum: u64, index| sum.saturating_add(field(*index)))
        };
        Some(Self {
            cpus: 1,
            all: sum(&[0, 1, 2, 3, 4, 5, 6, 7]),
            busy: sum(&[0, 1, 2, 5, 6]),
            stolen: field(7),
        })
    }

    fn plus(self, other: Self) -> Self {
        Self {
            cpus: self.cpus + other.cpus,
            all: self.all.saturating_add(other.all),
            busy: self.busy.saturating_add(other.busy),
            stolen: self.stolen.saturating_add(other.stolen),
        }
    }

    /// The share of the time until `after` that was stolen; `None` if no time went by.
    pub(super) fn stolen(self, after: Self) -> Option<f64> {
        self.share(after, after.stolen.saturating_sub(self.stolen))
    }

    /// How many of the CPUs were busy on average until `after`; `None` if no time went by.
    pub(super) fn busy_cpus(self, after: Self) -> Option<f64> {
        let share = self.share(after, after.busy.saturating_sub(self.busy))?;
        Some(share * approximate(self.cpus))
    }

    fn share(self, after: Self, part: u64) -> Option<f64> {
        let all = after.all.checked_sub(self.all).filter(|&all| all > 0)?;
        Some((approximate(part) / approximate(all)).min(1.0))
    }
}

impl Pressure {
    /// Reads the line `some avg10=1.50 avg60=… avg300=… total=…`.
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
        let field = |name: &str| {
            line.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
        };
        let percent: f64 =
            field("avg10")?.parse().ok().filter(|percent: &f64| percent.is_finite())?;
        Some(Self {
            recent: (percent / 100.0).clamp(0.0, 1.0),
            total_us: field("total")?.parse().ok()?,
        })
    }
}

/// How many CPUs this process may choose from; `None` where the host does not say.
#[must_use]
pub fn allowed_cpus(root: &Path) -> Option<u32> {
    u32::try_from(usable(root).len()).ok().filter(|&cpus| cpus > 0)
}

/// The share of the last ten seconds in which some thread of the host waited for a CPU, 0 to 1.
#[must_use]
pub fn recent_pressure(root: &Path) -> Option<f64> {
    Pressure::parse(&read(root, "proc/pressure/cpu")?).map(|pressure| pressure.recent)
}

/// The CPUs that this process may use; empty where the host does not say.
fn usable(root: &Path) -> BTreeSet<u32> {
    let status = read(root, "proc/self/status").unwrap_or_default();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let online = read(root, &format!("{CPUS}/online")).and_then(|text| list::cpus(&text));
    match (allowed.and_then(list::cpus), online) {
        (Some(allowed), Some(online)) => allowed.intersection(&online).copied().collect(),
        (allowed, online) => allowed.or(online).unwrap_or_default(),
    }
}

/// What a file of each CPU says, where it says a number.
fn numbers(root: &Path, cpus: &BTreeSet<u32>, file: &str) -> Vec<u64> {
    let one = |cpu: &u32| read(root, &format!("{CPUS}/cpu{cpu}/{file}"))?.parse().ok();
    cpus.iter().filter_map(one).collect()
}

fn read(root: &Path, path: &str) -> Option<String> {
    let text = fs::read_to_string(root.join(path)).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  300 0 150 2400 30 0 15 105 0 0\n\
        cpu0 100 0 50 800 10 0 5 35 0 0\n\
        cpu2 200 0 100 1600 20 0 10 70 0 0\n\
        ctxt 1\nprocs_running 3\nprocs_blocked 0\n";

    #[test]
    fn only_the_cpus_of_this_process_count() {
        let one = Ticks::parse(STAT, &BTreeSet::from([2])).unwrap();
        assert_eq!(one, Ticks { cpus: 1, all: 2_000, busy: 310, stolen: 70 });
        let all = Ticks::parse(STAT, &BTreeSet::from([0, 1, 2])).unwrap();
        assert_eq!((all.cpus, all.all), (2, 3_000));
        assert_eq!(Ticks::parse(STAT, &BTreeSet::new()), Some(all), "where the host does not say");
        assert_eq!(Ticks::parse("cpu0 nonsense\ncpu1 1 2\ncpu", &BTreeSet::new()), None);
    }

    #[test]
    fn shares_are_of_the_time_that_went_by() {
        let before = Ticks { cpus: 2, all: 1_000, busy: 100, stolen: 10 };
        let after = Ticks { cpus: 2, all: 1_200, busy: 200, stolen: 20 };
        assert_eq!(before.stolen(after), Some(0.05));
        assert_eq!(before.busy_cpus(after), Some(1.0));
        assert_eq!(before.stolen(before), None);
        assert_eq!(after.stolen(before), None, "a clock that went back");
    }

    #[test]
    fn pressure_is_read() {
        let text = "some avg10=1.50 avg60=0.90 avg300=0.21 total=4711\nfull avg10=0.00 total=0\n";
        assert_eq!(Pressure::parse(text), Some(Pressure { recent: 0.015, total_us: 4711 }));
        for nonsense in ["", "some", "some avg10=NaN total=1", "full avg10=1 total=1"] {
            assert_eq!(Pressure::parse(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn clock_and_heat_are_read_of_these_cpus() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert_eq!(Clock::look(root), Clock::default());
        let put = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("proc/self/status", "Name:\tx\nCpus_allowed_list:\t0-1\n");
        put("sys/devices/system/cpu/online", "0-3\n");
        for (cpu, clock) in [(0, "2000000\n"), (1, "3000000\n"), (2, "9000000\n")] {
            let folder = format!("sys/devices/system/cpu/cpu{cpu}");
            put(&format!("{folder}/cpufreq/scaling_cur_freq"), clock);
            put(&format!("{folder}/cpufreq/scaling_governor"), "powersave\n");
            put(&format!("{folder}/cpufreq/scaling_driver"), "intel_pstate\n");
            put(&format!("{folder}/thermal_throttle/core_throttle_count"), "7\n");
        }
        put("sys/devices/system/cpu/intel_pstate/no_turbo", "1\n");
        put("proc/stat", STAT);
        let moment = Moment::look(root);
        assert_eq!(moment.frequency_khz, Some(2_500_000));
        assert_eq!(moment.thermal_throttles, Some(14));
        assert_eq!(moment.procs_running, Some(3));
        let clock = Clock::look(root);
        assert_eq!(clock.governor.as_deref(), Some("powersave"));
        assert_eq!(clock.driver.as_deref(), Some("intel_pstate"));
        assert_eq!(clock.turbo, Some(false));
    }
}
