//! Which file systems one kernel alone writes to, by the names of their types. Compiled by the tests on
//! Linux, too.

use crate::judge::FileSystem;

/// The plain file systems of `system`, which [`std::env::consts::OS`] names. Whatever is not listed is
/// not local: FUSE and the network, and what shows the files of another file system (unionfs).
fn plain_types(system: &str) -> &'static [&'static [u8]] {
    match system {
        "macos" | "ios" | "tvos" | "visionos" | "watchos" => &[b"apfs", b"hfs"],
        "freebsd" => &[b"ufs", b"zfs", b"tmpfs"],
        "netbsd" => &[b"ffs", b"zfs", b"tmpfs"],
        "openbsd" => &[b"ffs", b"mfs"],
        "dragonfly" => &[b"hammer2", b"hammer", b"ufs", b"tmpfs"],
        _ => &[],
    }
}

/// Whether a mount is local, by its type and by MNT_LOCAL, with which the file system says so itself.
pub(super) fn file_system(system: &str, type_name: &[u8], has_local_flag: bool) -> FileSystem {
    if has_local_flag && plain_types(system).contains(&type_name) {
        FileSystem::Local { plain: true }
    } else {
        FileSystem::NotLocal
    }
}

/// Whether a read that the kernel lock of another descriptor refuses fails with EIO. The smbfs of macOS
/// reports so every status of a server that it does not know, STATUS_FILE_LOCK_CONFLICT included.
pub(super) fn reports_locks_as_io_errors(system: &str, type_name: &[u8]) -> bool {
    system == "macos" && type_name == b"smbfs"
}

#[cfg(test)]
mod tests {
    use super::*;

    // On a file system that counts as local by mistake a dead process's lock is broken at once, and so
    // is that of a live one on another machine.
    #[test]
    fn only_listed_types_that_call_themselves_local_are_local() {
        let plain = FileSystem::Local { plain: true };
        for (system, name, expected) in [
            ("macos", "apfs", plain),
            ("macos", "hfs", plain),
            ("macos", "nfs", FileSystem::NotLocal),
            ("macos", "smbfs", FileSystem::NotLocal),
            ("macos", "macfuse", FileSystem::NotLocal),
            ("macos", "exfat", FileSystem::NotLocal),
            ("macos", "apfs2", FileSystem::NotLocal),
            ("macos", "zfs", FileSystem::NotLocal),
            ("freebsd", "zfs", plain),
            ("freebsd", "ufs", plain),
            ("freebsd", "tmpfs", plain),
            ("freebsd", "fusefs", FileSystem::NotLocal),
            ("freebsd", "unionfs", FileSystem::NotLocal),
            ("freebsd", "nfs", FileSystem::NotLocal),
            ("netbsd", "ffs", plain),
            ("netbsd", "puffs|sshfs", FileSystem::NotLocal),
            ("openbsd", "ffs", plain),
            ("openbsd", "nfs", FileSystem::NotLocal),
            ("dragonfly", "hammer2", plain),
            ("dragonfly", "null", FileSystem::NotLocal),
            ("illumos", "zfs", FileSystem::NotLocal),
            ("freebsd", "", FileSystem::NotLocal),
        ] {
            let found = file_system(system, name.as_bytes(), true);
            assert_eq!(found, expected, "{name} on {system}");
            let found = file_system(system, name.as_bytes(), false);
            assert_eq!(found, FileSystem::NotLocal, "{name} on {system}, not local");
        }
    }

    // EIO of a broken server was taken for a lock on every mount: a publisher whose read-back had failed decided by
    // its own descriptor, which shows its own record also where another creator has replaced the file.
    #[test]
    fn an_io_error_is_a_lock_on_smb_of_macos_alone() {
        assert!(reports_locks_as_io_errors("macos", b"smbfs"));
        for (system, name) in [
            ("macos", "nfs"),
            ("macos", "macfuse"),
            ("macos", "smbfs2"),
            ("freebsd", "smbfs"),
        ] {
            assert!(
                !reports_locks_as_io_errors(system, name.as_bytes()),
                "{name} on {system}"
            );
        }
    }
}
