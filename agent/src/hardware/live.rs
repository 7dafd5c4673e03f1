//! What only a running host can tell, for what no file shows.

use std::{env::consts::ARCH, thread};

use serde::{Deserialize, Serialize};

use super::{Found, Parts, macos, platform::one_line, small_count};

/// What only a running host can tell.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub(super) struct Live {
    /// The architecture that the agent was built for, as that is what it measures.
    pub(super) arch: String,
    /// The libc that the agent was built for.
    pub(super) libc: Option<String>,
    /// How many threads the standard library would use.
    pub(super) parallelism: Option<u32>,
    /// What sysctl prints on macOS.
    pub(super) sysctl: Option<String>,
    pub(super) sysinfo: Sysinfo,
}

/// What sysinfo tells.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub(super) struct Sysinfo {
    pub(super) cpu_model: Option<String>,
    pub(super) cpu_vendor: Option<String>,
    pub(super) physical_cores: Option<u32>,
    pub(super) memory_bytes: Option<u64>,
    pub(super) kernel: Option<String>,
    pub(super) os: Option<String>,
}

impl Live {
    pub(super) fn look() -> Self {
        Self {
            arch: ARCH.to_owned(),
            libc: libc().map(str::to_owned),
            parallelism: thread::available_parallelism().ok().map(|cpus| small_count(cpus.get())),
            sysctl: macos::look(),
            sysinfo: Sysinfo::look(),
        }
    }

    /// Adds what no file shows.
    pub(super) fn fill(&self, parts: &mut Parts) {
        let Self { arch, libc, parallelism: _, sysctl: _, sysinfo } = self;
        let built = "what the agent was built for";
        parts.platform.arch = Found::new(Some(arch.clone()), built);
        parts.platform.libc = Found::new(libc.clone(), built);
        let Sysinfo { cpu_model, cpu_vendor, physical_cores, memory_bytes, kernel, os } = sysinfo;
        let source = "sysinfo";
        parts.cpu.model.fill(cpu_model.clone(), source);
        parts.cpu.vendor.fill(cpu_vendor.clone(), source);
        // Where Linux shows CPUs but no cores, sysinfo takes the one for the other on ARM.
        if parts.topology.online.value.is_none() {
            parts.topology.physical_cores.fill(*physical_cores, source);
        }
        parts.memory.bytes.fill(*memory_bytes, source);
        parts.platform.kernel.fill(kernel.clone(), source);
        parts.platform.os.fill(os.clone(), source);
    }
}

impl Sysinfo {
    fn look() -> Self {
        use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};
        let kinds = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        let system = System::new_with_specifics(kinds).ok();
        let cpu = system.as_ref().and_then(|system| system.cpus().first());
        let text = |text: &str| Some(one_line(text)).filter(|text| !text.is_empty());
        Self {
            cpu_model: cpu.and_then(|cpu| text(cpu.brand())),
            cpu_vendor: cpu.and_then(|cpu| text(cpu.vendor_id())),
            physical_cores: System::physical_core_count().ok().map(small_count),
            memory_bytes: system.as_ref().map(System::total_memory).filter(|&bytes| bytes > 0),
            kernel: System::kernel_version().ok().as_deref().and_then(text),
            os: System::long_os_version().ok().as_deref().and_then(text),
        }
    }
}

fn libc() -> Option<&'static str> {
    if cfg!(target_env = "gnu") {
        Some("gnu")
    } else if cfg!(target_env = "musl") {
        Some("musl")
    } else {
        None
    }
}
