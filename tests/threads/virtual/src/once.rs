//! [`OnceLock`], which is empty again in the next run.

use std::fmt;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::run;
use crate::sync::Mutex;

/// As [`std::sync::OnceLock`]. A static one is empty again in each run.
pub struct OnceLock<T> {
    /// With the number of the run.
    value: AtomicPtr<(u64, T)>,
    initialising: Mutex<()>,
}

impl<T> OnceLock<T> {
    #[must_use]
    pub const fn new() -> OnceLock<T> {
        OnceLock {
            value: AtomicPtr::new(ptr::null_mut()),
            initialising: Mutex::new(()),
        }
    }

    pub fn get(&self) -> Option<&T> {
        run::step();
        self.peek()
    }

    #[allow(unsafe_code, reason = "a pointer that is replaced once in each run")]
    fn peek(&self) -> Option<&T> {
        let value = self.value.load(Ordering::Acquire);
        // SAFETY: null, or a box that `fill` has leaked. Its value is freed by drop alone, which no
        // reference outlives; one from an earlier run is never freed.
        let (number, value) = unsafe { value.as_ref() }?;
        (*number == run::number()).then_some(value)
    }

    pub fn set(&self, value: T) -> Result<(), T> {
        run::step();
        // A move of a value, which takes nanoseconds, counts as one step. An initialiser does not.
        let initialised = self
            .initialising
            .is_locked()
            .then(|| self.initialising.lock());
        let outcome = match self.peek() {
            Some(_) => Err(value),
            None => {
                self.fill(value);
                Ok(())
            }
        };
        drop(initialised);
        outcome
    }

    pub fn get_or_init(&self, value: impl FnOnce() -> T) -> &T {
        loop {
            if let Some(value) = self.get() {
                return value;
            }
            let _initialising = self.initialising.lock();
            if self.peek().is_none() {
                self.fill(value());
                return self.peek().expect("it was just filled");
            }
        }
    }

    fn fill(&self, value: T) {
        let filled = Box::into_raw(Box::new((run::number(), value)));
        self.value.store(filled, Ordering::Release);
    }
}

impl<T> Drop for OnceLock<T> {
    #[allow(unsafe_code, reason = "as above")]
    fn drop(&mut self) {
        let value = *self.value.get_mut();
        if !value.is_null() {
            // SAFETY: `fill` has leaked it, and no other code has the pointer.
            drop(unsafe { Box::from_raw(value) });
        }
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> OnceLock<T> {
        OnceLock::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnceLock").field(&self.peek()).finish()
    }
}
