//! Facts about processes: this one, and whether another one is alive.

use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nix::errno::Errno;
use nix::libc::{self, c_int};
use nix::sys::signal::kill;

use super::kinfo::Kinfo;
use super::layout::LAYOUT;
use super::{sysctl, visibility};
use crate::record::Pid;
use crate::sys::{Identity, Liveness, Now, nanos};

/// What the kernel shows of a process.
struct Found {
    kinfo: Kinfo,
    /// In microseconds, since 1970 or since the boot ([`query`]).
    start_ticks: u64,
}

/// This process's identity, read once in each process: a forked child has another pid, since there are
/// no pid namespaces.
pub(in crate::sys) fn identity() -> io::Result<Identity> {
    /// The process that has read the start ticks, and what it read.
    static READER: AtomicU32 = AtomicU32::new(0);
    static START_TICKS: AtomicU64 = AtomicU64::new(0);

    let number = std::process::id();
    let pid = Pid::new(number).expect("pids are positive numbers below 2^31");
    if READER.load(Ordering::Acquire) != number {
        START_TICKS.store(own_start_ticks(pid)?, Ordering::Relaxed);
        // Last: a thread that sees it sees the ticks.
        READER.store(number, Ordering::Release);
    }
    Ok(Identity {
        pid,
        start_ticks: START_TICKS.load(Ordering::Relaxed),
        generation: 0,
    })
}

/// Whether this process is `process`, and no forked child of it. Async-signal-safe.
pub(in crate::sys) fn is_this_process(process: Identity) -> bool {
    std::process::id() == process.pid.get()
}

/// 0 where the kernel does not show it, as in a sandbox: records then have no stamp.
fn own_start_ticks(pid: Pid) -> io::Result<u64> {
    match query(pid) {
        Ok(found) => Ok(found.map_or(0, |found| found.start_ticks)),
        Err(error) => match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound => Ok(0),
            // It may pass: taken for "not shown" it would cost every later lock its stamp.
            _ => Err(error),
        },
    }
}

/// What kill(2) and sysctl(3) together report.
pub(in crate::sys) fn process(pid: Pid, _now: impl FnOnce() -> Now) -> Liveness {
    let signalled = kill(nix::unistd::Pid::from_raw(pid.get() as i32), None);
    if signalled == Err(Errno::ESRCH) {
        return if visibility::is_each_process_visible() {
            Liveness::Dead
        } else {
            Liveness::Unknown
        };
    }
    // EPERM means that the process exists.
    match query(pid) {
        Ok(Some(found)) if found.kinfo.has_ended => Liveness::Dead,
        Ok(Some(found)) => Liveness::Alive {
            start_ticks: found.start_ticks,
            started_ns: nanos(found.kinfo.started),
        },
        // It has ended since the kill, or it is hidden.
        Ok(None) | Err(_) => Liveness::Unknown,
    }
}

/// The kernel notes the time of a fork, and no later change of the clock changes the note.
#[cfg(any(target_vendor = "apple", target_os = "netbsd", target_os = "dragonfly"))]
fn query(pid: Pid) -> io::Result<Option<Found>> {
    let found = read_kinfo(pid)?;
    Ok(found.map(|kinfo| Found {
        start_ticks: micros(kinfo.started),
        kinfo,
    }))
}

/// The kernel notes the time from the boot to a fork, and reports it with the time of the boot added,
/// which changes when the clock is set. Without that it is the same for as long as the process lives.
#[cfg(target_os = "freebsd")]
fn query(pid: Pid) -> io::Result<Option<Found>> {
    /// The clock would have to be set between each two of the calls.
    const TRIES: u32 = 8;
    for _ in 0..TRIES {
        let booted = super::boot::booted()?;
        let found = read_kinfo(pid)?;
        if super::boot::booted()? == booted {
            return Ok(found.map(|kinfo| Found {
                start_ticks: micros(kinfo.started.saturating_sub(booted)),
                kinfo,
            }));
        }
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// The kernel adds the time of the boot, which changes when the clock is set, in nanoseconds, and cuts
/// the sum to microseconds: what it has noted cannot be computed, and one process would have two starts.
#[cfg(target_os = "openbsd")]
fn query(pid: Pid) -> io::Result<Option<Found>> {
    let found = read_kinfo(pid)?;
    Ok(found.map(|kinfo| Found {
        start_ticks: 0,
        kinfo,
    }))
}

#[cfg(not(target_os = "openbsd"))]
fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn read_kinfo(pid: Pid) -> io::Result<Option<Kinfo>> {
    let mut answer = [0; LAYOUT.size];
    let len = sysctl::read(&mut name_of(pid), &mut answer)?;
    let answer = answer.get(..len).unwrap_or_default();
    Ok(LAYOUT.parse(answer, pid.get()))
}

#[cfg(not(any(target_os = "netbsd", target_os = "openbsd")))]
fn name_of(pid: Pid) -> [c_int; 4] {
    let pid = pid.get() as i32;
    [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PID, pid]
}

/// With the size of a structure, and how many of them there is room for.
#[cfg(any(target_os = "netbsd", target_os = "openbsd"))]
fn name_of(pid: Pid) -> [c_int; 6] {
    #[cfg(target_os = "netbsd")]
    const KERN_PROC: c_int = libc::KERN_PROC2;
    #[cfg(target_os = "openbsd")]
    const KERN_PROC: c_int = libc::KERN_PROC;
    let pid = pid.get() as i32;
    let size = c_int::try_from(LAYOUT.size).expect("a few hundred bytes");
    [libc::CTL_KERN, KERN_PROC, libc::KERN_PROC_PID, pid, size, 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    // The structure is read at fixed places. If they were wrong, no record had a stamp, or a live process
    // had two starts, and its entry in a table would be reclaimed.
    #[test]
    fn this_process_is_alive_with_the_start_that_it_records() {
        let own = identity().expect("this process may see itself");
        let now = || unreachable!("the start is absolute");
        let Liveness::Alive { start_ticks, .. } = process(own.pid, now) else {
            panic!("this process is alive");
        };
        assert_eq!(start_ticks, own.start_ticks);
        assert_eq!(start_ticks == 0, cfg!(target_os = "openbsd"));
    }
}
