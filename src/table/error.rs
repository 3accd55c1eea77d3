//! [`TableError`]: why an operation on a table failed.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::advice::{InTheWay, Verb};
use super::liveness::Liveness;
use super::rule::ScopeRule;
use crate::error::{IoError, unambiguous};
use crate::escape::Escaped;
use crate::sys::FileKind;

/// The result of an operation on a table.
pub type Result<T> = std::result::Result<T, TableError>;

/// Why an operation on a table failed. The file is unchanged, unless the variant says otherwise.
///
/// `Display` names the entry or the file, and a next step.
///
/// Converts into [`io::Error`], so that `?` works in functions that return one:
///
/// - `WouldBlock`: [`WriteConflict`](TableError::WriteConflict) and
///   [`SegmentConflict`](TableError::SegmentConflict);
/// - `TimedOut`: [`Timeout`](TableError::Timeout);
/// - `AlreadyExists`: [`DuplicateName`](TableError::DuplicateName);
/// - `NotFound`: [`UnknownName`](TableError::UnknownName), [`NoProcess`](TableError::NoProcess) and
///   [`NoPath`](TableError::NoPath);
/// - `ResourceBusy`: [`OldDefault`](TableError::OldDefault);
/// - `InvalidInput`: [`InvalidPath`](TableError::InvalidPath) and [`InvalidName`](TableError::InvalidName);
/// - `InvalidData`: [`Parse`](TableError::Parse) and [`NotRegular`](TableError::NotRegular);
/// - `FileTooLarge`: [`TooLarge`](TableError::TooLarge);
/// - that of its reason: [`UnreadableOldDefault`](TableError::UnreadableOldDefault);
/// - `Other`: all others but [`Io`](TableError::Io).
///
/// [`Io`](TableError::Io) converts as [`IoError`] does, but into `Other` instead of `AlreadyExists`
/// and `NotFound`: an error of the operating system never looks like a refusal.
///
/// ```
/// use std::time::Duration;
/// use rvlf::table::{Allocation, Claim, ScopeRule, new_segment};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("table.json");
/// let timeout = Duration::from_secs(10);
/// let claim = Claim::new("indexer").allow(ScopeRule::write("/data"));
/// let held = Allocation::register(&path, &claim, &new_segment()?, timeout)?;
///
/// let claim = Claim::new("compactor").allow(ScopeRule::write("/data/a"));
/// match Allocation::register(&path, &claim, &new_segment()?, timeout) {
///     Err(error) if error.is_contention() => println!("try again later: {error}"),
///     other => drop(other?),
/// }
/// # held.release()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum TableError {
    /// An entry with this name exists.
    DuplicateName {
        /// The name.
        name: String,
        /// The process id of its holder.
        pid: u32,
        /// Whether that entry was delegated and is not adopted yet.
        is_placeholder: bool,
        /// Whether the process of that entry is alive; `None` from an operation of
        /// [`Table`](super::Table) alone, which looks at no process.
        liveness: Option<Liveness>,
        /// The table's file; `None` from an operation of [`Table`](super::Table) alone, which has no file.
        table: Option<Box<Path>>,
    },
    /// Another entry may write some of the requested paths.
    WriteConflict {
        /// The name of that entry: where scopes were delegated, the deepest.
        entry: String,
        /// The process id of its holder.
        pid: u32,
        /// Whether that entry was delegated and is not adopted yet. Its maker takes it back by
        /// [`reclaim_delegated`](super::TableGuard::reclaim_delegated), also after the release of its own entry.
        is_placeholder: bool,
        /// The rule that was requested.
        requested: Box<ScopeRule>,
        /// The rule by which the other entry holds the paths.
        held: Box<ScopeRule>,
        /// Whether the process of that entry is alive; `None` from an operation of
        /// [`Table`](super::Table) alone, which looks at no process.
        liveness: Option<Liveness>,
        /// The table's file; `None` from an operation of [`Table`](super::Table) alone, which has no file.
        table: Option<Box<Path>>,
    },
    /// The parent's own scope does not cover what it was to delegate or to get back.
    NotSubset {
        /// The name of the parent.
        parent: String,
        /// The first rule that its scope does not cover.
        rule: Box<ScopeRule>,
    },
    /// No entry has this name, or not any more.
    UnknownName {
        /// The name.
        name: String,
        /// The table's file; `None` from an operation of [`Table`](super::Table) alone, which has no file.
        table: Option<Box<Path>>,
    },
    /// Another entry writes this segment.
    SegmentConflict {
        /// The segment.
        segment: String,
        /// The name of that entry.
        entry: String,
        /// The process id of its holder.
        pid: u32,
        /// The path at which its holder can be reached; empty if there is none.
        socket: PathBuf,
        /// Whether the process of that entry is alive; `None` from an operation of
        /// [`Table`](super::Table) alone, which looks at no process.
        liveness: Option<Liveness>,
        /// The table's file; `None` from an operation of [`Table`](super::Table) alone, which has no file.
        table: Option<Box<Path>>,
    },
    /// The entry is no placeholder: it was registered, or a process has adopted it.
    NotAPlaceholder {
        /// The name of the entry.
        name: String,
        /// The process id of its holder.
        pid: u32,
    },
    /// The entry to be reclaimed is not a child: another entry delegated it; or it has no parent,
    /// and its scope is larger than a child's could be.
    NotAChild {
        /// The name of the entry that was to reclaim it.
        parent: String,
        /// The name of the entry that was to be reclaimed.
        name: String,
        /// The name of the entry that delegated it, if there is one.
        delegated_from: Option<String>,
        /// The table's file; `None` from an operation of [`Table`](super::Table) alone, which has no file.
        table: Option<Box<Path>>,
    },
    /// A table cannot hold this path.
    InvalidPath {
        /// The path.
        path: PathBuf,
        /// The reason.
        problem: PathProblem,
    },
    /// A name or a segment contains a NUL character, which no command line can pass on.
    InvalidName {
        /// The name or the segment.
        name: String,
    },
    /// This [`Allocation`](super::Allocation) does not hold its entry any more: the entry was
    /// released by hand or reclaimed by its parent, or the table was removed. Stop writing.
    Lost {
        /// The name of the entry.
        name: String,
        /// The table's file.
        path: PathBuf,
        /// The process id in the entry that has the name now, if there is one.
        held_by: Option<u32>,
    },
    /// This process is a forked child, and the guard or the allocation belongs to its parent
    /// process.
    Forked {
        /// The table's file.
        path: PathBuf,
    },
    /// No process has this pid, or only its exit status is left. From
    /// [`EntryHolder::of_process`](super::EntryHolder::of_process).
    NoProcess {
        /// The process id.
        pid: u32,
    },
    /// The file is not a table.
    Parse {
        /// The table's file.
        path: PathBuf,
        /// The line at which the parser stopped, counted from 1.
        line: usize,
        /// The number of bytes of that line that the parser had read.
        column: usize,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// The file is larger than a table may be (64 MiB), or a save would make it so.
    TooLarge {
        /// The table's file.
        path: PathBuf,
    },
    /// The path has something other than a regular file.
    NotRegular {
        /// The table's file.
        path: PathBuf,
        /// What is at the path.
        found: FileKind,
    },
    /// The table was still locked when the timeout passed.
    Timeout {
        /// The table's file.
        path: PathBuf,
        /// The timeout.
        timeout: Duration,
    },
    /// The file was removed, or replaced without its lock, while it was locked here; or its directory was.
    Replaced {
        /// The table's file.
        path: PathBuf,
    },
    /// No path was passed, and the environment names none.
    NoPath,
    /// A process of an earlier version holds an entry in the table that was the default then. From
    /// [`default_path`](super::default_path).
    OldDefault {
        /// The table that earlier versions used by default.
        old: PathBuf,
        /// The table that is the default now.
        path: PathBuf,
        /// The name of an entry whose process is not known to be dead.
        entry: String,
        /// The process id of its holder.
        pid: u32,
        /// Whether that entry was delegated and is not adopted yet.
        is_placeholder: bool,
        /// Whether the process of that entry is alive.
        liveness: Liveness,
    },
    /// The table that was the default of earlier versions cannot be read: whether a process holds an entry in it is
    /// not known. From [`default_path`](super::default_path).
    UnreadableOldDefault {
        /// The table that is the default now.
        path: PathBuf,
        /// The error, which names the old table.
        error: Box<TableError>,
    },
    /// The operating system failed.
    Io(IoError),
}

/// Why a table cannot hold a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathProblem {
    /// The path is relative: to a process with another working directory it means another path.
    Relative,
    /// The path is not UTF-8, and JSON holds only UTF-8.
    NotUtf8,
    /// The path contains a NUL character, and no file has such a name.
    Nul,
}

impl TableError {
    pub(super) fn parse(path: &Path, source: serde_json::Error) -> TableError {
        TableError::Parse {
            path: path.to_owned(),
            line: source.line(),
            column: source.column(),
            source,
        }
    }

    /// The name of the entry in the way, and what is known of its process.
    pub(super) fn in_the_way(&mut self) -> Option<(&str, &mut Option<Liveness>)> {
        match self {
            TableError::DuplicateName { name, liveness, .. } => Some((name, liveness)),
            TableError::WriteConflict {
                entry, liveness, ..
            }
            | TableError::SegmentConflict {
                entry, liveness, ..
            } => Some((entry, liveness)),
            _ => None,
        }
    }

    /// Another holder's entry, to be described.
    fn entry_in_the_way(&self) -> Option<InTheWay<'_>> {
        let (name, pid, is_placeholder, liveness, table) = match self {
            TableError::DuplicateName {
                name,
                pid,
                is_placeholder,
                liveness,
                table,
            }
            | TableError::WriteConflict {
                entry: name,
                pid,
                is_placeholder,
                liveness,
                table,
                ..
            } => (name, pid, *is_placeholder, *liveness, table.as_deref()),
            TableError::SegmentConflict {
                entry: name,
                pid,
                liveness,
                table,
                ..
            } => (name, pid, false, *liveness, table.as_deref()),
            TableError::OldDefault {
                entry: name,
                pid,
                is_placeholder,
                liveness,
                old,
                ..
            } => (name, pid, *is_placeholder, Some(*liveness), Some(&**old)),
            _ => return None,
        };
        Some(InTheWay {
            name,
            pid: *pid,
            is_placeholder,
            liveness,
            table,
        })
    }

    /// A conflict with another holder's entry. Nothing for another error.
    fn write_conflict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(entry) = self.entry_in_the_way() else {
            return Ok(());
        };
        let InTheWay { name, pid, .. } = entry;
        match self {
            TableError::WriteConflict {
                requested, held, ..
            } => {
                write!(
                    f,
                    "{requested} conflicts with entry {name:?} (pid {pid}), which holds {held}"
                )?;
                let list = Verb::new(entry.table, "list");
                entry.write_wait(f, format_args!("request less (`{list}` shows all entries)"))
            }
            TableError::SegmentConflict { segment, .. } => {
                write!(f, "entry {name:?} (pid {pid}) writes segment {segment:?}")?;
                entry.write_wait(f, "choose another segment")
            }
            TableError::OldDefault { old, path, .. } => write_old_default(f, old, path, &entry),
            _ => {
                write!(f, "entry {name:?} exists and is held by pid {pid}")?;
                entry.write_wait(f, "choose another name")
            }
        }
    }

    /// What is wrong with a file that is no table, without a next step; of another error the whole text.
    fn write_cause(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TableError::Parse {
                path,
                line,
                column,
                source,
            } => {
                let (path, cause) = (Escaped::path(path), source.to_string());
                let cause = Escaped::text(&cause);
                write!(
                    f,
                    "{path}:{line}:{column}: not an allocation table: {cause}"
                )
            }
            TableError::TooLarge { path } => {
                write_at(f, path, "larger than the 64 MiB that a table may have")
            }
            TableError::NotRegular { path, found } => {
                write!(f, "{}: {found}, not a regular file", Escaped::path(path))
            }
            error => write!(f, "{error}"),
        }
    }

    /// Adds the table's file, where a next step is a command that needs it.
    pub(super) fn in_table(mut self, path: &Path) -> TableError {
        if let TableError::DuplicateName { table, .. }
        | TableError::WriteConflict { table, .. }
        | TableError::SegmentConflict { table, .. }
        | TableError::UnknownName { table, .. }
        | TableError::NotAChild { table, .. } = &mut self
        {
            *table = Some(path.into());
        }
        self
    }

    /// Whether another holder is the reason: the same call may succeed later.
    ///
    /// ```
    /// use rvlf::table::{Claim, EntryHolder, ScopeRule, Table, new_segment};
    ///
    /// let mut table = Table::default();
    /// let holder = EntryHolder::from_pid(4121);
    /// let claim = Claim::new("indexer").allow(ScopeRule::write("/data"));
    /// table.register(&claim, &new_segment()?, &holder)?;
    /// let again = table.register(&claim, &new_segment()?, &holder);
    /// let again = again.expect_err("the name is taken");
    /// assert!(again.is_contention());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_contention(&self) -> bool {
        matches!(
            self,
            TableError::DuplicateName { .. }
                | TableError::WriteConflict { .. }
                | TableError::SegmentConflict { .. }
                | TableError::Timeout { .. }
                | TableError::OldDefault { .. }
        )
    }

    pub(super) fn io_kind(&self) -> io::ErrorKind {
        match self {
            TableError::WriteConflict { .. } | TableError::SegmentConflict { .. } => {
                io::ErrorKind::WouldBlock
            }
            TableError::Timeout { .. } => io::ErrorKind::TimedOut,
            TableError::OldDefault { .. } => io::ErrorKind::ResourceBusy,
            TableError::DuplicateName { .. } => io::ErrorKind::AlreadyExists,
            TableError::UnknownName { .. } | TableError::NoProcess { .. } | TableError::NoPath => {
                io::ErrorKind::NotFound
            }
            TableError::InvalidPath { .. } | TableError::InvalidName { .. } => {
                io::ErrorKind::InvalidInput
            }
            TableError::Parse { .. } | TableError::NotRegular { .. } => io::ErrorKind::InvalidData,
            TableError::TooLarge { .. } => io::ErrorKind::FileTooLarge,
            TableError::UnreadableOldDefault { error, .. } => error.io_kind(),
            TableError::Io(error) => match unambiguous(error.source.kind()) {
                io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound => io::ErrorKind::Other,
                kind => kind,
            },
            _ => io::ErrorKind::Other,
        }
    }
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TableError::NotSubset { parent, rule } => write_not_subset(f, parent, rule),
            TableError::UnknownName { name, table } => {
                write_unknown_name(f, name, table.as_deref())
            }
            TableError::NotAPlaceholder { name, pid } => write_not_a_placeholder(f, name, *pid),
            TableError::NotAChild {
                parent,
                name,
                delegated_from,
                table,
            } => write_not_a_child(f, parent, name, delegated_from.as_deref(), table.as_deref()),
            TableError::InvalidPath { path, problem } => {
                write!(f, "{}: {problem}", Escaped::path(path))
            }
            TableError::InvalidName { name } => write!(
                f,
                "{name:?} contains a NUL character, which no command can pass on; choose another name or segment"
            ),
            TableError::Lost {
                name,
                path,
                held_by,
            } => write_lost(f, name, path, *held_by),
            TableError::Forked { path } => write_at(f, path, FORKED),
            TableError::NoProcess { pid } => write!(
                f,
                "no process has the pid {pid}; pass that of a process which runs"
            ),
            TableError::Parse { .. } => {
                self.write_cause(f)?;
                write!(f, "; {REPAIR}")
            }
            TableError::TooLarge { .. } => {
                self.write_cause(f)?;
                write!(f, "; {SHRINK}")
            }
            TableError::NotRegular { .. } => {
                self.write_cause(f)?;
                f.write_str("; choose another path for the table")
            }
            TableError::UnreadableOldDefault { path, error } => {
                error.write_cause(f)?;
                write_unreadable_old_default(f, path)
            }
            TableError::Timeout { path, timeout } => write_timeout(f, path, *timeout),
            TableError::Replaced { path } => write_at(f, path, REPLACED),
            TableError::NoPath => f.write_str(NO_PATH),
            TableError::DuplicateName { .. }
            | TableError::WriteConflict { .. }
            | TableError::SegmentConflict { .. }
            | TableError::OldDefault { .. } => self.write_conflict(f),
            TableError::Io(error) => error.fmt(f),
        }
    }
}

const FORKED: &str = "this process is a forked child, and its parent process opened the table; \
                      open the table in the child";
const REPAIR: &str =
    "repair the file; moving it away gives up every entry: end all processes that use it first";
const SHRINK: &str = "request fewer entries and rules, or choose another path for the table";
const REPLACED: &str = "the table was removed or replaced while it was locked; open it again and \
                        repeat the operation";
const NO_PATH: &str = "no path for the allocation table; pass one, set RVLF_TABLE, or set \
                       XDG_STATE_HOME or HOME to an absolute path";

fn write_at(f: &mut fmt::Formatter<'_>, path: &Path, message: &str) -> fmt::Result {
    write!(f, "{}: {message}", Escaped::path(path))
}

fn write_not_subset(f: &mut fmt::Formatter<'_>, parent: &str, rule: &ScopeRule) -> fmt::Result {
    write!(
        f,
        "{rule} exceeds the scope of entry {parent:?}, which can delegate only what it holds; \
         request less"
    )
}

fn write_unknown_name(f: &mut fmt::Formatter<'_>, name: &str, table: Option<&Path>) -> fmt::Result {
    if let Some(table) = table {
        write!(f, "{}: ", Escaped::path(table))?;
    }
    let list = Verb::new(table, "list");
    write!(
        f,
        "no entry {name:?}: it was released, reclaimed, or never made; `{list}` shows all entries"
    )
}

fn write_not_a_placeholder(f: &mut fmt::Formatter<'_>, name: &str, pid: u32) -> fmt::Result {
    write!(
        f,
        "entry {name:?} is already held by pid {pid}; only an entry that was delegated and not \
         adopted yet can be adopted"
    )
}

fn write_not_a_child(
    f: &mut fmt::Formatter<'_>,
    parent: &str,
    name: &str,
    delegated_from: Option<&str>,
    table: Option<&Path>,
) -> fmt::Result {
    write!(f, "entry {parent:?} cannot reclaim entry {name:?}: ")?;
    match delegated_from {
        Some(from) => write!(f, "it was delegated by {from:?}, which can reclaim it"),
        None => write!(
            f,
            "it has no parent, and more than {parent:?} could have delegated; end its process, or \
             release it by hand (`{}`)",
            Verb::new(table, "release").of(name).with_force(true)
        ),
    }
}

fn write_lost(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    path: &Path,
    held_by: Option<u32>,
) -> fmt::Result {
    write!(f, "{}: allocation {name:?} lost: ", Escaped::path(path))?;
    match held_by {
        Some(pid) => write!(f, "pid {pid} holds an entry of that name now")?,
        None => f.write_str("its entry was removed")?,
    }
    f.write_str("; stop writing and register again")
}

fn write_old_default(
    f: &mut fmt::Formatter<'_>,
    old: &Path,
    path: &Path,
    entry: &InTheWay<'_>,
) -> fmt::Result {
    let (old, path) = (Escaped::path(old), Escaped::path(path));
    write!(
        f,
        "{old}: entry {:?} of pid {} is in this table, which earlier versions used by default, and \
         not in {path}",
        entry.name, entry.pid
    )?;
    entry.write_advice(
        f,
        format_args!("end that process, or set RVLF_TABLE to {old} until it has ended"),
    )
}

fn write_unreadable_old_default(f: &mut fmt::Formatter<'_>, path: &Path) -> fmt::Result {
    let path = Escaped::path(path);
    write!(
        f,
        "; earlier versions used this table by default, and a process of theirs may hold an entry in it: if none \
         runs, move it away, and {path} is used; otherwise set RVLF_TABLE to the table that is to be used"
    )
}

fn write_timeout(f: &mut fmt::Formatter<'_>, path: &Path, timeout: Duration) -> fmt::Result {
    write!(
        f,
        "{}: still locked after {} s, by another process or by another guard of this process; \
         try again",
        Escaped::path(path),
        timeout.as_secs_f64()
    )
}

impl Error for TableError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            TableError::Io(error) => error.source(),
            // The text of a parse error is in this one's.
            _ => None,
        }
    }
}

impl From<IoError> for TableError {
    fn from(error: IoError) -> TableError {
        TableError::Io(error)
    }
}

impl From<TableError> for io::Error {
    fn from(error: TableError) -> io::Error {
        io::Error::new(error.io_kind(), error)
    }
}

impl fmt::Display for PathProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathProblem::Relative => "a relative path; rules need absolute paths",
            PathProblem::NotUtf8 => "not UTF-8; a table holds UTF-8 paths only",
            PathProblem::Nul => "contains a NUL character; choose another path",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Operation;

    fn io_error(operation: Operation, kind: io::ErrorKind) -> TableError {
        IoError::new(operation, Path::new("table.json"), kind.into()).into()
    }

    fn kind(error: TableError) -> io::ErrorKind {
        io::Error::from(error).kind()
    }

    // A caller that waits and repeats on contention would repeat a broken disk's error
    // indefinitely.
    #[test]
    fn an_error_of_the_system_has_no_kind_that_means_contention() {
        for ambiguous in [
            io::ErrorKind::WouldBlock,
            io::ErrorKind::TimedOut,
            io::ErrorKind::AlreadyExists,
            io::ErrorKind::NotFound,
        ] {
            let error = io::Error::from(io_error(Operation::KernelLock("lock"), ambiguous));
            assert_eq!(error.kind(), io::ErrorKind::Other, "{error}");
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
            let Some(TableError::Io(inner)) = inner else {
                panic!("the error of the system is kept: {error}");
            };
            assert_eq!(inner.source.kind(), ambiguous);
        }
        let denied = io_error(Operation::File("open"), io::ErrorKind::PermissionDenied);
        assert_eq!(kind(denied), io::ErrorKind::PermissionDenied);
    }

    fn rule() -> Box<ScopeRule> {
        Box::new(ScopeRule::write("/data"))
    }

    /// Errors about the entry "a", or a table in `d`: the kind, whether it is contention, and the next step.
    fn refusals() -> Vec<(TableError, io::ErrorKind, bool, &'static str)> {
        use io::ErrorKind::{AlreadyExists, NotFound, Other, ResourceBusy, TimedOut, WouldBlock};
        let name = || "a".to_owned();
        let path = || PathBuf::from("d/table");
        let held = |liveness| TableError::DuplicateName {
            name: name(),
            pid: 7,
            is_placeholder: false,
            liveness,
            table: Some(path().into()),
        };
        let segment = TableError::SegmentConflict {
            segment: "s".to_owned(),
            entry: name(),
            pid: 7,
            socket: PathBuf::new(),
            liveness: None,
            table: None,
        };
        let conflict = TableError::WriteConflict {
            entry: name(),
            pid: 7,
            is_placeholder: false,
            requested: rule(),
            held: rule(),
            liveness: None,
            table: None,
        };
        let exceeded = TableError::NotSubset {
            parent: name(),
            rule: rule(),
        };
        let child = |delegated_from| TableError::NotAChild {
            parent: "b".to_owned(),
            name: name(),
            delegated_from,
            table: None,
        };
        let lost = |held_by| TableError::Lost {
            name: name(),
            path: path(),
            held_by,
        };
        let timeout = TableError::Timeout {
            path: path(),
            timeout: Duration::from_secs(10),
        };
        let old = TableError::OldDefault {
            old: path(),
            path: PathBuf::from("e/table"),
            entry: name(),
            pid: 7,
            is_placeholder: false,
            liveness: Liveness::Alive,
        };
        let adopted = TableError::NotAPlaceholder {
            name: name(),
            pid: 7,
        };
        vec![
            (
                held(None),
                AlreadyExists,
                true,
                "wait until that entry is released",
            ),
            (
                held(Some(Liveness::Elsewhere)),
                AlreadyExists,
                true,
                "`rvlf table --table d/table release a`",
            ),
            (segment, WouldBlock, true, "choose another segment"),
            (conflict, WouldBlock, true, "request less"),
            (timeout, TimedOut, true, "try again"),
            (old, ResourceBusy, true, "set RVLF_TABLE to d/table"),
            (exceeded, Other, false, "request less"),
            (
                TableError::UnknownName {
                    name: name(),
                    table: None,
                },
                NotFound,
                false,
                "`rvlf table list`",
            ),
            (adopted, Other, false, "only an entry that was delegated"),
            (
                child(Some("c".to_owned())),
                Other,
                false,
                "delegated by \"c\", which can reclaim it",
            ),
            (child(None), Other, false, "`rvlf table release --force a`"),
            (
                lost(Some(8)),
                Other,
                false,
                "pid 8 holds an entry of that name now; stop writing",
            ),
            (
                lost(None),
                Other,
                false,
                "its entry was removed; stop writing and register again",
            ),
        ]
    }

    /// Errors about a file, a path or a process.
    fn faults() -> Vec<(TableError, io::ErrorKind, &'static str, &'static str)> {
        use io::ErrorKind::{FileTooLarge, InvalidData, InvalidInput, NotFound, Other};
        let path = || PathBuf::from("d/table");
        let invalid = |problem| TableError::InvalidPath {
            path: PathBuf::from("data"),
            problem,
        };
        let parse = serde_json::from_str::<u32>("{}").map_err(|source| TableError::Parse {
            path: path(),
            line: 3,
            column: 9,
            source,
        });
        let irregular = TableError::NotRegular {
            path: path(),
            found: FileKind::Fifo,
        };
        vec![
            (
                invalid(PathProblem::Relative),
                InvalidInput,
                "data",
                "rules need absolute paths",
            ),
            (
                invalid(PathProblem::NotUtf8),
                InvalidInput,
                "data",
                "UTF-8 paths only",
            ),
            (
                invalid(PathProblem::Nul),
                InvalidInput,
                "data",
                "contains a NUL character; choose another path",
            ),
            (
                TableError::InvalidName {
                    name: "a\0b".to_owned(),
                },
                InvalidInput,
                "\"a\\0b\"",
                "choose another name",
            ),
            (
                TableError::NoProcess { pid: 7 },
                NotFound,
                "pid 7",
                "pass that of a process which runs",
            ),
            (TableError::NoPath, NotFound, "no path", "set RVLF_TABLE"),
            (
                parse.expect_err("it is no number"),
                InvalidData,
                "d/table:3:9",
                "moving it away gives up every entry",
            ),
            (irregular, InvalidData, "d/table", "choose another path"),
            (
                TableError::TooLarge { path: path() },
                FileTooLarge,
                "d/table",
                "choose another path",
            ),
            (
                TableError::UnreadableOldDefault {
                    path: PathBuf::from("e/table"),
                    error: Box::new(TableError::TooLarge { path: path() }),
                },
                FileTooLarge,
                "d/table: larger than the 64 MiB that a table may have; earlier versions used",
                "move it away, and e/table is used; otherwise set RVLF_TABLE",
            ),
            (
                TableError::Forked { path: path() },
                Other,
                "d/table",
                "open the table in the child",
            ),
            (
                TableError::Replaced { path: path() },
                Other,
                "d/table",
                "open it again",
            ),
        ]
    }

    // A person pastes the proposed command into a shell. An entry called "$(reboot)" was a command, one called "-f" an
    // option, and the default table was changed in place of this one.
    #[test]
    fn a_proposed_command_names_the_table_and_no_name_in_it_is_a_command() {
        let text = |name: &str, table: &str| {
            let error = TableError::DuplicateName {
                name: name.to_owned(),
                pid: 7,
                is_placeholder: false,
                liveness: Some(Liveness::Elsewhere),
                table: Some(Path::new(table).into()),
            };
            error.to_string()
        };
        if cfg!(unix) {
            let found = text("$(reboot)", "two words");
            let command = "`rvlf table --table 'two words' release '$(reboot)'`";
            assert!(found.contains(command), "{found}");
        }
        let found = text("-f", "t");
        assert!(
            found.contains("`rvlf table --table t release -- -f`"),
            "{found}"
        );
        // A shell cuts the word at the NUL: the pasted command released the entry "a".
        let found = text("a\0b", "t");
        assert!(
            found.contains("`TableGuard::release(\"a\\0b\")`"),
            "{found}"
        );
    }

    // A caller waits and repeats on contention, and on nothing else. An operator sees the text alone.
    #[test]
    fn every_error_has_its_kind_its_subject_and_a_next_step() {
        for (error, expected, is_contention, next_step) in refusals() {
            let text = error.to_string();
            assert!(text.contains("\"a\"") || text.contains("d/table"), "{text}");
            assert!(text.contains(next_step), "{text}");
            assert_eq!(error.is_contention(), is_contention, "{text}");
            assert_eq!(kind(error), expected, "{text}");
        }
        for (error, expected, subject, next_step) in faults() {
            let text = error.to_string();
            assert!(text.contains(subject) && text.contains(next_step), "{text}");
            assert!(!error.is_contention(), "{text}");
            assert_eq!(kind(error), expected, "{text}");
        }
    }
}
