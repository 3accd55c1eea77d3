//! Any evidence under any policy: no panic, more age never turns Stale into Held, the time left is
//! exact, and a live holder on this machine is never Stale.
#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rvlf::StalePolicy;
use rvlf::judge::{
    Age, Content, Evidence, FileSystem, HostMatch, KernelLock, OwnHold, Process, Reason, Stamp,
    Verdict, judge,
};

#[derive(Arbitrary, Debug)]
struct Input {
    content: u8,
    kernel_lock: u8,
    file_system: u8,
    /// Absent, or same inode and start ticks. Few values, so that they meet.
    stamp: Option<(bool, u8)>,
    host: u8,
    process: Option<Option<(u8, bool)>>,
    timestamp_age: Time,
    timestamp_ahead: bool,
    mtime_age: Time,
    predates_boot: bool,
    own_hold: u8,
    malformed_grace: Time,
    same_host_age: Time,
    cross_host_age: Time,
    never: bool,
    later: Time,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Time {
    Nanos(u64),
    Seconds(u64),
    /// Near the documented thresholds.
    Near(u8, i8),
}

impl Time {
    fn duration(self) -> Duration {
        match self {
            Time::Nanos(nanos) => Duration::from_nanos(nanos),
            Time::Seconds(seconds) => Duration::from_secs(seconds),
            Time::Near(which, off) => {
                let threshold = [0, 2, 30, 300][usize::from(which % 4)] * 1_000_000_000_u64;
                Duration::from_nanos(threshold.saturating_add_signed(off.into()))
            }
        }
    }
}

impl Input {
    fn evidence(&self) -> Evidence {
        let timestamp_age = self.timestamp_age.duration();
        Evidence {
            content: match self.content % 8 {
                0 => Content::Foreign,
                1 => Content::Unsupported,
                2 => Content::Short,
                3 => Content::Corrupt,
                _ => Content::Valid,
            },
            kernel_lock: match self.kernel_lock % 4 {
                0 => KernelLock::HeldElsewhere,
                1 => KernelLock::Unsupported,
                _ => KernelLock::Free,
            },
            file_system: match self.file_system % 4 {
                0 => FileSystem::NotLocal,
                1 => FileSystem::Local { plain: false },
                _ => FileSystem::Local { plain: true },
            },
            stamp: match self.stamp {
                None => Stamp::Absent,
                Some((true, ticks)) => Stamp::Same {
                    start_ticks: u64::from(ticks % 2),
                },
                Some((false, ticks)) => Stamp::Different {
                    start_ticks: u64::from(ticks % 2),
                },
            },
            host: match self.host % 3 {
                0 => HostMatch::Same,
                1 => HostMatch::Alias,
                _ => HostMatch::Other,
            },
            process: match self.process {
                None => Process::Unknown,
                Some(None) => Process::Dead,
                Some(Some((ticks, started_after_timestamp))) => Process::Alive {
                    start_ticks: u64::from(ticks % 2),
                    started_after_timestamp,
                },
            },
            timestamp_age: if self.timestamp_ahead {
                Age::Ahead(timestamp_age)
            } else {
                Age::Past(timestamp_age)
            },
            mtime_age: self.mtime_age.duration(),
            predates_boot: self.predates_boot,
            own_hold: match self.own_hold % 8 {
                0 => OwnHold::Lost,
                1 => OwnHold::GivenUp,
                _ => OwnHold::None,
            },
        }
    }

    fn policy(&self) -> StalePolicy {
        let policy = if self.never {
            StalePolicy::never()
        } else {
            StalePolicy::new()
        };
        policy
            .with_malformed_grace(self.malformed_grace.duration())
            .with_same_host_age(self.same_host_age.duration())
            .with_cross_host_age(self.cross_host_age.duration())
    }

    fn is_trusted(&self, evidence: &Evidence) -> bool {
        match evidence.timestamp_age {
            Age::Ahead(ahead) => ahead <= self.cross_host_age.duration(),
            Age::Past(_) => true,
        }
    }
}

/// The same file, looked at later.
fn later(evidence: &Evidence, by: Duration) -> Evidence {
    Evidence {
        timestamp_age: match evidence.timestamp_age {
            Age::Past(age) => Age::Past(age.saturating_add(by)),
            Age::Ahead(ahead) => match by.checked_sub(ahead) {
                Some(past) => Age::Past(past),
                None => Age::Ahead(ahead - by),
            },
        },
        mtime_age: evidence.mtime_age.saturating_add(by),
        ..*evidence
    }
}

fuzz_target!(|input: Input| {
    let (evidence, policy) = (input.evidence(), input.policy());
    let verdict = judge(&evidence, &policy);
    let reason = verdict.reason();
    assert!((1..=14).contains(&reason.row()), "{reason:?}");
    assert!(!(input.never && verdict.is_stale()), "never means never");

    // A live holder has its kernel lock; a deployed one has a live process on this host.
    let holds = evidence.kernel_lock == KernelLock::HeldElsewhere;
    let alive = matches!(evidence.process, Process::Alive { .. });
    let unstamped = evidence.content == Content::Valid && evidence.stamp == Stamp::Absent;
    let deployed = unstamped
        && evidence.host == HostMatch::Same
        && alive
        // Else this very process wrote the record, under a host name that leaves no room for a stamp.
        && evidence.own_hold == OwnHold::None;
    assert!(
        !((holds || deployed) && verdict.is_stale()),
        "{evidence:?}: {verdict:?}"
    );

    let older = later(&evidence, input.later.duration());
    // The one exception: a timestamp that was too far ahead to be trusted has come within reach.
    let regained = |older: &Evidence| input.is_trusted(older) && !input.is_trusted(&evidence);
    match verdict {
        Verdict::Stale { .. } if regained(&older) => {}
        Verdict::Stale { .. } => {
            let verdict = judge(&older, &policy);
            assert!(
                verdict.is_stale(),
                "{evidence:?} was stale, {older:?} is {verdict:?}"
            );
        }
        Verdict::Held { stale_in: None, .. } => {
            assert!(
                !judge(&older, &policy).is_stale(),
                "no age makes it stale: {older:?}"
            );
        }
        Verdict::Held {
            stale_in: Some(left),
            ..
        } => time_left(&evidence, &policy, left, regained),
        _ => panic!("held or stale"),
    }
});

fn time_left(
    evidence: &Evidence,
    policy: &StalePolicy,
    left: Duration,
    regained: impl Fn(&Evidence) -> bool,
) {
    const NANO: Duration = Duration::from_nanos(1);
    // Row 3 ends when the grace is reached; the others when the threshold is exceeded.
    let (last, first) = match judge(evidence, policy).reason() {
        Reason::BeingWritten => (left - NANO, left),
        _ => (left, left.saturating_add(NANO)),
    };
    let (last, first) = (later(evidence, last), later(evidence, first));
    assert!(!judge(&last, policy).is_stale(), "too early: {last:?}");
    // Nothing is older than the longest time that there is.
    let endless = [first.mtime_age, first.timestamp_age.or_zero()].contains(&Duration::MAX);
    if !endless && !regained(&first) {
        assert!(judge(&first, policy).is_stale(), "too late: {first:?}");
    }
}
