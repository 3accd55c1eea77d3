//! Encoding and decoding the record, next to what the checksum alone costs.

mod common;
#[path = "common/sampling.rs"]
mod sampling;

use std::hint::black_box;

use common::{Mode, goal, interleaved, show};
use criterion::{Criterion, Throughput};
use rvlf::{Hostname, KernelStamp, Pid, RECORD_LEN, Record, WriterId};

/// How the deployed client computes its CRC-32: one bit at a time.
fn bitwise_crc32(bytes: &[u8]) -> u32 {
    const REVERSED_POLYNOMIAL: u32 = 0xedb8_8320;
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc: u32, _| {
            crc >> 1 ^ if crc & 1 == 1 { REVERSED_POLYNOMIAL } else { 0 }
        })
    })
}

fn sample() -> Record {
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

fn criterion(c: &mut Criterion) {
    let record = sample();
    let bytes = record.encode();
    let covered = &bytes[..RECORD_LEN - 4];
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

/// Calls a turn.
const CALLS: u32 = 1_000;

fn goals(mode: Mode) {
    let record = sample();
    let bytes = record.encode();
    let covered = &bytes[..RECORD_LEN - 4];
    assert_eq!(
        bitwise_crc32(covered),
        crc32fast::hash(covered),
        "the two compute the same checksum"
    );
    // The loops are inside: a call through a pointer would cost as much as the checksum's half.
    let [decode, encode, checksum, bitwise] = interleaved(
        mode.pick(1_000, 1),
        1,
        [
            &mut || {
                for _ in 0..CALLS {
                    black_box(&Record::decode(black_box(&bytes)));
                }
            },
            &mut || {
                for _ in 0..CALLS {
                    black_box(&black_box(&record).encode());
                }
            },
            &mut || {
                for _ in 0..CALLS {
                    black_box(crc32fast::hash(black_box(covered)));
                }
            },
            &mut || {
                for _ in 0..CALLS {
                    black_box(bitwise_crc32(black_box(covered)));
                }
            },
        ],
    );
    println!("decode and verify: {}", show(decode.median() / CALLS));
    println!("encode:            {}", show(encode.median() / CALLS));
    println!("crc32fast alone:   {}", show(checksum.median() / CALLS));
    println!("bit by bit, alone: {}", show(bitwise.median() / CALLS));
    let what = "decode and verify one record against crc32fast over the same 100 bytes";
    goal(mode, what, decode.ratio_to(&checksum), 1.5);
    println!(
        "encode against the same: {:.2} x",
        encode.ratio_to(&checksum)
    );
}

fn main() {
    let mode = Mode::from_args();
    let mut c = sampling::criterion();
    criterion(&mut c);
    c.final_summary();
    if mode != Mode::List {
        goals(mode);
    }
}
