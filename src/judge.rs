//! The judgement: from evidence to a verdict, and nothing else.
//!
//! [`judge`] is a pure function: no I/O, no clock, `no_std`. Whoever gathers the evidence states
//! facts; only this file says what they mean. It fails closed: doubt reads as held (the precedent is
//! PostgreSQL's and restic's). The first matching row of the table in `spec/protocol.md#judge` wins.

use core::fmt;
use core::time::Duration;

use crate::record::DecodeError;

/// What the bytes at the lock path are: [`DecodeError`] without its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// A whole record whose checksum fits.
    Valid,
    /// The beginning of a record, nothing, or zeros.
    Short,
    /// A whole record whose checksum or pid is wrong.
    Corrupt,
    /// A record of a version that we do not know.
    Unsupported,
    /// No record at all.
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

/// What flock(2) says about the lock file's inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KernelLock {
    /// Somebody else holds it exclusively.
    HeldElsewhere,
    /// Nobody holds it exclusively.
    Free,
    /// This file system has no flock.
    Unsupported,
}

/// Whether one kernel alone can reach the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileSystem {
    /// One kernel only: ext4, xfs, btrfs, tmpfs, overlay and their like.
    Local,
    /// Everything else, FUSE included.
    NotLocal,
}

/// The record's kernel stamp, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stamp {
    /// Written on this running kernel for this very inode.
    Same {
        /// When the writer's process started.
        start_ticks: u64,
    },
    /// Written elsewhere, before a reboot, or for another inode (a copy).
    Different {
        /// When the writer's process started.
        start_ticks: u64,
    },
    /// None: a deployed client's record, or a host name too long to leave room.
    Absent,
}

/// The record's host name, compared with ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HostMatch {
    /// Equal to gethostname(2).
    Same,
    /// Equal only to `$HOSTNAME` or /etc/hostname, which deployed clients record.
    Alias,
    /// Another name.
    Other,
}

/// The process that the record names, looked up by its pid in this pid namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Process {
    /// It runs.
    Alive {
        /// When it started, in clock ticks since boot.
        start_ticks: u64,
        /// Whether it started after the record's timestamp: the pid was probably reused.
        started_after_timestamp: bool,
    },
    /// No such process, or a zombie. A pid of another pid namespace looks dead, too.
    Dead,
    /// We may not know.
    Unknown,
}

/// How far a timestamp lies from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Age {
    /// It has passed.
    Past(Duration),
    /// It lies in the future: clocks differ, or one was set back.
    Ahead(Duration),
}

impl Age {
    /// The age at `now_ns` of `timestamp_ns`, both Unix time in nanoseconds. Never wraps.
    #[must_use]
    pub const fn at(now_ns: u64, timestamp_ns: u64) -> Age {
        if timestamp_ns <= now_ns {
            Age::Past(Duration::from_nanos(now_ns - timestamp_ns))
        } else {
            Age::Ahead(Duration::from_nanos(timestamp_ns - now_ns))
        }
    }

    /// The age as a length of time: zero for what lies in the future.
    #[must_use]
    pub const fn or_zero(self) -> Duration {
        match self {
            Age::Past(age) => age,
            Age::Ahead(_) => Duration::ZERO,
        }
    }

    fn exceeds(self, limit: Duration) -> bool {
        matches!(self, Age::Past(age) if age > limit)
    }

    /// How long until this age is `limit`.
    fn until(self, limit: Duration) -> Duration {
        match self {
            Age::Past(age) => limit.saturating_sub(age),
            Age::Ahead(ahead) => limit.saturating_add(ahead),
        }
    }
}

/// Everything that a judgement rests on, as values.
///
/// Source of each fact: `spec/protocol.md#evidence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Evidence {
    /// What the file's bytes are.
    pub content: Content,
    /// What flock(2) says.
    pub kernel_lock: KernelLock,
    /// What the file lies on.
    pub file_system: FileSystem,
    /// Whether the record was stamped on this kernel for this inode.
    pub stamp: Stamp,
    /// Whether the record names this host.
    pub host: HostMatch,
    /// Whether the record's process lives.
    pub process: Process,
    /// Age of the record's timestamp by this machine's clock.
    pub timestamp_age: Age,
    /// Age of the file's modification time by the file server's clock.
    pub mtime_age: Duration,
    /// Whether the record's timestamp is older than this machine's boot.
    pub predates_boot: bool,
}

/// The thresholds of age. They only ever decide where no kernel can witness a death.
///
/// Contenders with different policies exclude each other all the same; the shortest threshold among
/// them decides how early a holder that cannot be witnessed may be judged dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StalePolicy {
    malformed_grace: Duration,
    same_host_age: Duration,
    cross_host_age: Duration,
    never: bool,
}

impl StalePolicy {
    /// How long a torn record may be somebody's unfinished write: deployed clients create the file
    /// and then write it, which takes them microseconds; 2 s outlasts a loaded machine.
    pub const MALFORMED_GRACE: Duration = Duration::from_secs(2);
    /// The published RVF rule for a dead process of the same host.
    pub const SAME_HOST_AGE: Duration = Duration::from_secs(30);
    /// The published RVF rule for other hosts.
    pub const CROSS_HOST_AGE: Duration = Duration::from_secs(300);

    /// The documented defaults: 2 s, 30 s, 300 s.
    #[must_use]
    pub const fn new() -> StalePolicy {
        StalePolicy {
            malformed_grace: StalePolicy::MALFORMED_GRACE,
            same_host_age: StalePolicy::SAME_HOST_AGE,
            cross_host_age: StalePolicy::CROSS_HOST_AGE,
            never: false,
        }
    }

    /// Nothing is ever stale: a dead holder's lock waits for a person.
    #[must_use]
    pub const fn never() -> StalePolicy {
        StalePolicy {
            never: true,
            ..StalePolicy::new()
        }
    }

    /// Sets how old a malformed file must be to be stale (rows 3 and 4).
    #[must_use]
    pub const fn malformed_grace(mut self, age: Duration) -> StalePolicy {
        self.malformed_grace = age;
        self
    }

    /// Sets how old a dead process's record of the same host must be (rows 5, 7, 8 and 11).
    #[must_use]
    pub const fn same_host_age(mut self, age: Duration) -> StalePolicy {
        self.same_host_age = age;
        self
    }

    /// Sets how old a record must be that nobody here can check (rows 9, 12 and 13).
    ///
    /// Holders elsewhere refresh every 10 s by default and give themselves up after half of this
    /// (150 s): less than 30 s would rob the living.
    #[must_use]
    pub const fn cross_host_age(mut self, age: Duration) -> StalePolicy {
        self.cross_host_age = age;
        self
    }

    #[cfg(feature = "std")]
    pub(crate) const fn malformed_limit(&self) -> Duration {
        self.malformed_grace
    }

    #[cfg(feature = "std")]
    pub(crate) const fn cross_host_limit(&self) -> Duration {
        self.cross_host_age
    }
}

impl Default for StalePolicy {
    fn default() -> StalePolicy {
        StalePolicy::new()
    }
}

/// Whether the lock is held or left behind, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// Held, or not provably left behind.
    Held {
        /// Why.
        reason: Reason,
        /// How long until age alone would make it stale, if nothing is refreshed. `None`: never.
        stale_in: Option<Duration>,
    },
    /// Left behind: it may be broken.
    Stale {
        /// Why.
        reason: Reason,
    },
}

impl Verdict {
    /// Whether the lock may be broken.
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        matches!(self, Verdict::Stale { .. })
    }

    /// Why the verdict is what it is.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Verdict::Held { reason, .. } | Verdict::Stale { reason } => *reason,
        }
    }
}

/// Why a lock is held or stale. `Display` gives a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Row 1: not an RVLF record.
    Foreign,
    /// Row 1: a record of another version.
    Unsupported,
    /// Row 2: the kernel lock is held.
    KernelLock,
    /// Row 2: the kernel lock is held although the recorded process is dead.
    KernelLockOutlivesProcess,
    /// Row 3: a torn record, young.
    BeingWritten,
    /// Row 4: a torn record, old.
    Malformed,
    /// Row 5: its process lives, though its descriptor is closed.
    DescriptorClosed,
    /// Row 6: the kernel witnesses that nobody holds it.
    KernelWitness,
    /// Row 7: the process is gone; not old enough yet, or old enough.
    ProcessGone,
    /// Row 8: from before this machine's boot; not old enough yet, or old enough.
    BeforeBoot,
    /// Row 9: stamped elsewhere; refreshed recently, or no longer.
    Elsewhere,
    /// Row 10: an unstamped record whose process lives.
    ProcessAlive,
    /// Row 10: an unstamped record whose pid was probably given to another process.
    PidProbablyReused,
    /// Row 10: an unstamped record whose process we may not look at.
    ProcessUnknown,
    /// Row 11: an unstamped record whose process is dead; not old enough yet, or old enough.
    ProcessDead,
    /// Row 12: an unstamped record under an alias of this host.
    HostAlias,
    /// Row 13: an unstamped record of another host.
    OtherHost,
    /// No row: it changed hands as often as we looked.
    Contended,
    /// No row: the lock file may not be read by this user.
    Unreadable,
}

impl Reason {
    /// The row of the table in `spec/protocol.md#judge` that matched; 0 for none.
    #[must_use]
    pub const fn row(self) -> u8 {
        match self {
            Reason::Contended | Reason::Unreadable => 0,
            Reason::Foreign | Reason::Unsupported => 1,
            Reason::KernelLock | Reason::KernelLockOutlivesProcess => 2,
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
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Foreign => "the file is not an RVLF lock, so it is never removed",
            Reason::Unsupported => "the record is of another version, so it is never removed",
            Reason::KernelLock => "the kernel says that a process on this machine holds it",
            Reason::KernelLockOutlivesProcess => {
                "the recorded process is not to be seen here, but a child that it forked, a process \
                 of another container or an unknown process keeps the kernel lock"
            }
            Reason::BeingWritten => "the record is incomplete and so young that it may be being written",
            Reason::Malformed => "the record is incomplete or damaged and nobody is writing it",
            Reason::DescriptorClosed => {
                "its process lives, although the process has closed the lock file"
            }
            Reason::KernelWitness => "the kernel says that nobody holds it any more",
            Reason::ProcessGone => "its process is gone, and age decides on a shared file system",
            Reason::BeforeBoot => "it was written on this host before the last boot",
            Reason::Elsewhere => "only the age of its last refresh tells whether its holder lives",
            Reason::ProcessAlive => "its process is alive on this host",
            Reason::PidProbablyReused => {
                "a process with its pid is alive, but started later: the pid was probably reused; if \
                 you are sure, break it by hand with its writer id"
            }
            Reason::ProcessUnknown => "its process may be alive: this user may not look at it",
            Reason::ProcessDead => "its process is dead, and its age decides",
            Reason::HostAlias => "it names this host by an alias, and its process and age decide",
            Reason::OtherHost => "it names another host, where only age decides",
            Reason::Contended => "it changed hands as often as it was looked at",
            Reason::Unreadable => "this user may not read the lock file",
        })
    }
}

/// Judges a lock file by the evidence.
#[must_use]
pub fn judge(evidence: &Evidence, policy: &StalePolicy) -> Verdict {
    match by_table(evidence, policy) {
        Verdict::Stale { reason } | Verdict::Held { reason, .. } if policy.never => held(reason),
        verdict => verdict,
    }
}

/// The table, one line a row. Read it beside `spec/protocol.md#judge`.
#[rustfmt::skip]
fn by_table(e: &Evidence, p: &StalePolicy) -> Verdict {
    let kernel_lock_held = e.kernel_lock == KernelLock::HeldElsewhere;
    let process_dead = e.process == Process::Dead;
    let young = e.mtime_age < p.malformed_grace;

    match e.content {
        /*  1 */ Content::Foreign                         => held(Reason::Foreign),
        /*  1 */ Content::Unsupported                     => held(Reason::Unsupported),
        /*  2 */ _ if kernel_lock_held && process_dead    => held(Reason::KernelLockOutlivesProcess),
        /*  2 */ _ if kernel_lock_held                    => held(Reason::KernelLock),
        /*  3 */ Content::Short | Content::Corrupt if young => being_written(e, p),
        /*  4 */ Content::Short | Content::Corrupt        => stale(Reason::Malformed),
        /* 5- */ Content::Valid => match e.stamp {
                     Stamp::Same { start_ticks }      => stamped(e, p, true, start_ticks),
                     Stamp::Different { start_ticks } => stamped(e, p, false, start_ticks),
                     Stamp::Absent                    => unstamped(e, p),
                 },
    }
}

/// Rows 5 to 9: the writer promised flock and refreshes, and there is no flock.
#[rustfmt::skip]
fn stamped(e: &Evidence, p: &StalePolicy, same_inode: bool, written_by: u64) -> Verdict {
    // The kernel is a witness only where it was really asked, about the very inode that the writer
    // promised to lock, and on a file system that it alone reaches. A directory exported to others,
    // or reached through an overlay and past it, looks local, but the stamp names another inode: a
    // writer there lives as long as it refreshes.
    let asked = e.kernel_lock == KernelLock::Free;
    let same_inode = asked && same_inode;
    let witness = same_inode && e.file_system == FileSystem::Local;
    let same_host = e.host == HostMatch::Same;
    let (writer_lives, writer_gone) = match e.process {
        Process::Alive { start_ticks, .. } => (start_ticks == written_by, start_ticks != written_by),
        Process::Dead                      => (false, true),
        Process::Unknown                   => (false, false),
    };
    let timestamp = trusted_age(e, p);
    let mtime = Age::Past(e.mtime_age);
    let young = !timestamp.exceeds(p.same_host_age);

    match () {
        /*  5 */ () if witness && writer_lives && young => held_until(Reason::DescriptorClosed, timestamp.until(p.same_host_age)),
        /*  6 */ () if witness                          => stale(Reason::KernelWitness),
        /*  7 */ () if same_inode && writer_gone        => stale_after(p.same_host_age, [timestamp; 2], Reason::ProcessGone),
        /*  8 */ () if same_host && e.predates_boot     => stale_after(p.same_host_age, [timestamp, mtime], Reason::BeforeBoot),
        /*  9 */ ()                                     => stale_after(p.cross_host_age, [timestamp, mtime], Reason::Elsewhere),
    }
}

/// Rows 10 to 13: deployed clients, and host names too long to leave room for a stamp.
#[rustfmt::skip]
fn unstamped(e: &Evidence, p: &StalePolicy) -> Verdict {
    let timestamp = [trusted_age(e, p); 2];
    match (e.host, e.process) {
        /* 10 */ (HostMatch::Same, Process::Alive { started_after_timestamp: false, .. }) => held(Reason::ProcessAlive),
        /* 10 */ (HostMatch::Same, Process::Alive { started_after_timestamp: true, .. })  => held(Reason::PidProbablyReused),
        /* 10 */ (HostMatch::Same, Process::Unknown) => held(Reason::ProcessUnknown),
        /* 11 */ (HostMatch::Same, Process::Dead)    => stale_after(p.same_host_age, timestamp, Reason::ProcessDead),
        /* 12 */ (HostMatch::Alias, Process::Dead)   => stale_after(p.cross_host_age, timestamp, Reason::HostAlias),
        /* 12 */ (HostMatch::Alias, _)               => held(Reason::HostAlias),
        /* 13 */ (HostMatch::Other, _)               => stale_after(p.cross_host_age, timestamp, Reason::OtherHost),
    }
}

fn being_written(evidence: &Evidence, policy: &StalePolicy) -> Verdict {
    let stale_in = policy.malformed_grace.saturating_sub(evidence.mtime_age);
    held_until(Reason::BeingWritten, stale_in)
}

/// A timestamp too far in the future cannot be trusted: the mtime age takes its place.
fn trusted_age(evidence: &Evidence, policy: &StalePolicy) -> Age {
    match evidence.timestamp_age {
        Age::Ahead(ahead) if ahead > policy.cross_host_age => Age::Past(evidence.mtime_age),
        age => age,
    }
}

const fn held(reason: Reason) -> Verdict {
    Verdict::Held {
        reason,
        stale_in: None,
    }
}

const fn held_until(reason: Reason, stale_in: Duration) -> Verdict {
    Verdict::Held {
        reason,
        stale_in: Some(stale_in),
    }
}

const fn stale(reason: Reason) -> Verdict {
    Verdict::Stale { reason }
}

/// Stale when every one of `ages` exceeds `limit`.
fn stale_after(limit: Duration, ages: [Age; 2], reason: Reason) -> Verdict {
    let [one, other] = ages;
    if one.exceeds(limit) && other.exceeds(limit) {
        stale(reason)
    } else {
        held_until(reason, one.until(limit).max(other.until(limit)))
    }
}
