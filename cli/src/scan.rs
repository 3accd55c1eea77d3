//! `rvlf scan`: every RVLF lock below a directory.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anstream::stdout;
use clap::{Args, ValueHint};
use rvlf::{DecodeError, LockState, Record, lock_path_for};

use crate::lock_file::{self, Found};
use crate::{exit, json, report, text};

/// List every RVLF lock below a directory
///
/// Opens only regular files whose names end in .lock, and follows no symbolic links. Lock files of
/// other programs are passed over; so are empty ones, which may be anybody's.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Scan {
    /// Print one JSON object per lock and line
    #[arg(long)]
    json: bool,

    /// Remove what breakers that died at work have left (.rvlf-*, older than a minute)
    #[arg(long)]
    clean: bool,

    /// The directory to begin with
    #[arg(value_hint = ValueHint::DirPath)]
    dir: PathBuf,
}

const HELP: &str = "\
EXAMPLES
  rvlf scan /var/lib
  rvlf scan --json . | jq -r 'select(.state == \"stale\") | .resource_path'
  rvlf scan --clean data

EXIT STATUS
  0  no lock, or none that is held or stale
  1  one is held
  2  bad usage
  3  one is stale: left behind by a dead holder
  4  one is malformed or of an unsupported version
  5  the operating system failed, or a directory could not be read
  Of several, the highest.";

pub fn run(args: &Scan) -> io::Result<u8> {
    let mut scan = Walk {
        args,
        highest: exit::DONE,
        empty: 0,
        unreadable: 0,
        removed: 0,
    };
    let mut directories = vec![args.dir.clone()];
    while let Some(directory) = directories.pop() {
        // The last pushed comes first.
        directories.extend(scan.directory(&directory)?.into_iter().rev());
    }
    scan.sum_up();
    Ok(scan.highest)
}

struct Walk<'a> {
    args: &'a Scan,
    highest: u8,
    empty: usize,
    unreadable: usize,
    removed: usize,
}

impl Walk<'_> {
    /// Shows the locks in a directory; returns the directories in it. An error is one of the output.
    fn directory(&mut self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let entries =
            match fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
                Ok(entries) => entries,
                Err(error) => {
                    self.fail(directory, &error);
                    return Ok(Vec::new());
                }
            };
        let (mut directories, mut locks, mut littered) = (Vec::new(), Vec::new(), false);
        for entry in entries {
            let name = entry.file_name();
            // Where the directory does not tell the kind, this is an lstat(2), which may fail when
            // the entry has gone.
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => directories.push(entry.path()),
                Ok(kind) if kind.is_file() => {
                    littered |= name.as_bytes().starts_with(b".rvlf-");
                    locks.extend(resource_of(&entry.path()));
                }
                _ => {}
            }
        }
        directories.sort_unstable();
        locks.sort_unstable();
        for resource in &locks {
            self.lock(resource)?;
        }
        if littered && self.args.clean {
            match rvlf::sweep(directory) {
                Ok(removed) => self.removed += removed,
                Err(error) => self.fail(directory, &error.source),
            }
        }
        Ok(directories)
    }

    fn lock(&mut self, resource: &Path) -> io::Result<()> {
        let lock_path = lock_path_for(resource);
        // A look at the bytes comes first: asking for the kernel lock of another program's file might
        // disturb it.
        match lock_file::read(&lock_path) {
            Ok(Found::Bytes(bytes)) => match Record::decode(&bytes) {
                Err(DecodeError::Foreign { .. }) => return Ok(()),
                Err(DecodeError::Short { found: 0 }) => {
                    self.empty += 1;
                    return Ok(());
                }
                _ => {}
            },
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.unreadable += 1;
                return Ok(());
            }
            // Gone, or something else, by now.
            Ok(Found::Irregular(_)) | Err(_) => return Ok(()),
        }
        match rvlf::inspect(resource) {
            Ok(LockState::Free | LockState::Foreign(_)) => Ok(()),
            Ok(state) => {
                self.highest = self.highest.max(exit::of_state(&state));
                if self.args.json {
                    writeln!(stdout(), "{}", json::of_lock(resource, &state))
                } else {
                    let line = report::line(&state);
                    writeln!(stdout(), "{}: {line}", text::path(resource))
                }
            }
            Err(error) => {
                self.fail(resource, &error.source);
                Ok(())
            }
        }
    }

    fn fail(&mut self, path: &Path, error: &io::Error) {
        text::say(format_args!(
            "{}: could not look: {error}",
            text::path(path)
        ));
        self.highest = exit::IO;
    }

    fn sum_up(&self) {
        if self.empty > 0 {
            text::say(format_args!(
                "{} empty *.lock passed over: torn locks, or another program's; rvlf status tells",
                self.empty
            ));
        }
        if self.unreadable > 0 {
            text::say(format_args!(
                "{} *.lock that this user may not read passed over",
                self.unreadable
            ));
        }
        if self.args.clean {
            text::say(format_args!("{} left-over .rvlf-* removed", self.removed));
        }
    }
}

/// The data file whose lock file this would be by its name.
fn resource_of(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.as_bytes().strip_suffix(b".lock")?;
    let resource = path.with_file_name(OsStr::from_bytes(name));
    // "..lock" and "...lock" are nobody's: "." and ".." are no names.
    (!name.is_empty() && lock_path_for(&resource) == path).then_some(resource)
}
