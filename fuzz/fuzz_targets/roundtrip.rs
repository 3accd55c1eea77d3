//! Whole records with any fields: decode, encode and decode again lose nothing, and a refresh
//! changes nothing but time and checksum.
//!
//! No fuzzer guesses a checksum: it is set here, by the second reader's arithmetic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rvlf::Record;
use rvlf::record::{Hostname, KernelStamp, RECORD_LEN, StoreStamp};
use support::second_reader::{self, Class, Polynomial};

fuzz_target!(|bytes: &[u8]| {
    let mut whole = [0; RECORD_LEN];
    for (to, from) in whole.iter_mut().zip(bytes) {
        *to = *from;
    }
    whole[..4].copy_from_slice(b"FLVR");
    whole[0x60..0x64].copy_from_slice(&[1, 0, 0, 0]);
    let polynomial = match bytes.get(RECORD_LEN) {
        Some(1) => Polynomial::Castagnoli,
        _ => Polynomial::Ieee,
    };
    let checksum = second_reader::crc(polynomial, &whole[..0x64]);
    whole[0x64..].copy_from_slice(&checksum.to_le_bytes());
    round_trip(&whole);
});

fn round_trip(bytes: &[u8; RECORD_LEN]) {
    let fields = match second_reader::classify(bytes) {
        Class::Valid(fields) => fields,
        class => {
            assert_eq!(class, Class::Corrupt, "only its pid can be wrong");
            Record::decode(bytes).expect_err("its pid is wrong");
            return;
        }
    };
    let record = Record::decode(bytes).expect("the second reader reads it");
    assert_eq!(record.encode(), *bytes, "it is kept as it is");
    assert_eq!(Record::decode(&record.encode()), Ok(record));
    assert_eq!(
        record.writer_id().to_string().parse(),
        Ok(record.writer_id())
    );

    let refreshed = record.refreshed(!fields.timestamp_ns).encode();
    assert_eq!(refreshed[..0x48], bytes[..0x48]);
    let Class::Valid(again) = second_reader::classify(&refreshed) else {
        panic!("a refreshed record is valid");
    };
    assert_eq!(again.timestamp_ns, !fields.timestamp_ns);
    assert_eq!(again.polynomial, Polynomial::Ieee);
    assert_eq!(
        (again.writer_id, again.stamp, again.store_stamp),
        (fields.writer_id, fields.stamp, fields.store_stamp)
    );

    // Made of its fields, it is the same but for bytes that no field accounts for.
    let hostname = Hostname::new(&fields.hostname).expect("names in records are short");
    let stamp = fields.stamp.map(|(inode_key, start_ticks)| KernelStamp {
        inode_key,
        start_ticks,
    });
    let (pid, time, id) = (record.pid(), fields.timestamp_ns, record.writer_id());
    let made = match fields.store_stamp {
        Some((generation, lease_ms, nonce)) => {
            let stamp = StoreStamp {
                generation,
                lease_ms,
                nonce,
            };
            Record::for_store(pid, &hostname, time, id, stamp)
        }
        None => Record::new(pid, &hostname, time, id, stamp),
    };
    let Class::Valid(mut made) = second_reader::classify(&made.encode()) else {
        panic!("what is made is valid");
    };
    made.polynomial = fields.polynomial;
    assert_eq!(made, fields);
}
