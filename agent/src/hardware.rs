//! What a host has, and where each fact was read.
//!
//! Reads are thin, from files under a root path, and parsers are pure: `/` is this host, a folder of captured files is
//! another. Off Linux the files are not there; then sysctl tells on macOS, and what sysinfo does not tell either is
//! unknown.

mod caches;
mod capture;
pub mod cgroup;
mod cpu;
pub(crate) mod list;
mod live;
mod macos;
mod memory;
mod platform;
mod root;
mod topology;
mod usable;

use std::path::Path;

use fleetmark_proto::{
    profile::Facets,
    report::{System, Workers},
    unit::count,
};

use cgroup::Quota;
use live::Live;
use root::Root;
use usable::Usable;

pub use capture::{Capture, CaptureError, SaveError, capture_live, detect_captured};
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
    /// Whether it is a facet, so that hosts that differ in it have different profiles.
    pub in_key: bool,
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

    /// Takes what another source tells, where this is unknown.
    fn fill(&mut self, value: Option<T>, source: &str) {
        Found::new(value, source).fill_into(self);
    }

    /// Replaces the other, where it is unknown and this is not.
    fn fill_into(self, other: &mut Self) {
        if other.value.is_none() && self.value.is_some() {
            *other = self;
        }
    }

    fn map<U>(self, change: impl FnOnce(T) -> U) -> Found<U> {
        Found { value: self.value.map(change), source: self.source }
    }

    fn fact(&self, name: &'static str, show: impl Fn(&T) -> String) -> Fact {
        let value = self.value.as_ref().map(show);
        Fact { name, value, source: self.source.clone(), in_key: false }
    }
}

/// Detects the host whose files lie under `root`, from these files alone.
#[must_use]
pub fn detect(root: &Path) -> Hardware {
    detect_with(Root::folder(root), None)
}

/// Detects this host: its files, what sysinfo tells beside them, and how many threads the standard library would use.
#[must_use]
pub fn detect_live(root: &Path) -> Hardware {
    detect_with(Root::folder(root), Some(&Live::look()))
}

fn detect_with(root: Root<'_>, live: Option<&Live>) -> Hardware {
    let mut parts = Parts::read(root);
    let sysctl = match live {
        Some(live) => live.sysctl.clone(),
        None => root.read(macos::FILE),
    };
    if let Some(text) = sysctl {
        macos::parse(&text).fill(&mut parts);
    }
    if let Some(live) = live {
        live.fill(&mut parts);
    }
    let parallelism = live.map(|live| live.parallelism);
    let usable = Usable::new(&parts.topology, &parts.quota, parallelism);
    let facets = parts.facets(&usable);
    let in_key = facets.named();
    let mut facts = parts.facts(&usable);
    for fact in &mut facts {
        fact.in_key = in_key.iter().any(|(name, _)| *name == fact.name);
    }
    let system = parts.system();
    Hardware { facets, system, quota: parts.quota.value.flatten(), facts, reason: usable.reason }
}

/// All that was read, by what it is of.
#[derive(Debug)]
struct Parts {
    cpu: cpu::Cpu,
    caches: caches::Caches,
    topology: topology::Topology,
    quota: Found<Option<Quota>>,
    memory: memory::Memory,
    platform: platform::Platform,
}

impl Parts {
    fn read(root: Root<'_>) -> Self {
        let cpu = cpu::read(root);
        let topology = topology::read(root);
        let first = topology.online.value.as_ref().and_then(|cpus| cpus.first().copied());
        Self {
            caches: caches::read(root, first.unwrap_or(0)),
            quota: cgroup::quota(root),
            memory: memory::read(root),
            platform: platform::read(root, &cpu),
            cpu,
            topology,
        }
    }

    fn facets(&self, usable: &Usable) -> Facets {
        let Self { cpu, caches, topology, quota: _, memory, platform } = self;
        Facets {
            arch: platform.arch.value.clone().unwrap_or_else(|| "unknown".to_owned()),
            cpu_vendor: cpu.vendor.value.clone(),
            cpu_model: cpu.model.value.clone(),
            cpu_family: cpu.family.value.clone(),
            cpu_model_number: cpu.model_number.value.clone(),
            l3_bytes: caches.l3_bytes.value,
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
        }
    }

    fn system(&self) -> System {
        let Self { cpu, memory, platform, .. } = self;
        System {
            kernel: platform.kernel.value.clone(),
            os: platform.os.value.clone(),
            libc: platform.libc.value.clone(),
            microcode: cpu.microcode.value.clone(),
            mitigations: platform.mitigations.value.clone(),
            instance_type: platform.instance_type.value.clone(),
            memory_bytes: memory.bytes.value,
        }
    }

    fn facts(&self, usable: &Usable) -> Vec<Fact> {
        let Self { cpu, caches, topology, quota, memory, platform } = self;
        let mut facts = vec![platform.arch.fact("arch", String::clone)];
        facts.extend(cpu.facts());
        facts.extend(caches.facts());
        facts.extend(topology.facts());
        facts.extend(usable.facts(topology, quota));
        facts.extend(memory.facts());
        facts.extend(platform.facts());
        facts
    }
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

/// A count that is at most [`u32::MAX`].
fn small_count(size: usize) -> u32 {
    u32::try_from(count(size)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
