//! The images and the compose file, in a real Docker engine, on a base that is made from Debian's packages.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{Done, has, run, skip};

const RUNTIME_BASE: &str = "fleetmark-test-runtime-base";
const LABEL: &str = "fleetmark.test";
const BUILD_BASE: &str = "fleetmark-test-build-base";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
fn compose_brings_up_two_profiles() {
    if !has("docker-compose") || run(Command::new("docker").arg("info")).code != 0 {
        return skip("a Docker engine", false);
    }
    if !has("debootstrap") {
        return skip("debootstrap", true);
    }
    if !rustix::process::geteuid().is_root() {
        return skip("the right to run debootstrap", false);
    }
    make_bases();
    let project = Project(format!("fleetmark-test-{}", std::process::id()));
    succeed(&project.compose(&["build"]));
    succeed(&project.compose(&["up", "-d"]));
    let begin = Instant::now();
    let profiles = loop {
        let words = ["exec", "-T", "collector", "fleetmark-collector", "report", "-f", "json"];
        let done = project.compose(&[&words[..], &["--include-suspect"]].concat());
        let view: Value = serde_json::from_str(&done.stdout).unwrap_or_default();
        let profiles = view["profiles"].as_array().cloned().unwrap_or_default();
        if profiles.len() == 2 {
            break profiles;
        }
        let logs = || project.compose(&["logs"]);
        assert!(begin.elapsed() < Duration::from_secs(120), "{done:?} {:?}", logs());
        thread::sleep(Duration::from_millis(500));
    };
    for profile in &profiles {
        assert_eq!(profile["facets"]["container"], "docker", "{profile}");
        assert_eq!(profile["cells"].as_array().unwrap().len(), 11);
    }
    let limits: Vec<&Value> =
        profiles.iter().map(|profile| &profile["facets"]["quota_millicpus"]).collect();
    assert!(limits.contains(&&Value::from(1000)), "{limits:?}");
}

/// A project of docker-compose, which leaves nothing behind.
struct Project(String);

impl Project {
    fn compose(&self, words: &[&str]) -> Done {
        let mut compose = Command::new("docker-compose");
        compose.args(["-p", &self.0, "-f"]).arg(root().join("deploy/container/compose.yaml"));
        compose.args(words);
        for (name, value) in [
            ("BUILD_IMAGE", BUILD_BASE),
            ("RUNTIME_IMAGE", RUNTIME_BASE),
            ("COLLECTOR_IMAGE", "fleetmark-test-collector"),
            ("AGENT_IMAGE", "fleetmark-test-agent"),
            ("CARGO_PROFILE", "dev"),
            ("ROUNDS", "2"),
            ("CPU_ROUNDS", "50000"),
            ("SMALL_CPUS", "1"),
            ("LARGE_CPUS", "2"),
        ] {
            compose.env(format!("FLEETMARK_{name}"), value);
        }
        run(&mut compose)
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        self.compose(&["down", "--volumes", "--timeout", "2"]);
        // The stage that built is left without a name, and has inherited the label of its base.
        let label = format!("label={LABEL}");
        run(Command::new("docker").args(["image", "prune", "--force", "--filter", &label]));
    }
}

fn succeed(done: &Done) {
    assert_eq!(done.code, 0, "{done:?}");
}

/// Debian with a C compiler; and the same with this machine's Rust toolchain and the crates that it has fetched, since a
/// build in a container may reach no registry.
fn make_bases() {
    let folder = root().join("target/docker-base");
    let debian = folder.join("debian");
    if !debian.join("usr/bin/gcc").exists() {
        let _ = fs::remove_dir_all(&debian);
        fs::create_dir_all(&debian).unwrap();
        let packages = "--include=gcc,libc6-dev,ca-certificates";
        let mut debootstrap = Command::new("debootstrap");
        debootstrap.args(["--variant=minbase", packages, "bookworm"]).arg(&debian);
        succeed(&run(debootstrap.args(mirror())));
    }
    import(RUNTIME_BASE, &debian, &[], &[]);
    let sysroot = run(Command::new("rustc").args(["--print", "sysroot"])).stdout;
    let cargo_home =
        env::var("CARGO_HOME").unwrap_or_else(|_| env::var("HOME").unwrap() + "/.cargo");
    let extra = [
        (PathBuf::from(sysroot.trim()), "opt/rust"),
        (PathBuf::from(cargo_home).join("registry"), "opt/cargo/registry"),
    ];
    let changes = [
        "ENV PATH=/opt/rust/bin:/usr/bin:/bin",
        "ENV CARGO_HOME=/opt/cargo",
        "ENV CARGO_NET_OFFLINE=true",
        &format!("LABEL {LABEL}=build"),
    ];
    import(BUILD_BASE, &debian, &extra, &changes);
}

/// The mirror that this machine's own packages come from.
fn mirror() -> Option<String> {
    let lists = fs::read_dir("/etc/apt/sources.list.d").ok()?;
    let lists = lists.filter_map(|entry| Some(entry.ok()?.path()));
    let lists = std::iter::once(PathBuf::from("/etc/apt/sources.list")).chain(lists);
    let text: String = lists.filter_map(|path| fs::read_to_string(path).ok()).collect();
    let words = text.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace);
    words
        .filter(|word| word.starts_with("http"))
        .find(|word| word.trim_end_matches('/').ends_with("/debian"))
        .map(str::to_owned)
}

/// Makes an image of a folder, and of others beside it under other names.
fn import(image: &str, folder: &Path, extra: &[(PathBuf, &str)], changes: &[&str]) {
    let mut tar = Command::new("tar");
    tar.args(["--create", "--exclude=registry/src", "--exclude=share/doc", "--directory"]);
    tar.arg(folder).arg(".");
    for (path, name) in extra {
        let (parent, last) = (path.parent().unwrap(), path.file_name().unwrap().to_str().unwrap());
        // Anchored and with a limit at a slash, so that nothing else is renamed; links keep their targets.
        tar.arg(format!("--transform=flags=rSH;s,^{last}\\(/\\|$\\),{name}\\1,"));
        tar.arg("--directory").arg(parent).arg(last);
    }
    let mut tar = tar.stdout(Stdio::piped()).spawn().unwrap();
    let mut docker = Command::new("docker");
    docker.arg("import");
    for change in changes {
        docker.args(["--change", change]);
    }
    docker.args(["-", image]).stdin(tar.stdout.take().unwrap());
    succeed(&run(&mut docker));
    assert!(tar.wait().unwrap().success());
}
