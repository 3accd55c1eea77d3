//! The processes that a command or a script has started, and their children.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, SysconfVar, getpid, sysconf};

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

/// A process and what descends from it.
#[derive(Debug)]
pub struct Tree {
    /// Where the search begins, beside `known`.
    root: Option<Pid>,
    /// No process of the tree is older: a shell that executes rvlf may have had children of its own.
    since: Ticks,
    /// Not part of the tree.
    spared: Option<Pid>,
    /// What was found before, and when it started: its parent may be gone by now.
    known: BTreeMap<Pid, Ticks>,
}

impl Tree {
    /// What this process has started at `since` or later, without this process and `spared`. It adopts its
    /// orphans ([`adopt_orphans`]), so that none is missed.
    pub fn below_this_process(since: Ticks, spared: Option<Pid>) -> Tree {
        Tree {
            root: Some(getpid()),
            since,
            spared,
            known: BTreeMap::new(),
        }
    }

    /// The process `top` and what it has started, without this process. An orphan is missed if its parent
    /// has ended before the parent or the orphan was found.
    pub fn of(top: Pid) -> Tree {
        let started = processes().get(&top).map(|living| living.started);
        Tree {
            root: None,
            since: Ticks::BOOT,
            // A script that is PID 1 of a container has adopted this process.
            spared: Some(getpid()),
            known: started.map(|started| (top, started)).into_iter().collect(),
        }
    }

    /// Whether procfs shows the processes of this pid namespace.
    pub fn is_visible(&self) -> bool {
        has_own_proc()
    }

    /// Whether orphans are found only if the tree was searched while they had their parent.
    pub fn loses_orphans(&self) -> bool {
        self.root.is_none()
    }

    /// The living processes of the tree. None without procfs.
    pub fn find(&mut self) -> Vec<Pid> {
        let processes = processes();
        // A later process may have the pid of one that has ended.
        self.known.retain(|pid, started| {
            processes
                .get(pid)
                .is_some_and(|now| now.started == *started)
        });
        let mut children = BTreeMap::<Pid, Vec<(Pid, Ticks)>>::new();
        for (pid, living) in processes.iter().filter(|(_, p)| p.started >= self.since) {
            let siblings = children.entry(living.parent).or_default();
            siblings.push((*pid, living.started));
        }
        let mut parents: Vec<Pid> = self.known.keys().copied().chain(self.root).collect();
        while let Some(parent) = parents.pop() {
            for (child, started) in children.remove(&parent).into_iter().flatten() {
                if Some(child) != self.spared {
                    self.known.insert(child, started);
                    parents.push(child);
                }
            }
        }
        self.known.keys().copied().collect()
    }
}

/// Whether /proc shows the processes of this pid namespace. In a new one without a /proc of its own
/// (`unshare --pid --fork`) /proc/7 is another process than pid 7, and would get its signals.
fn has_own_proc() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name| status.lines().find_map(|line| line.strip_prefix(name));
    // From the namespace of /proc down to this process's own. proc_pid_status(5)
    match field("NSpid:") {
        Some(pids) => pids.split_whitespace().count() == 1,
        // Before Linux 4.1.
        None => field("Pid:").is_some_and(|pid| pid.trim() == getpid().to_string()),
    }
}

/// All living processes. Empty without a procfs of this pid namespace.
fn processes() -> BTreeMap<Pid, Living> {
    if !has_own_proc() {
        return BTreeMap::new();
    }
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let living = entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        Some((Pid::from_raw(pid), Living::from_stat(&stat)?))
    });
    living.collect()
}

/// A process that has not ended.
#[derive(Debug, PartialEq, Eq)]
struct Living {
    parent: Pid,
    started: Ticks,
}

impl Living {
    /// From the line of proc_pid_stat(5). `None` for a zombie without threads, which has no descendants.
    fn from_stat(stat: &str) -> Option<Living> {
        // The name before it may contain blanks and parentheses. The state is field 3.
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<_> = fields.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3);
        // The other threads of a process whose first thread has ended run on: field 20 counts them.
        let has_threads = field(20)?.parse::<u32>().ok()? > 1;
        let is_zombie = matches!(*field(3)?, "Z" | "X") && !has_threads;
        let living = Living {
            parent: Pid::from_raw(field(4)?.parse().ok()?),
            started: Ticks(field(22)?.parse().ok()?),
        };
        (!is_zombie).then_some(living)
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(read("12 (x) R 1 () S").as_ref(), Some(&living));
        assert_eq!(read("12 (sh) Z"), None);
        let with_threads = REST.replacen(" 1 0 3456", " 2 0 3456", 1);
        let read = Living::from_stat(&format!("12 (sh) Z {with_threads}"));
        assert_eq!(read, Some(living), "its threads run on");
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
        let mut tree = Tree::below_this_process(since, None);
        let found = tree.find();
        child.kill().expect("it runs");
        child.wait().expect("it is a child");
        assert!(found.contains(&pid), "{pid} is not among {found:?}");
        assert!(!tree.find().contains(&pid), "it has ended");
    }
}
