//! How cores, threads and caches are laid out.

use std::collections::{BTreeMap, BTreeSet};

use fleetmark_proto::{limits, profile::CoreKind};

use super::{Fact, Found, Root, list, platform::Sysinfo, small_count};

const CPUS: &str = "sys/devices/system/cpu";
const ONLINE: &str = "sys/devices/system/cpu/online";
const STATUS: &str = "proc/self/status";

/// How cores, threads and caches are laid out, over the whole machine.
#[derive(Debug)]
pub(super) struct Topology {
    online: Found<BTreeSet<u32>>,
    /// The CPUs that this process may run on, as the kernel lists them.
    pub(super) allowed: Found<String>,
    pub(super) sockets: Found<u32>,
    pub(super) physical_cores: Found<u32>,
    pub(super) threads_per_core: Found<u32>,
    pub(super) core_kinds: Found<Vec<CoreKind>>,
    pub(super) l3_bytes: Found<u64>,
}

/// One physical core: its socket, where that is told, and its hardware threads.
type Cores = BTreeMap<BTreeSet<u32>, Option<u32>>;

pub(super) fn read(root: Root<'_>, sysinfo: Option<&Sysinfo>) -> Topology {
    let online = online(root);
    let cpus = online.value.clone().unwrap_or_default();
    let cores = cores(root, &cpus);
    let told = !cores.is_empty();
    let sockets: BTreeSet<u32> = cores.values().copied().flatten().collect();
    let all_told = told && cores.values().all(Option::is_some);
    let physical = Found::new(
        told.then(|| small_count(cores.len())),
        format!("/{CPUS}/cpu*/topology/thread_siblings_list"),
    );
    Topology {
        allowed: Found::new(
            root.read(STATUS).and_then(|text| allowed(&text)),
            format!("/{STATUS}, Cpus_allowed_list"),
        ),
        sockets: Found::new(
            all_told.then(|| small_count(sockets.len())),
            format!("/{CPUS}/cpu*/topology/physical_package_id"),
        ),
        threads_per_core: Found::new(
            cores.keys().map(|threads| small_count(threads.len())).max(),
            format!("/{CPUS}/cpu*/topology/thread_siblings_list"),
        ),
        physical_cores: match sysinfo {
            // Where Linux shows CPUs but no cores, sysinfo takes the one for the other on ARM.
            Some(sysinfo) if cpus.is_empty() => {
                physical.or(|| sysinfo.found(sysinfo.physical_cores))
            }
            _ => physical,
        },
        core_kinds: core_kinds(root, &cores),
        l3_bytes: l3_bytes(root, cpus.first().copied()),
        online,
    }
}

impl Topology {
    /// How many CPUs are online, at least 1.
    pub(super) fn online_cpus(&self) -> Option<u32> {
        self.online.value.as_ref().map(|cpus| small_count(cpus.len()))
    }

    /// How many of these this process may run on, at least 1.
    pub(super) fn allowed_cpus(&self) -> Option<u32> {
        let allowed = list::cpus(self.allowed.value.as_deref()?)?;
        // The list may name CPUs that are not there: a container's is sometimes wider than its machine.
        let usable = match &self.online.value {
            Some(online) => allowed.intersection(online).count(),
            None => allowed.len(),
        };
        Some(small_count(usable)).filter(|&usable| usable > 0)
    }

    pub(super) fn facts(&self) -> [Fact; 6] {
        let kinds = |kinds: &Vec<CoreKind>| {
            let shown: Vec<String> =
                kinds.iter().map(|kind| format!("{}×{}", kind.cores, kind.name)).collect();
            shown.join("+")
        };
        [
            self.l3_bytes.fact("l3_bytes", u64::to_string),
            self.sockets.fact("sockets", u32::to_string),
            self.physical_cores.fact("physical_cores", u32::to_string),
            self.threads_per_core.fact("threads_per_core", u32::to_string),
            self.core_kinds.fact("core_kinds", kinds),
            self.online.fact("online_cpus", |cpus| cpus.len().to_string()),
        ]
    }
}

/// The CPUs that are online; where sysfs does not say, those that `/proc/cpuinfo` lists.
fn online(root: Root<'_>) -> Found<BTreeSet<u32>> {
    let listed = root.read(ONLINE).and_then(|text| list::cpus(&text));
    Found::new(listed, format!("/{ONLINE}")).or(|| {
        let text = root.read("proc/cpuinfo").unwrap_or_default();
        let numbers = text.lines().filter_map(|line| {
            let (name, number) = line.split_once(':')?;
            (name.trim() == "processor").then(|| list::cpus(number)).flatten()
        });
        let cpus: BTreeSet<u32> = numbers.flatten().collect();
        Found::new(Some(cpus).filter(|cpus| !cpus.is_empty()), "/proc/cpuinfo")
    })
}

fn allowed(status: &str) -> Option<String> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    Some(list.trim().to_owned()).filter(|list| list::cpus(list).is_some())
}

/// The cores that the CPUs belong to; empty if any CPU does not say.
fn cores(root: Root<'_>, cpus: &BTreeSet<u32>) -> Cores {
    let one = |cpu: &u32| {
        let folder = format!("{CPUS}/cpu{cpu}/topology");
        let siblings = root.read(&format!("{folder}/thread_siblings_list"))?;
        // ARM boards without sockets say -1.
        let socket = root.read(&format!("{folder}/physical_package_id"));
        Some((list::cpus(&siblings)?, socket.and_then(|socket| socket.parse().ok())))
    };
    cpus.iter().map(one).collect::<Option<Cores>>().unwrap_or_default()
}

/// Which kinds of cores there are: Intel lists them, ARM gives each CPU a capacity.
fn core_kinds(root: Root<'_>, cores: &Cores) -> Found<Vec<CoreKind>> {
    let listed = |name: &str| root.read(&format!("sys/devices/{name}/cpus"));
    if let (Some(fast), Some(slow)) = (listed("cpu_core"), listed("cpu_atom")) {
        let kind = |name: &str, text: &str| {
            let cpus = list::cpus(text)?;
            let of_kind = cores.keys().filter(|threads| !threads.is_disjoint(&cpus)).count();
            (of_kind > 0).then(|| CoreKind { name: name.to_owned(), cores: small_count(of_kind) })
        };
        let kinds = kind("performance", &fast).zip(kind("efficiency", &slow));
        return Found::new(
            kinds.map(|(fast, slow)| vec![fast, slow]),
            "/sys/devices/cpu_core/cpus and cpu_atom/cpus",
        );
    }
    let source = format!("/{CPUS}/cpu*/cpu_capacity");
    let mut by_capacity: BTreeMap<Option<u32>, usize> = BTreeMap::new();
    for threads in cores.keys() {
        let capacity = threads
            .first()
            .and_then(|cpu| root.read(&format!("{CPUS}/cpu{cpu}/cpu_capacity"))?.parse().ok());
        *by_capacity.entry(capacity).or_default() += 1;
    }
    let alike = by_capacity.len() == 1;
    if by_capacity.len() > limits::CORE_KINDS || (!alike && by_capacity.contains_key(&None)) {
        return Found::new(None, source);
    }
    let kinds: Vec<CoreKind> = by_capacity
        .into_iter()
        .rev()
        .map(|(capacity, cores)| CoreKind {
            name: match capacity {
                Some(capacity) if !alike => format!("capacity-{capacity}"),
                _ => "core".to_owned(),
            },
            cores: small_count(cores),
        })
        .collect();
    Found::new(Some(kinds).filter(|kinds| !kinds.is_empty()), source)
}

/// The size of the level 3 cache that a CPU shares with its neighbours.
fn l3_bytes(root: Root<'_>, cpu: Option<u32>) -> Found<u64> {
    let caches = format!("{CPUS}/cpu{}/cache", cpu.unwrap_or(0));
    let size = (0..8).find_map(|index| {
        let level = root.read(&format!("{caches}/index{index}/level"))?;
        (level == "3").then(|| root.read(&format!("{caches}/index{index}/size"))).flatten()
    });
    Found::new(size.and_then(|size| bytes(&size)), format!("/{caches}/index*/size at level 3"))
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
