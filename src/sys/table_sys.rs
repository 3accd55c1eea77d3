//! [`TableSys`]: what the allocation table needs of the operating system beyond [`Sys`]: whole
//! files, their owners and modes, and namespaces.

use std::io;
use std::path::{Path, PathBuf};

use super::{Identity, Stat, Sys};

/// Twelve more calls.
pub(crate) trait TableSys: Sys {
    /// Makes `path` and its missing parents, with permission bits `mode` less the umask. Leaves
    /// existing directories alone.
    fn create_dirs(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// The nearest of `path` and the directories above it that is there, unless it is a directory or leads to one.
    fn in_place_of_dir(&self, _path: &Path) -> Option<PathBuf> {
        None
    }
    /// Whether this process is `process`, and no forked child of it. Opens no file: a child that may open none
    /// must not take itself for its parent, nor the parent for its child.
    fn is_this_process(&self, process: Identity) -> bool;
    /// [`Sys::stat`], asked of the server of a network mount where the system can do that, whatever the mount
    /// remembers. May take a round trip. statx(2), AT_STATX_FORCE_SYNC
    fn stat_uncached(&self, file: &Self::File) -> io::Result<Stat> {
        self.stat(file)
    }
    /// The bytes of a file, of which no more than the first `limit`.
    fn read_all(&self, file: &Self::File, limit: usize) -> io::Result<Vec<u8>>;
    /// From the beginning. After an error some of it may be written.
    fn write_all(&self, file: &Self::File, bytes: &[u8]) -> io::Result<()>;
    /// Gives `to` the permission bits, the group and, if permitted, the user of `from`.
    fn copy_access(&self, from: &Self::File, to: &Self::File) -> io::Result<()>;
    /// Takes a shared lock of one byte of the directory, which lasts until every copy of the
    /// descriptor is closed, that of a forked child included.
    fn lock_byte(&self, dir: &Self::Dir, offset: u64) -> io::Result<()>;
    /// Whether the byte is locked through another open of the directory.
    fn is_byte_locked(&self, dir: &Self::Dir, offset: u64) -> io::Result<bool>;
    /// Names this boot of this kernel, also where a container shows a boot id of its own:
    /// [`boot_id`](Sys::boot_id) reports that one, and this reports nothing.
    ///
    /// # Errors
    ///
    /// It could not be read, and the next attempt may succeed.
    fn kernel_boot_id(&self) -> io::Result<Option<[u8; 16]>>;
    /// The pid namespace of this process.
    ///
    /// # Errors
    ///
    /// As [`kernel_boot_id`](Self::kernel_boot_id).
    fn pid_namespace(&self) -> io::Result<PidNamespace>;
    /// Names the time namespace of this process: what starts are counted from. `None` where it is not shown.
    ///
    /// # Errors
    ///
    /// As [`kernel_boot_id`](Self::kernel_boot_id).
    fn time_namespace(&self) -> io::Result<Option<u64>>;
}

/// What a process knows of its pid namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PidNamespace {
    /// Its number, which no other one has that exists in this kernel.
    Number(u64),
    /// This kernel has no pid namespaces: a pid means one process.
    NoneExist,
    /// The system does not show it to this process, as in a sandbox without /proc.
    Hidden,
}

#[cfg(all(unix, not(rvlf_unsupported)))]
mod host {
    use std::fs::{DirBuilder, File};
    use std::io;
    use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, fchown};
    use std::path::{Path, PathBuf};

    use super::super::calls::retry;
    use super::super::descriptor::Descriptor;
    use super::super::{Host, Identity, Stat, platform};
    use super::{PidNamespace, TableSys};

    impl TableSys for Host {
        fn create_dirs(&self, path: &Path, mode: u32) -> io::Result<()> {
            DirBuilder::new().recursive(true).mode(mode).create(path)
        }

        fn in_place_of_dir(&self, path: &Path) -> Option<PathBuf> {
            let mut above = path.ancestors();
            let there = above.find(|path| path.symlink_metadata().is_ok())?;
            (!there.is_dir()).then(|| there.to_owned())
        }

        fn is_this_process(&self, process: Identity) -> bool {
            platform::is_this_process(process)
        }

        fn stat_uncached(&self, file: &Descriptor<File>) -> io::Result<Stat> {
            platform::stat_uncached(file.get()?)
        }

        fn read_all(&self, file: &Descriptor<File>, limit: usize) -> io::Result<Vec<u8>> {
            // At given offsets: a forked child shares the position, and may read at the same time.
            const PIECE: usize = 64 * 1024;
            let file = file.get()?;
            let mut bytes = Vec::new();
            loop {
                // Not by the size of the file, which may be anything.
                let len = bytes.len();
                bytes.resize(limit.min(len + PIECE), 0);
                let (_, rest) = bytes.split_at_mut(len);
                match file.read_at(rest, len as u64) {
                    Ok(n) => {
                        bytes.truncate(len + n);
                        if n == 0 {
                            return Ok(bytes);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => bytes.truncate(len),
                    Err(error) => return Err(error),
                }
            }
        }

        fn write_all(&self, file: &Descriptor<File>, bytes: &[u8]) -> io::Result<()> {
            file.get()?.write_all_at(bytes, 0)
        }

        fn copy_access(&self, from: &Descriptor<File>, to: &Descriptor<File>) -> io::Result<()> {
            let (from, to) = (from.get()?, to.get()?);
            let (wanted, found) = (from.metadata()?, to.metadata()?);
            let (uid, gid) = (wanted.uid(), wanted.gid());
            if (uid, gid) != (found.uid(), found.gid()) {
                // Only root gives files away; within a group the group is what others need.
                let changed = fchown(to, Some(uid), Some(gid));
                changed
                    .or_else(|_| fchown(to, None, Some(gid)))
                    .map_err(|error| of_group(gid, &error))?;
            }
            // After the change of owner, which takes bits away. chown(2)
            to.set_permissions(wanted.permissions())
        }

        fn lock_byte(&self, dir: &Descriptor<File>, offset: u64) -> io::Result<()> {
            platform::lock_byte(dir.get()?, offset)
        }

        fn is_byte_locked(&self, dir: &Descriptor<File>, offset: u64) -> io::Result<bool> {
            platform::is_byte_locked(dir.get()?, offset)
        }

        fn kernel_boot_id(&self) -> io::Result<Option<[u8; 16]>> {
            platform::kernel_boot_id()
        }

        fn pid_namespace(&self) -> io::Result<PidNamespace> {
            if HAS_NAMESPACES {
                pid_namespace_in(Path::new(NAMESPACES))
            } else {
                Ok(PidNamespace::NoneExist)
            }
        }

        fn time_namespace(&self) -> io::Result<Option<u64>> {
            if HAS_NAMESPACES {
                let shown = namespace(&Path::new(NAMESPACES).join("time"))?;
                Ok(match shown {
                    Shown::Number(number) => Some(number),
                    Shown::Missing | Shown::Denied => None,
                })
            } else {
                Ok(None)
            }
        }
    }

    /// The error of chown(2) with the group, which is what a person has to know.
    fn of_group(gid: u32, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{error}, for its group {gid}"))
    }

    const HAS_NAMESPACES: bool = cfg!(any(target_os = "linux", target_os = "android"));

    const NAMESPACES: &str = "/proc/self/ns";

    /// What procfs shows of a namespace.
    enum Shown {
        Number(u64),
        Missing,
        Denied,
    }

    /// Linux shows `mnt` always, and since it shows `pid` (3.8). So `mnt` alone means a kernel without pid
    /// namespaces (CONFIG_PID_NS).
    fn pid_namespace_in(dir: &Path) -> io::Result<PidNamespace> {
        let pid = namespace(&dir.join("pid"))?;
        Ok(match (pid, namespace(&dir.join("mnt"))?) {
            (Shown::Number(number), _) => PidNamespace::Number(number),
            (Shown::Missing, Shown::Number(_)) => PidNamespace::NoneExist,
            _ => PidNamespace::Hidden,
        })
    }

    /// An error other than "missing" and "denied" may pass. An entry that was written in spite of it would lack the
    /// number for as long as its process lives.
    fn namespace(path: &Path) -> io::Result<Shown> {
        match retry(|| std::fs::metadata(path)) {
            Ok(found) => Ok(Shown::Number(found.ino())),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(Shown::Missing),
                io::ErrorKind::PermissionDenied => Ok(Shown::Denied),
                _ => Err(error),
            },
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        // A sandbox without /proc was taken for a system without pid namespaces: its pid 7 was compared with that
        // of the host, and a live holder was dead.
        #[test]
        #[cfg_attr(miri, ignore = "makes system calls")]
        fn a_hidden_pid_namespace_is_not_taken_for_none() {
            let dir = tempfile::tempdir().expect("there is room");
            let found = || pid_namespace_in(dir.path()).map_err(|error| error.kind());
            assert_eq!(found(), Ok(PidNamespace::Hidden), "no /proc");
            let make = |name| std::fs::write(dir.path().join(name), "").expect("there is room");
            make("mnt");
            assert_eq!(found(), Ok(PidNamespace::NoneExist), "no CONFIG_PID_NS");
            make("pid");
            assert!(matches!(found(), Ok(PidNamespace::Number(_))));
        }

        // One failed call made an entry that no other process could place until its process ended.
        #[test]
        #[cfg_attr(miri, ignore = "makes system calls")]
        fn a_pid_namespace_that_cannot_be_read_now_is_an_error() {
            let dir = tempfile::tempdir().expect("there is room");
            std::os::unix::fs::symlink("pid", dir.path().join("pid")).expect("there is room");
            pid_namespace_in(dir.path()).expect_err("the link leads to itself");
        }
    }
}

#[cfg(any(not(any(unix, windows)), rvlf_unsupported))]
mod host {
    use std::io;
    use std::path::Path;

    use super::super::unsupported::Never;
    use super::super::{Host, Identity};
    use super::{PidNamespace, TableSys};

    impl TableSys for Host {
        fn create_dirs(&self, _path: &Path, _mode: u32) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn is_this_process(&self, process: Identity) -> bool {
            std::process::id() == process.pid.get()
        }

        fn read_all(&self, file: &Never, _limit: usize) -> io::Result<Vec<u8>> {
            match *file {}
        }

        fn write_all(&self, file: &Never, _bytes: &[u8]) -> io::Result<()> {
            match *file {}
        }

        fn copy_access(&self, from: &Never, _to: &Never) -> io::Result<()> {
            match *from {}
        }

        fn lock_byte(&self, dir: &Never, _offset: u64) -> io::Result<()> {
            match *dir {}
        }

        fn is_byte_locked(&self, dir: &Never, _offset: u64) -> io::Result<bool> {
            match *dir {}
        }

        fn kernel_boot_id(&self) -> io::Result<Option<[u8; 16]>> {
            Ok(None)
        }

        fn pid_namespace(&self) -> io::Result<PidNamespace> {
            Ok(PidNamespace::NoneExist)
        }

        fn time_namespace(&self) -> io::Result<Option<u64>> {
            Ok(None)
        }
    }
}

/// No name is changed here but by the handle of its file, and no byte of a directory can be locked: a
/// table cannot be opened.
#[cfg(all(windows, not(rvlf_unsupported)))]
mod host {
    use std::io;
    use std::path::Path;

    use super::super::windows::{Dir, OpenFile};
    use super::super::{Host, Identity};
    use super::{PidNamespace, TableSys};

    impl TableSys for Host {
        fn create_dirs(&self, _path: &Path, _mode: u32) -> io::Result<()> {
            Err(unsupported())
        }

        fn is_this_process(&self, process: Identity) -> bool {
            std::process::id() == process.pid.get()
        }

        fn read_all(&self, _file: &OpenFile, _limit: usize) -> io::Result<Vec<u8>> {
            Err(unsupported())
        }

        fn write_all(&self, _file: &OpenFile, _bytes: &[u8]) -> io::Result<()> {
            Err(unsupported())
        }

        fn copy_access(&self, _from: &OpenFile, _to: &OpenFile) -> io::Result<()> {
            Err(unsupported())
        }

        fn lock_byte(&self, _dir: &Dir, _offset: u64) -> io::Result<()> {
            Err(unsupported())
        }

        fn is_byte_locked(&self, _dir: &Dir, _offset: u64) -> io::Result<bool> {
            Err(unsupported())
        }

        fn kernel_boot_id(&self) -> io::Result<Option<[u8; 16]>> {
            Ok(None)
        }

        fn pid_namespace(&self) -> io::Result<PidNamespace> {
            Ok(PidNamespace::NoneExist)
        }

        fn time_namespace(&self) -> io::Result<Option<u64>> {
            Ok(None)
        }
    }

    fn unsupported() -> io::Error {
        let text = "the allocation table does not work on Windows";
        io::Error::new(io::ErrorKind::Unsupported, text)
    }
}
