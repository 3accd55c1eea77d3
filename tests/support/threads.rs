//! Threads, as procfs shows them.

use std::fs;

/// The names of this process's threads, main one included, as the kernel has them (15 bytes).
pub fn thread_names() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").expect("procfs is mounted");
    let name = |task: std::io::Result<fs::DirEntry>| {
        // The thread may end between the two system calls.
        let name = fs::read_to_string(task.ok()?.path().join("comm")).ok()?;
        Some(name.trim_end().to_owned())
    };
    tasks.filter_map(name).collect()
}

/// How many times the calling thread has gone to sleep.
pub fn voluntary_switches() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").expect("procfs is mounted");
    let mut lines = status.lines();
    let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    let count = count.expect("every kernel since 2.6.23 has the line");
    count.trim().parse().expect("the value is a number")
}
