//! A host that refuses 1,000 threads.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::Value;

use crate::support::{agent, command, has, run, skip};

/// The limit on processes does not bind root, and counts all that a user has on the machine, containers too: root runs
/// this as a user that has nothing else.
#[test]
fn cells_that_need_too_many_threads_fail_with_a_reason() {
    if !has("prlimit") || !has("setpriv") {
        return skip("prlimit or setpriv", true);
    }
    if !rustix::process::geteuid().is_root() {
        return skip("the right to become another user", false);
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    // The checkout may lie where nobody may look.
    let binary = folder.path().join("fleetmark-agent");
    fs::copy(agent(), &binary).unwrap();
    let user = 20_000 + std::process::id() % 30_000;
    let mut limited = command("setpriv".as_ref());
    limited
        .args([
            &format!("--reuid={user}"),
            "--regid=65534",
            "--clear-groups",
            "prlimit",
            "--nproc=200",
        ])
        .arg(&binary)
        .args([
            "run",
            "--rounds",
            "1",
            "--cpu-rounds",
            "5000",
            // All threads wait at one time however slowly they are made.
            "--wait",
            "1s",
            "--format",
            "json",
            "--host-id",
            "me",
        ])
        .arg("--state-dir")
        .arg(folder.path())
        .current_dir(folder.path());
    let done = run(&mut limited);
    assert_eq!(done.code, 1, "{done:?}");
    assert_eq!(done.stderr, "", "{done:?}");
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    for cell in report["cells"].as_array().unwrap() {
        let name = format!("{} {}", cell["scenario"], cell["spawner"]).replace('"', "");
        // How many threads are alive at once, where units return at once, is up to the scheduler.
        if ["spawn-overhead thread", "spawn-overhead spawn-blocking"].contains(&name.as_str()) {
            continue;
        }
        // 1,000 threads that wait, and a pool of 512 that has room for 200.
        let refused = ["waiting thread", "waiting spawn-blocking"];
        if refused.contains(&name.as_str()) {
            assert_eq!(cell["failure"]["kind"], "limited-threads", "{cell}");
            let message = cell["failure"]["message"].as_str().unwrap();
            assert!(message.contains("ulimit -u"), "{message}");
            assert_eq!(cell["median_ns"], Value::Null);
        } else {
            assert_eq!(cell["failure"], Value::Null, "{cell}");
            assert!(cell["median_ns"].as_u64() > Some(0));
        }
    }
}
