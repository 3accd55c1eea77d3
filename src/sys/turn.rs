//! [`Turn`]: which descriptor of the library has had a number last.

#![allow(unsafe_code, reason = "a table that grows without a lock")]

use std::os::fd::RawFd;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering, fence};

/// The use of a descriptor number by one descriptor of the library, until the library uses the number
/// again.
///
/// Other code may close all descriptors. Then the library opens others, which get the same numbers and
/// may have the same witness: a drop of the old one would close the new one, and with it free a lock.
///
/// All threads use one table, as they use one table of descriptors: of a thread that has its own
/// (unshare(2), CLONE_FILES) the keepalive could not refresh a lock either. A forked child has a copy of
/// both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    number: RawFd,
    id: u64,
}

/// The latest turns of a range of numbers, in a page of memory.
type Part = [AtomicU64; NUMBERS_OF_A_PART];

const NUMBERS_OF_A_PART: usize = 512;

/// For 2^20 numbers: a process has no others unless fs.nr_open is raised. proc_sys_fs(5)
const PARTS: usize = 2048;

/// A part is made when one of its numbers is used first, and stays. Without a mutex, since a forked
/// child would wait for one that a thread of its parent had locked.
static TABLE: [AtomicPtr<Part>; PARTS] = [const { AtomicPtr::new(null_mut()) }; PARTS];

impl Turn {
    /// Ends the turn of the descriptor that had this number before.
    ///
    /// Begins before the new descriptor gets its witness, and [`is_the_last`](Self::is_the_last) is
    /// asked after the witness: a check that finds the witness of the new one finds its turn as well.
    pub(super) fn begin(number: RawFd) -> Turn {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let id = 1 + LAST.fetch_add(1, Ordering::Relaxed);
        if let Some(latest) = latest(number, make_part) {
            latest.store(id, Ordering::Relaxed);
        }
        fence(Ordering::Release);
        Turn { number, id }
    }

    /// Whether the library has not used the number for another descriptor since. True for a number
    /// beyond the table: there the witness decides alone. Async-signal-safe.
    pub(super) fn is_the_last(self) -> bool {
        fence(Ordering::Acquire);
        let latest = latest(self.number, |_| None);
        latest.is_none_or(|latest| latest.load(Ordering::Relaxed) == self.id)
    }
}

/// The latest turn of this number. `None` if the table has no place for it.
fn latest(
    number: RawFd,
    make: impl FnOnce(&AtomicPtr<Part>) -> Option<&'static Part>,
) -> Option<&'static AtomicU64> {
    let number = usize::try_from(number).ok()?;
    let part = TABLE.get(number / NUMBERS_OF_A_PART)?;
    // SAFETY: the pointer is null, or `make_part` has stored it: it has given the part up, so that no
    // code frees it.
    let made = unsafe { part.load(Ordering::Acquire).as_ref() };
    made.or_else(|| make(part))?.get(number % NUMBERS_OF_A_PART)
}

fn make_part(part: &AtomicPtr<Part>) -> Option<&'static Part> {
    let new = Box::into_raw(Box::new([const { AtomicU64::new(0) }; NUMBERS_OF_A_PART]));
    match part.compare_exchange(null_mut(), new, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: no code frees what the table points to.
        Ok(_) => unsafe { new.as_ref() },
        Err(earlier) => {
            // SAFETY: another thread was first: no code but this has the pointer to the new part.
            drop(unsafe { Box::from_raw(new) });
            // SAFETY: as above.
            unsafe { earlier.as_ref() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Barrier};

    use crate::sys::thread;

    /// Numbers of the table's last parts, which no descriptor of the tests has. Each test has its own.
    const UNUSED: [RawFd; 3] = [1_000_000, 1_020_000, 1_040_000];

    #[test]
    fn a_turn_ends_when_the_number_is_used_again_and_not_before() {
        let number = UNUSED[0];
        let first = Turn::begin(number);
        let other = Turn::begin(number + 1);
        assert!(first.is_the_last() && other.is_the_last());
        let second = Turn::begin(number);
        assert!(!first.is_the_last() && second.is_the_last());
        assert!(other.is_the_last());
    }

    // Two threads that make a part of the table at once must not each have one of their own.
    #[test]
    #[cfg_attr(miri, ignore = "makes system calls")]
    fn threads_that_use_new_numbers_at_once_lose_no_turn() {
        for first in (UNUSED[1]..UNUSED[2]).step_by(NUMBERS_OF_A_PART) {
            let barrier = Arc::new(Barrier::new(2));
            let threads = [first, first + 1].map(|number| {
                let barrier = Arc::clone(&barrier);
                let begun = thread::spawn("turns", move || {
                    barrier.wait();
                    Turn::begin(number)
                });
                begun.expect("a thread can be started")
            });
            let turns = threads.map(|thread| thread.join().expect("no panic"));
            assert!(turns.iter().all(|turn| turn.is_the_last()), "{turns:?}");
        }
    }

    // A machine may permit more numbers than the table has: there a turn never ends.
    #[test]
    fn a_number_beyond_the_table_is_left_to_the_witness() {
        for number in [1 << 20, RawFd::MAX] {
            let first = Turn::begin(number);
            let second = Turn::begin(number);
            assert!(first.is_the_last() && second.is_the_last());
        }
        let last = Turn::begin((1 << 20) - 1);
        Turn::begin((1 << 20) - 1);
        assert!(!last.is_the_last(), "the table's last number");
    }
}
