//! kqueue(2) as the crate libc has it, with numbers of one type on all systems; in the unit tests on
//! Linux, as the library libkqueue has it (`--cfg rvlf_kqueue`).

#[cfg(target_os = "linux")]
pub(super) use self::libkqueue::*;
#[cfg(not(target_os = "linux"))]
pub(super) use self::native::*;

#[cfg(not(target_os = "linux"))]
#[allow(
    clippy::unnecessary_cast,
    reason = "the constants' types differ between systems"
)]
mod native {
    use nix::libc;
    pub(in super::super) use nix::libc::{kevent, kqueue};

    pub(in super::super) const EVFILT_PROC: i32 = libc::EVFILT_PROC as i32;
    pub(in super::super) const EVFILT_READ: i32 = libc::EVFILT_READ as i32;
    pub(in super::super) const EVFILT_VNODE: i32 = libc::EVFILT_VNODE as i32;
    pub(in super::super) const EV_ADD: u32 = libc::EV_ADD as u32;
    pub(in super::super) const EV_CLEAR: u32 = libc::EV_CLEAR as u32;
    pub(in super::super) const EV_ONESHOT: u32 = libc::EV_ONESHOT as u32;
    pub(in super::super) const NOTE_DELETE: u32 = libc::NOTE_DELETE as u32;
    pub(in super::super) const NOTE_EXIT: u32 = libc::NOTE_EXIT as u32;
    pub(in super::super) const NOTE_LINK: u32 = libc::NOTE_LINK as u32;
    pub(in super::super) const NOTE_RENAME: u32 = libc::NOTE_RENAME as u32;

    /// NOTE_FUNLOCK, which older versions of the crate libc do not have: flock(2) was called to unlock the
    /// file, or the last copy of a descriptor was closed with which it was ever locked.
    #[cfg(target_vendor = "apple")]
    pub(in super::super) const NOTE_UNLOCKED: u32 = 0x100;
    /// Not reported.
    #[cfg(not(target_vendor = "apple"))]
    pub(in super::super) const NOTE_UNLOCKED: u32 = 0;

    /// A descriptor that was open for writing was closed.
    #[cfg(target_os = "freebsd")]
    pub(in super::super) const NOTE_CLOSED: u32 = libc::NOTE_CLOSE_WRITE;
    /// Not reported.
    #[cfg(not(target_os = "freebsd"))]
    pub(in super::super) const NOTE_CLOSED: u32 = 0;
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "a library in C")]
mod libkqueue {
    use nix::libc::{c_int, c_uint, c_void, timespec};

    /// As <sys/event.h> of libkqueue has it.
    #[repr(C)]
    #[derive(Clone, Copy)]
    #[allow(non_camel_case_types, reason = "the name that it has in C")]
    pub(in super::super) struct kevent {
        pub(in super::super) ident: usize,
        pub(in super::super) filter: i16,
        pub(in super::super) flags: u16,
        pub(in super::super) fflags: c_uint,
        pub(in super::super) data: isize,
        pub(in super::super) udata: *mut c_void,
    }

    pub(in super::super) const EVFILT_READ: i32 = -1;
    pub(in super::super) const EVFILT_VNODE: i32 = -4;
    pub(in super::super) const EVFILT_PROC: i32 = -5;
    pub(in super::super) const EV_ADD: u32 = 0x1;
    pub(in super::super) const EV_ONESHOT: u32 = 0x10;
    pub(in super::super) const EV_CLEAR: u32 = 0x20;
    pub(in super::super) const NOTE_DELETE: u32 = 0x1;
    pub(in super::super) const NOTE_LINK: u32 = 0x10;
    pub(in super::super) const NOTE_RENAME: u32 = 0x20;
    /// As on macOS: this library does not know it.
    pub(in super::super) const NOTE_UNLOCKED: u32 = 0x100;
    pub(in super::super) const NOTE_CLOSED: u32 = 0;
    pub(in super::super) const NOTE_EXIT: u32 = 0x8000_0000;

    #[link(name = "kqueue")]
    unsafe extern "C" {
        pub(in super::super) fn kqueue() -> c_int;
        pub(in super::super) fn kevent(
            queue: c_int,
            changes: *const kevent,
            change_count: c_int,
            events: *mut kevent,
            event_count: c_int,
            timeout: *const timespec,
        ) -> c_int;
    }
}
