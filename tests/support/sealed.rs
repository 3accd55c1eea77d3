//! Entries of data files that show whether they are whole.

use rvlf::record::Checksum;

pub const SEALED_LEN: usize = 64;

/// Four numbers, padding that can be torn, and a checksum of both.
pub fn sealed(numbers: [u64; 4]) -> [u8; SEALED_LEN] {
    let mut bytes = [b'x'; SEALED_LEN];
    let numbers = numbers.iter().flat_map(|number| number.to_le_bytes());
    for (to, from) in bytes.iter_mut().zip(numbers) {
        *to = from;
    }
    let (body, sum) = bytes.split_at_mut(SEALED_LEN - 4);
    sum.copy_from_slice(&Checksum::IsoHdlc.of(body).to_le_bytes());
    bytes
}

/// `None` if the entry is torn, or made of the halves of two writers.
pub fn unsealed(bytes: &[u8]) -> Option<[u64; 4]> {
    let mut numbers = [0; 4];
    for (number, bytes) in numbers.iter_mut().zip(bytes.chunks_exact(8)) {
        *number = u64::from_le_bytes(bytes.try_into().ok()?);
    }
    (sealed(numbers) == bytes).then_some(numbers)
}
