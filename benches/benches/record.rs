//! Encoding and decoding a record, beside what the checksum alone costs.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use rvlf::record::{Hostname, KernelStamp, Pid, RECORD_LEN};
use rvlf::{Record, WriterId};
use rvlf_benches::{Goal, Mode, interleaved, print_row, report_goal};

/// The CRC-32 as the deployed client computes it: one bit at a time.
fn bitwise_crc32(bytes: &[u8]) -> u32 {
    const REVERSED_POLYNOMIAL: u32 = 0xedb8_8320;
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc: u32, _| {
            crc >> 1 ^ if crc & 1 == 1 { REVERSED_POLYNOMIAL } else { 0 }
        })
    })
}

fn sample_record() -> Record {
    let stamp = KernelStamp {
        inode_key: 0x0123_4567_89ab_cdef,
        start_ticks: 4242,
    };
    Record::new(
        Pid::new(4121).expect("4121 is a pid"),
        &Hostname::truncated(b"build-7.example.net"),
        1_790_000_000_123_456_789,
        WriterId::from_random([7; 16]),
        Some(stamp),
    )
}

/// The bytes that the checksum covers.
fn covered(bytes: &[u8; RECORD_LEN]) -> &[u8] {
    let (covered, _checksum) = bytes.split_at(RECORD_LEN - 4);
    covered
}

fn benchmarks(c: &mut Criterion) {
    let record = sample_record();
    let bytes = record.encode();
    let covered = covered(&bytes);
    let mut group = c.benchmark_group("record");
    group.throughput(Throughput::Bytes(RECORD_LEN as u64));
    group.bench_function("decode and verify", |b| {
        b.iter(|| {
            black_box(&Record::decode(black_box(&bytes)));
        });
    });
    group.bench_function("encode", |b| {
        b.iter(|| {
            black_box(&black_box(&record).encode());
        });
    });
    group.bench_function("checksum alone, crc32fast", |b| {
        b.iter(|| crc32fast::hash(black_box(covered)));
    });
    group.bench_function("checksum alone, bit by bit", |b| {
        b.iter(|| bitwise_crc32(black_box(covered)));
    });
    group.finish();
}

/// Calls of one turn. The loop is inside the candidate: a call through a pointer would cost half as
/// much as the checksum.
const CALLS: u32 = 1_000;

fn repeated(mut call: impl FnMut()) -> impl FnMut() {
    move || (0..CALLS).for_each(|_| call())
}

fn goals(mode: Mode) {
    let record = sample_record();
    let bytes = record.encode();
    let covered = covered(&bytes);
    let expected = crc32fast::hash(covered);
    assert_eq!(bitwise_crc32(covered), expected, "both checksums agree");
    let [decode, encode, checksum, bitwise] = interleaved(
        mode.pick(1_000, 1),
        1,
        [
            &mut repeated(|| {
                black_box(&Record::decode(black_box(&bytes)));
            }),
            &mut repeated(|| {
                black_box(&black_box(&record).encode());
            }),
            &mut repeated(|| {
                black_box(crc32fast::hash(black_box(covered)));
            }),
            &mut repeated(|| {
                black_box(bitwise_crc32(black_box(covered)));
            }),
        ],
    );
    println!("one record, {CALLS} times:");
    print_row(
        "crc32fast alone, over the same 100 bytes",
        &checksum,
        &checksum,
    );
    print_row("decode and verify", &decode, &checksum);
    print_row("encode", &encode, &checksum);
    print_row(
        "CRC-32 bit by bit, as the deployed client",
        &bitwise,
        &checksum,
    );
    report_goal(
        mode,
        "decode and verify one record, against crc32fast alone over the same 100 bytes",
        Goal::AtMost(1.3),
        "memory",
        decode.ratio_to(&checksum),
    );
}

fn main() {
    let mode = Mode::from_args();
    mode.sample(benchmarks);
    if mode != Mode::List {
        goals(mode);
    }
}
