//! What a process uses and may use.

use std::path::Path;
use std::time::Duration;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::time::TimeVal;

/// Raises the limit of open files as far as the hard limit permits, and returns the new limit.
pub fn raise_descriptor_limit() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("every process has limits");
    let wanted = hard.min(1 << 20);
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).expect("up to the hard limit is permitted");
    wanted as usize
}

/// The CPU time of this process so far, in user mode and in the kernel.
pub fn cpu_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process may query its own usage");
    let micros = |time: TimeVal| (time.tv_sec() * 1_000_000 + time.tv_usec()) as u64;
    Duration::from_micros(micros(usage.user_time()) + micros(usage.system_time()))
}

/// The memory of this process that is resident, in bytes; 0 where procfs does not report it.
pub fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0) * 4096
}

/// The number of entries of a directory; 0 if the directory cannot be read.
pub fn entries_in(directory: impl AsRef<Path>) -> usize {
    std::fs::read_dir(directory).map_or(0, Iterator::count)
}
