//! Between `go` and its answer the measuring process talks to nobody.

use std::{collections::BTreeSet, fs};

use crate::support::{SMALL, agent, command, has, run, skip};

/// What would be neither the work nor its threads: input, output, files and sockets.
const FORBIDDEN: [&str; 26] = [
    "read",
    "pread64",
    "readv",
    "preadv",
    "preadv2",
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "pwritev2",
    "open",
    "openat",
    "openat2",
    "creat",
    "ioctl",
    "socket",
    "socketpair",
    "connect",
    "accept",
    "accept4",
    "bind",
    "listen",
    "sendto",
    "recvfrom",
    "sendmsg",
    "recvmsg",
];

/// What `strace -f` says of one run: the samples that it saw, and every forbidden call within one.
#[derive(Debug, Default, Eq, PartialEq)]
struct Heard {
    samples: usize,
    forbidden: Vec<String>,
}

/// Reads a trace. A measuring process is one that reads `go` from its standard input; its threads are those that it and
/// they started.
fn listen(trace: &str) -> Heard {
    let mut heard = Heard::default();
    let mut threads: BTreeSet<&str> = BTreeSet::new();
    // The thread that read `go`, while its sample is taken.
    let mut measuring: Option<&str> = None;
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if is_go(call) {
            measuring = Some(thread);
            threads.insert(thread);
            heard.samples += 1;
        } else if measuring == Some(thread) && call.starts_with("write(1, ") {
            measuring = None;
        } else if threads.contains(thread) {
            // Threads live on between samples: pools start theirs in one and use them in the next.
            threads.extend(started(call));
            let name = call.split('(').next().unwrap_or_default();
            if measuring.is_some() && FORBIDDEN.contains(&name) {
                heard.forbidden.push(line.to_owned());
            }
        }
    }
    heard
}

/// Whether a call, in one piece or resumed, read `go` from standard input; the first may come with the orders.
fn is_go(call: &str) -> bool {
    let read =
        call.strip_prefix("read(0, \"").or_else(|| call.strip_prefix("<... read resumed>\""));
    read.is_some_and(|text| text.starts_with("go ") || text.contains(r"\ngo "))
}

/// The thread that a call started, in one piece or resumed, if it did.
fn started(call: &str) -> Option<&str> {
    if !call.starts_with("clone") && !call.starts_with("<... clone") {
        return None;
    }
    let (_, thread) = call.rsplit_once("= ")?;
    thread.bytes().all(|byte| byte.is_ascii_digit()).then_some(thread)
}

#[test]
fn the_child_is_silent_while_it_measures() {
    if !has("strace") {
        return skip("strace", true);
    }
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let mut traced = command("strace".as_ref());
    traced.args(["-f", "-s", "65536", "-o"]).arg(&trace).arg(agent());
    traced.args(["run", "--format", "json"]).args(SMALL);
    let done = run(traced.arg("--state-dir").arg(folder.path()).current_dir(folder.path()));
    if done.code != 0 && done.stderr.contains("ptrace") {
        return skip("the right to trace a process", false);
    }
    assert_eq!(done.code, 0, "{done:?}");
    let heard = listen(&fs::read_to_string(&trace).unwrap());
    assert_eq!(heard.samples, 77, "eleven cells in a cold round and six more");
    assert_eq!(heard.forbidden, [""; 0]);
}

#[test]
fn a_call_within_a_sample_is_heard() {
    let trace = "\
10 read(0, \"orders\", 8192) = 6
10 write(2, \"before\", 6) = 6
10 read(0,  <unfinished ...>
9  write(5, \"go 1\\n\", 5) = 5
10 <... read resumed>\"go 1\\n\", 8192) = 5
10 clone3({flags=CLONE_VM|CLONE_THREAD}, 88 <unfinished ...>
9  read(6, \"the parent may\", 14) = 14
10 <... clone3 resumed> => {parent_tid=[11]}, 88) = 11
11 futex(0x7f, FUTEX_WAIT, 0, NULL) = 0
11 openat(AT_FDCWD, \"/proc/self/maps\", O_RDONLY) = 3
10 getrusage(RUSAGE_SELF, {}) = 0
10 write(1, \"{}\\n\", 3) = 3
11 write(2, \"between\", 7) = 7
10 read(0, \"go 2\\n\", 8192) = 5
10 ioctl(1, TCGETS, {}) = 0
10 write(1, \"{}\\n\", 3) = 3
";
    let heard = listen(trace);
    assert_eq!(heard.samples, 2);
    let names: Vec<&str> =
        heard.forbidden.iter().map(|line| line.split(['(', ' ']).nth(1).unwrap()).collect();
    assert_eq!(names, ["openat", "ioctl"]);
}
