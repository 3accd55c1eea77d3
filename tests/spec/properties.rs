//! Properties of every record, not only of chosen examples.
#![allow(clippy::indexing_slicing, reason = "a panic is a failed test")]

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use rvlf::judge::Age;
use rvlf::record::{
    Checksum, DecodeError, FIELDS, Hostname, KernelStamp, LOCK_VERSION, MAGIC, Pid, RECORD_LEN,
    StoreStamp,
};
use rvlf::{Record, WriterId};
use support::second_reader::{self, Class, Fields, Polynomial};

/// Any number, with both ends more often than in a uniform distribution.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => any::<u64>(),
        1 => Just(0),
        1 => Just(1),
        1 => Just(i64::MAX as u64),
        1 => Just(u64::MAX - 1),
        1 => Just(u64::MAX),
    ]
}

fn pid() -> impl Strategy<Value = Pid> {
    let pids = prop_oneof![1..=i32::MAX as u32, Just(1), Just(i32::MAX as u32)];
    pids.prop_map(|pid| Pid::new(pid).expect("the pid is in range"))
}

/// Any bytes but NUL; 43, 44 and 63 are where the stamp and the name end.
fn hostname() -> impl Strategy<Value = Hostname> {
    let len = prop_oneof![0..=63_usize, Just(43), Just(44), Just(63)];
    let bytes = len.prop_flat_map(|len| vec(1..=u8::MAX, len));
    bytes.prop_map(|bytes| Hostname::new(&bytes).expect("short enough, without NUL"))
}

prop_compose! {
    fn stamp()(inode_key in number(), start_ticks in number()) -> KernelStamp {
        KernelStamp { inode_key, start_ticks }
    }
}

prop_compose! {
    fn store_stamp()(
        generation in number(),
        lease_ms in any::<u32>(),
        nonce in any::<u32>(),
    ) -> StoreStamp {
        StoreStamp { generation, lease_ms, nonce }
    }
}

prop_compose! {
    fn record()(
        pid in pid(),
        hostname in hostname(),
        timestamp_ns in number(),
        writer_id in any::<[u8; 16]>(),
        stamp in proptest::option::of(stamp()),
    ) -> Record {
        Record::new(pid, &hostname, timestamp_ns, WriterId::from_bytes(writer_id), stamp)
    }
}

/// The 64 bytes between pid and timestamp: any bytes, with or without a tag at the place of a stamp's.
fn field() -> impl Strategy<Value = [u8; 64]> {
    let anything = vec(any::<u8>(), 64);
    let tag = prop::sample::select(&[None, Some(b"RVK1"), Some(b"RVS1")][..]);
    (anything, tag, 0..64_usize, 0..2_u8).prop_map(|(bytes, tag, nul, nuls)| {
        let mut field: [u8; 64] = bytes.try_into().expect("sixty-four bytes");
        if let Some(tag) = tag {
            field[44..48].copy_from_slice(tag);
        }
        if nuls == 0 {
            field[nul] = 0;
        }
        field
    })
}

fn polynomial() -> impl Strategy<Value = Polynomial> {
    prop_oneof![Just(Polynomial::Ieee), Just(Polynomial::Castagnoli)]
}

prop_compose! {
    /// The bytes of a whole record whose checksum fits, with any pid, mostly of version 1.
    fn whole()(
        pid in prop_oneof![any::<u32>(), Just(0), Just(1 << 31), Just(1)],
        field in field(),
        timestamp_ns in number(),
        writer_id in any::<[u8; 16]>(),
        version in prop_oneof![9 => Just(1_u32), 1 => any::<u32>()],
        polynomial in polynomial(),
    ) -> Vec<u8> {
        second_reader::build(pid, &field, timestamp_ns, writer_id, version, polynomial)
    }
}

/// Contents of a lock file: any bytes, and mostly bytes that are nearly a record.
pub fn content() -> impl Strategy<Value = Vec<u8>> {
    let anything = vec(any::<u8>(), 0..300);
    let zeros = (0..300_usize).prop_map(|len| vec![0; len]);
    let shorter = (whole(), 0..=RECORD_LEN).prop_map(|(mut bytes, len)| {
        bytes.truncate(len);
        bytes
    });
    let longer =
        (whole(), vec(any::<u8>(), 1..200)).prop_map(|(bytes, tail)| [bytes, tail].concat());
    let damaged = (whole(), 0..RECORD_LEN, any::<u8>()).prop_map(|(mut bytes, at, byte)| {
        bytes[at] = byte;
        bytes
    });
    prop_oneof![anything, zeros, whole(), shorter, longer, damaged]
}

prop_compose! {
    /// The bytes of a record with a store stamp, mostly at a limit.
    fn store_record()(
        record in record(),
        hostname in hostname(),
        generation in prop_oneof![Just(0), Just(1 << 63), Just((1 << 63) + 1), number()],
        lease_ms in prop::sample::select(&[0, 999, 1_000, 30_000, 3_600_000, 3_600_001, u32::MAX][..]),
        nonce in any::<u32>(),
    ) -> Vec<u8> {
        let stamp = StoreStamp { generation, lease_ms, nonce };
        let (pid, time, id) = (record.pid(), record.timestamp_ns(), record.writer_id());
        Record::for_store(pid, &hostname, time, id, stamp).encode().to_vec()
    }
}

/// Contents of the object of a lock: mostly a record with a store stamp, and a payload behind it.
pub fn store_object() -> impl Strategy<Value = Vec<u8>> {
    let payload = vec(any::<u8>(), 0..200);
    // Boxed: the trees of the values would fill the stack of a test's thread.
    let record = store_record().boxed();
    let with_payload = (record.clone(), payload).prop_map(|(record, rest)| [record, rest].concat());
    prop_oneof![3 => record, 2 => with_payload.boxed(), 1 => content().boxed()]
}

/// The library's result for `bytes`, in the terms of the second reader.
fn classify(bytes: &[u8]) -> Class {
    match Record::decode(bytes) {
        Ok(record) => Class::Valid(Box::new(fields(&record))),
        Err(DecodeError::Short { .. }) => Class::Short,
        Err(DecodeError::Foreign { .. }) => Class::Foreign,
        Err(DecodeError::UnsupportedVersion { found }) => Class::Unsupported(found),
        Err(DecodeError::BadChecksum { .. } | DecodeError::BadPid { .. }) => Class::Corrupt,
        Err(other) => panic!("a class that the format does not know: {other:?}"),
    }
}

fn fields(record: &Record) -> Fields {
    Fields {
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
    }
}

proptest! {
    #[test]
    fn a_record_comes_back_as_it_was_written(
        pid in pid(),
        hostname in hostname(),
        timestamp_ns in number(),
        writer_id in any::<[u8; 16]>(),
    ) {
        let writer_id = WriterId::from_bytes(writer_id);
        let record = Record::new(pid, &hostname, timestamp_ns, writer_id, None);
        let read = Record::decode(&record.encode()).expect("the record is whole");
        prop_assert_eq!(read, record);
        prop_assert_eq!(read.pid(), pid);
        prop_assert_eq!(read.hostname(), hostname);
        prop_assert_eq!(read.timestamp_ns(), timestamp_ns);
        prop_assert_eq!(read.writer_id(), writer_id);
        prop_assert_eq!(read.stamp(), None);
        prop_assert_eq!(read.checksum(), Checksum::IsoHdlc);
    }

    // The hostname field of a valid record may hold bytes outside every field; a breaker that compares a
    // file with its earlier content must find them unchanged.
    #[test]
    fn a_valid_record_of_any_writer_encodes_to_its_own_bytes(bytes in whole()) {
        if let Ok(record) = Record::decode(&bytes) {
            prop_assert_eq!(&record.encode()[..], bytes);
        }
    }

    // A record whose bits rot must not be taken for another holder's, or break a live lock.
    #[test]
    fn no_flipped_bit_goes_unnoticed(record in record(), polynomial in polynomial()) {
        let mut bytes = record.encode();
        let checksum = second_reader::crc(polynomial, &bytes[..0x64]);
        bytes[0x64..].copy_from_slice(&checksum.to_le_bytes());
        let record = Record::decode(&bytes).expect("either polynomial is accepted");
        for bit in 0..8 * RECORD_LEN {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = Record::decode(&flipped) {
                prop_assert_ne!(other.checksum(), record.checksum(), "bit {} flipped", bit);
                prop_assert_ne!(other, record, "bit {} flipped", bit);
            }
        }
    }

    // The specification has the order of the classes: Foreign before Unsupported before Corrupt decides
    // whether a file may ever be removed.
    #[test]
    fn both_readers_find_the_same_class_and_fields(bytes in content()) {
        prop_assert_eq!(classify(&bytes), second_reader::classify(&bytes));
        let head = &bytes[..bytes.len().min(RECORD_LEN + 1)];
        prop_assert_eq!(classify(head), second_reader::classify(&bytes), "more than 105 bytes were needed");
    }

    #[test]
    fn an_error_of_decoding_reads_as_a_sentence(bytes in content()) {
        if let Err(error) = Record::decode(&bytes) {
            let sentence = error.to_string();
            prop_assert!(!sentence.is_empty() && sentence.is_ascii(), "{}", sentence);
            prop_assert!(!sentence.contains(|c: char| c.is_control()), "{}", sentence);
        }
    }

    // A container with a long name that crashed and started again, with pid 1 each time, stayed shut out: its record had
    // no stamp, and its pid was that of a live process.
    #[test]
    fn a_stamp_is_written_whatever_the_length_of_the_hostname(
        record in record(),
        hostname in hostname(),
        stamp in stamp(),
    ) {
        let new = |stamp| {
            Record::new(record.pid(), &hostname, record.timestamp_ns(), record.writer_id(), stamp)
        };
        let (stamped, plain) = (new(Some(stamp)), new(None));
        prop_assert_eq!(plain.stamp(), None, "a record has no stamp that its writer did not write");
        prop_assert_eq!(plain.hostname(), hostname);
        let kept = &hostname.as_bytes()[..hostname.as_bytes().len().min(43)];
        let name = stamped.hostname();
        prop_assert_eq!(name.as_bytes(), kept, "the stamp is not part of the name");
        prop_assert_eq!(stamped.stamp(), Some(stamp));
        let KernelStamp { inode_key, start_ticks } = stamp;
        let field = second_reader::stamped_field(kept, inode_key, start_ticks);
        prop_assert_eq!(&stamped.encode()[0x08..0x48], &field[..]);
    }

    // Without its stamp a lock in an object store has no lease, and no contender ever takes it: a host
    // with a long name must not leave the stamp out.
    #[test]
    fn a_store_stamp_is_written_whatever_the_length_of_the_hostname(
        record in record(),
        hostname in hostname(),
        stamp in store_stamp(),
    ) {
        let id = record.writer_id();
        let made = Record::for_store(record.pid(), &hostname, record.timestamp_ns(), id, stamp);
        let kept = &hostname.as_bytes()[..hostname.as_bytes().len().min(43)];
        prop_assert_eq!(made.store_stamp(), Some(stamp));
        prop_assert_eq!(made.stamp(), None, "no reader of lock files finds a kernel stamp");
        let name = made.hostname();
        prop_assert_eq!(name.as_bytes(), kept);
        let StoreStamp { generation, lease_ms, nonce } = stamp;
        let field = second_reader::store_field(kept, generation, lease_ms, nonce);
        prop_assert_eq!(&made.encode()[0x08..0x48], &field[..]);
        prop_assert_eq!(Record::decode(&made.encode()), Ok(made));
    }

    // A reader that sees half of a refresh must find the same pid, host and writer id in both halves.
    #[test]
    fn a_refresh_changes_time_and_checksum_alone(bytes in whole(), now in number()) {
        let Ok(record) = Record::decode(&bytes) else { return Ok(()) };
        let refreshed = record.refreshed(now);
        prop_assert_eq!(refreshed.timestamp_ns(), now);
        prop_assert_eq!(refreshed.checksum(), Checksum::IsoHdlc, "the checksum that every writer writes");
        prop_assert_eq!(refreshed.writer_id(), record.writer_id());
        prop_assert_eq!(refreshed.stamp(), record.stamp());
        prop_assert_eq!(refreshed.store_stamp(), record.store_stamp());
        let after = refreshed.encode();
        prop_assert_eq!(&after[..0x48], &bytes[..0x48], "all before the timestamp");
        prop_assert_eq!(&after[0x50..0x64], &bytes[0x50..0x64], "writer id and version");
        let mut patched = bytes.clone();
        patched[..RECORD_LEN].copy_from_slice(&after);
        prop_assert_eq!(Record::decode(&patched), Ok(refreshed));
    }

    #[test]
    fn a_writer_id_comes_back_from_its_text(bytes in any::<[u8; 16]>(), upper in any::<bool>()) {
        let id = WriterId::from_bytes(bytes);
        let text = id.to_string();
        let groups: Vec<usize> = text.split('-').map(str::len).collect();
        prop_assert_eq!(groups, [8, 4, 4, 4, 12], "as RFC 9562 writes it: {}", text);
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        prop_assert_eq!(text.replace('-', ""), &digits[..], "in the order of the bytes");
        let written = if upper { text.to_uppercase() } else { text };
        prop_assert_eq!(written.parse(), Ok(id));
        prop_assert_eq!(digits.parse(), Ok(id), "hyphens are optional");
    }

    #[test]
    fn only_thirty_two_digits_are_a_writer_id(text in "[0-9a-fA-Fg-]{30,38}|.{0,40}|[0-9a-f]{32}") {
        let digits = text.replace('-', "");
        let is_id = digits.chars().count() == 32 && digits.chars().all(|c| c.is_ascii_hexdigit());
        prop_assert_eq!(text.parse::<WriterId>().is_ok(), is_id, "{}", text);
    }

    #[test]
    fn a_random_writer_id_is_a_version_4_uuid(random in any::<[u8; 16]>()) {
        let id = *WriterId::from_random(random).as_bytes();
        prop_assert_eq!(id[6] >> 4, 4, "version");
        prop_assert_eq!(id[8] >> 6, 0b10, "variant");
        for (at, (byte, random)) in id.into_iter().zip(random).enumerate() {
            let free = match at { 6 => 0x0f, 8 => 0x3f, _ => 0xff };
            prop_assert_eq!(byte & free, random & free, "byte {} keeps its randomness", at);
        }
    }

    // An age that wraps makes a timestamp of the near future 584 years old, and a live lock stale.
    #[test]
    fn an_age_never_wraps(now in number(), timestamp_ns in number()) {
        let difference = i128::from(now) - i128::from(timestamp_ns);
        let nanos = |time: Duration| i128::try_from(time.as_nanos()).expect("at most 2^64");
        match Age::at(now, timestamp_ns) {
            Age::Past(age) => prop_assert_eq!(nanos(age), difference),
            Age::Ahead(ahead) => {
                prop_assert_eq!(-nanos(ahead), difference);
                prop_assert!(difference < 0, "a time equal to now has age zero");
            }
        }
        let or_zero = nanos(Age::at(now, timestamp_ns).or_zero());
        prop_assert_eq!(or_zero, difference.max(0));
    }

    #[test]
    fn a_pid_is_a_number_that_kill_applies_to_one_process(pid in any::<u32>()) {
        let is_one_process = i32::try_from(pid).is_ok_and(|pid| pid > 0);
        prop_assert_eq!(Pid::new(pid).map(Pid::get), is_one_process.then_some(pid));
    }

    // Names come from lock files that any user may write, and are printed on terminals.
    #[test]
    fn a_hostile_hostname_sends_no_control_characters_to_a_terminal(bytes in vec(any::<u8>(), 0..80)) {
        let name = Hostname::truncated(&bytes);
        prop_assert!(!name.to_string().contains(|c: char| c.is_control()), "{:?}", name);
        let until_nul = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        prop_assert_eq!(name.as_bytes(), &until_nul[..until_nul.len().min(63)]);
        let fits = bytes.len() <= 63 && !bytes.contains(&0);
        prop_assert_eq!(Hostname::new(&bytes), fits.then_some(name));
    }
}

// With a length that is off by one, or a byte that is decoded as text, a host does not recognise its own
// records.
#[test]
fn hostnames_of_every_length_and_byte_come_back() {
    let pid = Pid::new(1).expect("1 is a pid");
    let id = WriterId::from_bytes([7; 16]);
    for len in 0..=Hostname::MAX_LEN {
        for byte in 1..=u8::MAX {
            let name = vec![byte; len];
            let hostname = Hostname::new(&name).expect("short enough, without NUL");
            let record = Record::new(pid, &hostname, 0, id, None);
            let read = Record::decode(&record.encode()).expect("the record is whole");
            assert_eq!(read.hostname().as_bytes(), name, "{len} bytes {byte:#04x}");
        }
    }
    assert_eq!(Hostname::new(&[b'a'; 64]), None, "its NUL would not fit");
    assert_eq!(Hostname::new(b"a\0b"), None, "a name ends at its NUL");
}

// The published tables give these numbers; a field that moved would still round-trip.
#[test]
fn the_fields_lie_where_the_format_says() {
    let expected = [
        ("magic", 0x00, 4),
        ("pid", 0x04, 4),
        ("hostname", 0x08, 64),
        ("timestamp_ns", 0x48, 8),
        ("writer_id", 0x50, 16),
        ("lock_version", 0x60, 4),
        ("checksum", 0x64, 4),
    ];
    let fields = FIELDS.map(|field| (field.name, field.offset, field.size));
    assert_eq!(fields, expected);
    assert_eq!(RECORD_LEN, 104);
    assert_eq!((MAGIC, LOCK_VERSION), (0x5256_4c46, 1));
}

// The key distinguishes "this inode on this kernel" from every other: an implementation that computes
// another key would break live locks after five minutes.
#[test]
fn the_inode_key_is_the_one_that_the_format_gives_as_an_example() {
    let boot_id = [
        0x0f, 0x1e, 0x2d, 0x3c, 0x4b, 0x5a, 0x69, 0x78, 0x87, 0x96, 0xa5, 0xb4, 0xc3, 0xd2, 0xe1,
        0xf0,
    ];
    let key = KernelStamp::inode_key(&boot_id, 0xfe00, 1_310_723);
    assert_eq!(key, 0x748c_a8ad_c9bc_f6cc);
    // The keys of neighbours differ.
    assert_ne!(key, KernelStamp::inode_key(&boot_id, 0xfe00, 1_310_724));
    assert_ne!(key, KernelStamp::inode_key(&boot_id, 0xfe01, 1_310_723));

    let plain = KernelStamp::plain_key(1_310_723, 1_699_999_999_123_456_789);
    assert_eq!(plain, 0x6fd6_bfd3_e4fd_5e12);
}
