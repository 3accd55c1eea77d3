//! Evidence: the facts about a lock file that one look gathers for the judge.
//!
//! Source: `spec/protocol.md#evidence`, in the same order.

use std::fmt;
use std::io;
use std::time::Duration;

use super::Place;
use super::aside::aside_name;
use super::unchanged::{LONGEST_GAP, UnchangedTimer};
use crate::judge::{
    Age, Content, Evidence, FileSystem, HostMatch, KernelLock, OwnHold, Process, StalePolicy,
    Stamp, Verdict,
};
use crate::record::{DecodeError, Hostname, KernelStamp, Record};
use crate::sys::hooks::sabotaged;
use crate::sys::{FileId, Liveness, Now, Prefix, Stat, Sys, nanos};

/// What a lock file is examined for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To report its state. Creates nothing.
    Report,
    /// To acquire or to break the lock.
    Acquire,
}

/// What one look has seen of a lock file.
pub(super) struct Observation {
    pub(super) prefix: Prefix,
    /// Of the open file, so with its birth time; the modification time is that of this look.
    pub(super) stat: Stat,
    pub(super) kernel_lock: KernelLock,
}

/// Gathers the evidence of all looks of one operation.
pub(super) struct Gatherer<'a, S: Sys> {
    place: &'a Place<S>,
    purpose: Purpose,
    /// How far a timestamp may lie ahead to be trusted.
    trusted_ahead: Duration,
    memory: Memory,
}

/// What an operation remembers of its earlier looks.
#[derive(Debug, Default)]
struct Memory {
    /// Outlives an attempt, since a file may have to be watched for longer than one.
    unchanged: UnchangedTimer,
    server_clock: Option<ServerClock>,
}

/// What the file server's clock showed at a moment of this machine's clock.
#[derive(Clone, Copy, Debug)]
struct ServerClock {
    server_ns: u64,
    since_boot: Duration,
}

impl<'a, S: Sys> Gatherer<'a, S> {
    pub(super) fn new(place: &'a Place<S>, purpose: Purpose, policy: &StalePolicy) -> Self {
        Gatherer {
            place,
            purpose,
            trusted_ahead: policy.cross_host_age(),
            memory: Memory::default(),
        }
    }

    /// What the next look may depend on.
    pub(super) fn memory(&self) -> &dyn fmt::Debug {
        &self.memory
    }

    /// Begins an attempt, with new patience for torn files.
    pub(super) fn begin_attempt(&mut self) {
        self.memory.unchanged.begin_attempt();
    }

    /// The file at the path is opened anew.
    pub(super) fn begin_look(&mut self) {
        self.memory.unchanged.begin_look();
    }

    /// How long to wait until a write that is under way may be done; see [`UnchangedTimer::pause`].
    pub(super) fn pause(&mut self, verdict: &Verdict, policy: &StalePolicy) -> Option<Duration> {
        self.memory.unchanged.pause(verdict, policy)
    }

    /// Forgets the reading of the server's clock: a breaker relies on no earlier one.
    pub(super) fn forget_server_clock(&mut self) {
        self.memory.server_clock = None;
    }

    /// The evidence of what was seen, and of its `record`.
    pub(super) fn gather(
        &mut self,
        observation: &Observation,
        record: &Result<Record, DecodeError>,
    ) -> Evidence {
        let place = self.place;
        let now = place.sys().now();
        let watched = self.watched(observation, record, &now);
        let malformed = Evidence {
            content: content_class(record, observation.kernel_lock),
            kernel_lock: observation.kernel_lock,
            file_system: match place.entry.file_system {
                // As on an overlay, where row 8 goes by host names.
                FileSystem::Local { .. } if sabotaged!(place.entry.sys, NoHostNames) => {
                    FileSystem::Local { plain: false }
                }
                file_system => file_system,
            },
            stamp: Stamp::Absent,
            host: HostMatch::Other,
            process: Process::Unknown,
            timestamp_age: Age::Past(Duration::ZERO),
            mtime_age: self.mtime_age(observation, record, &now).max(watched),
            predates_boot: false,
            own_hold: OwnHold::None,
        };
        let Ok(record) = record else { return malformed };
        let stamp = place.stamp(record, &observation.stat);
        let host = place.host_match(&record.hostname());
        Evidence {
            stamp,
            host,
            // The pid means nothing here unless this host or this kernel gave it.
            process: match (stamp, host) {
                (Stamp::Different { .. } | Stamp::Absent, HostMatch::Other) => Process::Unknown,
                _ => place.process(record),
            },
            timestamp_age: self.timestamp_age(record, &now, watched),
            predates_boot: record.timestamp_ns() < now.booted_ns(),
            own_hold: place.own_hold(record),
            ..malformed
        }
    }

    /// How long the file has been watched unchanged: malformed content, and a record whose times
    /// lie ahead of this machine's clock. Other ages grow with that clock.
    fn watched(
        &mut self,
        observation: &Observation,
        record: &Result<Record, DecodeError>,
        now: &Now,
    ) -> Duration {
        let Observation {
            prefix,
            stat,
            kernel_lock,
        } = observation;
        // Row 2 decides, which reads no age.
        if *kernel_lock == KernelLock::HeldElsewhere {
            return Duration::ZERO;
        }
        let unchanged = &mut self.memory.unchanged;
        let is_ahead = |record: &Record| record.timestamp_ns().max(stat.mtime_ns) > now.realtime_ns;
        if record.as_ref().is_ok_and(|record| !is_ahead(record))
            && !unchanged.is_watching(stat, prefix)
        {
            return Duration::ZERO;
        }
        let longest_gap = if sabotaged!(self.place.entry.sys, LongestGap) {
            Duration::MAX
        } else {
            LONGEST_GAP
        };
        unchanged.unchanged_for(stat, prefix, now.since_boot, longest_gap)
    }

    /// Age of the timestamp by this machine's clock, or the time that the record was watched if
    /// that is more. Where a timestamp is not trusted the judge reads the mtime age, which has that
    /// time in it.
    fn timestamp_age(&self, record: &Record, now: &Now, watched: Duration) -> Age {
        match Age::at(now.realtime_ns, record.timestamp_ns()) {
            Age::Past(age) => Age::Past(age.max(watched)),
            Age::Ahead(ahead) if ahead <= self.trusted_ahead && !watched.is_zero() => {
                Age::Past(watched)
            }
            ahead @ Age::Ahead(_) => ahead,
        }
    }

    /// Age of the file's modification time by the clock that set it.
    fn mtime_age(
        &mut self,
        observation: &Observation,
        record: &Result<Record, DecodeError>,
        now: &Now,
    ) -> Duration {
        let Observation {
            stat, kernel_lock, ..
        } = observation;
        // Row 2 decides, which reads no age.
        if *kernel_lock == KernelLock::HeldElsewhere {
            return Duration::ZERO;
        }
        match record {
            // Rows 10 to 13 read it only in place of a timestamp that lies ahead.
            Ok(record) if record.stamp().is_none() && record.timestamp_ns() <= now.realtime_ns => {
                Age::at(now.realtime_ns, stat.mtime_ns).or_zero()
            }
            _ => self.age_by_file_clock(stat.mtime_ns, now),
        }
    }

    /// A local file system uses this machine's clock. Elsewhere the server's clock may differ by
    /// hours; it shows in the mtime of a probe file. Where no probe can be made a contender sees no
    /// age at all, since doubt reads as held. A report creates nothing, and goes by this machine's
    /// clock.
    fn age_by_file_clock(&mut self, mtime_ns: u64, now: &Now) -> Duration {
        if self.place.entry.is_local() || self.purpose == Purpose::Report {
            return Age::at(now.realtime_ns, mtime_ns).or_zero();
        }
        let Ok(clock) = self.server_clock() else {
            return Duration::ZERO;
        };
        let passed = nanos(now.since_boot.saturating_sub(clock.since_boot));
        Age::at(clock.server_ns.saturating_add(passed), mtime_ns).or_zero()
    }

    /// Read once for an operation, and again for a break.
    fn server_clock(&mut self) -> io::Result<ServerClock> {
        if let Some(clock) = self.memory.server_clock {
            return Ok(clock);
        }
        let clock = self.place.probe_server_clock()?;
        Ok(*self.memory.server_clock.insert(clock))
    }
}

/// The class of the content. What a live process has locked is not another program's file: it may
/// be a record that a stray write has damaged, so it counts as corrupt and row 2 decides.
fn content_class(record: &Result<Record, DecodeError>, kernel_lock: KernelLock) -> Content {
    match record
        .as_ref()
        .map_or_else(Content::from, |_| Content::Valid)
    {
        Content::Foreign | Content::Unsupported if kernel_lock == KernelLock::HeldElsewhere => {
            Content::Corrupt
        }
        content => content,
    }
}

impl<S: Sys> Place<S> {
    fn stamp(&self, record: &Record, stat: &Stat) -> Stamp {
        let Some(KernelStamp {
            inode_key,
            start_ticks,
        }) = record.stamp()
        else {
            return Stamp::Absent;
        };
        let is_plain = self.entry.file_system.is_plain() || sabotaged!(self.entry.sys, PlainReader);
        let plain_key = is_plain.then(|| self.sys().own_key(stat, true)).flatten();
        if plain_key == Some(inode_key) || self.key_of_this_boot(stat.id) == Some(inode_key) {
            Stamp::Same { start_ticks }
        } else {
            Stamp::Different { start_ticks }
        }
    }

    /// What this process writes as the inode key of its own file.
    pub(super) fn own_key(&self, stat: &Stat) -> Option<u64> {
        let is_plain = self.entry.file_system.is_plain() || sabotaged!(self.entry.sys, PlainWriter);
        let is_plain = is_plain && !sabotaged!(self.entry.sys, PlainKey);
        self.sys().own_key(stat, is_plain)
    }

    fn key_of_this_boot(&self, id: FileId) -> Option<u64> {
        let boot_id = self.sys().boot_id()?;
        Some(KernelStamp::inode_key(&boot_id, id.dev, id.ino))
    }

    fn host_match(&self, recorded: &Hostname) -> HostMatch {
        if *recorded == self.sys().hostname() {
            HostMatch::Same
        } else if self.sys().is_host_alias(recorded) {
            HostMatch::Alias
        } else {
            HostMatch::Other
        }
    }

    fn process(&self, record: &Record) -> Process {
        /// The process's start is known to a clock tick and the boot's time to the clock's steps: a
        /// second's difference does not make a pid look reused.
        const SLACK: u64 = 1_000_000_000;
        match self.sys().process(record.pid()) {
            Liveness::Alive {
                start_ticks,
                started_ns,
            } => Process::Alive {
                start_ticks,
                started_after_timestamp: started_ns > record.timestamp_ns().saturating_add(SLACK),
            },
            Liveness::Dead => Process::Dead,
            Liveness::Unknown => Process::Unknown,
        }
    }

    fn own_hold(&self, record: &Record) -> OwnHold {
        match self.sys().own_holds().get(record.writer_id()) {
            OwnHold::Lost if sabotaged!(self.entry.sys, GuardDropped) => OwnHold::GivenUp,
            known => known,
        }
    }

    /// Whether this process wrote `record`, which has this `stamp`. Exact where there is a stamp with a start. Two
    /// containers without /proc may both have pid 1 and one host name, and neither may claim the other's record: pid
    /// and host name decide only on a system that has no stamps.
    pub(super) fn is_written_by_us(&self, record: &Record, stamp: Stamp) -> bool {
        let Ok(own) = self.sys().identity() else {
            return false;
        };
        let same_writer = match stamp {
            Stamp::Same { start_ticks } => start_ticks > 0 && start_ticks == own.start_ticks,
            Stamp::Different { .. } => false,
            Stamp::Absent => {
                !self.sys().has_stamps(own) && record.hostname() == self.sys().hostname()
            }
        };
        same_writer && record.pid() == own.pid
    }

    /// Makes a file beside the lock file, and removes it at once: its mtime is the server's now.
    fn probe_server_clock(&self) -> io::Result<ServerClock> {
        let sys = self.sys();
        let name = aside_name(sys)?;
        let probe = sys.create(&self.entry.dir, &name, 0o600)?;
        let stat = sys.stat(&probe);
        match sys.removes_by_handle() {
            true => sys.remove(&self.entry.dir, &probe, &aside_name(sys)?)?,
            false => sys.unlink(&self.entry.dir, &name)?,
        }
        Ok(ServerClock {
            server_ns: stat?.mtime_ns,
            since_boot: sys.now().since_boot,
        })
    }
}
