//! [`TableError`]: why something was not done.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::scope::ScopeRule;
use crate::advice;
use crate::sys::FileKind;

/// Why an operation on a table was not done. Whatever the reason, the file is as it was before,
/// unless the variant says otherwise.
#[derive(Debug)]
#[non_exhaustive]
pub enum TableError {
    /// There is an entry of this name.
    DuplicateName {
        /// The name.
        name: String,
        /// Its holder's process id.
        pid: u32,
    },
    /// Somebody else may write there.
    WriteConflict {
        /// The entry that really has it: where scopes were delegated, the deepest.
        entry: String,
        /// What was asked for.
        requested: Box<ScopeRule>,
        /// That entry's rule that is in the way.
        held: Box<ScopeRule>,
    },
    /// Nobody can delegate more than it has.
    NotSubset {
        /// The entry that was to delegate.
        parent: String,
        /// What it does not have, or not any more.
        rule: Box<ScopeRule>,
    },
    /// There is no entry of this name (any more).
    UnknownName {
        /// The name.
        name: String,
    },
    /// Somebody else writes this segment.
    SegmentConflict {
        /// The segment.
        segment: String,
        /// The entry that writes it.
        entry: String,
        /// Where its holder can be reached.
        socket: PathBuf,
    },
    /// The entry is no placeholder: somebody has adopted or registered it.
    NotAPlaceholder {
        /// The entry.
        name: String,
        /// Its holder's process id.
        pid: u32,
    },
    /// The entry to reclaim was delegated by somebody else; or by nobody, and has more than a child
    /// could have.
    NotAChild {
        /// The entry that was to get it back.
        parent: String,
        /// The entry that was to be reclaimed.
        name: String,
        /// Who did delegate it, if anybody.
        delegated_from: Option<String>,
    },
    /// A path that a table cannot hold.
    InvalidPath {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        problem: PathProblem,
    },
    /// The entry of an [`Allocation`](super::Allocation) is not ours any more: it was released by
    /// hand, reclaimed by its parent, or the table was removed. Stop writing.
    Lost {
        /// The entry.
        name: String,
        /// The table.
        path: PathBuf,
        /// The process id in the entry that bears the name now, if there is one.
        held_by: Option<u32>,
    },
    /// This is a forked child; the guard or the allocation belongs to its parent.
    Forked {
        /// The table.
        path: PathBuf,
    },
    /// The file is not a table. It was not touched.
    Parse {
        /// The table.
        path: PathBuf,
        /// The line in which the parser stopped, from 1.
        line: usize,
        /// How many bytes of that line it had read.
        column: usize,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// Something that is no regular file lies at the path. It was not touched.
    NotRegular {
        /// The table.
        path: PathBuf,
        /// What lies there.
        found: FileKind,
    },
    /// Somebody still had the table locked when the time was over.
    Timeout {
        /// The table.
        path: PathBuf,
        /// How long we were to wait.
        timeout: Duration,
    },
    /// The file was removed or replaced by somebody who did not lock it.
    Replaced {
        /// The table.
        path: PathBuf,
    },
    /// No argument, no `RVLF_TABLE`, no `XDG_RUNTIME_DIR`.
    NoPath,
    /// The operating system failed.
    Io {
        /// What was being done.
        operation: &'static str,
        /// The table.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Why a table cannot hold a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathProblem {
    /// It is relative: to other processes it would be another one.
    Relative,
    /// It is not UTF-8, and JSON is.
    NotUtf8,
}

impl TableError {
    pub(super) fn io(operation: &'static str, path: &Path, source: io::Error) -> TableError {
        TableError::Io {
            operation,
            path: path.to_owned(),
            source,
        }
    }

    /// Whether somebody else is in the way: worth trying again later, or with less.
    #[must_use]
    pub fn is_contention(&self) -> bool {
        matches!(
            self,
            TableError::DuplicateName { .. }
                | TableError::WriteConflict { .. }
                | TableError::SegmentConflict { .. }
                | TableError::Timeout { .. }
        )
    }
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TableError::DuplicateName { name, pid } => write!(
                f,
                "{name:?} is held by pid {pid}: choose another name or wait until it is released"
            ),
            TableError::WriteConflict {
                entry,
                requested,
                held,
            } => write!(
                f,
                "{requested} is not free: {entry:?} holds {held}; ask `rvlf table list`"
            ),
            TableError::NotSubset { parent, rule } => write!(
                f,
                "{parent:?} cannot delegate {rule}: it does not have it, or has delegated it already"
            ),
            TableError::UnknownName { name } => write!(
                f,
                "there is no entry {name:?}: it was released, reclaimed, or never made"
            ),
            TableError::SegmentConflict { segment, entry, .. } => write!(
                f,
                "segment {segment:?} is written by {entry:?}: wait for it, or choose another"
            ),
            TableError::NotAPlaceholder { name, pid } => write!(
                f,
                "{name:?} is held by pid {pid} already: only what was delegated and not adopted yet \
                 can be adopted"
            ),
            TableError::NotAChild {
                parent,
                name,
                delegated_from,
            } => {
                write!(f, "{parent:?} cannot reclaim {name:?}, which ")?;
                match delegated_from {
                    Some(from) => write!(f, "{from:?} has delegated"),
                    None => write!(f, "has more than {parent:?} could have delegated"),
                }
            }
            TableError::InvalidPath { path, problem } => {
                let path = path.display();
                match problem {
                    PathProblem::Relative => write!(f, "{path}: a scope needs an absolute path"),
                    PathProblem::NotUtf8 => write!(f, "{path}: a table holds UTF-8 paths only"),
                }
            }
            TableError::Lost {
                name,
                path,
                held_by,
            } => {
                write!(f, "{}: allocation {name:?} lost: ", path.display())?;
                match held_by {
                    Some(pid) => write!(f, "pid {pid} has it now")?,
                    None => f.write_str("its entry is gone")?,
                }
                f.write_str("; stop writing and register again")
            }
            TableError::Forked { path } => write!(
                f,
                "{}: this is a forked child, and its parent holds that: open the table here",
                path.display()
            ),
            TableError::Parse {
                path, line, column, ..
            } => write!(
                f,
                "{}:{line}:{column}: not an allocation table; repair it or move it away yourself",
                path.display()
            ),
            TableError::NotRegular { path, found } => write!(
                f,
                "{}: {found}, not a regular file: give the table another path",
                path.display()
            ),
            TableError::Timeout { path, timeout } => write!(
                f,
                "{}: still locked by another process after {} s; try again",
                path.display(),
                timeout.as_secs_f64()
            ),
            TableError::Replaced { path } => write!(
                f,
                "{}: removed or replaced while it was locked; open it again and repeat",
                path.display()
            ),
            TableError::NoPath => f.write_str(
                "no path for the allocation table: give one, or set RVLF_TABLE or XDG_RUNTIME_DIR \
                 to an absolute path",
            ),
            TableError::Io {
                operation,
                path,
                source,
            } => advice::write_failed(f, path, operation, source),
        }
    }
}

impl Error for TableError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            TableError::Parse { source, .. } => Some(source),
            TableError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<TableError> for io::Error {
    fn from(error: TableError) -> io::Error {
        let kind = match &error {
            TableError::Timeout { .. } => io::ErrorKind::TimedOut,
            TableError::Io { source, .. } => source.kind(),
            TableError::UnknownName { .. } | TableError::NoPath => io::ErrorKind::NotFound,
            TableError::DuplicateName { .. } => io::ErrorKind::AlreadyExists,
            contention if contention.is_contention() => io::ErrorKind::WouldBlock,
            TableError::InvalidPath { .. } => io::ErrorKind::InvalidInput,
            TableError::Parse { .. } | TableError::NotRegular { .. } => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
