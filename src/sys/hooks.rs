//! The test hooks of the protocol. Only the simulated kernel of the tests (`--cfg rvlf_sim`) uses
//! them; without that cfg they are constants and empty functions.

#[cfg(rvlf_sim)]
pub use self::simulated::Safeguard;
#[cfg(rvlf_sim)]
pub(crate) use self::simulated::{Hooks, Rounds};

/// Whether the simulated kernel has disabled a [`Safeguard`]. Always `false` outside of the
/// simulator.
#[cfg(rvlf_sim)]
macro_rules! sabotaged {
    ($sys:expr, $safeguard:ident) => {
        $crate::sys::Sys::hooks(&$sys)
            .is_some_and(|hooks| hooks.disables($crate::sys::hooks::Safeguard::$safeguard))
    };
}
#[cfg(not(rvlf_sim))]
macro_rules! sabotaged {
    ($sys:expr, $safeguard:ident) => {
        false
    };
}
pub(crate) use sabotaged;

/// Outside of the simulator: nothing.
#[cfg(not(rvlf_sim))]
pub(crate) struct Rounds;

#[cfg(not(rvlf_sim))]
impl Rounds {
    pub(crate) fn of<S>(_sys: &S) -> Rounds {
        Rounds
    }

    pub(crate) fn begin_with(&self, _memory: &[&dyn std::fmt::Debug]) {}
}

#[cfg(rvlf_sim)]
mod simulated {
    use std::fmt;

    use crate::sys::Sys;

    /// What the protocol reports to a simulated kernel besides its calls.
    pub(crate) trait Hooks {
        /// Marks the place right before a loop, and names it.
        fn begin_loop(&self) -> usize;
        /// Begins a round of the loop `entry` that remembers nothing of its earlier rounds but
        /// `memory`.
        fn begin_round(&self, entry: usize, memory: &dyn fmt::Debug);
        fn disables(&self, safeguard: Safeguard) -> bool;
    }

    /// The rounds of one loop of the protocol.
    ///
    /// The simulator merges all histories that begin a round of a loop with the same memory.
    /// Without that, its search would not end where contenders keep each other busy.
    pub(crate) struct Rounds<'s> {
        /// The loop, if a simulated kernel runs it.
        entry: Option<(&'s dyn Hooks, usize)>,
    }

    impl<'s> Rounds<'s> {
        /// Marks the place right before a loop.
        pub(crate) fn of<S: Sys>(sys: &'s S) -> Rounds<'s> {
            let hooks = sys.hooks();
            Rounds {
                entry: hooks.map(|hooks| (hooks, hooks.begin_loop())),
            }
        }

        /// Begins a round that remembers nothing of the loop's earlier rounds but `memory`.
        pub(crate) fn begin_with(&self, memory: &[&dyn fmt::Debug]) {
            if let Some((hooks, entry)) = self.entry {
                hooks.begin_round(entry, &memory);
            }
        }
    }

    /// A safeguard of the protocol that a simulated world can disable, to show that the search over
    /// the world's schedules finds the harm. The shipped protocol has no way to disable one.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
    #[non_exhaustive]
    pub enum Safeguard {
        // Disabled by the simulated kernel alone.
        /// A breaker holds the kernel lock exclusively. (Disabled: an exclusive flock of another
        /// process's file does nothing and reports success; where handles have share modes, a breaker's
        /// shares everything.)
        KernelLock,
        /// A holder and its forked children never unlock the kernel lock but only close its file.
        /// (Disabled: closing one of several copies of a descriptor unlocks.)
        CloseOnly,
        /// A lock file that was renamed aside by mistake is put back only if the path is free.
        /// (Disabled: that rename replaces.)
        PutBackNoReplace,
        /// A record and its name are synced before the lock is handed out. (Disabled: a sync does
        /// nothing and reports success.)
        Sync,
        /// A publisher that has broken a lock that deployed clients may also have judged stale
        /// waits for those clients. (Disabled: that sleep takes no time.)
        Settle,
        /// Off local file systems a publisher waits until all creators of the name see one file,
        /// and reads its record back. (Disabled: that sleep takes no time.)
        ReadBack,
        /// Off local file systems the mount is made to ask its server before each look at a name.
        /// (Disabled: it shows what it remembers.)
        ForgetName,
        /// The handle of a holder, and of a breaker, lets others read and nothing else, and that of an
        /// examiner does not let them write. (Disabled: they share everything.)
        ShareMode,
        /// A publish by renaming fails where the name is taken. (Disabled: that rename replaces.)
        PublishNoReplace,
        /// Off local file systems a table is locked by a file beside it. (Disabled: by its own file.)
        TableBeside,
        /// The holder of a table's entry is alive while its byte is locked. (Disabled: no byte reads as
        /// locked.)
        Witness,

        // Disabled by the calls that simulated processes make where handles have share modes.
        /// A file is removed by the handle that has its kernel lock. (Disabled: closes the handle, and
        /// removes what has the name.)
        RemoveByHandle,
        /// It is renamed before it is deleted. (Disabled: deleted under its own name.)
        RemoveAside,
        /// A sharing violation reads as held. (Disabled: as free.)
        ViolationIsHeld,

        // Disabled by `sabotaged!` in the protocol.
        /// A breaker checks again that the path still names the inode that it judged, and that the
        /// file that it renamed aside is that inode.
        Identity,
        /// Off local file systems a breaker looks at the name again once it has opened what is there.
        NameAgain,
        /// A holder checks that its descriptor is still its lock file before it writes.
        OwnDescriptor,
        /// Off local file systems a holder reads the record at the path before it writes.
        OwnRecord,
        /// A holder checks that the path still names its file before it unlinks.
        OwnPath,
        /// Where a holder's kernel lock keeps itself from reading the path, it compares the inode number
        /// there with that of its own file. (Disabled: the content of its own file decides.)
        OwnNumber,
        /// A holder checks that its descriptor, and so its kernel lock, is still there before it
        /// unlinks.
        UnlinkUnderLock,
        /// A holder that has lent its descriptor unlinks only once no other process has it. (Disabled:
        /// unlinks as any holder.)
        Lent,
        /// It compares the path again before that unlink.
        LentPath,
        /// A publish that fails removes the file that it made.
        Withdraw,
        /// Off local file systems it makes that file short through its descriptor. (Disabled: unlinks
        /// the name if it has the file's inode number.)
        WithdrawByDescriptor,
        /// A publisher that could not lock its file does not remove that file.
        LockedWithdraw,
        /// A process breaks the lock of a hold that it has lost only once the guard is dropped.
        GuardDropped,
        /// A contender compares the directory that its path leads to with the one that it has open.
        Path,
        /// A publisher makes this comparison as the last step before it hands the lock out.
        /// (Disabled: as the step before it publishes.)
        PathLast,
        /// On a plain file system a writer's key has neither the boot id nor the device number.
        /// (Disabled: it has both.)
        PlainKey,
        /// Only a writer on a plain file system writes such a key.
        PlainWriter,
        /// Only a contender on a plain file system compares it.
        PlainReader,
        /// On a plain file system a record from before the boot is not judged by host names. (Disabled:
        /// row 8 applies there, too.)
        NoHostNames,
        /// The time between two looks at an unchanged file counts for 10 s at the most. (Disabled: all of
        /// it.)
        LongestGap,
        /// A waiter examines again whatever may have changed before its watch was armed.
        LookAfterWatch,
        /// Where unlocks are events, a waiter watches for them only while another process has the kernel
        /// lock. (Disabled: always.)
        OwnUnlocks,
        /// A process that has locked a table checks that the path still names the file.
        TableName,
        /// It checks this again before it saves.
        TableNameAtSave,
        /// The last step of its save is a second check that the path leads to the table.
        TablePathLast,
    }
}
