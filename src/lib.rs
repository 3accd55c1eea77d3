//! The writer lock for single-writer data files: a fixed 104-byte record at `<data file>.lock` that
//! any language can read, that says who is writing, and that recovers by itself when the writer dies.
//!
//! Two cooperating writers never hold the lock at the same time on one machine, whatever crashes,
//! forks, containers or clocks do. A dead writer's lock is recovered at once where the kernel can
//! witness the death, and by age elsewhere; a live writer's is never broken on its own machine. What
//! is not an RVLF record is never deleted. Every refusal says who holds the lock, since when, how we
//! know, and what to do.
//!
//! # What it does not protect against
//!
//! - **Programs that do not ask.** The lock is advisory, and anybody who may write to the directory
//!   can remove it. It guards against accidents, not against attackers.
//! - **Several hosts: time decides.** On network file systems a holder that is paused for minutes can
//!   be judged dead by others while it lives. Call [`WriterLock::check`] right before each commit,
//!   and store the [`writer_id`](WriterLock::writer_id) with the data.
//!   The same holds for a local directory that is exported to other kernels, or reached both through
//!   an overlay and past it.
//! - **Two names for one data file.** The lock path follows from the name
//!   ([`LockOptions::refuse_aliases`]).
//! - **Deployed RVF clients** exclude us as far as their own protocol goes: one that read a stale
//!   record before it was broken may remove its successor ([`WriterLock::check`] notices).
//! - **A denial of service.** Any user who may read the lock file can keep a dead lock looking held.
//!
//! # Example
//!
//! ```
//! use rvlf::{AcquireError, WriterLock};
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("store.rvf");
//! let lock = WriterLock::try_acquire(&path)?;
//! if let Some(dead) = lock.reclaimed_from() {
//!     println!("pid {} crashed while writing: recovering the data file", dead.pid());
//! }
//!
//! // Somebody else is refused, and told why.
//! let refused = WriterLock::try_acquire(&path).expect_err("the lock is held");
//! assert!(refused.is_held());
//! assert!(refused.to_string().contains("already held by this process"));
//!
//! lock.check()?; // Still ours: commit the data now.
//! lock.release()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Words
//!
//! The **resource** is the data file; the **lock path** its name with `.lock` appended. The **holder**
//! has the lock, a **contender** wants it. A contender reads the record, gathers [`Evidence`] and lets
//! [`judge`] give a [`Verdict`]: held or stale. A stale lock is broken and **reclaimed**. A holder
//! whose lock file is not at the lock path any more has **lost** it.
//!
//! # Floors
//!
//! [`Record`] and [`judge`] do no I/O, read no clock, allocate nothing, and build without std
//! (`default-features = false`): they are what another implementer ports first. Everything else needs
//! the feature `std`. The format and the protocol are written down for implementers in any language
//! in the folder `spec` of the repository.
//!
//! | feature | what it brings |
//! |---|---|
//! | `std` (default) | the lock itself; nix, rand and crc32c as dependencies |
//! | `cli` | the command `rvlf` |
//! | `table` | the module `table`: many writers, disjoint scopes, one file; serde and serde_json |
//! | `tracing` | events for breaks, losses and failed refreshes |
//!
//! # Platforms
//!
//! Linux is tested. Other Unixes compile from the same code, without the kernel stamp and with polling,
//! and are untested. Elsewhere every acquisition fails with an error of the kind `Unsupported`.

#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(feature = "std"), allow(rustdoc::broken_intra_doc_links))]

#[cfg(feature = "std")]
mod error;
#[cfg(feature = "std")]
mod holder;
pub mod judge;
#[cfg(feature = "std")]
mod lock;
#[cfg(feature = "std")]
mod lock_file;
#[cfg(feature = "std")]
mod loss;
#[cfg(all(feature = "std", unix))]
pub mod process;
#[cfg(feature = "std")]
mod protocol;
pub mod record;
#[cfg(feature = "serde")]
mod serialize;
#[cfg(rvlf_sim)]
#[doc(hidden)]
pub mod sim;
#[cfg(feature = "std")]
mod sync;
#[cfg(feature = "std")]
mod sys;
#[cfg(feature = "table")]
pub mod table;
#[cfg(feature = "std")]
mod task;
#[cfg(feature = "std")]
mod trace;

pub use judge::StalePolicy;
pub use record::{Record, WriterId};

#[cfg(feature = "std")]
pub use error::{AcquireError, BreakError, HoldError, IoError, WaitError};
#[cfg(feature = "std")]
pub use holder::{Foreign, Holder, LockState};
#[cfg(feature = "std")]
pub use lock::{Durability, LockOptions, Reclaimed, ReleaseError, WriterLock};
#[cfg(feature = "std")]
pub use lock_file::{LockFile, inspect, remove_leftovers};
#[cfg(feature = "std")]
pub use loss::{LossReason, Lost};
#[cfg(feature = "std")]
pub use protocol::lock_path_for;
#[cfg(feature = "std")]
pub use sys::{CancelToken, FileKind};
#[cfg(feature = "std")]
#[cfg_attr(docsrs, doc(cfg(feature = "std")))]
pub use task::LockFuture;

/// The README's example, compiled.
#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../README.md")]
struct Readme;
