//! The verdict, and the reason for it.

use core::fmt;
use core::time::Duration;

/// Whether the lock is held or stale, and why.
///
/// ```
/// use rvlf::judge::{Reason, Verdict};
///
/// let verdict = Verdict::Stale { reason: Reason::KernelWitness };
/// assert!(verdict.is_stale());
/// assert_eq!(verdict.reason().row(), 6);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// Held, or not provably stale.
    Held {
        /// Why.
        reason: Reason,
        /// Time until age alone would make the lock stale, if it is not refreshed. `None`: never.
        stale_in: Option<Duration>,
    },
    /// Stale: a dead holder left it, and it may be broken.
    Stale {
        /// Why.
        reason: Reason,
    },
}

impl Verdict {
    /// Whether the lock may be broken.
    ///
    /// ```
    /// use rvlf::judge::{Reason, Verdict};
    ///
    /// assert!(Verdict::Stale { reason: Reason::ProcessDead }.is_stale());
    /// ```
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        matches!(self, Verdict::Stale { .. })
    }

    /// The reason for the verdict.
    ///
    /// ```
    /// use rvlf::judge::{Reason, Verdict};
    ///
    /// let verdict = Verdict::Stale { reason: Reason::ProcessDead };
    /// assert_eq!(verdict.reason(), Reason::ProcessDead);
    /// ```
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Verdict::Held { reason, .. } | Verdict::Stale { reason } => *reason,
        }
    }

    /// Time until age alone would make the lock stale: zero for a stale one, `None` for never.
    ///
    /// ```
    /// use rvlf::judge::{Reason, Verdict};
    ///
    /// let verdict = Verdict::Held { reason: Reason::KernelLock, stale_in: None };
    /// assert_eq!(verdict.stale_in(), None, "age alone never makes it stale");
    /// ```
    #[must_use]
    pub const fn stale_in(&self) -> Option<Duration> {
        match self {
            Verdict::Held { stale_in, .. } => *stale_in,
            Verdict::Stale { .. } => Some(Duration::ZERO),
        }
    }

    pub(super) const fn held(reason: Reason) -> Verdict {
        Verdict::Held {
            reason,
            stale_in: None,
        }
    }

    pub(super) const fn held_for(reason: Reason, stale_in: Duration) -> Verdict {
        Verdict::Held {
            reason,
            stale_in: Some(stale_in),
        }
    }

    pub(super) const fn stale(reason: Reason) -> Verdict {
        Verdict::Stale { reason }
    }
}

/// Why a lock is held or stale. `Display` gives a sentence, [`code`](Reason::code) a stable name.
///
/// ```
/// use rvlf::judge::Reason;
///
/// let reason = Reason::PidProbablyReused;
/// assert_eq!((reason.code(), reason.row()), ("pid-probably-reused", 10));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Row 1: not an RVLF record.
    Foreign,
    /// Row 1: a record of another version.
    Unsupported,
    /// Row 2: the kernel lock is held.
    KernelLock,
    /// Row 2: the kernel lock is held although the recorded process is dead. `LockFile::locked_by`
    /// shows by which process.
    KernelLockOutlivesProcess,
    /// Row 2: a mandatory lock of a file server, which keeps others from reading the record.
    MandatoryLock,
    /// Row 3: a torn record, young.
    BeingWritten,
    /// Row 4: a torn record, old.
    Malformed,
    /// Row 14: a hold that this process has given up.
    GivenUp,
    /// Row 14: a hold that this process has lost, whose guard it has not dropped yet.
    GuardNotDropped,
    /// Row 5: the process is alive, but its descriptor is closed.
    DescriptorClosed,
    /// Row 6: the kernel witnesses that no process holds it.
    KernelWitness,
    /// Row 7: the process is gone; not old enough yet, or old enough.
    ProcessGone,
    /// Row 8: from before this machine's boot; not old enough yet, or old enough.
    BeforeBoot,
    /// Row 9: stamped on another kernel or for another inode; refreshed recently, or not.
    Elsewhere,
    /// Row 10: an unstamped record whose process is alive.
    ProcessAlive,
    /// Row 10: an unstamped record whose pid was probably reused.
    PidProbablyReused,
    /// Row 10: an unstamped record whose process this user may not see.
    ProcessUnknown,
    /// Row 11: an unstamped record whose process is dead; not old enough yet, or old enough.
    ProcessDead,
    /// Row 12: an unstamped record under an alias of this host.
    HostAlias,
    /// Row 13: an unstamped record of another host.
    OtherHost,
    /// No row: the lock changed hands during every look.
    Contended,
    /// No row: this user may not read the lock file.
    Unreadable,
    /// No row: another process has a lease on the lock file, fcntl(2), or, on Windows, has it open and
    /// does not share it.
    Leased,
}

impl Reason {
    /// Every reason, in the order of the table's rows.
    pub const ALL: [Reason; 23] = [
        Reason::Foreign,
        Reason::Unsupported,
        Reason::KernelLock,
        Reason::KernelLockOutlivesProcess,
        Reason::MandatoryLock,
        Reason::BeingWritten,
        Reason::Malformed,
        Reason::GivenUp,
        Reason::GuardNotDropped,
        Reason::DescriptorClosed,
        Reason::KernelWitness,
        Reason::ProcessGone,
        Reason::BeforeBoot,
        Reason::Elsewhere,
        Reason::ProcessAlive,
        Reason::PidProbablyReused,
        Reason::ProcessUnknown,
        Reason::ProcessDead,
        Reason::HostAlias,
        Reason::OtherHost,
        Reason::Contended,
        Reason::Unreadable,
        Reason::Leased,
    ];

    /// A stable name for programs: it does not change when sentences or row numbers do.
    ///
    /// ```
    /// use rvlf::judge::Reason;
    ///
    /// assert_eq!(Reason::KernelLock.code(), "kernel-lock");
    /// ```
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Reason::Foreign => "foreign",
            Reason::Unsupported => "unsupported-version",
            Reason::KernelLock => "kernel-lock",
            Reason::KernelLockOutlivesProcess => "kernel-lock-outlives-process",
            Reason::MandatoryLock => "mandatory-lock",
            Reason::BeingWritten => "being-written",
            Reason::Malformed => "malformed",
            Reason::GivenUp => "given-up",
            Reason::GuardNotDropped => "guard-not-dropped",
            Reason::DescriptorClosed => "descriptor-closed",
            Reason::KernelWitness => "kernel-witness",
            Reason::ProcessGone => "process-gone",
            Reason::BeforeBoot => "before-boot",
            Reason::Elsewhere => "elsewhere",
            Reason::ProcessAlive => "process-alive",
            Reason::PidProbablyReused => "pid-probably-reused",
            Reason::ProcessUnknown => "process-unknown",
            Reason::ProcessDead => "process-dead",
            Reason::HostAlias => "host-alias",
            Reason::OtherHost => "other-host",
            Reason::Contended => "contended",
            Reason::Unreadable => "unreadable",
            Reason::Leased => "leased",
        }
    }

    /// The row of the table in `spec/protocol.md#judge` that matched; 0 for none.
    ///
    /// ```
    /// use rvlf::judge::Reason;
    ///
    /// assert_eq!(Reason::KernelLock.row(), 2);
    /// ```
    #[must_use]
    pub const fn row(self) -> u8 {
        match self {
            Reason::Contended | Reason::Unreadable | Reason::Leased => 0,
            Reason::Foreign | Reason::Unsupported => 1,
            Reason::KernelLock | Reason::KernelLockOutlivesProcess | Reason::MandatoryLock => 2,
            Reason::BeingWritten => 3,
            Reason::Malformed => 4,
            Reason::DescriptorClosed => 5,
            Reason::KernelWitness => 6,
            Reason::ProcessGone => 7,
            Reason::BeforeBoot => 8,
            Reason::Elsewhere => 9,
            Reason::ProcessAlive | Reason::PidProbablyReused | Reason::ProcessUnknown => 10,
            Reason::ProcessDead => 11,
            Reason::HostAlias => 12,
            Reason::OtherHost => 13,
            Reason::GivenUp | Reason::GuardNotDropped => 14,
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            Reason::Foreign => "the file is not an RVLF lock, so it is never removed",
            Reason::Unsupported => "the record is of another version, so it is never removed",
            Reason::KernelLock => "the kernel reports that a process holds it",
            Reason::KernelLockOutlivesProcess => {
                "the recorded process is not visible here, but the kernel lock is still held: by a \
                 child it forked, by a process in another container or on another machine, or by an \
                 unknown process"
            }
            Reason::MandatoryLock => {
                "the file server reports that a live process holds it, and lets no other process read \
                 the record"
            }
            Reason::BeingWritten => {
                "the record is incomplete and young: a process may still be writing it"
            }
            Reason::Malformed => {
                "the record is incomplete or damaged, and no process is writing it"
            }
            Reason::GivenUp => "this process lost it or could not release it, and has given it up",
            Reason::GuardNotDropped => {
                "this process has lost it, and has not dropped its guard yet"
            }
            Reason::DescriptorClosed => {
                "the recorded process is alive, although it has closed the lock file"
            }
            Reason::KernelWitness => "the kernel reports that no process holds it any more",
            Reason::ProcessGone => {
                "the recorded process is gone, and age decides on a shared file system"
            }
            Reason::BeforeBoot => "it was written on this host before the last boot",
            Reason::Elsewhere => {
                "this machine cannot see the holder: the age of the last refresh decides"
            }
            Reason::ProcessAlive => "the recorded process is alive on this host",
            Reason::PidProbablyReused => {
                "a process with the recorded pid is alive, but it started later: the pid was \
                 probably reused; if no process writes the data file, break the lock by force with \
                 its writer id"
            }
            Reason::ProcessUnknown => {
                "the recorded process may be alive: this user is not allowed to see it"
            }
            Reason::ProcessDead => "the recorded process is dead, and the lock's age decides",
            Reason::HostAlias => {
                "it names this host by an alias: the recorded process and the lock's age decide"
            }
            Reason::OtherHost => "it names another host: only its age decides",
            Reason::Contended => "the lock changed hands during every look at it",
            Reason::Unreadable => "this user may not read the lock file",
            Reason::Leased => {
                "another process keeps the lock file from being opened: by a lease, or on Windows by not sharing it"
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}
