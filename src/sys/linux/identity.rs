//! The identity of this process, remembered in memory that a forked child does not inherit.

#![allow(unsafe_code, reason = "mmap(2), madvise(2) and the page they make")]

use std::io;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous};

use super::{boot_id, procfs};
use crate::record::Pid;
use crate::sys::Identity;

/// `None` where a page cannot be wiped by a fork: before Linux 4.14.
static PAGE: OnceLock<Option<Page>> = OnceLock::new();

/// Whether this process is `process`, and no forked child of it. Async-signal-safe.
pub(in crate::sys) fn is_this_process(process: Identity) -> bool {
    match PAGE.get().and_then(Option::as_ref) {
        Some(page) => page.get_if_pid_is(std::process::id()) == Some(process),
        None => std::process::id() == process.pid.get(),
    }
}

/// This process's identity, read once in each process: the page that remembers it is wiped in a
/// forked child, also by clone(2) called directly, and also where the child has its parent's pid in
/// a new pid namespace. madvise(2), MADV_WIPEONFORK. Where the page may not be wiped, the pid shows a forked
/// child.
pub(in crate::sys) fn identity() -> io::Result<Identity> {
    if PAGE.get().is_none() {
        // `set`, not `get_or_init`: a child that is forked while another thread runs an initialiser
        // would wait for that thread indefinitely. If two threads make a page, one page is leaked.
        let _ = PAGE.set(Page::new().ok());
    }
    let page = PAGE.get().and_then(Option::as_ref);
    if let Some(identity) = page.and_then(Page::get) {
        return Ok(identity);
    }
    let pid = Pid::new(std::process::id()).expect("pids are positive numbers below 2^22");
    let start_ticks = procfs::own_start_ticks()?;
    // Both together make the stamp: a lack of descriptors is reported here, before anything is
    // published.
    boot_id()?;
    Ok(page.map_or(
        Identity {
            pid,
            start_ticks,
            generation: 0,
        },
        |page| page.set(pid, start_ticks),
    ))
}

/// Two numbers in memory that reads as zeros in a forked child: generation and pid, in one word so that
/// no thread sees the one without the other, and start ticks.
struct Page {
    cells: NonNull<[AtomicU64; 2]>,
    /// Whether the pid need not be asked: a system call, and an acquisition and its release need the
    /// identity ten times.
    is_surely_wiped: bool,
}

/// An advice that no kernel knows.
const UNKNOWN_ADVICE: i32 = i32::MAX;

// SAFETY: the pointer is to atomics in a mapping that is never unmapped.
unsafe impl Send for Page {}
// SAFETY: as above; atomics may be shared.
unsafe impl Sync for Page {}

impl Page {
    fn new() -> nix::Result<Page> {
        let len = std::num::NonZeroUsize::new(4096).expect("4096 is not zero");
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new private mapping at an address of the kernel's choice overlaps nothing.
        let page = unsafe { mmap_anonymous(None, len, protection, MapFlags::MAP_PRIVATE)? };
        // SAFETY: the advice concerns the mapping just made, which no other code knows.
        unsafe { madvise(page, len.get(), MmapAdvise::MADV_WIPEONFORK)? };
        // qemu-user before version 8 ignores the advice and reports success. It does so for any advice.
        // SAFETY: as above; a kernel that does not know the advice changes nothing.
        let unknown = unsafe { nix::libc::madvise(page.as_ptr(), len.get(), UNKNOWN_ADVICE) };
        Ok(Page {
            cells: page.cast(),
            is_surely_wiped: unknown == -1,
        })
    }

    fn cells(&self) -> &[AtomicU64; 2] {
        // SAFETY: the mapping is page-aligned, longer than two atomics, zero-initialised (a valid
        // value for them), never unmapped, and only ever accessed through these atomics.
        unsafe { self.cells.as_ref() }
    }

    fn get(&self) -> Option<Identity> {
        if self.is_surely_wiped {
            self.remembered()
        } else {
            self.get_if_pid_is(std::process::id())
        }
    }

    fn get_if_pid_is(&self, pid: u32) -> Option<Identity> {
        let remembered = self.remembered();
        remembered.filter(|identity| identity.pid.get() == pid)
    }

    /// What is in the page, which may be the parent's where it is not wiped.
    fn remembered(&self) -> Option<Identity> {
        let [key, start_ticks] = self.cells();
        let key = key.load(Ordering::Acquire);
        Some(Identity {
            pid: Pid::new(key as u32)?,
            start_ticks: start_ticks.load(Ordering::Relaxed),
            generation: key >> 32,
        })
    }

    /// Stores the pid last: a thread that sees it sees the start ticks.
    fn set(&self, pid: Pid, own_start_ticks: u64) -> Identity {
        // Not in the page, so not wiped: a child counts on from its parent's last number.
        static LAST: AtomicU64 = AtomicU64::new(0);
        let [key, start_ticks] = self.cells();
        let before = key.load(Ordering::Acquire);
        start_ticks.store(own_start_ticks, Ordering::Relaxed);
        let generation = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        // Zero, or the parent's if the page was not wiped. Otherwise, and if the exchange fails, another
        // thread of this process was first: one process has one generation.
        if before as u32 != pid.get() {
            let own = generation << 32 | u64::from(pid.get());
            let _ = key.compare_exchange(before, own, Ordering::Release, Ordering::Relaxed);
        }
        self.get().unwrap_or(Identity {
            pid,
            start_ticks: own_start_ticks,
            generation,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // qemu-user 7 reports that it will wipe the page and does not: a forked child released its
    // parent's lock.
    #[test]
    fn a_page_that_was_not_wiped_is_the_parents() {
        let mut page = Page::new().expect("there is memory");
        page.is_surely_wiped = false;
        let own = Pid::new(std::process::id()).expect("a pid");
        let parent = Pid::new(own.get() + 1).expect("a pid");
        let [key, _] = page.cells();
        key.store(7 << 32 | u64::from(parent.get()), Ordering::Relaxed);
        assert_eq!(page.get(), None, "another process's");
        let identity = page.set(own, 4242);
        assert_eq!((identity.pid, identity.start_ticks), (own, 4242));
        assert_eq!(page.get(), Some(identity), "remembered");
        assert_eq!(page.set(own, 4242), identity, "and given no second time");
    }

    // A forked child that took its parent's identity would release its parent's lock.
    #[test]
    fn a_forked_child_has_an_identity_of_its_own() {
        let mine = identity().expect("procfs is mounted");
        assert_eq!(
            identity().expect("procfs is mounted"),
            mine,
            "it does not change"
        );
        // SAFETY: the child makes system calls and exits; it allocates only what identity() reads.
        match unsafe { nix::unistd::fork() }.expect("there is room for one process") {
            nix::unistd::ForkResult::Child => {
                // The pid may be the same in a new pid namespace; the generation never is.
                let differs = identity().is_ok_and(|child| child.generation > mine.generation);
                // SAFETY: _exit(2) ends the child without running the harness's handlers.
                unsafe { nix::libc::_exit(i32::from(!differs)) }
            }
            nix::unistd::ForkResult::Parent { child } => {
                let status = nix::sys::wait::waitpid(child, None).expect("the child is ours");
                assert_eq!(status, nix::sys::wait::WaitStatus::Exited(child, 0));
            }
        }
    }
}
