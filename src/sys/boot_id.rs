//! The boot id of a Linux kernel, which Android has, too.

#[cfg(feature = "table")]
use std::ffi::OsStr;
#[cfg(feature = "table")]
use std::fs::File;
use std::io;
#[cfg(feature = "table")]
use std::io::Read;
#[cfg(feature = "table")]
use std::path::Path;
use std::sync::OnceLock;

#[cfg(feature = "table")]
use nix::sys::statfs::PROC_SUPER_MAGIC;

#[cfg(feature = "table")]
use super::platform::is_mount_point;
#[cfg(feature = "table")]
use super::wide::fstatfs_type;
use crate::record::WriterId;

const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";

#[cfg(feature = "table")]
const BOOT_ID_DIR: &str = "/proc/sys/kernel/random";

/// The boot id; `None` where there is no procfs. A value that was read once is remembered, since it
/// cannot change while this process lives. A failure is not: it may pass.
pub(super) fn boot_id() -> io::Result<Option<[u8; 16]>> {
    static BOOT_ID: OnceLock<[u8; 16]> = OnceLock::new();
    if let Some(known) = BOOT_ID.get() {
        return Ok(Some(*known));
    }
    let text = in_procfs(std::fs::read(BOOT_ID_FILE))?;
    // `set`, not `get_or_init`: a child that is forked while another thread runs an initialiser
    // would wait for that thread indefinitely.
    Ok(text.as_deref().and_then(parse_uuid).inspect(|id| {
        let _ = BOOT_ID.set(*id);
    }))
}

fn parse_uuid(text: &[u8]) -> Option<[u8; 16]> {
    let text = std::str::from_utf8(text.trim_ascii_end()).ok()?;
    Some(*text.parse::<WriterId>().ok()?.as_bytes())
}

/// The boot id, unless another file is mounted over that of the kernel: container runtimes (LXC,
/// Incus, systemd-nspawn) do so, and each container then shows an id of its own.
///
/// Read at each call: what this process remembers may be from before it entered a container, or was
/// restored from a checkpoint.
#[cfg(feature = "table")]
pub(super) fn kernel_boot_id() -> io::Result<Option<[u8; 16]>> {
    kernel_boot_id_in(Path::new(BOOT_ID_DIR), OsStr::new("boot_id"))
}

#[cfg(feature = "table")]
fn kernel_boot_id_in(dir: &Path, name: &OsStr) -> io::Result<Option<[u8; 16]>> {
    let opened = in_procfs(File::open(dir))?.zip(in_procfs(File::open(dir.join(name)))?);
    let Some((dir, mut file)) = opened else {
        return Ok(None);
    };
    if fstatfs_type(&file)? != PROC_SUPER_MAGIC || is_mount_point(&dir, name)? {
        return Ok(None);
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(parse_uuid(&text))
}

/// `None` if procfs is not mounted, or not readable for this user. Any other error (too many open
/// files) may pass: taken for "no procfs" it would cost every later lock of this process its stamp.
pub(super) fn in_procfs<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Ok(None),
            _ => Err(error),
        },
    }
}

#[cfg(all(test, feature = "table"))]
mod tests {
    use super::*;

    // One failed open (ENFILE) was "no boot id": off local file systems a live process of another host of the same
    // name was taken for one of this kernel, and dead.
    #[test]
    #[cfg_attr(miri, ignore = "makes system calls")]
    fn a_boot_id_that_cannot_be_read_now_is_an_error() {
        let dir = tempfile::tempdir().expect("there is room");
        let name = OsStr::new("boot_id");
        let path = dir.path().join(name);
        let found = || kernel_boot_id_in(dir.path(), name).map_err(|error| error.kind());
        assert_eq!(found(), Ok(None), "procfs without /proc/sys");
        std::fs::write(&path, "").expect("there is room");
        assert_eq!(found(), Ok(None), "another file");
        std::fs::remove_file(&path).expect("it was just made");
        // Any error other than "missing" and "denied".
        std::os::unix::fs::symlink("boot_id", &path).expect("the name is free");
        found().expect_err("the open fails");
    }
}
