//! What a capture must not tell: names, serials and ids. What stands in their place is the same wherever one stood, so
//! that paths which belonged together still do.

use std::collections::BTreeMap;

use super::Capture;

const CGROUP: &str = "proc/self/cgroup";
const CPUINFO: &str = "proc/cpuinfo";
const ENVIRON: &str = "proc/1/environ";
const MOUNTINFO: &str = "proc/self/mountinfo";

/// Ids of containers, pods and machines are hexadecimal numbers of at least so many digits; Docker's short ones have
/// twelve.
const SHORTEST_ID: usize = 12;

/// Words that paths of cgroups are made of. A host of such a name is not told by them, and without them the kind of the
/// container would be lost.
const COMMON: [&str; 24] = [
    "cgroup",
    "cgroup2",
    "container",
    "containerd",
    "cpu",
    "cpuacct",
    "docker",
    "fs",
    "init",
    "kubepods",
    "libpod",
    "lxc",
    "machine",
    "monitor",
    "name",
    "payload",
    "pod",
    "rw",
    "scope",
    "service",
    "slice",
    "sys",
    "system",
    "unified",
];

/// The capture without them. `host_name` is the host's, where it is known.
pub(super) fn scrub(capture: Capture, host_name: Option<&str>) -> Capture {
    let Capture { schema, files, links, folders, present, live } = capture;
    let points = mount_points(files.get(MOUNTINFO).map_or("", String::as_str));
    let mut ids = Ids::new(host_name.unwrap_or_default());
    // Elsewhere paths are the kernel's own, and tell nothing.
    let replaced_path = |ids: &mut Ids, path: &str| {
        if points.iter().any(|point| path.starts_with(point)) {
            ids.replaced(path)
        } else {
            path.to_owned()
        }
    };
    let mut scrubbed = BTreeMap::new();
    for (path, text) in files {
        let text = match path.as_str() {
            CPUINFO => without_serial(&text),
            ENVIRON => container_variable(&text),
            MOUNTINFO => ids.replaced(&cgroup_mounts(&text)),
            CGROUP => ids.replaced(&text),
            _ => text,
        };
        scrubbed.insert(replaced_path(&mut ids, &path), text);
    }
    Capture {
        schema,
        files: scrubbed,
        links,
        folders,
        present: present.iter().map(|path| replaced_path(&mut ids, path)).collect(),
        live,
    }
}

/// `/proc/cpuinfo` without the serial that ARM boards write there.
fn without_serial(text: &str) -> String {
    let line = |line: &str| match line.split_once(':') {
        Some((name, _)) if name.trim().eq_ignore_ascii_case("serial") => {
            format!("{name}: removed\n")
        }
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// The one variable of the first process that is read; the others are nobody's business.
fn container_variable(text: &str) -> String {
    let found = text.split('\0').find(|variable| variable.starts_with("container="));
    found.map(|variable| format!("{variable}\0")).unwrap_or_default()
}

/// The mounts of cgroups; the others tell of people's folders and servers.
fn cgroup_mounts(text: &str) -> String {
    let of_cgroup = |line: &&str| line.contains(" - cgroup ") || line.contains(" - cgroup2 ");
    text.lines().filter(of_cgroup).map(|line| format!("{line}\n")).collect()
}

/// Where cgroups are mounted, without the leading slash: the fifth of the fields.
fn mount_points(text: &str) -> Vec<String> {
    let mounts = cgroup_mounts(text);
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    let points = points.map(|point| point.trim_start_matches('/').to_owned());
    points.filter(|point| !point.is_empty()).collect()
}

/// What stands in the place of each id.
#[derive(Debug, Default)]
struct Ids {
    host_name: String,
    known: BTreeMap<String, String>,
}

impl Ids {
    fn new(host_name: &str) -> Self {
        // A name of digits alone would be found among the numbers of mounts, and tells nobody.
        let tells = host_name.len() > 1
            && host_name.chars().any(|c| c.is_ascii_alphabetic())
            && !COMMON.contains(&host_name);
        let host_name = if tells { host_name } else { "" };
        Self { host_name: host_name.to_owned(), known: BTreeMap::new() }
    }

    /// The text with each id replaced.
    fn replaced(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let taken = [uuid_len(rest), number_len(rest)].into_iter().flatten().next();
            let name = || self.name_len(&out, rest);
            let taken = taken.or_else(name).unwrap_or(0);
            let (id, after) = rest.split_at(taken);
            if id.is_empty() {
                out.push(next);
                rest = rest.get(next.len_utf8()..).unwrap_or_default();
            } else {
                out.push_str(&self.place_of(id));
                rest = after;
            }
        }
        out
    }

    fn place_of(&mut self, id: &str) -> String {
        if is_place(id) {
            return id.to_owned();
        }
        let next = format!("id-{}", self.known.len() + 1);
        self.known.entry(id.to_owned()).or_insert(next).clone()
    }

    /// The length of a name that begins here: of an LXC container, after what says that it is one, or the host's.
    fn name_len(&self, before: &str, rest: &str) -> Option<usize> {
        let end = |stop: fn(char) -> bool| rest.find(stop).unwrap_or(rest.len());
        if ["lxc.payload.", "lxc.monitor.", "/lxc/"].iter().any(|mark| before.ends_with(mark)) {
            return Some(end(|c| c == '/' || c.is_whitespace())).filter(|&length| length > 0);
        }
        let begins = !before.ends_with(is_word);
        let name = self.host_name.as_str();
        let is_name = rest.strip_prefix(name).is_some_and(|after| !after.starts_with(is_word));
        (begins && is_name && !name.is_empty()).then_some(name.len())
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric()
}

/// Whether this is what stands in the place of an id: captures of captured hosts stay as they are.
fn is_place(id: &str) -> bool {
    id.strip_prefix("id-").is_some_and(|number| number.parse::<u32>().is_ok())
}

/// The length of the hexadecimal number of many digits that begins here.
fn number_len(text: &str) -> Option<usize> {
    let digits = text.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(text.len());
    (digits >= SHORTEST_ID).then_some(digits)
}

/// The length of the UUID that begins here, as it is usual or as systemd writes it in the name of a unit.
fn uuid_len(text: &str) -> Option<usize> {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    ["-", "_", "\\x2d"].into_iter().find_map(|between| {
        let mut length = 0;
        for (index, digits) in GROUPS.into_iter().enumerate() {
            if index > 0 {
                text.get(length..)?.strip_prefix(between)?;
                length += between.len();
            }
            let group = text.get(length..length + digits)?;
            group.chars().all(|c| c.is_ascii_hexdigit()).then_some(())?;
            length += digits;
        }
        Some(length)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = "4f0c9a1b2d3e4f5061728394a5b6c7d8e9f00112233445566778899aabbccdde";

    fn replaced(host_name: &str, text: &str) -> String {
        let once = Ids::new(host_name).replaced(text);
        assert_eq!(Ids::default().replaced(&once), once, "once is enough");
        once
    }

    #[test]
    fn ids_are_replaced_by_the_same_thing_everywhere() {
        let text = format!("4:cpu:/docker/{LONG}\n3:pids:/docker/{LONG}/0123456789ab\n");
        assert_eq!(replaced("", &text), "4:cpu:/docker/id-1\n3:pids:/docker/id-1/id-2\n");
        let pod = format!(
            "0::/kubepods.slice/kubepods-pod1b9d6bcd_bbfd_4b2d_9b5d_ab8dfbbd4bed.slice/cri-{LONG}.scope"
        );
        let expected = "0::/kubepods.slice/kubepods-podid-1.slice/cri-id-2.scope";
        assert_eq!(replaced("", &pod), expected);
        let escaped = "machine-1b9d6bcd\\x2dbbfd\\x2d4b2d\\x2d9b5d\\x2dab8dfbbd4bed.scope";
        assert_eq!(replaced("", escaped), "machine-id-1.scope");
        assert_eq!(replaced("", "0::/lxc.payload.annas-shop/x"), "0::/lxc.payload.id-1/x");
        assert_eq!(replaced("", "0::/lxc/annas-shop\n"), "0::/lxc/id-1\n");
        let plain = "0::/system.slice/fleetmark-agent.service é\n";
        assert_eq!(replaced("", plain), plain);
    }

    #[test]
    fn the_name_of_the_host_goes_unless_it_is_a_common_word() {
        assert_eq!(
            replaced("db1", "0::/db1/xdb1/db1.slice/db10\n"),
            "0::/id-1/xdb1/id-1.slice/db10\n"
        );
        for (name, text) in [("docker", "0::/docker/x\n"), ("24", "24 1 0:21 / /x rw\n")] {
            assert_eq!(replaced(name, text), text);
        }
    }

    #[test]
    fn only_what_is_read_of_a_file_stays() {
        let cpuinfo = "processor\t: 0\nSerial\t\t: 10000000abcdef01\nModel\t\t: Raspberry Pi 5\n";
        let expected = "processor\t: 0\nSerial\t\t: removed\nModel\t\t: Raspberry Pi 5\n";
        assert_eq!(without_serial(cpuinfo), expected);
        assert_eq!(container_variable("HOME=/root\0container=lxc\0TOKEN=x\0"), "container=lxc\0");
        assert_eq!(container_variable("HOME=/root\0"), "");
        let mounts = "24 1 0:21 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n\
                      25 1 0:22 / /home/anna rw - nfs files.example:/anna rw\n";
        assert_eq!(cgroup_mounts(mounts).lines().count(), 1);
    }
}
