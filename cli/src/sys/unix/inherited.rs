//! The descriptors that the parent of this process has left open.

use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::path::Path;

use nix::unistd::{SysconfVar, close, sysconf};

/// Where a system lists what this process has open. The BSDs list the standard streams alone, unless fdescfs is mounted.
/// fd(4)
const LIST: Option<&str> = if cfg!(target_os = "linux") {
    Some("/proc/self/fd")
} else if cfg!(target_vendor = "apple") {
    Some("/dev/fd")
} else {
    None
};

/// The limit of open files of a process where Linux sets none. proc_sys_fs(5), `nr_open`
const MOST: RawFd = 1 << 20;

/// Closes all but the standard streams. Only for a process that has opened nothing of its own yet.
pub fn close_inherited() {
    let listed = LIST.map(|list| listed_in(list.as_ref()));
    let descriptors = match listed {
        Some(Ok(listed)) => listed,
        Some(Err(_)) | None => possible(),
    };
    for descriptor in descriptors.into_iter().filter(|number| *number > 2) {
        // Fails if it is not open: that of the directory was closed with the list.
        let _ = close(descriptor);
    }
}

fn listed_in(directory: &Path) -> io::Result<Vec<RawFd>> {
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    Ok(fs::read_dir(directory)?
        .flatten()
        .filter_map(number)
        .collect())
}

/// Every number that a descriptor can have here. One that is open since before the limit was lowered may be higher.
fn possible() -> Vec<RawFd> {
    let limit = sysconf(SysconfVar::OPEN_MAX).ok().flatten();
    let limit = limit.and_then(|limit| RawFd::try_from(limit).ok());
    (0..limit.map_or(MOST, |limit| limit.min(MOST))).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use super::*;

    // macOS and the BSDs have no /proc: the keeper closed nothing, and kept each lock that the script had let go.
    #[test]
    fn a_descriptor_that_is_open_is_found_with_and_without_proc() {
        let file = File::open("/").expect("there is a root");
        let number = file.as_raw_fd();
        assert!(possible().contains(&number));
        for list in ["/proc/self/fd", "/dev/fd"] {
            if Path::new(list).exists() {
                let listed = listed_in(list.as_ref()).expect("it can be read");
                assert!(listed.contains(&number), "{list}: {listed:?}");
            }
        }
        assert!(listed_in("/no-such-directory".as_ref()).is_err());
    }
}
