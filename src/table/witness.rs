//! [`Witness`]: a kernel lock by which processes in other containers see whether a holder is alive.
//!
//! An [`Allocation`](super::Allocation) keeps the table's directory open, and has one byte of it
//! locked, at a random offset. The kernel unlocks the byte when the process ends, however it ends, and
//! no lock outlives a boot. Source: `spec/table.md#witness`.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::sys::entry::Entry as DirectoryEntry;
use crate::sys::{FileId, Sys, TableSys, is_closed};

/// A byte of a directory that a process has locked, as an entry names it.
///
/// While the process lives it has the directory open, and no other directory can get the numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Witness {
    device: u64,
    inode: u64,
    offset: u64,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

/// Offsets are below 2^52: programs that read the numbers of JSON as doubles keep each digit.
const OFFSET_BITS: u32 = 52;

/// A locked byte. The kernel unlocks it when this is dropped, here and in every forked child.
pub(crate) struct LockedByte<S: Sys> {
    pub(crate) witness: Witness,
    _opened: S::Dir,
}

impl<S: TableSys> LockedByte<S> {
    /// Locks a byte of the directory of the table at `place`. `None` where that is no witness (off
    /// plain file systems, not on Linux) or is refused (the directory may not be read): the entry is
    /// judged without one.
    ///
    /// # Errors
    ///
    /// It failed for a reason that may pass. Without a witness the entry would stay for good if this process dies
    /// in a container.
    pub(super) fn new(place: &DirectoryEntry<S>) -> io::Result<Option<LockedByte<S>>> {
        let [a, b, c, d, e, f, g, h, ..] = place.sys.random()?;
        let offset = u64::from_le_bytes([a, b, c, d, e, f, g, h]) >> (u64::BITS - OFFSET_BITS);
        let Some((directory, opened)) = open_directory(place)? else {
            return Ok(None);
        };
        if unless_refused(place.sys.lock_byte(&opened, offset))?.is_none() {
            return Ok(None);
        }
        let witness = Witness {
            device: directory.dev,
            inode: directory.ino,
            offset,
            unknown: Map::new(),
        };
        Ok(Some(LockedByte {
            witness,
            _opened: opened,
        }))
    }
}

/// The directory of the table, opened anew: a lock belongs to an open file description, and a query by that
/// description does not report it. `None` off plain file systems: other kernels have locks of their own, and
/// past an overlay the directory is another inode.
fn open_directory<S: Sys>(place: &DirectoryEntry<S>) -> io::Result<Option<(FileId, S::Dir)>> {
    if !place.file_system.is_plain() {
        return Ok(None);
    }
    let here = Path::new(".");
    let Some(opened) = unless_refused(place.sys.open_dir(Some(&place.dir), here))? else {
        return Ok(None);
    };
    let id = place.sys.stat_dir(Some(&opened), here)?;
    Ok(Some((id, opened)))
}

/// `None` for a call that this user, or this kernel, will never make: EACCES and EPERM; EBADF of a directory that
/// was opened by O_PATH since it may not be read; EINVAL of a kernel without such locks (before Linux 3.15).
fn unless_refused<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_closed(&error) => Ok(None),
        Err(error) => match error.kind() {
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::Unsupported => Ok(None),
            _ => Err(error),
        },
    }
}

/// Looks for the witnesses of other processes.
pub(super) struct Witnesses<'a, S: Sys> {
    sys: &'a S,
    opened: Option<(FileId, S::Dir)>,
}

impl<'a, S: TableSys> Witnesses<'a, S> {
    /// Those of the holders of the table at `place`.
    pub(super) fn of(place: &'a DirectoryEntry<S>) -> Witnesses<'a, S> {
        Witnesses {
            sys: &place.sys,
            // A witness that cannot be looked for decides nothing.
            opened: open_directory(place).unwrap_or_default(),
        }
    }

    /// Whether the byte is locked; `None` if that cannot be known here.
    pub(super) fn is_locked(&self, witness: &Witness) -> Option<bool> {
        let (directory, opened) = self.opened.as_ref()?;
        if (witness.device, witness.inode) != (directory.dev, directory.ino) {
            return None;
        }
        self.sys.is_byte_locked(opened, witness.offset).ok()
    }
}
