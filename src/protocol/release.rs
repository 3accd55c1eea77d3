//! Release: remove the holder's own file, and detect that the path names another one.
//!
//! Source: `spec/protocol.md#refresh`.

use std::io;

use super::{Place, Result, SETTLE};
use crate::record::{DecodeError, Record, WriterId};
use crate::sys::entry::present;
use crate::sys::hooks::sabotaged;
use crate::sys::{Context, FileId, FileKind, IoError, Operation, Sys};

/// Whose file is at the lock path, seen by a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathOwner {
    Us,
    /// No file is there.
    NoFile,
    /// Another file; its record, if it has a valid one.
    Other(Option<Record>),
    /// Not known: foreign code has closed the directory's descriptor, and the directory cannot be opened
    /// anew.
    OutOfReach,
}

impl<S: Sys> Place<S> {
    /// Unlinks the holder's lock file. The caller closes it afterwards: if it were closed first, a
    /// contender could see the kernel lock free, break the lock and publish, and the holder would
    /// unlink the successor's file.
    pub(super) fn unlink_own(
        &self,
        own: Option<&S::File>,
        id: FileId,
        writer_id: WriterId,
    ) -> Result<PathOwner, IoError> {
        // Twice: breaker B may catch the file by mistake between the comparison and the unlink, and put it
        // back.
        for _ in 0..2 {
            let owner = self.path_owner(own, id, writer_id)?;
            if owner != PathOwner::Us && !sabotaged!(self.entry.sys, OwnPath) {
                return Ok(owner);
            }
            if let Some(own) = own.filter(|_| self.sys().removes_by_handle()) {
                return self.remove_open(own).map(|()| PathOwner::Us);
            }
            let unlinked = present(self.sys().unlink(&self.entry.dir, &self.entry.name));
            let unlinked =
                unlinked.context(Operation::OldName("unlink the lock file"), self.lock_path())?;
            if unlinked.is_some() {
                return Ok(PathOwner::Us);
            }
        }
        Ok(PathOwner::NoFile)
    }

    /// Whose file the path names. The holder's has the inode `id` and a record with `writer_id`;
    /// `own` is its descriptor, if that is at hand.
    pub(super) fn path_owner(
        &self,
        own: Option<&S::File>,
        id: FileId,
        writer_id: WriterId,
    ) -> Result<PathOwner, IoError> {
        let look = || self.path_owner_now(own, id, writer_id);
        match look()? {
            PathOwner::NoFile => {
                // A breaker that caught the holder's file by mistake is putting it back.
                self.settle(SETTLE);
                look()
            }
            owner => Ok(owner),
        }
    }

    fn path_owner_now(
        &self,
        own: Option<&S::File>,
        id: FileId,
        writer_id: WriterId,
    ) -> Result<PathOwner, IoError> {
        let Some(stat) = self.entry.stat()? else {
            return Ok(PathOwner::NoFile);
        };
        if self.entry.is_local() && stat.id == id {
            return Ok(PathOwner::Us);
        }
        if stat.kind != FileKind::Regular {
            return Ok(PathOwner::Other(None));
        }
        let read = self.read_locked(&self.entry.name, own, id);
        let record = read.map(|prefix| prefix.map(|prefix| Record::decode(prefix.bytes())));
        if self.entry.is_local() {
            return Ok(match record {
                Ok(None) => PathOwner::NoFile,
                // With the own writer id it is a copy of the own file: no other holder to name.
                Ok(Some(Ok(record))) if record.writer_id() == writer_id => PathOwner::Other(None),
                Ok(Some(record)) => PathOwner::Other(record.ok()),
                Err(_) => PathOwner::Other(None),
            });
        }
        self.owner_by_content(record, writer_id)
    }

    /// Whose file is at the path, by its content. On a file system that is not local inode numbers
    /// prove nothing: sshfs gives a successor's file the same one, and weed mount gives the
    /// holder's own file another one after a while.
    fn owner_by_content(
        &self,
        record: io::Result<Option<std::result::Result<Record, DecodeError>>>,
        writer_id: WriterId,
    ) -> Result<PathOwner, IoError> {
        match record.context(Operation::File("read"), self.lock_path())? {
            None => Ok(PathOwner::NoFile),
            Some(Ok(record)) if record.writer_id() == writer_id => Ok(PathOwner::Us),
            Some(Ok(record)) => Ok(PathOwner::Other(Some(record))),
            // Perhaps half of the holder's own write: neither a loss nor a file to unlink.
            Some(Err(error @ DecodeError::BadChecksum { .. })) => {
                Err(io::Error::other(error)).context(Operation::File("read"), self.lock_path())
            }
            Some(Err(_)) => Ok(PathOwner::Other(None)),
        }
    }
}
