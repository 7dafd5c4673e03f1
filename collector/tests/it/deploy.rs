//! What `deploy/` promises, checked by the tools that will read it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{has, run, skip};

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy")
}

#[test]
fn units_are_clean_and_hardened() {
    if !has("systemd-analyze") {
        return skip("systemd-analyze", true);
    }
    let folder = tempfile::tempdir().unwrap();
    // In tenths: what `--threshold` wants, and what `systemd-analyze security` shows divided by ten.
    for (unit, binary, threshold) in [
        ("fleetmark-collector", "fleetmark-collector", 12),
        ("fleetmark-agent", "fleetmark-agent", 18),
        ("fleetmark-agent-run", "fleetmark-agent", 18),
    ] {
        let text = fs::read_to_string(deploy().join(format!("systemd/{unit}.service"))).unwrap();
        let binary = format!("/usr/bin/{binary} ");
        assert!(text.contains(&binary), "{text}");
        // Only a binary that is there passes.
        let path = folder.path().join(format!("{unit}.service"));
        fs::write(&path, text.replace(&binary, "/bin/true ")).unwrap();
        let verified = run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path));
        assert_eq!(verified.code, 0, "{verified:?}");
        let about_ours: Vec<&str> =
            verified.stderr.lines().filter(|line| line.contains(unit)).collect();
        assert_eq!(about_ours, Vec::<&str>::new());
        let security = run(Command::new("systemd-analyze")
            .args(["security", "--no-pager", "--offline=yes"])
            .arg(format!("--threshold={threshold}"))
            .arg(&path));
        assert_eq!(security.code, 0, "{security:?}");
    }
    // The timer starts the service of its name, which lies beside it by now.
    let timer = folder.path().join("fleetmark-agent-run.timer");
    fs::copy(deploy().join("systemd/fleetmark-agent-run.timer"), &timer).unwrap();
    let verified = run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&timer));
    assert_eq!(verified.code, 0, "{verified:?}");
    assert!(!verified.stderr.contains("fleetmark-agent-run"), "{verified:?}");
}

#[test]
fn the_collector_is_started_again_for_ever() {
    let unit = deploy().join("systemd/fleetmark-collector.service");
    let text = fs::read_to_string(unit).unwrap();
    for line in ["Restart=on-failure", "StartLimitIntervalSec=0"] {
        assert!(text.lines().any(|it| it == line), "{line}: {text}");
    }
}

#[test]
fn the_compose_file_is_one() {
    if !has("docker-compose") {
        return skip("docker-compose", false);
    }
    let file = deploy().join("container/compose.yaml");
    let checked =
        run(Command::new("docker-compose").arg("-f").arg(file).args(["config", "--quiet"]));
    assert_eq!(checked.code, 0, "{checked:?}");
}
