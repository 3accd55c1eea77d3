//! The writer lock for single-writer data files: a fixed 104-byte record at `<data file>.lock` that
//! any language can read, that names the process that is writing, and that recovers by itself when
//! that process dies.
//!
//! Two cooperating writers never hold the lock at the same time on one machine, whatever crashes,
//! forks, containers or clocks do. A dead writer's lock is recovered at once if the kernel can
//! witness the death, and by age elsewhere; a live writer's lock is never broken on its own
//! machine. A file that is not an RVLF record is never deleted. Every refusal names the holder, how long
//! it has held the lock, the reason, and a next step.
//!
//! # What it does not protect against
//!
//! - **Programs that do not use the lock.** The lock is advisory, and any user who may write to the
//!   directory can remove it. It protects against accidents, not against attackers.
//! - **Several hosts: age decides.** On a network file system a holder that is paused for minutes
//!   can be judged dead by other hosts while it is alive. Call [`WriterLock::check`] right before
//!   each commit, and store the [`writer_id`](WriterLock::writer_id) with the data. The same is
//!   true of a local directory that is exported to other kernels, or reached both through an
//!   overlay and past it.
//! - **Two paths to one data file.** The lock path follows from the name, so a link, or a bind
//!   mount of the data file without its directory, has a lock of its own
//!   ([`LockOptions::refuse_aliases`]).
//! - **Deployed RVF clients** (programs of the RVF vector store, whose lock files have this format)
//!   respect this lock, and this lock respects theirs. But a client that read a stale record before
//!   another process broke it may remove the next holder's lock file ([`WriterLock::check`] reports
//!   the loss).
//! - **A denial of service.** Any user who may read the lock file can keep a dead lock looking
//!   held.
//!
//! # Example
//!
//! ```
//! use rvlf::WriterLock;
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("store.rvf");
//! let lock = WriterLock::try_acquire(&path)?;
//! if let Some(reclaimed) = lock.reclaimed() {
//!     println!("the previous writer crashed ({reclaimed}): recovering the data file");
//! }
//!
//! // Another writer is refused, and the error names the holder.
//! let refused = WriterLock::try_acquire(&path).expect_err("the lock is held");
//! assert!(refused.is_held());
//! assert!(refused.to_string().contains("already held by this process"));
//!
//! lock.check()?; // Still held: commit the data now.
//! lock.release()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to find what
//!
//! | to | use |
//! |---|---|
//! | acquire the lock, or wait for it | [`WriterLock::try_acquire`], [`WriterLock::acquire`] |
//! | change how it is acquired and kept | [`LockOptions`] |
//! | end a wait from another thread | [`CancelToken`] |
//! | see which processes keep a lock whose holder is gone | [`LockFile::locked_by`] |
//! | wait in asynchronous code | [`WriterLock::acquire_async`] |
//! | see who holds a lock, wait for it, or break it | [`inspect`], [`LockFile`] |
//! | read and write records without I/O | [`Record`], [`record`] |
//! | judge a lock by facts that you gathered | [`judge`](mod@judge) |
//! | start a child process that must not outlive the holder | `WriterLock::lend_to`, `process` |
//! | print a path or a host name that another program has chosen | [`Escaped`] |
//! | propose a command with such a name | `ShellWord` |
//! | remove what a breaker left that was killed | [`remove_leftovers`] |
//! | let many writers share one data set | `table`, with the feature `table` |
//!
//! # Terminology
//!
//! The **lock path** is the name of the data file with `.lock` appended. The **holder** has the
//! lock, a **contender** wants it. A contender reads the record, gathers
//! [`Evidence`](judge::Evidence) and [judges](judge::judge) it; the [`Verdict`](judge::Verdict) is
//! held or **stale**. A stale lock is broken and **reclaimed**. A holder whose lock file is no
//! longer at the lock path has **lost** the lock.
//!
//! # Features
//!
//! | feature | brings |
//! |---|---|
//! | `std` (default) | the lock; nix, rand and crc32c as dependencies |
//! | `table` | the module `table`: many writers, disjoint scopes, one file; serde and serde_json |
//! | `serde` | `Serialize` for records and reports, as members of the JSON of the command `rvlf` |
//! | `tracing` | events for breaks, losses and failed refreshes |
//!
//! Without std (`default-features = false`) the modules [`record`] and [`judge`](mod@judge) remain.
//! They do no I/O, read no clock and allocate no memory: implementers port them first. The folder
//! `spec` of the repository has the format and the protocol for implementers in any language.
//!
//! # Platforms
//!
//! Linux is tested, also with musl and on 32 bits. Windows is tested under wine, not yet on Windows; the
//! allocation table does not work there. macOS, FreeBSD and other Unixes are compiled and not tested. On
//! other systems every acquisition fails with an error of the kind `Unsupported`. The README has a table
//! of what each of them gives.

#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(feature = "std"), allow(rustdoc::broken_intra_doc_links))]

#[cfg(feature = "std")]
mod alias;
#[cfg(feature = "std")]
mod error;
mod escape;
#[cfg(feature = "std")]
mod holder;
#[cfg(feature = "std")]
#[doc(hidden)]
pub mod host;
pub mod judge;
#[cfg(feature = "std")]
mod lock;
#[cfg(feature = "std")]
mod lock_file;
#[cfg(feature = "std")]
mod loss;
#[cfg(all(feature = "std", any(unix, windows)))]
pub mod process;
#[cfg(feature = "std")]
mod protocol;
pub mod record;
#[cfg(feature = "serde")]
mod serialize;
#[cfg(feature = "std")]
mod shell_word;
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

pub use escape::Escaped;
pub use judge::StalePolicy;
pub use record::{Record, WriterId};

#[cfg(feature = "std")]
pub use alias::Alias;
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
pub use protocol::{Released, lock_path_for};
#[cfg(feature = "std")]
pub use shell_word::ShellWord;
#[cfg(feature = "std")]
pub use sys::{CancelToken, FileKind, LockingProcess};
#[cfg(feature = "std")]
pub use task::LockFuture;

/// The README's example, compiled.
#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// The examples for who comes from another lock, compiled.
#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../docs/migrating.md")]
struct Migrating;

/// The examples for the author of a store, compiled.
#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../docs/adopting.md")]
struct Adopting;
