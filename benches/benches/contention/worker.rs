//! A contender's process, as the bench sees it.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::contender;
use crate::kind::{self, LockKind};

pub struct Worker {
    child: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
}

/// This program itself, or a script that does the same in another language.
fn program(kind: LockKind) -> Command {
    let (program, first) = match kind {
        LockKind::Filelock => (kind::python().into(), script("filelock_worker.py")),
        LockKind::ProperLockfile => ("node".into(), script("proper_lockfile_worker.js")),
        _ => {
            let this = std::env::current_exe().expect("the path of a running program is known");
            (this, contender::FLAG.into())
        }
    };
    let mut command = Command::new(program);
    command.arg(first);
    command
}

fn script(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/contention");
    Path::new(folder).join(name)
}

impl Worker {
    pub fn start(kind: LockKind, data_path: &Path, id: usize) -> Worker {
        let mut command = program(kind);
        // The scripts know their kind.
        if !kind.polls() {
            command.arg(kind.name());
        }
        let mut child = command
            .arg(data_path)
            .arg(id.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program was found before");
        let requests = child.stdin.take().expect("stdin is a pipe");
        let replies = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let mut worker = Worker {
            child,
            requests,
            replies,
        };
        assert_eq!(worker.reply(), [0], "the worker reports that it is ready");
        worker
    }

    pub fn send(&mut self, request: &str) {
        writeln!(self.requests, "{request}").expect("the worker reads its requests");
    }

    pub fn reply(&mut self) -> Vec<u64> {
        let mut line = String::new();
        let read = self.replies.read_line(&mut line);
        read.expect("the worker replies");
        line.split_whitespace()
            .map(|number| number.parse().expect("replies are numbers"))
            .collect()
    }

    /// The clock that `a` and `r` reply.
    pub fn clock_reply(&mut self) -> u64 {
        let [clock] = self.reply().try_into().expect("one number");
        clock
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("the worker is a child");
        self.child.wait().expect("the worker is a child");
    }

    /// Whether the process sleeps in the kernel.
    pub fn is_asleep(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.unwrap_or_default();
        let after_name = stat.rsplit(')').next();
        after_name.is_some_and(|rest| rest.trim_start().starts_with('S'))
    }

    /// Voluntary context switches and CPU nanoseconds of all threads so far.
    pub fn usage(&self) -> (u64, u64) {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let threads = threads.expect("the worker is alive").flatten();
        threads.fold((0, 0), |(switches, nanos), thread| {
            let (more_switches, more_nanos) = thread_usage(&thread.path());
            (switches + more_switches, nanos + more_nanos)
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Voluntary context switches and CPU nanoseconds of one thread, from its directory in procfs.
fn thread_usage(thread: &Path) -> (u64, u64) {
    let read = |file: &str| std::fs::read_to_string(thread.join(file)).unwrap_or_default();
    let status = read("status");
    let mut lines = status.lines();
    let switches = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    let schedstat = read("schedstat");
    let number = |text: Option<&str>| text.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    (number(switches), number(schedstat.split(' ').next()))
}

/// The first of the waiting workers that has the lock, and when it got it. All workers but `except`
/// have been sent `a` and nothing else; `except` is not waited for.
pub fn first_reply(workers: &mut [Worker], except: usize) -> (usize, u64) {
    let waiting = workers.iter().enumerate().filter(|(at, _)| *at != except);
    let (indices, mut ready): (Vec<usize>, Vec<PollFd>) = waiting
        .map(|(at, worker)| {
            let replies = worker.replies.get_ref().as_fd();
            (at, PollFd::new(replies, PollFlags::POLLIN))
        })
        .unzip();
    poll(&mut ready, PollTimeout::NONE).expect("pipes can be polled");
    let first = ready.iter().position(|fd| fd.any() == Some(true));
    let first = first.and_then(|first| indices.get(first).copied());
    let first = first.expect("poll without a timeout ends with a reply");
    let worker = workers
        .get_mut(first)
        .expect("the index is one of the workers");
    (first, worker.clock_reply())
}
