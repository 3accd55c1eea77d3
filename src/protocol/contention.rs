//! [`Contention`]: the holder that was in the way of an operation.

use crate::holder::{FileFacts, Holder};
use crate::judge::{Reason, Verdict};
use crate::record::{Record, WriterId};
use crate::sys::FileId;

/// The holder that was in the way, and the inode to watch.
pub(crate) struct Contention {
    pub(crate) holder: Box<Holder>,
    pub(super) id: Option<FileId>,
}

/// Names one hold. The inode alone does not: its number may belong to the next holder's file a
/// moment later.
pub(super) type HoldId = (FileId, Option<WriterId>);

impl Contention {
    /// The lock file was another one at every look.
    pub(crate) fn changed_hands() -> Contention {
        Contention::unseen(Reason::Contended, FileFacts::UNKNOWN)
    }

    /// This user may not read the lock file, which belongs to user `uid`.
    pub(super) fn unreadable(uid: Option<u32>) -> Contention {
        let facts = FileFacts {
            uid,
            ..FileFacts::UNKNOWN
        };
        Contention::unseen(Reason::Unreadable, facts)
    }

    /// Another process has locked the file, and the server lets no other one read it.
    pub(super) fn locked() -> Contention {
        Contention::unseen(Reason::MandatoryLock, FileFacts::UNKNOWN)
    }

    /// Another process has a lease on the lock file and does not yield it, or, on Windows, has it open and
    /// does not share it.
    pub(super) fn leased() -> Contention {
        Contention::unseen(Reason::Leased, FileFacts::UNKNOWN)
    }

    /// A holder whose file cannot be read, and so not watched.
    fn unseen(reason: Reason, facts: FileFacts) -> Contention {
        Contention {
            holder: Box::new(Holder::unseen(reason, facts)),
            id: None,
        }
    }

    /// The stale lock of `holder` could not be broken, because another process kept its kernel lock
    /// all the time.
    pub(super) fn busy(holder: Holder, id: FileId) -> Contention {
        let verdict = Verdict::Held {
            reason: Reason::KernelLockOutlivesProcess,
            stale_in: None,
        };
        Contention {
            holder: Box::new(Holder { verdict, ..holder }),
            id: Some(id),
        }
    }

    /// The hold that was in the way, if there is a file to watch.
    pub(super) fn hold(&self) -> Option<HoldId> {
        self.id.map(|id| (id, self.writer_id()))
    }

    pub(super) fn writer_id(&self) -> Option<WriterId> {
        self.holder.record().map(Record::writer_id)
    }
}
