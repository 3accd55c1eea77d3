//! The evidence: every fact that a verdict rests on, as a value.

use core::time::Duration;

use crate::record::DecodeError;

/// Everything that a verdict rests on.
///
/// This type and the types of its fields are exhaustive: the judge table of the specification has a
/// row for every combination, and a new fact is a new major version of the specification and of
/// this crate. Source of each fact: `spec/protocol.md#evidence`. Example:
/// [`judge`](crate::judge::judge).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Evidence {
    /// The class of the file's content.
    pub content: Content,
    /// The answer of flock(2).
    pub kernel_lock: KernelLock,
    /// The file system of the lock file.
    pub file_system: FileSystem,
    /// Whether the record was stamped for this inode.
    pub stamp: Stamp,
    /// Whether the record names this host.
    pub host: HostMatch,
    /// Whether the recorded process is alive.
    pub process: Process,
    /// Age of the record's timestamp by this machine's clock, or the time for which the file was
    /// watched unchanged if that is more.
    pub timestamp_age: Age,
    /// Age of the file's modification time by the file server's clock, or the time for which the file
    /// was watched unchanged if that is more.
    pub mtime_age: Duration,
    /// Whether the record's timestamp is older than this machine's boot.
    pub predates_boot: bool,
    /// Whether the record is of a hold that this process has lost or given up.
    pub own_hold: OwnHold,
}

impl Evidence {
    /// Whether the record, whose stamp on a plain file system does not name the boot, was written
    /// before it: then the recorded pid and start ticks name no process of this boot. A record whose
    /// kernel lock is held was not, whatever a clock that was set says.
    pub(crate) fn is_of_another_boot(&self) -> bool {
        self.file_system.is_plain()
            && self.predates_boot
            && self.kernel_lock != KernelLock::HeldElsewhere
    }
}

/// What this process knows of the hold that a record is of, apart from what the file shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum OwnHold {
    /// Another process's hold, or one of this process that it has not lost.
    #[default]
    None,
    /// This process has lost the hold, and a thread may still write under its guard.
    Lost,
    /// This process has lost the hold or could not release it, and its owner has released or dropped
    /// the guard.
    GivenUp,
}

/// The class of the bytes at the lock path: [`DecodeError`] without its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Content {
    /// A whole record with a correct checksum.
    Valid,
    /// The beginning of a record, no bytes, or zeros.
    Short,
    /// A whole record whose checksum or pid is wrong.
    Corrupt,
    /// A record of a version that this library does not know.
    Unsupported,
    /// Not a record.
    Foreign,
}

impl From<&DecodeError> for Content {
    fn from(error: &DecodeError) -> Content {
        match error {
            DecodeError::Short { .. } => Content::Short,
            DecodeError::Foreign { .. } => Content::Foreign,
            DecodeError::UnsupportedVersion { .. } => Content::Unsupported,
            DecodeError::BadChecksum { .. } | DecodeError::BadPid { .. } => Content::Corrupt,
        }
    }
}

/// The state of flock(2) on the lock file's inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum KernelLock {
    /// Another open file description holds it exclusively.
    HeldElsewhere,
    /// No open file description holds it exclusively.
    Free,
    /// This file system has no flock.
    Unsupported,
}

/// Whether one kernel alone can reach the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileSystem {
    /// One kernel only: ext4, xfs, btrfs, tmpfs, overlay and similar file systems.
    Local {
        /// False for an overlay, which shows a file as another inode than its upper directory does.
        plain: bool,
    },
    /// Every other file system, FUSE included.
    NotLocal,
}

impl FileSystem {
    /// Whether one kernel alone can reach the file.
    ///
    /// ```
    /// use rvlf::judge::FileSystem;
    ///
    /// assert!(FileSystem::Local { plain: false }.is_local(), "an overlay");
    /// assert!(!FileSystem::NotLocal.is_local(), "NFS");
    /// ```
    #[must_use]
    pub const fn is_local(self) -> bool {
        matches!(self, FileSystem::Local { .. })
    }

    /// Whether the file system is local and no overlay.
    ///
    /// ```
    /// use rvlf::judge::FileSystem;
    ///
    /// assert!(FileSystem::Local { plain: true }.is_plain(), "ext4");
    /// assert!(!FileSystem::Local { plain: false }.is_plain(), "an overlay");
    /// ```
    #[must_use]
    pub const fn is_plain(self) -> bool {
        matches!(self, FileSystem::Local { plain: true })
    }
}

/// The record's kernel stamp, compared with this kernel and this inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stamp {
    /// Written for this very inode: on this running kernel, or, on a plain file system, on one that
    /// had the file system before.
    Same {
        /// Start time of the writer's process, in the unit of its system.
        start_ticks: u64,
    },
    /// Written for another inode (a copy), or, off plain file systems, on another kernel or before a
    /// reboot.
    Different {
        /// Start time of the writer's process, in the unit of its system.
        start_ticks: u64,
    },
    /// No stamp: a deployed client's record, or a host name too long to leave room.
    Absent,
}

/// The record's host name, compared with this host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum HostMatch {
    /// Equal to gethostname(2).
    Same,
    /// Equal only to `$HOSTNAME` or /etc/hostname, which deployed clients record.
    Alias,
    /// Another name.
    Other,
}

/// The recorded process, looked up by its pid in this pid namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Process {
    /// A process with this pid is running.
    Alive {
        /// Start time in the unit of this system: on Linux clock ticks since boot.
        start_ticks: u64,
        /// Whether it started after the record's timestamp: the pid was probably reused.
        started_after_timestamp: bool,
    },
    /// No such process, or a zombie. A pid of another pid namespace looks dead, too.
    Dead,
    /// The operating system does not allow this user to see it.
    Unknown,
}

/// The distance of a timestamp from now.
///
/// ```
/// use std::time::Duration;
/// use rvlf::judge::Age;
///
/// assert_eq!(Age::at(5, 3), Age::Past(Duration::from_nanos(2)));
/// assert_eq!(Age::at(3, 5), Age::Ahead(Duration::from_nanos(2)));
/// assert_eq!(Age::at(3, 5).or_zero(), Duration::ZERO);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Age {
    /// The timestamp lies in the past.
    Past(Duration),
    /// The timestamp lies in the future: two clocks differ, or one was set back.
    Ahead(Duration),
}

impl Age {
    /// The age at `now_ns` of `timestamp_ns`, both Unix time in nanoseconds. Never wraps.
    ///
    /// ```
    /// use rvlf::judge::Age;
    /// use std::time::Duration;
    ///
    /// assert_eq!(Age::at(1_000_000_000, 0), Age::Past(Duration::from_secs(1)));
    /// ```
    #[must_use]
    pub const fn at(now_ns: u64, timestamp_ns: u64) -> Age {
        if timestamp_ns <= now_ns {
            Age::Past(Duration::from_nanos(now_ns - timestamp_ns))
        } else {
            Age::Ahead(Duration::from_nanos(timestamp_ns - now_ns))
        }
    }

    /// The age as a length of time: zero for a timestamp in the future.
    ///
    /// ```
    /// use rvlf::judge::Age;
    /// use std::time::Duration;
    ///
    /// assert_eq!(Age::Ahead(Duration::from_secs(5)).or_zero(), Duration::ZERO);
    /// ```
    #[must_use]
    pub const fn or_zero(self) -> Duration {
        match self {
            Age::Past(age) => age,
            Age::Ahead(_) => Duration::ZERO,
        }
    }

    pub(super) fn exceeds(self, limit: Duration) -> bool {
        matches!(self, Age::Past(age) if age > limit)
    }

    /// The time until this age is `limit`.
    pub(super) fn until(self, limit: Duration) -> Duration {
        match self {
            Age::Past(age) => limit.saturating_sub(age),
            Age::Ahead(ahead) => limit.saturating_add(ahead),
        }
    }
}
