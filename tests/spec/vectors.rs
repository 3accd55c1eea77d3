//! The lock files of `spec/vectors`: files of deployed clients, and hand-made hard cases.
//!
//! Other implementations test with the same files: a decoder that disagrees with their descriptions would
//! respect, break or refuse other locks than those implementations do.
#![allow(clippy::indexing_slicing, reason = "a panic is a failed test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rvlf::record::{Checksum, DecodeError, Hostname, KernelStamp, Pid, RECORD_LEN, StoreStamp};
use rvlf::{LockFile, Record, WriterId};
use serde_json::{Value, json};

use crate::judge_json::read_exact;

pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../spec/vectors")
}

pub fn bytes_of(file: &str) -> Vec<u8> {
    fs::read(directory().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

pub fn json_of(file: &Path) -> Value {
    let text = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Every entry of index.json as the name of its file and the rest.
fn index() -> Vec<(String, Value)> {
    let entries = json_of(&directory().join("index.json"));
    let entries = entries.as_array().expect("index.json is an array");
    let named = |entry: &Value| {
        let mut entry = entry.as_object().expect("entries are objects").clone();
        let file = entry.remove("file").expect("every entry names its file");
        let file = file.as_str().expect("a file name is a string").to_owned();
        (file, Value::Object(entry))
    };
    entries.iter().map(named).collect()
}

/// The names of all files below `below` that end in `.bin`, relative to the directory of vectors.
fn files(below: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(below).expect("the vectors are part of the repository") {
        let path = entry.expect("the directory can be listed").path();
        if path.is_dir() {
            found.append(&mut files(&path));
        } else if path.extension().is_some_and(|extension| extension == "bin") {
            let name = path
                .strip_prefix(directory())
                .expect("the file is below the directory");
            let name = name.to_str().expect("vectors have ASCII names");
            found.insert(name.replace(std::path::MAIN_SEPARATOR, "/"));
        }
    }
    found
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(digits: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// A number of 64 bits as the specification writes it: many readers of JSON round one above 2^53.
pub fn exact_json(number: u64) -> Value {
    if number < 1 << 53 {
        json!(number)
    } else {
        json!(number.to_string())
    }
}

/// The result of `decode` for `bytes`, in the terms of index.json.
pub fn description(bytes: &[u8]) -> Value {
    match Record::decode(bytes) {
        Ok(record) => fields_json(&record, bytes.len() > RECORD_LEN),
        Err(DecodeError::Short { .. }) => json!({"class": "short"}),
        Err(DecodeError::Foreign { .. }) => json!({"class": "foreign"}),
        Err(DecodeError::UnsupportedVersion { found }) => {
            json!({"class": "unsupported", "lock_version": found})
        }
        Err(DecodeError::BadChecksum { .. }) => json!({"class": "corrupt", "why": "checksum"}),
        Err(DecodeError::BadPid { .. }) => json!({"class": "corrupt", "why": "pid"}),
        Err(other) => panic!("a class that the format does not know: {other:?}"),
    }
}

fn fields_json(record: &Record, trailing_bytes: bool) -> Value {
    let mut fields = json!({
        "class": "valid",
        "pid": record.pid().get(),
        "hostname_hex": hex(record.hostname().as_bytes()),
        "timestamp_ns": record.timestamp_ns().to_string(),
        "writer_id": record.writer_id().to_string(),
        "checksum": match record.checksum() {
            Checksum::IsoHdlc => "iso-hdlc",
            Checksum::Crc32c => "crc-32c",
            other => panic!("a checksum that the format does not know: {other:?}"),
        },
        "stamp": record.stamp().map(|stamp| json!({
            "inode_key": format!("{:016x}", stamp.inode_key),
            "start_ticks": exact_json(stamp.start_ticks),
        })),
        "trailing_bytes": trailing_bytes,
    });
    if let Some(stamp) = record.store_stamp() {
        fields["store_stamp"] = json!({
            "generation": exact_json(stamp.generation),
            "lease_ms": stamp.lease_ms,
            "nonce": stamp.nonce,
        });
    }
    fields
}

// A vector that no test reads tests nothing, without a sign of that.
#[test]
fn every_file_has_an_entry_and_every_entry_a_file() {
    let listed: Vec<String> = index().into_iter().map(|(file, _)| file).collect();
    let unique: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(unique.len(), listed.len(), "index.json lists a file twice");
    assert_eq!(
        unique,
        files(&directory()),
        "index.json and the files differ"
    );
}

#[test]
fn every_file_decodes_as_its_entry_states() {
    for (file, expected) in index() {
        assert_eq!(description(&bytes_of(&file)), expected, "{file}");
    }
}

// Only the first 105 bytes of a lock file are ever read: the class must not depend on more.
#[test]
fn no_class_depends_on_bytes_that_are_never_read() {
    for (file, expected) in index() {
        let bytes = bytes_of(&file);
        let head = &bytes[..bytes.len().min(RECORD_LEN + 1)];
        assert_eq!(description(head), expected, "{file}, its first 105 bytes");
    }
}

#[test]
fn every_valid_record_encodes_to_its_own_bytes() {
    let mut seen = BTreeSet::new();
    for (file, _) in index() {
        let bytes = bytes_of(&file);
        if let Ok(record) = Record::decode(&bytes) {
            assert_eq!(record.encode(), bytes[..RECORD_LEN], "{file}");
            seen.insert(format!("{:?}", record.checksum()));
        }
    }
    assert_eq!(
        seen.len(),
        2,
        "records of both checksums were encoded: {seen:?}"
    );
}

// `decode` keeps the whole hostname field, so that a wrong layout in `encode` would cancel out in a round
// trip. A record that is built from its description copies nothing.
#[test]
fn a_record_built_from_its_description_has_the_bytes_of_the_file() {
    let mut made = 0;
    for (file, expected) in index() {
        let bytes = bytes_of(&file);
        if expected["class"] != "valid" || expected["checksum"] != "iso-hdlc" {
            continue;
        }
        let name = from_hex(
            expected["hostname_hex"]
                .as_str()
                .expect("hexadecimal digits"),
        );
        let has_stamp = !expected["stamp"].is_null() || !expected["store_stamp"].is_null();
        let slack_ends = if has_stamp { 0x34 } else { 0x48 };
        if bytes[0x08 + name.len()..slack_ends]
            .iter()
            .any(|byte| *byte != 0)
        {
            // Bytes outside every field: `decode` keeps them, and no writer writes them.
            continue;
        }
        let name = Hostname::new(&name).expect("at most 63 bytes, no NUL");
        let record = build(&expected, &name);
        assert_eq!(record.encode(), bytes[..RECORD_LEN], "{file}");
        made += 1;
    }
    assert!(
        made >= 30,
        "only {made} records were built from their descriptions"
    );
}

/// The record of a description, as its writer makes it.
fn build(description: &Value, hostname: &Hostname) -> Record {
    let number = |value: &Value| value.as_u64().expect("a number") as u32;
    let pid = Pid::new(number(&description["pid"])).expect("in range");
    let timestamp = text(description, "timestamp_ns").parse();
    let timestamp = timestamp.expect("a decimal number");
    let writer_id = text(description, "writer_id").parse().expect("a UUID");
    let store_stamp = &description["store_stamp"];
    if !store_stamp.is_null() {
        let stamp = StoreStamp {
            generation: read_exact(&store_stamp["generation"]),
            lease_ms: number(&store_stamp["lease_ms"]),
            nonce: number(&store_stamp["nonce"]),
        };
        return Record::for_store(pid, hostname, timestamp, writer_id, stamp);
    }
    let stamp = description["stamp"].as_object().map(|stamp| KernelStamp {
        inode_key: u64::from_str_radix(stamp["inode_key"].as_str().expect("digits"), 16)
            .expect("sixteen hexadecimal digits"),
        start_ticks: read_exact(&stamp["start_ticks"]),
    });
    Record::new(pid, hostname, timestamp, writer_id, stamp)
}

// A holder whose host has a long name needs its stamp all the same: the name is cut.
#[test]
fn a_host_name_of_60_bytes_is_cut_at_43_where_a_store_stamp_follows() {
    let file = "synthetic/store-host-43.bin";
    let description = description(&bytes_of(file));
    let hostname = Hostname::new(&b"host-".repeat(12)).expect("60 bytes, no NUL");
    assert_eq!(build(&description, &hostname).encode()[..], bytes_of(file));
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} is missing in {object}"))
}

// index.json and the decoder could share a mistake. Another parser, older than both, made the descriptions
// beside the older files.
#[test]
fn an_independent_parser_agrees_on_the_files_of_deployed_clients() {
    let mut compared = 0;
    for file in files(&directory()) {
        let beside = directory().join(&file).with_extension("json");
        if !beside.exists() {
            continue;
        }
        let found = &json_of(&beside)["expected"];
        let bytes = bytes_of(&file);
        let outcome = Record::decode(&bytes);
        if found["magic"].is_null() {
            assert!(outcome.is_err(), "{file} is no record, but decodes as one");
            continue;
        }
        compared += 1;
        let magic = u32::from_le_bytes(bytes[..4].try_into().expect("four"));
        let magic = format!("0x{magic:08X}");
        assert_eq!(magic, text(found, "magic"), "{file}: its magic");
        match outcome {
            Ok(record) => compare(&file, &record, found),
            Err(error) => compare_error(&file, &error, found),
        }
    }
    let descriptions = "files with a description beside them";
    assert!(compared >= 20, "only {compared} {descriptions}");
}

fn compare_error(file: &str, error: &DecodeError, found: &Value) {
    match error {
        DecodeError::Foreign { first } => {
            let other = text(found, "first4");
            assert_ne!(other, "FLVR", "{file} has the magic");
            assert!(first.as_bytes().starts_with(other.as_bytes()), "{file}");
        }
        DecodeError::UnsupportedVersion { found: version } => {
            let other = found["lock_version"].as_u64();
            assert_eq!(Some(u64::from(*version)), other, "{file}");
            assert_ne!(*version, 1, "{file} is of the version that is supported");
        }
        DecodeError::BadChecksum { stored, computed } => {
            assert_eq!(text(found, "crc_kind"), "neither", "{file}");
            let hex = |checksum: &u32| format!("0x{checksum:08X}");
            assert_eq!(hex(stored), text(found, "crc_stored"), "{file}");
            assert_eq!(hex(computed), text(found, "crc32_ieee"), "{file}");
        }
        error => panic!("{file}: {error}"),
    }
}

fn compare(file: &str, record: &Record, found: &Value) {
    let hostname = text(found, "hostname_hex");
    // A field without a NUL: the other parser returns 64 bytes, a hostname has at most 63.
    let hostname = &hostname[..hostname.len().min(2 * Hostname::MAX_LEN)];
    let writer_id: WriterId = text(found, "writer_id")
        .parse()
        .expect("32 hexadecimal digits");
    assert_eq!(
        Some(record.pid().get().into()),
        found["pid"].as_u64(),
        "{file}: pid"
    );
    assert_eq!(
        hex(record.hostname().as_bytes()),
        hostname,
        "{file}: hostname"
    );
    assert_eq!(
        Some(record.timestamp_ns()),
        found["timestamp_ns"].as_u64(),
        "{file}: timestamp"
    );
    assert_eq!(record.writer_id(), writer_id, "{file}: writer id");
    assert_eq!(found["lock_version"], 1, "{file}: lock version");
    let kind = match record.checksum() {
        Checksum::IsoHdlc => "CRC-32/IEEE",
        _ => "CRC-32C",
    };
    assert_eq!(kind, text(found, "crc_kind"), "{file}: checksum");
    let covered = &record.encode()[..RECORD_LEN - 4];
    let ieee = format!("0x{:08X}", Checksum::IsoHdlc.of(covered));
    let castagnoli = format!("0x{:08X}", Checksum::Crc32c.of(covered));
    assert_eq!(
        ieee,
        text(found, "crc32_ieee"),
        "{file}: CRC-32/ISO-HDLC of its bytes"
    );
    assert_eq!(
        castagnoli,
        text(found, "crc32c"),
        "{file}: CRC-32C of its bytes"
    );
}

// A record of a deployed client must never be corrupt: a corrupt lock is broken after two seconds.
#[test]
fn every_lock_file_of_a_deployed_client_is_valid_and_unstamped() {
    let real = ["rt-", "node-", "node017-", "node018-", "sdk023-"];
    for prefix in real {
        let files = files(&directory());
        let files: Vec<_> = files
            .iter()
            .filter(|file| file.starts_with(prefix))
            .collect();
        assert!(!files.is_empty(), "no vector of {prefix}");
        for file in files {
            let record = Record::decode(&bytes_of(file));
            let record = record.unwrap_or_else(|error| panic!("{file}: {error}"));
            assert_eq!(
                record.checksum(),
                Checksum::IsoHdlc,
                "{file}: the checksum of deployed clients"
            );
            assert_eq!(
                record.stamp(),
                None,
                "{file}: deployed clients write no stamp"
            );
        }
    }
}

// Two programs that are given one data file must arrive at one lock, also where a shell has completed
// the name of a directory with a slash.
#[test]
fn every_data_path_has_the_lock_path_of_its_entry() {
    let paths = json_of(&directory().join("lock_paths.json"));
    let paths = paths.as_array().expect("lock_paths.json is an array");
    assert!(!paths.is_empty(), "there are vectors");
    for path in paths {
        let data_path = text(path, "data_path");
        let expected = path["lock_path"].as_str();
        let found = rvlf::lock_path_for(data_path);
        match expected {
            Some(expected) => assert_eq!(found, Path::new(expected), "{path}"),
            None => assert!(LockFile::open(data_path).is_err(), "{path} is refused"),
        }
    }
}
