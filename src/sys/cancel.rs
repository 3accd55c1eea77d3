//! [`CancelToken`]: ends a wait from another thread.

use std::sync::Arc;

use super::latch::Latch;

/// Ends the waits that were started with it: [`LockOptions::cancel_token`].
///
/// Clones share one state. A token stays cancelled: a new wait needs a new token. A wait that is
/// cancelled is woken at once and leaves no lock file. If it acquired the lock before it noticed
/// the cancellation, it returns the lock.
///
/// **Signal handlers** may call [`cancel`](CancelToken::cancel). **Fork**: a child's copy is a
/// token of its own. A token has two descriptors, both close-on-exec, until its last clone is
/// dropped; if there are too many open files it has none, and a cancelled wait ends within 50 ms
/// instead of at once.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("store.rvf");
/// use rvlf::{CancelToken, LockOptions, WriterLock};
/// use std::time::Duration;
///
/// let held = WriterLock::try_acquire(&path)?;
/// let token = CancelToken::new();
/// let options = LockOptions::new().cancel_token(&token);
/// let waiter = std::thread::spawn(move || options.acquire(&path, Duration::MAX));
///
/// token.cancel();
/// let error = waiter.join().expect("no panic").expect_err("cancelled");
/// assert!(error.is_cancelled());
/// # held.release()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`LockOptions::cancel_token`]: crate::LockOptions::cancel_token
#[derive(Clone, Debug)]
pub struct CancelToken(Arc<Latch>);

impl CancelToken {
    /// A token that is not cancelled.
    ///
    /// ```
    /// assert!(!rvlf::CancelToken::new().is_cancelled());
    /// ```
    #[must_use]
    pub fn new() -> CancelToken {
        CancelToken(Arc::new(Latch::new()))
    }

    /// Wakes and ends every wait that was started with this token or a clone of it. Does not block.
    ///
    /// ```
    /// let token = rvlf::CancelToken::new();
    /// token.clone().cancel();
    /// assert!(token.is_cancelled(), "clones share one state");
    /// ```
    pub fn cancel(&self) {
        self.0.set();
    }

    /// Whether the token is cancelled.
    ///
    /// ```
    /// let token = rvlf::CancelToken::new();
    /// token.cancel();
    /// assert!(token.is_cancelled());
    /// ```
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.is_set()
    }

    pub(crate) fn latch(&self) -> &Latch {
        &self.0
    }

    pub(crate) fn is_any_cancelled(tokens: &[CancelToken]) -> bool {
        tokens.iter().any(CancelToken::is_cancelled)
    }
}

impl Default for CancelToken {
    fn default() -> CancelToken {
        CancelToken::new()
    }
}
