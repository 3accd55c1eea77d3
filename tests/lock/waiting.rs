//! Waiting: woken by whatever ends a hold, asleep until then, and never for what cannot end.
#![cfg(all(target_os = "linux", not(rvlf_portable), not(rvlf_unsupported)))]

use support as common;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant, SystemTime};

use common::{Actor, Chance, Contained, PATIENCE, Role};
use rvlf::judge::Reason;
use rvlf::{
    AcquireError, Durability, LockOptions, LockState, StalePolicy, WriterLock, lock_path_for,
};

pub const ROLES: &[(&str, fn())] = &[
    ("player", player),
    ("waiters", waiters),
    ("keeps by a child", keeps_by_a_child),
    ("commuter", commuter),
];

/// Waiters look by themselves every 5 s, give or take a quarter: a wait that ends later than this
/// after the hold was not woken but has looked.
const BY_ITSELF: Duration = Duration::from_millis(3500);

/// More than a waiter needs for a handful of looks, far less than one that spins or is woken for
/// nothing makes in a second.
const FEW_SWITCHES: u64 = 100;

/// Acquires in a thread of its own; says how long it took, and how often the thread went to sleep.
fn wait_in_thread(
    options: LockOptions,
    data: &Path,
    timeout: Duration,
) -> std::thread::JoinHandle<(Result<WriterLock, AcquireError>, Instant, u64)> {
    let data = data.to_owned();
    std::thread::spawn(move || {
        let before = common::voluntary_switches();
        let outcome = options.acquire(&data, timeout);
        let at = Instant::now();
        (outcome, at, common::voluntary_switches() - before)
    })
}

// ---------------------------------------------------------------- the ends of a hold

type End = fn(&mut Actor, &Path);

fn ends() -> [(&'static str, End); 4] {
    [
        ("released", |holder, _| {
            assert_eq!(holder.ask("release"), "released");
        }),
        ("killed", |holder, _| holder.signal_kill()),
        ("removed by hand", |_, data| {
            fs::remove_file(lock_path_for(data)).expect("the directory is ours");
        }),
        ("broken by force", |_, data| {
            let writer_id = common::read_record(data).writer_id();
            common::force_break(data, writer_id).expect("it is the named one");
        }),
    ]
}

// Event-driven waiting is only as good as the event that nobody thought of: each way in which a
// hold can end must reach the waiter, at whatever moment of its going to sleep.
#[test]
fn every_end_of_a_hold_wakes_the_waiter() {
    let mut chance = Chance::new();
    for (end, make_it_end) in ends() {
        let mut looked = 0;
        for _ in 0..25 {
            let dir = common::scratch();
            let data = dir.path().join("data");
            let mut holder = Role::puppet(&data).ready();
            holder.expect("try", "got");
            let waiter = wait_in_thread(WriterLock::options(), &data, PATIENCE);
            std::thread::sleep(chance.micros(3000));
            let ended = Instant::now();
            make_it_end(&mut holder, &data);
            let (outcome, at, _) = waiter.join().expect("it does not panic");
            outcome.expect("it is free").release().expect("it is held");
            looked += usize::from(at.duration_since(ended) > BY_ITSELF);
        }
        assert_eq!(
            looked, 0,
            "{end}: waits ended only because the waiter looked by itself"
        );
    }
}

// A releases, B acquires before the waiter has looked, and ext4 gives B's lock file the inode number
// of A's. A waiter that goes by the number alone goes on watching A's file, which is gone, and sleeps
// through B's release.
#[test]
fn a_waiter_follows_the_lock_to_its_next_holder_under_the_same_inode_number() {
    use std::os::unix::fs::MetadataExt;
    let dir = common::scratch();
    let data = dir.path().join("data");
    let inode = || {
        fs::metadata(lock_path_for(&data))
            .expect("it is held")
            .ino()
    };
    for _ in 0..100 {
        let first = WriterLock::try_acquire(&data).expect("it is free");
        let waiter = wait_in_thread(WriterLock::options(), &data, PATIENCE);
        std::thread::sleep(Duration::from_millis(50));
        let number = inode();
        first.release().expect("it is held");
        let second = WriterLock::try_acquire(&data);
        let reused = second.is_ok() && inode() == number;
        if reused {
            // The looks that follow an event are over by then.
            std::thread::sleep(Duration::from_millis(500));
        }
        let ended = Instant::now();
        drop(second);
        let (outcome, at, _) = waiter.join().expect("it does not panic");
        outcome.expect("it is free").release().expect("it is held");
        if reused {
            let slept = at.duration_since(ended);
            assert!(
                slept < BY_ITSELF / 2,
                "the release of the second hold wakes it: {slept:?}"
            );
            return;
        }
    }
    common::skip("the file system did not give out an inode number again");
}

#[test]
fn a_waiter_in_another_container_is_woken_too() {
    if let Some(reason) = common::no_containers() {
        return common::skip(&reason);
    }
    let dir = common::scratch();
    let data = dir.path().join("data");
    let role = Role::in_container("puppet", Some("rvlf-elsewhere"));
    let mut waiter = Contained::ready(role.with("DATA", &data));
    for kill in [false, true] {
        let mut holder = Role::puppet(&data).ready();
        holder.expect("try", "got");
        waiter.actor.tell("acquire");
        // It sleeps, or is about to: both must work.
        std::thread::sleep(Duration::from_millis(50));
        let ended = Instant::now();
        match kill {
            true => holder.signal_kill(),
            false => assert_eq!(holder.ask("release"), "released"),
        }
        let got = waiter.actor.hear();
        assert!(got.starts_with("got"), "{got}");
        assert_eq!(
            got.contains("from"),
            kill,
            "it knows whether its predecessor died: {got}"
        );
        assert!(
            ended.elapsed() < BY_ITSELF,
            "no pidfd reaches another namespace; inotify does"
        );
        assert_eq!(waiter.actor.ask("release"), "released");
    }
}

// `kill -9`, five hundred times, with somebody waiting. The kernel tells of the closed file before
// it lets go of its lock, and procfs shows the dead alive for a while after: a waiter that looks
// once per event sleeps through the rest.
#[test]
fn five_hundred_killed_holders_are_five_hundred_recoveries() {
    let dir = common::scratch();
    let data = dir.path().join("data");
    let mut chance = Chance::new();
    let mut latencies = Vec::new();
    for round in 0..500 {
        let mut holder = Role::puppet(&data).ready();
        let writer_id = holder.expect("try", "got");
        let limit = Duration::from_secs(30);
        let waiter = wait_in_thread(WriterLock::options(), &data, limit);
        std::thread::sleep(chance.micros(3000));
        let killed = Instant::now();
        holder.signal_kill();
        let (outcome, at, _) = waiter.join().expect("it does not panic");
        let lock = outcome.unwrap_or_else(|error| panic!("round {round}: {error}"));
        let dead = lock
            .reclaimed()
            .and_then(|reclaimed| reclaimed.record)
            .expect("it was never released");
        assert_eq!(dead.writer_id().to_string(), writer_id, "round {round}");
        lock.release().expect("it is held");
        latencies.push(at.duration_since(killed));
    }
    let longest = latencies.iter().max().copied().unwrap_or_default();
    assert!(
        longest < Duration::from_secs(30),
        "that is what deployed clients take"
    );
    println!(
        "from SIGKILL to the next holder: {}",
        common::summary(&mut latencies)
    );
}

/// Acquires when told to, and says how long it took; holds for as long as it is told.
fn player() {
    let data = PathBuf::from(common::arg("DATA"));
    let mut held = None;
    common::say("ready");
    loop {
        let cue = common::next_cue();
        match cue.strip_prefix("release ") {
            Some(micros) => {
                let micros: u64 = micros.parse().expect("a number");
                let until = common::monotonic_ns() + micros * 1000;
                while common::monotonic_ns() < until {
                    std::hint::spin_loop();
                }
                let lock: WriterLock = held.take().expect("it acquired");
                lock.release().expect("it is held");
            }
            None => {
                let start = Instant::now();
                let lock = WriterLock::acquire(&data, PATIENCE).expect("the other releases it");
                common::say(start.elapsed().as_nanos());
                held = Some(lock);
            }
        }
    }
}

// The lost wake-up: the waiter sees the lock held, the holder releases, the waiter begins to
// listen, and nothing ever happens again. Two thousand hand-overs, the release at every offset of
// the waiter's going to sleep.
#[test]
fn two_thousand_hand_overs_lose_no_wake_up() {
    let dir = common::scratch();
    let data = dir.path().join("data");
    let mut chance = Chance::new();
    let mut waits = Vec::new();
    let mut holder = Role::new("player").with("DATA", &data).ready();
    let mut waiter = Role::new("player").with("DATA", &data).ready();
    holder.ask("acquire");
    for _ in 0..2000 {
        waiter.tell("acquire");
        holder.tell(&format!("release {}", chance.below(500)));
        let wait = waiter.hear().parse().expect("nanoseconds");
        waits.push(Duration::from_nanos(wait));
        std::mem::swap(&mut holder, &mut waiter);
    }
    let by_itself = waits.iter().filter(|wait| **wait > BY_ITSELF).count();
    println!("hand-over, hold included: {}", common::summary(&mut waits));
    assert_eq!(
        by_itself, 0,
        "waits that ended only because the waiter looked by itself"
    );
}

/// Acquires and releases many times; says how long it waited at most.
fn commuter() {
    let data = PathBuf::from(common::arg("DATA"));
    common::say("ready");
    common::next_cue();
    let mut longest = Duration::ZERO;
    let options = WriterLock::options().durability(Durability::None);
    for _ in 0..common::number("COUNT") {
        let start = Instant::now();
        let lock = options
            .acquire(&data, PATIENCE)
            .expect("the others release it");
        longest = longest.max(start.elapsed());
        std::thread::sleep(Duration::from_micros(50));
        lock.release().expect("it is held");
    }
    common::say(longest.as_nanos());
}

// Six writers that never rest. Whoever looks may find the lock in other hands each time, and must
// neither fall back to looking ever more rarely nor listen to a file that is gone.
#[test]
fn contenders_of_a_lock_that_never_rests_do_not_oversleep() {
    const CONTENDERS: u64 = 6;
    const COUNT: u64 = 500;
    let dir = common::scratch();
    let data = dir.path().join("data");
    let start = || {
        Role::new("commuter")
            .with("DATA", &data)
            .with_number("COUNT", COUNT)
            .ready()
    };
    let mut contenders: Vec<_> = (0..CONTENDERS).map(|_| start()).collect();
    contenders
        .iter_mut()
        .for_each(|contender| contender.tell("begin"));
    let longest = contenders
        .iter_mut()
        .map(|contender| contender.hear().parse());
    let mut longest: Vec<_> = longest
        .map(|nanos| Duration::from_nanos(nanos.expect("nanoseconds")))
        .collect();
    let by_itself = longest.iter().filter(|wait| **wait > BY_ITSELF).count();
    println!(
        "longest wait of each contender: {}",
        common::summary(&mut longest)
    );
    assert_eq!(
        by_itself, 0,
        "contenders waited until they looked by themselves"
    );
}

// File systems give the number of a removed inode to the next file at once. A waiter is woken by
// the end of a hold, finds another holder's file under the number that it watches already, and
// would sleep on at a watch that can never report again.
#[test]
fn a_next_holders_file_with_the_same_inode_number_is_watched_afresh() {
    let mut reused = 0;
    for _ in 0..60 {
        let dir = common::scratch();
        let data = dir.path().join("data");
        let lock_path = lock_path_for(&data);
        // A live process without flock: held, and easily replaced.
        let holder = || {
            let record =
                common::unstamped(common::this_process(), &common::this_host(), Duration::ZERO);
            fs::write(&lock_path, record.encode()).expect("the directory is ours");
            fs::metadata(&lock_path).expect("it is there").ino()
        };
        let first = holder();
        let waiter = wait_in_thread(WriterLock::options(), &data, PATIENCE);
        std::thread::sleep(Duration::from_millis(10));
        fs::remove_file(&lock_path).expect("the directory is ours");
        let second = holder();
        std::thread::sleep(Duration::from_millis(200));
        let ended = Instant::now();
        // Gone if the waiter was quick enough to get in between.
        let removed = fs::remove_file(&lock_path);
        let (outcome, at, _) = waiter.join().expect("it does not panic");
        let lock = outcome.expect("nobody has it");
        if removed.is_ok() && first == second && lock.check().is_ok() {
            reused += 1;
            let by_itself = at.saturating_duration_since(ended) > BY_ITSELF;
            assert!(
                !by_itself,
                "the waiter was not woken but has looked by itself"
            );
        }
    }
    println!("{reused} of 60 files had their predecessor's inode number");
}

// Age is the only thing that ends some holds. The waiter knows when, and must not oversleep it
// until its next look.
#[test]
fn a_waiter_is_there_when_age_makes_the_lock_stale() {
    let dir = common::scratch();
    let data = dir.path().join("data");
    let almost = StalePolicy::SAME_HOST_AGE - Duration::from_millis(300);
    let record = common::unstamped(common::dead_pid(), &common::this_host(), almost);
    fs::write(lock_path_for(&data), record.encode()).expect("the directory is ours");
    let error = WriterLock::try_acquire(&data).expect_err("300 ms are missing");
    assert!(error.is_held(), "{error}");
    let start = Instant::now();
    let lock = WriterLock::acquire(&data, PATIENCE).expect("it becomes stale");
    assert_eq!(
        lock.reclaimed().and_then(|reclaimed| reclaimed.record),
        Some(record)
    );
    assert!(start.elapsed() < BY_ITSELF, "it knew when");
}

// ---------------------------------------------------------------- asleep

/// Is killed while its forked child keeps the lock file open.
fn keeps_by_a_child() {
    let data = PathBuf::from(common::arg("DATA"));
    let lock = WriterLock::try_acquire(&data).expect("nobody has it");
    common::fork(|| {
        common::next_cue();
        true
    });
    common::say("ready");
    loop {
        std::thread::park();
        lock.check().expect("it is held");
    }
}

// The holder dies, its child keeps the kernel lock. A pidfd that has fired stays readable: polled
// on, it made 267,083 wake-ups in 1.7 s in a trial.
#[test]
fn a_dead_holder_whose_child_keeps_the_lock_makes_no_busy_loop() {
    let dir = common::scratch();
    let data = dir.path().join("data");
    let mut holder = Role::new("keeps by a child").with("DATA", &data).ready();
    let waiter = wait_in_thread(WriterLock::options(), &data, Duration::from_secs(2));
    std::thread::sleep(Duration::from_millis(100));
    holder.kill();
    let (outcome, _, switches) = waiter.join().expect("it does not panic");
    let error = outcome.expect_err("the child keeps it");
    let holder = error.holder().expect("it is held");
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

// A holder refreshes its record for hours. Each write is an event on the file; woken by it, every
// waiter would look and refresh nothing but the machine's temperature.
#[test]
fn refreshes_do_not_wake_waiters() {
    let dir = common::scratch();
    let data = dir.path().join("data");
    let options = WriterLock::options().keepalive(Some(Duration::from_millis(2)));
    let lock = options.try_acquire(&data).expect("nobody has it");
    let acquired = lock.record();
    let waiter = wait_in_thread(WriterLock::options(), &data, Duration::from_secs(2));
    let (outcome, _, switches) = waiter.join().expect("it does not panic");
    let error = outcome.expect_err("it is held all the time");
    assert!(
        error.holder().is_some_and(rvlf::Holder::is_this_process),
        "{error}"
    );
    assert_ne!(lock.record(), acquired, "it was refreshed meanwhile");
    println!("beside refreshes every 2 ms: {switches} context switches in 2 s");
    assert!(
        switches < FEW_SWITCHES,
        "{switches} context switches in 2 s"
    );
}

#[test]
fn an_idle_waiter_sleeps() {
    let dir = common::scratch();
    let data = dir.path().join("data");
    let mut holder = Role::puppet(&data).ready();
    holder.expect("try", "got");
    let waiter = wait_in_thread(WriterLock::options(), &data, Duration::from_secs(10));
    let (outcome, _, switches) = waiter.join().expect("it does not panic");
    let error = outcome.expect_err("it is held all the time");
    println!("an idle waiter: {switches} context switches in 10 s");
    assert!(
        switches < FEW_SWITCHES,
        "{switches} context switches in 10 s"
    );
    let text = error.to_string();
    let says = format!("timed out after 10 s: held by pid {} on", holder.pid());
    assert!(
        text.contains(&says),
        "who holds it is what the user asks next: {text}"
    );
}

const PROCESSES: usize = 8;
const THREADS: usize = 8;

/// Eight threads that wait for one lock; each has it once.
fn waiters() {
    let data = PathBuf::from(common::arg("DATA"));
    let inside = data.with_extension("inside");
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (data, inside) = (data.clone(), inside.clone());
            let thread = std::thread::Builder::new().name("waiter".into());
            thread
                .spawn(move || {
                    let lock =
                        WriterLock::acquire(&data, PATIENCE).expect("it is everybody's turn");
                    let file = File::create_new(&inside);
                    file.expect("nobody else is inside");
                    fs::remove_file(&inside).expect("it is ours");
                    lock.release().expect("it is held");
                })
                .expect("there is room for a thread")
        })
        .collect();
    common::say("ready");
    common::next_cue();
    common::say(switches_of_waiters());
    for thread in threads {
        thread.join().expect("each waiter gets the lock");
    }
    common::say("all had it");
}

/// The most that any waiter of this process has made.
fn switches_of_waiters() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").expect("procfs is mounted");
    let switches = tasks.filter_map(|task| {
        let status = fs::read_to_string(task.ok()?.path().join("status")).ok()?;
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name));
        (field("Name:")?.trim() == "waiter").then_some(())?;
        field("voluntary_ctxt_switches:")?.trim().parse().ok()
    });
    switches.max().expect("the waiters wait")
}

// Sixty-four jobs queue for one file. If looking at the lock made an event, each look would wake
// sixty-three others, for ever; and whoever is forgotten starves.
#[test]
fn sixty_four_waiters_sleep_together_and_all_get_the_lock() {
    let dir = common::scratch();
    let data = dir.path().join("data");
    let lock = WriterLock::try_acquire(&data).expect("nobody has it");
    let start = || Role::new("waiters").with("DATA", &data).ready();
    let mut processes: Vec<_> = (0..PROCESSES).map(|_| start()).collect();
    // What they would do to one another they do in this time.
    std::thread::sleep(Duration::from_secs(2));
    let switches = processes.iter_mut().map(|waiters| waiters.ask("count"));
    let most = switches.filter_map(|count| count.parse::<u64>().ok()).max();
    let most = most.expect("each process answers");
    let released = Instant::now();
    lock.release().expect("it is held");
    for waiters in &mut processes {
        assert_eq!(waiters.hear(), "all had it");
    }
    println!(
        "{} waiters: at most {most} context switches each while it was held; all had it after {:.1?}",
        PROCESSES * THREADS,
        released.elapsed()
    );
    processes.into_iter().for_each(Actor::finish);
    assert!(most < FEW_SWITCHES, "{most} context switches in 2 s");
    assert!(
        common::names_in(dir.path()).is_empty(),
        "the last one has released it"
    );
}

// ---------------------------------------------------------------- not waited for

// A user's text file at the lock path will lie there tomorrow. An hour's timeout must not hide
// that.
#[test]
fn only_holders_are_waited_for() {
    let dir = common::scratch();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("foreign.lock"), "notes").expect("the directory is ours");
    fs::create_dir(at("directory.lock")).expect("the directory is ours");
    let mut newer = common::unstamped(common::dead_pid(), &common::this_host(), PATIENCE).encode();
    if let Some(version) = newer.get_mut(0x60) {
        *version = 9;
    }
    fs::write(at("newer.lock"), newer).expect("the directory is ours");
    for name in ["foreign", "directory", "newer", "missing/data"] {
        let (sender, outcome) = channel();
        let path = at(name);
        std::thread::spawn(move || {
            let hour = Duration::from_secs(3600);
            // The test may have given up.
            let _ = sender.send(WriterLock::acquire(path, hour));
        });
        let outcome = outcome.recv_timeout(PATIENCE);
        let error = outcome
            .expect("it does not wait")
            .expect_err("it cannot be had");
        assert!(!error.is_held(), "{name}: {error}");
    }
}

#[test]
fn waiting_until_free_creates_and_takes_nothing() {
    let dir = common::scratch();
    let data = dir.path().join("data");
    let state = common::wait_until_free(&data, Duration::ZERO).expect("it can be looked at");
    assert_eq!(state, LockState::Free);
    assert!(
        common::names_in(dir.path()).is_empty(),
        "a look creates nothing"
    );
    let mut holder = Role::puppet(&data).ready();
    holder.expect("try", "got");
    let state = common::wait_until_free(&data, Duration::from_millis(50)).expect("as above");
    assert!(matches!(state, LockState::Held(_)), "{state:?}");
    let waited = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| common::wait_until_free(&data, PATIENCE));
        std::thread::sleep(Duration::from_millis(20));
        holder.kill();
        let ended = Instant::now();
        let state = waiter.join().expect("it does not panic");
        assert!(ended.elapsed() < BY_ITSELF, "it was woken");
        state.expect("it can be looked at")
    });
    let LockState::Stale(dead) = waited else {
        panic!("left behind is as good as free: {waited:?}");
    };
    assert_eq!(
        dead.record().map(|record| record.pid().get()),
        Some(holder.pid())
    );
    assert_eq!(
        common::names_in(dir.path()),
        ["data.lock"],
        "it is left to the next holder"
    );
}

// An attempt to acquire breaks a torn file that stays as it is for two seconds, also where a clock
// that was set back makes it look young. Whoever only waits for that must not wait for the clock.
#[test]
fn a_torn_file_from_the_future_is_waited_for_by_our_own_clock() {
    let dir = common::scratch();
    let data = dir.path().join("data");
    fs::write(lock_path_for(&data), "").expect("the directory is ours");
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    common::set_mtime(&lock_path_for(&data), tomorrow);
    let state = common::wait_until_free(&data, PATIENCE).expect("it can be looked at");
    let LockState::Malformed(torn) = state else {
        panic!("the file is empty: {state:?}");
    };
    assert!(torn.verdict().is_stale(), "it can be had: {torn}");
}
