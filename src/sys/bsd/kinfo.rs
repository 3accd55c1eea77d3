//! What the kernel reports of a process: the fields of a kinfo structure that matter here.
//!
//! Each system has a structure of its own for one purpose. [`Layout`] says where the fields are, so that
//! they are read from the bytes of the answer in one way. Compiled by the tests on Linux, too.

use std::time::Duration;

/// What is known of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kinfo {
    /// Its files are closed, and its parent has not waited for it yet.
    pub(super) has_ended: bool,
    /// When it started, since 1970.
    pub(super) started: Duration,
}

/// An unsigned integer in a structure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) offset: usize,
    /// 1, 4 or 8 bytes.
    pub(super) size: usize,
}

/// Where a structure has the fields.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// The size of the structure.
    pub(super) size: usize,
    pub(super) pid: Field,
    pub(super) state: Field,
    /// The `state` of a process that has ended.
    pub(super) ended: u64,
    pub(super) start_seconds: Field,
    pub(super) start_micros: Field,
}

impl Layout {
    /// The process `pid`, if `answer` is about it. A structure of another size is that of another
    /// version of the system.
    pub(super) fn parse(&self, answer: &[u8], pid: u32) -> Option<Kinfo> {
        if answer.len() != self.size || self.pid.read(answer)? != u64::from(pid) {
            return None;
        }
        let seconds = Duration::from_secs(self.start_seconds.read(answer)?);
        let micros = Duration::from_micros(self.start_micros.read(answer)?);
        Some(Kinfo {
            has_ended: self.state.read(answer)? == self.ended,
            started: seconds.checked_add(micros)?,
        })
    }
}

impl Field {
    pub(super) fn read(self, bytes: &[u8]) -> Option<u64> {
        let bytes = bytes.get(self.offset..self.offset.checked_add(self.size)?)?;
        match *bytes {
            [byte] => Some(byte.into()),
            [_, _, _, _] => Some(bytemuck::pod_read_unaligned::<u32>(bytes).into()),
            [_, _, _, _, _, _, _, _] => Some(bytemuck::pod_read_unaligned(bytes)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout {
        size: 24,
        pid: Field {
            offset: 16,
            size: 4,
        },
        state: Field {
            offset: 20,
            size: 1,
        },
        ended: 5,
        start_seconds: Field { offset: 0, size: 8 },
        start_micros: Field { offset: 8, size: 4 },
    };

    fn answer(pid: u32, state: u8) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(bytemuck::bytes_of(&1_795_300_833_u64));
        bytes[8..12].copy_from_slice(bytemuck::bytes_of(&481_221_u32));
        // Beyond the field: a field that is read too wide would take it in.
        bytes[12..16].fill(0xff);
        bytes[16..20].copy_from_slice(bytemuck::bytes_of(&pid));
        bytes[20] = state;
        bytes
    }

    // The start distinguishes a process from a later one with its pid: its microseconds count.
    #[test]
    fn start_and_state_are_read_from_the_bytes_of_the_answer() {
        let started = Duration::new(1_795_300_833, 481_221_000);
        for (state, has_ended) in [(2, false), (5, true)] {
            let found = LAYOUT.parse(&answer(23921, state), 23921);
            assert_eq!(found, Some(Kinfo { has_ended, started }));
        }
    }

    // Another version of the system may have another structure: what stands at the old places is no
    // start and no state, and a live process that is taken for dead loses its lock.
    #[test]
    fn an_answer_about_another_process_or_of_another_size_is_none() {
        let whole = answer(7, 2);
        assert_eq!(LAYOUT.parse(&whole, 8), None);
        assert_eq!(LAYOUT.parse(&whole[..23], 7), None);
        assert_eq!(LAYOUT.parse(&[], 7), None);
    }
}
