//! Cancellation against acquisition: what is acquired is handed out or released.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use rvlf::CancelToken;
use rvlf_store_threads::{StoreLock, block_on};
use virtual_std::{run, search, thread};

use crate::store::{LEASE, PATIENCE, Store, acquire, come_later, release};

// A lock that comes at the moment of the cancellation has no holder. Left as it is, it would be refreshed
// indefinitely.
#[test]
fn an_acquisition_that_is_cancelled_is_handed_out_or_leaves_the_lock_free() {
    search().run(|| {
        let store = Store::new();
        let token = CancelToken::new();
        let options = StoreLock::options().lease(LEASE).cancel_token(&token);
        let object = options.open_register(Arc::new(store.clone()));
        let cancels = thread::spawn(move || {
            run::step();
            token.cancel();
        });
        match block_on(object.acquire(PATIENCE)) {
            Ok(lock) => drop(lock),
            Err(error) => assert!(error.is_cancelled(), "{error}"),
        }
        cancels.join().expect("it does not panic");
        come_later(&store.lock_object());
    });
}

// Also where the acquiring thread drops the future while the other one hands the lock out.
#[test]
fn an_acquisition_whose_future_is_dropped_leaves_the_lock_free() {
    search().run(|| {
        let object = Store::new().lock_object();
        {
            let mut acquisition = pin!(object.acquire(PATIENCE));
            let mut context = Context::from_waker(Waker::noop());
            for _ in 0..run::random() % 8 {
                if acquisition.as_mut().poll(&mut context).is_ready() {
                    break;
                }
                thread::sleep(Duration::from_millis(1));
            }
        }
        come_later(&object);
    });
}

// A waiter that gives up leaves the holder alone.
#[test]
fn a_wait_that_is_cancelled_ends_although_the_lock_is_held() {
    search().run(|| {
        let store = Store::new();
        let lock = acquire(&store.lock_object());
        let token = CancelToken::new();
        let options = StoreLock::options().lease(LEASE).cancel_token(&token);
        let object = options.open_register(Arc::new(store));
        let waiter = thread::spawn(move || block_on(object.acquire(PATIENCE)));
        token.cancel();
        let error = waiter.join().expect("it does not panic");
        assert!(error.expect_err("it is held").is_cancelled());
        lock.check_local().expect("it is refreshed");
        release(lock);
    });
}
