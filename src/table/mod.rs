//! The allocation table: many writers, disjoint scopes, one file.
//!
//! Next to "one writer per data file" ([`WriterLock`](crate::WriterLock)) stands the other shape of
//! the same problem: live processes of which each holds a part of one data set, as paths and
//! segments, hands parts of its part to children, and crashes. The table is a JSON file that says
//! who holds what. Two live holders never have overlapping write scopes or one segment; a dead
//! one's go to its parent, or are free, at the next operation; and a crash in the middle of an
//! operation leaves the table as it was before or as it is after.
//!
//! # What it does not protect against
//!
//! - **Programs that do not ask.** The table is advisory, and anybody who may write to its
//!   directory can replace it.
//! - **Writers that rewrite the file in place**, as those do whose format this is. They can be read
//!   and followed, one after the other, but not run beside us: one that waits for the old file's
//!   lock writes to a file that has no name any more.
//! - **Links.** Scopes are compared as text: two names of one directory are two scopes.
//! - **Deaths that cannot be seen from here.** An entry of another host, or of another pid
//!   namespace of this one, counts as alive until somebody releases it by hand; see [`Liveness`].
//! - **A local directory that other kernels reach** (exported, or shared with virtual machines):
//!   entries of theirs look like entries from before a reboot.
//! - **Loss by hand.** `rvlf table release` and a parent's reclaim take an entry from a live
//!   process. [`Allocation::check`] tells it.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use rvlf::table::{Allocation, Claim, ScopeRule, TableError};
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("table.json");
//! let patience = Duration::from_secs(10);
//! let claim = Claim::new("indexer").allow(ScopeRule::write("/data/index"));
//! let indexer = Allocation::register(&path, &claim, "segment-1", patience)?;
//!
//! // Somebody else is refused, and told who is in the way.
//! let claim = Claim::new("compactor").allow(ScopeRule::write("/data"));
//! let refused = Allocation::register(&path, &claim, "segment-2", patience);
//! let Err(TableError::WriteConflict { entry, .. }) = refused else { panic!() };
//! assert_eq!(entry, "indexer");
//!
//! indexer.check()?; // Still ours: commit the data now.
//! indexer.release()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The model
//!
//! An **entry** ([`Entry`]) has a name, a process, allow and deny rules, and a segment. Whoever has
//! one may **delegate** a part of it: that makes a **placeholder**, an entry without a segment,
//! which a child process **adopts**. While the child has it the parent does not; when the child
//! releases it or dies, it is the parent's again, and the child's own children become the parent's.
//!
//! [`Allocation`] is the handle for a process's own entry, [`TableGuard`] the locked table for
//! everything else, [`snapshot`] a look without a lock. The format is that of the allocation table
//! of the `yoi` orchestrator, with one object more (`holder`); it is written down in
//! `spec/table.md`.

mod allocation;
mod audit;
mod error;
mod file;
mod guard;
mod handle;
mod liveness;
mod operations;
mod scope;

pub use allocation::{Entry, HolderId, Table};
pub use audit::Problem;
pub use error::{PathProblem, TableError};
pub use guard::{Snapshot, TableGuard, default_path, snapshot};
pub use handle::{Allocation, ReleaseError};
pub use liveness::Liveness;
pub use operations::{Claim, Conflict, EntryHolder};
pub use scope::{Permission, Scope, ScopeRule};
