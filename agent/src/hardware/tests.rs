//! Captured hosts, read from their files: facts, key, workers and reason.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf, thread};

use fleetmark_proto::profile::{Limit, Profile};

use super::*;

const HOSTS: [&str; 6] = [
    "vm-2-cores-no-dmi",
    "server-2-sockets-smt",
    "cgroup-v1-quota-1.5",
    "cgroup-v2-quota-in-ancestor",
    "cpuset-of-3",
    "arm-two-core-kinds",
];

fn folder(host: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/hosts").join(host)
}

fn profile(hardware: &Hardware) -> Profile {
    Profile::new(hardware.facets.clone(), hardware.system.instance_type.as_deref())
}

#[test]
fn captured_hosts_are_what_they_are() {
    for host in HOSTS {
        let hardware = detect(&folder(host));
        let workers = hardware.workers(None);
        let mut text = format!(
            "name: {}\nkey: {}\nworkers: {}: {}\n\n",
            profile(&hardware).name,
            hardware.facets.key(),
            workers.count,
            workers.reason
        );
        for Fact { name, value, source, in_key: _ } in &hardware.facts {
            let value = value.as_deref().unwrap_or("unknown");
            writeln!(text, "{name} = {value} [{source}]").unwrap();
        }
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(host, text);
        });
    }
}

#[test]
fn no_two_hosts_share_a_key_and_none_has_two() {
    let mut by_key = BTreeMap::new();
    for host in HOSTS {
        let key = detect(&folder(host)).facets.key();
        assert_eq!(key, detect(&folder(host)).facets.key());
        assert_eq!(by_key.insert(key, host), None, "{host}");
    }
}

#[test]
fn quotas_and_throttling_are_found_at_their_level() {
    let quota =
        |host: &str| detect(&folder(host)).quota.map(|quota| (quota.millicpus, quota.level));
    assert_eq!(quota("vm-2-cores-no-dmi"), None);
    assert_eq!(quota("server-2-sockets-smt"), None);
    assert_eq!(quota("cgroup-v1-quota-1.5"), Some((1500, "/".into())));
    assert_eq!(quota("cgroup-v2-quota-in-ancestor"), Some((2500, "/batch.slice".into())));
    let throttling = |host: &str| {
        let seen = cgroup::throttling(&folder(host))?;
        Some((seen.periods, seen.throttled_periods, seen.throttled_ns.0))
    };
    assert_eq!(throttling("server-2-sockets-smt"), None);
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
    for host in HOSTS {
        let original = folder(host);
        for mangle in MANGLERS {
            let copy = tempfile::tempdir().unwrap();
            mangle_tree(&original, copy.path(), mangle);
            let hardware = detect(copy.path());
            assert!(hardware.facets.usable_cpus >= 1);
            assert!(hardware.facets.key().lines().count() == 1);
            let _ = cgroup::throttling(copy.path());
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
