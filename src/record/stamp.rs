//! The kernel stamp: the writer's promise in the unused end of the host name field.

use super::Field;
use super::layout::HOSTNAME_FIELD;

/// The kernel stamp, in the unused end of the hostname field. With it the writer promises to hold
/// flock(2) `LOCK_EX` on this very inode for as long as it holds the lock, and to refresh the
/// record.
///
/// A contender that computes the same `inode_key` sees the same inode of the kernel that the writer
/// ran on, or the writer's kernel is gone, whatever host names and pid namespaces say. Other
/// implementations ignore the stamp. Both numbers are little-endian in the record. Source:
/// `spec/format.md#kernel-stamp`.
///
/// ```text
///  0x34   tag, ASCII `RVK1` (4)
///  0x38   inode_key (8)
///  0x40   start_ticks (8)
/// ```
///
/// ```
/// use rvlf::record::KernelStamp;
///
/// let boot_id = [7; 16]; // of /proc/sys/kernel/random/boot_id
/// let key = KernelStamp::inode_key(&boot_id, 0xfd00, 1234);
/// assert_ne!(key, KernelStamp::inode_key(&boot_id, 0xfd00, 1235));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KernelStamp {
    /// Identifies the inode: by [`KernelStamp::plain_key`] if the writer stands on a plain file
    /// system, by [`KernelStamp::inode_key`] elsewhere.
    pub inode_key: u64,
    /// The start time of the writer's process, in the unit of its system: on Linux clock ticks since
    /// boot, field 22 of `/proc/PID/task/PID/stat`, proc_pid_stat(5). `spec/format.md` has the others.
    pub start_ticks: u64,
}

impl KernelStamp {
    const TAG: [u8; 4] = *b"RVK1";
    const SIZE: usize = 20;
    /// Offset of the stamp within the hostname field: the stamp is the field's end.
    pub(super) const START: usize = HOSTNAME_FIELD.size - KernelStamp::SIZE;

    /// The stamp's parts in the order of their bytes: a tag, ASCII `RVK1`, and the two numbers.
    /// Offsets are those in the record.
    pub const FIELDS: [Field; 3] = {
        let tag = Field {
            name: "stamp_tag",
            offset: HOSTNAME_FIELD.offset + KernelStamp::START,
            size: KernelStamp::TAG.len(),
        };
        let inode_key = tag.then("inode_key", 8);
        [tag, inode_key, inode_key.then("start_ticks", 8)]
    };

    /// The longest host name, in bytes, that leaves room for its NUL and the stamp.
    pub const MAX_HOSTNAME_LEN: usize = KernelStamp::START - 1;

    /// The key of an inode on a file system that is not plain: it identifies one inode on one
    /// running kernel.
    ///
    /// FNV-1a-64 over the 16 raw bytes of the boot id (`/proc/sys/kernel/random/boot_id`), the
    /// inode's `st_dev` and its `st_ino`, both as eight little-endian bytes.
    ///
    /// ```
    /// use rvlf::record::KernelStamp;
    ///
    /// let before_reboot = KernelStamp::inode_key(&[1; 16], 0xfd00, 1234);
    /// let after_reboot = KernelStamp::inode_key(&[2; 16], 0xfd00, 1234);
    /// assert_ne!(before_reboot, after_reboot);
    /// ```
    #[must_use]
    pub fn inode_key(boot_id: &[u8; 16], dev: u64, ino: u64) -> u64 {
        let numbers = dev.to_le_bytes().into_iter().chain(ino.to_le_bytes());
        fnv1a_64(boot_id.iter().copied().chain(numbers))
    }

    /// The key of an inode on a plain file system (ext4, xfs, btrfs and others; not an overlay): one
    /// kernel mounts it, so neither a reboot nor another device number makes it another inode.
    ///
    /// FNV-1a-64 over the eight bytes `plain\0\0\0`, the inode's `st_ino`, and its birth time in
    /// nanoseconds since 1970, statx(2) (0 where there is none), both as eight little-endian bytes.
    ///
    /// ```
    /// use rvlf::record::KernelStamp;
    ///
    /// let key = KernelStamp::plain_key(1234, 1_700_000_000_000_000_000);
    /// let number_reused = KernelStamp::plain_key(1234, 1_700_000_000_000_000_001);
    /// assert_ne!(key, number_reused);
    /// ```
    #[must_use]
    pub fn plain_key(ino: u64, born_ns: u64) -> u64 {
        let numbers = ino.to_le_bytes().into_iter().chain(born_ns.to_le_bytes());
        fnv1a_64(b"plain\0\0\0".iter().copied().chain(numbers))
    }

    pub(super) fn to_bytes(self) -> [u8; KernelStamp::SIZE] {
        let mut bytes = [0; KernelStamp::SIZE];
        let (tag, rest) = bytes.split_at_mut(4);
        let (inode_key, start_ticks) = rest.split_at_mut(8);
        tag.copy_from_slice(&KernelStamp::TAG);
        inode_key.copy_from_slice(&self.inode_key.to_le_bytes());
        start_ticks.copy_from_slice(&self.start_ticks.to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<KernelStamp> {
        let rest = bytes.strip_prefix(&KernelStamp::TAG)?;
        let (inode_key, rest) = rest.split_first_chunk()?;
        let (start_ticks, _) = rest.split_first_chunk()?;
        Some(KernelStamp {
            inode_key: u64::from_le_bytes(*inode_key),
            start_ticks: u64::from_le_bytes(*start_ticks),
        })
    }
}

fn fnv1a_64(bytes: impl Iterator<Item = u8>) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.fold(OFFSET_BASIS, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(PRIME)
    })
}
