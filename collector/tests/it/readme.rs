//! Every command in the README is run as it stands there.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{command, has, run, skip};

/// The test command would run this test, which would run the test command.
const TESTS: &str = "cargo test --workspace";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The lines of the README's blocks of shell.
fn commands() -> Vec<String> {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let blocks = text.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

/// A line of shell, at the root of the checkout, with state, store and ports of its own and a small workload.
fn shell(line: &str, folder: &Path, [port, pages]: [u16; 2]) -> Command {
    let line = line.replace("127.0.0.1:7600", &format!("127.0.0.1:{port}"));
    let line = line.replace("127.0.0.1:7601", &format!("127.0.0.1:{pages}"));
    let token = folder.join("token").display().to_string();
    let line = line.replace("--output token", &format!("--output {token}"));
    let line = line.replace("--token-file token", &format!("--token-file {token}"));
    let page = format!("--output {}/", folder.display());
    let line = line.replace("--output report.html", &format!("{page}report.html"));
    let line = line.replace("--output history.html", &format!("{page}history.html"));
    let made_up = folder.join("made-up.db").display().to_string();
    let line = line.replace("sqlite:made-up.db", &format!("sqlite:{made_up}"));
    let mut shell = command("sh".as_ref());
    shell.args(["-c", &format!("exec {line}")]).current_dir(root());
    shell.env("FLEETMARK_COLLECTOR_LISTEN", format!("127.0.0.1:{port}"));
    shell.env("FLEETMARK_COLLECTOR_STORE", format!("sqlite:{}", folder.join("fleet.db").display()));
    for binary in ["AGENT", "COLLECTOR"] {
        shell.env(format!("FLEETMARK_{binary}_STATE_DIR"), folder.join(binary));
        shell.env(format!("FLEETMARK_{binary}_CPU_ROUNDS"), "50000");
        shell.env(format!("FLEETMARK_{binary}_ROUNDS"), "2");
    }
    // Other tests keep this host busy.
    shell.env("FLEETMARK_AGENT_MAX_PRESSURE", "1");
    shell
}

struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts what stays, and waits until it says this.
fn started(shell: &mut Command, says: &str) -> Background {
    let mut child = shell.stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let started = Background(child);
    let mut said = String::new();
    while !said.contains(says) {
        said.clear();
        assert!(log.read_line(&mut said).unwrap() > 0, "it ended");
    }
    // Whoever does not read what it says stops it in the end.
    thread::spawn(move || log.read_to_end(&mut Vec::new()));
    started
}

/// The first page that is served there.
fn first_page(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

#[test]
fn every_command_in_the_readme_works() {
    if !has("taskset") {
        return skip("taskset", true);
    }
    let folder = tempfile::tempdir().unwrap();
    let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let ports = free.map(|listener| listener.local_addr().unwrap().port());
    let commands = commands();
    assert!(commands.contains(&TESTS.to_owned()));
    let ci = fs::read_to_string(root().join(".ci/run")).unwrap();
    assert!(ci.contains(TESTS), "CI runs the README's own test command");

    let mut serving = None;
    for line in commands.iter().filter(|line| *line != TESTS) {
        let mut shell = shell(line, folder.path(), ports);
        if line.contains("-- serve") {
            // The one before, if there is one, has the port.
            drop(serving.take());
            serving = Some(started(&mut shell, "listening on"));
            if line.contains("--http") {
                let page = first_page(ports[1]);
                assert!(page.starts_with("HTTP/1.1 200 ") && page.contains("49 hosts"), "{page}");
            }
            continue;
        }
        if line.contains("-- daemon") {
            let mut daemon = started(&mut shell, ": stored by the collector");
            kill_process(Pid::from_child(&daemon.0), Signal::TERM).unwrap();
            assert!(daemon.0.wait().unwrap().success());
            continue;
        }
        let done = run(&mut shell);
        assert_eq!(done.code, 0, "{line}: {done:?}");
        if line.ends_with("-- local") {
            let cells = ["thread ", "tokio ", "spawn-blocking ", "rayon "];
            let rows =
                done.stdout.lines().filter(|line| cells.iter().any(|cell| line.starts_with(cell)));
            assert_eq!(rows.count(), 11, "{}", done.stdout);
            // The fleet below has a store of its own.
            fs::remove_file(folder.path().join("fleet.db")).unwrap();
        }
        if line.ends_with("-- report") {
            let profiles = done.stdout.lines().filter(|line| line.starts_with("profile ")).count();
            assert_eq!(profiles, 2, "{}", done.stdout);
        }
    }
    assert!(serving.is_some(), "the README serves");
}
