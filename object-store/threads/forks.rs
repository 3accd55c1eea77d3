//! Forks: a child has a copy of each lock, and none of the threads that keep them.

use rvlf_store_threads::{LossReason, block_on};
use virtual_std::{run, search, thread};

use crate::store::{REFRESH, Store, acquire, release};

// The runtime of the parent is in the child's memory, and no thread runs it.
#[test]
fn a_childs_copy_of_a_lock_neither_hangs_nor_releases_it_and_the_child_acquires_its_own() {
    search().run(|| {
        let store = Store::new();
        let mut lock = Some(acquire(&store.lock_object()));
        thread::sleep(REFRESH);
        run::fork(|| {
            let copy = lock.take().expect("it was acquired");
            let lost = copy.check_local().expect_err("the parent holds it");
            assert_eq!(lost.reason, LossReason::Forked);
            assert_eq!(block_on(copy.lost()).reason, LossReason::Forked);
            drop(copy);
            release(acquire(&Store::new().lock_object()));
        });
        let lock = lock.expect("the child has taken its copy");
        block_on(lock.check()).expect("the parent holds it");
        release(lock);
    });
}
