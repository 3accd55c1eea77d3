//! [`LockedTable`]: the table that this process has locked, and what every operation on it begins and
//! ends with. It is written over [`TableSys`], so that a simulated kernel runs it, too.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::claim::Claim;
use super::contents::Table;
use super::entry::{Entry, EntryHolder, NameField};
use super::error::{Result, TableError};
use super::file::TableFile;
use super::liveness::{Liveness, LivenessProbe, judge_all, this_process};
use super::witness::{LockedByte, Witness};
use crate::record::WriterId;
use crate::sys::{Context, Identity, Operation, TableSys};

/// A table's file, locked by this process, and its content.
pub(crate) struct LockedTable<S: TableSys> {
    file: TableFile<S>,
    pub(crate) table: Table,
}

impl<S: TableSys> LockedTable<S> {
    pub(crate) fn open(sys: S, path: &Path, timeout: Duration) -> Result<LockedTable<S>> {
        LockedTable::read(TableFile::lock(sys, path, timeout)?)
    }

    /// Opens a table that exists. `None` if there is none: nothing is created.
    pub(crate) fn open_existing(
        sys: S,
        path: &Path,
        timeout: Duration,
    ) -> Result<Option<LockedTable<S>>> {
        let file = TableFile::lock_existing(sys, path, timeout)?;
        file.map(LockedTable::read).transpose()
    }

    fn read(file: TableFile<S>) -> Result<LockedTable<S>> {
        let bytes = file.read()?;
        let parsed = Table::parse(&bytes);
        let table = parsed.map_err(|source| TableError::parse(file.path(), source))?;
        Ok(LockedTable { file, table })
    }

    pub(crate) fn save(&mut self) -> Result<()> {
        let json = self.table.to_json().map_err(io::Error::from);
        let bytes = json.context(Operation::File("write as JSON"), self.path())?;
        self.file.replace(&bytes)
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// The process that locked the table.
    pub(super) fn process(&self) -> Identity {
        self.file.process()
    }

    pub(crate) fn register(
        &mut self,
        holder: &EntryHolder,
        claim: &Claim,
        segment: &str,
    ) -> Result<()> {
        self.reclaim_except(|_| false);
        // Here and not in `open`: a caller may have replaced the whole table by hand.
        self.table.name_field = name_field(self.path());
        let done = self.table.register(claim, segment, holder);
        self.with_facts(done)
    }

    pub(super) fn liveness(&self) -> Vec<Liveness> {
        judge_all(self.file.place(), &self.table)
    }

    /// Adds to a refusal the table, and what is known of the process of the entry in the way: if nothing is, a
    /// person has to decide.
    pub(super) fn with_facts<T>(&self, done: Result<T>) -> Result<T> {
        let mut done = done.map_err(|error| error.in_table(self.path()));
        if let Some((name, liveness)) = done.as_mut().err().and_then(TableError::in_the_way) {
            let mut probe = LivenessProbe::new(self.file.place());
            let entry = self.table.find(name);
            *liveness = entry.map(|entry| probe.liveness(entry));
        }
        done
    }

    pub(super) fn reclaim_except(&mut self, is_spared: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let mut probe = LivenessProbe::new(self.file.place());
        let is_dead = |entry: &Entry| !is_spared(entry) && probe.liveness(entry).is_dead();
        self.table.reclaim_stale_with(is_dead)
    }

    /// Locks a byte of the table's directory for an entry of this process.
    pub(crate) fn lock_byte(&self) -> Result<Option<LockedByte<S>>> {
        let locked = LockedByte::new(self.file.place());
        Ok(locked.context(Operation::File("take a lock in the directory"), self.path())?)
    }

    pub(crate) fn this_process(
        &self,
        witness: Option<&Witness>,
    ) -> Result<(EntryHolder, WriterId)> {
        let identified = this_process(self.file.sys(), witness);
        Ok(identified.context(Operation::Process("identify this process"), self.path())?)
    }
}

/// The field for names in a table without entries: the programs that write `worker_name` call their
/// file so, and read no other name.
fn name_field(path: &Path) -> NameField {
    if path.file_name().is_some_and(|name| name == "workers.json") {
        NameField::WorkerName
    } else {
        NameField::PodName
    }
}
