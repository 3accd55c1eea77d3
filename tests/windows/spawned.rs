//! Children that inherit the handle of a lock.

use rvlf::WriterLock;

use crate::role::Process;
use crate::{PATIENCE, scratch};

// The child writes on when its parent is killed. A byte lock (LockFileEx) would end with the parent.
#[test]
fn a_lock_lasts_until_the_child_that_inherits_it_has_ended() {
    let (_directory, data) = scratch();
    let mut parent = Process::worker(&data);
    parent.ask("acquire");
    let spawned = parent.ask("spawn");
    let pid = spawned.strip_prefix("spawned ").expect("it is started");
    assert_eq!(parent.ask("release"), "released StillOpen");
    let refused = WriterLock::try_acquire(&data).expect_err("the child lives");
    assert!(refused.is_held(), "{pid}: {refused}");
    assert_eq!(parent.ask("wait for it"), "ended true");
    // As long as the process of the record lives, its lock is recovered after 30 s (row 5).
    parent.kill();
    let lock = WriterLock::acquire(&data, PATIENCE).expect("the child has ended");
    lock.release().expect("a held lock can be released");
}

#[test]
fn a_child_keeps_the_lock_of_a_parent_that_is_killed() {
    let (_directory, data) = scratch();
    let mut parent = Process::worker(&data);
    parent.ask("acquire");
    assert!(parent.ask("spawn").starts_with("spawned "));
    // The child's input is the parent's end of a pipe: the child ends when the parent is dead. Before
    // that, or after it, but never while the child lives, the lock is free.
    parent.kill();
    let lock = WriterLock::acquire(&data, PATIENCE).expect("the child ends by itself");
    assert!(lock.reclaimed().is_some());
    lock.release().expect("a held lock can be released");
}

#[test]
fn a_release_after_the_child_has_ended_frees_the_lock() {
    let (_directory, data) = scratch();
    let mut parent = Process::worker(&data);
    parent.ask("acquire");
    parent.ask("spawn");
    assert_eq!(parent.ask("wait for it"), "ended true");
    assert_eq!(parent.ask("release"), "released Free");
    let lock = WriterLock::try_acquire(&data).expect("the lock is free");
    assert!(lock.reclaimed().is_none(), "no holder has died");
    lock.release().expect("a held lock can be released");
}
