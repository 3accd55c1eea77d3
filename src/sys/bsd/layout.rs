//! Where each system's kinfo structure has the fields that matter.

#[cfg(not(target_vendor = "apple"))]
use std::mem::{offset_of, size_of};

#[cfg(not(target_vendor = "apple"))]
use nix::libc;

use super::kinfo::{Field, Layout};

/// A field of a structure that the crate libc has.
#[cfg(not(target_vendor = "apple"))]
macro_rules! field {
    ($structure:ty, $field:ident $(. $inner:ident)?, $kind:ty) => {
        Field {
            offset: offset_of!($structure, $field $(. $inner)?),
            size: size_of::<$kind>(),
        }
    };
}

/// `struct kinfo_proc` of <sys/sysctl.h> in 64-bit programs, which the crate libc does not have.
/// `scripts/kinfo.c` compares the numbers with Apple's headers.
#[cfg(target_vendor = "apple")]
pub(super) const LAYOUT: Layout = Layout {
    size: 648,
    pid: Field {
        offset: 40,
        size: 4,
    },
    state: Field {
        offset: 36,
        size: 1,
    },
    // SZOMB
    ended: 5,
    start_seconds: Field { offset: 0, size: 8 },
    start_micros: Field { offset: 8, size: 4 },
};

#[cfg(target_os = "freebsd")]
pub(super) const LAYOUT: Layout = Layout {
    size: size_of::<libc::kinfo_proc>(),
    pid: field!(libc::kinfo_proc, ki_pid, libc::pid_t),
    state: field!(libc::kinfo_proc, ki_stat, libc::c_char),
    ended: libc::SZOMB as u64,
    start_seconds: field!(libc::kinfo_proc, ki_start.tv_sec, libc::time_t),
    start_micros: field!(libc::kinfo_proc, ki_start.tv_usec, libc::suseconds_t),
};

#[cfg(target_os = "dragonfly")]
pub(super) const LAYOUT: Layout = Layout {
    size: size_of::<libc::kinfo_proc>(),
    pid: field!(libc::kinfo_proc, kp_pid, libc::pid_t),
    state: field!(libc::kinfo_proc, kp_stat, libc::procstat),
    ended: libc::procstat::SZOMB as u64,
    start_seconds: field!(libc::kinfo_proc, kp_start.tv_sec, libc::time_t),
    start_micros: field!(libc::kinfo_proc, kp_start.tv_usec, libc::suseconds_t),
};

/// The `p_stat` is that of one thread. `p_uvalid` is 0 from the end of the process on, and the start
/// is no longer reported then.
#[cfg(target_os = "netbsd")]
pub(super) const LAYOUT: Layout = Layout {
    size: size_of::<libc::kinfo_proc2>(),
    pid: field!(libc::kinfo_proc2, p_pid, i32),
    state: field!(libc::kinfo_proc2, p_uvalid, i64),
    ended: 0,
    start_seconds: field!(libc::kinfo_proc2, p_ustart_sec, u32),
    start_micros: field!(libc::kinfo_proc2, p_ustart_usec, u32),
};

/// A process that has ended shows SDEAD. <sys/proc.h>
#[cfg(target_os = "openbsd")]
pub(super) const LAYOUT: Layout = Layout {
    size: size_of::<libc::kinfo_proc>(),
    pid: field!(libc::kinfo_proc, p_pid, i32),
    state: field!(libc::kinfo_proc, p_stat, i8),
    ended: 6,
    start_seconds: field!(libc::kinfo_proc, p_ustart_sec, u64),
    start_micros: field!(libc::kinfo_proc, p_ustart_usec, u32),
};
