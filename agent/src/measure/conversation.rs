//! The lines between the measuring child and its parent, and the parent's side of them.
//!
//! Down: first the [`Orders`] as one line of JSON, then `go N` for each sample of the cell with index N. The end of the
//! stream tells the child to end. Up: one [`Line`] of JSON a `go`.

use std::{
    env,
    ffi::OsString,
    io::{self, Read as _, Write as _},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{self, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use fleetmark_proto::report::{FailureKind, Usage};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use crate::{
    plan::Plan,
    spawner::{Sample, Work},
};

/// The hidden command that makes either binary the measuring child.
pub(super) const COMMAND: &str = "measure";

/// What the child needs to know of a plan.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Orders {
    pub(super) workers: usize,
    pub(super) cells: Vec<Work>,
}

/// What the child says after each `go`.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Line {
    pub(super) outcome: Result<Sample, (Kind, String)>,
    pub(super) pool_ended: bool,
    /// What the sample used, and what the child held at its most so far; absent where the host does not count.
    pub(super) used: Option<Used>,
}

/// What the child used of its host.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Used {
    pub(super) usage: Usage,
    pub(super) peak_memory_bytes: u64,
}

/// The failures that a child can tell of; the others are its parent's to see.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) enum Kind {
    LimitedThreads,
    Panic,
}

impl From<Kind> for FailureKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::LimitedThreads => Self::LimitedThreads,
            Kind::Panic => Self::Panic,
        }
    }
}

/// What to run as the measuring child.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// The running binary, which must call [`super::take_over`] first thing.
    ///
    /// # Errors
    ///
    /// If the operating system does not tell where the binary lies.
    pub fn this() -> io::Result<Self> {
        Ok(Self { path: env::current_exe()?, arguments: vec![COMMAND.into()] })
    }

    #[cfg(test)]
    pub(super) fn shell(script: &str) -> Self {
        Self { path: "/bin/sh".into(), arguments: vec!["-c".into(), script.into()] }
    }
}

/// What came of a `go`.
#[derive(Debug)]
pub(super) enum Reply {
    Line(Line),
    Deadline,
    Died(String),
}

/// The parent's hold on the child.
///
/// While the child measures, the parent is in one system call, `poll`, from right after `go` to the answer: a channel or
/// a lock would spin before it sleeps, on a core that the child needs.
#[derive(Debug)]
pub(super) struct Child {
    process: process::Child,
    orders: Option<ChildStdin>,
    answers: ChildStdout,
    /// What was read beyond the last line.
    unread: Vec<u8>,
    started: Instant,
}

/// What came up within a time.
enum Heard {
    Line(String),
    Nothing,
    End,
}

impl Child {
    pub(super) fn start(program: &Program, plan: &Plan) -> io::Result<Self> {
        let started = Instant::now();
        let mut process = Command::new(&program.path)
            .args(&program.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for the parent, which decides what becomes of the sample at hand.
            .process_group(0)
            .spawn()?;
        let orders = process.stdin.take();
        let answers = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut child = Self { process, orders, answers, unread: Vec::new(), started };
        let workers = usize::try_from(plan.workers).unwrap_or(usize::MAX);
        let cells = plan.cells.iter().map(|cell| cell.work).collect();
        let orders = serde_json::to_string(&Orders { workers, cells })?;
        child.say(&orders);
        Ok(child)
    }

    /// Has the child take one sample.
    pub(super) fn go(&mut self, index: usize, deadline: Duration) -> Reply {
        self.say(&format!("go {index}"));
        let line = match self.hear(deadline) {
            Ok(Heard::Line(line)) => line,
            Ok(Heard::Nothing) => return Reply::Deadline,
            Ok(Heard::End) => return Reply::Died(self.death()),
            Err(error) => {
                return Reply::Died(format!("the measuring process cannot be heard: {error}"));
            }
        };
        match serde_json::from_str(&line) {
            Ok(line) => Reply::Line(line),
            Err(_) => {
                Reply::Died(format!("the measuring process said what makes no sense: {line:.80}"))
            }
        }
    }

    fn say(&mut self, line: &str) {
        if let Some(orders) = &mut self.orders {
            // A child that is dead is told of by the answer that does not come.
            let _ = orders.write_all(format!("{line}\n").as_bytes());
        }
    }

    /// The next line of the child's, if it comes in time.
    fn hear(&mut self, patience: Duration) -> io::Result<Heard> {
        let begin = Instant::now();
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Ok(Heard::Line(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            let left = patience.saturating_sub(begin.elapsed());
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            let mut ready = [PollFd::new(&self.answers, PollFlags::IN)];
            match poll(&mut ready, Some(&timeout)) {
                Ok(0) => return Ok(Heard::Nothing),
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let mut chunk = [0; 4096];
            match self.answers.read(&mut chunk)? {
                0 => return Ok(Heard::End),
                read => self.unread.extend(chunk.iter().take(read)),
            }
        }
    }

    fn death(&mut self) -> String {
        match self.process.wait() {
            Ok(status) => format!("the measuring process died: {status}"),
            Err(error) => format!("the measuring process died: {error}"),
        }
    }

    /// Lets the child end, and tells how long it lived.
    pub(super) fn end(mut self) -> Duration {
        const PATIENCE: Duration = Duration::from_secs(2);
        drop(self.orders.take());
        match self.hear(PATIENCE) {
            // The child closes its standard output when it ends; nobody else waits for it.
            Ok(Heard::End) => drop(self.process.wait()),
            _ => self.kill(),
        }
        self.started.elapsed()
    }

    /// Ends the child in the middle of what it does, and tells how long it lived.
    pub(super) fn abandon(mut self) -> Duration {
        self.kill();
        self.started.elapsed()
    }

    fn kill(&mut self) {
        // It may have ended meanwhile, and been waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}
