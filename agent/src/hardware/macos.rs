//! What macOS tells, all of it through sysctl: `name: value`, one a line.

use std::collections::{BTreeMap, BTreeSet};

use fleetmark_proto::{
    limits,
    profile::{CoreKind, Machine},
};

use super::{Found, Parts, caches::Cache, platform::one_line};

/// The file in which a captured host keeps what sysctl printed.
pub(super) const FILE: &str = "sysctl.txt";

/// The names that are read, or how they begin. Nothing else is kept, as sysctl knows the host's name and serials too.
const WANTED: [&str; 7] = [
    "hw.",
    "machdep.cpu.",
    "kern.osproductversion:",
    "kern.osrelease:",
    "kern.ostype:",
    "kern.osversion:",
    "kern.hv_vmm_present:",
];

/// What `sysctl hw machdep kern` says of this host; `None` where it is not macOS.
pub(super) fn look() -> Option<String> {
    if !cfg!(target_os = "macos") {
        return None;
    }
    let names = ["hw", "machdep", "kern"];
    let output = std::process::Command::new("/usr/sbin/sysctl").args(names).output().ok()?;
    Some(wanted(&String::from_utf8_lossy(&output.stdout)))
}

/// The lines that are read.
fn wanted(text: &str) -> String {
    let lines = text.lines().filter(|line| WANTED.iter().any(|name| line.starts_with(name)));
    lines.map(|line| format!("{line}\n")).collect()
}

/// What sysctl printed, by name.
#[derive(Debug)]
pub(super) struct Sysctl<'a>(BTreeMap<&'a str, &'a str>);

pub(super) fn parse(text: &str) -> Sysctl<'_> {
    let pair = |line| str::split_once(line, ':').map(|(name, value)| (name.trim(), value.trim()));
    Sysctl(text.lines().filter_map(pair).filter(|(_, value)| !value.is_empty()).collect())
}

impl Sysctl<'_> {
    /// Adds what sysctl tells to what no file shows.
    pub(super) fn fill(&self, parts: &mut Parts) {
        if self.0.is_empty() {
            return;
        }
        let Parts { cpu, topology, caches, memory, platform, quota } = parts;
        self.text("machdep.cpu.brand_string").fill_into(&mut cpu.model);
        self.text("machdep.cpu.vendor").or(|| self.apple()).fill_into(&mut cpu.vendor);
        self.text("machdep.cpu.family").or(|| self.family()).fill_into(&mut cpu.family);
        let model_number = self.text("machdep.cpu.model").or(|| self.text("hw.cpusubfamily"));
        model_number.fill_into(&mut cpu.model_number);
        self.text("machdep.cpu.microcode_version").fill_into(&mut cpu.microcode);

        let online = self.cpus("hw.logicalcpu");
        online.map(|cpus| (0..cpus).collect::<BTreeSet<u32>>()).fill_into(&mut topology.online);
        self.cpus("hw.packages").fill_into(&mut topology.sockets);
        self.cpus("hw.physicalcpu").fill_into(&mut topology.physical_cores);
        self.threads_per_core().fill_into(&mut topology.threads_per_core);
        self.core_kinds().fill_into(&mut topology.core_kinds);
        // Where there are several kinds of cores, the names without a level speak of the slowest.
        let cache = |name: &str, sharing: &str| {
            self.cache(&format!("hw.perflevel0.{name}"), &format!("hw.perflevel0.{sharing}"))
                .or(|| self.cache(&format!("hw.{name}"), ""))
        };
        cache("l1dcachesize", "").fill_into(&mut caches.l1d);
        cache("l1icachesize", "").fill_into(&mut caches.l1i);
        cache("l2cachesize", "cpusperl2").fill_into(&mut caches.l2);
        let l3 = cache("l3cachesize", "cpusperl3");
        Found::new(l3.value.map(|cache| cache.bytes), l3.source.clone())
            .fill_into(&mut caches.l3_bytes);
        l3.fill_into(&mut caches.l3);

        self.bytes("hw.memsize").fill_into(&mut memory.bytes);
        self.arch().fill_into(&mut platform.arch);
        let machine = self.machine();
        if platform.machine.value.is_none() && machine.value.is_some() {
            platform.machine = machine;
            platform.hypervisor = self.hypervisor();
        }
        Found::new(Some("none".to_owned()), "macOS has no containers")
            .fill_into(&mut platform.container);
        self.text("kern.osrelease").fill_into(&mut platform.kernel);
        self.text("kern.osproductversion")
            .map(|version| format!("macOS {version}"))
            .fill_into(&mut platform.os);
        Found::new(Some(None), "macOS has no quotas").fill_into(quota);
    }

    fn found<T>(&self, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> Found<T> {
        Found::new(self.0.get(name).copied().and_then(parse), format!("sysctl {name}"))
    }

    fn text(&self, name: &str) -> Found<String> {
        self.found(name, |text| Some(one_line(text)).filter(|text| !text.is_empty()))
    }

    /// A count of CPUs, which is at least 1.
    fn cpus(&self, name: &str) -> Found<u32> {
        self.found(name, |text| text.parse().ok().filter(|cpus| (1..=limits::CPUS).contains(cpus)))
    }

    fn bytes(&self, name: &str) -> Found<u64> {
        let range = 1..=limits::MEMORY_BYTES;
        self.found(name, |text| text.parse().ok().filter(|bytes| range.contains(bytes)))
    }

    /// A cache, and how many CPUs share it where a name for that is given.
    fn cache(&self, size: &str, sharing: &str) -> Found<Cache> {
        let shared_by = self.cpus(sharing).value;
        self.bytes(size).map(|bytes| Cache { bytes, shared_by })
    }

    /// Apple's own CPUs name their vendor only at the start of their model.
    fn apple(&self) -> Found<String> {
        self.found("machdep.cpu.brand_string", |model| {
            model.starts_with("Apple").then(|| "Apple".to_owned())
        })
    }

    /// The number by which Apple knows a design, as its headers write it.
    fn family(&self) -> Found<String> {
        self.found("hw.cpufamily", |family| {
            // Some versions print it signed.
            let family: i64 = family.parse().ok()?;
            let family = u32::try_from(family & i64::from(u32::MAX)).ok()?;
            Some(format!("{family:#010x}"))
        })
    }

    fn threads_per_core(&self) -> Found<u32> {
        let cores = self.cpus("hw.physicalcpu");
        let threads = self.cpus("hw.logicalcpu").value;
        let each = cores.value.zip(threads).and_then(|(cores, threads)| threads.checked_div(cores));
        Found::new(each.filter(|&each| each > 0), "sysctl hw.logicalcpu by hw.physicalcpu")
    }

    /// Level 0 is the fastest.
    fn core_kinds(&self) -> Found<Vec<CoreKind>> {
        let levels = self.cpus("hw.nperflevels").value.unwrap_or(1);
        if levels == 1 {
            let alike = |cores| vec![CoreKind { name: "core".to_owned(), cores }];
            return self.cpus("hw.physicalcpu").map(alike);
        }
        let kind = |level: u32| {
            let cores = self.cpus(&format!("hw.perflevel{level}.physicalcpu")).value?;
            let named = self.text(&format!("hw.perflevel{level}.name")).value;
            // The first versions with levels did not name them; they had two.
            let name = match (named, level) {
                (Some(name), _) => name.to_lowercase(),
                (None, 0) => "performance".to_owned(),
                (None, 1) => "efficiency".to_owned(),
                (None, _) => return None,
            };
            Some(CoreKind { name, cores })
        };
        let few = usize::try_from(levels).is_ok_and(|levels| levels <= limits::CORE_KINDS);
        let kinds = few.then(|| (0..levels).map(kind).collect::<Option<Vec<_>>>()).flatten();
        Found::new(kinds, "sysctl hw.perflevel*.physicalcpu and name")
    }

    /// The architecture, by Rust's name for it.
    fn arch(&self) -> Found<String> {
        let arm = self.found("hw.optional.arm64", |text| (text == "1").then(|| "aarch64".into()));
        arm.or(|| {
            self.found("hw.machine", |machine| {
                Some(if machine == "arm64" { "aarch64" } else { machine }.to_owned())
            })
        })
    }

    fn machine(&self) -> Found<Machine> {
        self.found("kern.hv_vmm_present", |text| match text {
            "0" => Some(Machine::BareMetal),
            "1" => Some(Machine::Virtual),
            _ => None,
        })
    }

    /// Apple's own hypervisor names the machine that it makes.
    fn hypervisor(&self) -> Found<String> {
        self.found("hw.model", |model| model.starts_with("VirtualMac").then(|| "apple".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_serials_are_not_kept() {
        let text = "hw.ncpu: 12\nkern.hostname: annas-mac\nkern.uuid: 5A\nkern.osrelease: 24.1.0\n\
                    kern.osproductversionextra: x\nmachdep.cpu.core_count: 12\nmachdep.x: 1\n";
        let kept = "hw.ncpu: 12\nkern.osrelease: 24.1.0\nmachdep.cpu.core_count: 12\n";
        assert_eq!(wanted(text), kept);
    }

    #[test]
    fn kinds_of_cores_are_named_as_macos_does() {
        let kinds = |text: &str| {
            let kinds = parse(text).core_kinds().value?;
            let shown: Vec<_> =
                kinds.iter().map(|kind| format!("{}×{}", kind.cores, kind.name)).collect();
            Some(shown.join("+"))
        };
        let two = "hw.nperflevels: 2\nhw.perflevel0.physicalcpu: 8\nhw.perflevel1.physicalcpu: 4\n";
        assert_eq!(kinds(two).as_deref(), Some("8×performance+4×efficiency"));
        let named = "hw.perflevel0.name: Super\nhw.perflevel1.name: Performance\n";
        assert_eq!(kinds(&(two.to_owned() + named)).as_deref(), Some("8×super+4×performance"));
        assert_eq!(kinds("hw.physicalcpu: 6\n").as_deref(), Some("6×core"));
        assert_eq!(kinds("hw.nperflevels: 1\nhw.physicalcpu: 4\n").as_deref(), Some("4×core"));
        for unknown in ["", "hw.nperflevels: 3\n", "hw.nperflevels: 65536\n", "hw.physicalcpu: 0"] {
            assert_eq!(kinds(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn numbers_are_checked() {
        let sysctl = parse("hw.cpufamily: -1829029944\nhw.memsize: -5\nhw.l3cachesize: 0\nhw.x\n");
        assert_eq!(sysctl.family().value.as_deref(), Some("0x92fb37c8"));
        assert_eq!(sysctl.bytes("hw.memsize").value, None);
        assert_eq!(sysctl.bytes("hw.l3cachesize").value, None);
        assert_eq!(sysctl.text("hw.x").value, None);
    }
}
