//! The two references in `spec/reference`, against the library, on random records and evidence.
//!
//! The vectors are examples that their author thought of. A reader that was written from the text
//! alone and disagrees elsewhere shows a hole in the text.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use rvlf::judge::{judge, judge_store};
use serde_json::{Value, json};

use crate::judge_json::{read_evidence, read_policy, verdict_json};
use crate::properties::{content, store_object};
use crate::store_table;
use crate::vectors::{description, exact_json, hex};

const RECORDS: usize = 10_000;
const VERDICTS: usize = 10_000;
const STORE_VERDICTS: usize = 10_000;

/// What a reference is asked, and what the library answers.
#[derive(Debug)]
struct Question {
    asked: Value,
    expected: Value,
}

fn record() -> impl Strategy<Value = Question> {
    content().prop_map(|bytes| Question {
        asked: json!({ "record_hex": hex(&bytes) }),
        expected: description(&bytes),
    })
}

/// Also two numbers that are one number to a reader which keeps 53 bits.
fn start_ticks() -> impl Strategy<Value = Value> {
    let ticks = prop::sample::select(&[0, 1, (1 << 53) - 1, 1 << 53, (1 << 53) + 1, u64::MAX][..]);
    ticks.prop_map(exact_json)
}

fn stamp() -> impl Strategy<Value = Value> {
    let inode = prop::sample::select(&["same", "different"][..]);
    let stamp = (inode, start_ticks())
        .prop_map(|(inode, ticks)| json!({ "inode": inode, "start_ticks": ticks }));
    prop_oneof![1 => Just(Value::Null), 3 => stamp]
}

fn process() -> impl Strategy<Value = Value> {
    let alive = (start_ticks(), any::<bool>()).prop_map(|(start_ticks, later)| {
        json!({ "state": "alive", "start_ticks": start_ticks, "started_after_timestamp": later })
    });
    prop_oneof![
        2 => alive,
        1 => Just(json!({ "state": "dead" })),
        1 => Just(json!({ "state": "unknown" })),
    ]
}

/// Around every threshold, and any other.
fn age_ms() -> impl Strategy<Value = i64> {
    let threshold = prop::sample::select(&[0, 7, 2_000, 30_000, 300_000][..]);
    prop_oneof![
        4 => (threshold, -1..=1_i64).prop_map(|(threshold, by)| threshold + by),
        1 => 0..1_000_000_000_000_i64,
    ]
}

fn timestamp_age_ms() -> impl Strategy<Value = i64> {
    (age_ms(), any::<bool>()).prop_map(|(age, ahead)| if ahead { -age } else { age })
}

prop_compose! {
    fn evidence()(
        content in prop::sample::select(&["valid", "valid", "valid", "short", "corrupt", "foreign", "unsupported"][..]),
        kernel_lock in prop::sample::select(&["free", "free", "held-elsewhere", "unsupported"][..]),
        file_system in prop::sample::select(&["local", "not-local"][..]),
        plain in any::<bool>(),
        stamp in stamp(),
        host in prop::sample::select(&["same", "alias", "other"][..]),
        process in process(),
        timestamp_age_ms in timestamp_age_ms(),
        mtime_age_ms in age_ms(),
        predates_boot in any::<bool>(),
        own_hold in prop::sample::select(&[None, None, Some("lost"), Some("given-up")][..]),
    ) -> Value {
        let mut evidence = json!({
            "content": content,
            "kernel_lock": kernel_lock,
            "file_system": file_system,
            "plain": plain && file_system == "local",
            "stamp": if content == "valid" { stamp } else { Value::Null },
            "host": host,
            "process": process,
            "timestamp_age_ms": timestamp_age_ms,
            "mtime_age_ms": mtime_age_ms.max(0),
            "predates_boot": predates_boot,
        });
        if let (Some(own_hold), Some(members)) = (own_hold, evidence.as_object_mut()) {
            members.insert("own_hold".to_owned(), own_hold.into());
        }
        evidence
    }
}

prop_compose! {
    fn policy()(
        malformed_grace_ms in prop::sample::select(&[2_000, 7, 0][..]),
        same_host_age_ms in prop::sample::select(&[30_000, 0, 300_000][..]),
        cross_host_age_ms in prop::sample::select(&[300_000, 7, 30_000][..]),
        never in prop::bool::weighted(0.1),
    ) -> Value {
        json!({
            "malformed_grace_ms": malformed_grace_ms,
            "same_host_age_ms": same_host_age_ms,
            "cross_host_age_ms": cross_host_age_ms,
            "never": never,
        })
    }
}

fn verdict() -> impl Strategy<Value = Question> {
    (evidence(), policy()).prop_map(|(evidence, policy)| {
        let verdict = judge(&read_evidence(&evidence), &read_policy(&policy));
        Question {
            asked: json!({ "evidence": evidence, "policy": policy }),
            expected: verdict_json(&verdict),
        }
    })
}

/// Around every threshold of a lock in an object store, and any other.
fn store_age_ms() -> impl Strategy<Value = i64> {
    const THRESHOLDS: [i64; 6] = [0, 1_000, 30_000, 300_000, 3_600_000, 36_000_000];
    let threshold = prop::sample::select(&THRESHOLDS[..]);
    prop_oneof![
        4 => (threshold, -1..=1_i64).prop_map(|(threshold, by)| (threshold + by).max(0)),
        1 => 0..1_000_000_000_000_i64,
    ]
}

prop_compose! {
    fn both_clocks()(ages in prop::array::uniform2(store_age_ms()), ahead in any::<[bool; 2]>()) -> Value {
        let [timestamp, modified] = ages;
        let [timestamp_ahead, modified_ahead] = ahead;
        json!({
            "timestamp_age_ms": if timestamp_ahead { -timestamp } else { timestamp },
            "modified_age_ms": if modified_ahead { -modified } else { modified },
        })
    }
}

prop_compose! {
    fn store_verdict()(
        object in prop::option::weighted(0.9, store_object()),
        unchanged_ms in store_age_ms(),
        own_dead in prop::bool::weighted(0.2),
        both_clocks in prop::option::of(both_clocks()),
    ) -> Question {
        let asked = json!({
            "object_hex": object.as_deref().map(hex),
            "unchanged_ms": unchanged_ms,
            "own_dead": own_dead,
            "both_clocks": both_clocks,
        });
        let evidence = store_table::read_evidence(object.as_deref(), &asked);
        let expected = store_table::verdict_json(&judge_store(&evidence));
        Question { asked, expected }
    }
}

fn sample(strategy: &impl Strategy<Value = Question>, count: usize) -> Vec<Question> {
    let mut runner = TestRunner::default();
    let mut one = || {
        let tree = strategy.new_tree(&mut runner);
        tree.expect("no strategy here rejects values").current()
    };
    (0..count).map(|_| one()).collect()
}

/// The answers of a reference, in the order of the questions. `None` without its interpreter.
fn answers(interpreter: &str, reference: &str, questions: &[Question]) -> Option<Vec<Value>> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spec/reference");
    let mut child = Command::new(interpreter)
        .arg(program.join(reference))
        .arg("answer")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let lines: String = questions
        .iter()
        .map(|question| format!("{}\n", question.asked))
        .collect();
    let mut stdin = child.stdin.take().expect("the input is a pipe");
    // A thread of its own: the reference answers before it has read everything.
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().expect("the reference ends");
    let written = writer.join().expect("the writer does not panic");
    written.expect("the reference reads every question");
    assert!(output.status.success(), "{reference} fails");
    let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    let parse = |line: &str| serde_json::from_str(line).expect("an answer is JSON");
    Some(text.lines().map(parse).collect())
}

fn check(interpreter: &str, reference: &str) {
    let mut questions = sample(&record(), RECORDS);
    questions.extend(sample(&verdict(), VERDICTS));
    questions.extend(sample(&store_verdict(), STORE_VERDICTS));
    let Some(answers) = answers(interpreter, reference, &questions) else {
        support::skip(&format!("there is no {interpreter} here"));
        return;
    };
    assert_eq!(
        answers.len(),
        questions.len(),
        "one answer for each question"
    );
    for (Question { asked, expected }, answer) in questions.iter().zip(answers) {
        assert_eq!(answer, *expected, "{reference}, asked for {asked}");
    }
}

// An implementer who follows the text must not break locks that the library keeps.
#[test]
fn the_reference_in_python_agrees_on_random_records_and_evidence() {
    check("python3", "rvlf.py");
}

#[test]
fn the_reference_in_javascript_agrees_on_random_records_and_evidence() {
    check("node", "rvlf.mjs");
}
