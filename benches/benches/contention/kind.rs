//! The kinds of lock that are compared.

use std::process::Command;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    Rvlf,
    RvlfSynced,
    /// The calls that a record at a path cannot do without, made bare: publish by link, wait by
    /// inotify, release by unlink. No judgement, no check, and no death is noticed.
    Bare,
    Flock,
    Filelock,
    ProperLockfile,
}

impl LockKind {
    pub const ALL: [LockKind; 6] = [
        LockKind::Rvlf,
        LockKind::RvlfSynced,
        LockKind::Bare,
        LockKind::Flock,
        LockKind::Filelock,
        LockKind::ProperLockfile,
    ];

    pub fn name(self) -> &'static str {
        match self {
            LockKind::Rvlf => "rvlf",
            LockKind::RvlfSynced => "rvlf, synced",
            LockKind::Bare => "bare calls",
            LockKind::Flock => "flock(2)",
            LockKind::Filelock => "filelock",
            LockKind::ProperLockfile => "proper-lockfile",
        }
    }

    /// Whether a waiter tries again and again instead of being woken.
    pub fn polls(self) -> bool {
        matches!(self, LockKind::Filelock | LockKind::ProperLockfile)
    }

    /// A program that succeeds if this kind can take part; `None` if it always can.
    fn probe(self) -> Option<Command> {
        let (program, arguments) = match self {
            LockKind::Filelock => (python(), ["-c", "import filelock"]),
            LockKind::ProperLockfile => ("node".into(), ["-e", "require('proper-lockfile')"]),
            _ => return None,
        };
        let mut probe = Command::new(program);
        probe.args(arguments);
        Some(probe)
    }

    fn is_installed(self) -> bool {
        let Some(mut probe) = self.probe() else {
            return true;
        };
        let installed = probe.output().is_ok_and(|output| output.status.success());
        if !installed {
            println!("skipped: {}: not installed", self.name());
        }
        installed
    }
}

/// All kinds that can take part here; prints which cannot.
pub fn installed() -> Vec<LockKind> {
    let all = LockKind::ALL.into_iter();
    all.filter(|kind| kind.is_installed()).collect()
}

pub fn python() -> String {
    std::env::var("RVLF_BENCH_PYTHON").unwrap_or_else(|_| "python3".into())
}
