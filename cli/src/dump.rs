//! `rvlf dump`: the bytes of a lock file, field by field.

use std::io::{self, Write};
use std::path::PathBuf;

use anstream::stdout;
use clap::builder::styling::{AnsiColor, Style};
use clap::{Args, ValueHint};
use rvlf::{
    Checksum, DecodeError, FIELDS, Field, Hostname, KernelStamp, LOCK_VERSION, MAGIC, RECORD_LEN,
    Record, WriterId,
};

use crate::lock_file::{self, Found};
use crate::{exit, report, text};

/// Show the bytes of a lock file, field by field
///
/// Shows torn and foreign files, too. Reads 105 bytes at the most; says nothing of who holds the lock
/// now (`rvlf status` does).
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Dump {
    /// The lock file itself: DATA.lock
    #[arg(value_hint = ValueHint::FilePath)]
    lockfile: PathBuf,
}

const HELP: &str = "\
EXAMPLES
  rvlf dump store.rvf.lock

EXIT STATUS
  0  a valid record
  2  bad usage
  4  malformed, of an unsupported version, or no RVLF record at all
  5  the operating system failed";

/// Neighbouring fields differ.
const COLORS: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Green,
    AnsiColor::Yellow,
    AnsiColor::Magenta,
    AnsiColor::Blue,
    AnsiColor::Red,
];

/// Bytes in a row: a field of 64 takes eight.
const WIDTH: usize = 8;

pub fn run(args: &Dump) -> io::Result<u8> {
    let path = text::path(&args.lockfile);
    let bytes = match lock_file::read(&args.lockfile) {
        Ok(Found::Bytes(bytes)) => bytes,
        Ok(Found::Irregular(kind)) => {
            text::say(format_args!("{path}: not an RVLF lock but {kind}"));
            return Ok(exit::NOT_A_LOCK);
        }
        Err(error) => {
            text::say(format_args!("{path}: could not read: {error}"));
            return Ok(exit::IO);
        }
    };
    let record = Record::decode(&bytes);
    let what = match &record {
        Ok(_) if bytes.len() > RECORD_LEN => "a valid record, and bytes after it".into(),
        Ok(_) => "a valid record".into(),
        Err(error) => error.to_string(),
    };
    let mut out = stdout().lock();
    writeln!(out, "{path}: {what}")?;
    match &record {
        Err(DecodeError::Foreign { .. }) => {
            let whole = Field {
                name: "",
                offset: 0,
                size: bytes.len(),
            };
            let quoted = |chunk: &[u8]| format!("\"{}\"", chunk.escape_ascii());
            write_field(&mut out, whole, &bytes, Style::new(), quoted)?;
        }
        _ => write_record(
            &mut out,
            &bytes,
            record.is_ok_and(|record| record.stamp().is_some()),
        )?,
    }
    Ok(match record {
        Ok(_) => exit::DONE,
        Err(_) => exit::NOT_A_LOCK,
    })
}

fn write_record(out: &mut impl Write, bytes: &[u8], stamped: bool) -> io::Result<()> {
    let mut colors = COLORS.iter().cycle();
    for field in fields(stamped) {
        let color = colors.next().expect("a cycle does not end");
        let all = bytes.get(field.range());
        let mut value = Some(match all {
            Some(all) => explain(field.name, all, bytes),
            None => "(torn)".into(),
        });
        // The explanation stands beside the field's first bytes.
        let first_row = |_: &[u8]| value.take().unwrap_or_default();
        write_field(out, field, bytes, color.on_default(), first_row)?;
    }
    if bytes.len() > RECORD_LEN {
        writeln!(
            out,
            "  {RECORD_LEN:#04x}  {:<23}  (bytes after the record)",
            ".."
        )?;
    }
    Ok(())
}

/// The record's fields; with a stamp, what is left of the hostname's before it, and its parts.
fn fields(stamped: bool) -> Vec<Field> {
    let [stamp, ..] = KernelStamp::FIELDS;
    let mut fields = Vec::new();
    for field in FIELDS {
        if stamped && field.range().contains(&stamp.offset) {
            fields.push(Field {
                size: stamp.offset - field.offset,
                ..field
            });
            fields.extend(KernelStamp::FIELDS);
        } else {
            fields.push(field);
        }
    }
    fields
}

/// One field, as far as the file reaches, in rows of [`WIDTH`] bytes.
fn write_field(
    out: &mut impl Write,
    field: Field,
    bytes: &[u8],
    style: Style,
    mut beside: impl FnMut(&[u8]) -> String,
) -> io::Result<()> {
    let end = field.range().end.min(bytes.len());
    let present = bytes.get(field.offset..end).unwrap_or_default();
    let mut name = field.name;
    for (row, chunk) in present.chunks(WIDTH).enumerate() {
        let offset = field.offset + row * WIDTH;
        let hex: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
        let (hex, beside) = (hex.join(" "), beside(chunk));
        let line = format!("{hex:<23}  {name:<12}  {beside}");
        writeln!(out, "  {offset:#04x}  {style}{}{style:#}", line.trim_end())?;
        name = "";
    }
    Ok(())
}

/// What a field's bytes mean.
fn explain(name: &str, bytes: &[u8], whole: &[u8]) -> String {
    match name {
        "magic" => match number(bytes) {
            found if found == u64::from(MAGIC) => format!("{found:#010x}, RVLF"),
            found => format!("{found:#010x}, not {MAGIC:#010x}"),
        },
        "pid" => number(bytes).to_string(),
        "hostname" => format!("\"{}\"", Hostname::truncated(bytes)),
        "stamp_tag" => format!("kernel stamp \"{}\"", bytes.escape_ascii()),
        "inode_key" => format!("{:016x}", number(bytes)),
        "start_ticks" => format!("{} clock ticks after boot", number(bytes)),
        "timestamp_ns" => {
            let nanos = number(bytes);
            format!("{nanos}, {}", report::local_time_of(nanos))
        }
        "writer_id" => bytes
            .try_into()
            .map(|bytes| WriterId::from_bytes(bytes).to_string())
            .unwrap_or_default(),
        "lock_version" => match number(bytes) {
            found if found == u64::from(LOCK_VERSION) => found.to_string(),
            found => format!("{found}, not {LOCK_VERSION}"),
        },
        "checksum" => explain_checksum(number(bytes), whole),
        _ => String::new(),
    }
}

fn explain_checksum(stored: u64, whole: &[u8]) -> String {
    let covered = FIELDS.last().map_or(0, |checksum| checksum.offset);
    let covered = whole.get(..covered).unwrap_or_default();
    let fits = |checksum: Checksum| u64::from(checksum.of(covered)) == stored;
    if fits(Checksum::IsoHdlc) {
        format!("{stored:#010x}, CRC-32/ISO-HDLC, right")
    } else if fits(Checksum::Crc32c) {
        format!("{stored:#010x}, CRC-32C, right")
    } else {
        let expected = Checksum::IsoHdlc.of(covered);
        format!("{stored:#010x}, wrong: CRC-32/ISO-HDLC is {expected:#010x}")
    }
}

/// Little-endian, as everything in a record.
fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
