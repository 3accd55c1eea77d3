//! The library inside other programs: it takes no signals from them, and touches no descriptor that
//! is theirs.
#![cfg(all(target_os = "linux", not(rvlf_portable), not(rvlf_unsupported)))]

use std::fs;
use std::fs::File;
use std::future::Future;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Command;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::sys::inotify::{InitFlags, Inotify};
use nix::sys::prctl::get_pdeathsig;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;
use rvlf::table::{Allocation, Claim, ScopeRule, TableGuard};
use rvlf::{
    CancelToken, Durability, HoldError, LockFile, LockOptions, LossReason, Released, WriterLock,
    lock_path_for,
};
use support::{Role, fork, join, scratch, thread_names, until};

pub const ROLES: &[(&str, fn())] = &[
    ("reads its signals", reads_its_signals),
    ("closes everything", closes_everything),
    (
        "acquires after descriptors were closed",
        acquires_after_descriptors_were_closed,
    ),
    ("has no streams", has_no_streams),
    (
        "loses its lock without threads",
        loses_its_lock_without_threads,
    ),
    ("works without threads", works_without_threads),
    ("ends while it spawns", ends_while_it_spawns),
    ("leaves a child", leaves_a_child),
    ("executes a lent command", executes_a_lent_command),
];

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
const THREADS: [&str; 6] = [
    "keepalive",
    "refresh",
    "reserved",
    "on-lost",
    "wait",
    "future",
];

/// Has the library start a thread of one kind, and runs `body` while that thread runs.
fn with_thread(kind: &str, data: &Path, body: impl FnOnce()) {
    let is_running = |name: &str| {
        until("the thread runs", || {
            thread_names().iter().any(|n| n == name)
        });
    };
    let every_moment = LockOptions::new().keepalive(Some(Duration::from_millis(5)));
    match kind {
        "keepalive" | "refresh" | "reserved" => {
            let options = every_moment.on_lost(|_| {});
            let _lock = options.try_acquire(data).expect("no other holder");
            is_running(&format!("rvlf-{kind}"));
            body();
        }
        "on-lost" => {
            let (ends, end) = mpsc::channel::<()>();
            let end = Mutex::new(end);
            let options = every_moment.on_lost(move |_| {
                let _ = end.lock().expect("no panic").recv();
            });
            let _lock = options.try_acquire(data).expect("no other holder");
            fs::remove_file(lock_path_for(data)).expect("it is there");
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
        for entry in fs::read_dir(&directory).expect("the sources are there") {
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

// ---------------------------------------------------------------- descriptors

/// What the library may keep open: each is made, and then used and dropped.
const KEPT: [&str; 9] = [
    "lock",
    "handle",
    "spare watch",
    "wait",
    "token",
    "used token",
    "lent",
    "table",
    "allocation",
];

/// What the program opens under the numbers that were the library's.
const PLANTED: [&str; 3] = ["files", "directories", "inotify instances"];

/// A file of the program, under a number that was one of ours.
struct Planted {
    number: RawFd,
    link: PathBuf,
}

fn link_of(number: RawFd) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{number}")).ok()
}

/// Whether this process watches a lock file.
fn watches_a_lock() -> bool {
    let links: Vec<_> = (0..100).filter_map(link_of).collect();
    // The watch of the file comes first, then the pidfd of its process.
    let pidfd = |link: &PathBuf| link.display().to_string().contains("pidfd");
    let inotify = |link: &PathBuf| link.display().to_string().contains("inotify");
    links.iter().any(pidfd) && links.iter().any(inotify)
}

/// Closes every descriptor but the standard streams, as daemons do. Returns the highest number that was
/// open.
fn close_all() -> RawFd {
    // What this process has inherited may have higher numbers.
    let last = (3..64).rev().find(|number| link_of(*number).is_some());
    let last = last.expect("the library has something open");
    for number in 3..=last {
        let _ = nix::unistd::close(number);
    }
    last
}

/// The same, and opens `what` under each number that was open.
fn replace_all_descriptors(what: &str, dir: &Path) -> Vec<Planted> {
    let last = close_all();
    let mut planted = Vec::new();
    loop {
        let number = match what {
            "files" => {
                let path = dir.join(format!("database-{}", planted.len()));
                std::fs::write(&path, [b'#'; 200]).expect("the directory is ours");
                let file = File::options().read(true).write(true).open(path);
                let file = file.expect("it is ours");
                support::try_lock(&file).expect("no other open file of it");
                file.into_raw_fd()
            }
            "directories" => File::open(dir).expect("it is there").into_raw_fd(),
            "inotify instances" => {
                let instance = Inotify::init(InitFlags::empty()).expect("there is room");
                let number = instance.as_fd().as_raw_fd();
                std::mem::forget(instance);
                number
            }
            what => panic!("no such file: {what}"),
        };
        let link = link_of(number).expect("it is open");
        planted.push(Planted { number, link });
        if number >= last {
            return planted;
        }
    }
}

fn assert_untouched(planted: &[Planted], dir: &Path) {
    for file in planted {
        assert_eq!(
            link_of(file.number).as_ref(),
            Some(&file.link),
            "still open"
        );
    }
    let files = support::names_in(dir)
        .into_iter()
        .map(|name| dir.join(name));
    for path in files.filter(|path| path.display().to_string().contains("database-")) {
        let content = std::fs::read(&path).expect("it is there");
        assert!(content == [b'#'; 200], "not a byte of it was written");
        let other = File::open(&path).expect("it is there");
        support::try_lock(&other).expect_err("the program still has its lock");
    }
}

/// Another process that holds the lock until it is killed.
fn other_holder(data: &Path) -> Pid {
    let holder = fork(|| {
        let _lock = WriterLock::try_acquire(data).expect("no other holder");
        loop {
            thread::park();
        }
    });
    until("the other process holds it", || {
        lock_path_for(data).exists()
    });
    holder
}

fn end(holder: Pid) {
    kill(holder, Signal::SIGKILL).expect("it runs");
    nix::sys::wait::waitpid(holder, None).expect("it is ours");
}

/// Lets the library open what `kind` names, replaces all descriptors, and has the library use and
/// drop what it had opened.
fn closes_everything() {
    let (data, what) = (data_path(), support::arg_or("PLANTED", ""));
    let dir = data.parent().expect("it has one").to_owned();
    let replace = || replace_all_descriptors(&what, &dir);
    let quiet = LockOptions::new().keepalive(None);
    let held = || quiet.try_acquire(&data).expect("no other holder");
    let planted = match support::arg_or("KEPT", "").as_str() {
        "lock" => {
            let lock = held();
            let planted = replace();
            lock.check().expect_err("the kernel lock is gone");
            drop(lock);
            planted
        }
        "handle" => {
            let handle = LockFile::open(&data).expect("the directory is there");
            let planted = replace();
            // The directory is opened anew by its path, and nothing is made in the program's.
            if let Ok(lock) = handle.try_acquire() {
                lock.check().expect("it is held");
                lock.release().expect("it is held");
            }
            drop(handle);
            let names = support::names_in(&dir);
            assert!(!names.iter().any(|name| name == "data.lock"), "{names:?}");
            planted
        }
        "spare watch" => {
            let holder = other_holder(&data);
            let waiter = thread::spawn({
                let data = data.clone();
                move || support::wait_until_free(data, Duration::MAX)
            });
            until("it waits", watches_a_lock);
            end(holder);
            waiter.join().expect("no panic").expect("it is free");
            let planted = replace();
            let outcome = support::wait_until_free(&data, Duration::from_millis(1));
            outcome.expect("a wait with another watch");
            planted
        }
        "wait" => {
            let holder = other_holder(&data);
            let waiter = thread::spawn({
                let (options, data) = (quiet.clone(), data.clone());
                move || options.acquire(&data, Duration::MAX)
            });
            until("it waits", watches_a_lock);
            let planted = replace();
            end(holder);
            // The directory is opened anew by its path.
            let lock = waiter.join().expect("no panic");
            drop(lock.expect("the holder has ended"));
            planted
        }
        "token" => {
            let token = CancelToken::new();
            let planted = replace();
            drop(token);
            planted
        }
        "used token" => {
            let token = CancelToken::new();
            let planted = replace();
            token.cancel();
            let options = quiet.clone().cancel_token(&token);
            let outcome = options.acquire(&data, Duration::MAX);
            assert!(outcome.expect_err("it is cancelled").is_cancelled());
            drop(token);
            planted
        }
        "lent" => {
            let lock = held();
            let mut command = Command::new("true");
            lock.lend_to(&mut command).expect("it is held");
            let planted = replace();
            command.status().expect_err("there is nothing to inherit");
            drop((lock, command));
            planted
        }
        "table" => {
            let path = dir.join("table.json");
            let mut guard = TableGuard::open(&path, Duration::ZERO).expect("no other process");
            let planted = replace();
            guard.save().expect_err("the table's lock is gone");
            drop(guard);
            planted
        }
        "allocation" => {
            let claim = Claim::new("a").allow(ScopeRule::write("/a"));
            let path = dir.join("table.json");
            let held = Allocation::register(&path, &claim, "s", Duration::ZERO);
            let held = held.expect("no other process");
            let planted = replace();
            held.check().expect("the entry is in the table");
            drop(held);
            planted
        }
        kind => panic!("nothing is called {kind}"),
    };
    assert_untouched(&planted, &dir);
}

// A daemon closes all descriptors but its standard streams, and the next files that it opens get the
// numbers. The drop of a lock closed the program's file that had the number of the lock's directory,
// the next wait closed two more, and the cancellation of a token wrote a byte into a third.
#[test]
fn a_file_of_the_program_under_a_number_of_ours_is_neither_used_nor_closed() {
    for kept in KEPT {
        for planted in PLANTED {
            let role = Role::new("closes everything").with("KEPT", kept);
            run(role.with("PLANTED", planted));
        }
    }
}

/// What is done with an old lock after its descriptors were closed; and handles that are dropped.
const USES: [&str; 5] = ["check", "refresh", "release", "drop", "handles"];

fn use_closed(old: WriterLock, used: &str) {
    let error = match used {
        "check" => old.check().err().map(HoldError::Lost),
        "refresh" => old.refresh().err(),
        "release" => old.release().err().map(|error| error.error),
        "drop" => return drop(old),
        used => panic!("nothing is called {used}"),
    };
    let closed = LossReason::DescriptorClosed;
    let is_closed = |error| matches!(error, HoldError::Lost(lost) if lost.reason == closed);
    assert!(error.is_some_and(is_closed), "{used} reports the loss");
}

/// Closes all descriptors, removes the lock file and acquires the lock again. Uses what was opened before,
/// of which the new lock has every number.
fn acquires_after_descriptors_were_closed() {
    let (data, used) = (data_path(), support::arg_or("USED", ""));
    let options = LockOptions::new()
        .keepalive(None)
        .durability(Durability::None);
    let acquire = || options.try_acquire(&data).expect("no other holder");
    // The marks by which a descriptor is known go round: each acquisition takes two, its directory's and
    // its file's, of 28. In one of the rounds the new descriptors have the marks of the old ones.
    for between in 0..28 {
        // Of two handles the second has the number that the new lock's file gets.
        let open = || LockFile::open(&data).expect("the directory is there");
        let handles = (used == "handles").then(|| [open(), open()]);
        let old = handles.is_none().then(acquire);
        close_all();
        let _ = fs::remove_file(lock_path_for(&data));
        for _ in 0..between {
            acquire().release().expect("it is held");
        }
        let new = acquire();
        let links = || (3..64).map(link_of).collect::<Vec<_>>();
        let open = links();
        drop(handles);
        if let Some(old) = old {
            use_closed(old, &used);
        }
        assert_eq!(links(), open, "the new lock's descriptors stay open");
        let other = File::open(new.lock_path()).expect("the new lock's file stays");
        support::try_lock(&other).expect_err("its kernel lock stays");
        new.check().expect("it is held");
        new.release().expect("it is held");
    }
}

// A daemon closes all descriptors and acquires its lock again, before it drops the old one. In one of 28
// cases the old one took the new lock's file for its own: it saw no loss, refreshed the record, removed
// the file or closed it, and with it freed the kernel lock of a holder that was writing.
#[test]
fn an_old_lock_does_not_touch_the_next_lock_of_this_process_under_its_numbers() {
    for used in USES {
        run(Role::new("acquires after descriptors were closed").with("USED", used));
    }
}

/// Closes its standard streams, and has the library open everything that it can keep open.
fn has_no_streams() {
    let data = data_path();
    let child = fork(|| {
        let holder = other_holder(&data);
        for stream in 0..3 {
            nix::unistd::close(stream).expect("it is open");
        }
        let token = CancelToken::new();
        let waiter = thread::spawn({
            let (options, data) = (LockOptions::new(), data.clone());
            let options = options.cancel_token(&token);
            move || options.acquire(&data, Duration::MAX)
        });
        until("it waits", watches_a_lock);
        let watch_is_above = (0..3).all(|stream| link_of(stream).is_none());
        end(holder);
        let lock = waiter
            .join()
            .expect("no panic")
            .expect("the holder is dead");
        let all_are_above = (0..3).all(|stream| link_of(stream).is_none());
        lock.check().expect("it is held");
        watch_is_above && all_are_above
    });
    join(child, "the numbers of the standard streams stay free");
}

// In a program that has closed its standard output the lock file got number 1: one line that the
// program printed overwrote the record, the holder noticed nothing, and others were advised to move
// the file away.
#[test]
fn no_descriptor_of_ours_has_the_number_of_a_standard_stream() {
    run(Role::new("has no streams"));
}

// ---------------------------------------------------------------- threads

/// From now on this process can start no thread.
fn refuse_threads() {
    if nix::unistd::geteuid().is_root() {
        // The kernel refuses threads to a process whose children will be in another pid namespace.
        unshare(CloneFlags::CLONE_NEWPID).expect("root may make namespaces");
    } else {
        setrlimit(Resource::RLIMIT_NPROC, 0, 0).expect("a limit may be lowered");
    }
    let refused = thread::Builder::new().spawn(|| ());
    refused.expect_err("no thread can be started");
}

fn loses_its_lock_without_threads() {
    let data = data_path();
    let (sender, reports) = mpsc::channel();
    let holder: Arc<Mutex<Option<WriterLock>>> = Arc::default();
    let dropped = holder.clone();
    let options = LockOptions::new().keepalive(None).on_lost(move |lost| {
        // A callback may drop the lock.
        drop(dropped.lock().expect("no panic").take());
        let _ = sender.send(lost.reason.clone());
    });
    let lock = options.try_acquire(&data).expect("no other holder");
    refuse_threads();
    fs::remove_file(lock.lock_path()).expect("it is there");
    lock.check().expect_err("the file is gone");
    *holder.lock().expect("no panic") = Some(lock);
    let reason = reports.recv_timeout(support::PATIENCE);
    assert_eq!(reason, Ok(LossReason::Removed), "the callback is called");
}

// A process at its limit of threads lost its lock, and went on writing: its callback, which would have
// stopped it, was not called.
#[test]
fn a_loss_is_reported_although_no_thread_can_be_started() {
    run(Role::new("loses its lock without threads"));
}

// ---------------------------------------------------------------- another pid namespace for children

/// Whether this process may give its children a pid namespace; else skips the test.
fn may_unshare() -> bool {
    let may = nix::unistd::geteuid().is_root();
    if !may {
        support::skip("only root may make a pid namespace");
    }
    may
}

/// What needs no thread works, and the rest fails with an error that names the cause.
fn works_without_threads() {
    let data = data_path();
    let left = data.with_file_name("left");
    let dead = support::plant_left_behind(&left);
    refuse_threads();
    let error = WriterLock::try_acquire(&data).expect_err("no thread refreshes the record");
    assert!(
        error.to_string().contains("unshare(CLONE_NEWPID)"),
        "{error}"
    );
    assert!(!lock_path_for(&data).exists(), "nothing is left");
    let mut future = pin!(WriterLock::acquire_async(&data, Duration::ZERO));
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(Err(error)) = future.as_mut().poll(&mut context) else {
        panic!("a future needs a thread");
    };
    assert!(
        error.to_string().contains("unshare(CLONE_NEWPID)"),
        "{error}"
    );

    // The lock of a dead holder: the report of its death is for the first that gets the lock.
    WriterLock::try_acquire(&left).expect_err("no thread refreshes the record");
    let options = LockOptions::new().keepalive(None);
    let lock = options.try_acquire(&left).expect("its holder is dead");
    let reclaimed = lock.reclaimed().and_then(|reclaimed| reclaimed.record);
    let id = reclaimed.map(|record| record.writer_id());
    assert_eq!(id, Some(dead.writer_id()));
    lock.release().expect("it is held");

    let lock = options.acquire(&data, Duration::MAX).expect("it is free");
    let mut command = Command::new("true");
    lock.lend_to(&mut command).expect("it is held");
    rvlf::process::kill_with_parent(&mut command);
    let status = command.status().expect("the parent lives");
    assert!(status.success());
    lock.release().expect("it is held");
}

// The child compared getppid(2) with the pid of the parent: in another pid namespace getppid(2) is 0,
// and no child could be started.
#[test]
fn a_process_whose_children_are_in_another_pid_namespace_acquires_and_lends() {
    if !may_unshare() {
        return;
    }
    run(Role::new("works without threads"));
    // Parent and child are pid 1 there.
    if support::no_containers().is_none() {
        run(Role::in_container("works without threads", None));
    }
}

fn is_closed_on_exec(number: RawFd) -> bool {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}"));
    let info = info.expect("it is open");
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = i32::from_str_radix(flags.expect("proc(5)").trim(), 8);
    flags.expect("an octal number") & nix::libc::O_CLOEXEC != 0
}

/// Executes a command in the place of this process that was prepared for a child of it.
fn executes_a_lent_command() {
    let data = data_path();
    let lock = WriterLock::try_acquire(&data).expect("no other holder");
    let before = get_pdeathsig().expect("Linux has it");
    for is_lent in [true, false] {
        let mut command = Command::new("true");
        match is_lent {
            true => lock.lend_to(&mut command).expect("it is held"),
            false => rvlf::process::kill_with_parent(&mut command),
        }
        let error = command.exec();
        assert!(error.to_string().contains("start it with spawn"), "{error}");
        let after = get_pdeathsig().expect("Linux has it");
        assert_eq!(after, before, "this process does not end with its thread");
        let is_lock = |number: &RawFd| link_of(*number).as_deref() == Some(lock.lock_path());
        let inherited = (3..64)
            .filter(is_lock)
            .find(|number| !is_closed_on_exec(*number));
        assert_eq!(inherited, None, "no other child inherits it");
        // Also after that it can be started as a child.
        assert!(command.status().expect("it is installed").success());
    }
    lock.check().expect("it is held");
    assert_eq!(lock.release().expect("it is held"), Released::Free);
}

// `exec` runs in this process what is meant for the child. It failed, and the process went on with a death
// signal; the next child that it started inherited the lock and kept it.
#[test]
fn a_command_that_was_lent_the_lock_is_not_executed_in_the_place_of_its_holder() {
    run(Role::new("executes a lent command"));
}

/// Spawns a child that is bound to this process, and that goes on only after this process has ended.
fn ends_while_it_spawns() {
    let mut command = Command::new("touch");
    command.arg(support::arg("MARKER"));
    let messages = fs::File::create(support::arg("MESSAGES"));
    command.stderr(messages.expect("the directory is writable"));
    let waits_for_the_test = || {
        nix::unistd::write(std::io::stdout(), b"\n@spawned\n")?;
        nix::unistd::read(std::io::stdin(), &mut [0])?;
        Ok(())
    };
    #[allow(unsafe_code, reason = "pre_exec")]
    // SAFETY: the closure makes system calls on descriptors that are open.
    unsafe {
        command.pre_exec(waits_for_the_test)
    };
    rvlf::process::kill_with_parent(&mut command);
    if support::arg("UNSHARED") == "yes" {
        unshare(CloneFlags::CLONE_NEWPID).expect("root may make namespaces");
    }
    let spawned = command.spawn();
    panic!("the test has killed this process: {spawned:?}");
}

// For a parent that has ended before prctl(2) the kernel sends no signal: the child would write the
// data file without the lock, for as long as it likes. A child that returned an error was aborted by std
// with "fatal runtime error", since the pipe to its parent was closed.
#[test]
fn a_child_whose_parent_has_ended_before_it_was_bound_executes_nothing_and_is_silent() {
    for unshared in ["no", "yes"] {
        if unshared == "yes" && !may_unshare() {
            return;
        }
        let dir = scratch();
        let marker = dir.path().join("marker");
        let messages = dir.path().join("messages");
        let role = Role::new("ends while it spawns").with("MARKER", &marker);
        let role = role.with("MESSAGES", &messages);
        let mut parent = role.with("UNSHARED", unshared).start();
        assert_eq!(parent.receive(), "spawned");
        parent.kill();
        parent.send("go on");
        assert_eq!(parent.receive_or_end(), None, "the child has ended, too");
        assert!(!marker.exists(), "unshared: {unshared}");
        let messages = fs::read_to_string(messages).expect("the child has made the file");
        assert_eq!(messages, "", "unshared: {unshared}");
    }
}

/// Spawns a child that is bound to this process and outlives it if it is not killed.
fn leaves_a_child() {
    unshare(CloneFlags::CLONE_NEWPID).expect("root may make namespaces");
    let mut command = Command::new("sleep");
    command.arg("1000");
    rvlf::process::kill_with_parent(&mut command);
    let mut child = command.spawn().expect("the parent lives");
    support::report(child.id());
    child.wait().expect("the test kills this process");
}

// A child that is pid 1 of a namespace is spared by signals that it does not handle, but not by this.
#[test]
fn a_child_in_another_pid_namespace_is_killed_with_its_parent() {
    if !may_unshare() {
        return;
    }
    let mut parent = Role::new("leaves a child").start();
    let child = parent.receive();
    assert!(Path::new("/proc").join(&child).exists(), "the child runs");
    parent.kill();
    assert_eq!(parent.receive_or_end(), None, "the child has ended, too");
}
