//! Linked publish where no file can be made without a name: under a private name first.
//!
//! Source: `spec/protocol.md#publish`, P10.

use std::ffi::OsString;
use std::io;

use super::aside::aside_name;
use super::publish::{Linked, PublishOptions, is_unavailable};
use super::unsettled::Unsettled;
use super::{Place, Result};
use crate::judge::KernelLock;
use crate::sys::{Context, Flock, Operation, SyncMode, Sys};

impl<S: Sys> Place<S> {
    /// The file is made, locked, written and synced under a temporary name, and renamed to the lock
    /// path without replacing anything.
    pub(super) fn publish_private(&self, options: &PublishOptions) -> Result<Linked<'_, S>> {
        let (sys, dir, path) = (self.sys(), &self.entry.dir, self.lock_path());
        let name = aside_name(sys).context(Operation::Random("draw a temporary name"), path)?;
        let file = match sys.create(dir, &name, options.mode) {
            Ok(file) => file,
            Err(error) if is_unavailable(&error) => return Ok(Linked::Unavailable),
            Err(error) => {
                return Err(error).context(Operation::NewName("create the lock file"), path)?;
            }
        };
        let mut private = PrivateName {
            place: self,
            name,
            is_gone: false,
        };
        let stat = sys.stat(&file).context(Operation::File("stat"), path)?;
        // A breaker has taken the file for a leftover: this process was paused for a minute.
        let kernel_lock = self.flock(&file, Flock::Exclusive)?;
        if kernel_lock == KernelLock::HeldElsewhere {
            return Ok(Linked::NameTaken);
        }
        let recorded = self.write_new_record(&file, &stat, kernel_lock == KernelLock::Free)?;
        if options.sync {
            let synced = sys.sync(&file, SyncMode::All);
            synced.context(Operation::Sync("sync the record"), path)?;
        }
        match sys.rename_noreplace(dir, &private.name, &self.entry.name) {
            Ok(()) => {}
            Err(error) if is_unavailable(&error) => return Ok(Linked::Unavailable),
            Err(error) => {
                return match error.kind() {
                    // Not found: a breaker has removed the private file, as above.
                    io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound => Ok(Linked::NameTaken),
                    _ => Err(error).context(Operation::OldName("rename the lock file"), path)?,
                };
            }
        }
        private.is_gone = true;
        let unsettled = Unsettled::new(self, file, stat.id, recorded.record.writer_id());
        if options.sync {
            let synced = sys.sync_dir(dir);
            synced.context(Operation::Sync("sync the directory"), path)?;
        }
        Ok(Linked::Done((unsettled, recorded)))
    }
}

/// The private name of a file that is not published yet. Dropping it removes the name; if that fails,
/// or the process dies before, a later breaker removes it.
struct PrivateName<'a, S: Sys> {
    place: &'a Place<S>,
    name: OsString,
    /// The file has its name at the lock path, and this one no longer.
    is_gone: bool,
}

impl<S: Sys> Drop for PrivateName<'_, S> {
    fn drop(&mut self) {
        if !self.is_gone {
            let _ = self.place.sys().unlink(&self.place.entry.dir, &self.name);
        }
    }
}
