//! Holding for long: the record is refreshed and always whole, a loss is found, told once and for
//! ever, and nothing that is not ours is ever written to, closed or removed.
#![cfg(all(target_os = "linux", not(rvlf_portable), not(rvlf_unsupported)))]

use support as common;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use common::{PATIENCE, Role};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rvlf::judge::Reason;
use rvlf::record::DecodeError;
use rvlf::{
    Durability, HoldError, LockOptions, LockState, LossReason, Lost, Record, WriterLock, inspect,
    lock_path_for,
};

pub const ROLES: &[(&str, fn())] = &[
    ("closed descriptor", closed_descriptor),
    ("no keepalive", no_keepalive),
    ("thread ends", thread_ends),
    ("forks", forks),
    ("forks while it refreshes", forks_while_it_refreshes),
    ("comes and goes", comes_and_goes),
    ("ten thousand", ten_thousand),
];

const KEEPALIVE: &str = "rvlf-keepalive";

/// Tests do not wait for ten seconds.
fn every(millis: u64) -> LockOptions {
    WriterLock::options().keepalive(Some(Duration::from_millis(millis)))
}

/// Waits until the record in the file has changed its timestamp so many times.
fn until_refreshed(data: &Path, times: usize) {
    let mut seen = HashSet::new();
    common::until("the timestamp moves", || {
        // A look in the middle of a refresh shows nothing.
        if let Ok(record) = read(&lock_path_for(data)) {
            seen.insert(record.timestamp_ns());
        }
        seen.len() > times
    });
}

fn read(lock_path: &Path) -> Result<Record, DecodeError> {
    Record::decode(&fs::read(lock_path).expect("the lock file is there"))
}

fn refreshing_threads() -> usize {
    let names = common::thread_names();
    names.iter().filter(|name| *name == KEEPALIVE).count()
}

/// Runs a role that makes its own assertions.
fn run(role: Role) {
    let dir = common::scratch();
    role.with("DIR", dir.path()).start().finish();
}

fn directory() -> PathBuf {
    PathBuf::from(common::arg("DIR"))
}

// ---------------------------------------------------------------- refreshing

// A record that is rewritten in place every few seconds is read by others at any moment. One torn
// look must not make a live lock look corrupt: whoever looks looks again, and then it must be
// whole.
#[test]
fn a_refreshed_record_is_whole_whenever_it_is_read() {
    const READS: usize = 20_000;
    const REFRESHES: usize = 100;
    let dir = common::scratch();
    let data = dir.path().join("data");
    let lock = every(2).try_acquire(&data).expect("nobody has it");
    let inode = fs::metadata(lock.lock_path()).expect("it is there").ino();
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
        let record = record.expect("a record is whole after a few looks");
        assert_eq!(
            record.writer_id(),
            lock.writer_id(),
            "a refresh is the same hold"
        );
        assert_eq!(record.pid(), common::this_process());
        times.insert(record.timestamp_ns());
        reads += 1;
        if reads % 500 == 0 {
            let state = inspect(&data).expect("it can be looked at");
            let LockState::Held(holder) = state else {
                panic!("a lock that is being refreshed is held: {state:?}");
            };
            assert_eq!(holder.verdict().reason(), Reason::KernelLock);
        }
    }
    let stat = fs::metadata(lock.lock_path()).expect("it is there");
    assert_eq!((stat.ino(), stat.len()), (inode, 104), "refreshed in place");
    lock.release().expect("it is held");
    println!(
        "{reads} reads, {} refreshes seen, {torn} torn looks",
        times.len()
    );
}

#[test]
fn refreshing_by_hand_moves_the_timestamp_and_checking_does_not() {
    let dir = common::scratch();
    let data = dir.path().join("data");
    let options = WriterLock::options().keepalive(None);
    let lock = options.try_acquire(&data).expect("nobody has it");
    let acquired = common::read_record(&data);
    assert_eq!(lock.record(), acquired);
    lock.check().expect("it is held");
    assert_eq!(
        common::read_record(&data),
        acquired,
        "a look changes nothing"
    );
    lock.refresh().expect("it is held");
    let refreshed = common::read_record(&data);
    assert_ne!(refreshed.timestamp_ns(), acquired.timestamp_ns());
    assert_eq!(
        lock.record(),
        refreshed,
        "the guard knows what the file says"
    );
    assert_eq!(
        refreshed.refreshed(0),
        acquired.refreshed(0),
        "nothing else has changed"
    );
}

/// Without keepalive, beside a lock that has one.
fn no_keepalive() {
    let (quiet, lively) = (directory().join("quiet"), directory().join("lively"));
    let options = WriterLock::options().keepalive(None);
    let lock = options.try_acquire(&quiet).expect("nobody has it");
    let before = fs::read(lock.lock_path()).expect("it is there");
    assert_eq!(refreshing_threads(), 0, "no thread for nobody");
    let other = every(2).try_acquire(&lively).expect("nobody has it");
    until_refreshed(&lively, 20);
    assert_eq!(refreshing_threads(), 1);
    other.release().expect("it is held");
    let after = fs::read(lock.lock_path()).expect("it is there");
    assert_eq!(after, before, "whoever asks for no refreshes gets none");
    lock.release().expect("it is held");
}

#[test]
fn without_keepalive_the_record_stays_as_it_was() {
    run(Role::new("no keepalive"));
}

/// Acquires, releases, and acquires again.
fn thread_ends() {
    assert_eq!(refreshing_threads(), 0, "nothing is held yet");
    for round in 0..3 {
        let locks: Vec<_> = (0..20)
            .map(|n| every(5).try_acquire(directory().join(n.to_string())))
            .map(|lock| lock.expect("nobody has it"))
            .collect();
        until_refreshed(&directory().join("7"), 2);
        assert_eq!(
            refreshing_threads(),
            1,
            "one thread for twenty locks, in round {round}"
        );
        drop(locks);
        common::until("the thread ends", || refreshing_threads() == 0);
    }
}

// A library must not leave a thread behind in a program that is done with it, nor start one a lock.
#[test]
fn one_thread_refreshes_all_locks_and_ends_after_the_last() {
    run(Role::new("thread ends"));
}

/// Many short holds, each of which may be released in the middle of its refresh.
fn comes_and_goes() {
    let data = directory().join("data");
    let open_files = || {
        fs::read_dir("/proc/self/fd")
            .expect("procfs is mounted")
            .count()
    };
    let before = open_files();
    let mut chance = common::Chance::from_seed(1);
    for _ in 0..1000 {
        let lock = every(1).durability(Durability::None).try_acquire(&data);
        let lock = lock.expect("the one before was released for good");
        assert!(lock.reclaimed().is_none(), "and not left behind");
        std::thread::sleep(chance.micros(1500));
        if chance.below(2) == 0 {
            lock.release().expect("it is held");
        }
    }
    common::until("no descriptor is left open", || open_files() <= before);
    assert!(common::names_in(&directory()).is_empty(), "no file is left");
}

// The refresh of a lock and its release meet: the keepalive's thread must not keep the file open,
// write into the next holder's, or find a loss where there was a release.
#[test]
fn a_release_in_the_middle_of_a_refresh_is_a_release() {
    run(Role::new("comes and goes"));
}

// ---------------------------------------------------------------- loss

/// Tells of losses, and from which thread; ends when nobody can tell any more.
fn with_news(options: LockOptions) -> (LockOptions, Receiver<(Lost, String)>) {
    let (sender, news) = channel();
    let options = options.on_lost(move |lost| {
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        // A test that has failed does not listen any more.
        let _ = sender.send((lost.clone(), thread));
    });
    (options, news)
}

type Damage = fn(&Path);

fn damages() -> [(&'static str, Damage); 5] {
    [
        ("removed", |_| {}),
        ("replaced by a record", |lock_path| {
            let thief = common::unstamped(common::dead_pid(), &common::this_host(), PATIENCE);
            fs::write(lock_path, thief.encode()).expect("the directory is ours");
        }),
        ("replaced by garbage", |lock_path| {
            fs::write(lock_path, "not a record").expect("the directory is ours");
        }),
        ("replaced by nothing yet", |lock_path| {
            File::create_new(lock_path).expect("the directory is ours");
        }),
        ("replaced by a directory", |lock_path| {
            fs::create_dir(lock_path).expect("the directory is ours");
        }),
    ]
}

fn expected_loss(lock_path: &Path) -> LossReason {
    match fs::read(lock_path) {
        Ok(bytes) => LossReason::Replaced(Record::decode(&bytes).ok()),
        Err(_) if lock_path.is_dir() => LossReason::Replaced(None),
        Err(_) => LossReason::Removed,
    }
}

// Somebody removes "that stale lock file" by hand, or a deployed client breaks it. The writer must
// learn it before it commits, once and for ever, even if the file comes back: another has written.
#[test]
fn a_lost_lock_is_told_of_once_and_stays_lost() {
    for (what, damage) in damages() {
        for keepalive in [Some(Duration::from_millis(3)), None] {
            let dir = common::scratch();
            let (data, kept) = (dir.path().join("data"), dir.path().join("kept"));
            let (options, news) = with_news(WriterLock::options().keepalive(keepalive));
            let lock = options.try_acquire(&data).expect("nobody has it");
            drop(options);
            let lock_path = lock_path_for(&data);
            fs::rename(&lock_path, &kept).expect("the directory is ours");
            damage(&lock_path);
            let found = |error: Lost| error.reason;

            if keepalive.is_none() {
                let reason = lock.check().map_err(found).expect_err("it looks");
                assert_eq!(reason, expected_loss(&lock_path), "{what}");
            }
            let (lost, thread) = news.recv_timeout(PATIENCE).expect("a loss is told");
            // The keepalive may have looked between the removal and what came next.
            let expected = [expected_loss(&lock_path), LossReason::Removed];
            assert!(expected.contains(&lost.reason), "{what}: {lost:?}");
            assert_eq!(lost.lock_path, lock_path);
            assert_eq!(thread, "rvlf-on-lost", "not on the thread that refreshes");

            // It comes back, but what happened meanwhile cannot be undone.
            match lock_path.is_dir() {
                true => fs::remove_dir(&lock_path).expect("it is empty"),
                false => drop(fs::remove_file(&lock_path)),
            }
            fs::rename(&kept, &lock_path).expect("the directory is ours");
            let before = common::read_record(&data);
            assert!(lock.is_lost(), "{what}: sticky");
            assert_eq!(
                lock.check().map_err(found),
                Err(lost.reason),
                "{what}: sticky"
            );
            let refreshed = lock.refresh();
            assert!(
                matches!(&refreshed, Err(HoldError::Lost(again)) if again.reason == lost.reason),
                "{what}: no refresh after a loss: {refreshed:?}"
            );
            let error = lock.release().expect_err("nothing is left to release");
            assert!(
                matches!(&error.error, HoldError::Lost(again) if again.reason == lost.reason),
                "{what}: {error:?}"
            );
            drop(error);
            assert_eq!(
                common::read_record(&data),
                before,
                "{what}: nothing was touched"
            );
            assert_eq!(news.iter().count(), 0, "{what}: told once");
        }
    }
}

// After a loss the path is somebody else's. A release or a drop that unlinks by name would rob
// them.
#[test]
fn releasing_or_dropping_a_lost_lock_leaves_the_successors_file_alone() {
    for release in [true, false] {
        let dir = common::scratch();
        let data = dir.path().join("data");
        let lock = WriterLock::try_acquire(&data).expect("nobody has it");
        fs::remove_file(lock.lock_path()).expect("the directory is ours");
        let mut successor = Role::puppet(&data).ready();
        let writer_id = successor.expect("try", "got");
        if release {
            let error = lock.release().expect_err("it was lost");
            let text = error.to_string();
            let says = format!(
                "pid {} on {} holds it now",
                successor.pid(),
                common::this_host()
            );
            assert!(text.contains(&says), "it names the successor: {text}");
            assert!(text.contains(&writer_id), "{text}");
        } else {
            drop(lock);
        }
        assert_eq!(successor.ask("check"), "Ok(())", "the successor holds on");
        assert_eq!(successor.ask("release"), "released");
    }
}

// One user's callback waits for its operator to press a key. Everybody else's locks in this process
// must not grow old meanwhile.
#[test]
fn a_callback_that_blocks_stops_no_other_locks_refreshes() {
    let dir = common::scratch();
    let (lost, other) = (dir.path().join("lost"), dir.path().join("other"));
    let (began, beginning) = channel();
    let (release, released) = channel::<()>();
    let released = Mutex::new(released);
    let options = every(3).on_lost(move |_| {
        // The test may have failed.
        let _ = began.send(());
        let _ = released.lock().map(|released| released.recv());
    });
    let _lost = options.try_acquire(&lost).expect("nobody has it");
    let _other = every(3).try_acquire(&other).expect("nobody has it");
    fs::remove_file(lock_path_for(&lost)).expect("the directory is ours");
    beginning.recv_timeout(PATIENCE).expect("the loss is told");
    until_refreshed(&other, 10);
    drop(release);
}

// Whoever never wants to hear of refreshes again says so with the longest time there is.
#[test]
fn the_longest_interval_is_no_overflow() {
    let dir = common::scratch();
    let options = WriterLock::options().keepalive(Some(Duration::MAX));
    let lock = options.try_acquire(dir.path().join("data"));
    lock.expect("nobody has it").release().expect("it is held");
}

// ---------------------------------------------------------------- a descriptor that is not ours

/// The number under which this process has the lock file open.
fn descriptor_of(lock_path: &Path) -> RawFd {
    let wanted = fs::metadata(lock_path).expect("it is there");
    let open = fs::read_dir("/proc/self/fd").expect("procfs is mounted");
    let mut found = open.filter_map(|entry| {
        let path = entry.ok()?.path();
        let stat = fs::metadata(&path).ok()?;
        let number = path.file_name()?.to_str()?.parse().ok()?;
        ((stat.dev(), stat.ino()) == (wanted.dev(), wanted.ino())).then_some(number)
    });
    found.next().expect("the holder has it open")
}

/// Opens `path` under this very number, which is free.
fn open_as(number: RawFd, path: &Path) -> File {
    let mut lower = Vec::new();
    loop {
        let file = File::options()
            .read(true)
            .append(false)
            .write(true)
            .open(path);
        let file = file.expect("it is ours");
        // The kernel gives the lowest number that is free.
        match file.as_raw_fd() {
            given if given == number => return file,
            given => assert!(given < number, "the number is free"),
        }
        lower.push(file);
    }
}

/// Other code in this process closes our descriptor and opens a database under its number.
fn closed_descriptor() {
    let data = directory().join("data");
    let database = directory().join("database");
    let content = vec![b'#'; 200];
    fs::write(&database, &content).expect("the directory is ours");
    let finder = common::arg_or("FINDER", "");
    let keepalive = (finder == "keepalive").then_some(Duration::from_millis(3));
    let (options, news) = with_news(WriterLock::options().keepalive(keepalive));
    let lock = options.try_acquire(&data).expect("nobody has it");
    drop(options);

    let number = descriptor_of(lock.lock_path());
    nix::unistd::close(number).expect("it is open");
    let mut planted = open_as(number, &database);
    let closed = LossReason::DescriptorClosed;
    match finder.as_str() {
        "keepalive" => {}
        "check" => drop(lock.check().expect_err("it looks at the descriptor")),
        "refresh" => drop(lock.refresh().expect_err("it looks before it writes")),
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
        let (lost, _) = news.recv_timeout(PATIENCE).expect("a loss is told");
        assert_eq!(lost.reason, closed);
        let sticky = lock.check().map_err(|lost| lost.reason);
        assert_eq!(sticky, Err(closed));
        drop(lock.release().expect_err("it was lost"));
    }
    // Without the kernel lock it may be a successor's by now, with the inode number of ours.
    assert!(lock_path.exists(), "the file at the path is left alone");
    let written = fs::read(&database).expect("it is there");
    assert_eq!(written, content, "not a byte of the other file was written");
    planted
        .write_all(b"still open")
        .expect("the other file's descriptor was not closed");
}

// A daemon that closes "all descriptors above 2" closes ours; the next file that is opened gets its
// number. A refresh that writes blindly corrupts that file (a database, in a trial of another
// implementation), and a drop closes it.
#[test]
fn a_descriptor_number_that_changed_hands_is_neither_written_nor_closed() {
    for finder in ["keepalive", "check", "refresh", "drop", "release"] {
        run(Role::new("closed descriptor").with("FINDER", finder));
    }
}

// ---------------------------------------------------------------- fork

/// Forks while it holds and refreshes.
fn forks() {
    let (parents, childs) = (directory().join("parents"), directory().join("childs"));
    let lock = every(1).try_acquire(&parents).expect("nobody has it");
    until_refreshed(&parents, 3);
    let mut lock = Some(lock);
    // Many times: each fork finds the keepalive's thread somewhere else in its work.
    for _ in 0..30 {
        let child = common::fork(|| {
            let copy = lock.take().expect("the child has a copy");
            let forked = copy
                .check()
                .is_err_and(|lost| lost.reason == LossReason::Forked);
            let refused = copy.refresh().is_err();
            drop(copy);
            let own = every(1).try_acquire(&childs).expect("nobody has this one");
            until_refreshed(&childs, 3);
            assert_eq!(refreshing_threads(), 1, "the child has a thread of its own");
            own.check().expect("it is held");
            own.release().expect("it is held");
            forked && refused
        });
        common::join(
            child,
            "the child's copy is lost, and its own lock is refreshed",
        );
    }
    let lock = lock.take().expect("the parent has its own");
    until_refreshed(&parents, 3);
    lock.release().expect("the parent holds it still");
}

// A forked child has no keepalive thread, but a copy of its schedule, which that thread may have
// locked at the moment of the fork. Whoever waits for it there waits for ever.
#[test]
fn after_fork_the_childs_own_locks_are_refreshed_and_the_parents_go_on() {
    run(Role::new("forks"));
}

/// What hangs in a forked child ends by SIGALRM.
fn or_alarm(body: impl FnOnce() -> bool) -> bool {
    nix::unistd::alarm::set(10);
    body()
}

fn forks_while_it_refreshes() {
    let lock = WriterLock::try_acquire(directory().join("data")).expect("nobody has it");
    let ended = AtomicBool::new(false);
    let mut stuck = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                lock.refresh().expect("it is held");
            }
        });
        for _ in 0..300 {
            let child = common::fork(|| {
                or_alarm(|| {
                    let named = lock.writer_id() == lock.record().writer_id();
                    named && lock.try_clone_descriptor().is_err()
                })
            });
            let status = nix::sys::wait::waitpid(child, None).expect("the child is ours");
            if status != nix::sys::wait::WaitStatus::Exited(child, 0) {
                stuck += 1;
                break;
            }
        }
        ended.store(true, Ordering::Relaxed);
    });
    assert_eq!(stuck, 0, "the child's copy answers, and is lost");
    lock.release().expect("the parent holds it");
}

// A server forks while another of its threads refreshes: in the child that thread does not exist,
// and what it had locked stays locked. Asked for its record, or for a descriptor to pass on, the
// child's copy waited for ever.
#[test]
fn a_copy_forked_in_the_middle_of_a_refresh_waits_for_nobody() {
    run(Role::new("forks while it refreshes"));
}

// ---------------------------------------------------------------- many

const INTERVAL: Duration = Duration::from_secs(2);

fn ten_thousand() {
    // Each has its directory and its lock file open; 200 are for everything else.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("it can be asked");
    let most = hard.min(20_200);
    setrlimit(Resource::RLIMIT_NOFILE, most, hard).expect("up to the hard limit");
    let many = most.saturating_sub(200) / 2;
    if many < 1000 {
        return common::say(format_args!("skip: {hard} open files are too few"));
    }
    let options = WriterLock::options().keepalive(Some(INTERVAL));
    let options = options.durability(Durability::None);
    let locks: Vec<_> = (0..many)
        .map(|n| options.try_acquire(directory().join(n.to_string())))
        .map(|lock| lock.expect("nobody has it"))
        .collect();
    let (start, writes_before, cpu_before) = (Instant::now(), own_writes(), own_cpu());
    let begun: Vec<_> = locks
        .iter()
        .map(|lock| lock.record().timestamp_ns())
        .collect();
    common::until("every lock is refreshed", || {
        let now = locks.iter().map(|lock| lock.record().timestamp_ns());
        std::thread::sleep(Duration::from_millis(50));
        now.zip(&begun).all(|(now, begun)| now != *begun)
    });
    let (writes, cpu) = (own_writes() - writes_before, own_cpu() - cpu_before);
    let took = start.elapsed();
    assert_eq!(refreshing_threads(), 1, "one thread for {many} locks");
    // One refresh an interval each, and one for the interval that has begun.
    let expected = many as f64 * (took.as_secs_f64() / INTERVAL.as_secs_f64() + 1.0);
    assert!(
        (writes as f64) < expected,
        "{writes} writes in {took:?}: more than one for each lock and interval"
    );
    common::say(format_args!(
        "{many} locks: {writes} writes in {took:.1?} at an interval of {INTERVAL:?}, {cpu:.2?} of CPU"
    ));
    drop(locks);
    assert!(
        common::names_in(&directory()).is_empty(),
        "every lock is released"
    );
}

/// How many times this process has called write(2) and its like.
fn own_writes() -> u64 {
    let io = fs::read_to_string("/proc/self/io").expect("procfs is mounted");
    let count = io.lines().find_map(|line| line.strip_prefix("syscw: "));
    let count = count.expect("Linux accounts I/O");
    count.parse().expect("it is a number")
}

fn own_cpu() -> Duration {
    let clock = nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID;
    let time = nix::time::clock_gettime(clock).expect("Linux has this clock");
    time.into()
}

// A server with a file for every tenant: ten thousand locks must not be ten thousand threads, nor a
// burst of ten thousand writes.
#[test]
fn ten_thousand_locks_take_one_thread_and_one_write_an_interval_each() {
    let dir = common::scratch();
    let mut role = Role::new("ten thousand").with("DIR", dir.path()).start();
    let news = role.hear();
    match news.strip_prefix("skip: ") {
        Some(reason) => common::skip(reason),
        None => println!("{news}"),
    }
    role.finish();
}
