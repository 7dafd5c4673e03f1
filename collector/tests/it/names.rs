//! A host whose name servers answer nothing.

use std::{
    fs,
    net::UdpSocket,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::{TINY, agent, command, has, run, skip};

/// Only a name server can tell where this is.
const COLLECTOR: [&str; 3] = ["--collector", "http://collector.example:7600", "--insecure"];

/// Two name servers that never answer, and a folder of state.
struct Silence {
    _servers: [UdpSocket; 2],
    folder: TempDir,
    resolver: PathBuf,
}

impl Silence {
    /// `None` where this user may not.
    fn begin() -> Option<Self> {
        let servers =
            [UdpSocket::bind("127.0.0.77:53").ok()?, UdpSocket::bind("127.0.0.78:53").ok()?];
        let folder = tempfile::tempdir().unwrap();
        let resolver = folder.path().join("resolv.conf");
        let text = "nameserver 127.0.0.77\nnameserver 127.0.0.78\nsearch a.example b.example\n";
        fs::write(&resolver, text).unwrap();
        let silence = Self { _servers: servers, folder, resolver };
        let may = has("unshare") && silence.command("true".as_ref()).status().unwrap().success();
        may.then_some(silence)
    }

    /// A command that asks these servers.
    fn command(&self, program: &Path) -> Command {
        let mut alone = command("unshare".as_ref());
        alone.args(["--mount", "--propagation", "private", "sh", "-c"]);
        alone.arg("mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"");
        alone.arg(&self.resolver).arg(program);
        alone
    }

    fn agent(&self, words: &[&str]) -> Command {
        let mut agent = self.command(&agent());
        agent.args(words).args(COLLECTOR).arg("--state-dir").arg(self.folder.path());
        agent
    }
}

fn ends_within(child: &mut Child, patience: Duration) -> bool {
    let until = Instant::now() + patience;
    loop {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        if Instant::now() > until {
            let _ = child.kill();
            let _ = child.wait();
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn name_servers_that_answer_nothing_hold_no_command_up() {
    let Some(silence) = Silence::begin() else {
        return skip("the right to have name servers of one's own", false);
    };
    let mut measure = silence.agent(&["run"]);
    let begin = Instant::now();
    let measured = run(measure.args(TINY));
    assert_eq!(measured.code, 0, "{measured:?}");
    assert!(measured.stderr.contains("kept in the spool"), "{measured:?}");
    // Ten seconds of trying, and what a tiny run takes on a busy machine.
    assert!(begin.elapsed() < Duration::from_secs(16), "{:?}", begin.elapsed());

    let begin = Instant::now();
    let flushed = run(&mut silence.agent(&["spool", "flush", "--max-time", "3s"]));
    assert_eq!(flushed.code, 1, "{flushed:?}");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());

    fs::write(silence.folder.path().join("pause"), "").unwrap();
    let mut daemon = silence.agent(&["daemon"]).stderr(Stdio::null()).spawn().unwrap();
    // By then it looks the name up.
    thread::sleep(Duration::from_secs(3));
    kill_process(Pid::from_child(&daemon), Signal::TERM).unwrap();
    assert!(ends_within(&mut daemon, Duration::from_secs(3)), "it waits for a name");
}
