//! Share modes, as Windows has them: what a handle may do, what it lets other handles do, and what
//! becomes of the name of a file that is deleted while handles are open.

use std::fmt;

use nix::errno::Errno;

use super::super::call::{Fd, Name, Reply};
use super::{Description, DescriptionId, Ino, Kernel, Rules};
use crate::sys::FileKind;
use crate::sys::hooks::Safeguard;

/// Another handle does not share what this one would do.
pub(in crate::sim) const SHARING_VIOLATION: Errno = Errno::EAGAIN;

/// The file is deleted, and a handle of it is still open.
pub(in crate::sim) const DELETE_PENDING: Errno = Errno::EINPROGRESS;

/// Reading, writing, and deleting: the last one is also needed to rename.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::sim) struct Actions {
    read: bool,
    write: bool,
    delete: bool,
}

impl Actions {
    const NONE: Actions = Actions::of(false, false, false);
    const READ: Actions = Actions::of(true, false, false);
    const WRITE: Actions = Actions::of(false, true, false);
    const DELETE: Actions = Actions::of(false, false, true);
    const READ_WRITE: Actions = Actions::of(true, true, false);
    const READ_DELETE: Actions = Actions::of(true, false, true);
    const ALL: Actions = Actions::of(true, true, true);

    const fn of(read: bool, write: bool, delete: bool) -> Actions {
        Actions {
            read,
            write,
            delete,
        }
    }

    fn are_within(self, other: Actions) -> bool {
        (!self.read || other.read) && (!self.write || other.write) && (!self.delete || other.delete)
    }
}

/// What a handle may do, and what it shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::sim) struct Sharing {
    access: Actions,
    share: Actions,
}

impl Sharing {
    /// Of a descriptor of a kernel without share modes: refuses nothing and is never refused.
    pub(in crate::sim) const NONE: Sharing = Sharing::of(Actions::NONE, Actions::NONE);
    /// Of a file that is only read.
    pub(in crate::sim) const LOOK: Sharing = Sharing::of(Actions::READ, Actions::ALL);
    /// Of an examiner.
    pub(in crate::sim) const EXAMINE: Sharing =
        Sharing::of(Actions::READ_DELETE, Actions::READ_DELETE);
    /// Of a breaker.
    pub(in crate::sim) const BREAK: Sharing = Sharing::of(Actions::READ_DELETE, Actions::READ);
    /// Of a holder, and of a private file.
    pub(in crate::sim) const HOLD: Sharing = Sharing::of(Actions::ALL, Actions::READ);
    /// Of a program that reads and does not share deletion: a scanner, or `open` of C and Python.
    pub(in crate::sim) const SCAN: Sharing = Sharing::of(Actions::READ, Actions::READ_WRITE);
    /// Of a program that writes by std: a deployed client.
    pub(in crate::sim) const WRITE: Sharing = Sharing::of(Actions::WRITE, Actions::ALL);
    /// Of a program that deletes or renames by std.
    pub(in crate::sim) const DELETE: Sharing = Sharing::of(Actions::DELETE, Actions::ALL);

    const fn of(access: Actions, share: Actions) -> Sharing {
        Sharing { access, share }
    }

    /// What the handle is without a safeguard.
    fn under(self, rules: &Rules) -> Sharing {
        let shares_all = match self {
            Sharing::HOLD | Sharing::EXAMINE => rules.lacks(Safeguard::ShareMode),
            Sharing::BREAK => {
                rules.lacks(Safeguard::ShareMode) || rules.lacks(Safeguard::KernelLock)
            }
            _ => false,
        };
        match shares_all {
            true => Sharing::of(self.access, Actions::ALL),
            false => self,
        }
    }

    fn conflicts(self, other: Sharing) -> bool {
        let refuses = |one: Sharing, other: Sharing| !other.access.are_within(one.share);
        let asks = |one: Sharing| one.access != Actions::NONE;
        asks(self) && asks(other) && (refuses(self, other) || refuses(other, self))
    }

    /// Whether no handle is ever refused because of this one.
    pub(super) fn refuses_none(self) -> bool {
        self == Sharing::NONE || self == Sharing::LOOK
    }

    /// Whether the close of this handle generates no event, in whatever state the file is.
    pub(super) fn is_windows(self) -> bool {
        self != Sharing::NONE
    }
}

/// When the name of a deleted file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Deletion {
    /// By POSIX semantics: with the last copy of this handle.
    With(DescriptionId),
    /// With the last handle of the file.
    WithTheLast,
}

/// Which deletion a system has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum DeletionKind {
    Posix,
    Classic,
}

/// What a rename does to a file that has the new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::sim) enum Existing {
    Stays,
    IsReplaced,
}

impl Kernel {
    /// Whether another open handle refuses this one, or would be refused by it.
    pub(super) fn is_refused(&self, ino: Ino, sharing: Sharing) -> bool {
        self.references(|other| other.ino == ino && sharing.conflicts(other.sharing)) > 0
    }

    fn find_undeleted(&self, name: &Name) -> Result<Ino, Errno> {
        let ino = self.find(name)?;
        match self.inode(ino).deletion {
            Some(_) => Err(DELETE_PENDING),
            None => Ok(ino),
        }
    }

    /// NtCreateFile of what exists.
    pub(super) fn open_shared(
        &mut self,
        rules: &Rules,
        pid_index: usize,
        name: &Name,
        sharing: Sharing,
    ) -> Result<Reply, Errno> {
        let ino = self.find_undeleted(name)?;
        match self.inode(ino).kind {
            FileKind::Regular => {}
            FileKind::Directory => return Err(Errno::EISDIR),
            _ => return Err(Errno::ELOOP),
        }
        let sharing = sharing.under(rules);
        if self.is_refused(ino, sharing) {
            return Err(SHARING_VIOLATION);
        }
        Ok(Reply::File(self.add_handle(pid_index, ino, sharing)))
    }

    /// NtCreateFile of what does not exist yet.
    pub(super) fn create_shared(
        &mut self,
        rules: &Rules,
        pid_index: usize,
        name: &Name,
        sharing: Sharing,
    ) -> Result<Reply, Errno> {
        match self.find_undeleted(name) {
            Err(Errno::ENOENT) => {}
            Err(pending) => return Err(pending),
            Ok(_) => return Err(Errno::EEXIST),
        }
        let ino = self.make_named(rules, pid_index, name);
        let sharing = sharing.under(rules);
        Ok(Reply::File(self.add_handle(pid_index, ino, sharing)))
    }

    fn add_handle(&mut self, pid_index: usize, ino: Ino, sharing: Sharing) -> Fd {
        let fd = self.add_descriptor(pid_index, ino, sharing.access.write);
        if let Ok((id, _)) = self.description(pid_index, fd) {
            self.description_mut(id).sharing = sharing;
        }
        fd
    }

    /// The handle, if it may delete and the file is not deleted yet.
    fn deletable(&self, pid_index: usize, fd: Fd) -> Result<(DescriptionId, Ino), Errno> {
        let (id, description) = self.description(pid_index, fd)?;
        if !description.sharing.access.delete {
            return Err(Errno::EACCES);
        }
        match self.inode(description.ino).deletion {
            Some(_) => Err(DELETE_PENDING),
            None => Ok((id, description.ino)),
        }
    }

    /// Gives an open file another name.
    pub(super) fn rename_open(
        &mut self,
        rules: &Rules,
        pid_index: usize,
        fd: Fd,
        to: &Name,
        existing: Existing,
    ) -> Result<Reply, Errno> {
        let (_, ino) = self.deletable(pid_index, fd)?;
        let replaces = existing == Existing::IsReplaced || rules.lacks(Safeguard::PublishNoReplace);
        match self.find_undeleted(to) {
            Err(Errno::ENOENT) => {}
            Err(pending) => return Err(pending),
            Ok(_) if !replaces => return Err(Errno::EEXIST),
            // Each handle of that file has to share its deletion.
            Ok(at) if self.is_refused(at, Sharing::DELETE) => return Err(Errno::EACCES),
            Ok(_) => {}
        }
        let from = self.name_of(ino).ok_or(Errno::ENOENT)?;
        self.rename(&from, to)
    }

    fn name_of(&self, ino: Ino) -> Option<Name> {
        let mut names = self.names.iter();
        names.find_map(|(name, at)| (*at == ino).then(|| name.clone()))
    }

    /// Deletes an open file.
    pub(super) fn delete_open(
        &mut self,
        rules: &Rules,
        pid_index: usize,
        fd: Fd,
    ) -> Result<Reply, Errno> {
        let (id, ino) = self.deletable(pid_index, fd)?;
        self.inode_mut(ino).deletion = Some(match rules.deletion() {
            DeletionKind::Posix => Deletion::With(id),
            DeletionKind::Classic => Deletion::WithTheLast,
        });
        Ok(Reply::Done)
    }

    /// What std does to delete a file by its name.
    pub(super) fn delete_at(
        &mut self,
        rules: &Rules,
        pid_index: usize,
        name: &Name,
    ) -> Result<Reply, Errno> {
        let Reply::File(fd) = self.open_shared(rules, pid_index, name, Sharing::DELETE)? else {
            return Err(Errno::EIO);
        };
        let deleted = self.delete_open(rules, pid_index, fd);
        self.close(pid_index, fd)?;
        deleted
    }

    /// What std does to rename a file by its name.
    pub(super) fn rename_at(
        &mut self,
        rules: &Rules,
        pid_index: usize,
        from: &Name,
        to: &Name,
    ) -> Result<Reply, Errno> {
        let Reply::File(fd) = self.open_shared(rules, pid_index, from, Sharing::DELETE)? else {
            return Err(Errno::EIO);
        };
        let renamed = self.rename_open(rules, pid_index, fd, to, Existing::IsReplaced);
        self.close(pid_index, fd)?;
        renamed
    }

    /// Takes the name of a deleted file away if the handle `closed` was what kept it.
    pub(super) fn finish_deletion(&mut self, ino: Ino, closed: DescriptionId) {
        let is_due = match self.inode(ino).deletion {
            Some(Deletion::With(id)) => id == closed,
            Some(Deletion::WithTheLast) => self.references(|other| other.ino == ino) == 0,
            None => false,
        };
        if !is_due {
            return;
        }
        if let Some(name) = self.name_of(ino) {
            self.names.remove(&name);
            self.inode_mut(ino).links -= 1;
            self.notify_watches(ino);
        }
    }

    /// The last close of a handle that was in the way of others generates no event, unless the end of
    /// its process does, or the file has lost its name.
    pub(super) fn note_close(&mut self, pid_index: usize, closed: &Description) {
        let inode = self.inode(closed.ino);
        self.had_silent_unlock |= closed.sharing.is_windows()
            && !closed.sharing.share.delete
            && inode.creator != Some(pid_index)
            && inode.links > 0;
    }

    /// Whether both handles are of one file.
    pub(super) fn is_same_file(&self, pid_index: usize, fds: [Fd; 2]) -> Result<Reply, Errno> {
        let [one, other] = fds;
        let ino = |fd| self.description(pid_index, fd).map(|(_, found)| found.ino);
        Ok(Reply::IsSameFile(ino(one)? == ino(other)?))
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [(self.read, 'R'), (self.write, 'W'), (self.delete, 'D')];
        let letters = letters.iter().filter(|(is_set, _)| *is_set);
        letters
            .map(|(_, letter)| letter)
            .try_for_each(|letter| write!(f, "{letter}"))
    }
}

impl fmt::Display for Sharing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sharing {}", self.access, self.share)
    }
}
