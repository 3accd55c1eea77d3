//! [`Unsettled`]: takes a publish back that fails.
//!
//! Source: `spec/protocol.md#publish`, P12.

use super::Place;
use super::release::PathOwner;
use crate::record::{DecodeError, Record, WriterId};
use crate::sys::hooks::sabotaged;
use crate::sys::{FileId, Prefix, Sys};

/// A file of ours at the lock path that is not a hold yet. Dropping it removes the file from the
/// path, so that a publish that fails leaves nothing behind.
///
/// The file's kernel lock must be ours, where there is flock: a file that could not be locked must
/// stay (R21).
pub(super) struct Unsettled<'a, S: Sys> {
    /// Dropped first: the file is removed before its close gives the kernel lock up.
    withdrawal: Withdrawal<'a, S>,
    file: S::File,
}

/// Removes our file from the lock path when it is dropped, unless it is disarmed.
struct Withdrawal<'a, S: Sys> {
    place: &'a Place<S>,
    id: FileId,
    writer_id: WriterId,
    is_armed: bool,
}

impl<'a, S: Sys> Unsettled<'a, S> {
    pub(super) fn new(place: &'a Place<S>, file: S::File, id: FileId, writer_id: WriterId) -> Self {
        let withdrawal = Withdrawal {
            place,
            id,
            writer_id,
            is_armed: true,
        };
        Unsettled { withdrawal, file }
    }

    pub(super) fn file(&self) -> &S::File {
        &self.file
    }

    pub(super) fn id(&self) -> FileId {
        self.withdrawal.id
    }

    pub(super) fn writer_id(&self) -> WriterId {
        self.withdrawal.writer_id
    }

    /// The file is a hold.
    pub(super) fn keep(self) -> S::File {
        let Unsettled {
            mut withdrawal,
            file,
        } = self;
        withdrawal.is_armed = false;
        file
    }

    /// The path names another contender's file.
    pub(super) fn abandon(self) {
        drop(self.keep());
    }
}

impl<S: Sys> Drop for Withdrawal<'_, S> {
    fn drop(&mut self) {
        let sys = self.place.sys();
        let entry = &self.place.entry;
        if self.is_armed && !sabotaged!(entry.sys, Withdraw) && self.path_names_our_file() {
            // The error that led here is the one to report, not a second one.
            let _ = sys.unlink(&entry.dir, &entry.name);
        }
    }
}

impl<S: Sys> Withdrawal<'_, S> {
    fn path_names_our_file(&self) -> bool {
        let Withdrawal {
            place,
            id,
            writer_id,
            ..
        } = *self;
        let is_torn = |prefix: &Prefix| {
            let record = Record::decode(prefix.bytes());
            matches!(record, Err(DecodeError::Short { .. }))
        };
        // A torn file has no writer id: there the inode number has to do on every file system.
        let named = place.stat_if_same(&place.entry.name, id, is_torn);
        if matches!(named, Ok(Some(_))) {
            return true;
        }
        let owner = || place.path_owner(id, writer_id);
        !place.entry.is_local() && matches!(owner(), Ok(PathOwner::Us))
    }
}
