//! The stamps: what a writer promises, in the unused end of the host name field. A record has at most
//! one of them; its tag says which.

use core::time::Duration;

use super::Field;
use super::layout::HOSTNAME_FIELD;

/// Length of every stamp: a tag and 16 bytes.
const SIZE: usize = 20;
/// Offset of the stamp within the hostname field: the stamp is the field's end.
pub(super) const START: usize = HOSTNAME_FIELD.size - SIZE;
/// The longest host name that leaves room for its NUL and a stamp.
const MAX_HOSTNAME_LEN: usize = START - 1;

const TAG_FIELD: Field = Field {
    name: "stamp_tag",
    offset: HOSTNAME_FIELD.offset + START,
    size: 4,
};

/// The bytes of a stamp: a tag and what is behind it.
fn tagged(tag: [u8; TAG_FIELD.size], values: [u8; SIZE - TAG_FIELD.size]) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    let (head, rest) = bytes.split_at_mut(TAG_FIELD.size);
    head.copy_from_slice(&tag);
    rest.copy_from_slice(&values);
    bytes
}

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
    /// Identifies the inode: by [`KernelStamp::plain_key`] if the lock file is on a plain file
    /// system, by [`KernelStamp::inode_key`] elsewhere.
    pub inode_key: u64,
    /// The start time of the writer's process, in the unit of its system: on Linux clock ticks since
    /// boot, field 22 of `/proc/PID/task/PID/stat`, proc_pid_stat(5). `spec/format.md` has the others.
    pub start_ticks: u64,
}

impl KernelStamp {
    const TAG: [u8; TAG_FIELD.size] = *b"RVK1";

    /// The stamp's parts in the order of their bytes: a tag, ASCII `RVK1`, and the two numbers.
    /// Offsets are those in the record.
    pub const FIELDS: [Field; 3] = {
        let inode_key = TAG_FIELD.then("inode_key", 8);
        [TAG_FIELD, inode_key, inode_key.then("start_ticks", 8)]
    };

    /// The most bytes of a host name that leave room for its NUL and the stamp.
    pub const MAX_HOSTNAME_LEN: usize = MAX_HOSTNAME_LEN;

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

    pub(super) fn to_bytes(self) -> [u8; SIZE] {
        let mut values = [0; SIZE - TAG_FIELD.size];
        let (inode_key, start_ticks) = values.split_at_mut(8);
        inode_key.copy_from_slice(&self.inode_key.to_le_bytes());
        start_ticks.copy_from_slice(&self.start_ticks.to_le_bytes());
        tagged(KernelStamp::TAG, values)
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

/// The store stamp: what the holder of a lock in an object store promises, in the place of the
/// [`KernelStamp`].
///
/// The holder promises to replace the object within the lease. A contender that has seen the same bytes
/// for longer than the lease, by its own clock, may take the lock. Lock files have no store stamp: if such
/// an object is copied into a file, the file has a record without a kernel stamp. Numbers are little-endian
/// in the record. Source: `spec/format.md#store-stamp`.
///
/// ```text
///  0x34   tag, ASCII `RVS1` (4)
///  0x38   generation (8)
///  0x40   lease_ms (4)
///  0x44   nonce (4)
/// ```
///
/// ```
/// use rvlf::record::StoreStamp;
///
/// let held = StoreStamp { generation: 1_700_000_000_000, lease_ms: 30_000, nonce: 7 };
/// assert!(!held.is_released());
/// assert!(StoreStamp { lease_ms: 0, ..held }.is_released());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoreStamp {
    /// Counts the holds: the generation of the previous holder's record plus 1. Without a previous
    /// record, Unix time in milliseconds. At most [`StoreStamp::MAX_GENERATION`].
    pub generation: u64,
    /// The lease in milliseconds, [`StoreStamp::MIN_LEASE`] to [`StoreStamp::MAX_LEASE`]. 0: the lock
    /// is released.
    pub lease_ms: u32,
    /// Random bits, new for each logical write: no two writes have equal bytes.
    pub nonce: u32,
}

impl StoreStamp {
    const TAG: [u8; TAG_FIELD.size] = *b"RVS1";

    /// The stamp's parts in the order of their bytes: a tag, ASCII `RVS1`, and the three numbers.
    /// Offsets are those in the record.
    pub const FIELDS: [Field; 4] = {
        let generation = TAG_FIELD.then("generation", 8);
        let lease = generation.then("lease_ms", 4);
        [TAG_FIELD, generation, lease, lease.then("nonce", 4)]
    };

    /// The longest host name, in bytes, that leaves room for its NUL and the stamp.
    pub const MAX_HOSTNAME_LEN: usize = MAX_HOSTNAME_LEN;

    /// The largest generation, 2^63.
    pub const MAX_GENERATION: u64 = 1 << 63;

    /// The shortest lease, 1 s.
    pub const MIN_LEASE: Duration = Duration::from_secs(1);

    /// The longest lease, 1 h.
    pub const MAX_LEASE: Duration = Duration::from_secs(3600);

    /// Whether the record marks a lock that its last holder released: a lease of 0.
    ///
    /// ```
    /// use rvlf::record::StoreStamp;
    ///
    /// assert!(StoreStamp { generation: 8, lease_ms: 0, nonce: 7 }.is_released());
    /// ```
    #[must_use]
    pub const fn is_released(&self) -> bool {
        self.lease_ms == 0
    }

    /// The lease as a length of time; zero if the lock is released.
    ///
    /// ```
    /// use std::time::Duration;
    /// use rvlf::record::StoreStamp;
    ///
    /// let stamp = StoreStamp { generation: 8, lease_ms: 30_000, nonce: 7 };
    /// assert_eq!(stamp.lease(), Duration::from_secs(30));
    /// ```
    #[must_use]
    pub const fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms as u64)
    }

    /// Whether both numbers are within their limits: the generation, and the lease of a lock that is
    /// not released. A record with other numbers is held indefinitely, and never written.
    ///
    /// ```
    /// use rvlf::record::StoreStamp;
    ///
    /// let stamp = StoreStamp { generation: 8, lease_ms: 30_000, nonce: 7 };
    /// assert!(stamp.is_within_limits());
    /// assert!(!StoreStamp { lease_ms: 1, ..stamp }.is_within_limits());
    /// assert!(!StoreStamp { generation: u64::MAX, ..stamp }.is_within_limits());
    /// ```
    #[must_use]
    pub fn is_within_limits(&self) -> bool {
        let leases = StoreStamp::MIN_LEASE..=StoreStamp::MAX_LEASE;
        let has_lease = self.is_released() || leases.contains(&self.lease());
        has_lease && self.generation <= StoreStamp::MAX_GENERATION
    }

    pub(super) fn to_bytes(self) -> [u8; SIZE] {
        let mut values = [0; SIZE - TAG_FIELD.size];
        let (generation, rest) = values.split_at_mut(8);
        let (lease_ms, nonce) = rest.split_at_mut(4);
        generation.copy_from_slice(&self.generation.to_le_bytes());
        lease_ms.copy_from_slice(&self.lease_ms.to_le_bytes());
        nonce.copy_from_slice(&self.nonce.to_le_bytes());
        tagged(StoreStamp::TAG, values)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<StoreStamp> {
        let rest = bytes.strip_prefix(&StoreStamp::TAG)?;
        let (generation, rest) = rest.split_first_chunk()?;
        let (lease_ms, rest) = rest.split_first_chunk()?;
        let (nonce, _) = rest.split_first_chunk()?;
        Some(StoreStamp {
            generation: u64::from_le_bytes(*generation),
            lease_ms: u32::from_le_bytes(*lease_ms),
            nonce: u32::from_le_bytes(*nonce),
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
