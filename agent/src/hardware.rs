//! What a host has, and where each fact was read.
//!
//! Reads are thin, from files under a root path, and parsers are pure: `/` is this host, a folder of captured files is
//! another. Off Linux the files are not there, and what sysinfo does not tell either is unknown.

pub mod cgroup;
mod cpu;
pub(crate) mod list;
mod memory;
mod platform;
mod topology;

use std::{fs, io::Read as _, num::NonZero, path::Path, thread};

use fleetmark_proto::{
    profile::{Facets, Limit, Millicpus},
    report::{System, Workers},
    unit::count,
};

use cgroup::Quota;
pub(crate) use platform::one_line;

/// What a host has.
#[derive(Clone, Debug, PartialEq)]
pub struct Hardware {
    /// What makes it comparable.
    pub facets: Facets,
    /// What is recorded beside.
    pub system: System,
    /// The tightest CPU quota over this process, whether it limits anything or not.
    pub quota: Option<Quota>,
    /// Every fact with where it was read, in the order of the facets.
    pub facts: Vec<Fact>,
    /// Why [`Facets::usable_cpus`] is what it is, for a person.
    reason: String,
}

/// One fact about a host.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct Fact {
    /// The name of the facet or field.
    pub name: &'static str,
    /// What was found; `null` is unknown.
    pub value: Option<String>,
    /// Where it was found, or looked for.
    pub source: String,
}

/// A value with where it was read.
#[derive(Clone, Debug, PartialEq)]
struct Found<T> {
    value: Option<T>,
    source: String,
}

impl<T> Found<T> {
    fn new(value: Option<T>, source: impl Into<String>) -> Self {
        Self { value, source: source.into() }
    }

    /// This, or where it is unknown the other.
    fn or(self, other: impl FnOnce() -> Self) -> Self {
        if self.value.is_some() {
            return self;
        }
        let other = other();
        if other.value.is_some() { other } else { self }
    }

    fn fact(&self, name: &'static str, show: impl Fn(&T) -> String) -> Fact {
        Fact { name, value: self.value.as_ref().map(show), source: self.source.clone() }
    }
}

/// The files of a host.
#[derive(Clone, Copy, Debug)]
struct Root<'a>(&'a Path);

impl Root<'_> {
    /// A file as text without the white space around it; `None` if it is missing, empty, or not text.
    fn read(self, path: &str) -> Option<String> {
        /// The largest, `/proc/cpuinfo` of a machine with 1,000 CPUs, has two megabytes.
        const LONGEST: u64 = 16 << 20;
        let mut bytes = Vec::new();
        fs::File::open(self.0.join(path)).ok()?.take(LONGEST).read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        // Device trees end their text in a NUL.
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// What a symbolic link says.
    fn link(self, path: &str) -> Option<String> {
        fs::read_link(self.0.join(path)).ok()?.into_os_string().into_string().ok()
    }

    fn exists(self, path: &str) -> bool {
        self.0.join(path).exists()
    }
}

/// Detects the host whose files lie under `root`, from these files alone.
#[must_use]
pub fn detect(root: &Path) -> Hardware {
    detect_with(root, None)
}

/// Detects this host: its files, what sysinfo tells beside them, and how many threads the standard library would use.
#[must_use]
pub fn detect_live(root: &Path) -> Hardware {
    let parallelism = thread::available_parallelism().ok();
    detect_with(root, Some(&Live { parallelism, sysinfo: platform::Sysinfo::look() }))
}

/// What only the running host can tell.
struct Live {
    parallelism: Option<NonZero<usize>>,
    sysinfo: platform::Sysinfo,
}

fn detect_with(root: &Path, live: Option<&Live>) -> Hardware {
    let root = Root(root);
    let sysinfo = live.map(|live| &live.sysinfo);
    let cpu = cpu::read(root, sysinfo);
    let topology = topology::read(root, sysinfo);
    let memory = memory::read(root, sysinfo);
    let platform = platform::read(root, &cpu, sysinfo);
    let quota = cgroup::quota(root.0);
    let usable = Usable::new(&topology, quota.as_ref(), live.and_then(|live| live.parallelism));

    let facets = Facets {
        arch: platform.arch.value.clone().unwrap_or_else(|| "unknown".to_owned()),
        cpu_vendor: cpu.vendor.value.clone(),
        cpu_model: cpu.model.value.clone(),
        cpu_family: cpu.family.value.clone(),
        cpu_model_number: cpu.model_number.value.clone(),
        l3_bytes: topology.l3_bytes.value,
        sockets: topology.sockets.value,
        physical_cores: topology.physical_cores.value,
        threads_per_core: topology.threads_per_core.value,
        core_kinds: topology.core_kinds.value.clone().unwrap_or_default(),
        usable_cpus: usable.cpus,
        limit: usable.limit,
        quota_millicpus: usable.quota_millicpus,
        memory_class_mib: memory.class_mib(),
        machine: platform.machine.value,
        hypervisor: platform.hypervisor.value.clone(),
        container: platform.container.value.clone(),
    };
    let system = System {
        kernel: platform.kernel.value.clone(),
        os: platform.os.value.clone(),
        libc: platform.libc.value.clone(),
        microcode: cpu.microcode.value.clone(),
        mitigations: platform.mitigations.value.clone(),
        instance_type: platform.instance_type.value.clone(),
        memory_bytes: memory.bytes.value,
    };
    let text = String::clone;
    let mut facts = vec![platform.arch.fact("arch", text)];
    facts.extend(cpu.facts());
    facts.extend(topology.facts());
    facts.extend(usable.facts(&topology, quota.as_ref(), live.is_some()));
    facts.extend(memory.facts());
    facts.extend(platform.facts());
    Hardware { facets, system, quota, facts, reason: usable.reason }
}

impl Hardware {
    /// How many workers a Tokio runtime is to have here, and why: the usable CPUs, or what the owner said.
    #[must_use]
    pub fn workers(&self, overridden: Option<u32>) -> Workers {
        let usable = self.facets.usable_cpus;
        match overridden {
            None => Workers { count: usable, reason: self.reason.clone() },
            Some(count) => {
                let reason =
                    format!("set by --workers; it would have been {usable}: {}", self.reason);
                Workers { count, reason }
            }
        }
    }
}

/// How many CPUs this process may use at once.
struct Usable {
    cpus: u32,
    limit: Limit,
    quota_millicpus: Option<u64>,
    reason: String,
}

impl Usable {
    /// `parallelism` is the standard library's own count, which decides where it is there: Tokio follows it.
    fn new(
        topology: &topology::Topology,
        quota: Option<&Quota>,
        parallelism: Option<NonZero<usize>>,
    ) -> Self {
        let parallelism = parallelism.and_then(|cpus| u32::try_from(cpus.get()).ok());
        let online = topology.online_cpus();
        let allowed = topology.allowed_cpus().or(online);
        // A quota that leaves every CPU usable all the time limits nothing.
        let quota = quota.filter(|quota| {
            allowed.is_none_or(|allowed| quota.millicpus < u64::from(allowed) * 1000)
        });
        let (counted, limit, reason) = match (quota, allowed, online) {
            (Some(quota), _, _) => {
                let whole = u32::try_from(quota.millicpus / 1000).unwrap_or(u32::MAX).max(1);
                (Some(whole), Limit::Quota, quota_reason(quota))
            }
            (None, Some(allowed), Some(online)) if allowed < online => {
                let list = platform::one_line(topology.allowed.value.as_deref().unwrap_or(""));
                let reason = format!("affinity allows {allowed} of {online} CPUs ({list})");
                (Some(allowed), Limit::Affinity, reason)
            }
            (None, Some(1), _) => (Some(1), Limit::None, "1 CPU online, no limit".to_owned()),
            (None, Some(allowed), _) => {
                (Some(allowed), Limit::None, format!("{allowed} CPUs online, no limit"))
            }
            (None, None, _) => {
                let reason = match parallelism {
                    Some(cpus) => format!("the operating system counts {cpus}, and shows no limit"),
                    None => "the host does not show its CPUs".to_owned(),
                };
                (None, Limit::None, reason)
            }
        };
        let cpus = parallelism.or(counted).unwrap_or(1);
        let reason = match counted {
            Some(counted) if counted != cpus => {
                format!("the standard library counts {cpus}; by the files of the host, {reason}")
            }
            _ => reason,
        };
        let quota_millicpus = quota.map(|quota| quota.millicpus);
        Self { cpus, limit, quota_millicpus, reason }
    }

    fn facts(&self, topology: &topology::Topology, quota: Option<&Quota>, live: bool) -> [Fact; 4] {
        let counted = if live {
            "std::thread::available_parallelism"
        } else {
            "online_cpus, affinity and quota_cpus"
        };
        let limit = match self.limit {
            Limit::None => "none",
            Limit::Affinity => "affinity",
            Limit::Quota => "quota",
        };
        [
            Found::new(Some(self.cpus), counted).fact("usable_cpus", u32::to_string),
            topology.allowed.fact("affinity", String::clone),
            Fact {
                name: "quota_cpus",
                value: Some(quota.map_or_else(
                    || "none".to_owned(),
                    |quota| Millicpus(quota.millicpus).to_string(),
                )),
                source: quota.map_or_else(
                    || "every level of this process's cgroup".to_owned(),
                    |quota| quota.source.clone(),
                ),
            },
            Fact { name: "limit", value: Some(limit.to_owned()), source: self.reason.clone() },
        ]
    }
}

fn quota_reason(quota: &Quota) -> String {
    let cpus = Millicpus(quota.millicpus);
    let sets = format!("cgroup {} sets a quota of {cpus} CPUs", quota.level);
    match (quota.millicpus / 1000, quota.millicpus % 1000) {
        (_, 0) => sets,
        (0, _) => format!("{sets}; one worker is the least, and shares it with all threads"),
        (_, rest) => {
            format!("{sets}; flooring leaves {} CPU that only threads can use", Millicpus(rest))
        }
    }
}

/// A count that is at most [`u32::MAX`].
fn small_count(size: usize) -> u32 {
    u32::try_from(count(size)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
