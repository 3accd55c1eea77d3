//! Ten thousand locks in one process: what they take, and what their refreshes cost.

use std::time::{Duration, Instant};

use rvlf::{Durability, WriterLock};
use rvlf_benches::{
    Directory, Goal, Mode, cpu_time, directories, entries_in, raise_descriptor_limit, report_goal,
    resident_bytes, show_time,
};

const FREE: &str = "this process is the only contender";

/// As many as the goals speak of.
const LOCKS: usize = 10_000;

/// The keepalive's default.
const INTERVAL: Duration = Duration::from_secs(10);

/// Each lock takes two descriptors.
fn permitted(wanted: usize) -> usize {
    let count = wanted.min(raise_descriptor_limit() / 2 - 50);
    if count < wanted {
        println!(
            "only {count} locks: each takes two descriptors, and the hard limit permits no more"
        );
    }
    count
}

fn acquire_all(directory: &Directory, count: usize, interval: Duration) -> Vec<WriterLock> {
    let options = WriterLock::options()
        .durability(Durability::None)
        .keepalive(Some(interval));
    let data_path = |n| directory.join(&format!("data-{n}"));
    (0..count)
        .map(|n| options.try_acquire(data_path(n)).expect(FREE))
        .collect()
}

/// What the locks take, and that nothing runs between refreshes.
fn idle(mode: Mode, directory: &Directory, count: usize) {
    let memory_before = resident_bytes();
    let start = Instant::now();
    // So seldom that almost no refresh is due while this function measures.
    let locks = acquire_all(directory, count, Duration::from_secs(360_000));
    println!(
        "  acquired in {} each",
        show_time(start.elapsed() / count as u32)
    );
    // Memory that an earlier round gave back to the allocator shows as 0.
    let memory = resident_bytes().saturating_sub(memory_before) / count;
    println!("  {memory} bytes of memory each");
    let descriptors = entries_in("/proc/self/fd") as f64 / count as f64;
    println!("  {descriptors:.1} descriptors each");
    report_goal(
        mode,
        "10,000 locks: threads beside the caller's",
        Goal::AtMost(1.0),
        directory.file_system,
        entries_in("/proc/self/task") as f64 - 1.0,
    );

    let time = mode.pick(Duration::from_secs(5), Duration::from_millis(50));
    let cpu_before = cpu_time();
    std::thread::sleep(time);
    let cpu = cpu_time() - cpu_before;
    report_goal(
        mode,
        "10,000 locks: CPU between refreshes, in ms a second",
        Goal::AtMost(1.0),
        directory.file_system,
        cpu.as_secs_f64() * 1e3 / time.as_secs_f64(),
    );

    let start = Instant::now();
    for lock in locks {
        lock.release().expect("the lock is held");
    }
    println!(
        "  released in {} each",
        show_time(start.elapsed() / count as u32)
    );
}

/// One round of refreshes with the default interval.
fn refreshed(mode: Mode, directory: &Directory, count: usize) {
    let interval = mode.pick(INTERVAL, Duration::from_millis(100));
    let locks = acquire_all(directory, count, interval);
    // Each lock is refreshed for the first time within one interval after its acquisition.
    std::thread::sleep(interval);
    let cpu_before = cpu_time();
    std::thread::sleep(interval);
    let each = (cpu_time() - cpu_before) / count as u32;
    println!("  refreshed for {} of CPU each", show_time(each));
    report_goal(
        mode,
        "10,000 locks: CPU for refreshing all of them every 10 s, in % of one core",
        Goal::AtMost(2.0),
        directory.file_system,
        100.0 * each.as_secs_f64() * LOCKS as f64 / INTERVAL.as_secs_f64(),
    );
    report_goal(
        mode,
        "10,000 locks: refreshes in the busiest tenth of the interval, of the average",
        Goal::AtMost(1.5),
        directory.file_system,
        busiest_tenth(&locks, interval) as f64 / (count as f64 / 10.0),
    );
}

/// How many refreshes the tenth of the interval has that has the most.
fn busiest_tenth(locks: &[WriterLock], interval: Duration) -> usize {
    let times = locks.iter().map(|lock| lock.record().timestamp_ns());
    let first = times.clone().min().unwrap_or(0);
    let mut tenths = [0; 11];
    for time in times {
        let tenth = (time - first) * 10 / interval.as_nanos() as u64;
        if let Some(refreshes) = tenths.get_mut(tenth as usize) {
            *refreshes += 1;
        }
    }
    tenths.into_iter().max().unwrap_or(0)
}

fn main() {
    let Some(mode) = Mode::from_args_of("held") else {
        return;
    };
    let count = permitted(mode.pick(LOCKS, 50));
    let directories = directories();
    let title = |directory: &Directory| {
        println!("{count} locks in one process, {}:", directory.file_system);
    };
    // Before the first refresh, whose thread stays for a while.
    for directory in &directories {
        title(directory);
        idle(mode, directory, count);
    }
    for directory in &directories {
        title(directory);
        refreshed(mode, directory, count);
    }
}
