//! The library inside other programs: it takes no signals from them, and touches no descriptor that
//! is theirs.
#![cfg(all(target_os = "linux", not(rvlf_portable), not(rvlf_unsupported)))]

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::SignalFd;
use rvlf::{CancelToken, LockOptions, WriterLock, lock_path_for};
use support::{Role, fork, join, scratch, thread_names, until};

pub const ROLES: &[(&str, fn())] = &[("reads its signals", reads_its_signals)];

/// Runs a role that makes its own assertions.
fn run(role: Role) {
    let dir = scratch();
    role.with("DATA", dir.path().join("data")).start().finish();
}

fn data_path() -> PathBuf {
    PathBuf::from(support::arg("DATA"))
}

// ---------------------------------------------------------------- signals

/// The kinds of threads that the library starts and that stay long enough to take a signal.
const THREADS: [&str; 4] = ["keepalive", "on-lost", "wait", "future"];

/// Has the library start a thread of one kind, and runs `body` while that thread runs.
fn with_thread(kind: &str, data: &Path, body: impl FnOnce()) {
    let is_running = |name: &str| {
        until("the thread runs", || {
            thread_names().iter().any(|n| n == name)
        });
    };
    let every_moment = LockOptions::new().keepalive(Some(Duration::from_millis(5)));
    match kind {
        "keepalive" | "refresh" => {
            let _lock = every_moment.try_acquire(data).expect("no other holder");
            is_running(&format!("rvlf-{kind}"));
            body();
        }
        "on-lost" => {
            let (ends, end) = mpsc::channel::<()>();
            let end = std::sync::Mutex::new(end);
            let options = every_moment.on_lost(move |_| {
                let _ = end.lock().expect("no panic").recv();
            });
            let _lock = options.try_acquire(data).expect("no other holder");
            std::fs::remove_file(lock_path_for(data)).expect("it is there");
            is_running("rvlf-on-lost");
            body();
            drop(ends);
        }
        "wait" => {
            let _held = WriterLock::try_acquire(data).expect("no other holder");
            let token = CancelToken::new();
            let (options, path) = (LockOptions::new().cancel_token(&token), data.to_owned());
            let waiter = thread::spawn(move || {
                SigSet::all().thread_block().expect("a valid set");
                options.acquire(&path, Duration::MAX)
            });
            is_running("rvlf-wait");
            body();
            token.cancel();
            let outcome = waiter.join().expect("no panic");
            outcome.expect_err("it is held and the wait was cancelled");
        }
        "future" => {
            let _held = WriterLock::try_acquire(data).expect("no other holder");
            let mut waiter = pin!(WriterLock::acquire_async(data, Duration::MAX));
            let mut context = Context::from_waker(Waker::noop());
            assert!(waiter.as_mut().poll(&mut context).is_pending());
            is_running("rvlf-wait");
            body();
        }
        kind => panic!("no such thread: {kind}"),
    }
}

/// Blocks SIGTERM in the only thread that is its own, and reads it from a signalfd.
fn reads_its_signals() {
    // A forked child has no thread of the test harness, which would take the signal.
    let child = fork(|| {
        let kind = support::arg_or("THREAD", "");
        with_thread(&kind, &data_path(), || {
            let mut terminate = SigSet::empty();
            terminate.add(Signal::SIGTERM);
            terminate.thread_block().expect("a valid set");
            let signals = SignalFd::new(&terminate).expect("a valid set");
            kill(nix::unistd::getpid(), Signal::SIGTERM).expect("this process exists");
            let read = signals.read_signal().expect("the signal is pending");
            let number = read.map(|info| info.ssi_signo);
            assert_eq!(number, Some(Signal::SIGTERM as u32));
        });
        true
    });
    join(
        child,
        "the process reads its SIGTERM, and is not ended by it",
    );
}

// A service blocks SIGTERM in its own threads and reads it from a signalfd. The kernel gave the signal
// to a thread of the library, which had inherited no mask, and the service died in the middle of its
// work.
#[test]
fn no_thread_takes_a_signal_that_the_program_has_blocked() {
    for kind in THREADS {
        run(Role::new("reads its signals").with("THREAD", kind));
    }
}

// One thread that is started in another way takes the program's signals again.
#[test]
fn every_thread_of_the_library_is_started_in_one_place() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src");
    let mut directories = vec![src.clone()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).expect("the sources are there") {
            let path = entry.expect("the sources are there").path();
            let inside = path.strip_prefix(&src).expect("it is below src");
            if path.is_dir() {
                directories.push(path);
            } else if inside != Path::new("sys/thread.rs") {
                let text = std::fs::read_to_string(&path).expect("source text is UTF-8");
                let code = text
                    .lines()
                    .filter(|line| !line.trim_start().starts_with("//"));
                for line in code {
                    let starts = ["Builder::new().name", "std::thread::spawn", "thread::scope"];
                    let found = starts.iter().find(|start| line.contains(**start));
                    assert_eq!(found, None, "{}: {line}", inside.display());
                }
            }
        }
    }
}
