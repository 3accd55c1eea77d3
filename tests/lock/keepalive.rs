//! A long hold: the record is refreshed and always whole, a loss is detected, reported once and final, and
//! no foreign file or descriptor is ever written, closed or removed.
#![cfg(all(target_os = "linux", not(rvlf_portable), not(rvlf_unsupported)))]

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rvlf::judge::Reason;
use rvlf::record::DecodeError;
use rvlf::{
    Durability, HoldError, LockOptions, LockState, LossReason, Lost, Record, StalePolicy,
    WriterLock, inspect, lock_path_for,
};
use support::{PATIENCE, Role, RoleEntry, scratch};

pub const ROLES: &[RoleEntry] = &[
    ("closed descriptor", closed_descriptor),
    ("closed directory", closed_directory),
    ("acquires again", acquires_again),
    (
        "acquires after a failed release",
        acquires_after_a_failed_release,
    ),
    ("no keepalive", no_keepalive),
    ("thread ends", thread_ends),
    ("forks", forks),
    ("reserves a thread", reserves_a_thread),
    ("waits for long", waits_for_long),
    ("forks while it refreshes", forks_while_it_refreshes),
    ("forks with a callback", forks_with_a_callback),
    ("short holds", short_holds),
    ("ten thousand", ten_thousand),
];

const KEEPALIVE: &str = "rvlf-keepalive";

/// A short interval: the default of ten seconds would make the tests slow.
fn every(millis: u64) -> LockOptions {
    WriterLock::options().keepalive(Some(Duration::from_millis(millis)))
}

/// Waits until the timestamp in the file has changed `times` times.
fn until_refreshed(data: &Path, times: usize) {
    let mut seen = HashSet::new();
    support::until("the timestamp moves", || {
        // A read in the middle of a refresh finds no valid record.
        if let Ok(record) = read(&lock_path_for(data)) {
            seen.insert(record.timestamp_ns());
        }
        seen.len() > times
    });
}

fn read(lock_path: &Path) -> Result<Record, DecodeError> {
    Record::decode(&fs::read(lock_path).expect("the lock file exists"))
}

fn refreshing_threads() -> usize {
    let names = support::thread_names();
    names.iter().filter(|name| *name == KEEPALIVE).count()
}

/// Runs a role that makes its own assertions.
fn run(role: Role) {
    let dir = support::scratch();
    role.with("DIR", dir.path()).start().finish();
}

fn directory() -> PathBuf {
    PathBuf::from(support::arg("DIR"))
}

// ---------------------------------------------------------------- refreshing

// Other processes read the record at any moment of a refresh in place. One torn read must not make a
// live lock appear corrupt: the reader reads again, and must then find a whole record.
#[test]
fn a_refreshed_record_is_whole_whenever_it_is_read() {
    const READS: usize = 20_000;
    const REFRESHES: usize = 100;
    let dir = support::scratch();
    let data = dir.path().join("data");
    let lock = every(2).try_acquire(&data).expect("the lock is free");
    let inode = fs::metadata(lock.lock_path())
        .expect("the file exists")
        .ino();
    let (mut reads, mut torn, mut times) = (0, 0, HashSet::new());
    let deadline = Instant::now() + PATIENCE;
    while reads < READS || times.len() < REFRESHES {
        assert!(Instant::now() < deadline, "{} refreshes only", times.len());
        let mut record = read(lock.lock_path());
        for _ in 0..3 {
            if record.is_err() {
                torn += 1;
                std::thread::sleep(Duration::from_millis(1));
                record = read(lock.lock_path());
            }
        }
        let record = record.expect("a record is whole after a few reads");
        assert_eq!(
            record.writer_id(),
            lock.writer_id(),
            "a refresh is the same hold"
        );
        assert_eq!(record.pid(), support::this_process());
        times.insert(record.timestamp_ns());
        reads += 1;
        if reads % 500 == 0 {
            let state = inspect(&data).expect("the lock file can be inspected");
            let LockState::Held(holder) = state else {
                panic!("a lock that is being refreshed is held: {state:?}");
            };
            assert_eq!(holder.verdict().reason(), Reason::KernelLock);
        }
    }
    let stat = fs::metadata(lock.lock_path()).expect("the file exists");
    assert_eq!((stat.ino(), stat.len()), (inode, 104), "refreshed in place");
    lock.release().expect("the lock is held");
    println!(
        "{reads} reads, {} refreshes seen, {torn} torn reads",
        times.len()
    );
}

#[test]
fn refreshing_by_hand_moves_the_timestamp_and_checking_does_not() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let options = WriterLock::options().keepalive(None);
    let lock = options.try_acquire(&data).expect("the lock is free");
    let acquired = support::read_record(&data);
    assert_eq!(lock.record(), acquired);
    lock.check().expect("the lock is held");
    assert_eq!(
        support::read_record(&data),
        acquired,
        "a check changes nothing"
    );
    lock.refresh().expect("the lock is held");
    let refreshed = support::read_record(&data);
    assert_ne!(refreshed.timestamp_ns(), acquired.timestamp_ns());
    assert_eq!(
        lock.record(),
        refreshed,
        "the guard has the record of the file"
    );
    assert_eq!(
        refreshed.refreshed(0),
        acquired.refreshed(0),
        "no other field has changed"
    );
}

// A shell's `: > data.lock`, or a backup that is copied over the lock file, writes into the holder's own
// file. A refresh of the time alone makes something of it that no process ever recovers.
#[test]
fn a_lock_file_that_is_overwritten_while_held_is_whole_after_a_refresh() {
    let other = support::unstamped(support::dead_pid(), &support::this_host(), PATIENCE).encode();
    let damages: [(&str, &[u8]); 5] = [
        ("truncated", b""),
        ("cut off", &other[..50]),
        ("a backup of another hold", &other),
        ("text", b"nothing to see here"),
        ("a long text", &[b'x'; 300]),
    ];
    for (what, content) in damages {
        let dir = support::scratch();
        let data = dir.path().join("data");
        let mut holder = Role::worker(&data).ready();
        holder.expect("try", "got");
        let held = support::read_record(&data);
        fs::write(lock_path_for(&data), content).expect("the directory is writable");

        assert_eq!(holder.request("refresh"), "refreshed", "{what}");
        let healed = support::read_record(&data);
        assert_eq!(healed.refreshed(0), held.refreshed(0), "{what}");
        let mut contender = Role::worker(&data).ready();
        assert_eq!(contender.request("try"), "held KernelLock", "{what}");
        assert_eq!(holder.request("check"), "Ok(())", "{what}");

        // After SIGKILL the record of the dead holder is left, and recovered at once.
        holder.kill();
        let outcome = contender.expect("try", "got");
        let from = format!("from {}", held.writer_id());
        assert!(outcome.contains(&from), "{what}: {outcome}");
    }
}

/// Loses a lock to foreign code that closes descriptors, and acquires it again.
fn acquires_again() {
    let data = directory().join("data");
    let options = WriterLock::options().keepalive(None);
    let lock = options.try_acquire(&data).expect("the lock is free");
    let lost = lock.writer_id();
    nix::unistd::close(descriptor_of(lock.lock_path())).expect("the holder has it open");
    lock.check().expect_err("the descriptor is closed");

    // Another thread may be writing under the guard.
    let refused = options.try_acquire(&data).expect_err("the guard exists");
    let holder = refused.holder().expect("it is refused by the hold");
    assert_eq!(holder.verdict().reason(), Reason::GuardNotDropped);
    let text = refused.to_string();
    assert!(text.contains("lost by this process (pid"), "{text}");
    assert!(text.ends_with("drop its guard there first"), "{text}");

    drop(lock);
    let LockState::Stale(left) = inspect(&data).expect("it can be read") else {
        panic!("this process holds nothing");
    };
    assert_eq!(left.verdict().reason(), Reason::GivenUp);
    assert!(!left.is_this_process());
    let again = options
        .try_acquire(&data)
        .expect("this process holds nothing");
    let reclaimed = again.reclaimed().and_then(|reclaimed| reclaimed.record);
    assert_eq!(reclaimed.map(|record| record.writer_id()), Some(lost));
    again.check().expect("it is held");
    again.release().expect("the lock is held");
}

/// Cannot release its lock, because it has become a user that may not change the directory.
fn acquires_after_a_failed_release() {
    let data = directory().join("data");
    let options = WriterLock::options().keepalive(None);
    let lock = options.try_acquire(&data).expect("the lock is free");
    // The other user may read the lock file, whatever the umask is.
    let mode = fs::Permissions::from_mode(0o644);
    fs::set_permissions(lock.lock_path(), mode).expect("the file belongs to root");
    let other_user = nix::unistd::Uid::from_raw(65534);
    nix::unistd::seteuid(other_user).expect("root may become any user");
    let error = lock.release().expect_err("the directory is root's");
    assert!(matches!(error.error, HoldError::Io(_)), "{error}");
    let refused = options
        .try_acquire(&data)
        .expect_err("the lock is still held");
    assert!(refused.to_string().contains("already held by this process"));
    drop(error);
    nix::unistd::seteuid(nix::unistd::Uid::from_raw(0)).expect("the real user is root");
    let again = options
        .try_acquire(&data)
        .expect("this process holds nothing");
    again.release().expect("the lock is held");
}

// "Already held by this process, release it there first": for 30 s that was the answer to a process
// that had lost its lock and released all that it had.
#[test]
fn what_this_process_has_lost_it_may_acquire_at_once_when_its_guard_is_dropped() {
    run(Role::new("acquires again"));
    if nix::unistd::geteuid().is_root() {
        run(Role::new("acquires after a failed release"));
    } else {
        support::skip("only root can become a user that may not release");
    }
}

/// Holds a lock without keepalive beside one with keepalive.
fn no_keepalive() {
    let (quiet, refreshed) = (directory().join("quiet"), directory().join("refreshed"));
    let options = WriterLock::options().keepalive(None);
    let lock = options.try_acquire(&quiet).expect("the lock is free");
    let before = fs::read(lock.lock_path()).expect("the file exists");
    assert_eq!(
        refreshing_threads(),
        0,
        "no thread without a lock to refresh"
    );
    let other = every(2).try_acquire(&refreshed).expect("the lock is free");
    until_refreshed(&refreshed, 20);
    assert_eq!(refreshing_threads(), 1);
    other.release().expect("the lock is held");
    let after = fs::read(lock.lock_path()).expect("the file exists");
    assert_eq!(after, before, "a lock without keepalive is not refreshed");
    lock.release().expect("the lock is held");
}

#[test]
fn without_keepalive_the_record_stays_as_it_was() {
    run(Role::new("no keepalive"));
}

/// Acquires, releases, and acquires again.
fn thread_ends() {
    assert_eq!(refreshing_threads(), 0, "no lock is held yet");
    for round in 0..3 {
        let locks: Vec<_> = (0..20)
            .map(|n| every(5).try_acquire(directory().join(n.to_string())))
            .map(|lock| lock.expect("the lock is free"))
            .collect();
        until_refreshed(&directory().join("7"), 2);
        assert_eq!(
            refreshing_threads(),
            1,
            "one thread for twenty locks, in round {round}"
        );
        drop(locks);
        support::until("the thread ends", || refreshing_threads() == 0);
    }
}

// A library must not leave a thread in a program that has released its locks, nor start one for each
// lock.
#[test]
fn one_thread_refreshes_all_locks_and_ends_after_the_last() {
    run(Role::new("thread ends"));
}

/// Many short holds; any of them may be released in the middle of its refresh.
fn short_holds() {
    let data = directory().join("data");
    let open_files = || {
        fs::read_dir("/proc/self/fd")
            .expect("procfs is mounted")
            .count()
    };
    let before = open_files();
    let mut rng = support::Rng::from_seed(1);
    for _ in 0..1000 {
        let lock = every(1).durability(Durability::None).try_acquire(&data);
        let lock = lock.expect("the hold before was released");
        assert!(
            lock.reclaimed().is_none(),
            "the hold before left no lock behind"
        );
        std::thread::sleep(rng.micros(1500));
        if rng.below(2) == 0 {
            lock.release().expect("the lock is held");
        }
    }
    support::until("no descriptor is left open", || open_files() <= before);
    assert!(
        support::names_in(&directory()).is_empty(),
        "no file is left"
    );
}

// A lock is released while it is refreshed: the keepalive's thread must not keep the file open, write to
// the next holder's file, or report a loss.
#[test]
fn a_release_in_the_middle_of_a_refresh_is_a_release() {
    run(Role::new("short holds"));
}

// ---------------------------------------------------------------- loss

/// A channel of losses with the thread that reported each. It ends when the lock and the options are
/// dropped.
fn with_losses(options: LockOptions) -> (LockOptions, Receiver<(Lost, String)>) {
    let (sender, losses) = channel();
    let options = options.on_lost(move |lost| {
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        // A failed test has dropped the receiver.
        let _ = sender.send((lost.clone(), thread));
    });
    (options, losses)
}

type Damage = fn(&Path);

fn damages() -> [(&'static str, Damage); 5] {
    [
        ("removed", |_| {}),
        ("replaced by a record", |lock_path| {
            let successor =
                support::unstamped(support::dead_pid(), &support::this_host(), PATIENCE);
            fs::write(lock_path, successor.encode()).expect("the directory is writable");
        }),
        ("replaced by garbage", |lock_path| {
            fs::write(lock_path, "not a record").expect("the directory is writable");
        }),
        ("replaced by an empty file", |lock_path| {
            File::create_new(lock_path).expect("the directory is writable");
        }),
        ("replaced by a directory", |lock_path| {
            fs::create_dir(lock_path).expect("the directory is writable");
        }),
    ]
}

fn expected_loss(lock_path: &Path) -> LossReason {
    match fs::read(lock_path) {
        Ok(bytes) => LossReason::Replaced(Record::decode(&bytes).ok().map(Box::new)),
        Err(_) if lock_path.is_dir() => LossReason::Replaced(None),
        Err(_) => LossReason::Removed,
    }
}

// An operator removes "that stale lock file" by hand, or a deployed client breaks it. The writer must be
// informed before it commits, once, and the loss is final even if the file comes back: another process
// may have written.
#[test]
fn a_loss_is_reported_once_and_is_final() {
    for (what, damage) in damages() {
        for keepalive in [Some(Duration::from_millis(3)), None] {
            let dir = support::scratch();
            let (data, kept) = (dir.path().join("data"), dir.path().join("kept"));
            let (options, losses) = with_losses(WriterLock::options().keepalive(keepalive));
            let lock = options.try_acquire(&data).expect("the lock is free");
            drop(options);
            let lock_path = lock_path_for(&data);
            fs::rename(&lock_path, &kept).expect("the directory is writable");
            damage(&lock_path);
            let expected = expected_loss(&lock_path);
            if keepalive.is_none() {
                let lost = lock.check().expect_err("the check detects the loss");
                assert_eq!(lost.reason, expected, "{what}");
            }
            let (lost, thread) = losses.recv_timeout(PATIENCE).expect("the loss is reported");
            // The keepalive may have checked between the removal and the replacement, or between the
            // creation of the replacement and its first byte.
            let expected = [expected, LossReason::Removed, LossReason::Replaced(None)];
            assert!(expected.contains(&lost.reason), "{what}: {lost:?}");
            assert_eq!(lost.lock_path, lock_path);
            assert_eq!(thread, "rvlf-on-lost", "not on the thread that refreshes");

            // The lock file comes back, but the loss is final.
            match lock_path.is_dir() {
                true => fs::remove_dir(&lock_path).expect("the directory is empty"),
                false => drop(fs::remove_file(&lock_path)),
            }
            fs::rename(&kept, &lock_path).expect("the directory is writable");
            assert_stays_lost(lock, &lost.reason, &data, what);
            assert_eq!(losses.iter().count(), 0, "{what}: reported once");
        }
    }
}

/// Every method reports the loss, and none changes the file at the lock path.
fn assert_stays_lost(lock: WriterLock, reason: &LossReason, data: &Path, what: &str) {
    let before = support::read_record(data);
    let is_same = |lost: &Lost| lost.reason == *reason;
    assert!(lock.is_lost(), "{what}: the loss is final");
    let checked = lock.check().expect_err("the loss is final");
    assert!(is_same(&checked), "{what}: {checked:?}");
    let refreshed = lock.refresh();
    let lost = matches!(&refreshed, Err(HoldError::Lost(lost)) if is_same(lost));
    assert!(lost, "{what}: no refresh after a loss: {refreshed:?}");
    let error = lock.release().expect_err("the loss is final");
    let lost = matches!(&error.error, HoldError::Lost(lost) if is_same(lost));
    assert!(lost, "{what}: {error:?}");
    drop(error);
    let after = support::read_record(data);
    assert_eq!(after, before, "{what}: the file is unchanged");
}

// After a loss the path belongs to a successor. A release or a drop that unlinks by name would remove the
// successor's lock.
#[test]
fn releasing_or_dropping_a_lost_lock_leaves_the_successors_file_alone() {
    for release in [true, false] {
        let dir = support::scratch();
        let data = dir.path().join("data");
        let lock = WriterLock::try_acquire(&data).expect("the lock is free");
        fs::remove_file(lock.lock_path()).expect("the directory is writable");
        let mut successor = Role::worker(&data).ready();
        let writer_id = successor.expect("try", "got");
        if release {
            let error = lock.release().expect_err("the lock was lost");
            let text = error.to_string();
            let expected = format!(
                "pid {} on {} holds it now",
                successor.pid(),
                support::this_host_beside_a_stamp()
            );
            assert!(
                text.contains(&expected),
                "the error names the successor: {text}"
            );
            assert!(text.contains(&writer_id), "{text}");
        } else {
            drop(lock);
        }
        assert_eq!(
            successor.request("check"),
            "Ok(())",
            "the successor keeps its lock"
        );
        assert_eq!(successor.request("release"), "released");
    }
}

// A program that was stopped for minutes goes on: the kernel lock shows that it lives, and no contender
// goes by the age of its record.
#[test]
fn a_lock_on_a_local_file_system_is_not_lost_by_its_age() {
    let dir = support::scratch();
    let policy = StalePolicy::new().with_cross_host_age(Duration::ZERO);
    let options = WriterLock::options().keepalive(None).stale_policy(policy);
    let lock = options.try_acquire(dir.path().join("data"));
    let lock = lock.expect("the lock is free");
    lock.check().expect("the lock is held");
    lock.refresh().expect("the lock is held");
    lock.release().expect("the lock is held");
}

/// Acquires locks with a callback, and forks a child that does.
fn reserves_a_thread() {
    let acquire = |name: &str| {
        let options = WriterLock::options().keepalive(None).on_lost(|_| {});
        let lock = options.try_acquire(directory().join(name));
        lock.expect("the lock is free")
    };
    let threads = || support::thread_names().len();
    let before = threads();
    let locks = ["a", "b", "c"].map(acquire);
    assert_eq!(threads(), before + 1, "one thread for three locks");
    let child = support::fork(|| {
        let before = threads();
        let _lock = acquire("childs");
        threads() == before + 1
    });
    support::join(child, "the child has a thread of its own");
    drop(locks);
    support::until("the thread ends", || threads() == before);
}

// A library must not start a thread for each lock. The one of a forked child's parent does not run in the
// child, which would not learn of a loss where no thread can be started.
#[test]
fn locks_with_a_callback_share_a_thread_but_not_with_a_forked_child() {
    run(Role::new("reserves a thread"));
}

/// Waits for a lock for longer than the thread stays when nothing is held.
fn waits_for_long() {
    const LONGER_THAN_IDLE: Duration = Duration::from_millis(1500);
    let data = directory().join("data");
    let options = WriterLock::options().keepalive(None);
    let holder = options.try_acquire(&data).expect("the lock is free");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| every(5).acquire(&data, PATIENCE));
        support::until("a thread is started", || refreshing_threads() == 1);
        std::thread::sleep(LONGER_THAN_IDLE);
        assert_eq!(refreshing_threads(), 1, "the thread stays for the waiter");
        holder.release().expect("the lock is held");
        let lock = waiter.join().expect("no panic").expect("it is released");
        lock.release().expect("the lock is held");
    });
}

// A program reaches its limit of threads while it waits. The lock that it receives then must be refreshed:
// the thread for that was started before the wait, and has to be there at its end.
#[test]
fn a_waiter_keeps_its_thread_for_as_long_as_it_waits() {
    run(Role::new("waits for long"));
}

// A callback waits until an operator presses a key. The other locks of the process must be refreshed
// meanwhile.
#[test]
fn a_callback_that_blocks_does_not_stop_the_refreshes_of_other_locks() {
    let dir = support::scratch();
    let (lost, other) = (dir.path().join("lost"), dir.path().join("other"));
    let (sender, call) = channel();
    let (release, released) = channel::<()>();
    let released = Mutex::new(released);
    let options = every(3).on_lost(move |_| {
        // The test may have failed.
        let _ = sender.send(());
        let _ = released.lock().map(|released| released.recv());
    });
    let _lost = options.try_acquire(&lost).expect("the lock is free");
    let _other = every(3).try_acquire(&other).expect("the lock is free");
    fs::remove_file(lock_path_for(&lost)).expect("the directory is writable");
    call.recv_timeout(PATIENCE).expect("the loss is reported");
    until_refreshed(&other, 10);
    drop(release);
}

// A caller asks for the longest interval that there is.
#[test]
fn the_longest_interval_is_no_overflow() {
    let dir = support::scratch();
    let options = WriterLock::options().keepalive(Some(Duration::MAX));
    let lock = options.try_acquire(dir.path().join("data"));
    lock.expect("the lock is free")
        .release()
        .expect("the lock is held");
}

// ---------------------------------------------------------------- a descriptor of other code

/// The descriptor of the lock file in this process.
fn descriptor_of(lock_path: &Path) -> RawFd {
    let wanted = fs::metadata(lock_path).expect("the file exists");
    let open = fs::read_dir("/proc/self/fd").expect("procfs is mounted");
    let mut found = open.filter_map(|entry| {
        let path = entry.ok()?.path();
        let stat = fs::metadata(&path).ok()?;
        let number = path.file_name()?.to_str()?.parse().ok()?;
        ((stat.dev(), stat.ino()) == (wanted.dev(), wanted.ino())).then_some(number)
    });
    found.next().expect("the holder has the lock file open")
}

/// Opens `path` so that its descriptor is `number`, which is free.
fn open_as(number: RawFd, path: &Path) -> File {
    let mut lower = Vec::new();
    loop {
        let file = File::options()
            .read(true)
            .append(false)
            .write(true)
            .open(path);
        let file = file.expect("the file belongs to this user");
        // The kernel gives the lowest free number.
        match file.as_raw_fd() {
            given if given == number => return file,
            given => assert!(given < number, "the number is free"),
        }
        lower.push(file);
    }
}

/// Other code in this process closes the lock's descriptor and opens a database, which gets its number.
fn closed_descriptor() {
    let data = directory().join("data");
    let database = directory().join("database");
    let content = vec![b'#'; 200];
    fs::write(&database, &content).expect("the directory is writable");
    let finder = support::arg_or("FINDER", "");
    let keepalive = (finder == "keepalive").then_some(Duration::from_millis(3));
    let (options, losses) = with_losses(WriterLock::options().keepalive(keepalive));
    let lock = options.try_acquire(&data).expect("the lock is free");
    drop(options);

    let number = descriptor_of(lock.lock_path());
    nix::unistd::close(number).expect("the file is open");
    let mut planted = open_as(number, &database);
    let closed = LossReason::DescriptorClosed;
    match finder.as_str() {
        "keepalive" => {}
        "check" => drop(lock.check().expect_err("the check examines the descriptor")),
        "refresh" => drop(
            lock.refresh()
                .expect_err("the refresh examines the descriptor before it writes"),
        ),
        "drop" | "release" => {}
        finder => panic!("no such finder: {finder}"),
    }
    let lock_path = lock.lock_path().to_owned();
    if finder == "drop" {
        drop(lock);
    } else if finder == "release" {
        let error = lock.release().expect_err("the kernel lock is gone").error;
        assert!(matches!(error, HoldError::Lost(lost) if lost.reason == closed));
    } else {
        let (lost, _) = losses.recv_timeout(PATIENCE).expect("the loss is reported");
        assert_eq!(lost.reason, closed);
        let again = lock.check().map_err(|lost| lost.reason);
        assert_eq!(again, Err(closed), "the loss is final");
        drop(lock.release().expect_err("the lock was lost"));
    }
    // Without the kernel lock the file may be a successor's by now, with the same inode number.
    assert!(lock_path.exists(), "the file at the path stays");
    let written = fs::read(&database).expect("the file exists");
    assert_eq!(written, content, "not a byte of the other file was written");
    planted
        .write_all(b"still open")
        .expect("the other file's descriptor was not closed");
}

// A daemon that closes "all descriptors above 2" closes the lock's; the next open file gets its number.
// A refresh that does not check corrupts that file (a database, in a trial of another implementation),
// and a drop closes it.
#[test]
fn a_descriptor_number_that_changed_hands_is_neither_written_nor_closed() {
    for finder in ["keepalive", "check", "refresh", "drop", "release"] {
        run(Role::new("closed descriptor").with("FINDER", finder));
    }
}

/// Other code in this process closes all that it has open of the directory, and nothing else.
fn close_directory() {
    while support::table::descriptors_of(&directory()) > 0 {
        nix::unistd::close(descriptor_of(&directory())).expect("it is open");
    }
}

fn closed_directory() {
    let data = directory().join("data");
    let moved = directory().with_extension("moved");
    let options = LockOptions::new().keepalive(None);
    let lock = options.try_acquire(&data).expect("the lock is free");
    let lock_path = lock.lock_path().to_owned();
    let reason = |lock: &WriterLock| lock.check().map_err(|lost| lost.reason);
    match support::arg_or("CASE", "").as_str() {
        "held" => {
            close_directory();
            assert_eq!(reason(&lock), Ok(()));
            lock.refresh().expect("the lock is held");
            lock.release().expect("the lock is held");
            assert!(!lock_path.exists(), "it was released");
        }
        "lent" => {
            drop(lock.try_clone_descriptor().expect("the lock is held"));
            close_directory();
            lock.release().expect("the lock is held");
            assert!(!lock_path.exists(), "it was released");
        }
        "taken" => {
            close_directory();
            fs::remove_file(&lock_path).expect("the directory is writable");
            let next = options.try_acquire(&data).expect("no file is there");
            assert_eq!(
                reason(&lock),
                Err(LossReason::Replaced(Some(Box::new(next.record()))))
            );
            lock.refresh().expect_err("the lock is lost");
            drop(lock.release().expect_err("the lock is lost"));
            next.release().expect("the lock is held");
        }
        "out of reach" => {
            close_directory();
            fs::rename(directory(), &moved).expect("the directory is writable");
            assert_eq!(reason(&lock), Err(LossReason::DescriptorClosed));
            drop(lock.release().expect_err("the lock is lost"));
            fs::rename(&moved, directory()).expect("the directory is writable");
            let next = options.try_acquire(&data);
            drop(next.expect("the lost lock was given up"));
        }
        "waiter" => {
            let waiter = std::thread::spawn(move || options.acquire(&data, PATIENCE));
            support::until("it waits", || {
                support::table::descriptors_of(&directory()) >= 2
            });
            close_directory();
            lock.release().expect("the lock is held");
            let next = waiter.join().expect("no panic");
            drop(next.expect("the lock is free"));
        }
        case => panic!("no such case: {case}"),
    }
}

// Code that closes a number twice had closed the directory's. Each check and each refresh were `Ok` for
// good, also when the file was removed and another process held the lock; and a release and a waiter
// failed with "Bad file descriptor".
#[test]
fn where_other_code_has_closed_the_directory_it_is_opened_anew() {
    for case in ["held", "lent", "taken", "out of reach", "waiter"] {
        run(Role::new("closed directory").with("CASE", case));
    }
}

// ---------------------------------------------------------------- fork

/// Forks while it holds and refreshes.
fn forks() {
    let (of_parent, of_child) = (directory().join("parents"), directory().join("childs"));
    let lock = every(1).try_acquire(&of_parent).expect("the lock is free");
    until_refreshed(&of_parent, 3);
    let mut lock = Some(lock);
    // Many times: each fork hits the keepalive's thread at another step of its work.
    for _ in 0..30 {
        let child = support::fork(|| {
            let copy = lock.take().expect("the child has a copy");
            let forked = copy
                .check()
                .is_err_and(|lost| lost.reason == LossReason::Forked);
            let refused = copy.refresh().is_err();
            drop(copy);
            let own = every(1).try_acquire(&of_child).expect("this lock is free");
            until_refreshed(&of_child, 3);
            assert_eq!(refreshing_threads(), 1, "the child has a thread of its own");
            own.check().expect("the lock is held");
            own.release().expect("the lock is held");
            forked && refused
        });
        support::join(
            child,
            "the child's copy is lost, and its own lock is refreshed",
        );
    }
    let lock = lock.take().expect("the parent has a lock of its own");
    until_refreshed(&of_parent, 3);
    lock.release().expect("the parent still holds the lock");
}

// A server forks a child for each connection: a child that kept the descriptors of locks which it drops would
// have one more for each lock of its parent.
#[test]
fn a_forked_child_that_drops_its_copy_has_closed_it() {
    let dir = scratch();
    let data = dir.path().join("d");
    let lock = every(10_000).try_acquire(&data).expect("the lock is free");
    let number = descriptor_of(lock.lock_path());
    let mut copy = Some(lock);
    let child = support::fork(|| {
        drop(copy.take());
        !Path::new(&format!("/proc/self/fd/{number}")).exists()
    });
    support::join(child, "the copy is closed in the child");
    let lock = copy.take().expect("the parent has its lock");
    lock.check().expect("the parent's descriptor is open");
    lock.release().expect("the lock is held");
}

// `sed -i` on the lock file: the report named the holder itself as the process that holds the lock now.
#[test]
fn a_copy_of_the_own_lock_file_is_no_other_holder() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let lock = WriterLock::try_acquire(&data).expect("the lock is free");
    let copy = dir.path().join("copy");
    std::fs::copy(lock.lock_path(), &copy).expect("the lock file can be read");
    std::fs::rename(&copy, lock.lock_path()).expect("one directory");
    let lost = lock.check().expect_err("another file is at the path");
    assert_eq!(lost.reason, LossReason::Replaced(None), "{lost}");
}

// A forked child has no keepalive thread, but a copy of its schedule, which that thread may have locked
// at the moment of the fork. A wait for that mutex in the child never ends.
#[test]
fn after_fork_the_locks_of_both_child_and_parent_are_refreshed() {
    run(Role::new("forks"));
}

/// SIGALRM ends a forked child that hangs.
fn or_alarm(body: impl FnOnce() -> bool) -> bool {
    nix::unistd::alarm::set(10);
    body()
}

fn forks_while_it_refreshes() {
    let lock = WriterLock::try_acquire(directory().join("data")).expect("the lock is free");
    let ended = AtomicBool::new(false);
    let mut stuck = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                lock.refresh().expect("the lock is held");
            }
        });
        for _ in 0..300 {
            let child = support::fork(|| {
                or_alarm(|| {
                    let named = lock.writer_id() == lock.record().writer_id();
                    named && lock.try_clone_descriptor().is_err()
                })
            });
            let status =
                nix::sys::wait::waitpid(child, None).expect("the process is a child of this one");
            if status != nix::sys::wait::WaitStatus::Exited(child, 0) {
                stuck += 1;
                break;
            }
        }
        ended.store(true, Ordering::Relaxed);
    });
    assert_eq!(stuck, 0, "the child's copy does not hang, and is lost");
    lock.release().expect("the parent holds the lock");
}

// A server forks while another of its threads refreshes. In the child that thread does not exist, and the
// mutexes that it had locked stay locked. The child's copy hung when its record or a descriptor was
// requested.
#[test]
fn a_copy_forked_in_the_middle_of_a_refresh_does_not_hang() {
    run(Role::new("forks while it refreshes"));
}

fn forks_with_a_callback() {
    let data = directory().join("data");
    for round in 0..300 {
        let options = every(10_000).durability(Durability::None).on_lost(|_| {});
        let lock = options.try_acquire(&data).expect("the lock is free");
        // At each fork the thread for the callback has come to another place.
        for _ in 0..round % 64 * 20 {
            std::hint::spin_loop();
        }
        let mut lock = Some(lock);
        let child = support::fork(|| {
            or_alarm(|| {
                drop(lock.take());
                true
            })
        });
        support::join(child, "the drop of the child's copy does not hang");
        let lock = lock.take().expect("the parent has a lock of its own");
        lock.release().expect("the parent holds the lock");
    }
}

// A daemon forks when it has the lock. The thread for the callback was about to sleep in its channel, and had
// locked the mutex in it: the drop of the child's copy waited for that mutex without end.
#[test]
fn a_childs_copy_of_a_lock_with_a_callback_does_not_hang() {
    run(Role::new("forks with a callback"));
}

// ---------------------------------------------------------------- many

const INTERVAL: Duration = Duration::from_secs(2);

fn ten_thousand() {
    // Each lock has its directory and its lock file open; 200 descriptors are for the rest.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit can be read");
    let most = hard.min(20_200);
    setrlimit(Resource::RLIMIT_NOFILE, most, hard).expect("up to the hard limit");
    let many = most.saturating_sub(200) / 2;
    if many < 1000 {
        return support::report(format_args!("skip: {hard} open files are too few"));
    }
    let options = WriterLock::options().keepalive(Some(INTERVAL));
    let options = options.durability(Durability::None);
    let locks: Vec<_> = (0..many)
        .map(|n| options.try_acquire(directory().join(n.to_string())))
        .map(|lock| lock.expect("the lock is free"))
        .collect();
    let (start, writes_before, cpu_before) = (Instant::now(), own_writes(), own_cpu());
    let begun: Vec<_> = locks
        .iter()
        .map(|lock| lock.record().timestamp_ns())
        .collect();
    support::until("every lock is refreshed", || {
        let now = locks.iter().map(|lock| lock.record().timestamp_ns());
        std::thread::sleep(Duration::from_millis(50));
        now.zip(&begun).all(|(now, begun)| now != *begun)
    });
    let (writes, cpu) = (own_writes() - writes_before, own_cpu() - cpu_before);
    let took = start.elapsed();
    assert_eq!(refreshing_threads(), 1, "one thread for {many} locks");
    // One refresh for each interval, and one for the interval that has begun.
    let expected = many as f64 * (took.as_secs_f64() / INTERVAL.as_secs_f64() + 1.0);
    assert!(
        (writes as f64) < expected,
        "{writes} writes in {took:?}: more than one for each lock and interval"
    );
    support::report(format_args!(
        "{many} locks: {writes} writes in {took:.1?} at an interval of {INTERVAL:?}, {cpu:.2?} of CPU"
    ));
    drop(locks);
    assert!(
        support::names_in(&directory()).is_empty(),
        "every lock is released"
    );
}

/// How many times this process has called write(2) and similar calls.
fn own_writes() -> u64 {
    let io = fs::read_to_string("/proc/self/io").expect("procfs is mounted");
    let count = io.lines().find_map(|line| line.strip_prefix("syscw: "));
    let count = count.expect("Linux accounts I/O");
    count.parse().expect("the value is a number")
}

fn own_cpu() -> Duration {
    let clock = nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID;
    let time = nix::time::clock_gettime(clock).expect("Linux has this clock");
    time.into()
}

// A server with a file for every tenant: ten thousand locks must not need ten thousand threads, nor write
// ten thousand times in a burst.
#[test]
fn ten_thousand_locks_take_one_thread_and_one_write_an_interval_each() {
    let dir = support::scratch();
    let mut role = Role::new("ten thousand").with("DIR", dir.path()).start();
    let result = role.receive();
    match result.strip_prefix("skip: ") {
        Some(reason) => support::skip(reason),
        None => println!("{result}"),
    }
    role.finish();
}
