//! The judge table of `spec/protocol.md#judge`, stated a second time and compared with `judge` for
//! every combination of evidence.
//!
//! One wrong row breaks the lock of a live writer or keeps a dead one's indefinitely, and no test of the
//! protocol would show it: only a few of the combinations occur on one machine.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use rvlf::StalePolicy;
use rvlf::judge::{
    Age, Content, Evidence, FileSystem, HostMatch, KernelLock, OwnHold, Process, Reason, Stamp,
    Verdict, judge,
};

use crate::ages::{FOREVER, SECOND, age, duration};

const ROWS: std::ops::RangeInclusive<u8> = 1..=14;

/// The second statement of the table computes in whole nanoseconds, negative for the future, without
/// [`Age`].
struct Case {
    evidence: Evidence,
    timestamp_age: i128,
    mtime_age: i128,
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    malformed_grace: i128,
    same_host_age: i128,
    cross_host_age: i128,
}

const DEFAULTS: Limits = Limits {
    malformed_grace: 2 * SECOND,
    same_host_age: 30 * SECOND,
    cross_host_age: 300 * SECOND,
};

/// Defaults; short and odd limits; zero; and limits in the reverse order, which are allowed.
const LIMITS: [Limits; 4] = [
    DEFAULTS,
    Limits {
        malformed_grace: 7,
        same_host_age: 1_000_001,
        cross_host_age: 11 * SECOND + 3,
    },
    Limits {
        malformed_grace: 0,
        same_host_age: 0,
        cross_host_age: 0,
    },
    Limits {
        malformed_grace: 3600 * SECOND,
        same_host_age: 300 * SECOND,
        cross_host_age: 30 * SECOND,
    },
];

impl Limits {
    fn policy(self) -> StalePolicy {
        self.of(StalePolicy::new())
    }

    fn of(self, policy: StalePolicy) -> StalePolicy {
        policy
            .with_malformed_grace(duration(self.malformed_grace))
            .with_same_host_age(duration(self.same_host_age))
            .with_cross_host_age(duration(self.cross_host_age))
    }
}

impl Case {
    fn new(template: &Evidence, timestamp_age: i128, mtime_age: i128, limits: Limits) -> Case {
        let evidence = Evidence {
            timestamp_age: age(timestamp_age),
            mtime_age: duration(mtime_age),
            ..*template
        };
        Case {
            evidence,
            timestamp_age,
            mtime_age,
            limits,
        }
    }

    /// The same file, examined later.
    fn later(&self, by: i128) -> Case {
        let add = |age: i128| age.saturating_add(by).min(FOREVER);
        let (timestamp_age, mtime_age) = (add(self.timestamp_age), add(self.mtime_age));
        Case::new(&self.evidence, timestamp_age, mtime_age, self.limits)
    }

    fn judge(&self) -> Verdict {
        judge(&self.evidence, &self.limits.policy())
    }

    // The terms of the table.

    fn torn(&self) -> bool {
        [Content::Short, Content::Corrupt].contains(&self.evidence.content)
    }

    fn stamped(&self) -> bool {
        self.evidence.stamp != Stamp::Absent
    }

    fn asked(&self) -> bool {
        self.evidence.kernel_lock != KernelLock::Unsupported
    }

    fn free(&self) -> bool {
        self.evidence.kernel_lock == KernelLock::Free
    }

    fn local(&self) -> bool {
        self.evidence.file_system != FileSystem::NotLocal
    }

    fn plain(&self) -> bool {
        self.evidence.file_system == FileSystem::Local { plain: true }
    }

    fn same_inode(&self) -> bool {
        matches!(self.evidence.stamp, Stamp::Same { .. }) && self.asked()
    }

    fn host(&self, host: HostMatch) -> bool {
        self.evidence.host == host
    }

    fn dead(&self) -> bool {
        self.evidence.process == Process::Dead
    }

    fn unknown(&self) -> bool {
        self.evidence.process == Process::Unknown
    }

    fn writer_alive(&self) -> bool {
        match (self.evidence.process, self.evidence.stamp) {
            (
                Process::Alive { start_ticks: a, .. },
                Stamp::Same { start_ticks: b } | Stamp::Different { start_ticks: b },
            ) => a == b,
            _ => false,
        }
    }

    fn pid_reused(&self) -> bool {
        matches!(
            self.evidence.process,
            Process::Alive {
                started_after_timestamp: true,
                ..
            }
        )
    }

    fn is_trusted(&self) -> bool {
        -self.timestamp_age <= self.limits.cross_host_age
    }

    fn timestamp(&self) -> i128 {
        if self.is_trusted() {
            self.timestamp_age
        } else {
            self.mtime_age
        }
    }

    fn younger_of_both(&self) -> i128 {
        self.timestamp().min(self.mtime_age)
    }
}

/// The verdict of a row for a case that it matches.
#[derive(Clone, Copy)]
enum Says {
    /// Held at every age.
    Held,
    /// Stale at every age.
    Stale,
    /// Held until this age exceeds this limit.
    StaleAfter(fn(&Case) -> i128, fn(&Limits) -> i128),
}
use Says::{Held, Stale, StaleAfter};

type When = fn(&Case) -> bool;
type Row = (u8, Reason, When, Says);

const SAME_HOST: fn(&Limits) -> i128 = |limits| limits.same_host_age;
const CROSS_HOST: fn(&Limits) -> i128 = |limits| limits.cross_host_age;

/// The table. The first row whose condition holds decides.
#[rustfmt::skip]
const TABLE: [Row; 20] = [
    (1, Reason::Foreign, |c| c.evidence.content == Content::Foreign, Held),
    (1, Reason::Unsupported, |c| c.evidence.content == Content::Unsupported, Held),
    (2, Reason::KernelLockOutlivesProcess, |c| c.evidence.kernel_lock == KernelLock::HeldElsewhere && c.dead(), Held),
    (2, Reason::KernelLock, |c| c.evidence.kernel_lock == KernelLock::HeldElsewhere, Held),
    // Younger than the grace and not equal: held up to one nanosecond before.
    (3, Reason::BeingWritten, |c| c.torn() && c.mtime_age < c.limits.malformed_grace,
        StaleAfter(|c| c.mtime_age, |l| l.malformed_grace)),
    (4, Reason::Malformed, |c| c.torn(), Stale),
    (14, Reason::GivenUp, |c| c.free() && c.evidence.own_hold == OwnHold::GivenUp, Stale),
    (14, Reason::GuardNotDropped, |c| c.free() && c.evidence.own_hold == OwnHold::Lost, Held),
    (5, Reason::DescriptorClosed, |c| c.same_inode() && c.local() && c.writer_alive() && !(c.plain() && c.evidence.predates_boot)
        && c.timestamp() <= c.limits.same_host_age,
        StaleAfter(Case::timestamp, SAME_HOST)),
    (6, Reason::KernelWitness, |c| c.same_inode() && c.local(), Stale),
    (7, Reason::ProcessGone, |c| c.same_inode() && !c.writer_alive() && !c.unknown(),
        StaleAfter(Case::timestamp, SAME_HOST)),
    (8, Reason::BeforeBoot, |c| c.stamped() && c.host(HostMatch::Same) && c.evidence.predates_boot && !c.plain(),
        StaleAfter(Case::younger_of_both, SAME_HOST)),
    (9, Reason::Elsewhere, |c| c.stamped(), StaleAfter(Case::younger_of_both, CROSS_HOST)),
    (10, Reason::ProcessUnknown, |c| c.host(HostMatch::Same) && c.unknown(), Held),
    (10, Reason::PidProbablyReused, |c| c.host(HostMatch::Same) && c.pid_reused(), Held),
    (10, Reason::ProcessAlive, |c| c.host(HostMatch::Same) && !c.dead(), Held),
    (11, Reason::ProcessDead, |c| c.host(HostMatch::Same), StaleAfter(Case::timestamp, SAME_HOST)),
    (12, Reason::HostAlias, |c| c.host(HostMatch::Alias) && !c.dead(), Held),
    (12, Reason::HostAlias, |c| c.host(HostMatch::Alias), StaleAfter(Case::timestamp, CROSS_HOST)),
    (13, Reason::OtherHost, |_| true, StaleAfter(Case::timestamp, CROSS_HOST)),
];

/// The verdict by the second statement, and the entry that decided.
fn by_second_statement(case: &Case) -> (usize, Verdict) {
    let decides = |(_, _, when, _): &Row| when(case);
    let entry = TABLE
        .iter()
        .position(decides)
        .expect("the last entry matches");
    let (_, reason, _, says) = TABLE
        .get(entry)
        .copied()
        .expect("the entry is in the table");
    let held = |stale_in| Verdict::Held { reason, stale_in };
    let verdict = match says {
        Held => held(None),
        Stale => Verdict::Stale { reason },
        StaleAfter(age, limit) => {
            let left = limit(&case.limits) - age(case);
            if left < 0 {
                Verdict::Stale { reason }
            } else {
                held(Some(duration(left)))
            }
        }
    };
    (entry, verdict)
}

const CONTENTS: [Content; 5] = [
    Content::Valid,
    Content::Short,
    Content::Corrupt,
    Content::Unsupported,
    Content::Foreign,
];
const KERNEL_LOCKS: [KernelLock; 3] = [
    KernelLock::HeldElsewhere,
    KernelLock::Free,
    KernelLock::Unsupported,
];
const FILE_SYSTEMS: [FileSystem; 3] = [
    FileSystem::Local { plain: true },
    FileSystem::Local { plain: false },
    FileSystem::NotLocal,
];
const STAMPS: [Stamp; 3] = [
    Stamp::Same { start_ticks: 1000 },
    Stamp::Different { start_ticks: 1000 },
    Stamp::Absent,
];
const HOSTS: [HostMatch; 3] = [HostMatch::Same, HostMatch::Alias, HostMatch::Other];
const PROCESSES: [Process; 6] = [
    alive(1000, false),
    alive(1000, true),
    alive(1001, false),
    alive(1001, true),
    Process::Dead,
    Process::Unknown,
];

const fn alive(start_ticks: u64, started_after_timestamp: bool) -> Process {
    Process::Alive {
        start_ticks,
        started_after_timestamp,
    }
}

/// Every combination of the evidence that is not an age.
fn templates() -> Vec<Evidence> {
    let mut all = Vec::new();
    for content in CONTENTS {
        for kernel_lock in KERNEL_LOCKS {
            for file_system in FILE_SYSTEMS {
                for stamp in STAMPS {
                    for host in HOSTS {
                        for process in PROCESSES {
                            for predates_boot in [false, true] {
                                let evidence = Evidence {
                                    content,
                                    kernel_lock,
                                    file_system,
                                    stamp,
                                    host,
                                    process,
                                    timestamp_age: Age::Past(Duration::ZERO),
                                    mtime_age: Duration::ZERO,
                                    predates_boot,
                                    own_hold: OwnHold::None,
                                };
                                all.push(evidence);
                                // Only a record names a hold.
                                if content == Content::Valid {
                                    let known = [OwnHold::Lost, OwnHold::GivenUp];
                                    let with = |own_hold| Evidence {
                                        own_hold,
                                        ..evidence
                                    };
                                    all.extend(known.map(with));
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    all
}

/// At, just below and just above each limit; zero; and more nanoseconds than a u64 has.
fn mtime_ages(limits: Limits) -> BTreeSet<i128> {
    let limits = [
        limits.malformed_grace,
        limits.same_host_age,
        limits.cross_host_age,
    ];
    let around = limits
        .into_iter()
        .flat_map(|limit| [limit - 1, limit, limit + 1]);
    let ages = around.chain([0, 1, u64::MAX.into(), FOREVER]);
    ages.filter(|age| *age >= 0).collect()
}

/// As [`mtime_ages`], and ahead: by a little, and by about the limit of trust.
fn timestamp_ages(limits: Limits) -> BTreeSet<i128> {
    let ahead = [1, SECOND, limits.cross_host_age, FOREVER];
    let around = ahead
        .into_iter()
        .flat_map(|ahead| [1 - ahead, -ahead, -1 - ahead]);
    let ages = mtime_ages(limits).into_iter().chain(around);
    ages.filter(|age| *age >= -FOREVER).collect()
}

/// Every combination of evidence under `limits`.
fn for_each_case(limits: Limits, mut see: impl FnMut(&Case)) {
    let (timestamp_ages, mtime_ages) = (timestamp_ages(limits), mtime_ages(limits));
    for template in templates() {
        for timestamp_age in &timestamp_ages {
            for mtime_age in &mtime_ages {
                see(&Case::new(&template, *timestamp_age, *mtime_age, limits));
            }
        }
    }
}

#[test]
fn judge_follows_the_table_for_every_combination_of_evidence() {
    let mut decided = BTreeMap::new();
    for limits in LIMITS {
        for_each_case(limits, |case| {
            let (entry, expected) = by_second_statement(case);
            let verdict = case.judge();
            assert_eq!(verdict, expected, "{limits:?}, {:?}", case.evidence);
            let (row, ..) = TABLE.get(entry).expect("the entry is in the table");
            assert_eq!(verdict.reason().row(), *row, "{:?}", verdict.reason());
            let (held, stale) = decided.entry(entry).or_insert((0_u32, 0_u32));
            *(if verdict.is_stale() { stale } else { held }) += 1;
        });
    }
    let verdicts: u64 = decided
        .values()
        .map(|(held, stale)| u64::from(held + stale))
        .sum();
    println!("{verdicts} verdicts compared");
    // The comparison above did not test an entry that no case reaches.
    for (entry, (row, reason, _, says)) in TABLE.iter().enumerate() {
        let (held, stale) = decided.get(&entry).copied().unwrap_or_default();
        let of = format!("row {row}, {reason:?}: {held} held and {stale} stale");
        match says {
            Held => assert!(held > 0 && stale == 0, "{of}"),
            Stale => assert!(held == 0 && stale > 0, "{of}"),
            // At the end of their time the next row follows.
            StaleAfter(..) if [3, 5].contains(row) => assert!(held > 0 && stale == 0, "{of}"),
            StaleAfter(..) => assert!(held > 0 && stale > 0, "{of}"),
        }
    }
    let rows: BTreeSet<u8> = TABLE.iter().map(|(row, ..)| *row).collect();
    assert_eq!(rows, ROWS.collect(), "the second statement has every row");
}

// A contender finds the file stale. If a later examination found it held again, the verdicts of breakers
// and waiters would alternate.
//
// The specification has one exception: a timestamp so far ahead that the mtime replaced it is trusted
// again, with age 0, as soon as it is within `cross_host_age`.
#[test]
fn more_age_never_turns_stale_into_held() {
    for limits in LIMITS {
        let steps = [
            1,
            limits.same_host_age,
            limits.cross_host_age,
            limits.cross_host_age + 1,
            FOREVER,
        ];
        for_each_case(limits, |case| {
            let stale = case.judge();
            if !stale.is_stale() {
                return;
            }
            for by in steps {
                let Case { evidence, .. } = case;
                let all = case.later(by);
                let mtime = Case::new(evidence, case.timestamp_age, all.mtime_age, limits);
                let timestamp = Case::new(evidence, all.timestamp_age, case.mtime_age, limits);
                for older in [all, mtime, timestamp] {
                    let regained = older.is_trusted() && !case.is_trusted();
                    if regained && stale.reason() != Reason::Malformed {
                        continue;
                    }
                    let verdict = older.judge();
                    assert!(
                        verdict.is_stale(),
                        "{by} ns older: {evidence:?} is {verdict:?}"
                    );
                }
            }
        });
    }
}

// A waiter sleeps until `stale_in` has passed. A time that is too long keeps a dead lock; a time that is
// too short is a busy loop.
#[test]
fn stale_in_is_exact() {
    let mut exact = 0_u32;
    for limits in LIMITS {
        for_each_case(limits, |case| {
            let Verdict::Held { reason, stale_in } = case.judge() else {
                return;
            };
            let Some(stale_in) = stale_in else {
                let ages = [case.later(FOREVER), case.later(2 * FOREVER)];
                for older in ages {
                    let verdict = older.judge();
                    assert!(
                        !verdict.is_stale(),
                        "not by age: {reason:?} became {verdict:?}"
                    );
                }
                return;
            };
            let left = i128::try_from(stale_in.as_nanos()).expect("fewer than FOREVER");
            let (last, first) = (case.later(left), case.later(left + 1));
            if first.is_trusted() && !case.is_trusted() && reason != Reason::BeingWritten {
                // The exception above: the lock is held for longer than `stale_in`.
                assert!(!first.judge().is_stale(), "{:?}", first.evidence);
                return;
            }
            // Row 3 is for files younger than the grace: at the grace itself it ends.
            let (last, first) = match reason {
                Reason::BeingWritten => (case.later(left - 1), last),
                _ => (last, first),
            };
            let (held, stale) = (last.judge(), first.judge());
            assert!(
                !held.is_stale(),
                "too early: {:?} is {held:?}",
                last.evidence
            );
            assert!(
                stale.is_stale(),
                "too late: {:?} is {stale:?}",
                first.evidence
            );
            exact += 1;
        });
    }
    assert!(exact > 0, "no combination of evidence has a time left");
}

#[test]
fn the_policy_never_makes_every_lock_held_and_keeps_the_reason() {
    for limits in LIMITS.into_iter().take(2) {
        let never = limits.of(StalePolicy::never());
        for_each_case(limits, |case| {
            let reason = case.judge().reason();
            let held = Verdict::Held {
                reason,
                stale_in: None,
            };
            assert_eq!(judge(&case.evidence, &never), held, "{:?}", case.evidence);
        });
    }
}

#[test]
fn a_lock_whose_kernel_lock_is_held_is_never_stale() {
    for limits in LIMITS.into_iter().take(2) {
        for_each_case(limits, |case| {
            if case.evidence.kernel_lock == KernelLock::HeldElsewhere {
                let verdict = case.judge();
                assert!(!verdict.is_stale(), "{:?} is {verdict:?}", case.evidence);
            }
        });
    }
}

// A subtraction of unsigned times in the wrong order once made a time a second ahead 584 years old.
#[test]
fn an_age_is_the_distance_to_now_with_its_direction() {
    let ns = Duration::from_nanos;
    assert_eq!(
        Age::at(7, 7),
        Age::Past(Duration::ZERO),
        "a time equal to now is past"
    );
    assert_eq!(Age::at(7, 5), Age::Past(ns(2)));
    assert_eq!(Age::at(5, 7), Age::Ahead(ns(2)));
    assert_eq!(Age::at(u64::MAX, 0), Age::Past(ns(u64::MAX)));
    assert_eq!(Age::at(0, u64::MAX), Age::Ahead(ns(u64::MAX)));
    assert_eq!(Age::at(7, 5).or_zero(), ns(2));
    assert_eq!(
        Age::at(5, 7).or_zero(),
        Duration::ZERO,
        "nothing ahead has an age"
    );
}

// `Age::at` never returns an age ahead by zero, but a caller may construct one.
#[test]
fn ahead_by_zero_is_now() {
    for template in templates() {
        for limits in LIMITS {
            let now = Case::new(&template, 0, 0, limits);
            let ahead = Evidence {
                timestamp_age: Age::Ahead(Duration::ZERO),
                ..now.evidence
            };
            assert_eq!(judge(&ahead, &limits.policy()), now.judge(), "{ahead:?}");
        }
    }
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    assert_eq!(StalePolicy::new(), DEFAULTS.policy(), "2 s, 30 s, 300 s");
    assert_eq!(StalePolicy::default(), StalePolicy::new());
}

/// The sentences for persons. They are part of the interface.
#[rustfmt::skip]
const SENTENCES: [(Reason, u8, &str); 22] = [
    (Reason::Foreign, 1, "the file is not an RVLF lock, so it is never removed"),
    (Reason::Unsupported, 1, "the record is of another version, so it is never removed"),
    (Reason::KernelLock, 2, "the kernel reports that a process holds it"),
    (Reason::KernelLockOutlivesProcess, 2, "the recorded process is not visible here, but the kernel lock is still held: by a child it forked, by a process in another container or on another machine, or by an unknown process"),
    (Reason::BeingWritten, 3, "the record is incomplete and young: a process may still be writing it"),
    (Reason::Malformed, 4, "the record is incomplete or damaged, and no process is writing it"),
    (Reason::GivenUp, 14, "this process lost it or could not release it, and has given it up"),
    (Reason::GuardNotDropped, 14, "this process has lost it, and has not dropped its guard yet"),
    (Reason::DescriptorClosed, 5, "the recorded process is alive, although it has closed the lock file"),
    (Reason::KernelWitness, 6, "the kernel reports that no process holds it any more"),
    (Reason::ProcessGone, 7, "the recorded process is gone, and age decides on a shared file system"),
    (Reason::BeforeBoot, 8, "it was written on this host before the last boot"),
    (Reason::Elsewhere, 9, "this machine cannot see the holder: the age of the last refresh decides"),
    (Reason::ProcessAlive, 10, "the recorded process is alive on this host"),
    (Reason::PidProbablyReused, 10, "a process with the recorded pid is alive, but it started later: the pid was probably reused; if no process writes the data file, break the lock by force with its writer id"),
    (Reason::ProcessUnknown, 10, "the recorded process may be alive: this user is not allowed to see it"),
    (Reason::ProcessDead, 11, "the recorded process is dead, and the lock's age decides"),
    (Reason::HostAlias, 12, "it names this host by an alias: the recorded process and the lock's age decide"),
    (Reason::OtherHost, 13, "it names another host: only its age decides"),
    (Reason::Contended, 0, "the lock changed hands during every look at it"),
    (Reason::Unreadable, 0, "this user may not read the lock file"),
    (Reason::Leased, 0, "another process keeps the lock file from being opened: by a lease, or on Windows by not sharing it"),
];

#[test]
fn every_reason_reads_as_its_sentence() {
    for (reason, row, sentence) in SENTENCES {
        assert_eq!(reason.to_string(), sentence, "{reason:?}");
        assert_eq!(reason.row(), row, "{reason:?}");
        assert!(
            !sentence.ends_with('.'),
            "the sentence ends other sentences: {sentence}"
        );
        assert!(
            !sentence.contains("  "),
            "a line break left two spaces: {sentence}"
        );
    }
    let pinned: HashSet<Reason> = SENTENCES.iter().map(|(reason, ..)| *reason).collect();
    assert_eq!(pinned.len(), SENTENCES.len(), "a reason is listed twice");
    for (_, reason, ..) in TABLE {
        assert!(
            pinned.contains(&reason),
            "the sentence of {reason:?} is not pinned"
        );
    }
}

/// `spec/vectors/judge.json`, with which other implementations are tested.
mod vectors {
    #![allow(clippy::indexing_slicing, reason = "a panic is a failed test")]

    use super::*;
    use crate::judge_json::{limits_ms, number, read_evidence, read_policy, verdict_json, word};
    use serde_json::Value;

    struct Vector {
        name: String,
        row: u64,
        evidence: Evidence,
        policy: StalePolicy,
        verdict: Value,
        ages_ms: [i64; 2],
        limits_ms: [i64; 3],
    }

    fn all() -> Vec<Vector> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../spec/vectors/judge.json");
        let text = std::fs::read(path).expect("the vectors are part of the repository");
        let cases: Vec<Value> = serde_json::from_slice(&text).expect("the file is an array");
        cases.iter().map(Vector::read).collect()
    }

    impl Vector {
        fn read(case: &Value) -> Vector {
            let (evidence, policy) = (&case["evidence"], &case["policy"]);
            Vector {
                name: word(&case["name"]).to_owned(),
                row: case["row"].as_u64().expect("a row of the table"),
                evidence: read_evidence(evidence),
                policy: read_policy(policy),
                verdict: case["verdict"].clone(),
                ages_ms: [&evidence["timestamp_age_ms"], &evidence["mtime_age_ms"]].map(number),
                limits_ms: limits_ms(policy),
            }
        }

        fn is_stale(&self) -> bool {
            self.verdict["state"] == "stale"
        }

        /// The evidence without the ages.
        fn circumstances(&self) -> (Evidence, StalePolicy) {
            let evidence = Evidence {
                timestamp_age: Age::Past(Duration::ZERO),
                mtime_age: Duration::ZERO,
                ..self.evidence
            };
            (evidence, self.policy)
        }
    }

    #[test]
    fn every_vector_is_judged_as_it_states() {
        for vector in all() {
            let got = verdict_json(&judge(&vector.evidence, &vector.policy));
            assert_eq!(got, vector.verdict, "{}", vector.name);
            assert_eq!(got["row"], vector.row, "{}", vector.name);
        }
    }

    #[test]
    fn every_row_has_a_vector_and_no_name_is_given_twice() {
        let vectors = all();
        let rows: BTreeSet<u64> = vectors.iter().map(|vector| vector.row).collect();
        assert_eq!(rows, ROWS.map(u64::from).collect(), "rows with a vector");
        let names: BTreeSet<&str> = vectors.iter().map(|vector| vector.name.as_str()).collect();
        assert_eq!(names.len(), vectors.len(), "a name names one vector");
    }

    /// The age that a boundary limits.
    #[derive(Clone, Copy, Debug)]
    enum Decisive {
        Timestamp,
        Mtime,
    }
    use Decisive::{Mtime, Timestamp};

    /// The threshold of the policy at a boundary.
    #[derive(Clone, Copy, Debug)]
    enum Threshold {
        Grace,
        SameHost,
        CrossHost,
    }
    use Threshold::{CrossHost, Grace, SameHost};

    /// The row before each boundary, the row behind it, and the boundary.
    const BOUNDARIES: [(u64, u64, Decisive, Threshold); 10] = [
        (3, 4, Mtime, Grace),
        (5, 6, Timestamp, SameHost),
        (7, 7, Timestamp, SameHost),
        (8, 8, Timestamp, SameHost),
        (8, 8, Mtime, SameHost),
        (9, 9, Timestamp, CrossHost),
        (9, 9, Mtime, CrossHost),
        (11, 11, Timestamp, SameHost),
        (12, 12, Timestamp, CrossHost),
        (13, 13, Timestamp, CrossHost),
    ];

    // A vector far inside a row does not distinguish "older than" from "as old as", or seconds from
    // milliseconds: an implementation could be off by one and pass.
    #[test]
    fn every_boundary_has_a_vector_on_each_side() {
        let vectors = all();
        for (before, behind, decisive, threshold) in BOUNDARIES {
            // The last millisecond before the threshold.
            let last = if matches!(threshold, Grace) { -1 } else { 0 };
            let at = |vector: &Vector, ms: i64| {
                let [timestamp, mtime] = vector.ages_ms;
                let [grace, same_host, cross_host] = vector.limits_ms;
                let limit = match threshold {
                    Grace => grace,
                    SameHost => same_host,
                    CrossHost => cross_host,
                };
                match decisive {
                    Timestamp => timestamp == limit + ms,
                    Mtime => mtime == limit + ms,
                }
            };
            let near = |v: &&Vector| v.row == before && !v.is_stale() && at(v, last);
            let far = |v: &&Vector| v.row == behind && v.is_stale() && at(v, last + 1);
            let pair = vectors.iter().filter(near).any(|near| {
                let alike = |far: &Vector| far.circumstances() == near.circumstances();
                vectors.iter().filter(far).any(alike)
            });
            assert!(
                pair,
                "no two vectors, alike but for their ages, lie on both sides of the boundary of \
                 rows {before} and {behind} ({decisive:?}, {threshold:?})"
            );
        }
    }

    // The limit of trust in a timestamp ahead is a boundary, too.
    #[test]
    fn the_end_of_trust_has_a_vector_on_each_side() {
        let ahead = |over: i64| {
            let vectors = all();
            let exact = |vector: &Vector| {
                let ([timestamp, _], [.., cross_host]) = (vector.ages_ms, vector.limits_ms);
                timestamp == -cross_host - over
            };
            vectors.into_iter().filter(exact).collect::<Vec<_>>()
        };
        let (trusted, untrusted) = (ahead(0), ahead(1));
        let alike = |a: &Vector| {
            let same =
                |b: &Vector| a.circumstances() == b.circumstances() && a.verdict != b.verdict;
            untrusted.iter().any(same)
        };
        assert!(trusted.iter().any(alike), "a pair differs in trust alone");
        for row in [6, 7, 9, 11, 12, 13] {
            let by_mtime = |vector: &Vector| vector.row == row && vector.is_stale();
            assert!(
                untrusted.iter().any(by_mtime),
                "row {row}: none is stale by its mtime"
            );
        }
    }
}
