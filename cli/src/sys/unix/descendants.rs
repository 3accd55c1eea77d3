//! The processes that a command has started, and their children.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// Makes this process the parent of every orphan among its descendants, so that all of them can be
/// found. Linux only. prctl(2), `PR_SET_CHILD_SUBREAPER`
pub fn adopt_orphans() {
    // Fails on kernels before 3.4: then the children of the command are found as long as it lives.
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_child_subreaper(true);
}

/// A moment, by the clock that dates the start of processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticks(u64);

impl Ticks {
    /// The start of the system.
    pub const BOOT: Ticks = Ticks(0);

    /// # Errors
    ///
    /// The system does not tell the length of a tick.
    pub fn now() -> io::Result<Ticks> {
        let per_second = sysconf(SysconfVar::CLK_TCK)?.and_then(|ticks| u64::try_from(ticks).ok());
        let per_second = per_second.ok_or(io::ErrorKind::Unsupported)?;
        let since_boot = Duration::from(clock_gettime(BOOT_CLOCK)?);
        let fraction = u64::from(since_boot.subsec_nanos()) * per_second / 1_000_000_000;
        Ok(Ticks(since_boot.as_secs() * per_second + fraction))
    }
}

#[cfg(target_os = "linux")]
const BOOT_CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
#[cfg(not(target_os = "linux"))]
const BOOT_CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;

/// The living descendants of `root` that were started at `since` or later: a shell that executes rvlf may
/// have had children of its own. Empty without procfs.
pub fn descendants(root: Pid, since: Ticks) -> BTreeSet<Pid> {
    let children = children_by_parent(since);
    let mut found = BTreeSet::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            if found.insert(*child) {
                parents.push(*child);
            }
        }
    }
    found
}

fn children_by_parent(since: Ticks) -> BTreeMap<Pid, Vec<Pid>> {
    let mut children = BTreeMap::<Pid, Vec<Pid>>::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let stat = fs::read_to_string(entry.path().join("stat")).ok();
        let living = stat.as_deref().and_then(Living::from_stat);
        if let (Some(pid), Some(living)) = (pid, living.filter(|living| living.started >= since)) {
            let siblings = children.entry(living.parent).or_default();
            siblings.push(Pid::from_raw(pid));
        }
    }
    children
}

/// A process that has not ended.
#[derive(Debug, PartialEq, Eq)]
struct Living {
    parent: Pid,
    started: Ticks,
}

impl Living {
    /// From the line of proc_pid_stat(5). `None` for a zombie, which has no descendants.
    fn from_stat(stat: &str) -> Option<Living> {
        // The name before it may contain blanks and parentheses. The state is field 3.
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<_> = fields.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3);
        let is_zombie = matches!(*field(3)?, "Z" | "X");
        let living = Living {
            parent: Pid::from_raw(field(4)?.parse().ok()?),
            started: Ticks(field(22)?.parse().ok()?),
        };
        (!is_zombie).then_some(living)
    }
}

#[cfg(test)]
mod tests {
    use nix::unistd::getpid;

    use super::*;

    const REST: &str = "7 12 12 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 3456 0 0";

    // A process may choose its name: "x) R 1 (" must not make another process its parent.
    #[test]
    fn the_parent_of_a_process_with_any_name_is_found() {
        let read = |line: &str| Living::from_stat(&format!("{line} {REST}"));
        let living = Living {
            parent: Pid::from_raw(7),
            started: Ticks(3456),
        };
        assert_eq!(read("12 (sh) S").as_ref(), Some(&living));
        assert_eq!(read("12 (x) R 1 () S"), Some(living));
        assert_eq!(read("12 (sh) Z"), None);
        assert_eq!(Living::from_stat("12 (sh) S 7"), None);
    }

    // A process that has just been started must not count as older than this moment.
    #[test]
    fn a_child_that_was_started_after_a_moment_is_found() {
        let since = Ticks::now().expect("the clock can be read");
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("it starts");
        let pid = Pid::from_raw(child.id() as i32);
        let found = descendants(getpid(), since);
        child.kill().expect("it runs");
        child.wait().expect("it is a child");
        assert!(found.contains(&pid), "{pid} is not among {found:?}");
        assert!(!descendants(getpid(), since).contains(&pid), "it has ended");
    }
}
