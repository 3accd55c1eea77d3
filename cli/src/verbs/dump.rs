//! `rvlf dump`: shows the bytes of a lock file, field by field.

use std::io::{self, Write};
use std::path::Path;

use anstream::stdout;
use clap::builder::styling::{AnsiColor, Style};
use clap::{Args, ValueHint};
use rvlf::record::{
    Checksum, DecodeError, FIELDS, Field, Hostname, KernelStamp, LOCK_VERSION, MAGIC, RECORD_LEN,
    StoreStamp,
};
use rvlf::{Escaped, Record, WriterId, lock_path_for};

use crate::escape::shell_path;
use crate::target::Target;
use crate::{exit, lock_bytes, messages, store, time};

/// Show the bytes of a lock file, field by field
///
/// Also shows torn records and files of other programs. Reads at most 105 bytes. Does not find out
/// whether the lock is held (`rvlf status` does).
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Dump {
    /// The lock file itself, or the URL of the lock object: DATA.lock
    #[arg(value_hint = ValueHint::FilePath)]
    lockfile: Target,
}

const HELP: &str = "\
EXAMPLES
  rvlf dump store.rvf.lock

EXIT STATUS
  0  a valid record
  2  usage error
  4  malformed, of an unsupported version, or not an RVLF record
  5  operating system error";

/// Adjacent fields get different colours.
const COLORS: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Green,
    AnsiColor::Yellow,
    AnsiColor::Magenta,
    AnsiColor::Blue,
    AnsiColor::Red,
];

/// Bytes in a row: the longest field, of 64 bytes, takes eight rows.
const WIDTH: usize = 8;

/// What a lock file or a lock object contains.
pub struct Contents {
    /// Its name, safe to print.
    pub name: String,
    /// Its first bytes: those of a record and one more, if there are so many.
    pub bytes: Vec<u8>,
    /// What follows a record: `a payload of 12 bytes`.
    pub rest: String,
}

pub fn run(args: &Dump) -> io::Result<u8> {
    let contents = match &args.lockfile {
        Target::File(path) => read_file(path),
        Target::Store(url) => store::read_lock(url),
    };
    match contents {
        Ok(contents) => write_contents(&contents),
        Err(status) => Ok(status),
    }
}

/// A failure is printed. The error is the exit status for it.
fn read_file(path: &Path) -> Result<Contents, u8> {
    let name = Escaped::path(path).to_string();
    match lock_bytes::read(path) {
        Ok(lock_bytes::Contents::Bytes(bytes)) => Ok(Contents {
            name,
            bytes,
            rest: "more bytes".into(),
        }),
        Ok(lock_bytes::Contents::Irregular(kind)) => {
            messages::print(format_args!("{name}: not an RVLF lock but {kind}"));
            Err(exit::NOT_A_LOCK)
        }
        Err(error) => {
            let step = step_for(path, &error);
            messages::print(format_args!("{name}: cannot read: {error}; {step}"));
            Err(exit::IO)
        }
    }
}

fn step_for(path: &Path, error: &io::Error) -> String {
    let lock_path = lock_path_for(path);
    match error.kind() {
        io::ErrorKind::NotFound if lock_path.exists() => {
            format!(
                "its lock file is there: rvlf dump {}",
                shell_path(&lock_path)
            )
        }
        io::ErrorKind::NotFound => "name a lock file: DATA.lock".into(),
        io::ErrorKind::PermissionDenied => "try again as a user who may read it".into(),
        _ => "check its file system".into(),
    }
}

fn write_contents(contents: &Contents) -> io::Result<u8> {
    let Contents { name, bytes, rest } = contents;
    let record = Record::decode(bytes);
    let (summary, status) = match &record {
        Ok(_) if bytes.len() > RECORD_LEN => {
            (format!("a valid record, followed by {rest}"), exit::SUCCESS)
        }
        Ok(_) => ("a valid record".into(), exit::SUCCESS),
        Err(error) => (error.to_string(), exit::NOT_A_LOCK),
    };
    let mut out = stdout().lock();
    writeln!(out, "{name}: {summary}")?;
    match record {
        Err(DecodeError::Foreign { .. }) => write_text(&mut out, bytes)?,
        Err(_) => write_record(&mut out, bytes, &[])?,
        Ok(record) => write_record(&mut out, bytes, stamp_fields(&record))?,
    }
    Ok(status)
}

/// The bytes of another program's file, with their characters beside them.
fn write_text(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let whole = Field {
        name: "",
        offset: 0,
        size: bytes.len(),
    };
    let quote = |row: &[u8]| format!("\"{}\"", row.escape_ascii());
    write_field(out, whole, bytes, Style::new(), quote)
}

fn write_record(out: &mut impl Write, bytes: &[u8], stamp: &[Field]) -> io::Result<()> {
    for (field, color) in fields(stamp).into_iter().zip(COLORS.iter().cycle()) {
        let mut value = Some(match bytes.get(field.range()) {
            Some(present) => explain(field.name, present, bytes),
            None => "(torn)".into(),
        });
        let beside_first_row = |_: &[u8]| value.take().unwrap_or_default();
        write_field(out, field, bytes, color.on_default(), beside_first_row)?;
    }
    if bytes.len() > RECORD_LEN {
        let more = "(bytes after the record)";
        writeln!(out, "  {RECORD_LEN:#04x}  {:<23}  {more}", "..")?;
    }
    Ok(())
}

/// The parts of a record's stamp.
fn stamp_fields(record: &Record) -> &'static [Field] {
    if record.stamp().is_some() {
        &KernelStamp::FIELDS
    } else if record.store_stamp().is_some() {
        &StoreStamp::FIELDS
    } else {
        &[]
    }
}

/// The fields of a record. A stamp splits the host name's field.
fn fields(stamp: &[Field]) -> Vec<Field> {
    let mut fields = Vec::new();
    for field in FIELDS {
        match stamp.first() {
            Some(tag) if field.range().contains(&tag.offset) => {
                let size = tag.offset - field.offset;
                fields.push(Field { size, ..field });
                fields.extend(stamp);
            }
            _ => fields.push(field),
        }
    }
    fields
}

/// Writes those bytes of a field that the file has, in rows of [`WIDTH`] bytes.
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

/// The value of a field, in words.
fn explain(name: &str, bytes: &[u8], file: &[u8]) -> String {
    match name {
        "magic" => match number(bytes) {
            found if found == u64::from(MAGIC) => format!("{found:#010x}, RVLF"),
            found => format!("{found:#010x}, not {MAGIC:#010x}"),
        },
        "pid" => number(bytes).to_string(),
        "hostname" => format!("\"{}\"", Hostname::truncated(bytes)),
        "stamp_tag" if bytes == b"RVS1" => "store stamp \"RVS1\"".into(),
        "stamp_tag" => format!("kernel stamp \"{}\"", bytes.escape_ascii()),
        "inode_key" => format!("{:016x}", number(bytes)),
        "start_ticks" => format!("{}, the start of the process", number(bytes)),
        "generation" => number(bytes).to_string(),
        "lease_ms" => match number(bytes) {
            0 => "0: released".into(),
            lease => format!("{lease}, the lease"),
        },
        "nonce" => format!("{:08x}", number(bytes)),
        "timestamp_ns" => {
            let nanos = number(bytes);
            format!("{nanos}, {}", time::local_time_of(nanos))
        }
        "writer_id" => bytes
            .try_into()
            .map(|bytes| WriterId::from_bytes(bytes).to_string())
            .unwrap_or_default(),
        "lock_version" => match number(bytes) {
            found if found == u64::from(LOCK_VERSION) => found.to_string(),
            found => format!("{found}, not {LOCK_VERSION}"),
        },
        "checksum" => explain_checksum(number(bytes), file),
        _ => String::new(),
    }
}

fn explain_checksum(stored: u64, file: &[u8]) -> String {
    let end = FIELDS.last().map_or(0, |checksum| checksum.offset);
    let covered = file.get(..end).unwrap_or_default();
    let matches = |checksum: Checksum| u64::from(checksum.of(covered)) == stored;
    if matches(Checksum::IsoHdlc) {
        format!("{stored:#010x}, correct CRC-32/ISO-HDLC")
    } else if matches(Checksum::Crc32c) {
        format!("{stored:#010x}, correct CRC-32C")
    } else {
        let expected = Checksum::IsoHdlc.of(covered);
        format!("{stored:#010x}, wrong: CRC-32/ISO-HDLC is {expected:#010x}")
    }
}

/// Reads an integer. All integers of a record are little-endian.
fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
