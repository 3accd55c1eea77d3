//! Every public type can be moved and shared between threads, and printed.
//!
//! A field of another type deep inside takes these traits away without a word, and a user's program
//! that keeps a lock in an `Arc`, or an error in a `Box<dyn Error + Send + Sync>`, compiles no more.

use std::collections::HashSet;
use std::error::Error;
use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::panic::{RefUnwindSafe, UnwindSafe};

use rvlf::judge::{
    Age, BothClocks, Content, Evidence, FileSystem, HostMatch, KernelLock, OwnHold, Process,
    Reason, Stamp, StoreContent, StoreEvidence, StoreReason, StoreVerdict, Verdict,
};
use rvlf::record::{
    Checksum, DecodeError, Field, FirstBytes, Hostname, KernelStamp, ParseWriterIdError, Pid,
    PidOutOfRange, StoreStamp,
};
use rvlf::{
    AcquireError, Alias, BreakError, CancelToken, Durability, Escaped, FileKind, Foreign,
    HoldError, Holder, IoError, LockFile, LockOptions, LockState, LockingProcess, LossReason, Lost,
    Reclaimed, Record, ReleaseError, Released, ShellWord, StalePolicy, WaitError, WriterId,
    WriterLock,
};

/// The future of a wait, whose parameters the list leaves out.
type LockFuture = rvlf::LockFuture<WriterLock, AcquireError>;

fn common<T: Send + Sync + Unpin + Debug + 'static>() {}
fn value<T: Copy + Eq + Hash + Send + Sync + Unpin + UnwindSafe + RefUnwindSafe + Debug>() {}
fn shown<T: Display>() {}
fn error<T: Error + Send + Sync + Unpin + 'static>() {}

/// Calls a function for each of several types.
macro_rules! each {
    ($function:ident: $($type:ty),* $(,)?) => { $($function::<$type>();)* };
}

#[test]
fn every_public_type_is_send_sync_unpin_and_debug() {
    each!(common:
        AcquireError, Age, Alias, BothClocks, BreakError, CancelToken, Checksum, Content, DecodeError, Durability,
        Escaped, Evidence, Field, FileKind, FileSystem, FirstBytes, Foreign, HoldError, Holder,
        HostMatch, Hostname, IoError, KernelLock, KernelStamp, LockFile, LockFuture, LockOptions,
        LockState, LockingProcess, LossReason, Lost, OwnHold, ParseWriterIdError, Pid, PidOutOfRange,
        Process, Reason, Reclaimed, Record, ReleaseError, Released, ShellWord, StalePolicy, Stamp, StoreContent,
        StoreEvidence, StoreReason, StoreStamp, StoreVerdict, Verdict, WaitError, WriterId, WriterLock,
    );
}

#[test]
fn what_the_judgement_and_the_record_are_made_of_are_plain_values() {
    each!(value:
        Age, BothClocks, Checksum, Content, Durability, Evidence, FileKind, FileSystem, FirstBytes, HostMatch,
        Hostname, KernelLock, KernelStamp, OwnHold, Pid, Process, Reason, Record, StalePolicy, Stamp,
        StoreContent, StoreEvidence, StoreReason, StoreStamp, StoreVerdict, Verdict, WriterId,
    );
}

#[test]
fn what_a_person_reads_is_displayed() {
    each!(shown:
        AcquireError, BreakError, DecodeError, Escaped, FileKind, FirstBytes, Foreign, Holder,
        Hostname, IoError, LockState, LockingProcess, LossReason, Lost, ParseWriterIdError, Pid,
        PidOutOfRange, Reason, Reclaimed, HoldError, ReleaseError, ShellWord, StoreReason, WaitError, WriterId,
    );
}

#[test]
fn every_error_goes_into_a_box() {
    each!(error:
        AcquireError, BreakError, DecodeError, IoError, Lost, ParseWriterIdError, PidOutOfRange,
        HoldError, ReleaseError, WaitError,
    );
}

// The list above is kept by hand: a type that is exported and not listed here fails this test.
#[test]
fn every_exported_type_is_in_the_list() {
    let list = include_str!("auto_traits.rs");
    let list = list
        .split("each!(common:")
        .nth(1)
        .and_then(|rest| rest.split(");").next());
    let listed: Vec<&str> = words(list.expect("the list is in this file")).collect();
    let exports = [
        include_str!("../../src/lib.rs"),
        include_str!("../../src/judge/mod.rs"),
        include_str!("../../src/record/mod.rs"),
    ];
    let exports = exports
        .iter()
        .flat_map(|module| module.split("pub use ").skip(1));
    let exports = exports.filter_map(|export| export.split(';').next());
    let mut types = HashSet::new();
    for name in exports.flat_map(|export| words(export.split("::").last().unwrap_or_default())) {
        // Functions are lower case, constants upper case.
        let lower = |c: char| c.is_ascii_lowercase();
        if name.starts_with(lower) || !name.contains(lower) {
            continue;
        }
        types.insert(name);
        assert!(
            listed.contains(&name),
            "{name} is exported, and not in the list"
        );
    }
    assert_eq!(
        types.len(),
        listed.len(),
        "the list has a type that is not exported"
    );
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    text.split(word).filter(|word| !word.is_empty())
}

// What a log of a program shows of a handle: which lock it is.
#[test]
fn a_handle_is_printed_with_its_lock_path() {
    let dir = support::scratch();
    let file = LockFile::open(dir.path().join("data")).expect("the directory is there");
    let printed = format!("{file:?}");
    assert!(printed.contains("data.lock"), "{printed}");
}
