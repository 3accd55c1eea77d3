//! The table of `spec/object-store.md#judge`, stated a second time and compared with `judge_store` for
//! every combination of evidence, and the vectors of judge_store.json.
//!
//! A wrong verdict here takes the lock from a live holder on another machine, or keeps a dead one's
//! indefinitely.
#![allow(clippy::indexing_slicing, reason = "a panic is a failed test")]

use std::collections::BTreeMap;
use std::time::Duration;

use rvlf::judge::{
    Age, BothClocks, StoreContent, StoreEvidence, StoreReason, StoreVerdict, judge_store,
};
use rvlf::record::StoreStamp;
use serde_json::{Value, json};

use crate::ages::{FOREVER, SECOND, age, duration};
use crate::vectors::{bytes_of, directory, json_of};

const HOUR: i128 = 3600 * SECOND;

/// The second statement computes in whole nanoseconds, negative for the future, without [`Age`].
#[derive(Clone, Copy, Debug)]
struct Case {
    content: StoreContent,
    unchanged: i128,
    own_dead: bool,
    /// Age of the timestamp and of the modification.
    clocks: Option<[i128; 2]>,
}

impl Case {
    fn judge(&self) -> StoreVerdict {
        judge_store(&StoreEvidence {
            content: self.content,
            unchanged: duration(self.unchanged),
            own_dead: self.own_dead,
            both_clocks: self.clocks.map(|[timestamp, modified]| BothClocks {
                timestamp_age: age(timestamp),
                modified_age: age(modified),
            }),
        })
    }

    /// The same object, seen later.
    fn later(&self, by: i128) -> Case {
        let add = |time: i128| time.saturating_add(by).min(FOREVER);
        Case {
            unchanged: add(self.unchanged),
            clocks: self.clocks.map(|clocks| clocks.map(add)),
            ..*self
        }
    }

    // The terms of the table.

    fn is(&self, content: StoreContent) -> bool {
        self.content == content
    }

    /// The lease in nanoseconds, 0 for content without a store stamp.
    fn lease(&self) -> i128 {
        match self.content {
            StoreContent::Valid(stamp) => i128::from(stamp.lease_ms) * 1_000_000,
            _ => 0,
        }
    }

    fn outside_limits(&self) -> bool {
        let StoreContent::Valid(stamp) = self.content else {
            return false;
        };
        let lease = self.lease();
        stamp.generation > 9_223_372_036_854_775_808
            || lease != 0 && !(SECOND..=HOUR).contains(&lease)
    }

    fn limit_of_both_clocks(&self) -> i128 {
        (300 * SECOND).max(10 * self.lease())
    }

    fn both_clocks_exceed(&self) -> bool {
        let limit = self.limit_of_both_clocks();
        self.clocks
            .is_some_and(|[timestamp, modified]| timestamp > limit && modified > limit)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Free,
    Held,
    Stale,
}
use Says::{Free, Held, Stale};

type Row = (StoreReason, fn(&Case) -> bool, Says);

/// The table. The first row whose condition holds decides.
#[rustfmt::skip]
const TABLE: [Row; 11] = [
    (StoreReason::Absent, |c| c.is(StoreContent::Absent), Free),
    (StoreReason::Foreign, |c| c.is(StoreContent::Foreign), Held),
    (StoreReason::Unsupported, |c| c.is(StoreContent::Unsupported), Held),
    (StoreReason::Damaged, |c| c.is(StoreContent::Damaged), Held),
    (StoreReason::OtherStamp, |c| c.is(StoreContent::OtherStamp), Held),
    (StoreReason::OtherStamp, Case::outside_limits, Held),
    (StoreReason::Released, |c| c.lease() == 0, Free),
    (StoreReason::OwnDead, |c| c.own_dead, Stale),
    (StoreReason::LeaseOver, |c| c.unchanged > c.lease(), Stale),
    (StoreReason::BothClocks, Case::both_clocks_exceed, Stale),
    (StoreReason::WithinLease, |_| true, Held),
];

fn row_of(case: &Case) -> usize {
    let decides = |(_, when, _): &Row| when(case);
    TABLE
        .iter()
        .position(decides)
        .expect("the last row matches")
}

const fn stamp(generation: u64, lease_ms: u32) -> StoreContent {
    StoreContent::Valid(StoreStamp {
        generation,
        lease_ms,
        nonce: 7,
    })
}

const CONTENTS: [StoreContent; 18] = [
    StoreContent::Absent,
    StoreContent::Foreign,
    StoreContent::Unsupported,
    StoreContent::OtherStamp,
    StoreContent::Damaged,
    stamp(8, 0),
    stamp(8, 1),
    stamp(8, 999),
    stamp(8, 1_000),
    stamp(8, 30_000),
    stamp(8, 30_001),
    stamp(8, 3_600_000),
    stamp(8, 3_600_001),
    stamp(8, u32::MAX),
    stamp(0, 30_000),
    stamp(1 << 63, 30_000),
    stamp((1 << 63) + 1, 30_000),
    stamp(u64::MAX, 0),
];

/// At, just below and just above the limit; zero; and the longest time.
fn around(limit: i128) -> [i128; 5] {
    [0, (limit - 1).max(0), limit, limit + 1, FOREVER]
}

fn clocks_of(limit: i128) -> Vec<Option<[i128; 2]>> {
    let ahead = [-1, -limit, -FOREVER];
    let ages: Vec<i128> = around(limit).into_iter().chain(ahead).collect();
    let pairs = ages.iter().flat_map(|timestamp| {
        ages.iter()
            .map(move |modified| Some([*timestamp, *modified]))
    });
    [None].into_iter().chain(pairs).collect()
}

fn for_each_case(mut see: impl FnMut(&Case)) {
    for content in CONTENTS {
        let mut case = Case {
            content,
            unchanged: 0,
            own_dead: false,
            clocks: None,
        };
        let clocks = clocks_of(case.limit_of_both_clocks());
        for unchanged in around(case.lease()) {
            for own_dead in [false, true] {
                for clocks in &clocks {
                    (case.unchanged, case.own_dead, case.clocks) = (unchanged, own_dead, *clocks);
                    see(&case);
                }
            }
        }
    }
}

#[test]
fn judge_store_follows_the_table_for_every_combination_of_evidence() {
    let mut decided = BTreeMap::new();
    for_each_case(|case| {
        let row = row_of(case);
        let (reason, _, says) = TABLE[row];
        let verdict = case.judge();
        let state = match verdict {
            StoreVerdict::Free { .. } => Free,
            StoreVerdict::Held { .. } => Held,
            StoreVerdict::Stale { .. } => Stale,
        };
        assert_eq!((state, verdict.reason()), (says, reason), "{case:?}");
        *decided.entry(row).or_insert(0_u32) += 1;
    });
    // The comparison above did not test a row that no case reaches.
    let reached: Vec<_> = decided.into_keys().collect();
    assert!(reached.into_iter().eq(0..TABLE.len()), "every row decides");
    for reason in StoreReason::ALL {
        let rows = TABLE.iter().filter(|(of, ..)| *of == reason);
        assert!(rows.count() > 0, "{reason:?} has no row");
    }
}

// A contender sleeps until `stale_in` has passed. A time that is too long keeps a dead lock; a time that
// is too short asks the store in a busy loop.
#[test]
fn stale_in_of_a_lock_in_a_store_is_exact() {
    let mut exact = 0_u32;
    for_each_case(|case| {
        let StoreVerdict::Held { reason, stale_in } = case.judge() else {
            return;
        };
        let Some(stale_in) = stale_in else {
            let verdict = case.later(FOREVER).judge();
            assert!(!verdict.is_stale(), "not by age: {reason:?}, {case:?}");
            return;
        };
        let left = i128::try_from(stale_in.as_nanos()).expect("fewer than FOREVER");
        let (last, first) = (case.later(left), case.later(left + 1));
        assert!(!last.judge().is_stale(), "too early: {last:?}");
        assert!(first.judge().is_stale(), "too late: {first:?}");
        exact += 1;
    });
    assert!(exact > 0, "some locks are held until their lease is over");
}

// A contender finds the lock stale, and takes it over a moment later.
#[test]
fn more_time_never_turns_a_stale_lock_in_a_store_into_a_held_one() {
    for_each_case(|case| {
        if case.judge().is_stale() {
            for by in [1, 30 * SECOND, HOUR, FOREVER] {
                assert!(case.later(by).judge().is_stale(), "{by} ns later: {case:?}");
            }
        }
    });
}

// A holder believes for two thirds of its lease. By default no wall clock decides when others take over.
#[test]
fn without_the_clocks_no_lock_is_taken_within_its_lease() {
    for_each_case(|case| {
        if case.clocks.is_none() && !case.own_dead && case.unchanged <= case.lease() {
            assert!(!case.judge().is_stale(), "{case:?}");
        }
    });
}

/// The sentences for persons. They are part of the interface.
#[rustfmt::skip]
const SENTENCES: [(StoreReason, &str); 10] = [
    (StoreReason::Absent, "the lock object does not exist"),
    (StoreReason::Released, "its last holder released it"),
    (StoreReason::WithinLease, "it has not been seen unchanged for longer than its lease: the holder may be alive"),
    (StoreReason::LeaseOver, "it has been seen unchanged for longer than its lease: the holder is gone"),
    (StoreReason::OwnDead, "this process wrote it, and has lost or given up that hold"),
    (StoreReason::BothClocks, "by the holder's clock and by the store's, the last refresh is much older than the lease"),
    (StoreReason::Foreign, "the object is not an RVLF record, so it is never written"),
    (StoreReason::Unsupported, "the record is of another version, so it is never written"),
    (StoreReason::OtherStamp, "the record has no valid store stamp, so it is never written"),
    (StoreReason::Damaged, "the object is incomplete, damaged or too long, so it is never written"),
];

#[test]
fn every_reason_of_a_store_reads_as_its_sentence_and_has_a_code_of_its_own() {
    let listed = SENTENCES.map(|(reason, _)| reason);
    assert_eq!(listed, StoreReason::ALL);
    for (reason, sentence) in SENTENCES {
        assert_eq!(reason.to_string(), sentence, "{reason:?}");
        let is_letter = |c: char| c.is_ascii_lowercase() || c == '-';
        assert!(reason.code().chars().all(is_letter), "{reason:?}");
    }
    let mut codes = StoreReason::ALL.map(StoreReason::code).to_vec();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(
        codes.len(),
        StoreReason::ALL.len(),
        "a code for each reason"
    );
}

/// The evidence of a case of judge_store.json, whose object is bytes.
pub fn read_evidence(object: Option<&[u8]>, facts: &Value) -> StoreEvidence {
    let millis = |value: &Value| value.as_i64().expect("a number of milliseconds");
    let age = |value: &Value| age(i128::from(millis(value)) * 1_000_000);
    let clocks = &facts["both_clocks"];
    StoreEvidence {
        content: object.map_or(StoreContent::Absent, StoreContent::of),
        unchanged: Duration::from_millis(millis(&facts["unchanged_ms"]).unsigned_abs()),
        own_dead: facts["own_dead"].as_bool().expect("true or false"),
        both_clocks: (!clocks.is_null()).then(|| BothClocks {
            timestamp_age: age(&clocks["timestamp_age_ms"]),
            modified_age: age(&clocks["modified_age_ms"]),
        }),
    }
}

pub fn verdict_json(verdict: &StoreVerdict) -> Value {
    let (state, stale_in) = match verdict {
        StoreVerdict::Free { .. } => ("free", None),
        StoreVerdict::Held { stale_in, .. } => ("held", *stale_in),
        StoreVerdict::Stale { .. } => ("stale", None),
    };
    json!({
        "state": state,
        "reason_code": verdict.reason().code(),
        "stale_in_ms": stale_in.map(|time| time.as_millis() as u64),
    })
}

struct Vector {
    name: String,
    evidence: StoreEvidence,
    verdict: Value,
}

fn vectors() -> Vec<Vector> {
    let cases = json_of(&directory().join("judge_store.json"));
    let cases = cases.as_array().expect("the file is an array");
    let read = |case: &Value| {
        let object = case["evidence"]["object"].as_str().map(bytes_of);
        Vector {
            name: case["name"].as_str().expect("a name").to_owned(),
            evidence: read_evidence(object.as_deref(), &case["evidence"]),
            verdict: case["verdict"].clone(),
        }
    };
    cases.iter().map(read).collect()
}

#[test]
fn every_vector_of_a_store_is_judged_as_it_states() {
    let mut reasons = BTreeMap::new();
    for vector in vectors() {
        let got = verdict_json(&judge_store(&vector.evidence));
        assert_eq!(got, vector.verdict, "{}", vector.name);
        let code = got["reason_code"].as_str().expect("a code").to_owned();
        *reasons.entry(code).or_insert(0_u32) += 1;
    }
    let mut codes = StoreReason::ALL.map(StoreReason::code).to_vec();
    codes.sort_unstable();
    assert!(
        reasons.keys().eq(&codes),
        "a vector for each reason: {reasons:?}"
    );
}

#[test]
fn no_name_of_a_vector_of_a_store_is_given_twice() {
    let mut names: Vec<_> = vectors().into_iter().map(|vector| vector.name).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}

// A vector far inside a row does not distinguish "longer than" from "as long as".
#[test]
fn every_threshold_of_a_store_has_a_vector_on_each_side() {
    let vectors = vectors();
    let has = |reason: StoreReason, when: &dyn Fn(&StoreEvidence, Duration) -> bool| {
        vectors.iter().any(|vector| {
            let StoreContent::Valid(stamp) = vector.evidence.content else {
                return false;
            };
            vector.verdict["reason_code"] == reason.code() && when(&vector.evidence, stamp.lease())
        })
    };
    let ms = Duration::from_millis(1);
    let (within, over) = (StoreReason::WithinLease, StoreReason::LeaseOver);
    assert!(has(within, &|e, lease| e.unchanged == lease));
    assert!(has(over, &|e, lease| e.unchanged == lease + ms));
    for of in [30, 3600] {
        let least = Duration::from_secs(of * 10);
        let ages = |e: &StoreEvidence, timestamp, modified| {
            e.both_clocks.is_some_and(|clocks| {
                let both = (clocks.timestamp_age, clocks.modified_age);
                both == (Age::Past(timestamp), Age::Past(modified))
            })
        };
        let on = |lease: Duration| lease == Duration::from_secs(of);
        assert!(has(within, &|e, lease| on(lease) && ages(e, least, least)));
        let past = least + ms;
        let stale = StoreReason::BothClocks;
        assert!(has(stale, &|e, lease| on(lease) && ages(e, past, past)));
    }
}

// A program that waits for a code of the text, which the library reports under another name, waits
// indefinitely.
#[test]
fn the_reasons_of_the_store_table_are_those_of_the_library() {
    let path = directory().join("../object-store.md");
    let text = std::fs::read_to_string(path).expect("the text is part of the repository");
    let (_, table) = text
        .split_once("| content | when | verdict | `reason_code` |\n|---|---|---|---|\n")
        .expect("the text has a table of verdicts");
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let mut rows: Vec<_> = rows
        .map(|row| {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            (
                cells[3].to_lowercase(),
                cells[4].trim_matches('`').to_owned(),
            )
        })
        .collect();
    // The second statement has two rows for the two causes of one.
    let mut stated: Vec<_> = TABLE
        .iter()
        .map(|(reason, _, says)| (format!("{says:?}").to_lowercase(), reason.code().to_owned()))
        .collect();
    for list in [&mut rows, &mut stated] {
        list.sort();
        list.dedup();
    }
    assert_eq!(rows, stated);
}
