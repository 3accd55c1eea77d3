//! Any bytes: the same class and fields as the second reader finds, in a sentence that is safe to
//! print, and nothing that depends on bytes behind the first 105. As the object of a lock in a store,
//! they may be written only if the second reader finds a store stamp within its limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rvlf::Record;
use rvlf::judge::StoreContent;
use rvlf::record::{Checksum, DecodeError, RECORD_LEN};
use support::second_reader::{self, Class, Fields, Polynomial};

fuzz_target!(|bytes: &[u8]| {
    let head = bytes.get(..RECORD_LEN + 1).unwrap_or(bytes);
    assert_eq!(classify(bytes), second_reader::classify(bytes));
    assert_eq!(classify(head), classify(bytes));
    let is_lock = matches!(StoreContent::of(bytes), StoreContent::Valid(_));
    assert_eq!(is_lock, is_lock_of_store(bytes));
});

fn is_lock_of_store(bytes: &[u8]) -> bool {
    let Class::Valid(fields) = second_reader::classify(bytes) else {
        return false;
    };
    fields.store_stamp.is_some_and(|(generation, lease_ms, _)| {
        generation <= 1 << 63 && matches!(lease_ms, 0 | 1_000..=3_600_000)
    })
}

fn classify(bytes: &[u8]) -> Class {
    let outcome = Record::decode(bytes);
    let sentence = match &outcome {
        Ok(record) => format!("{} {record:?}", record.hostname()),
        Err(error) => error.to_string(),
    };
    assert!(!sentence.contains(|c: char| c.is_control()), "{sentence:?}");
    match outcome {
        Ok(record) => Class::Valid(Box::new(Fields {
            pid: record.pid().get(),
            hostname: record.hostname().as_bytes().to_vec(),
            timestamp_ns: record.timestamp_ns(),
            writer_id: *record.writer_id().as_bytes(),
            stamp: record
                .stamp()
                .map(|stamp| (stamp.inode_key, stamp.start_ticks)),
            store_stamp: record
                .store_stamp()
                .map(|stamp| (stamp.generation, stamp.lease_ms, stamp.nonce)),
            polynomial: match record.checksum() {
                Checksum::IsoHdlc => Polynomial::Ieee,
                _ => Polynomial::Castagnoli,
            },
        })),
        Err(DecodeError::Short { .. }) => Class::Short,
        Err(DecodeError::Foreign { .. }) => Class::Foreign,
        Err(DecodeError::UnsupportedVersion { found }) => Class::Unsupported(found),
        Err(_) => Class::Corrupt,
    }
}
