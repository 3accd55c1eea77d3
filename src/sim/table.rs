//! The allocation table of simulated processes: the shipped one, used as
//! [`Allocation`](crate::table::Allocation) uses it on a real kernel.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::TABLE;
use super::call::{Call, Reply};
use super::process::SimSys;
use super::sim_sys::{SimDir, SimFile};
use crate::record::WriterId;
use crate::sys::entry::present;
use crate::sys::{Identity, PidNamespace, Stat, Sys, TableSys};
use crate::table::{Claim, LockedByte, LockedTable, Result, TableError, snapshot_by};

impl TableSys for SimSys {
    /// The directories of a world are there from the beginning.
    fn create_dirs(&self, _path: &Path, _mode: u32) -> io::Result<()> {
        Ok(())
    }

    fn is_this_process(&self, process: Identity) -> bool {
        self.identity().is_ok_and(|own| own == process)
    }

    /// Differs from a stat where a mount opens a file that was removed.
    fn stat_uncached(&self, file: &SimFile) -> io::Result<Stat> {
        if !self.rules.opens_remembered_files {
            return self.stat(file);
        }
        match self.call(Call::StatUncached(file.fd)) {
            Reply::Stat(stat) => Ok(stat),
            reply => Err(reply.into_error()),
        }
    }

    /// No table of a world comes near a limit.
    fn read_all(&self, file: &SimFile, _limit: usize) -> io::Result<Vec<u8>> {
        match self.call(Call::ReadAll(file.fd)) {
            Reply::Bytes(bytes) => Ok(bytes.to_vec()),
            reply => Err(reply.into_error()),
        }
    }

    /// In two writes: a process may die between them.
    fn write_all(&self, file: &SimFile, bytes: &[u8]) -> io::Result<()> {
        let (first, rest) = bytes.split_at(bytes.len() / 2);
        self.write(file, 0, first)?;
        self.write(file, first.len() as u64, rest)
    }

    /// All processes of a world are of one user.
    fn copy_access(&self, _from: &SimFile, _to: &SimFile) -> io::Result<()> {
        Ok(())
    }

    fn lock_byte(&self, _dir: &SimDir, offset: u64) -> io::Result<()> {
        self.done(Call::LockByte(offset))
    }

    fn is_byte_locked(&self, _dir: &SimDir, offset: u64) -> io::Result<bool> {
        match self.call(Call::IsByteLocked(offset)) {
            Reply::IsByteLocked(is_locked) => Ok(is_locked),
            reply => Err(reply.into_error()),
        }
    }

    fn kernel_boot_id(&self) -> io::Result<Option<[u8; 16]>> {
        match self.call(Call::KernelBootId) {
            Reply::BootId(id) => Ok(Some(id)),
            reply => present(Err(reply.into_error())),
        }
    }

    fn pid_namespace(&self) -> io::Result<PidNamespace> {
        match self.call(Call::PidNamespace) {
            Reply::PidNamespace(number) => Ok(PidNamespace::Number(number)),
            reply => Err(reply.into_error()),
        }
    }

    /// All processes of a world count their starts from the boot.
    fn time_namespace(&self) -> io::Result<Option<u64>> {
        Ok(Some(1))
    }
}

/// An entry of the shipped table, held by a simulated process.
#[must_use = "the entry stays in the table if it is not released"]
pub struct SimAllocation {
    sys: SimSys,
    name: String,
    writer_id: WriterId,
    _byte: Option<LockedByte<SimSys>>,
}

impl SimSys {
    /// As [`Allocation::register`](crate::table::Allocation::register).
    ///
    /// # Errors
    ///
    /// See [`TableError`].
    pub fn register(&self, claim: &Claim, timeout: Duration) -> Result<SimAllocation> {
        self.register_and(claim, timeout, || {})
    }

    /// The same, and calls `held` as soon as the entry is held: while the table is still locked.
    ///
    /// # Errors
    ///
    /// See [`TableError`].
    pub fn register_and(
        &self,
        claim: &Claim,
        timeout: Duration,
        held: impl FnOnce(),
    ) -> Result<SimAllocation> {
        let mut table = self.open_table(timeout)?;
        let byte = table.lock_byte()?;
        let witness = byte.as_ref().map(|byte| &byte.witness);
        let (holder, writer_id) = table.this_process(witness)?;
        table.register(&holder, claim, &segment_of(writer_id))?;
        table.save()?;
        held();
        Ok(SimAllocation {
            sys: self.clone(),
            name: claim.name().to_owned(),
            writer_id,
            _byte: byte,
        })
    }

    /// Reads the table without locking it: the number of its entries, and how long that took.
    ///
    /// # Errors
    ///
    /// See [`TableError`].
    pub fn count_entries(&self) -> Result<(usize, Duration)> {
        let began = self.now().since_boot;
        let snapshot = snapshot_by(self.clone(), &table_path())?;
        let took = self.now().since_boot.saturating_sub(began);
        Ok((snapshot.table.entries.len(), took))
    }

    fn open_table(&self, timeout: Duration) -> Result<LockedTable<SimSys>> {
        LockedTable::open(self.clone(), &table_path(), timeout)
    }
}

fn table_path() -> PathBuf {
    Path::new("/").join(TABLE)
}

impl SimAllocation {
    /// As [`Allocation::release`](crate::table::Allocation::release); the entry stays in the table on
    /// failure, until this process has ended.
    ///
    /// # Errors
    ///
    /// See [`TableError`].
    pub fn release(self, timeout: Duration) -> Result<()> {
        let mut table = self.open(timeout)?;
        table.table.release(&self.name)?;
        table.save()
    }

    /// Whether a reader, who does not lock the table, finds this entry in it.
    ///
    /// # Errors
    ///
    /// See [`TableError`].
    pub fn is_listed(&self) -> Result<bool> {
        let snapshot = snapshot_by(self.sys.clone(), &table_path())?;
        let entry = snapshot.table.find(&self.name);
        Ok(entry.and_then(|entry| entry.writer_id()) == Some(self.writer_id))
    }

    /// The table, locked, with this entry in it.
    fn open(&self, timeout: Duration) -> Result<LockedTable<SimSys>> {
        let path = table_path();
        let lost = |held_by| TableError::Lost {
            name: self.name.clone(),
            path: path.clone(),
            held_by,
        };
        let table = LockedTable::open_existing(self.sys.clone(), &path, timeout)?;
        let table = table.ok_or_else(|| lost(None))?;
        let entry = table.table.find(&self.name);
        let found = entry.and_then(|entry| entry.writer_id());
        if found == Some(self.writer_id) {
            return Ok(table);
        }
        Err(lost(entry.map(|entry| entry.pid)))
    }
}

/// No two holds have the same.
fn segment_of(writer_id: WriterId) -> String {
    format!("segment of {writer_id}")
}
