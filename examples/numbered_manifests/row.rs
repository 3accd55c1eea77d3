//! The row of numbered manifests: how one is added, which one counts, and what may be removed.
//! `docs/fencing.md` has the reasons; `tests/lock/manifest_row.rs` searches this file.
//!
//! A claim and a commit are the same step: link(2) of the next number, which succeeds once. A number is
//! freed only when its whole block is retired, and the mark of that stays: a process that slept finds
//! either its number taken or the mark.

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use rvlf::WriterId;

/// The content of `manifest-<number>`. No two processes write the same content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Manifest {
    pub number: u64,
    /// Counts the claims.
    pub generation: u64,
    /// The hold of the lock under which it was written.
    pub writer_id: WriterId,
    /// `None` until the first commit.
    pub data: Option<DataFile>,
}

/// A file that never changes once a manifest names it: `data-<generation>-<number>`. The manifest with
/// that number was the first to name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataFile {
    pub generation: u64,
    pub number: u64,
}

/// A name in the directory of the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    Manifest(u64),
    /// Every number of this block was superseded, and may have been freed. Never removed.
    Retired(u64),
    Data(DataFile),
}

/// What the row needs of a directory.
pub trait Directory {
    /// The names. They may be old, and names that come or go meanwhile may be missing.
    fn names(&self) -> io::Result<Vec<Name>>;
    /// The manifest; `None` if the name does not exist.
    fn read(&self, number: u64) -> io::Result<Option<Manifest>>;
    /// Gives a complete, synced file the name of the manifest, unless the name exists. After an error
    /// it may have happened, and may still happen.
    fn link(&self, manifest: &Manifest) -> io::Result<()>;
    /// Makes durable which names exist.
    fn sync(&self) -> io::Result<()>;
    /// Looks for the mark. After a `link` of this process it finds a mark that was there before.
    fn is_retired(&self, block: u64) -> io::Result<bool>;
    /// Makes the mark durable, if it is not there yet.
    fn retire(&self, block: u64) -> io::Result<()>;
    /// Removes the name if it exists.
    fn remove(&self, name: Name) -> io::Result<()>;
    /// Waits a moment, until an old answer may have become a new one.
    fn pause(&self) -> io::Result<()>;
}

/// Why a claim or a commit is not acknowledged. The hold is over, and its data is left to the next
/// holder: `Retired` and `Unsettled` do not say that the manifest is not in the row.
#[derive(Debug)]
pub enum NotAcknowledged {
    /// Another process has added this manifest with the same number. The own one is never in the row.
    Overtaken(Manifest),
    /// The number's block is retired: the row went on long ago.
    Retired(u64),
    /// The answers show nothing: the manifest may be in the row, now or later.
    Unsettled(io::Error),
}

/// The row in one directory. Every process must use the same `block_len`.
#[derive(Debug)]
pub struct Row<D> {
    pub directory: D,
    /// How many numbers are retired at once. One mark for each block stays in the directory.
    pub block_len: u64,
}

/// The right to add the next manifest, until another process claims the row.
#[derive(Debug)]
pub struct Hold<'a, D> {
    row: &'a Row<D>,
    newest: Manifest,
}

impl<D: Directory> Row<D> {
    /// The newest manifest, or one that was the newest not long ago. This is what a reader starts from.
    pub fn newest(&self) -> io::Result<Option<Manifest>> {
        loop {
            let names = self.directory.names()?;
            let numbers = names.iter().filter_map(|name| match name {
                Name::Manifest(number) => Some(*number),
                _ => None,
            });
            let Some(number) = numbers.max() else {
                return Ok(None);
            };
            let found = self.directory.read(number)?;
            // A listing that was overtaken names what was removed since, or what a process that slept
            // has put at a freed number.
            if found.is_some() && !self.directory.is_retired(self.block(number))? {
                return Ok(found);
            }
            self.directory.pause()?;
        }
    }

    /// Adds a manifest that changes nothing: from now on no older hold can commit.
    pub fn claim(&self, writer_id: WriterId) -> Result<Hold<'_, D>, NotAcknowledged> {
        let base = self.newest()?;
        let manifest = Manifest {
            number: base.map_or(0, |base| base.number) + 1,
            generation: base.map_or(0, |base| base.generation) + 1,
            writer_id,
            data: base.and_then(|base| base.data),
        };
        let newest = self.add(manifest)?;
        Ok(Hold { row: self, newest })
    }

    fn add(&self, manifest: Manifest) -> Result<Manifest, NotAcknowledged> {
        let found = match self.directory.link(&manifest) {
            Ok(()) => manifest,
            // EEXIST may be the answer to the second copy of a request whose first copy succeeded, and so
            // may other errors: what is there decides.
            Err(error) => match self.directory.read(manifest.number)? {
                Some(found) => found,
                None => return Err(NotAcknowledged::Unsettled(error)),
            },
        };
        self.directory.sync()?;
        // This process slept, others added a block of numbers and freed this one: it works far behind
        // the newest manifest. Only a look after the link finds that out.
        if self.directory.is_retired(self.block(manifest.number))? {
            return Err(NotAcknowledged::Retired(manifest.number));
        }
        if found != manifest {
            return Err(NotAcknowledged::Overtaken(found));
        }
        Ok(manifest)
    }

    fn block(&self, number: u64) -> u64 {
        number / self.block_len
    }
}

impl<'a, D: Directory> Hold<'a, D> {
    /// The last manifest of this hold, which no other one has followed as far as it knows.
    pub fn newest(&self) -> Manifest {
        self.newest
    }

    /// The name under which to write the data of the next commit.
    pub fn next_data(&self) -> DataFile {
        DataFile {
            generation: self.newest.generation,
            number: self.newest.number + 1,
        }
    }

    /// Adds a manifest that names `data`, which must be complete and durable. The hold ends with the
    /// first commit that is not acknowledged.
    pub fn commit(self, data: DataFile) -> Result<Hold<'a, D>, NotAcknowledged> {
        let newest = self.row.add(Manifest {
            number: self.newest.number + 1,
            data: Some(data),
            ..self.newest
        })?;
        Ok(Hold { newest, ..self })
    }

    /// Removes what was superseded: whole blocks of manifests, and data that no later manifest names.
    pub fn clean_up(&self) -> io::Result<()> {
        let directory = &self.row.directory;
        let names = directory.names()?;
        let superseded = names.into_iter().filter(|name| self.supersedes(*name));
        let superseded: Vec<Name> = superseded.collect();
        let numbers = superseded.iter().filter_map(|name| match name {
            Name::Manifest(number) => Some(self.row.block(*number)),
            _ => None,
        });
        // The mark first: a number that is free and not marked can be used twice.
        for block in numbers.collect::<BTreeSet<_>>() {
            directory.retire(block)?;
        }
        superseded
            .into_iter()
            .try_for_each(|name| directory.remove(name))
    }

    fn supersedes(&self, name: Name) -> bool {
        match name {
            Name::Manifest(number) => self.row.block(number) < self.row.block(self.newest.number),
            Name::Retired(_) => false,
            // Of older holds, which cannot commit any more, and of the acknowledged commits of this one.
            Name::Data(data) => data < self.next_data() && Some(data) != self.newest.data,
        }
    }
}

impl From<io::Error> for NotAcknowledged {
    fn from(error: io::Error) -> NotAcknowledged {
        NotAcknowledged::Unsettled(error)
    }
}

impl fmt::Display for NotAcknowledged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotAcknowledged::Overtaken(by) => write!(
                f,
                "manifest {} is of another writer, {}: acquire the lock again, and start from the \
                 newest manifest",
                by.number, by.writer_id
            ),
            NotAcknowledged::Retired(number) => write!(
                f,
                "manifest {number} is superseded and its number retired: acquire the lock again, and \
                 start from the newest manifest"
            ),
            NotAcknowledged::Unsettled(error) => write!(
                f,
                "it is not known whether the manifest was added ({error}): acquire the lock again, and \
                 look at the newest manifest"
            ),
        }
    }
}

impl std::error::Error for NotAcknowledged {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            NotAcknowledged::Unsettled(error) => Some(error),
            _ => None,
        }
    }
}
