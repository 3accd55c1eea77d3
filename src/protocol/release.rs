//! Release: remove our own file, and notice when it is not ours any more.

use super::{During, Outcome, Place, SETTLE, present};
use crate::record::Record;
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
    pub(crate) fn unlink_own(&self, id: FileId) -> Outcome<Whereabouts> {
        let whereabouts = self.whereabouts(id)?;
        if whereabouts != Whereabouts::Ours {
            return Ok(whereabouts);
        }
        match present(self.sys.unlink(&self.dir, &self.name)).during("unlink the lock file")? {
            Some(()) => Ok(Whereabouts::Ours),
            None => Ok(Whereabouts::Absent),
        }
    }

    /// Whether the path names the inode `id`.
    pub(crate) fn whereabouts(&self, id: FileId) -> Outcome<Whereabouts> {
        let stat = || present(self.sys.stat_at(&self.dir, &self.name)).during("stat");
        let mut found = stat()?;
        if found.is_none() {
            // A breaker that caught us by mistake is putting us back.
            self.sys.wait(None, SETTLE);
            found = stat()?;
        }
        match found {
            None => Ok(Whereabouts::Absent),
            Some(stat) if stat.id == id => Ok(Whereabouts::Ours),
            Some(stat) if stat.kind != FileKind::Regular => Ok(Whereabouts::Replaced(None)),
            Some(_) => {
                let head = self.read_path().ok().flatten();
                Ok(Whereabouts::Replaced(
                    head.and_then(|head| Record::decode(head.bytes()).ok()),
                ))
            }
        }
    }
}
