//! Captured hosts, read from their files: facts, key, workers and reason.

use std::{collections::BTreeMap, fmt::Write as _, fs, io, path::PathBuf, thread};

use fleetmark_proto::profile::{Limit, Profile};

use super::*;

/// The captured hosts: folders of files, and documents that `--capture` made.
fn hosts() -> Vec<String> {
    let entries = fs::read_dir(hosts_folder()).unwrap();
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut hosts: Vec<String> = entries.map(name).collect();
    hosts.sort_unstable();
    assert_eq!(hosts.len(), 20, "{hosts:?}");
    hosts
}

fn hosts_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/hosts")
}

fn folder(host: &str) -> PathBuf {
    let folder = hosts_folder().join(host);
    assert!(folder.is_dir(), "{host}");
    folder
}

fn load(host: &str) -> Capture {
    Capture::parse(&fs::read_to_string(hosts_folder().join(host)).unwrap()).unwrap()
}

/// What is detected of a captured host, whichever form it has.
fn detected(host: &str) -> Hardware {
    if host.ends_with(".json") { detect_captured(&load(host)) } else { detect(&folder(host)) }
}

/// The same, and what is captured of it by that.
fn captured(host: &str) -> (Hardware, Capture) {
    if host.ends_with(".json") {
        capture::capture_with(Root::captured(&load(host)), None)
    } else {
        capture::capture_with(Root::folder(&folder(host)), None)
    }
}

fn profile(hardware: &Hardware) -> Profile {
    Profile::new(hardware.facets.clone(), hardware.system.instance_type.as_deref())
}

/// All that is detected, for a person to read.
fn told(hardware: &Hardware) -> String {
    let workers = hardware.workers(None);
    let mut text = format!(
        "name: {}\nkey: {}\nworkers: {}: {}\n\n",
        profile(hardware).name,
        hardware.facets.key(),
        workers.count,
        workers.reason
    );
    for Fact { name, value, source, in_key } in &hardware.facts {
        let value = value.as_deref().unwrap_or("unknown");
        let mark = if *in_key { "*" } else { " " };
        writeln!(text, "{mark} {name} = {value} [{source}]").unwrap();
    }
    text
}

#[test]
fn captured_hosts_are_what_they_are() {
    for host in hosts() {
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            let name = host.trim_end_matches(".json");
            insta::assert_snapshot!(name, told(&detected(&host)));
        });
    }
}

#[test]
fn no_two_hosts_share_a_key_and_none_has_two() {
    let mut by_key = BTreeMap::new();
    for host in hosts() {
        let key = detected(&host).facets.key();
        assert_eq!(key, detected(&host).facets.key());
        assert_eq!(by_key.insert(key, host.clone()), None, "{host}");
    }
}

#[test]
fn facts_say_what_the_key_says() {
    for host in hosts() {
        let hardware = detected(&host);
        let in_key: Vec<_> = hardware.facts.iter().filter(|fact| fact.in_key).collect();
        let facets = hardware.facets.named();
        assert_eq!(in_key.len(), facets.len(), "{host}");
        for (name, value) in facets {
            let fact = in_key.iter().find(|fact| fact.name == name).unwrap();
            assert_eq!(fact.value.as_deref().unwrap_or("unknown"), value, "{host}: {name}");
        }
    }
}

#[test]
fn a_captured_host_is_the_same_host() {
    for host in hosts() {
        let (hardware, capture) = captured(&host);
        assert_eq!(hardware, detected(&host), "{host}: capturing changes nothing");
        let json = capture.to_json().unwrap();
        let again = Capture::parse(&json).unwrap();
        assert_eq!(again, capture, "{host}");
        let loaded = detect_captured(&again);
        assert_eq!(loaded.facets, hardware.facets, "{host}");
        assert_eq!(loaded.system, hardware.system, "{host}");
        if host == NAMED {
            assert_ne!(told(&loaded), told(&hardware), "the pod's id is in the reason");
        } else {
            assert_eq!(told(&loaded), told(&hardware), "{host}");
        }
        let (_, twice) = capture::capture_with(Root::captured(&again), None);
        assert_eq!(
            twice, again,
            "{host}: all that was read is captured, and nothing is removed twice"
        );
    }
}

/// The host whose cgroups are named by ids.
const NAMED: &str = "cgroup-v1-nested-quotas";

#[test]
fn captures_tell_no_names_and_no_serials() {
    for host in hosts() {
        let json = captured(&host).1.to_json().unwrap();
        for secret in [
            "1b9d6bcd",
            "4f0c9a1b2d3e",
            "payments-7d4f9c6b5",
            "1000000012345678",
            "HOME=/root",
            "/etc/hosts",
            "hostname",
            "machine-id",
            "boot_id",
            "serial\"",
            "uuid",
        ] {
            assert!(!json.contains(secret), "{host}: {secret}: {json}");
        }
    }
    let reason = detect_captured(&captured(NAMED).1).workers(None).reason;
    assert!(reason.starts_with("cgroup /kubepods/burstable/podid-1 sets a quota"), "{reason}");
}

/// Whatever a host is called, what is captured of it is the same host.
#[test]
fn no_name_of_a_host_spoils_its_capture() {
    for name in
        ["devices", "cpu0", "proc", "self", "online", "cgroup2", "rw", "24", "sys", "id", ""]
    {
        let root = host(&[
            V2_MOUNT,
            ("sys/devices/system/cpu/online", "0-7\n"),
            ("proc/self/cgroup", "0::/devices.slice/cpu0.slice/24.slice/self.service\n"),
            ("sys/fs/cgroup/devices.slice/cpu0.slice/cpu.max", "150000 100000\n"),
            (
                "sys/fs/cgroup/devices.slice/cpu0.slice/24.slice/self.service/cpu.max",
                "max 100000\n",
            ),
            ("proc/sys/kernel/hostname", name),
        ]);
        let (hardware, capture) = capture::capture_with(Root::folder(root.path()), None);
        let loaded = detect_captured(&capture);
        assert_eq!(loaded.facets, hardware.facets, "{name}");
        let shape = |hardware: &Hardware| {
            let quota = hardware.quota.clone().unwrap();
            (quota.millicpus, quota.level.split('/').count())
        };
        assert_eq!(shape(&loaded), (1500, 3), "{name}");
        assert_eq!(shape(&hardware), (1500, 3), "{name}");
    }
}

#[test]
fn this_host_is_the_same_when_it_is_loaded() {
    let (hardware, capture) = capture_live(Path::new("/"));
    let loaded = detect_captured(&Capture::parse(&capture.to_json().unwrap()).unwrap());
    assert_eq!(loaded.facets, hardware.facets);
    assert_eq!(loaded.system, hardware.system);
    assert_eq!(loaded.workers(None).count, hardware.workers(None).count);
}

#[test]
fn what_is_no_capture_is_told_in_a_line() {
    for (text, says) in [
        ("", "this is not a capture"),
        ("{}", "this is not a capture"),
        ("[1]", "this is not a capture"),
        (
            r#"{"schema":"fleetmark.capture/9","files":{},"links":{},"folders":{},"present":[],"live":null}"#,
            r#"the schema "fleetmark.capture/9""#,
        ),
    ] {
        let error = Capture::parse(text).unwrap_err().to_string();
        assert!(error.contains(says) && error.lines().count() == 1, "{text}: {error}");
    }
}

#[test]
fn quotas_and_throttling_are_found_at_their_level() {
    let quota =
        |host: &str| detect(&folder(host)).quota.map(|quota| (quota.millicpus, quota.level));
    assert_eq!(quota("vm-2-cores-no-dmi"), None);
    assert_eq!(quota("server-2-sockets-smt"), None);
    assert_eq!(quota("cgroup-v1-quota-1.5"), Some((1500, "/".into())));
    let pod = "/kubepods/burstable/pod1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed";
    assert_eq!(quota("cgroup-v1-nested-quotas"), Some((3500, pod.into())));
    assert_eq!(quota("cgroup-v2-quota-0.5"), Some((500, "/".into())));
    assert_eq!(quota("cgroup-v2-quota-in-ancestor"), Some((2500, "/batch.slice".into())));
    let throttling = |host: &str| {
        let seen = cgroup::throttling(&folder(host))?;
        Some((seen.periods, seen.throttled_periods, seen.throttled_ns.0))
    };
    assert_eq!(throttling("server-2-sockets-smt"), None);
    assert_eq!(throttling("cgroup-v1-nested-quotas"), Some((9520, 31, 2_345_678_901)));
    assert_eq!(throttling("cgroup-v2-quota-0.5"), Some((210, 188, 9_876_543_000)));
    assert_eq!(throttling("cgroup-v1-quota-1.5"), Some((60, 14, 912_345_678)));
    assert_eq!(throttling("cgroup-v2-quota-in-ancestor"), Some((800, 25, 1_500_000_000)));
}

#[test]
fn an_override_says_what_would_have_been() {
    let workers = detect(&folder("cpuset-of-3")).workers(Some(8));
    assert_eq!(workers.count, 8);
    assert!(workers.reason.starts_with("set by --workers; it would have been 3: affinity"));
}

#[test]
fn a_host_that_shows_nothing_is_unknown() {
    let empty = tempfile::tempdir().unwrap();
    let hardware = detect(empty.path());
    assert_eq!(hardware.workers(None).count, 1);
    assert!(!hardware.facets.is_complete());
    let known: Vec<_> = hardware
        .facets
        .named()
        .into_iter()
        .filter(|(name, value)| {
            value != "unknown" && !matches!(*name, "arch" | "usable_cpus" | "limit")
        })
        .collect();
    assert_eq!(known, []);
}

/// A host under a new folder, of these files.
fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

const V2_MOUNT: (&str, &str) = (
    "proc/self/mountinfo",
    "24 1 0:21 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw\n",
);

#[test]
fn half_a_cpu_of_one_is_a_limit_and_a_whole_one_is_none() {
    let facets = |quota: &str| {
        let root = host(&[
            V2_MOUNT,
            ("sys/devices/system/cpu/online", "0\n"),
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/cpu.max", quota),
        ]);
        let hardware = detect(root.path());
        let Facets { usable_cpus, limit, quota_millicpus, .. } = hardware.facets;
        (usable_cpus, limit, quota_millicpus, hardware.reason)
    };
    let (usable, limit, quota, reason) = facets("50000 100000\n");
    assert_eq!((usable, limit, quota), (1, Limit::Quota, Some(500)));
    assert!(reason.starts_with("cgroup / sets a quota of 0.5 CPUs"), "{reason}");
    let none = |reason: &str| (1, Limit::None, None, reason.to_owned());
    assert_eq!(facets("100000 100000\n"), none("1 CPU online, no limit"));
    assert_eq!(facets("max 100000\n"), none("1 CPU online, no limit"));
}

#[test]
fn a_cgroup_outside_of_what_is_mounted_falls_back_to_the_mount() {
    for path in ["/", "/kubepods.slice/pod1/c1", "/..", "/../../other"] {
        let cgroup = format!("0::{path}\n");
        let root = host(&[
            V2_MOUNT,
            ("sys/devices/system/cpu/online", "0-7\n"),
            ("proc/self/cgroup", &cgroup),
            ("sys/fs/cgroup/cpu.max", "200000 100000\n"),
        ]);
        let quota = detect(root.path()).quota.unwrap();
        assert_eq!((quota.millicpus, quota.level.as_str()), (2000, "/"), "{path}");
    }
}

#[test]
fn sysinfo_tells_what_no_file_shows() {
    let empty = tempfile::tempdir().unwrap();
    let live = Live {
        arch: "aarch64".into(),
        parallelism: Some(10),
        sysinfo: live::Sysinfo {
            cpu_model: Some("Apple M2 Pro".into()),
            cpu_vendor: Some("Apple".into()),
            physical_cores: Some(10),
            memory_bytes: Some(16 << 30),
            kernel: Some("23.6.0".into()),
            os: Some("macOS 14.6.1 Sonoma".into()),
        },
        ..Live::default()
    };
    let hardware = detect_with(Root::folder(empty.path()), Some(&live));
    assert!(hardware.facets.is_complete());
    assert_eq!(profile(&hardware).name, "apple-m2-pro-10c-16g");
    assert_eq!(hardware.system.os.as_deref(), Some("macOS 14.6.1 Sonoma"));
    let workers = hardware.workers(None);
    assert_eq!(workers.count, 10);
    assert_eq!(workers.reason, "the operating system counts 10, and shows no limit");
}

#[test]
fn a_running_mac_is_the_captured_one() {
    let sysctl = fs::read_to_string(folder("macos-m4-pro").join(macos::FILE)).unwrap();
    let live = Live {
        arch: "aarch64".into(),
        parallelism: Some(12),
        sysctl: Some(sysctl),
        sysinfo: live::Sysinfo { cpu_model: Some("another".into()), ..live::Sysinfo::default() },
        ..Live::default()
    };
    let empty = tempfile::tempdir().unwrap();
    let (hardware, capture) = capture::capture_with(Root::folder(empty.path()), Some(live));
    assert_eq!(hardware.facets, detected("macos-m4-pro").facets);
    assert_eq!(hardware.workers(None).reason, "12 CPUs online, no limit");
    assert_eq!(detect_captured(&capture), hardware);
}

#[test]
fn this_host_is_detected_as_its_workers_are_counted() {
    let hardware = detect_live(Path::new("/"));
    let parallelism = thread::available_parallelism().unwrap().get();
    assert_eq!(hardware.workers(None).count, small_count(parallelism));
    assert_eq!(hardware.facets.usable_cpus, small_count(parallelism));
    let facts: Vec<_> = hardware.facts.iter().map(|fact| fact.name).collect();
    for (name, _) in hardware.facets.named() {
        assert!(facts.contains(&name), "{name} has no source");
    }
}

#[test]
fn mangled_files_never_panic() {
    for host in hosts() {
        for mangle in MANGLERS {
            let copy = tempfile::tempdir().unwrap();
            let hardware = if host.ends_with(".json") {
                let mut capture = load(&host);
                for text in capture.files.values_mut() {
                    *text = String::from_utf8_lossy(&mangle(text.as_bytes())).into_owned();
                }
                detect_captured(&capture)
            } else {
                mangle_tree(&folder(&host), copy.path(), mangle);
                let _ = cgroup::throttling(copy.path());
                detect(copy.path())
            };
            assert!(hardware.facets.usable_cpus >= 1);
            assert!(hardware.facets.key().lines().count() == 1);
        }
    }
}

type Mangler = fn(&[u8]) -> Vec<u8>;

const MANGLERS: [Mangler; 6] = [
    |_| Vec::new(),
    |bytes| bytes[..bytes.len() / 2].to_vec(),
    |bytes| bytes.iter().map(|byte| byte ^ 0xa5).collect(),
    |bytes| bytes.iter().map(|byte| if byte.is_ascii_digit() { b'9' } else { *byte }).collect(),
    |bytes| [b"-", bytes].concat(),
    |bytes| bytes.iter().filter(|byte| **byte != b'\n').copied().collect(),
];

fn mangle_tree(from: &Path, to: &Path, mangle: Mangler) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            fs::create_dir(&target).unwrap();
            mangle_tree(&entry.path(), &target, mangle);
        } else if kind.is_file() {
            fs::write(target, mangle(&fs::read(entry.path()).unwrap())).unwrap();
        }
    }
}
