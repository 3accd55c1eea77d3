//! Compares the answers that the workers received with what is in the log.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use object_store::ObjectStoreExt;
use object_store::path::Path;
use rvlf_object_store::block_on;

use crate::Result;
use crate::journal::{self, Event, Journal};
use crate::options::Options;
use crate::place::Place;
use crate::stopping::Stopping;

/// Requests that were on their way when the workers ended have landed by then, also the late ones.
const LANDING: Duration = Duration::from_secs(4);

#[derive(Default)]
pub struct Audit {
    holds: usize,
    reclaimed: usize,
    acknowledged: usize,
    in_log: usize,
    /// A lock that was called held after another process had acquired it.
    overlaps: usize,
    late: usize,
    late_accepted: usize,
    lost: usize,
}

pub fn audit(options: &Options) -> Result<Audit> {
    thread::sleep(LANDING);
    let events = journal::read_all(&options.directory, options.workers)?;
    let log = log(options)?;
    let mut audit = Audit {
        in_log: log.len(),
        ..Audit::default()
    };
    let mut newest = 0;
    let mut late = BTreeMap::new();
    for (_, event) in &events {
        match event {
            Event::Acquired {
                generation,
                reclaimed,
            } => {
                audit.holds += 1;
                audit.reclaimed += usize::from(*reclaimed);
                newest = newest.max(*generation);
            }
            Event::Believed { generation } => audit.overlaps += usize::from(*generation < newest),
            Event::Sent { generation, write } => {
                if *generation < newest {
                    late.insert(*write, false);
                }
            }
            Event::Accepted { write } => {
                late.entry(*write).and_modify(|accepted| *accepted = true);
            }
            Event::Acknowledged { entry } => {
                audit.acknowledged += 1;
                audit.lost += usize::from(!log.contains(entry.as_str()));
            }
        }
    }
    audit.late = late.len();
    audit.late_accepted = late.values().filter(|accepted| **accepted).count();
    Ok(audit)
}

/// The entries of the log as a reader finds them: by the root, or in the one object that all overwrite.
fn log(options: &Options) -> Result<BTreeSet<String>> {
    let quiet = Options {
        faults: false,
        ..options.clone()
    };
    let journal = Arc::new(Mutex::new(Journal::open(
        &options.directory,
        options.workers,
    )?));
    let place = Place::open(&quiet, |inner| Stopping {
        inner,
        journal,
        share: 0.0,
    })?;
    block_on(async {
        let report = place.lock.inspect().await?;
        let name = match report.payload() {
            Some(root) if options.fenced => Path::from(std::str::from_utf8(root)?),
            _ => place.key.clone(),
        };
        let bytes = place.data.get(&name).await?.bytes().await?;
        let text = std::str::from_utf8(&bytes)?;
        Ok(text.lines().map(str::to_owned).collect())
    })
}

impl Audit {
    pub fn verdict(&self, fenced: bool) -> ExitCode {
        if self.acknowledged == 0 || self.overlaps > 0 {
            return ExitCode::FAILURE;
        }
        let kept_what_it_promises = match fenced {
            true => self.lost == 0 && self.late_accepted == 0,
            false => self.lost > 0,
        };
        match kept_what_it_promises {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "holds: {} ({} of a dead holder)",
            self.holds, self.reclaimed
        )?;
        writeln!(
            f,
            "entries acknowledged: {} ({} in the log)",
            self.acknowledged, self.in_log
        )?;
        writeln!(
            f,
            "called held after another process had acquired: {}",
            self.overlaps
        )?;
        writeln!(
            f,
            "writes sent after another process had acquired: {}, accepted by the store: {}",
            self.late, self.late_accepted
        )?;
        write!(f, "acknowledged entries lost: {}", self.lost)
    }
}
