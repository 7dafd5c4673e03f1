//! Which CPU it is.

use procfs_core::{CpuInfo, FromBufRead as _};

use super::{Fact, Found, Root};

const CPUINFO: &str = "proc/cpuinfo";

/// Which CPU it is. Where an ARM machine has several kinds of cores, all of them, as the kernel lists them.
#[derive(Debug)]
pub(super) struct Cpu {
    pub(super) vendor: Found<String>,
    pub(super) model: Found<String>,
    pub(super) family: Found<String>,
    pub(super) model_number: Found<String>,
    pub(super) microcode: Found<String>,
    /// Whether the CPU says that it runs under a hypervisor; `None` where CPUs do not say.
    pub(super) hypervisor_flag: Option<bool>,
}

pub(super) fn read(root: Root<'_>) -> Cpu {
    parse(&root.read(CPUINFO).unwrap_or_default())
}

/// Reads `/proc/cpuinfo`, of x86 or of ARM.
fn parse(text: &str) -> Cpu {
    let info = CpuInfo::from_buf_read(text.as_bytes()).ok();
    let field = |name: &str| {
        let info = info.as_ref()?;
        // `get_field` looks into a list that is empty where there is no CPU.
        let value = (info.num_cores() > 0).then(|| info.get_field(0, name)).flatten()?;
        let value = super::platform::one_line(value);
        (!value.is_empty() && value != "unknown").then_some(value)
    };
    let found = |value| Found::new(value, format!("/{CPUINFO}"));
    let arm = info.as_ref().map(arm_cores).unwrap_or_default();
    let each = |show: &dyn Fn(&ArmCore) -> String| joined(arm.iter().map(show).collect());
    let implementer = each(&|core| core.implementer.clone());
    let part = each(&|core| core.part.clone());
    let arm_vendor = each(&|core| arm_vendor(&core.implementer));
    let arm_model = each(&arm_model);
    Cpu {
        vendor: found(field("vendor_id").or(arm_vendor)),
        // A 32-bit process on ARM is told the architecture in place of a model.
        model: found(arm_model.or_else(|| field("model name"))),
        family: found(field("cpu family").or(implementer)),
        model_number: found(field("model").or(part)),
        microcode: found(field("microcode")),
        hypervisor_flag: field("flags")
            .map(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
    }
}

impl Cpu {
    pub(super) fn facts(&self) -> [Fact; 5] {
        let text = String::clone;
        [
            self.vendor.fact("cpu_vendor", text),
            self.model.fact("cpu_model", text),
            self.family.fact("cpu_family", text),
            self.model_number.fact("cpu_model_number", text),
            self.microcode.fact("microcode", text),
        ]
    }
}

/// What ARM tells of a core in place of its name.
#[derive(Debug, Eq, PartialEq)]
struct ArmCore {
    implementer: String,
    part: String,
}

/// The kinds of ARM cores, each once, in the order of the first core of each.
fn arm_cores(info: &CpuInfo) -> Vec<ArmCore> {
    let mut cores = Vec::new();
    for cpu in 0..info.num_cores() {
        let field = |name: &str| info.get_field(cpu, name).map(str::to_ascii_lowercase);
        if let (Some(implementer), Some(part)) = (field("CPU implementer"), field("CPU part")) {
            let core = ArmCore { implementer, part };
            if !cores.contains(&core) {
                cores.push(core);
            }
        }
    }
    cores
}

/// Several names as one, without what the others share with the first: `ARM Cortex-A53+A72`.
fn joined(mut names: Vec<String>) -> Option<String> {
    names.dedup();
    let (first, others) = names.split_first()?;
    let family = first.rfind('-').and_then(|hyphen| first.get(..=hyphen)).unwrap_or_default();
    let mut all = first.clone();
    for name in others {
        all.push('+');
        all.push_str(name.strip_prefix(family).unwrap_or(name));
    }
    Some(super::platform::one_line(&all)).filter(|all| !all.is_empty())
}

/// Whom ARM's implementer code means; the code itself where it is none of the common ones.
fn arm_vendor(code: &str) -> String {
    match code {
        "0x41" => "ARM",
        "0x42" => "Broadcom",
        "0x43" => "Cavium",
        "0x46" => "Fujitsu",
        "0x48" => "HiSilicon",
        "0x4e" => "NVIDIA",
        "0x50" => "APM",
        "0x51" => "Qualcomm",
        "0x53" => "Samsung",
        "0x61" => "Apple",
        "0xc0" => "Ampere",
        other => other,
    }
    .to_owned()
}

/// What people call an ARM core. Vendor and part identify one whose name is not known here just as well.
fn arm_model(core: &ArmCore) -> String {
    let name = match (core.implementer.as_str(), core.part.as_str()) {
        ("0x41", "0xd03") => "ARM Cortex-A53",
        ("0x41", "0xd04") => "ARM Cortex-A35",
        ("0x41", "0xd05") => "ARM Cortex-A55",
        ("0x41", "0xd07") => "ARM Cortex-A57",
        ("0x41", "0xd08") => "ARM Cortex-A72",
        ("0x41", "0xd09") => "ARM Cortex-A73",
        ("0x41", "0xd0a") => "ARM Cortex-A75",
        ("0x41", "0xd0b") => "ARM Cortex-A76",
        ("0x41", "0xd0c") => "ARM Neoverse-N1",
        ("0x41", "0xd0d") => "ARM Cortex-A77",
        ("0x41", "0xd40") => "ARM Neoverse-V1",
        ("0x41", "0xd41") => "ARM Cortex-A78",
        ("0x41", "0xd44") => "ARM Cortex-X1",
        ("0x41", "0xd46") => "ARM Cortex-A510",
        ("0x41", "0xd47") => "ARM Cortex-A710",
        ("0x41", "0xd48") => "ARM Cortex-X2",
        ("0x41", "0xd49") => "ARM Neoverse-N2",
        ("0x41", "0xd4a") => "ARM Neoverse-E1",
        ("0x41", "0xd4d") => "ARM Cortex-A715",
        ("0x41", "0xd4e") => "ARM Cortex-X3",
        ("0x41", "0xd4f") => "ARM Neoverse-V2",
        ("0x41", "0xd80") => "ARM Cortex-A520",
        ("0x41", "0xd81") => "ARM Cortex-A720",
        ("0x41", "0xd83") => "ARM Neoverse-V3AE",
        ("0x41", "0xd84") => "ARM Neoverse-V3",
        ("0x41", "0xd8e") => "ARM Neoverse-N3",
        ("0x43", "0x0af") => "Cavium ThunderX2",
        ("0x48", "0xd01") => "HiSilicon Kunpeng-920",
        ("0xc0", "0xac3") => "Ampere-1",
        _ => return format!("{} part {}", arm_vendor(&core.implementer), core.part),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x86_and_arm_are_read() {
        let x86 = parse(
            "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 106\nmodel name\t: Intel(R) Xeon(R)\nmicrocode\t: 0xd0003\nflags\t\t: fpu hypervisor\n\n",
        );
        assert_eq!(x86.model.value.as_deref(), Some("Intel(R) Xeon(R)"));
        assert_eq!(x86.model_number.value.as_deref(), Some("106"));
        assert_eq!(x86.hypervisor_flag, Some(true));
        let arm = parse(
            "processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\nCPU revision\t: 1\n\n",
        );
        assert_eq!(arm.vendor.value.as_deref(), Some("ARM"));
        assert_eq!(arm.model.value.as_deref(), Some("ARM Neoverse-N1"));
        assert_eq!(arm.model_number.value.as_deref(), Some("0xd0c"));
        assert_eq!(arm.hypervisor_flag, None);
    }

    #[test]
    fn every_kind_of_arm_core_is_named() {
        let core = |number: u32, implementer: &str, part: &str| {
            format!("processor: {number}\nCPU implementer: {implementer}\nCPU part: {part}\n\n")
        };
        let model = |cores: &[String]| parse(&cores.concat()).model.value;
        let (small, big) = (core(0, "0x41", "0xd05"), core(1, "0x41", "0xd0b"));
        assert_eq!(model(&[small.clone(), big]).as_deref(), Some("ARM Cortex-A55+A76"));
        let new = core(1, "0x61", "0xFFF");
        assert_eq!(model(&[small, new]).as_deref(), Some("ARM Cortex-A55+Apple part 0xfff"));
    }

    #[test]
    fn nonsense_is_unknown() {
        for text in
            ["", "\n\n", "nonsense", "processor", "processor: \n", ": :\n\n: :", "a: b\n\nc"]
        {
            assert_eq!(parse(text).model.value, None, "{text:?}");
        }
    }
}
