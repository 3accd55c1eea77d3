//! Waiting: every end of a hold wakes the waiter, it sleeps until then, and it waits only for holders.
#![cfg(all(target_os = "linux", not(rvlf_portable), not(rvlf_unsupported)))]

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant, SystemTime};

use rvlf::judge::Reason;
use rvlf::{
    AcquireError, Durability, LockOptions, LockState, StalePolicy, WriterLock, lock_path_for,
};
use support::{ChildProcess, Container, PATIENCE, Rng, Role, RoleEntry};

pub const ROLES: &[RoleEntry] = &[
    ("timed holder", timed_holder),
    ("waiters", waiters),
    ("keeps the lock by a child", keeps_the_lock_by_a_child),
    ("frequent holder", frequent_holder),
];

/// The fallback timer of a waiter fires after 5 s, plus or minus a quarter. A wait that ends later than
/// this after the hold was ended by the timer and not by an event.
const FALLBACK: Duration = Duration::from_millis(3500);

/// More context switches than a waiter needs for a few examinations, far fewer than a busy loop or
/// needless events cause in a second.
const FEW_SWITCHES: u64 = 100;

/// Acquires in a thread of its own. Returns the outcome, its time, and how many times the thread went to
/// sleep.
fn wait_in_thread(
    options: LockOptions,
    data: &Path,
    timeout: Duration,
) -> std::thread::JoinHandle<(Result<WriterLock, AcquireError>, Instant, u64)> {
    let data = data.to_owned();
    std::thread::spawn(move || {
        let before = support::voluntary_switches();
        let outcome = options.acquire(&data, timeout);
        let at = Instant::now();
        (outcome, at, support::voluntary_switches() - before)
    })
}

// ---------------------------------------------------------------- the ends of a hold

type End = fn(&mut ChildProcess, &Path);

fn ends() -> [(&'static str, End); 4] {
    [
        ("released", |holder, _| {
            assert_eq!(holder.request("release"), "released");
        }),
        ("killed", |holder, _| holder.kill_only()),
        ("removed by hand", |_, data| {
            fs::remove_file(lock_path_for(data)).expect("the directory is writable");
        }),
        ("broken by force", |_, data| {
            let writer_id = support::read_record(data).writer_id();
            support::force_break(data, writer_id).expect("the writer id is the lock's");
        }),
    ]
}

// A waiter that misses one kind of event hangs: every way in which a hold can end must wake the waiter,
// at any moment while it falls asleep.
#[test]
fn every_end_of_a_hold_wakes_the_waiter() {
    let mut rng = Rng::new();
    for (end, make_it_end) in ends() {
        let mut late = 0;
        for _ in 0..25 {
            let dir = support::scratch();
            let data = dir.path().join("data");
            let mut holder = Role::worker(&data).ready();
            holder.expect("try", "got");
            let waiter = wait_in_thread(WriterLock::options(), &data, PATIENCE);
            std::thread::sleep(rng.micros(3000));
            let ended = Instant::now();
            make_it_end(&mut holder, &data);
            let (outcome, at, _) = waiter.join().expect("the thread does not panic");
            outcome
                .expect("the lock is free")
                .release()
                .expect("the lock is held");
            late += usize::from(at.duration_since(ended) > FALLBACK);
        }
        assert_eq!(late, 0, "{end}: waits that the fallback timer ended");
    }
}

// A releases, B acquires before the waiter examines the lock, and ext4 gives B's lock file the inode
// number of A's. A waiter that compares the number alone keeps its watch on A's file, which is removed,
// and misses B's release.
#[test]
fn a_waiter_follows_the_lock_to_its_next_holder_under_the_same_inode_number() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let inode = || {
        fs::metadata(lock_path_for(&data))
            .expect("the lock is held")
            .ino()
    };
    for _ in 0..100 {
        let first = WriterLock::try_acquire(&data).expect("the lock is free");
        let waiter = wait_in_thread(WriterLock::options(), &data, PATIENCE);
        std::thread::sleep(Duration::from_millis(50));
        let number = inode();
        first.release().expect("the lock is held");
        let second = WriterLock::try_acquire(&data);
        let reused = second.is_ok() && inode() == number;
        if reused {
            // The examinations that follow an event have ended by then.
            std::thread::sleep(Duration::from_millis(500));
        }
        let ended = Instant::now();
        drop(second);
        let (outcome, at, _) = waiter.join().expect("the thread does not panic");
        outcome
            .expect("the lock is free")
            .release()
            .expect("the lock is held");
        if reused {
            let slept = at.duration_since(ended);
            assert!(
                slept < FALLBACK / 2,
                "the release of the second hold wakes the waiter: {slept:?}"
            );
            return;
        }
    }
    support::skip("the file system reused no inode number");
}

#[test]
fn a_waiter_in_another_container_is_woken_too() {
    if let Some(reason) = support::no_containers() {
        return support::skip(&reason);
    }
    let dir = support::scratch();
    let data = dir.path().join("data");
    let role = Role::in_container("worker", Some("rvlf-elsewhere"));
    let mut waiter = Container::ready(role.with("DATA", &data));
    for kill in [false, true] {
        let mut holder = Role::worker(&data).ready();
        holder.expect("try", "got");
        waiter.process.send("acquire");
        // The waiter sleeps, or is about to: both must work.
        std::thread::sleep(Duration::from_millis(50));
        let ended = Instant::now();
        match kill {
            true => holder.kill_only(),
            false => assert_eq!(holder.request("release"), "released"),
        }
        let got = waiter.process.receive();
        assert!(got.starts_with("got"), "{got}");
        assert_eq!(
            got.contains("from"),
            kill,
            "the waiter reports whether its predecessor died: {got}"
        );
        assert!(
            ended.elapsed() < FALLBACK,
            "an event ended the wait: inotify reaches other namespaces, a pidfd does not"
        );
        assert_eq!(waiter.process.request("release"), "released");
    }
}

// `kill -9`, five hundred times, with a waiter. The kernel reports the closed file before it releases the
// file's lock, and procfs shows the dead process alive for a while after that: a waiter that examines the
// lock once for each event misses the end.
#[test]
fn five_hundred_killed_holders_are_five_hundred_recoveries() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let mut rng = Rng::new();
    let mut latencies = Vec::new();
    for round in 0..500 {
        let mut holder = Role::worker(&data).ready();
        let writer_id = holder.expect("try", "got");
        let limit = Duration::from_secs(30);
        let waiter = wait_in_thread(WriterLock::options(), &data, limit);
        std::thread::sleep(rng.micros(3000));
        let killed = Instant::now();
        holder.kill_only();
        let (outcome, at, _) = waiter.join().expect("the thread does not panic");
        let lock = outcome.unwrap_or_else(|error| panic!("round {round}: {error}"));
        let dead = lock
            .reclaimed()
            .and_then(|reclaimed| reclaimed.record)
            .expect("the dead holder never released it");
        assert_eq!(dead.writer_id().to_string(), writer_id, "round {round}");
        lock.release().expect("the lock is held");
        latencies.push(at.duration_since(killed));
    }
    let longest = latencies.iter().max().copied().unwrap_or_default();
    assert!(
        longest < Duration::from_secs(30),
        "that is what deployed clients take"
    );
    println!(
        "from SIGKILL to the next holder: {}",
        support::summary(&mut latencies)
    );
}

/// Acquires on command and reports how long that took; releases after the time that the command gives.
fn timed_holder() {
    let data = PathBuf::from(support::arg("DATA"));
    let mut held = None;
    support::report("ready");
    loop {
        let command = support::next_command();
        match command.strip_prefix("release ") {
            Some(micros) => {
                let micros: u64 = micros.parse().expect("a number");
                let until = support::monotonic_ns() + micros * 1000;
                while support::monotonic_ns() < until {
                    std::hint::spin_loop();
                }
                let lock: WriterLock = held.take().expect("the lock was acquired");
                lock.release().expect("the lock is held");
            }
            None => {
                let start = Instant::now();
                let lock = WriterLock::acquire(&data, PATIENCE)
                    .expect("the other process releases the lock");
                support::report(start.elapsed().as_nanos());
                held = Some(lock);
            }
        }
    }
}

// The lost wake-up: the waiter finds the lock held, the holder releases, the waiter starts its watch, and
// no event ever comes. Two thousand hand-overs, with the release at every offset while the waiter falls
// asleep.
#[test]
fn two_thousand_hand_overs_lose_no_wake_up() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let mut rng = Rng::new();
    let mut waits = Vec::new();
    let mut holder = Role::new("timed holder").with("DATA", &data).ready();
    let mut waiter = Role::new("timed holder").with("DATA", &data).ready();
    holder.request("acquire");
    for _ in 0..2000 {
        waiter.send("acquire");
        holder.send(&format!("release {}", rng.below(500)));
        let wait = waiter.receive().parse().expect("nanoseconds");
        waits.push(Duration::from_nanos(wait));
        std::mem::swap(&mut holder, &mut waiter);
    }
    let late = waits.iter().filter(|wait| **wait > FALLBACK).count();
    println!("hand-over, hold included: {}", support::summary(&mut waits));
    assert_eq!(late, 0, "waits that the fallback timer ended");
}

/// Acquires and releases many times; reports the longest wait.
fn frequent_holder() {
    let data = PathBuf::from(support::arg("DATA"));
    support::report("ready");
    support::next_command();
    let mut longest = Duration::ZERO;
    let options = WriterLock::options().durability(Durability::None);
    for _ in 0..support::number("COUNT") {
        let start = Instant::now();
        let lock = options
            .acquire(&data, PATIENCE)
            .expect("the other contenders release the lock");
        longest = longest.max(start.elapsed());
        std::thread::sleep(Duration::from_micros(50));
        lock.release().expect("the lock is held");
    }
    support::report(longest.as_nanos());
}

// Six writers that never pause. A waiter may find another holder at each examination, and must neither
// examine the lock ever more rarely nor watch a removed file.
#[test]
fn contenders_of_a_busy_lock_are_woken_by_events() {
    const CONTENDERS: u64 = 6;
    const COUNT: u64 = 500;
    let dir = support::scratch();
    let data = dir.path().join("data");
    let start = || {
        Role::new("frequent holder")
            .with("DATA", &data)
            .with_number("COUNT", COUNT)
            .ready()
    };
    let mut contenders: Vec<_> = (0..CONTENDERS).map(|_| start()).collect();
    contenders
        .iter_mut()
        .for_each(|contender| contender.send("begin"));
    let longest = contenders
        .iter_mut()
        .map(|contender| contender.receive().parse());
    let mut longest: Vec<_> = longest
        .map(|nanos| Duration::from_nanos(nanos.expect("nanoseconds")))
        .collect();
    let late = longest.iter().filter(|wait| **wait > FALLBACK).count();
    println!(
        "longest wait of each contender: {}",
        support::summary(&mut longest)
    );
    assert_eq!(late, 0, "contenders whose wait the fallback timer ended");
}

// File systems give the number of a removed inode to the next file at once. The end of a hold wakes a
// waiter, which finds another holder's file with the inode number that it already watches, and would
// keep a watch that can never report again.
#[test]
fn a_next_holders_file_with_the_same_inode_number_gets_a_new_watch() {
    let mut reused = 0;
    for _ in 0..60 {
        let dir = support::scratch();
        let data = dir.path().join("data");
        let lock_path = lock_path_for(&data);
        // The record of a live process without flock: held, and easily replaced.
        let holder = || {
            let record = support::unstamped(
                support::this_process(),
                &support::this_host(),
                Duration::ZERO,
            );
            fs::write(&lock_path, record.encode()).expect("the directory is writable");
            fs::metadata(&lock_path).expect("the file exists").ino()
        };
        let first = holder();
        let waiter = wait_in_thread(WriterLock::options(), &data, PATIENCE);
        std::thread::sleep(Duration::from_millis(10));
        fs::remove_file(&lock_path).expect("the directory is writable");
        let second = holder();
        std::thread::sleep(Duration::from_millis(200));
        let ended = Instant::now();
        // The file does not exist if the waiter was fast enough to acquire.
        let removed = fs::remove_file(&lock_path);
        let (outcome, at, _) = waiter.join().expect("the thread does not panic");
        let lock = outcome.expect("the lock is free");
        if removed.is_ok() && first == second && lock.check().is_ok() {
            reused += 1;
            let late = at.saturating_duration_since(ended) > FALLBACK;
            assert!(!late, "the fallback timer ended the wait");
        }
    }
    println!("{reused} of 60 files had their predecessor's inode number");
}

// Age alone ends some holds. The waiter knows when, and must wake then and not at its fallback timer.
#[test]
fn a_waiter_wakes_when_age_makes_the_lock_stale() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let almost = StalePolicy::SAME_HOST_AGE - Duration::from_millis(300);
    let record = support::unstamped(support::dead_pid(), &support::this_host(), almost);
    fs::write(lock_path_for(&data), record.encode()).expect("the directory is writable");
    let error = WriterLock::try_acquire(&data).expect_err("300 ms are missing");
    assert!(error.is_held(), "{error}");
    let start = Instant::now();
    let lock = WriterLock::acquire(&data, PATIENCE).expect("the lock becomes stale");
    assert_eq!(
        lock.reclaimed().and_then(|reclaimed| reclaimed.record),
        Some(record)
    );
    assert!(
        start.elapsed() < FALLBACK,
        "the waiter slept until the age and not longer"
    );
}

// ---------------------------------------------------------------- asleep

/// Holds the lock, and its forked child keeps the lock file open when it is killed.
fn keeps_the_lock_by_a_child() {
    let data = PathBuf::from(support::arg("DATA"));
    let lock = WriterLock::try_acquire(&data).expect("the lock is free");
    support::fork(|| {
        support::next_command();
        true
    });
    support::report("ready");
    loop {
        std::thread::park();
        lock.check().expect("the lock is held");
    }
}

// The holder dies, and its child keeps the kernel lock. A pidfd that has fired stays readable: polled
// again, it caused 267,083 wake-ups in 1.7 s in a trial.
#[test]
fn a_dead_holder_whose_child_keeps_the_lock_makes_no_busy_loop() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let mut holder = Role::new("keeps the lock by a child")
        .with("DATA", &data)
        .ready();
    let waiter = wait_in_thread(WriterLock::options(), &data, Duration::from_secs(2));
    std::thread::sleep(Duration::from_millis(100));
    holder.kill();
    let (outcome, _, switches) = waiter.join().expect("the thread does not panic");
    let error = outcome.expect_err("the child keeps the lock");
    let holder = error.holder().expect("the lock is held");
    assert!(matches!(error, AcquireError::Timeout { .. }), "{error:?}");
    assert_eq!(
        holder.verdict().reason(),
        Reason::KernelLockOutlivesProcess,
        "{error}"
    );
    println!("a dead holder's child keeps the lock: {switches} context switches in 2 s");
    assert!(
        switches < FEW_SWITCHES,
        "{switches} context switches in 2 s"
    );
}

// A holder refreshes its record for hours. Each write is an event on the file; if it woke the waiters,
// each of them would examine the lock for nothing.
#[test]
fn refreshes_do_not_wake_waiters() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let options = WriterLock::options().keepalive(Some(Duration::from_millis(2)));
    let lock = options.try_acquire(&data).expect("the lock is free");
    let acquired = lock.record();
    let waiter = wait_in_thread(WriterLock::options(), &data, Duration::from_secs(2));
    let (outcome, _, switches) = waiter.join().expect("the thread does not panic");
    let error = outcome.expect_err("the lock is held all the time");
    assert!(
        error.holder().is_some_and(rvlf::Holder::is_this_process),
        "{error}"
    );
    assert_ne!(
        lock.record(),
        acquired,
        "the record was refreshed meanwhile"
    );
    println!("beside refreshes every 2 ms: {switches} context switches in 2 s");
    assert!(
        switches < FEW_SWITCHES,
        "{switches} context switches in 2 s"
    );
}

#[test]
fn an_idle_waiter_sleeps() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let mut holder = Role::worker(&data).ready();
    holder.expect("try", "got");
    let waiter = wait_in_thread(WriterLock::options(), &data, Duration::from_secs(10));
    let (outcome, _, switches) = waiter.join().expect("the thread does not panic");
    let error = outcome.expect_err("the lock is held all the time");
    println!("an idle waiter: {switches} context switches in 10 s");
    assert!(
        switches < FEW_SWITCHES,
        "{switches} context switches in 10 s"
    );
    let text = error.to_string();
    let expected = format!("timed out after 10 s: held by pid {} on", holder.pid());
    assert!(
        text.contains(&expected),
        "the error names the holder: {text}"
    );
}

const PROCESSES: usize = 8;
const THREADS: usize = 8;

/// Eight threads that wait for one lock; each gets it once.
fn waiters() {
    let data = PathBuf::from(support::arg("DATA"));
    let inside = data.with_extension("inside");
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (data, inside) = (data.clone(), inside.clone());
            let thread = std::thread::Builder::new().name("waiter".into());
            thread
                .spawn(move || {
                    let lock =
                        WriterLock::acquire(&data, PATIENCE).expect("every waiter gets the lock");
                    let file = File::create_new(&inside);
                    file.expect("no other thread holds the lock");
                    fs::remove_file(&inside).expect("the file belongs to this user");
                    lock.release().expect("the lock is held");
                })
                .expect("the system has room for a thread")
        })
        .collect();
    support::report("ready");
    support::next_command();
    support::report(switches_of_waiters());
    for thread in threads {
        thread.join().expect("each waiter gets the lock");
    }
    support::report("all done");
}

/// The most context switches of any waiter of this process.
fn switches_of_waiters() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").expect("procfs is mounted");
    let switches = tasks.filter_map(|task| {
        let status = fs::read_to_string(task.ok()?.path().join("status")).ok()?;
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name));
        (field("Name:")?.trim() == "waiter").then_some(())?;
        field("voluntary_ctxt_switches:")?.trim().parse().ok()
    });
    switches.max().expect("the waiters have threads")
}

// Sixty-four jobs queue for one file. If an examination of the lock caused an event, each one would wake
// sixty-three others, without end; and a waiter that gets no event starves.
#[test]
fn sixty_four_waiters_sleep_together_and_all_get_the_lock() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let lock = WriterLock::try_acquire(&data).expect("the lock is free");
    let start = || Role::new("waiters").with("DATA", &data).ready();
    let mut processes: Vec<_> = (0..PROCESSES).map(|_| start()).collect();
    // Time in which waiters that woke one another would do so.
    std::thread::sleep(Duration::from_secs(2));
    let switches = processes.iter_mut().map(|waiters| waiters.request("count"));
    let most = switches.filter_map(|count| count.parse::<u64>().ok()).max();
    let most = most.expect("each process answers");
    let released = Instant::now();
    lock.release().expect("the lock is held");
    for waiters in &mut processes {
        assert_eq!(waiters.receive(), "all done");
    }
    println!(
        "{} waiters: at most {most} context switches each while it was held; all done after {:.1?}",
        PROCESSES * THREADS,
        released.elapsed()
    );
    processes.into_iter().for_each(ChildProcess::finish);
    assert!(most < FEW_SWITCHES, "{most} context switches in 2 s");
    assert!(
        support::names_in(dir.path()).is_empty(),
        "the last waiter has released the lock"
    );
}

// ---------------------------------------------------------------- not waited for

// A user's text file at the lock path will still be there tomorrow. A timeout of an hour must not delay
// that error.
#[test]
fn only_holders_are_waited_for() {
    let dir = support::scratch();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("foreign.lock"), "notes").expect("the directory is writable");
    fs::create_dir(at("directory.lock")).expect("the directory is writable");
    let mut newer =
        support::unstamped(support::dead_pid(), &support::this_host(), PATIENCE).encode();
    if let Some(version) = newer.get_mut(0x60) {
        *version = 9;
    }
    fs::write(at("newer.lock"), newer).expect("the directory is writable");
    for name in ["foreign", "directory", "newer", "missing/data"] {
        let (sender, outcome) = channel();
        let path = at(name);
        std::thread::spawn(move || {
            let hour = Duration::from_secs(3600);
            // A failed test has dropped the receiver.
            let _ = sender.send(WriterLock::acquire(path, hour));
        });
        let outcome = outcome.recv_timeout(PATIENCE);
        let error = outcome
            .expect("the call does not wait")
            .expect_err("the lock cannot be acquired");
        assert!(!error.is_held(), "{name}: {error}");
    }
}

#[test]
fn waiting_until_free_creates_and_acquires_nothing() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let state =
        support::wait_until_free(&data, Duration::ZERO).expect("the lock file can be inspected");
    assert_eq!(state, LockState::Free);
    assert!(
        support::names_in(dir.path()).is_empty(),
        "a wait creates no file"
    );
    let mut holder = Role::worker(&data).ready();
    holder.expect("try", "got");
    let state = support::wait_until_free(&data, Duration::from_millis(50)).expect("see above");
    assert!(matches!(state, LockState::Held(_)), "{state:?}");
    let waited = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| support::wait_until_free(&data, PATIENCE));
        std::thread::sleep(Duration::from_millis(20));
        holder.kill();
        let ended = Instant::now();
        let state = waiter.join().expect("the thread does not panic");
        assert!(ended.elapsed() < FALLBACK, "an event ended the wait");
        state.expect("the lock file can be inspected")
    });
    let LockState::Stale(dead) = waited else {
        panic!("a lock that is left behind ends the wait: {waited:?}");
    };
    assert_eq!(
        dead.record().map(|record| record.pid().get()),
        Some(holder.pid())
    );
    assert_eq!(
        support::names_in(dir.path()),
        ["data.lock"],
        "the wait leaves the lock to the next holder"
    );
}

// An attempt to acquire breaks a torn file that does not change for two seconds, even if a clock that
// was set back makes it appear young. A wait must not depend on that clock either.
#[test]
fn a_torn_file_from_the_future_is_timed_by_the_clock_of_the_waiter() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    fs::write(lock_path_for(&data), "").expect("the directory is writable");
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    support::set_mtime(&lock_path_for(&data), tomorrow);
    let state = support::wait_until_free(&data, PATIENCE).expect("the lock file can be inspected");
    let LockState::Malformed(torn) = state else {
        panic!("the file is empty: {state:?}");
    };
    assert!(
        torn.verdict().is_stale(),
        "the lock can be acquired: {torn}"
    );
}

// Threads of one process share its identity, its keepalive and what it remembers of its holds: one of them
// may take what another has for its own.
#[test]
fn threads_of_one_process_exclude_each_other() {
    let dir = tempfile::tempdir().expect("there is a directory for temporary files");
    let data = dir.path().join("data");
    let holders = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for millis in 1..=8 {
            let (data, holders) = (&data, &holders);
            scope.spawn(move || {
                let options = WriterLock::options().durability(Durability::None);
                let options = options.keepalive(Some(Duration::from_millis(millis)));
                for _ in 0..30 {
                    let lock = options
                        .acquire(data, Duration::MAX)
                        .expect("it is released");
                    assert_eq!(holders.fetch_add(1, Ordering::Relaxed), 0, "two holders");
                    lock.check().expect("the lock is held");
                    holders.fetch_sub(1, Ordering::Relaxed);
                    lock.release().expect("the lock is held");
                }
            });
        }
    });
}
