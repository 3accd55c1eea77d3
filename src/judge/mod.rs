//! The judgement: from evidence to a verdict.
//!
//! [`judge`] is a pure function: no I/O, no clock, `no_std`. The caller gathers the evidence, which
//! states facts; only this file says what the facts mean. It fails closed: doubt reads as held (the
//! precedents are PostgreSQL and restic). The first matching row of the table in
//! `spec/protocol.md#judge` wins. [`judge_store`] does the same for a lock in an object store.

mod evidence;
mod policy;
mod store;
mod verdict;

use core::time::Duration;

pub use evidence::{
    Age, Content, Evidence, FileSystem, HostMatch, KernelLock, OwnHold, Process, Stamp,
};
pub use policy::StalePolicy;
pub use store::{BothClocks, StoreContent, StoreEvidence, StoreReason, StoreVerdict, judge_store};
pub use verdict::{Reason, Verdict};

/// Judges a lock file by the evidence.
///
/// ```
/// use std::time::Duration;
/// use rvlf::StalePolicy;
/// use rvlf::judge::{
///     Age, Content, Evidence, FileSystem, HostMatch, KernelLock, OwnHold, Process, Reason, Stamp,
///     Verdict, judge,
/// };
///
/// // A record of a deployed client on this host, whose process is dead.
/// let mut evidence = Evidence {
///     content: Content::Valid,
///     kernel_lock: KernelLock::Free,
///     file_system: FileSystem::Local { plain: true },
///     stamp: Stamp::Absent,
///     host: HostMatch::Same,
///     process: Process::Dead,
///     timestamp_age: Age::Past(Duration::from_secs(10)),
///     mtime_age: Duration::from_secs(10),
///     predates_boot: false,
///     own_hold: OwnHold::None,
/// };
/// let verdict = judge(&evidence, &StalePolicy::new());
/// assert_eq!(verdict.stale_in(), Some(Duration::from_secs(20)));
///
/// evidence.timestamp_age = Age::Past(Duration::from_secs(31));
/// let verdict = judge(&evidence, &StalePolicy::new());
/// assert_eq!(verdict, Verdict::Stale { reason: Reason::ProcessDead });
/// ```
#[must_use]
pub fn judge(evidence: &Evidence, policy: &StalePolicy) -> Verdict {
    let verdict = by_table(evidence, policy);
    if policy.is_never() {
        return Verdict::held(verdict.reason());
    }
    verdict
}

/// The table, one line per row. Read it beside `spec/protocol.md#judge`.
#[rustfmt::skip]
fn by_table(e: &Evidence, p: &StalePolicy) -> Verdict {
    let kernel_lock_held = e.kernel_lock == KernelLock::HeldElsewhere;
    let process_dead = e.process == Process::Dead;
    let young = e.mtime_age < p.malformed_grace();
    // Only where flock(2) answered: a child may have been lent the descriptor, and write.
    let own_hold = if e.kernel_lock == KernelLock::Free { e.own_hold } else { OwnHold::None };

    match e.content {
        /*  1 */ Content::Foreign                         => Verdict::held(Reason::Foreign),
        /*  1 */ Content::Unsupported                     => Verdict::held(Reason::Unsupported),
        /*  2 */ _ if kernel_lock_held && process_dead    => Verdict::held(Reason::KernelLockOutlivesProcess),
        /*  2 */ _ if kernel_lock_held                    => Verdict::held(Reason::KernelLock),
        /*  3 */ Content::Short | Content::Corrupt if young => being_written(e, p),
        /*  4 */ Content::Short | Content::Corrupt        => Verdict::stale(Reason::Malformed),
        /* 14 */ _ if own_hold == OwnHold::GivenUp       => Verdict::stale(Reason::GivenUp),
        /* 14 */ _ if own_hold == OwnHold::Lost          => Verdict::held(Reason::GuardNotDropped),
        /* 5- */ Content::Valid => match e.stamp {
                     Stamp::Same { start_ticks }      => stamped(e, p, true, start_ticks),
                     Stamp::Different { start_ticks } => stamped(e, p, false, start_ticks),
                     Stamp::Absent                    => unstamped(e, p),
                 },
    }
}

/// Rows 5 to 9: the writer promised to hold flock and to refresh, and no process holds flock.
#[rustfmt::skip]
fn stamped(e: &Evidence, p: &StalePolicy, same_inode: bool, written_by: u64) -> Verdict {
    // The kernel is a witness only if flock(2) answered, about the very inode that the writer
    // promised to lock, and on a file system that this kernel alone reaches. A directory that is
    // exported to other kernels, or reached both through an overlay and past it, looks local, but
    // the stamp names another inode: a writer there is alive as long as it refreshes.
    // On a plain file system a stamp may be from before the boot, when a process of this boot may
    // have the writer's pid and start ticks by chance. Row 8 has no lock to recover there: what this
    // machine wrote before the boot is witnessed, unless an older version wrote it. Other records came
    // through an export, from a machine that may have this host's name and did not reboot.
    let flock_answered = e.kernel_lock == KernelLock::Free;
    let same_inode = flock_answered && same_inode;
    let witness = same_inode && e.file_system.is_local();
    let plain = e.file_system.is_plain();
    let same_host = e.host == HostMatch::Same;
    let (writer_lives, writer_gone) = match e.process {
        Process::Alive { .. } if e.is_of_another_boot() => (false, true),
        Process::Alive { start_ticks, .. } => (start_ticks == written_by, start_ticks != written_by),
        Process::Dead                      => (false, true),
        Process::Unknown                   => (false, false),
    };
    let timestamp = trusted_age(e, p);
    let mtime = Age::Past(e.mtime_age);
    let young = !timestamp.exceeds(p.same_host_age());

    match () {
        /*  5 */ () if witness && writer_lives && young => Verdict::held_for(Reason::DescriptorClosed, timestamp.until(p.same_host_age())),
        /*  6 */ () if witness                          => Verdict::stale(Reason::KernelWitness),
        /*  7 */ () if same_inode && writer_gone        => stale_after(p.same_host_age(), [timestamp; 2], Reason::ProcessGone),
        /*  8 */ () if same_host && e.predates_boot && !plain => stale_after(p.same_host_age(), [timestamp, mtime], Reason::BeforeBoot),
        /*  9 */ ()                                     => stale_after(p.cross_host_age(), [timestamp, mtime], Reason::Elsewhere),
    }
}

/// Rows 10 to 13: deployed clients, and host names too long to leave room for a stamp.
#[rustfmt::skip]
fn unstamped(e: &Evidence, p: &StalePolicy) -> Verdict {
    let timestamp = [trusted_age(e, p); 2];
    match (e.host, e.process) {
        /* 10 */ (HostMatch::Same, Process::Alive { started_after_timestamp: false, .. }) => Verdict::held(Reason::ProcessAlive),
        /* 10 */ (HostMatch::Same, Process::Alive { started_after_timestamp: true, .. })  => Verdict::held(Reason::PidProbablyReused),
        /* 10 */ (HostMatch::Same, Process::Unknown) => Verdict::held(Reason::ProcessUnknown),
        /* 11 */ (HostMatch::Same, Process::Dead)    => stale_after(p.same_host_age(), timestamp, Reason::ProcessDead),
        /* 12 */ (HostMatch::Alias, Process::Dead)   => stale_after(p.cross_host_age(), timestamp, Reason::HostAlias),
        /* 12 */ (HostMatch::Alias, _)               => Verdict::held(Reason::HostAlias),
        /* 13 */ (HostMatch::Other, _)               => stale_after(p.cross_host_age(), timestamp, Reason::OtherHost),
    }
}

fn being_written(evidence: &Evidence, policy: &StalePolicy) -> Verdict {
    let stale_in = policy.malformed_grace().saturating_sub(evidence.mtime_age);
    Verdict::held_for(Reason::BeingWritten, stale_in)
}

/// A timestamp too far in the future cannot be trusted: the mtime age takes its place.
fn trusted_age(evidence: &Evidence, policy: &StalePolicy) -> Age {
    match evidence.timestamp_age {
        Age::Ahead(ahead) if ahead > policy.cross_host_age() => Age::Past(evidence.mtime_age),
        age => age,
    }
}

/// Stale when every one of `ages` exceeds `limit`.
fn stale_after(limit: Duration, ages: [Age; 2], reason: Reason) -> Verdict {
    let [one, other] = ages;
    if one.exceeds(limit) && other.exceeds(limit) {
        Verdict::stale(reason)
    } else {
        Verdict::held_for(reason, one.until(limit).max(other.until(limit)))
    }
}
