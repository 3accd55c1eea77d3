//! The rules of a world: what does not change while it runs.

use std::collections::BTreeSet;
use std::time::Duration;

use nix::errno::Errno;

use super::DeletionKind;
use crate::judge::FileSystem;
use crate::protocol::{READ_BACK_DELAY, SETTLE};
use crate::sys::hooks::Safeguard;

/// Longer than every sleep whose only purpose is to let other processes run.
const SHORTEST_SLEEP: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(in crate::sim) struct Rules {
    pub(in crate::sim) file_system: FileSystem,
    /// Whether only the first machine has the file system, and the others mount its export.
    pub(in crate::sim) exported: bool,
    /// Whether files can be made without a name (O_TMPFILE), or the error.
    pub(in crate::sim) unnamed: Result<(), Errno>,
    /// Whether such files can be given a name, or the error.
    pub(in crate::sim) links: Result<(), Errno>,
    pub(in crate::sim) flock: FlockScope,
    /// Whether a flock is a mandatory lock of the server, as on SMB: contention is EACCES, a lock cannot
    /// be converted, and it keeps other descriptors from reading and writing.
    pub(in crate::sim) mandatory_flock: bool,
    /// With which error it keeps them from that.
    pub(in crate::sim) locked_against: Errno,
    /// Whether handles have share modes, as on Windows, and which deletion there is.
    pub(in crate::sim) share_modes: Option<DeletionKind>,
    /// Whether a directory that a process has open cannot be replaced.
    pub(in crate::sim) pins_directories: bool,
    /// Whether two kernels can both create one name, the last of them with success.
    pub(in crate::sim) exclusive_create_lies: bool,
    /// Whether an open file becomes unusable when its last name is removed.
    pub(in crate::sim) forgets_removed_files: bool,
    /// Whether a read of an open file whose last name is removed fails with EBADF.
    pub(in crate::sim) closes_removed_files: bool,
    /// Whether a file's inode number goes by its name.
    pub(in crate::sim) numbers_by_name: bool,
    /// Whether processes may not open the files that were there from the beginning.
    pub(in crate::sim) unreadable: bool,
    /// Whether processes may not open the files that others have created.
    pub(in crate::sim) private_files: bool,
    /// Whether a file has another inode number once something was written to it.
    pub(in crate::sim) numbers_change: bool,
    /// For how long a kernel shows what it has read of another kernel's file.
    pub(in crate::sim) cached_for: Option<Duration>,
    /// For how long a kernel shows the result of its last look at a name.
    pub(in crate::sim) names_cached_for: Option<Duration>,
    /// Whether an open leads to the file that the kernel has seen at the name, also if it was removed since,
    /// and whether the kernel can be made to look again.
    pub(in crate::sim) opens_remembered_files: bool,
    /// Whether a file that was removed has a name in a trash then.
    pub(in crate::sim) has_trash: bool,
    /// Whether a rename takes the name from an open file first, and then gives it to the other one.
    pub(in crate::sim) renames_away: bool,
    /// In a coarse world, how long a sleep takes that is shorter than a second and takes time.
    pub(in crate::sim) poll_takes: Option<Duration>,
    pub(in crate::sim) disabled: BTreeSet<Safeguard>,
    /// See [`World::coarse`](crate::sim::World::coarse).
    pub(in crate::sim) coarse: bool,
    /// In a coarse world, shorter sleeps take no time.
    pub(in crate::sim) shortest_sleep: Duration,
    /// See [`World::without_merging`](crate::sim::World::without_merging).
    pub(in crate::sim) no_merging: bool,
    /// See [`World::without_reduction`](crate::sim::World::without_reduction).
    pub(in crate::sim) no_reduction: bool,
    /// Whether processes write to files that have, or had, a name.
    pub(in crate::sim) named_writes: bool,
}

/// Which processes a flock excludes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum FlockScope {
    /// None: flock is not supported.
    Nowhere,
    /// Processes of the same kernel, as on sshfs; but not those that reach the files through an
    /// overlay, and those that do not.
    SameKernel,
    /// All processes that have the file open, as on NFS.
    Everywhere,
}

impl Rules {
    /// A local file system with everything that Linux has.
    pub(in crate::sim) fn local() -> Rules {
        Rules {
            file_system: FileSystem::Local { plain: true },
            exported: false,
            unnamed: Ok(()),
            links: Ok(()),
            flock: FlockScope::Everywhere,
            mandatory_flock: false,
            locked_against: Errno::EACCES,
            share_modes: None,
            pins_directories: false,
            exclusive_create_lies: false,
            forgets_removed_files: false,
            closes_removed_files: false,
            numbers_by_name: false,
            unreadable: false,
            private_files: false,
            cached_for: None,
            names_cached_for: None,
            opens_remembered_files: false,
            has_trash: false,
            renames_away: false,
            poll_takes: None,
            numbers_change: false,
            disabled: BTreeSet::new(),
            coarse: false,
            shortest_sleep: SHORTEST_SLEEP,
            no_merging: false,
            no_reduction: false,
            named_writes: false,
        }
    }

    pub(in crate::sim) fn lacks(&self, safeguard: Safeguard) -> bool {
        self.disabled.contains(&safeguard)
    }

    /// Which deletion there is where handles have share modes.
    pub(super) fn deletion(&self) -> DeletionKind {
        self.share_modes.unwrap_or(DeletionKind::Posix)
    }

    /// How long a sleep takes.
    pub(super) fn length_of(&self, sleep: Duration) -> Duration {
        match self.poll_takes {
            _ if self.is_instant(sleep) => Duration::ZERO,
            Some(poll) if sleep < SHORTEST_SLEEP => poll,
            _ => sleep,
        }
    }

    /// Whether a sleep takes no time.
    fn is_instant(&self, sleep: Duration) -> bool {
        self.coarse && sleep < self.shortest_sleep
            || self.lacks(Safeguard::Settle) && sleep == SETTLE
            || self.lacks(Safeguard::ReadBack) && sleep == READ_BACK_DELAY
    }
}
