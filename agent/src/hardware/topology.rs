//! How sockets, nodes, cores and threads are laid out.

use std::collections::{BTreeMap, BTreeSet};

use fleetmark_proto::{limits, profile::CoreKind};

use super::{Fact, Found, Root, list, small_count};

const CPUS: &str = "sys/devices/system/cpu";
const ONLINE: &str = "sys/devices/system/cpu/online";
const NODES: &str = "sys/devices/system/node";
const STATUS: &str = "proc/self/status";

/// How sockets, nodes, cores and threads are laid out, over the whole machine.
#[derive(Debug)]
pub(super) struct Topology {
    /// The CPUs that are online.
    pub(super) online: Found<BTreeSet<u32>>,
    /// The CPUs that this process may run on, as the kernel lists them.
    pub(super) allowed: Found<String>,
    pub(super) sockets: Found<u32>,
    pub(super) physical_cores: Found<u32>,
    pub(super) threads_per_core: Found<u32>,
    pub(super) core_kinds: Found<Vec<CoreKind>>,
    /// Memory that is nearer to some CPUs than to others.
    pub(super) numa_nodes: Found<u32>,
}

/// One physical core: its socket, where that is told, and its hardware threads.
type Cores = BTreeMap<BTreeSet<u32>, Option<u32>>;

pub(super) fn read(root: Root<'_>) -> Topology {
    let online = online(root);
    let cpus = online.value.clone().unwrap_or_default();
    let cores = cores(root, &cpus);
    let told = !cores.is_empty();
    let sockets: BTreeSet<u32> = cores.values().copied().flatten().collect();
    let all_told = told && cores.values().all(Option::is_some);
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
        physical_cores: Found::new(
            told.then(|| small_count(cores.len())),
            format!("/{CPUS}/cpu*/topology/thread_siblings_list"),
        ),
        core_kinds: core_kinds(root, &cores),
        numa_nodes: numa_nodes(root),
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
            self.sockets.fact("sockets", u32::to_string),
            self.numa_nodes.fact("numa_nodes", u32::to_string),
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

/// What Intel calls each kind of its cores, fastest first, and what people call it.
const INTEL_KINDS: [(&str, &str); 3] =
    [("cpu_core", "performance"), ("cpu_atom", "efficiency"), ("cpu_lowpower", "low-power")];

/// Which kinds of cores there are: Intel lists them, ARM gives each CPU a capacity.
fn core_kinds(root: Root<'_>, cores: &Cores) -> Found<Vec<CoreKind>> {
    // A list is empty where all cores of the kind are offline.
    let listed: Vec<(&str, String)> = INTEL_KINDS
        .into_iter()
        .filter_map(|(file, name)| Some((name, root.read(&format!("sys/devices/{file}/cpus"))?)))
        .collect();
    if !listed.is_empty() {
        return Found::new(
            intel_kinds(&listed, cores),
            "/sys/devices/cpu_core/cpus, cpu_atom/cpus and cpu_lowpower/cpus",
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

/// The kinds by the lists of their CPUs; `None` unless every core is of exactly one kind.
fn intel_kinds(listed: &[(&str, String)], cores: &Cores) -> Option<Vec<CoreKind>> {
    let mut kinds = Vec::new();
    let mut all = 0;
    for (name, text) in listed {
        let cpus = list::cpus(text)?;
        let of_kind = cores.keys().filter(|threads| !threads.is_disjoint(&cpus)).count();
        all += of_kind;
        if of_kind > 0 {
            kinds.push(CoreKind { name: (*name).to_owned(), cores: small_count(of_kind) });
        }
    }
    if let [only] = &mut kinds[..] {
        "core".clone_into(&mut only.name);
    }
    (all == cores.len() && all > 0).then_some(kinds)
}

/// The NUMA nodes that are online: as the kernel lists them, or else by their folders.
fn numa_nodes(root: Root<'_>) -> Found<u32> {
    let listed = root.read(&format!("{NODES}/online")).and_then(|text| list::cpus(&text));
    let listed = listed.map(|nodes| small_count(nodes.len()));
    Found::new(listed, format!("/{NODES}/online")).or(|| {
        let is_node = |name: &String| {
            let number = name.strip_prefix("node");
            number.is_some_and(|number| number.parse::<u32>().is_ok())
        };
        let nodes = root.list(NODES).iter().filter(|name| is_node(name)).count();
        Found::new(Some(small_count(nodes)).filter(|&nodes| nodes > 0), format!("/{NODES}/node*"))
    })
}
