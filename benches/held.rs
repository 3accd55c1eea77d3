//! Ten thousand locks in one process: what they take, and what their refreshes cost.

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::{Ground, Mode, goal_if, grounds, show};
use nix::sys::resource::{UsageWho, getrusage};
use rvlf::{Durability, WriterLock};

const INTERVAL: Duration = Duration::from_secs(10);

fn main() {
    let mode = Mode::from_args();
    if mode == Mode::List {
        return println!("held: bench");
    }
    let wanted = mode.pick(10_000, 50);
    let count = wanted.min(common::raise_descriptor_limit() / 2 - 50);
    if count < wanted {
        println!("only {count} locks: each takes two descriptors, and this user may have no more");
    }
    for ground in grounds() {
        println!("{count} locks in one process, {}:", ground.name);
        quiet(mode, &ground, count);
        refreshed(mode, &ground, count);
    }
}

fn acquire_all(ground: &Ground, count: usize, interval: Duration) -> Vec<WriterLock> {
    let options = WriterLock::options()
        .durability(Durability::None)
        .keepalive(Some(interval));
    let acquire = |n| {
        let resource = ground.resource(&format!("data-{n}"));
        options.try_acquire(resource).expect("nobody else is here")
    };
    (0..count).map(acquire).collect()
}

/// Between refreshes nothing runs.
fn quiet(mode: Mode, ground: &Ground, count: usize) {
    let before = resident_bytes();
    let start = Instant::now();
    // Seldom enough that almost none comes due while we watch.
    let locks = acquire_all(ground, count, Duration::from_secs(360_000));
    println!(
        "  acquired in {} each",
        show(start.elapsed() / count as u32)
    );
    // None for those who come second: they get what the first ones gave back.
    let memory = resident_bytes().saturating_sub(before) / count;
    let threads = entries("/proc/self/task");
    let descriptors = entries("/proc/self/fd") as f64 / count as f64;
    if memory > 0 {
        println!("  {memory} bytes of memory each");
    }
    println!("  {descriptors:.1} descriptors each");

    let cpu = cpu_time();
    std::thread::sleep(mode.pick(Duration::from_secs(5), Duration::from_millis(50)));
    let cpu = cpu_time() - cpu;
    let what = format!("one thread for {count} locks, {}", ground.name);
    goal_if(
        mode,
        what,
        format!("{} beside the caller's", threads - 1),
        threads == 2,
    );
    let what = format!("no measurable CPU between refreshes, {}", ground.name);
    let measured = format!("{} in 5 s", show(cpu));
    // A thousandth of one processor.
    goal_if(mode, what, measured, cpu < Duration::from_millis(5));

    let start = Instant::now();
    locks
        .into_iter()
        .for_each(|lock| lock.release().expect("it is held"));
    println!(
        "  released in {} each",
        show(start.elapsed() / count as u32)
    );
}

/// With the default interval: one round of refreshes.
fn refreshed(mode: Mode, ground: &Ground, count: usize) {
    let interval = mode.pick(INTERVAL, Duration::from_millis(100));
    let locks = acquire_all(ground, count, interval);
    // Within one interval after its acquisition each comes for the first time.
    std::thread::sleep(interval);
    let cpu = cpu_time();
    std::thread::sleep(interval);
    let cpu = cpu_time() - cpu;
    println!(
        "  refreshed for {} CPU each, {:.2} % of one processor",
        show(cpu / count as u32),
        100.0 * cpu.as_secs_f64() / interval.as_secs_f64()
    );

    let times: Vec<u64> = locks
        .iter()
        .map(|lock| lock.record().timestamp_ns())
        .collect();
    let first = times.iter().copied().min().unwrap_or(0);
    let mut tenths = [0_usize; 11];
    for time in &times {
        let tenth = (time - first) * 10 / interval.as_nanos() as u64;
        if let Some(slot) = tenths.get_mut(tenth as usize) {
            *slot += 1;
        }
    }
    let most = tenths.iter().max().copied().unwrap_or(0);
    let even = most as f64 / (count as f64 / 10.0);
    let what = format!("refreshes are spread over the interval, {}", ground.name);
    let measured = format!("{even:.2} x the average in the busiest tenth");
    goal_if(mode, what, measured, even < 1.5);
}

fn cpu_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("everybody may ask for himself");
    let micros =
        |time: nix::sys::time::TimeVal| (time.tv_sec() * 1_000_000 + time.tv_usec()) as u64;
    Duration::from_micros(micros(usage.user_time()) + micros(usage.system_time()))
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0) * 4096
}

fn entries(directory: impl AsRef<Path>) -> usize {
    std::fs::read_dir(directory).map_or(0, Iterator::count)
}
