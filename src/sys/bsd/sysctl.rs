//! sysctl(3): what the kernel reports about itself and about processes.

#![allow(unsafe_code, reason = "sysctl(3), which nix does not have")]

use std::io;
use std::ptr;

use nix::errno::Errno;
use nix::libc::{c_int, c_uint};

/// The value of `name`, written to the front of `buffer`: its length. The kernel writes no value that
/// does not fit (ENOMEM).
pub(super) fn read(name: &mut [c_int], buffer: &mut [u8]) -> io::Result<usize> {
    let name_len = c_uint::try_from(name.len()).map_err(io::Error::other)?;
    let mut len = buffer.len();
    // SAFETY: `name` and `buffer` have as many elements as the call is given, and both outlive it; it
    // writes to `buffer` and `len` alone, since there is no new value.
    let outcome = unsafe {
        nix::libc::sysctl(
            name.as_mut_ptr(),
            name_len,
            buffer.as_mut_ptr().cast(),
            &mut len,
            ptr::null_mut(),
            0,
        )
    };
    Errno::result(outcome)?;
    Ok(len.min(buffer.len()))
}

/// The same for a name in text.
#[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
pub(super) fn read_by_name(name: &std::ffi::CStr, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = buffer.len();
    // SAFETY: `name` ends with a NUL and `buffer` has as many bytes as the call is given; both outlive
    // it, and it writes to `buffer` and `len` alone, since there is no new value.
    let outcome = unsafe {
        nix::libc::sysctlbyname(
            name.as_ptr(),
            buffer.as_mut_ptr().cast(),
            &mut len,
            ptr::null_mut(),
            0,
        )
    };
    Errno::result(outcome)?;
    Ok(len.min(buffer.len()))
}
