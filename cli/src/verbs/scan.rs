//! `rvlf scan`: lists the RVLF locks that living processes hold, or every one below a directory.

use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anstream::stdout;
use clap::{Args, ValueHint};
use rvlf::record::DecodeError;
use rvlf::{Escaped, LockState, Record, lock_path_for};

use crate::inspection::Inspection;
use crate::lock_bytes::{self, Contents};
use crate::messages::{self, count};
use crate::sys::open_locks;
use crate::target::is_url;
use crate::{arguments, escape, exit, json, render};

/// List the locks that processes of this machine hold, or every lock below a directory
///
/// Without DIR, finds the holders in /proc: as root those of all processes, otherwise those of your own
/// processes. Holds of deployed RVF clients, which have no kernel lock, and stale locks are only found
/// below a DIR.
///
/// Opens only regular files whose names end in .lock, and follows no symbolic links. Skips lock
/// files of other programs, and empty ones, which may belong to any program.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Scan {
    /// Print one JSON object for each lock, one per line
    #[arg(long)]
    json: bool,

    /// Remove leftover .rvlf-* files that are older than a minute
    ///
    /// A process that dies while it removes a stale lock leaves such a file.
    #[arg(long, requires = "dir")]
    clean: bool,

    /// The directory to search
    #[arg(value_hint = ValueHint::DirPath)]
    dir: Option<PathBuf>,
}

const HELP: &str = "\
EXAMPLES
  rvlf scan
  rvlf scan /var/lib
  rvlf scan --json . | jq -r 'select(.state == \"stale\") | .data_path'
  rvlf scan --clean data

EXIT STATUS
  0  no lock found, or only free ones
  1  a lock is held
  2  usage error
  3  a lock is stale: left behind by a dead holder
  4  a lock is malformed or of an unsupported version
  5  operating system error, for example an unreadable directory
  With several locks, the highest of their statuses. What was skipped does not count.";

pub fn run(args: &Scan) -> io::Result<u8> {
    let mut walk = Walk::new(args);
    match &args.dir {
        Some(directory) => {
            walk.tree(directory)?;
            walk.summarize();
        }
        None => walk.open_locks()?,
    }
    Ok(walk.highest)
}

struct Walk<'a> {
    args: &'a Scan,
    highest: u8,
    empty: usize,
    unreadable: usize,
    removed: usize,
}

/// The entries of a directory that matter here, sorted.
#[derive(Default)]
struct Listing {
    directories: Vec<PathBuf>,
    /// Data files with a lock file beside them.
    locked: Vec<PathBuf>,
    has_leftovers: bool,
}

impl Listing {
    fn of(directory: &Path) -> io::Result<Listing> {
        let mut listing = Listing::default();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            // On a file system without d_type this is an lstat(2), which fails if the entry has
            // been removed meanwhile.
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => listing.directories.push(entry.path()),
                Ok(kind) if kind.is_file() => {
                    let is_leftover = entry.file_name().as_encoded_bytes().starts_with(b".rvlf-");
                    listing.has_leftovers |= is_leftover;
                    let path = entry.path();
                    listing.locked.extend(arguments::without_lock(&path));
                }
                _ => {}
            }
        }
        listing.directories.sort_unstable();
        listing.locked.sort_unstable();
        Ok(listing)
    }
}

fn is_gone(path: &Path) -> bool {
    path.symlink_metadata()
        .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

impl Walk<'_> {
    fn new(args: &Scan) -> Walk<'_> {
        Walk {
            args,
            highest: exit::SUCCESS,
            empty: 0,
            unreadable: 0,
            removed: 0,
        }
    }

    fn tree(&mut self, directory: &Path) -> io::Result<()> {
        let mut directories = vec![directory.to_owned()];
        while let Some(directory) = directories.pop() {
            // In reverse: the directory pushed last is searched first.
            directories.extend(self.directory(&directory)?.into_iter().rev());
        }
        Ok(())
    }

    /// Shows the locks that living processes hold. An empty lock file with a kernel lock is that of
    /// another program, such as flock(1).
    fn open_locks(&mut self) -> io::Result<()> {
        let found = match open_locks::search() {
            Ok(found) => found,
            Err(error) => {
                self.report(format_args!("{error}; name a directory: rvlf scan DIR"));
                return Ok(());
            }
        };
        for data in found
            .paths()
            .iter()
            .filter_map(|path| arguments::without_lock(path))
        {
            self.lock(&data)?;
        }
        if let Some(skipped) = found.skipped() {
            messages::print(skipped);
        }
        Ok(())
    }

    /// Shows the locks in a directory and returns its subdirectories. An error is a failure to
    /// write to standard output.
    fn directory(&mut self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let listing = match Listing::of(directory) {
            Ok(listing) => listing,
            // Removed since its parent was read.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && self.args.dir.as_deref() != Some(directory) =>
            {
                return Ok(Vec::new());
            }
            Err(error) => {
                self.report_failure(directory, &error);
                return Ok(Vec::new());
            }
        };
        for data in &listing.locked {
            self.lock(data)?;
        }
        if listing.has_leftovers && self.args.clean {
            match rvlf::remove_leftovers(directory) {
                Ok(removed) => self.removed += removed,
                Err(error) => self.report(&error),
            }
        }
        Ok(listing.directories)
    }

    fn lock(&mut self, data: &Path) -> io::Result<()> {
        if !self.is_rvlf_lock(&lock_path_for(data)) {
            return Ok(());
        }
        match Inspection::of(data) {
            Ok(Inspection {
                state: LockState::Free | LockState::Foreign(_),
                ..
            }) => Ok(()),
            Ok(inspection) => {
                let status = exit::status_for_state(&inspection.state);
                self.highest = self.highest.max(status);
                if self.args.json {
                    writeln!(
                        stdout(),
                        "{}",
                        escape::json_text(&json::lock_json(data, &inspection))
                    )
                } else {
                    let line = render::line(&inspection);
                    writeln!(stdout(), "{}: {line}", Escaped::path(data))
                }
            }
            // Removed with its directory since the directory was read.
            Err(_) if is_gone(&lock_path_for(data)) => Ok(()),
            Err(error) => {
                self.report(&error);
                Ok(())
            }
        }
    }

    /// Decides by the bytes alone: an attempt at the kernel lock of another program's file could
    /// disturb that program.
    fn is_rvlf_lock(&mut self, lock_path: &Path) -> bool {
        match lock_bytes::read(lock_path) {
            Ok(Contents::Bytes(bytes)) => match Record::decode(&bytes) {
                Err(DecodeError::Foreign { .. }) => false,
                Err(DecodeError::Short { found: 0 }) => {
                    self.empty += 1;
                    false
                }
                _ => true,
            },
            // Replaced or removed since the directory was read.
            Ok(Contents::Irregular(_)) => false,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.unreadable += 1;
                false
            }
            Err(error) => {
                self.report_failure(lock_path, &error);
                false
            }
        }
    }

    fn report_failure(&mut self, path: &Path, error: &io::Error) {
        let step = match error.kind() {
            io::ErrorKind::PermissionDenied => "scan as a user who may read it",
            io::ErrorKind::NotFound if is_url(path) => {
                "scan searches directories of this machine; for one object: rvlf status URL"
            }
            io::ErrorKind::NotFound => "check the path",
            io::ErrorKind::NotADirectory => "name a directory; for one data file: rvlf status DATA",
            _ => "check its file system, then scan again",
        };
        let path = Escaped::path(path);
        self.report(format_args!("{path}: cannot inspect: {error}; {step}"));
    }

    fn report(&mut self, message: impl Display) {
        messages::print(message);
        self.highest = exit::IO;
    }

    fn summarize(&self) {
        if self.empty > 0 {
            let files = count(self.empty, "empty *.lock file", "empty *.lock files");
            messages::print(format_args!(
                "skipped {files} (torn locks or other programs' files); `rvlf status` shows which"
            ));
        }
        if self.unreadable > 0 {
            let files = count(self.unreadable, "*.lock file", "*.lock files");
            messages::print(format_args!(
                "skipped {files} without read permission; scan as a user who may read them"
            ));
        }
        if self.args.clean {
            let files = count(
                self.removed,
                "leftover .rvlf-* file",
                "leftover .rvlf-* files",
            );
            messages::print(format_args!("removed {files}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Where tests of another program made and removed their directories meanwhile, a scan exited with 5.
    #[test]
    fn a_directory_that_was_removed_meanwhile_is_no_error_and_a_missing_dir_is_one() {
        let missing = Path::new("not-there");
        for (dir, expected) in [("not-there", exit::IO), (".", exit::SUCCESS)] {
            let args = Scan {
                dir: Some(dir.into()),
                json: false,
                clean: false,
            };
            let mut walk = Walk::new(&args);
            let below = walk.directory(missing).expect("nothing is printed");
            assert!(below.is_empty());
            assert_eq!(walk.highest, expected, "{dir}");
        }
    }
}
