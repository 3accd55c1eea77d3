//! Release: remove our own file, and notice when it is not ours any more.

use std::io;

use super::{Context, Place, Result, SETTLE, present};
use crate::judge::FileSystem;
use crate::record::{DecodeError, Record, WriterId};
use crate::sys::hooks::sabotaged;
use crate::sys::{FileId, FileKind, Sys};

/// Whether the lock path still names our inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    Ours,
    Absent,
    /// Another lock file; its record, if it has a valid one.
    Replaced(Option<Record>),
}

impl<S: Sys> Place<S> {
    /// Unlinks our own lock file. The caller closes it afterwards: closed first, a contender could
    /// see the kernel lock free, break the lock and publish, and we would unlink the successor's.
    pub(crate) fn unlink_own(&self, id: FileId, writer_id: WriterId) -> Result<Whereabouts> {
        let whereabouts = self.whereabouts(id, writer_id)?;
        if whereabouts != Whereabouts::Ours && !sabotaged!(self.sys, OwnPath) {
            return Ok(whereabouts);
        }
        match present(self.sys.unlink(&self.dir, &self.name)).context("unlink the lock file")? {
            Some(()) => Ok(Whereabouts::Ours),
            None => Ok(Whereabouts::Absent),
        }
    }

    /// Whether the path names the inode `id`. On a file system that is not local inode numbers are no
    /// sign: a successor's file may have the same one (sshfs), our own another one after a while (weed
    /// mount). There our `writer_id` in it is.
    pub(crate) fn whereabouts(&self, id: FileId, writer_id: WriterId) -> Result<Whereabouts> {
        let stat = || present(self.sys.stat_at(&self.dir, &self.name)).context("stat");
        let mut found = stat()?;
        if found.is_none() {
            // A breaker that caught us by mistake is putting us back.
            self.sys.wait(None, SETTLE);
            found = stat()?;
        }
        let Some(stat) = found else {
            return Ok(Whereabouts::Absent);
        };
        let local = self.file_system == FileSystem::Local;
        if local && stat.id == id {
            return Ok(Whereabouts::Ours);
        }
        if stat.kind != FileKind::Regular {
            return Ok(Whereabouts::Replaced(None));
        }
        let read = self.read_afresh(&self.name);
        match read.map(|head| head.map(|head| Record::decode(head.bytes()))) {
            Ok(None) => Ok(Whereabouts::Absent),
            Ok(Some(Ok(record))) if !local && record.writer_id() == writer_id => {
                Ok(Whereabouts::Ours)
            }
            Ok(Some(Ok(record))) => Ok(Whereabouts::Replaced(Some(record))),
            // Perhaps ours, half seen: neither a loss nor a file to unlink.
            Ok(Some(Err(error @ DecodeError::BadChecksum { .. }))) if !local => {
                Err(io::Error::other(error)).context("read")
            }
            Err(error) if !local => Err(error).context("read"),
            _ => Ok(Whereabouts::Replaced(None)),
        }
    }
}
