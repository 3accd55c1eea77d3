//! `rvlf dump`: valid, stamped, torn and damaged records, and files that are not records.

use std::fs::File;

use snapbox::str;

use crate::support::{Directory, Holder, assert_reads, kernel_is_witness, skip, vector};

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

    if !kernel_is_witness() {
        return;
    }
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
