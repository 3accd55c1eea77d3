//! Cases for the judge as JSON, in the terms of `spec/vectors/judge.json`.
#![allow(clippy::indexing_slicing, reason = "a panic is a failed test")]

use std::time::Duration;

use rvlf::StalePolicy;
use rvlf::judge::{
    Age, Content, Evidence, FileSystem, HostMatch, KernelLock, OwnHold, Process, Stamp, Verdict,
};
use serde_json::{Value, json};

pub fn number(value: &Value) -> i64 {
    value
        .as_i64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

pub fn word(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no string"))
}

fn duration_ms(ms: i64) -> Duration {
    Duration::from_millis(ms.unsigned_abs())
}

pub fn read_evidence(evidence: &Value) -> Evidence {
    let timestamp_age_ms = number(&evidence["timestamp_age_ms"]);
    let distance = duration_ms(timestamp_age_ms);
    Evidence {
        content: match word(&evidence["content"]) {
            "valid" => Content::Valid,
            "short" => Content::Short,
            "corrupt" => Content::Corrupt,
            "unsupported" => Content::Unsupported,
            "foreign" => Content::Foreign,
            other => panic!("content {other}"),
        },
        kernel_lock: match word(&evidence["kernel_lock"]) {
            "held-elsewhere" => KernelLock::HeldElsewhere,
            "free" => KernelLock::Free,
            "unsupported" => KernelLock::Unsupported,
            other => panic!("kernel lock {other}"),
        },
        file_system: match word(&evidence["file_system"]) {
            "local" => FileSystem::Local {
                plain: evidence["plain"] == true,
            },
            "not-local" => FileSystem::NotLocal,
            other => panic!("file system {other}"),
        },
        stamp: read_stamp(&evidence["stamp"]),
        host: match word(&evidence["host"]) {
            "same" => HostMatch::Same,
            "alias" => HostMatch::Alias,
            "other" => HostMatch::Other,
            other => panic!("host {other}"),
        },
        process: read_process(&evidence["process"]),
        timestamp_age: match timestamp_age_ms < 0 {
            true => Age::Ahead(distance),
            false => Age::Past(distance),
        },
        mtime_age: duration_ms(number(&evidence["mtime_age_ms"])),
        predates_boot: evidence["predates_boot"] == true,
        own_hold: match &evidence["own_hold"] {
            Value::Null => OwnHold::None,
            known if known == "lost" => OwnHold::Lost,
            known => {
                assert_eq!(known, "given-up");
                OwnHold::GivenUp
            }
        },
    }
}

fn read_stamp(stamp: &Value) -> Stamp {
    if stamp.is_null() {
        return Stamp::Absent;
    }
    let start_ticks = ticks(stamp);
    match word(&stamp["inode"]) {
        "same" => Stamp::Same { start_ticks },
        "different" => Stamp::Different { start_ticks },
        other => panic!("inode {other}"),
    }
}

fn read_process(process: &Value) -> Process {
    match word(&process["state"]) {
        "dead" => Process::Dead,
        "unknown" => Process::Unknown,
        "alive" => Process::Alive {
            start_ticks: ticks(process),
            started_after_timestamp: process["started_after_timestamp"] == true,
        },
        other => panic!("process {other}"),
    }
}

fn ticks(of: &Value) -> u64 {
    read_exact(&of["start_ticks"])
}

/// A number below 2^53, and a decimal string from there on.
pub fn read_exact(number: &Value) -> u64 {
    match number {
        Value::String(text) => text.parse().expect("a decimal number"),
        number => number.as_u64().expect("a number that is not negative"),
    }
}

/// `malformed_grace`, `same_host_age` and `cross_host_age`.
pub fn limits_ms(policy: &Value) -> [i64; 3] {
    let keys = [
        "malformed_grace_ms",
        "same_host_age_ms",
        "cross_host_age_ms",
    ];
    keys.map(|key| number(&policy[key]))
}

pub fn read_policy(policy: &Value) -> StalePolicy {
    let [grace, same_host, cross_host] = limits_ms(policy).map(duration_ms);
    let base = match policy["never"].as_bool().expect("true or false") {
        true => StalePolicy::never(),
        false => StalePolicy::new(),
    };
    base.with_malformed_grace(grace)
        .with_same_host_age(same_host)
        .with_cross_host_age(cross_host)
}

pub fn verdict_json(verdict: &Verdict) -> Value {
    let (state, stale_in) = match verdict {
        Verdict::Held { stale_in, .. } => ("held", *stale_in),
        _ => ("stale", None),
    };
    json!({
        "state": state,
        "row": verdict.reason().row(),
        "stale_in_ms": stale_in.map(|time| time.as_millis() as u64),
    })
}
