//! Calls with 64-bit numbers, also where the C library has two of each (32-bit glibc): there nix uses
//! the older one. It fails with EOVERFLOW for an inode number above 2^32 (xfs, tmpfs, overlay) and for
//! a file system of more than 2^32 blocks, and locks no byte above 2^31.

#[cfg(not(all(target_os = "linux", target_env = "gnu", target_pointer_width = "32")))]
mod of_nix {
    pub(in crate::sys) use nix::sys::stat::{FileStat, fstat, fstatat};

    /// The number of the type of a file system.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(in crate::sys) fn fstatfs_type(
        file: &std::fs::File,
    ) -> nix::Result<nix::sys::statfs::FsType> {
        Ok(nix::sys::statfs::fstatfs(file)?.filesystem_type())
    }

    #[cfg(all(target_os = "linux", feature = "table", not(rvlf_portable)))]
    pub(in crate::sys) mod ofd {
        use std::fs::File;

        use nix::fcntl::{FcntlArg, fcntl};
        pub(in crate::sys) use nix::libc::{flock, off_t};

        pub(in crate::sys) fn set_lock(file: &File, lock: &flock) -> nix::Result<()> {
            fcntl(file, FcntlArg::F_OFD_SETLK(lock)).map(drop)
        }

        pub(in crate::sys) fn get_lock(file: &File, lock: &mut flock) -> nix::Result<()> {
            fcntl(file, FcntlArg::F_OFD_GETLK(lock)).map(drop)
        }
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu", target_pointer_width = "32")))]
pub(super) use of_nix::*;

#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "32"))]
mod of_libc {
    #![allow(unsafe_code, reason = "the calls that nix does not have")]

    use std::fs::File;
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, AsRawFd};

    use nix::errno::Errno;
    use nix::fcntl::AtFlags;
    use nix::sys::statfs::FsType;
    use nix::{NixPath, libc};

    pub(in crate::sys) type FileStat = libc::stat64;

    pub(in crate::sys) fn fstat(file: impl AsFd) -> nix::Result<FileStat> {
        let number = file.as_fd().as_raw_fd();
        // SAFETY: the call fills the struct, or fails.
        filled(|stat| unsafe { libc::fstat64(number, stat) })
    }

    pub(in crate::sys) fn fstatat<P: ?Sized + NixPath>(
        dir: impl AsFd,
        path: &P,
        flags: AtFlags,
    ) -> nix::Result<FileStat> {
        let dir = dir.as_fd().as_raw_fd();
        path.with_nix_path(|path| {
            // SAFETY: as above; the path ends with a NUL and outlives the call.
            filled(|stat| unsafe { libc::fstatat64(dir, path.as_ptr(), stat, flags.bits()) })
        })?
    }

    /// The number of the type of a file system.
    pub(in crate::sys) fn fstatfs_type(file: &File) -> nix::Result<FsType> {
        let number = file.as_raw_fd();
        // SAFETY: the call fills the struct, or fails.
        let found: libc::statfs64 = filled(|found| unsafe { libc::fstatfs64(number, found) })?;
        Ok(FsType(found.f_type))
    }

    /// What `call` writes to the struct that it gets.
    fn filled<T: Integers>(call: impl FnOnce(*mut T) -> libc::c_int) -> nix::Result<T> {
        let mut value = MaybeUninit::<T>::zeroed();
        Errno::result(call(value.as_mut_ptr()))?;
        // SAFETY: zeros are a valid value of a struct of integers.
        Ok(unsafe { value.assume_init() })
    }

    /// Structs of integers only.
    trait Integers {}
    impl Integers for libc::stat64 {}
    impl Integers for libc::statfs64 {}

    #[cfg(feature = "table")]
    pub(in crate::sys) mod ofd {
        use super::*;

        pub(in crate::sys) use nix::libc::{flock64 as flock, off64_t as off_t};

        pub(in crate::sys) fn set_lock(file: &File, lock: &flock) -> nix::Result<()> {
            let (number, command) = (file.as_raw_fd(), libc::F_OFD_SETLK);
            let lock: *const flock = lock;
            // SAFETY: the call reads the struct, which outlives it.
            let outcome = unsafe { libc::syscall(libc::SYS_fcntl64, number, command, lock) };
            Errno::result(outcome).map(drop)
        }

        pub(in crate::sys) fn get_lock(file: &File, lock: &mut flock) -> nix::Result<()> {
            let (number, command) = (file.as_raw_fd(), libc::F_OFD_GETLK);
            let lock: *mut flock = lock;
            // SAFETY: the call reads and fills the struct, which outlives it.
            let outcome = unsafe { libc::syscall(libc::SYS_fcntl64, number, command, lock) };
            Errno::result(outcome).map(drop)
        }
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "32"))]
pub(super) use of_libc::*;
