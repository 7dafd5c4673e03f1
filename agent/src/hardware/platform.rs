//! What the CPU is in: machine, hypervisor, container, operating system.

use fleetmark_proto::{limits, profile::Machine};

use super::{Fact, Found, Root, cpu::Cpu};

const DMI: &str = "sys/class/dmi/id";
const CLOCKS: &str = "sys/devices/system/clocksource/clocksource0/available_clocksource";
const VULNERABILITIES: &str = "sys/devices/system/cpu/vulnerabilities";

/// What the CPU is in.
#[derive(Debug)]
pub(super) struct Platform {
    pub(super) arch: Found<String>,
    pub(super) machine: Found<Machine>,
    pub(super) hypervisor: Found<String>,
    pub(super) container: Found<String>,
    pub(super) kernel: Found<String>,
    pub(super) os: Found<String>,
    pub(super) libc: Found<String>,
    pub(super) mitigations: Found<String>,
    pub(super) instance_type: Found<String>,
}

pub(super) fn read(root: Root<'_>, cpu: &Cpu) -> Platform {
    let machine = machine(root, cpu);
    let hypervisor = match machine.value {
        Some(Machine::Virtual) => hypervisor(root),
        _ => Found::new(None, machine.source.clone()),
    };
    let release = |path: &str| {
        Found::new(root.read(path).and_then(|text| os_name(&text)), format!("/{path}"))
    };
    Platform {
        arch: file(root, "proc/sys/kernel/arch"),
        machine,
        hypervisor,
        container: container(root),
        kernel: file(root, "proc/sys/kernel/osrelease"),
        os: release("etc/os-release").or(|| release("usr/lib/os-release")),
        libc: Found::new(None, "what the agent was built for"),
        mitigations: mitigations(root),
        instance_type: instance_type(root),
    }
}

impl Platform {
    pub(super) fn facts(&self) -> [Fact; 8] {
        let text = String::clone;
        let machine = |machine: &Machine| match machine {
            Machine::BareMetal => "bare-metal".to_owned(),
            Machine::Virtual => "virtual".to_owned(),
        };
        [
            self.machine.fact("machine", machine),
            self.hypervisor.fact("hypervisor", text),
            self.container.fact("container", text),
            self.instance_type.fact("instance_type", text),
            self.kernel.fact("kernel", text),
            self.os.fact("os", text),
            self.libc.fact("libc", text),
            self.mitigations.fact("mitigations", |lines| lines.replace('\n', "; ")),
        ]
    }
}

/// Text on one line, without control characters, short enough to travel.
pub(crate) fn one_line(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    line.truncate(line.floor_char_boundary(limits::TEXT_BYTES));
    line
}

fn file(root: Root<'_>, path: &str) -> Found<String> {
    let line = root.read(path).map(|text| one_line(&text)).filter(|line| !line.is_empty());
    Found::new(line, format!("/{path}"))
}

/// Bare metal or virtual. x86 says so itself; elsewhere firmware does.
fn machine(root: Root<'_>, cpu: &Cpu) -> Found<Machine> {
    if let Some(virtual_flag) = cpu.hypervisor_flag {
        let machine = if virtual_flag { Machine::Virtual } else { Machine::BareMetal };
        return Found::new(Some(machine), "/proc/cpuinfo, flag hypervisor");
    }
    if root.exists("proc/device-tree/hypervisor") {
        return Found::new(Some(Machine::Virtual), "/proc/device-tree/hypervisor");
    }
    let vendor = file(root, &format!("{DMI}/sys_vendor"));
    let product = file(root, &format!("{DMI}/product_name")).value.unwrap_or_default();
    if let Some(name) = &vendor.value {
        let virtual_vendor = hypervisor_of(name, &product).is_some() && !product.contains("metal");
        let machine = if virtual_vendor { Machine::Virtual } else { Machine::BareMetal };
        return Found::new(Some(machine), vendor.source);
    }
    let board = file(root, "proc/device-tree/model");
    Found::new(board.value.map(|_| Machine::BareMetal), board.source)
}

fn hypervisor(root: Root<'_>) -> Found<String> {
    let vendor = file(root, &format!("{DMI}/sys_vendor"));
    let product = file(root, &format!("{DMI}/product_name")).value.unwrap_or_default();
    let named = vendor.value.and_then(|vendor| hypervisor_of(&vendor, &product)).map(str::to_owned);
    file(root, "sys/hypervisor/type")
        .or(|| Found::new(named, format!("/{DMI}/sys_vendor and product_name")))
        .or(|| {
            let tree = file(root, "proc/device-tree/hypervisor/compatible");
            let name = tree.value.map(|name| name.replace("linux,", ""));
            Found::new(name, tree.source)
        })
        .or(|| {
            // Small virtual machines have no firmware, but their hypervisor's clock.
            let clocks = file(root, CLOCKS);
            let clocks = clocks.value.unwrap_or_default();
            Found::new(
                clocks.split(' ').find_map(hypervisor_of_clock).map(str::to_owned),
                format!("/{CLOCKS}"),
            )
        })
}

fn hypervisor_of_clock(clock: &str) -> Option<&'static str> {
    match clock {
        "kvm-clock" => Some("kvm"),
        "xen" => Some("xen"),
        "hyperv_clocksource_tsc_page" | "hyperv_clocksource_msr" => Some("hyper-v"),
        _ => None,
    }
}

/// The hypervisor that firmware of this vendor means.
fn hypervisor_of(vendor: &str, product: &str) -> Option<&'static str> {
    let contains = |what: &str| vendor.contains(what) || product.contains(what);
    [
        ("VMware", "vmware"),
        ("innotek", "virtualbox"),
        ("VirtualBox", "virtualbox"),
        ("Xen", "xen"),
        ("Parallels", "parallels"),
        ("BHYVE", "bhyve"),
        ("Apple Virtualization", "apple"),
        ("QEMU", "kvm"),
        ("KVM", "kvm"),
        ("Amazon EC2", "kvm"),
        ("Google Compute Engine", "kvm"),
        ("OpenStack", "kvm"),
        ("DigitalOcean", "kvm"),
        ("Hetzner", "kvm"),
        ("Alibaba Cloud", "kvm"),
    ]
    .into_iter()
    .find(|(name, _)| contains(name))
    .map(|(_, hypervisor)| hypervisor)
    .or_else(|| {
        let hyper_v = vendor == "Microsoft Corporation" && product == "Virtual Machine";
        hyper_v.then_some("hyper-v")
    })
}

/// Numbers of the namespaces that the kernel boots into, fixed in `include/linux/proc_ns.h`.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";
const FIRST_CGROUP_NAMESPACE: &str = "cgroup:[4026531835]";

/// The kind of container. Files say which; namespaces say whether there is one at all, since images of virtual machines
/// that were made from containers keep the files.
fn container(root: Root<'_>) -> Found<String> {
    let cgroup = root.read("proc/self/cgroup").unwrap_or_default();
    if let Some(name) = container_of(&cgroup) {
        return Found::new(Some(name.to_owned()), "/proc/self/cgroup");
    }
    let namespace = |name: &str| root.link(&format!("proc/self/ns/{name}"));
    // Hardened services have some namespaces of their own, but not these two.
    if namespace("pid").as_deref() == Some(FIRST_PID_NAMESPACE)
        && namespace("cgroup").is_none_or(|name| name == FIRST_CGROUP_NAMESPACE)
    {
        return Found::new(Some("none".to_owned()), "/proc/self/ns/pid and cgroup");
    }
    let markers = [
        ("kubernetes", "var/run/secrets/kubernetes.io"),
        ("podman", "run/.containerenv"),
        ("docker", ".dockerenv"),
    ];
    for (name, marker) in markers {
        if root.exists(marker) {
            return Found::new(Some(name.to_owned()), format!("/{marker}"));
        }
    }
    file(root, "run/systemd/container").or(|| {
        let environ = root.read("proc/1/environ").unwrap_or_default();
        let named = environ.split('\0').find_map(|variable| variable.strip_prefix("container="));
        let named = named.map(one_line).filter(|name| !name.is_empty());
        Found::new(named, "/proc/1/environ")
    })
}

/// The kind of container that the path of a cgroup names.
fn container_of(cgroup: &str) -> Option<&'static str> {
    [
        ("kubepods", "kubernetes"),
        ("/libpod-", "podman"),
        ("/docker/", "docker"),
        ("/docker-", "docker"),
        ("/lxc/", "lxc"),
        ("/lxc.payload", "lxc"),
    ]
    .into_iter()
    .find(|(path, _)| cgroup.contains(path))
    .map(|(_, name)| name)
}

fn os_name(release: &str) -> Option<String> {
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(one_line(name.trim_matches(['"', '\'']))).filter(|name| !name.is_empty())
}

/// What the kernel does about the CPU's vulnerabilities, one a line.
fn mitigations(root: Root<'_>) -> Found<String> {
    let mut text = String::new();
    for name in root.list(VULNERABILITIES) {
        if let Some(mitigation) = file(root, &format!("{VULNERABILITIES}/{name}")).value {
            let line = format!("{}: {mitigation}", one_line(&name));
            if text.len() + 1 + line.len() > limits::LONG_TEXT_BYTES {
                break;
            }
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&line);
        }
    }
    Found::new(Some(text).filter(|text| !text.is_empty()), format!("/{VULNERABILITIES}"))
}

fn instance_type(root: Root<'_>) -> Found<String> {
    let vendor = file(root, &format!("{DMI}/sys_vendor"));
    let product = file(root, &format!("{DMI}/product_name"));
    let told = vendor.value.as_deref() == Some("Amazon EC2");
    Found::new(product.value.filter(|_| told), product.source)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path};

    use super::*;

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(root: &Path, path: &str, target: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    #[test]
    fn files_of_a_container_count_only_where_there_may_be_one() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let kind = || container(Root::folder(root)).value;
        assert_eq!(kind(), None, "nothing tells");
        put(root, "proc/1/environ", "TERM=linux\0container=lxc\0");
        assert_eq!(kind().as_deref(), Some("lxc"));
        put(root, "run/systemd/container", "systemd-nspawn\n");
        assert_eq!(kind().as_deref(), Some("systemd-nspawn"));
        put(root, ".dockerenv", "");
        assert_eq!(kind().as_deref(), Some("docker"));
        put(root, "run/.containerenv", "");
        assert_eq!(kind().as_deref(), Some("podman"));
        put(root, "var/run/secrets/kubernetes.io/serviceaccount/token", "");
        assert_eq!(kind().as_deref(), Some("kubernetes"));
        link(root, "proc/self/ns/pid", FIRST_PID_NAMESPACE);
        link(root, "proc/self/ns/cgroup", FIRST_CGROUP_NAMESPACE);
        assert_eq!(kind().as_deref(), Some("none"), "left over from an image");
        put(root, "proc/self/cgroup", "0::/system.slice/docker.service\n");
        assert_eq!(kind().as_deref(), Some("none"), "the engine is no container");
        put(root, "proc/self/cgroup", "0::/system.slice/docker-0123.scope\n");
        assert_eq!(kind().as_deref(), Some("docker"), "with the host's namespaces");
    }

    #[test]
    fn firmware_tells_the_hypervisor() {
        assert_eq!(hypervisor_of("VMware, Inc.", "VMware20,1"), Some("vmware"));
        assert_eq!(hypervisor_of("Microsoft Corporation", "Virtual Machine"), Some("hyper-v"));
        assert_eq!(hypervisor_of("Microsoft Corporation", "Surface Laptop"), None);
        assert_eq!(hypervisor_of("Dell Inc.", "PowerEdge R650"), None);
    }

    #[test]
    fn an_arm_machine_of_a_cloud_is_virtual_unless_its_name_says_metal() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let cpu = super::super::cpu::read(Root::folder(root));
        put(root, "sys/class/dmi/id/sys_vendor", "Amazon EC2\n");
        put(root, "sys/class/dmi/id/product_name", "m7g.large\n");
        assert_eq!(machine(Root::folder(root), &cpu).value, Some(Machine::Virtual));
        assert_eq!(instance_type(Root::folder(root)).value.as_deref(), Some("m7g.large"));
        put(root, "sys/class/dmi/id/product_name", "m7g.metal\n");
        assert_eq!(machine(Root::folder(root), &cpu).value, Some(Machine::BareMetal));
    }

    #[test]
    fn mitigations_stay_short_and_whole() {
        let root = tempfile::tempdir().unwrap();
        for number in 100..200 {
            put(root.path(), &format!("{VULNERABILITIES}/v{number}"), &"long ".repeat(50));
        }
        let text = mitigations(Root::folder(root.path())).value.unwrap();
        assert!(text.len() <= limits::LONG_TEXT_BYTES);
        assert!(text.lines().all(|line| line.ends_with("long long")));
    }

    #[test]
    fn text_is_one_short_line() {
        assert_eq!(one_line(" a\tb\n\u{7}c\0 "), "a b c");
        assert!(one_line(&"é".repeat(2000)).len() <= limits::TEXT_BYTES);
    }
}
