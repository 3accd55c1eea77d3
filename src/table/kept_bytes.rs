//! [`KeptBytes`]: the locked bytes that placeholders of this process may name.
//!
//! A placeholder names the byte of the allocation that delegated it. That allocation may be released before a child
//! has adopted the placeholder. If the byte were unlocked then, processes in other containers would take the
//! placeholder for that of a dead process, while its maker lives.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::contents::Table;
use super::witness::LockedByte;
use crate::sync::{Mutex, MutexGuard, thread, try_lock};
use crate::sys::{Host, Identity, TableSys};

/// How often the mutex is tried, which is locked only while a short list is searched.
const TRIES: u32 = 1000;

/// The bytes that stay locked, each with the table and the process that it is for.
pub(super) struct KeptBytes(Mutex<Vec<Kept>>);

struct Kept {
    table: PathBuf,
    /// A forked child has copies, which it closes at its next change of the list.
    process: Identity,
    byte: Arc<LockedByte<Host>>,
}

static OF_THIS_PROCESS: KeptBytes = KeptBytes(Mutex::new(Vec::new()));

impl KeptBytes {
    pub(super) fn of_this_process() -> &'static KeptBytes {
        &OF_THIS_PROCESS
    }

    /// Keeps `byte` locked for as long as the table at `table` may name it.
    pub(super) fn keep(&self, table: &Path, process: Identity, byte: &Arc<LockedByte<Host>>) {
        let Some(mut kept) = self.try_kept() else {
            // Until this process ends: a lock that is kept too long frees nothing.
            std::mem::forget(Arc::clone(byte));
            return;
        };
        if !kept.iter().any(|kept| Arc::ptr_eq(&kept.byte, byte)) {
            kept.push(Kept {
                table: table.to_owned(),
                process,
                byte: Arc::clone(byte),
            });
        }
    }

    /// Forgets the bytes that `content`, which was just saved at `table`, does not name.
    pub(super) fn forget_unnamed(&self, table: &Path, content: &Table) {
        self.retain(|kept| kept.table != table || is_named(content, kept));
    }

    /// Forgets `byte`, of which a forked child has a copy.
    pub(super) fn forget(&self, byte: &Arc<LockedByte<Host>>) {
        self.retain(|kept| !Arc::ptr_eq(&kept.byte, byte));
    }

    fn retain(&self, is_needed: impl Fn(&Kept) -> bool) {
        if let Some(mut kept) = self.try_kept() {
            kept.retain(|kept| Host.is_this_process(kept.process) && is_needed(kept));
        }
    }

    /// `None` in a forked child if a thread that the child does not have had locked the mutex at the fork.
    fn try_kept(&self) -> Option<MutexGuard<'_, Vec<Kept>>> {
        for _ in 0..TRIES {
            if let Some(kept) = try_lock(&self.0) {
                return Some(kept);
            }
            thread::yield_now();
        }
        None
    }
}

fn is_named(table: &Table, kept: &Kept) -> bool {
    let mut holders = table
        .entries
        .iter()
        .filter_map(|entry| entry.holder.as_ref());
    holders.any(|holder| holder.witness.as_ref() == Some(&kept.byte.witness))
}
