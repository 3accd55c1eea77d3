//! A second reader of the record, for comparison: written from `spec/format.md` with offsets and
//! loops of its own, it shares nothing with the library but the text that both follow.
#![allow(
    dead_code,
    clippy::indexing_slicing,
    reason = "shared by tests that use parts of it; a panic is a failed test"
)]

/// The class of a lock file's content, with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    Short,
    Foreign,
    Unsupported(u32),
    Corrupt,
    Valid(Box<Fields>),
}

/// The fields of a valid record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    pub pid: u32,
    pub hostname: Vec<u8>,
    pub timestamp_ns: u64,
    pub writer_id: [u8; 16],
    /// Inode key and start ticks.
    pub stamp: Option<(u64, u64)>,
    /// Generation, lease in milliseconds, nonce.
    pub store_stamp: Option<(u64, u32, u32)>,
    pub polynomial: Polynomial,
}

/// A CRC's polynomial, bits reversed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Polynomial {
    Ieee = 0xedb8_8320,
    Castagnoli = 0x82f6_3b78,
}

const MAGIC: [u8; 4] = [0x46, 0x4c, 0x56, 0x52];

pub fn classify(bytes: &[u8]) -> Class {
    let all_zero = !bytes.iter().any(|byte| *byte != 0);
    if bytes.len() <= 104 && all_zero {
        return Class::Short;
    }
    for (byte, magic) in bytes.iter().zip(MAGIC) {
        if *byte != magic {
            return Class::Foreign;
        }
    }
    if bytes.len() < 104 {
        return Class::Short;
    }
    let version = little_endian(&bytes[0x60..0x64]) as u32;
    if version != 1 {
        return Class::Unsupported(version);
    }
    let stored = little_endian(&bytes[0x64..0x68]) as u32;
    let fits = |polynomial: &Polynomial| crc(*polynomial, &bytes[..0x64]) == stored;
    let polynomials = [Polynomial::Ieee, Polynomial::Castagnoli];
    let Some(polynomial) = polynomials.into_iter().find(fits) else {
        return Class::Corrupt;
    };
    let pid = little_endian(&bytes[0x04..0x08]) as u32;
    if pid == 0 || pid >> 31 == 1 {
        return Class::Corrupt;
    }
    let field = &bytes[0x08..0x48];
    let len = field.iter().position(|byte| *byte == 0).unwrap_or(64);
    let tagged = |tag: &[u8; 4]| len <= 43 && &field[44..48] == tag;
    let word = |at: usize| little_endian(&field[at..at + 8]);
    let half = |at: usize| little_endian(&field[at..at + 4]) as u32;
    Class::Valid(Box::new(Fields {
        pid,
        hostname: field[..len.min(63)].to_vec(),
        timestamp_ns: little_endian(&bytes[0x48..0x50]),
        writer_id: bytes[0x50..0x60].try_into().expect("sixteen bytes"),
        stamp: tagged(b"RVK1").then(|| (word(48), word(56))),
        store_stamp: tagged(b"RVS1").then(|| (word(48), half(56), half(60))),
        polynomial,
    }))
}

/// A record's bytes. `field` is the whole hostname field.
pub fn build(
    pid: u32,
    field: &[u8; 64],
    timestamp_ns: u64,
    writer_id: [u8; 16],
    version: u32,
    polynomial: Polynomial,
) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(pid.to_le_bytes());
    bytes.extend(field);
    bytes.extend(timestamp_ns.to_le_bytes());
    bytes.extend(writer_id);
    bytes.extend(version.to_le_bytes());
    bytes.extend(crc(polynomial, &bytes).to_le_bytes());
    bytes
}

/// The hostname field of a stamped record.
pub fn stamped_field(hostname: &[u8], inode_key: u64, start_ticks: u64) -> [u8; 64] {
    let mut field = [0; 64];
    field[..hostname.len()].copy_from_slice(hostname);
    field[44..48].copy_from_slice(b"RVK1");
    field[48..56].copy_from_slice(&inode_key.to_le_bytes());
    field[56..].copy_from_slice(&start_ticks.to_le_bytes());
    field
}

/// The hostname field of a record with a store stamp.
pub fn store_field(hostname: &[u8], generation: u64, lease_ms: u32, nonce: u32) -> [u8; 64] {
    let both = u64::from(nonce) << 32 | u64::from(lease_ms);
    let mut field = stamped_field(hostname, generation, both);
    field[44..48].copy_from_slice(b"RVS1");
    field
}

pub fn crc(polynomial: Polynomial, bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        for bit in 0..8 {
            let differs = (crc ^ u32::from(byte >> bit)) & 1 == 1;
            crc >>= 1;
            if differs {
                crc ^= polynomial as u32;
            }
        }
    }
    !crc
}

fn little_endian(bytes: &[u8]) -> u64 {
    let mut number = 0;
    for byte in bytes.iter().rev() {
        number = number << 8 | u64::from(*byte);
    }
    number
}
