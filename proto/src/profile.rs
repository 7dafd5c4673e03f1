//! Hardware profiles: the facets that make hosts comparable, their key, id and name.

use std::fmt::{self, Write as _};

use schemars::JsonSchema;
use serde::Serialize;

use crate::id::ProfileId;

/// Raised whenever the list of facets in the key, or how they are written there, changes.
pub const KEY_VERSION: u32 = 1;

/// What the host's hardware is, as far as it shows. `None` is unknown; it is never 0.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Facets {
    /// As Rust names it: `x86_64`, `aarch64`.
    pub arch: String,
    /// Such as `AuthenticAMD`, or ARM's implementer by name.
    pub cpu_vendor: Option<String>,
    /// The marketing name. Without it the profile is incomplete and gets no verdicts.
    pub cpu_model: Option<String>,
    /// x86: the family. ARM: the implementer's code.
    pub cpu_family: Option<String>,
    /// x86: the model number. ARM: the part's code.
    pub cpu_model_number: Option<String>,
    /// Bytes of one level 3 cache.
    pub l3_bytes: Option<u64>,
    /// Physical packages.
    pub sockets: Option<u32>,
    /// Physical cores of the whole machine.
    pub physical_cores: Option<u32>,
    /// Hardware threads of one core; the most, where they differ.
    pub threads_per_core: Option<u32>,
    /// The kinds of cores, fastest first; empty is unknown.
    pub core_kinds: Vec<CoreKind>,
    /// How many CPUs this process may use at once, after affinity and quota; at least 1.
    pub usable_cpus: u32,
    /// What holds `usable_cpus` under the CPUs that are online.
    pub limit: Limit,
    /// The quota in thousandths of a CPU; set exactly if the limit is [`Limit::Quota`].
    pub quota_millicpus: Option<u64>,
    /// Memory rounded to the size that it was sold as, in MiB.
    pub memory_class_mib: Option<u64>,
    /// Bare metal or virtual.
    pub machine: Option<Machine>,
    /// `kvm`, `vmware`, …; `None` on bare metal and where it is not told.
    pub hypervisor: Option<String>,
    /// `none`, `docker`, `kubernetes`, …
    pub container: Option<String>,
}

/// Cores that are alike.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub struct CoreKind {
    /// `core`, where all are alike; else `performance`, `efficiency`, `low-power` or what macOS calls it, or
    /// `capacity-1024`.
    pub name: String,
    /// How many of them, at least 1.
    pub cores: u32,
}

/// What holds the usable CPUs under those that are online.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// Nothing.
    None,
    /// The process may run on some CPUs only.
    Affinity,
    /// A cgroup's quota, floored to whole CPUs.
    Quota,
}

/// What the kernel runs on.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Machine {
    /// The hardware itself.
    BareMetal,
    /// A hypervisor.
    Virtual,
}

/// Facets with what is derived from them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Profile {
    /// Short hash of the key.
    pub id: ProfileId,
    /// Readable, such as `amd-epyc-2c1t-vm-24g`; not unique.
    pub name: String,
    /// What makes it.
    pub facets: Facets,
}

impl Profile {
    /// Derives id and name. `instance_type` names the profile where a cloud tells it, and is not part of the key.
    #[must_use]
    pub fn new(facets: Facets, instance_type: Option<&str>) -> Self {
        Self { id: ProfileId::of_key(&facets.key()), name: facets.name(instance_type), facets }
    }
}

impl Facets {
    /// The versioned profile key: every facet by name, in a fixed order, on one line. Values are quoted, so that two
    /// different sets of facets never give one key.
    #[must_use]
    pub fn key(&self) -> String {
        let mut key = format!("fleetmark-profile/{KEY_VERSION}");
        for (name, value) in self.named() {
            // Writing to a string cannot fail.
            let _ = write!(key, " {name}={value:?}");
        }
        key
    }

    /// Every facet as it stands in the key, in its order; `unknown` where the host does not show it.
    #[must_use]
    pub fn named(&self) -> Vec<(&'static str, String)> {
        let Self {
            arch,
            cpu_vendor,
            cpu_model,
            cpu_family,
            cpu_model_number,
            l3_bytes,
            sockets,
            physical_cores,
            threads_per_core,
            core_kinds,
            usable_cpus,
            limit,
            quota_millicpus,
            memory_class_mib,
            machine,
            hypervisor,
            container,
        } = self;
        let kinds = core_kinds
            .iter()
            .map(|kind| format!("{}×{}", kind.cores, kind.name))
            .collect::<Vec<_>>()
            .join("+");
        let limit = match (limit, quota_millicpus) {
            (Limit::None, _) => "none".to_owned(),
            (Limit::Affinity, _) => "affinity".to_owned(),
            (Limit::Quota, quota) => format!("quota {}", Millicpus(quota.unwrap_or_default())),
        };
        let machine = machine.as_ref().map(|machine| match machine {
            Machine::BareMetal => "bare-metal",
            Machine::Virtual => "virtual",
        });
        vec![
            ("arch", arch.clone()),
            ("cpu_vendor", shown(cpu_vendor.as_ref())),
            ("cpu_model", shown(cpu_model.as_ref())),
            ("cpu_family", shown(cpu_family.as_ref())),
            ("cpu_model_number", shown(cpu_model_number.as_ref())),
            ("l3_bytes", shown(l3_bytes.as_ref())),
            ("sockets", shown(sockets.as_ref())),
            ("physical_cores", shown(physical_cores.as_ref())),
            ("threads_per_core", shown(threads_per_core.as_ref())),
            ("core_kinds", shown(Some(&kinds).filter(|kinds| !kinds.is_empty()))),
            ("usable_cpus", usable_cpus.to_string()),
            ("limit", limit),
            ("memory_class_mib", shown(memory_class_mib.as_ref())),
            ("machine", shown(machine.as_ref())),
            ("hypervisor", shown(hypervisor.as_ref())),
            ("container", shown(container.as_ref())),
        ]
    }

    /// Whether enough is known to compare hosts of this profile.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.cpu_model.is_some()
    }

    fn name(&self, instance_type: Option<&str>) -> String {
        let cpu =
            self.cpu_model.as_deref().map_or_else(|| format!("unknown-{}", self.arch), short_model);
        let cores = match (self.physical_cores, self.threads_per_core) {
            (Some(cores), Some(threads)) => format!("{cores}c{threads}t"),
            (Some(cores), None) => format!("{cores}c"),
            (None, _) => format!("{}cpu", self.usable_cpus),
        };
        let place = match (self.container.as_deref(), self.machine) {
            (Some(container), _) if container != "none" => Some(slug(container)),
            (_, Some(Machine::Virtual)) => Some("vm".to_owned()),
            (_, Some(Machine::BareMetal)) => Some("metal".to_owned()),
            (_, None) => None,
        };
        let memory = self.memory_class_mib.map(|mib| match mib {
            ..1024 => format!("{mib}m"),
            _ if mib.is_multiple_of(1024) => format!("{}g", mib / 1024),
            _ => format!("{}.5g", mib / 1024),
        });
        let limit = match self.limit {
            Limit::None => None,
            Limit::Affinity => Some(format!("pinned{}", self.usable_cpus)),
            Limit::Quota => Some(format!("quota{}", Millicpus(self.quota_millicpus.unwrap_or(0)))),
        };
        let start = instance_type.map_or(cpu, slug);
        [Some(start), Some(cores), place, memory, limit]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join("-")
    }
}

/// Thousandths of a CPU, shown as CPUs: `1.5`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Millicpus(pub u64);

impl fmt::Display for Millicpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(millicpus) = *self;
        if millicpus.is_multiple_of(1000) {
            return write!(f, "{}", millicpus / 1000);
        }
        let fraction = format!("{:03}", millicpus % 1000);
        write!(f, "{}.{}", millicpus / 1000, fraction.trim_end_matches('0'))
    }
}

fn shown<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "unknown".to_owned(), ToString::to_string)
}

/// What a person calls a CPU: `AMD EPYC 7B13 64-Core Processor` is `amd-epyc-7b13`.
fn short_model(model: &str) -> String {
    const FILLER: [&str; 9] =
        ["cpu", "processor", "core", "with", "virtual", "gen", "r", "tm", "family"];
    let before_clock = model.split('@').next().unwrap_or(model);
    let plain = before_clock.replace("(R)", " ").replace("(TM)", " ").replace("(r)", " ");
    let words = slug(&plain)
        .split('-')
        .filter(|word| !FILLER.contains(word) && !word.is_empty())
        .map(str::to_owned)
        .collect::<Vec<_>>();
    // "64-Core" loses its "core" above; the number left over says nothing that the name does not say later.
    let counts = slug(&plain);
    words
        .into_iter()
        .filter(|word| !counts.contains(&format!("{word}-core")) || word.parse::<u32>().is_err())
        .take(4)
        .collect::<Vec<_>>()
        .join("-")
}

/// Lower case, with a hyphen between words.
fn slug(text: &str) -> String {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.')
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect::<Vec<_>>()
        .join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facets() -> Facets {
        Facets {
            arch: "x86_64".into(),
            cpu_vendor: Some("AuthenticAMD".into()),
            cpu_model: Some("AMD EPYC".into()),
            cpu_family: Some("25".into()),
            cpu_model_number: Some("17".into()),
            l3_bytes: Some(32 << 20),
            sockets: Some(1),
            physical_cores: Some(2),
            threads_per_core: Some(1),
            core_kinds: vec![CoreKind { name: "core".into(), cores: 2 }],
            usable_cpus: 2,
            limit: Limit::None,
            quota_millicpus: None,
            memory_class_mib: Some(24 * 1024),
            machine: Some(Machine::Virtual),
            hypervisor: None,
            container: Some("none".into()),
        }
    }

    #[test]
    fn names_are_what_people_say() {
        assert_eq!(Profile::new(facets(), None).name, "amd-epyc-2c1t-vm-24g");
        let quota = Facets {
            limit: Limit::Quota,
            quota_millicpus: Some(1500),
            usable_cpus: 1,
            container: Some("docker".into()),
            ..facets()
        };
        assert_eq!(Profile::new(quota, None).name, "amd-epyc-2c1t-docker-24g-quota1.5");
        assert_eq!(Profile::new(facets(), Some("c7a.large")).name, "c7a.large-2c1t-vm-24g");
        assert_eq!(short_model("AMD EPYC 7B13 64-Core Processor"), "amd-epyc-7b13");
        assert_eq!(short_model("Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz"), "intel-xeon-gold-6338");
        assert_eq!(short_model("13th Gen Intel(R) Core(TM) i7-1360P"), "13th-intel-i7-1360p");
    }

    #[test]
    fn every_facet_parts_profiles() {
        let id = |facets: Facets| Profile::new(facets, None).id;
        let base = id(facets());
        assert_eq!(base, id(facets()), "the same facets have one id");
        let others = [
            Facets { arch: "aarch64".into(), ..facets() },
            Facets { cpu_model: None, ..facets() },
            Facets { cpu_model_number: Some("1".into()), ..facets() },
            Facets { l3_bytes: None, ..facets() },
            Facets { usable_cpus: 1, ..facets() },
            Facets { limit: Limit::Affinity, ..facets() },
            Facets { memory_class_mib: Some(32 * 1024), ..facets() },
            Facets { hypervisor: Some("kvm".into()), ..facets() },
            Facets { container: None, ..facets() },
        ];
        for other in others {
            let key = other.key();
            assert_ne!(base, id(other), "{key}");
        }
    }

    #[test]
    fn a_value_cannot_pose_as_a_facet() {
        let spaced = Facets { cpu_model: Some("a\" cpu_family=\"b".into()), ..facets() };
        assert!(spaced.key().contains(r#"cpu_model="a\" cpu_family=\"b""#));
    }

    #[test]
    fn quotas_show_as_cpus() {
        let shown = |quota| Millicpus(quota).to_string();
        assert_eq!(shown(1500), "1.5");
        assert_eq!(shown(2000), "2");
        assert_eq!(shown(50), "0.05");
    }
}
