//! A lock as a JSON object. The schema is documented in `docs/command.md`.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use rvlf::judge::{
    Age, Content, Evidence, FileSystem, HostMatch, KernelLock, Process, Stamp, Verdict,
};
use rvlf::record::{Checksum, LOCK_VERSION};
use rvlf::{Holder, LockState, Record, lock_path_for};
use serde_json::{Map, Value, json};

use crate::exit;

/// One lock.
pub fn lock_json(data: &Path, state: &LockState) -> Value {
    let mut object = Map::new();
    insert_text(&mut object, "resource_path", data.as_os_str());
    insert_text(&mut object, "lock_path", lock_path_for(data).as_os_str());
    let reason = state.reason();
    let holder = state.holder();
    let row = reason.map(rvlf::judge::Reason::row).filter(|row| *row > 0);
    let found = match state {
        LockState::Foreign(found) => Some(found.to_string()),
        LockState::UnsupportedVersion(found) => Some(format!("version {found}")),
        _ => holder
            .and_then(Holder::decode_error)
            .map(ToString::to_string),
    };
    object.extend([
        ("state".into(), json!(name(state))),
        ("row".into(), json!(row)),
        (
            "reason".into(),
            json!(reason.map(|reason| reason.to_string())),
        ),
        ("found".into(), json!(found)),
        (
            "record".into(),
            json!(holder.and_then(Holder::record).map(record_json)),
        ),
        ("stale_in_ms".into(), json!(holder.and_then(stale_in))),
        (
            "held_for_ms".into(),
            json!(holder.and_then(Holder::held_for).map(millis)),
        ),
        (
            "timestamp_age_ms".into(),
            json!(holder.and_then(Holder::timestamp_age).map(signed_millis)),
        ),
        ("uid".into(), json!(holder.and_then(Holder::uid))),
        (
            "trailing_bytes".into(),
            json!(holder.map(Holder::has_trailing_bytes)),
        ),
        (
            "evidence".into(),
            json!(holder.and_then(Holder::evidence).map(evidence_json)),
        ),
    ]);
    Value::Object(object)
}

fn name(state: &LockState) -> &'static str {
    match state {
        LockState::Free => "free",
        LockState::Stale(_) => "stale",
        LockState::UnsupportedVersion(_) => "unsupported",
        LockState::Foreign(_) => "foreign",
        _ if exit::status_for_state(state) == exit::HELD => "held",
        _ => "malformed",
    }
}

/// `name`, and `name_bytes` in hexadecimal where the text alone would not name the file.
fn insert_text(object: &mut Map<String, Value>, name: &str, text: &OsStr) {
    object.insert(name.into(), json!(text.to_string_lossy()));
    if text.to_str().is_none() {
        object.insert(format!("{name}_bytes"), json!(hex(text.as_encoded_bytes())));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn record_json(record: &Record) -> Value {
    let mut object = Map::new();
    let hostname = record.hostname();
    let hostname = hostname.as_bytes();
    object.insert("hostname".into(), json!(String::from_utf8_lossy(hostname)));
    object.insert("hostname_hex".into(), json!(hex(hostname)));
    let checksum = match record.checksum() {
        Checksum::IsoHdlc => "iso-hdlc",
        Checksum::Crc32c => "crc-32c",
        _ => "unknown",
    };
    // Numbers of 64 bits as text: JavaScript's are exact to 2^53 only.
    let stamp = record.stamp().map(|stamp| {
        json!({
            "inode_key": format!("{:016x}", stamp.inode_key),
            "start_ticks": stamp.start_ticks,
        })
    });
    object.extend([
        ("pid".into(), json!(record.pid().get())),
        (
            "timestamp_ns".into(),
            json!(record.timestamp_ns().to_string()),
        ),
        ("writer_id".into(), json!(record.writer_id().to_string())),
        ("lock_version".into(), json!(LOCK_VERSION)),
        ("checksum".into(), json!(checksum)),
        ("stamp".into(), json!(stamp)),
    ]);
    Value::Object(object)
}

fn evidence_json(evidence: &Evidence) -> Value {
    let stamp = match evidence.stamp {
        Stamp::Same { start_ticks } => json!({"inode": "same", "start_ticks": start_ticks}),
        Stamp::Different { start_ticks } => {
            json!({"inode": "different", "start_ticks": start_ticks})
        }
        Stamp::Absent => Value::Null,
    };
    let process = match evidence.process {
        Process::Alive {
            start_ticks,
            started_after_timestamp,
        } => json!({
            "state": "alive",
            "start_ticks": start_ticks,
            "started_after_timestamp": started_after_timestamp,
        }),
        Process::Dead => json!({"state": "dead"}),
        Process::Unknown => json!({"state": "unknown"}),
    };
    json!({
        "content": match evidence.content {
            Content::Valid => "valid",
            Content::Short => "short",
            Content::Corrupt => "corrupt",
            Content::Unsupported => "unsupported",
            Content::Foreign => "foreign",
        },
        "kernel_lock": match evidence.kernel_lock {
            KernelLock::HeldElsewhere => "held-elsewhere",
            KernelLock::Free => "free",
            KernelLock::Unsupported => "unsupported",
        },
        "file_system": match evidence.file_system {
            FileSystem::Local => "local",
            FileSystem::NotLocal => "not-local",
        },
        "stamp": stamp,
        "host": match evidence.host {
            HostMatch::Same => "same",
            HostMatch::Alias => "alias",
            HostMatch::Other => "other",
        },
        "process": process,
        "timestamp_age_ms": signed_millis(evidence.timestamp_age),
        "mtime_age_ms": millis(evidence.mtime_age),
        "predates_boot": evidence.predates_boot,
    })
}

fn stale_in(holder: &Holder) -> Option<u64> {
    match holder.verdict() {
        Verdict::Held { stale_in, .. } => stale_in.map(millis),
        _ => None,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Negative for what lies in the future.
fn signed_millis(age: Age) -> i64 {
    let (time, sign) = match age {
        Age::Past(time) => (time, 1),
        Age::Ahead(time) => (time, -1),
    };
    i64::try_from(time.as_millis()).map_or(i64::MAX, |millis| sign * millis)
}
