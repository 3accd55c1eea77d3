//! commitlog 0.2, which has no lock, with one: an example for a store whose source stays as it is.

use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use commitlog::{CommitLog, LogOptions, Offset};
use rvlf::WriterLock;

/// The bytes at the begin of a segment, and of a message before its payload.
const MAGIC: u64 = 2;
const HEADER: u64 = 20;

/// A commit log that one process at a time writes.
pub struct GuardedLog {
    log: CommitLog,
    /// The last field, because fields are dropped in the order of their declaration.
    lock: WriterLock,
}

impl GuardedLog {
    /// Opens the log in `directory` for writing. The lock file is `<directory>.lock`.
    pub fn open(directory: &Path) -> Result<GuardedLog, Box<dyn Error>> {
        let lock = WriterLock::try_acquire(directory)?;
        if lock.reclaimed().is_some() {
            cut_torn_tail(directory)?;
        }
        let log = CommitLog::new(LogOptions::new(directory))?;
        Ok(GuardedLog { log, lock })
    }

    /// Appends a message.
    pub fn append(&mut self, message: &[u8]) -> Result<Offset, Box<dyn Error>> {
        self.lock.check()?;
        Ok(self.log.append_msg(message)?)
    }

    /// Closes the log, and reports what a drop would hide.
    pub fn close(self) -> Result<(), Box<dyn Error>> {
        let GuardedLog { mut log, lock } = self;
        log.flush()?;
        drop(log);
        lock.release()?;
        Ok(())
    }
}

/// Removes what a dead writer appended to the newest segment and did not enter in the index: commitlog
/// would append behind it, and no reader could pass it.
fn cut_torn_tail(directory: &Path) -> io::Result<()> {
    let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.path()));
    let paths: Vec<_> = names.collect::<io::Result<_>>()?;
    let is_segment = |path: &&_| Path::extension(path).is_some_and(|ending| ending == "log");
    let Some(segment) = paths
        .iter()
        .map(|path| path.as_path())
        .filter(is_segment)
        .max()
    else {
        return Ok(());
    };
    // Of each message its number and its position; unused entries are zero.
    let index = fs::read(segment.with_extension("index"))?;
    let last = index
        .chunks_exact(8)
        .take_while(|entry| *entry != [0; 8])
        .last();
    let file = File::options().read(true).write(true).open(segment)?;
    let end = match last.and_then(|entry| entry.last_chunk()) {
        None => MAGIC,
        Some(position) => {
            let position = u64::from(u32::from_le_bytes(*position));
            let mut size = [0; 4];
            file.read_exact_at(&mut size, position + 8)?;
            position + HEADER + u64::from(u32::from_le_bytes(size))
        }
    };
    file.set_len(end)
}
