//! `rvlf dump`: valid, stamped, torn and damaged records, and files that are not records.

use std::fs::File;

use snapbox::str;

use crate::support::{Directory, Holder, assert_reads, skip, vector};

// A lock file of a terabyte, or /dev/zero: dump must not read it to its end.
#[test]
fn dump_reads_no_more_than_a_record() {
    let dir = Directory::new();
    let file = File::create(dir.join("big.lock")).expect("the directory is writable");
    if file.set_len(1 << 40).is_err() {
        return skip("this file system has no files of a terabyte");
    }
    let output = dir.rvlf(&["dump", "big.lock"]);
    assert_eq!(output.code(), 4);
    let last = output.stdout.lines().last().expect("there are lines");
    assert!(
        last.trim_start().starts_with("0x68  00 "),
        "105 bytes: {last}"
    );
    let output = dir.rvlf(&["dump", "/dev/zero"]);
    assert_eq!(output.code(), 4, "{}", output.stderr);
    assert!(output.stderr.contains("a device"), "{}", output.stderr);
    std::os::unix::fs::symlink("big.lock", dir.join("link.lock")).expect("links exist");
    let output = dir.rvlf(&["dump", "link.lock"]);
    assert_eq!(output.code(), 4, "dump follows no link");
}

#[test]
fn dump_shows_every_field() {
    let dir = Directory::new();
    dir.write("client.lock", vector("rt-default.bin"));
    let output = dir.rvlf(&["dump", "client.lock"]);
    assert_reads(
        output.stdout,
        str![[r#"
client.lock: a valid record
  0x00  46 4c 56 52              magic         0x52564c46, RVLF
  0x04  71 5d 00 00              pid           23921
  0x08  76 6d 00 00 00 00 00 00  hostname      "vm"
  0x10  00 00 00 00 00 00 00 00
  0x18  00 00 00 00 00 00 00 00
  0x20  00 00 00 00 00 00 00 00
  0x28  00 00 00 00 00 00 00 00
  0x30  00 00 00 00 00 00 00 00
  0x38  00 00 00 00 00 00 00 00
  0x40  00 00 00 00 00 00 00 00
  0x48  55 65 9c 9c 98 30 ea 18  timestamp_ns  1795300833481221461, 2026-11-21 22:40:33 +00:00
  0x50  1a 3a 8f fc 4f 5d e7 7b  writer_id     1a3a8ffc-4f5d-e77b-ddb9-93b83de332ce
  0x58  dd b9 93 b8 3d e3 32 ce
  0x60  01 00 00 00              lock_version  1
  0x64  39 17 33 dd              checksum      0xdd331739, correct CRC-32/ISO-HDLC

"#]],
    );

    let holder = Holder::start(&dir);
    let output = dir.rvlf(&["dump", "d.rvf.lock"]);
    assert_eq!(output.code(), 0);
    let stamp = "kernel stamp \"RVK1\"";
    assert!(
        output.stdout.contains(stamp),
        "a record of this library has a stamp: {}",
        output.stdout
    );
    holder.end();
}

// A user has downloaded the object of a lock in an object store.
#[test]
fn dump_shows_the_store_stamp_of_a_downloaded_object() {
    let dir = Directory::new();
    dir.write("held.lock", vector("synthetic/store-payload-json.bin"));
    let output = dir.rvlf(&["dump", "held.lock"]);
    assert_eq!(output.code(), 0, "{}", output.stderr);
    assert_reads(
        output.stdout,
        str![[r#"
held.lock: a valid record, followed by more bytes
  0x00  46 4c 56 52              magic         0x52564c46, RVLF
  0x04  92 10 00 00              pid           4242
  0x08  68 6f 73 74 2d 61 00 00  hostname      "host-a"
  0x10  00 00 00 00 00 00 00 00
  0x18  00 00 00 00 00 00 00 00
  0x20  00 00 00 00 00 00 00 00
  0x28  00 00 00 00 00 00 00 00
  0x30  00 00 00 00
  0x34  52 56 53 31              stamp_tag     store stamp "RVS1"
  0x38  01 68 e5 cf 8b 01 00 00  generation    1700000000001
  0x40  30 75 00 00              lease_ms      30000, the lease
  0x44  34 12 ed 5e              nonce         5eed1234
  0x48  00 00 2a 36 fe 9c 97 17  timestamp_ns  1700000000000000000, 2023-11-14 22:13:20 +00:00
  0x50  00 01 02 03 04 05 06 07  writer_id     00010203-0405-0607-0809-0a0b0c0d0e0f
  0x58  08 09 0a 0b 0c 0d 0e 0f
  0x60  01 00 00 00              lock_version  1
  0x64  8d 33 26 45              checksum      0x4526338d, correct CRC-32/ISO-HDLC
  0x68  ..                       (bytes after the record)

"#]],
    );
    dir.write("released.lock", vector("synthetic/store-released.bin"));
    let shown = dir.rvlf(&["dump", "released.lock"]).stdout;
    assert!(shown.contains("lease_ms      0: released"), "{shown}");
}

// A user sends a lock file that causes trouble, for a developer to look at.
#[test]
fn dump_shows_the_fields_of_damaged_records() {
    let dir = Directory::new();
    let mut bytes = vector("rt-default.bin");
    bytes.truncate(86);
    dir.write("torn.lock", &bytes);
    let shown = dir.rvlf(&["dump", "torn.lock"]).stdout;
    assert!(shown.contains("torn record: 86 of 104 bytes"), "{shown}");
    assert!(shown.contains("writer_id     (torn)"), "{shown}");
    assert!(
        !shown.contains("lock_version"),
        "no field is invented: {shown}"
    );

    dir.write("bad.lock", vector("synthetic/bad-crc.bin"));
    let shown = dir.rvlf(&["dump", "bad.lock"]).stdout;
    let checksum = "0xdeadbeef, wrong: CRC-32/ISO-HDLC is 0x";
    assert!(shown.contains(checksum), "{shown}");
}
