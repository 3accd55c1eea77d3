//! What the contenders of a soak note beside the lock: their holds, and what no lock may let happen.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::holds::{Audit, Log, audit};
use crate::program::Fallible;

/// A directory on a local file system, whatever the place under test is.
#[derive(Clone)]
pub(super) struct Witness(PathBuf);

/// The two second opinions of one process: a log of its holds, and a record lock during each.
pub(super) struct Observer {
    witness: Witness,
    record: File,
    log: Log,
}

impl Witness {
    pub(super) fn at(dir: impl Into<PathBuf>) -> Witness {
        Witness(dir.into())
    }

    pub(super) fn create(dir: impl Into<PathBuf>) -> Fallible<Witness> {
        let witness = Witness::at(dir);
        fs::create_dir(&witness.0)?;
        fs::create_dir(witness.file("holds"))?;
        fs::create_dir(witness.file("pieces"))?;
        for name in ["record", "violations", "errors", "table"] {
            File::create_new(witness.file(name))?;
        }
        Ok(witness)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Notes a broken promise. One write: the lines of several processes do not mix.
    pub(super) fn violation(&self, text: impl std::fmt::Display) {
        let line = format!("{text}\n");
        let file = File::options().append(true).open(self.file("violations"));
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        written.expect("the disk of the witness has room");
        eprint!("violation: {line}");
    }

    pub(super) fn lines(&self, name: &str) -> Fallible<Vec<String>> {
        let bytes = fs::read(self.file(name))?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Whether the contenders are to end.
    pub(super) fn is_over(&self) -> bool {
        self.file("over").exists()
    }

    pub(super) fn set_over(&self) -> Fallible<()> {
        File::create(self.file("over"))?;
        Ok(())
    }

    /// An observer of the calling process. `kind` begins the name of its log.
    pub(super) fn observer(&self, kind: &str) -> Fallible<Observer> {
        let name = format!("holds/{kind}-{}-{}", support::now_ns(), std::process::id());
        let record = File::options()
            .read(true)
            .write(true)
            .open(self.file("record"));
        Ok(Observer {
            witness: self.clone(),
            record: record?,
            log: Log::create(&self.file(&name))?,
        })
    }

    /// What all logs whose names begin with `kind` show together, and of how many processes they are.
    pub(super) fn audit(&self, kind: &str) -> Fallible<(Audit, usize)> {
        let names = support::names_in(&self.file("holds"));
        let logs: Vec<PathBuf> = names
            .iter()
            .filter(|name| name.to_string_lossy().starts_with(kind))
            .map(|name| self.file("holds").join(name))
            .collect();
        Ok((audit(&logs)?, logs.len()))
    }
}

impl Observer {
    /// Observes a hold of the calling process, which lasts for a time.
    pub(super) fn hold(&mut self, reclaimed: bool, time: Duration) -> Fallible<()> {
        let taken = support::take_record_lock(&self.record);
        if let Err(other) = taken {
            let me = std::process::id();
            self.witness
                .violation(format_args!("{TWO_HOLDERS}: {me} beside {other}"));
        }
        self.log.begin(reclaimed)?.last(time)?;
        if taken.is_ok() {
            support::release_record_lock(&self.record);
        }
        Ok(())
    }
}

/// Begins the violations that the record lock shows.
pub(super) const TWO_HOLDERS: &str = "two holders at once";
