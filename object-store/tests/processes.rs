//! The lock between processes: they are stopped, killed and forked.
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use object_store::memory::InMemory;
use rvlf_object_store::{
    Condition, DirRegister, Found, LockObject, LossReason, Put, Register, RegisterFuture,
    StoreLock, block_on,
};

/// Long enough that a holder that is stopped right after a refresh is not stopped in the middle of the
/// next one, with the file lock of the register.
const LEASE: Duration = Duration::from_secs(6);
/// No test is about speed.
const LONG: Duration = Duration::from_secs(120);
/// In the environment of a process that is to hold the lock: where.
const ROLE: &str = "RVLF_TEST_HOLDER_OF";

fn object(path: &Path) -> LockObject {
    let register = Arc::new(DirRegister::new(path));
    StoreLock::options().lease(LEASE).open_register(register)
}

/// Another process that holds the lock, and checks it on request.
struct Holder {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Holder {
    fn start(path: &Path) -> Holder {
        let program = std::env::current_exe().expect("this test is a program");
        let mut child = Command::new(program)
            .args(["--exact", "holder", "--nocapture", "--test-threads=1"])
            .env(ROLE, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it can be started");
        let orders = child.stdin.take().expect("it is a pipe");
        let answers = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let mut holder = Holder {
            child,
            orders,
            answers,
        };
        holder.answer("refreshed");
        holder
    }

    /// The answer, of which the harness prints other lines around.
    fn answer(&mut self, prefix: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.answers.read_line(&mut line).expect("the pipe works");
            assert_ne!(read, 0, "the holder has ended");
            if let Some(at) = line.find(prefix) {
                return line.split_off(at).trim().to_owned();
            }
        }
    }

    fn order(&mut self) {
        writeln!(self.orders, "check").expect("the pipe works");
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("pids are small"))
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("the child is there");
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test but the other process, which is this program once more.
#[test]
fn holder() {
    let Some(path) = std::env::var_os(ROLE) else {
        return;
    };
    let lock = block_on(object(Path::new(&path)).acquire(LONG)).expect("it becomes free");
    block_on(lock.check()).expect("it is held");
    println!("refreshed");
    for line in std::io::stdin().lines() {
        line.expect("the pipe works");
        match lock.check_local() {
            Ok(()) => println!("checked: held"),
            Err(lost) => println!("checked: {:?}", lost.reason),
        }
    }
}

// The first thing that a process does after SIGCONT may be the write that it was about to make.
#[test]
fn a_holder_that_was_stopped_for_longer_than_its_lease_knows_it_at_once() {
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("x.lock");
    let mut holder = Holder::start(&path);
    holder.order();
    assert_eq!(holder.answer("checked: "), "checked: held");
    holder.signal(Signal::SIGSTOP);
    let lock = block_on(object(&path).acquire(LONG)).expect("its lease ends");
    let taken_from = lock.reclaimed().map(|record| record.pid().get());
    assert_eq!(taken_from, Some(holder.child.id()));
    holder.order();
    holder.signal(Signal::SIGCONT);
    assert_eq!(holder.answer("checked: "), "checked: Expired");
    block_on(lock.check()).expect("the woken holder writes nothing");
    block_on(lock.release()).expect("it is held");
}

// DynamoDB lock client 34, 44 and 88: contenders that come and go begin their watch anew each time, and a
// dead lock is never taken.
#[test]
fn attempts_that_are_shorter_than_the_lease_take_a_dead_lock_in_the_end() {
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("x.lock");
    let mut holder = Holder::start(&path);
    let pid = holder.child.id();
    holder.signal(Signal::SIGKILL);
    holder.child.wait().expect("it has ended");
    let begin = Instant::now();
    let lock = loop {
        match block_on(object(&path).acquire(LEASE / 10)) {
            Ok(lock) => break lock,
            Err(error) => assert!(error.is_held(), "{error}"),
        }
        assert!(begin.elapsed() < LONG, "the dead lock is never taken");
    };
    assert_eq!(lock.reclaimed().map(|record| record.pid().get()), Some(pid));
    block_on(lock.release()).expect("it is held");
}

/// Forks. The child exits with 0 if `child` returns true, and is ended if it hangs.
#[allow(unsafe_code, reason = "fork(2)")]
fn in_a_forked_child(child: impl FnOnce() -> bool) -> WaitStatus {
    // SAFETY: the child runs code that must not depend on threads of the parent, which is what these tests
    // show; what hangs is killed below.
    match unsafe { fork() }.expect("there is room for one process") {
        ForkResult::Child => {
            let is_right = child();
            // SAFETY: _exit(2) ends the child without the handlers of the harness.
            unsafe { nix::libc::_exit(i32::from(!is_right)) }
        }
        ForkResult::Parent { child } => {
            let begin = Instant::now();
            loop {
                let status = waitpid(child, Some(WaitPidFlag::WNOHANG)).expect("it is ours");
                if status != WaitStatus::StillAlive {
                    return status;
                }
                if begin.elapsed() > LONG {
                    kill(child, Signal::SIGKILL).expect("it is ours");
                    waitpid(child, None).expect("it is ours");
                    panic!("the child hangs");
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// A register that blocks the thread of the library in its writes, once `blocks` is set.
struct Blocking {
    inner: DirRegister,
    blocks: Arc<AtomicBool>,
}

impl Register for Blocking {
    fn get(&self) -> RegisterFuture<Found> {
        self.inner.get()
    }

    fn put_if(&self, bytes: Bytes, condition: Condition) -> RegisterFuture<Put> {
        if self.blocks.load(Ordering::SeqCst) {
            std::thread::sleep(LONG);
        }
        self.inner.put_if(bytes, condition)
    }

    fn name(&self) -> String {
        self.inner.name()
    }
}

// A credential provider read a token from a pipe, on the thread that refreshes the locks. What a holder asks
// before each write must not need that thread, for this lock and for every other one of the process. In a child,
// which has a thread of its own to be blocked.
#[test]
fn a_register_that_blocks_the_thread_of_the_locks_costs_all_and_each_knows_it_in_time() {
    let directory = tempfile::tempdir().expect("there is room");
    let lease = Duration::from_secs(2);
    let status = in_a_forked_child(|| {
        let blocks = Arc::new(AtomicBool::new(false));
        let inner = DirRegister::new(directory.path().join("x.lock"));
        let register = Blocking {
            inner,
            blocks: blocks.clone(),
        };
        let options = StoreLock::options().lease(lease);
        let blocked = block_on(options.acquire_register(Arc::new(register), LONG));
        let other = DirRegister::new(directory.path().join("y.lock"));
        let other = block_on(options.acquire_register(Arc::new(other), LONG));
        let (Ok(blocked), Ok(other)) = (blocked, other) else {
            return false;
        };
        let begin = Instant::now();
        blocks.store(true, Ordering::SeqCst);
        while blocked.check_local().is_ok() || other.check_local().is_ok() {
            // The thread is blocked for longer, and no test is about speed.
            if begin.elapsed() > LONG / 2 {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    });
    assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
}

#[test]
fn the_lock_stays_with_the_parent_and_a_forked_child_can_acquire_its_own() {
    let object = StoreLock::options()
        .open_on(Arc::new(InMemory::new()), "x")
        .expect("it is a key");
    let lock = block_on(object.acquire(LONG)).expect("it is free");
    block_on(lock.commit("root")).expect("it is held");
    let mut copy = Some(lock);
    let status = in_a_forked_child(|| {
        let Some(lock) = copy.take() else {
            return false;
        };
        let is_forked = |lost: &rvlf_object_store::Lost| lost.reason == LossReason::Forked;
        let forked = lock.check_local().is_err_and(|lost| is_forked(&lost))
            && block_on(lock.check()).is_err_and(|lost| is_forked(&lost))
            && is_forked(&block_on(lock.lost()))
            && block_on(lock.commit("child")).is_err()
            && lock.expires_in() == Duration::ZERO
            && !lock.writer_id().to_string().is_empty()
            && lock.record().pid().get() != std::process::id()
            && block_on(lock.release()).is_err_and(|error| is_forked(&error.lost));
        // A store of its own: the fork may have come while a thread of the parent had that one locked.
        let own = StoreLock::options()
            .open_on(Arc::new(InMemory::new()), "x")
            .expect("it is a key");
        let acquired = block_on(own.acquire(LONG)).is_ok_and(|lock| {
            lock.record().pid().get() == std::process::id() && block_on(lock.release()).is_ok()
        });
        forked && acquired
    });
    assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
    let lock = copy.take().expect("only the child took its copy");
    block_on(lock.check()).expect("the child released nothing");
    assert_eq!(lock.payload(), "root");
    block_on(lock.release()).expect("it is held");
}
