//! The kernel as a witness, on every system that has one: what the README promises of real processes.
//! The other tests go further, on Linux.
#![cfg(all(
    any(
        target_os = "linux",
        target_os = "macos",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "dragonfly"
    ),
    not(rvlf_portable),
    not(rvlf_unsupported)
))]

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rvlf::judge::Reason;
use rvlf::{CancelToken, LockFile, WriterLock};
use support::PATIENCE;

const ROLE: &str = "RVLF_TEST_ANY_UNIX_ROLE";
const DATA: &str = "RVLF_TEST_ANY_UNIX_DATA";

/// Less than the 30 s after which age alone would free a dead process's lock.
const BY_WITNESS: Duration = Duration::from_secs(20);

/// Not a test: what the processes below do.
#[test]
fn any_unix_role() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let data = PathBuf::from(std::env::var_os(DATA).expect("it is set with the role"));
    match role.as_str() {
        "hold" => {
            let lock = acquire(&data);
            report("held");
            wait_for_the_end_of_input();
            lock.release().expect("a held lock can be released");
        }
        "write" => write_for_ever(&data),
        other => panic!("no role {other}"),
    }
    std::process::exit(0);
}

fn acquire(data: &Path) -> WriterLock {
    WriterLock::acquire(data, PATIENCE).expect("every holder releases it or is killed")
}

/// Writes its own token while it holds the lock, and reports if another writer has replaced it.
fn write_for_ever(data: &Path) {
    let options = OpenOptions::new().read(true).write(true).open(data);
    let file = options.expect("the test has made it");
    for number in 0_u32.. {
        let lock = acquire(data);
        let token = format!("{:>10} {number:>10}", std::process::id());
        file.write_all_at(token.as_bytes(), 0)
            .expect("there is room");
        for _ in 0..50 {
            std::thread::yield_now();
        }
        let mut found = vec![0; token.len()];
        file.read_exact_at(&mut found, 0).expect("it was written");
        report(if found == token.as_bytes() {
            "wrote"
        } else {
            "overlap"
        });
        lock.release().expect("a held lock can be released");
    }
}

/// A line that the harness does not write. Ends the process if the test has ended.
fn report(line: &str) {
    let text = format!("\n@{line}\n");
    let mut out = std::io::stdout().lock();
    if out
        .write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .is_err()
    {
        std::process::exit(0);
    }
}

fn wait_for_the_end_of_input() {
    let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
}

/// A process with a role, which is killed at the end of its test.
struct Process {
    child: Child,
    reports: BufReader<ChildStdout>,
}

impl Process {
    fn start(role: &str, data: &Path) -> Process {
        let program = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(program)
            .args(["any_unix::any_unix_role", "--exact", "--nocapture"])
            .env(ROLE, role)
            .env(DATA, data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is room for a process");
        let reports = BufReader::new(child.stdout.take().expect("it is a pipe"));
        Process { child, reports }
    }

    /// The next report. Blocks.
    fn report(&mut self) -> String {
        loop {
            let mut line = String::new();
            let len = self.reports.read_line(&mut line).expect("it is a pipe");
            assert!(len > 0, "the process has ended");
            if let Some(report) = line.strip_prefix('@') {
                return report.trim_end().to_owned();
            }
        }
    }

    fn kill(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("there is a directory for temporary files");
    let data = dir.path().join("data");
    fs::write(&data, "").expect("the directory is new");
    (dir, data)
}

fn names_in(dir: &Path) -> Vec<std::ffi::OsString> {
    let names = fs::read_dir(dir).expect("it exists");
    names
        .map(|name| name.expect("it can be read").file_name())
        .collect()
}

// Without the stamp a crash costs 30 s, and off local file systems up to 300 s.
#[test]
fn the_kernel_is_the_witness_of_a_killed_holder() {
    let (dir, data) = scratch();
    let mut holder = Process::start("hold", &data);
    assert_eq!(holder.report(), "held");
    let file = LockFile::open(&data).expect("the directory exists");
    let state = file.inspect().expect("it can be examined");
    assert_eq!(state.reason(), Some(Reason::KernelLock), "{state:?}");
    holder.kill();
    let state = file.inspect().expect("it can be examined");
    assert_eq!(state.reason(), Some(Reason::KernelWitness), "{state:?}");
    let lock = WriterLock::acquire(&data, BY_WITNESS).expect("the holder is dead");
    assert!(lock.reclaimed().is_some(), "the next writer learns of it");
    lock.check().expect("nothing has happened to it");
    lock.release().expect("a held lock can be released");
    assert_eq!(names_in(dir.path()), ["data"], "nothing is left");
}

// One waits for a release, the other one for a death.
#[test]
fn waiters_get_the_lock_after_a_release_and_after_a_death() {
    let (_dir, data) = scratch();
    let lock = acquire(&data);
    let mut first = Process::start("hold", &data);
    lock.release().expect("a held lock can be released");
    assert_eq!(first.report(), "held");
    let mut second = Process::start("hold", &data);
    first.kill();
    assert_eq!(second.report(), "held");
}

#[test]
fn a_wait_for_a_live_holder_is_cancelled_by_a_token() {
    let (_dir, data) = scratch();
    let lock = acquire(&data);
    let token = CancelToken::new();
    let options = WriterLock::options().cancel_token(&token);
    let waiter = std::thread::spawn(move || options.acquire(&data, Duration::MAX));
    token.cancel();
    let refused = waiter.join().expect("it does not panic");
    assert!(refused.expect_err("the lock is held").is_cancelled());
    lock.release().expect("a held lock can be released");
}

// The promise itself: whatever is killed, two writers never write together.
#[test]
fn writers_that_are_killed_again_and_again_exclude_each_other() {
    const WRITERS: usize = 4;
    const KILLS: usize = 40;
    let (_dir, data) = scratch();
    let mut writers: Vec<_> = (0..WRITERS)
        .map(|_| Process::start("write", &data))
        .collect();
    for kill in 0..KILLS {
        let writer = writers.get_mut(kill % WRITERS).expect("there are as many");
        // It is somewhere in its next round when it is killed.
        for _ in 0..=kill % 3 {
            assert_eq!(writer.report(), "wrote");
        }
        writer.kill();
        *writer = Process::start("write", &data);
    }
    for writer in &mut writers {
        assert_eq!(writer.report(), "wrote");
    }
}
