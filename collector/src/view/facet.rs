//! What runs can be grouped by: the profile, parts of it, and what is recorded beside it.

use std::{fmt, str::FromStr};

use fleetmark_proto::report::System;
use serde::{Serialize, Serializer};

use crate::store::StoredRun;

/// Something that a run has, and that parts runs into groups.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Facet {
    /// The hardware profile.
    Profile,
    /// The host.
    Host,
    /// What was measured with.
    Build,
    /// The version of Tokio in it.
    Tokio,
    /// The version of rustc in it.
    Rustc,
    /// The version of the agent.
    AgentVersion,
    /// The kernel's release.
    Kernel,
    /// Name and version of the operating system.
    Os,
    /// The C library.
    Libc,
    /// The revision of the microcode.
    Microcode,
    /// What the kernel does about vulnerabilities of the CPU.
    Mitigations,
    /// The cloud's name for the kind of machine.
    InstanceType,
    /// A facet of the hardware, by its name in the profile's key.
    Hardware(&'static str),
    /// What the owner says under this name.
    Label(String),
}

/// Those that stand for themselves, by what is typed.
const NAMED: [(&str, Facet); 12] = [
    ("profile", Facet::Profile),
    ("host", Facet::Host),
    ("build", Facet::Build),
    ("tokio", Facet::Tokio),
    ("rustc", Facet::Rustc),
    ("agent-version", Facet::AgentVersion),
    ("kernel", Facet::Kernel),
    ("os", Facet::Os),
    ("libc", Facet::Libc),
    ("microcode", Facet::Microcode),
    ("mitigations", Facet::Mitigations),
    ("instance-type", Facet::InstanceType),
];

/// The facets of hardware, as the profile's key names them, by what is typed.
const HARDWARE: [(&str, &str); 16] = [
    ("arch", "arch"),
    ("cpu-vendor", "cpu_vendor"),
    ("cpu-model", "cpu_model"),
    ("cpu-family", "cpu_family"),
    ("cpu-model-number", "cpu_model_number"),
    ("l3-bytes", "l3_bytes"),
    ("sockets", "sockets"),
    ("physical-cores", "physical_cores"),
    ("threads-per-core", "threads_per_core"),
    ("core-kinds", "core_kinds"),
    ("usable-cpus", "usable_cpus"),
    ("limit", "limit"),
    ("memory-class-mib", "memory_class_mib"),
    ("machine", "machine"),
    ("hypervisor", "hypervisor"),
    ("container", "container"),
];

/// What stands for a value that a host does not show.
pub(super) const UNKNOWN: &str = "unknown";

impl Facet {
    /// What it is in this run; `unknown` where the host does not show it, and for a label that it does not have.
    #[must_use]
    pub fn of(&self, run: &StoredRun) -> String {
        let report = &run.report;
        let System { kernel, os, libc, microcode, mitigations, instance_type, memory_bytes: _ } =
            &report.system;
        let known = |value: &Option<String>| value.clone().unwrap_or_else(|| UNKNOWN.to_owned());
        match self {
            Self::Profile => report.profile.id.to_string(),
            Self::Host => report.host.id.to_string(),
            Self::Build => report.build.key(),
            Self::Tokio => report.build.tokio.clone(),
            Self::Rustc => report.build.rustc.clone(),
            Self::AgentVersion => report.build.agent_version.clone(),
            Self::Kernel => known(kernel),
            Self::Os => known(os),
            Self::Libc => known(libc),
            Self::Microcode => known(microcode),
            Self::Mitigations => known(mitigations).replace('\n', "; "),
            Self::InstanceType => known(instance_type),
            Self::Hardware(name) => {
                let mut facets = report.profile.facets.named().into_iter();
                facets
                    .find(|(found, _)| found == name)
                    .map_or_else(|| UNKNOWN.to_owned(), |it| it.1)
            }
            Self::Label(key) => known(&report.labels.get(key).cloned()),
        }
    }
}

impl fmt::Display for Facet {
    /// As it is typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let typed = match self {
            Self::Label(key) => return write!(f, "label.{key}"),
            Self::Hardware(name) => HARDWARE.iter().find(|(_, of)| of == name).map(|it| it.0),
            other => NAMED.iter().find(|(_, facet)| facet == other).map(|it| it.0),
        };
        f.write_str(typed.unwrap_or_default())
    }
}

impl FromStr for Facet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(key) = text.strip_prefix("label.").filter(|key| !key.is_empty()) {
            return Ok(Self::Label(key.to_owned()));
        }
        if let Some((_, facet)) = NAMED.iter().find(|(name, _)| *name == text) {
            return Ok(facet.clone());
        }
        if let Some((_, name)) = HARDWARE.iter().find(|(name, _)| *name == text) {
            return Ok(Self::Hardware(name));
        }
        let names = NAMED.iter().map(|it| it.0).chain(HARDWARE.iter().map(|it| it.0));
        let names: Vec<&str> = names.collect();
        Err(format!("must be one of {}, or label.KEY", names.join(", ")))
    }
}

impl Serialize for Facet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A facet with what it is in a group.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct FacetValue {
    /// Which.
    pub facet: Facet,
    /// What it is; `unknown` where hosts do not show it.
    pub value: String,
}

impl FacetValue {
    /// What a facet is in this run.
    #[must_use]
    pub fn of(facet: &Facet, run: &StoredRun) -> Self {
        Self { facet: facet.clone(), value: facet.of(run) }
    }
}

impl fmt::Display for FacetValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.facet, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn every_facet_is_its_name() {
        let named = NAMED.iter().map(|it| it.0).chain(HARDWARE.iter().map(|it| it.0));
        for name in named.chain(["label.rack"]) {
            assert_eq!(name.parse::<Facet>().unwrap().to_string(), name);
        }
        for wrong in ["", "label.", "colour"] {
            assert!(wrong.parse::<Facet>().unwrap_err().contains("instance-type"), "{wrong}");
        }
    }

    #[test]
    fn every_facet_of_the_key_can_be_grouped_by() {
        let report = testing::report("a", &[1]);
        let facets = report.profile.facets.named();
        let names: Vec<&str> = facets.iter().map(|(name, _)| *name).collect();
        assert_eq!(HARDWARE.map(|(_, name)| name), names[..]);
        let run = StoredRun { received_at: report.ended_at, sent_at: None, report };
        for (name, value) in facets {
            assert_eq!(Facet::Hardware(name).of(&run), value);
        }
        assert_eq!(Facet::Label("rack".into()).of(&run), "7");
        assert_eq!(Facet::Label("row".into()).of(&run), "unknown");
        assert_eq!(Facet::Kernel.of(&run), "unknown");
        assert_eq!(Facet::Tokio.of(&run), "1.54.1");
    }
}
