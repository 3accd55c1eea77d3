//! The allocation table: many writers, disjoint scopes, one file.
//!
//! [`WriterLock`](crate::WriterLock) gives one data file to one writer. The table is for the other
//! shape of the same problem: several live processes each hold a part of one data set, delegate
//! parts of their part to child processes, and crash. The table is a JSON file that records which
//! process holds what.
//!
//! Two live holders never have overlapping write scopes or the same segment. The part of a dead
//! holder returns to its parent, or becomes free, at the next operation. A crash in the middle of
//! an operation leaves the table as it was before, or as it is after.
//!
//! # Tutorial
//!
//! An [`Entry`] has a name, a process, rules, and a segment: the file or partition that the process
//! writes. A process **registers** an entry and holds it with an [`Allocation`]:
//!
//! ```
//! use std::time::Duration;
//! use rvlf::table::{Allocation, Claim, ScopeRule, TableError, new_segment, snapshot};
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("table.json");
//! // How long to wait for the lock of the table. An operation takes milliseconds.
//! let timeout = Duration::from_secs(10);
//! let claim = Claim::new("parent").allow(ScopeRule::write("/data"));
//! let parent = Allocation::register(&path, &claim, &new_segment()?, timeout)?;
//!
//! // An overlapping claim is refused. The error names the entry that holds the paths.
//! let claim = Claim::new("stranger").allow(ScopeRule::write("/data/a"));
//! let refused = Allocation::register(&path, &claim, &new_segment()?, timeout);
//! assert!(matches!(refused, Err(TableError::WriteConflict { entry, .. }) if entry == "parent"));
//!
//! // Delegate a part. This makes a placeholder: an entry without a segment.
//! parent.delegate(&Claim::new("child").allow(ScopeRule::write("/data/a")), timeout)?;
//!
//! // In the child process: adopt the placeholder. The parent may not write /data/a any more.
//! let child = Allocation::adopt(&path, "child", &new_segment()?, timeout)?;
//!
//! child.check()?; // The entry is still held: commit the data now.
//!
//! // Release. /data/a is the parent's again; so it is if the child dies.
//! child.release()?;
//!
//! // Take back what no process adopted, or what a child that has ended left behind.
//! parent.delegate(&Claim::new("other").allow(ScopeRule::write("/data/b")), timeout)?;
//! parent.reclaim("other", &[], timeout)?;
//!
//! // Read the table without its lock: which entries exist, and are their processes alive?
//! for (entry, liveness) in snapshot(&path)?.entries() {
//!     println!("{entry}: {liveness}");
//! }
//! parent.release()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! For several changes in one save, and for repairs, lock the table with [`TableGuard::open`].
//!
//! # What it does not protect against
//!
//! - **Programs that do not use the table.** The table is advisory, and every process that may
//!   write to its directory can replace it.
//! - **Writers that rewrite the file in place**, as the programs do whose format this is. Their
//!   tables can be read and changed, one program after the other, but not at the same time: a
//!   program that waits for the lock of the old file then writes to a file that has no name any
//!   more.
//! - **Links.** Scopes are compared as text: two names of one directory are two scopes.
//! - **Deaths that cannot be observed.** An entry of another host counts as alive until a person
//!   releases it (`rvlf table release`). So does an entry of another container (pid namespace) that
//!   is on an overlay, or was not made by an [`Allocation`]; see [`Liveness`].
//! - **A local directory that other kernels reach** (exported, or shared with virtual machines):
//!   entries of those kernels look like entries from before a reboot.
//! - **Removal of the lock off local file systems** (NFS, FUSE, SMB). There a file beside the table carries the
//!   lock, `.NAME.rvlf-lock`, and stays. Without it two processes can hold the table at once.
//! - **Removal by hand.** `rvlf table release` and a parent's reclaim take an entry from a live
//!   process. [`Allocation::check`] detects it.
//!
//! # Format
//!
//! The format is that of the allocation table of the `yoi` orchestrator, with one more object
//! (`holder`). The file's names (`pod_name`, `segment_id` ..) appear in the JSON only. The format,
//! the protocol and the liveness rules are specified in `spec/table.md`.
//!
//! `yoi` reads a table only if each segment is a UUID: a program that shares its table with `yoi`
//! makes one with [`new_segment`]. Other programs may use any text.
//! [`Table::compatibility_problems`] lists what `yoi` could not read.

mod advice;
mod allocation;
mod claim;
mod compatibility;
mod conflicts;
mod contents;
mod default_path;
mod directory;
mod entry;
mod error;
mod family;
mod file;
mod flocked;
mod guard;
mod kept_bytes;
mod liveness;
mod locked;
mod operations;
mod overlaps;
mod problems;
mod region;
mod rule;
mod scope;
mod segment;
mod snapshot;
mod witness;

pub use allocation::{Allocation, ReleaseError};
pub use claim::Claim;
pub use compatibility::CompatibilityProblem;
pub use conflicts::Conflict;
pub use contents::Table;
pub use default_path::default_path;
pub use entry::{Entry, EntryHolder, HolderId};
pub use error::{PathProblem, Result, TableError};
pub use guard::TableGuard;
pub use liveness::Liveness;
#[cfg(rvlf_sim)]
pub(crate) use locked::LockedTable;
pub use problems::Problem;
pub use rule::{Permission, ScopeRule};
pub use scope::Scope;
pub use segment::new_segment;
#[cfg(rvlf_sim)]
pub(crate) use snapshot::snapshot_by;
pub use snapshot::{Snapshot, locked_by, snapshot};
#[cfg(rvlf_sim)]
pub(crate) use witness::LockedByte;
