//! The boot: which one it is, and the clock that counts from it.

use std::io;

use nix::time::ClockId;

/// mach_continuous_time(3): counts sleep, and neither steps nor is adjusted. CLOCK_MONOTONIC of macOS
/// counts sleep as well, but follows the clock's adjustments. clock_gettime(3)
#[cfg(target_vendor = "apple")]
pub(in crate::sys) const CLOCK_SINCE_BOOT: ClockId =
    ClockId::from_raw(nix::libc::CLOCK_MONOTONIC_RAW);

/// Counts suspension. clock_gettime(2)
#[cfg(target_os = "openbsd")]
pub(in crate::sys) const CLOCK_SINCE_BOOT: ClockId = ClockId::from_raw(nix::libc::CLOCK_BOOTTIME);

/// Begins at the boot. Not every version counts suspension: a boot then seems as much later as the
/// machine slept, and on plain file systems that decides nothing of a lock that was refreshed since.
#[cfg(not(any(target_vendor = "apple", target_os = "openbsd")))]
pub(in crate::sys) const CLOCK_SINCE_BOOT: ClockId = ClockId::CLOCK_MONOTONIC;

/// Names this boot. FreeBSD has 16 random bytes since 13.0, the same in every jail; macOS has a UUID.
#[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
pub(in crate::sys) fn boot_id() -> io::Result<Option<[u8; 16]>> {
    use std::sync::OnceLock;

    use super::sysctl::read_by_name;

    static BOOT_ID: OnceLock<[u8; 16]> = OnceLock::new();
    if let Some(known) = BOOT_ID.get() {
        return Ok(Some(*known));
    }
    #[cfg(target_os = "freebsd")]
    const NAME: &std::ffi::CStr = c"kern.boot_id";
    #[cfg(target_vendor = "apple")]
    const NAME: &std::ffi::CStr = c"kern.bootsessionuuid";

    let mut buffer = [0; 64];
    // Not there before FreeBSD 13, and on FreeBSD not until the kernel has random numbers. A sandbox
    // may refuse it.
    let Ok(len) = read_by_name(NAME, &mut buffer) else {
        return Ok(None);
    };
    // `set`, not `get_or_init`: a child that is forked while another thread runs an initialiser would
    // wait for that thread indefinitely.
    Ok(buffer
        .get(..len)
        .and_then(super::boot_id::parse)
        .inspect(|id| {
            let _ = BOOT_ID.set(*id);
        }))
}

/// The kernel names no boot. kern.boottime changes when the clock is set.
#[cfg(not(any(target_vendor = "apple", target_os = "freebsd")))]
pub(in crate::sys) fn boot_id() -> io::Result<Option<[u8; 16]>> {
    Ok(None)
}

/// The time of the boot, since 1970, as processes' starts are reported by it.
#[cfg(target_os = "freebsd")]
pub(super) fn booted() -> io::Result<std::time::Duration> {
    use std::mem::{offset_of, size_of};
    use std::time::Duration;

    use nix::libc::{CTL_KERN, KERN_BOOTTIME, suseconds_t, time_t, timeval};

    use super::kinfo::Field;

    const SECONDS: Field = Field {
        offset: offset_of!(timeval, tv_sec),
        size: size_of::<time_t>(),
    };
    const MICROS: Field = Field {
        offset: offset_of!(timeval, tv_usec),
        size: size_of::<suseconds_t>(),
    };
    let mut time = [0; size_of::<timeval>()];
    super::sysctl::read(&mut [CTL_KERN, KERN_BOOTTIME], &mut time)?;
    let seconds = SECONDS.read(&time).map(Duration::from_secs);
    let micros = MICROS.read(&time).map(Duration::from_micros);
    let booted = seconds
        .zip(micros)
        .map(|(seconds, micros)| seconds + micros);
    booted.ok_or_else(|| io::ErrorKind::InvalidData.into())
}
