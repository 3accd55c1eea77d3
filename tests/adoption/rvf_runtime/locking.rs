//! The writer lock of a store, by rvlf.

use std::io;
use std::path::Path;

/// An acquired writer lock; a drop releases it.
pub(crate) struct WriterLock(rvlf::WriterLock);

impl WriterLock {
    /// Acquires the lock of the store `path`, or fails with `WouldBlock` if another writer holds it.
    pub(crate) fn acquire(path: &Path) -> io::Result<Self> {
        let lock = rvlf::WriterLock::try_acquire(path)?;
        if let Some(reclaimed) = lock.reclaimed() {
            // The open that follows replays the store to its last whole commit.
            eprintln!("{}: its last writer has crashed ({reclaimed})", path.display());
        }
        Ok(WriterLock(lock))
    }

    /// Whether the lock is still held: to be called right before a commit.
    #[allow(dead_code)]
    pub(crate) fn is_valid(&self) -> bool {
        self.0.check().is_ok()
    }

    /// Releases the lock and reports what a drop would hide.
    pub(crate) fn release(self) -> io::Result<()> {
        self.0.release()?;
        Ok(())
    }
}
