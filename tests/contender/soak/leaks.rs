//! What a process that lives for the whole soak uses, from its begin to its end.

use std::fs;

/// What a process may need from some later moment on, such as the thread that refreshes its locks.
const SLACK: u64 = 2;

/// Memory that an allocator may keep for itself.
const MEMORY_SLACK_KIB: u64 = 1024;

#[derive(Clone, Copy)]
struct Usage {
    descriptors: u64,
    threads: u64,
    memory_kib: u64,
}

type Figure = fn(&Usage) -> u64;

/// A process, and what it used at several moments.
pub(super) struct Watched {
    pid: u32,
    samples: Vec<Usage>,
}

impl Watched {
    pub(super) fn new(pid: u32) -> Watched {
        Watched {
            pid,
            samples: Vec::new(),
        }
    }

    /// A process that has ended is not sampled: its parent has not waited for it yet, and reports its end.
    pub(super) fn sample(&mut self) {
        self.samples.extend(usage(self.pid));
    }

    /// The least that was used in the second and in the last quarter of the time, and whether it grew. What a
    /// hold needs for a moment is not among the least; the first quarter is for what is used from the first
    /// hold on.
    pub(super) fn growth(&self) -> (String, bool) {
        let quarter = self.samples.len() / 4;
        let early = self.samples.get(quarter..2 * quarter).unwrap_or_default();
        let late = self.samples.get(3 * quarter..).unwrap_or_default();
        let mut grew = false;
        let mut figures = Vec::new();
        let kinds: [(&str, Figure, u64); 3] = [
            ("descriptors", |usage| usage.descriptors, SLACK),
            ("threads", |usage| usage.threads, SLACK),
            ("KiB of memory", |usage| usage.memory_kib, MEMORY_SLACK_KIB),
        ];
        for (kind, of, slack) in kinds {
            let least = |samples: &[Usage]| samples.iter().map(of).min().unwrap_or(0);
            let (early, late) = (least(early), least(late));
            grew |= late > early + slack;
            figures.push(format!("{early} -> {late} {kind}"));
        }
        (figures.join(", "), grew)
    }
}

/// `None` for a process that has ended.
fn usage(pid: u32) -> Option<Usage> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some(Usage {
        threads: field("Threads:")?,
        memory_kib: field("VmRSS:")?,
        descriptors: fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64,
    })
}
