//! Leftovers: asides of breakers that died between their rename and their unlink.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::Place;
use super::aside::{aside_name, is_aside_name, is_rvlf_content};
use super::examine::OpenLockFile;
use crate::judge::Age;
use crate::sys::{Access, Context, FileKind, Flock, FlockOutcome, IoError, Operation, Stat, Sys};

/// Asides younger than this may belong to a breaker that is still running.
const LEFTOVER_AGE: Duration = Duration::from_secs(60);

/// Removes the leftovers in the directory at `path`. Returns how many were removed.
pub(crate) fn remove_leftovers_at<S: Sys>(sys: &S, path: &Path) -> Result<usize, IoError> {
    let dir = sys
        .open_dir(None, path)
        .context(Operation::Directory("open the directory"), path)?;
    Ok(remove_leftovers(sys, &dir))
}

impl<S: Sys> Place<S> {
    /// Removes the leftovers beside the lock file. Returns how many were removed.
    pub(crate) fn remove_leftovers(&self) -> usize {
        remove_leftovers(self.sys(), &self.entry.dir)
    }
}

/// Removes the leftovers in `dir`. What cannot be removed stays for the next breaker.
fn remove_leftovers<S: Sys>(sys: &S, dir: &S::Dir) -> usize {
    let names = sys.list(dir).unwrap_or_default();
    let asides = names.iter().filter(|name| is_aside_name(name));
    asides
        .filter(|name| remove_leftover(sys, dir, name))
        .count()
}

fn remove_leftover<S: Sys>(sys: &S, dir: &S::Dir, name: &OsStr) -> bool {
    let is_old = |stat: &Stat| {
        let age = Age::at(sys.now().realtime_ns, stat.mtime_ns).or_zero();
        stat.kind == FileKind::Regular && age > LEFTOVER_AGE
    };
    if !sys.stat_at(dir, name).as_ref().is_ok_and(is_old) {
        return false;
    }
    let Ok(file) = sys.open(dir, name, Access::Read) else {
        return false;
    };
    let Ok(stat) = sys.stat(&file) else {
        return false;
    };
    let opened = OpenLockFile {
        sys: sys.clone(),
        file,
        stat,
        locked: true,
    };
    // An aside whose kernel lock is held is a live lock that was caught by mistake.
    let flocked = sys.flock(&opened.file, Flock::Exclusive);
    matches!(flocked, Ok(FlockOutcome::Done))
        && is_old(&opened.stat)
        && sys
            .read(&opened.file)
            .is_ok_and(|prefix| is_rvlf_content(&prefix))
        && remove_locked(sys, dir, name, &opened.file).is_ok()
}

fn remove_locked<S: Sys>(sys: &S, dir: &S::Dir, name: &OsStr, file: &S::File) -> io::Result<()> {
    match sys.removes_by_handle() {
        true => sys.remove(dir, file, &aside_name(sys)?),
        false => sys.unlink(dir, name),
    }
}
