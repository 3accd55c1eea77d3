//! [`Unsettled`]: takes a publish back that fails.
//!
//! Source: `spec/protocol.md#publish`, P12.

use super::Place;
use super::breaking::BrokenLock;
use crate::record::{KernelStamp, Record, WriterId};
use crate::sys::hooks::sabotaged;
use crate::sys::{FailedPublish, FileId, Sys};

/// A file that this process has published at the lock path and that is not a hold yet. Dropping it
/// takes the publish back, so that a publish that fails leaves no record behind.
///
/// Where there is flock, this process must have the file's kernel lock: a file that could not be
/// locked must stay (R21).
pub(super) struct Unsettled<'a, S: Sys> {
    place: &'a Place<S>,
    id: FileId,
    writer_id: WriterId,
    /// `None` once the publish is settled.
    file: Option<S::File>,
}

impl<'a, S: Sys> Unsettled<'a, S> {
    pub(super) fn new(place: &'a Place<S>, file: S::File, id: FileId, writer_id: WriterId) -> Self {
        Unsettled {
            place,
            id,
            writer_id,
            file: Some(file),
        }
    }

    pub(super) fn file(&self) -> &S::File {
        let file = self.file.as_ref();
        file.expect("only `keep` takes the file, and consumes this")
    }

    pub(super) fn id(&self) -> FileId {
        self.id
    }

    pub(super) fn writer_id(&self) -> WriterId {
        self.writer_id
    }

    /// The file is a hold.
    pub(super) fn keep(mut self) -> S::File {
        let file = self.file.take();
        file.expect("only `keep` takes the file, and consumes this")
    }

    /// Leaves what is at the path as it is: another contender's file.
    pub(super) fn abandon(self) {
        self.forget_record();
        drop(self.keep());
    }

    /// If this process examines the record again, it does not take the record for a hold: it may
    /// not be possible to take the record back, and on some mounts that of a creator that has lost
    /// comes back.
    fn forget_record(&self) {
        let own_holds = self.place.sys().own_holds();
        own_holds.given_up(self.writer_id);
        own_holds.publish_failed(FailedPublish::Record(self.writer_id));
    }

    /// Puts back what a break has removed from this directory, so that the next holder here learns
    /// that a holder has died. `own` is the publisher's record, which the file has now.
    ///
    /// The dead holder's record, stamped for this file, is stale as soon as the file is closed (row
    /// 6). The publisher's own record would look held for 30 s, since the publisher lives (row 5).
    /// Malformed content has no such record, and no kernel witnesses a death off local file
    /// systems: there short content takes its place (row 4).
    pub(super) fn put_back(self, broken: &BrokenLock, own: &Record) {
        let place = self.place;
        // Where the write fails, the next attempt of this process does not take the record for a
        // hold.
        place.sys().own_holds().given_up(self.writer_id);
        let file = self.keep();
        let _ = match broken.record.filter(|_| place.entry.is_local()) {
            Some(dead) => place
                .sys()
                .write(&file, 0, &for_file_of(&dead, own).encode()),
            None => place.sys().truncate(&file),
        };
    }
}

impl<S: Sys> Drop for Unsettled<'_, S> {
    fn drop(&mut self) {
        // Before the file is closed, which gives the kernel lock up.
        if sabotaged!(self.place.entry.sys, Withdraw) {
            return;
        }
        if let Some(file) = &self.file {
            self.withdraw(file);
        }
    }
}

impl<S: Sys> Unsettled<'_, S> {
    /// Removes the publisher's file from the path on a local file system, where the inode number
    /// shows whose file it is. Elsewhere makes it short through the publisher's descriptor, and the
    /// next contender removes it: where numbers go by names (sshfs), the path and that descriptor
    /// have one number when a deployed client has put its own file there. ftruncate(2) does that in one
    /// step. Zeros written over the record could be cut short by a full disk, and the file would be
    /// foreign for good.
    ///
    /// Returns no error: the one that led here is the one to report.
    fn withdraw(&self, file: &S::File) {
        let entry = &self.place.entry;
        // Where this fails as well, the record stays.
        self.forget_record();
        if !entry.is_local() && !sabotaged!(entry.sys, WithdrawByDescriptor) {
            if entry.sys.truncate(file).is_ok() {
                self.place.remember_empty(file);
            }
        } else if matches!(entry.stat_if_names(self.id), Ok(Some(_))) {
            let _ = match entry.sys.removes_by_handle() {
                true => self.place.remove_open(file).is_ok(),
                false => entry.sys.unlink(&entry.dir, &entry.name).is_ok(),
            };
        }
    }
}

impl<S: Sys> Place<S> {
    /// The file of a publish that failed stays, empty. The next attempt of this process, which
    /// breaks it, does not report that a holder has died.
    pub(super) fn remember_empty(&self, file: &S::File) {
        if let Ok(stat) = self.sys().stat(file) {
            let left = FailedPublish::Empty {
                id: stat.id,
                mtime_ns: stat.mtime_ns,
            };
            self.sys().own_holds().publish_failed(left);
        }
    }
}

/// The record of the dead holder, with the stamp that it would have in the file of `own`.
fn for_file_of(dead: &Record, own: &Record) -> Record {
    let stamp = dead
        .stamp()
        .zip(own.stamp())
        .map(|(dead, own)| KernelStamp {
            inode_key: own.inode_key,
            start_ticks: dead.start_ticks,
        });
    Record::new(
        dead.pid(),
        &dead.hostname(),
        dead.timestamp_ns(),
        dead.writer_id(),
        stamp,
    )
}

#[cfg(all(test, unix, not(rvlf_unsupported)))]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::sys::Host;

    // Where numbers go by names, a deployed client's new file has the number of the
    // publisher's: the number does not show whose file an unlink would remove.
    #[test]
    fn a_publish_is_taken_back_by_name_only_where_the_inode_number_proves_whose_file_it_is() {
        let dir = tempfile::tempdir().expect("there is room");
        let data = dir.path().join("data");
        let place = Place::open(Host, &data).expect("the directory is there");
        let lock = super::super::lock_path_for(&data);
        let name = lock.file_name().unwrap_or(OsStr::new(""));
        let file = Host.create(&place.entry.dir, name, 0o600);
        let file = file.expect("the name is free");
        Host.write(&file, 0, &[7; 104]).expect("there is room");
        let id = Host.stat(&file).expect("it is open").id;
        drop(Unsettled::new(
            &place,
            file,
            id,
            WriterId::from_bytes([7; 16]),
        ));
        let left = std::fs::read(&lock).ok();
        let expected = (!place.entry.is_local()).then(Vec::new);
        assert_eq!(left, expected);
    }
}
