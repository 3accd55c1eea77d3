//! What each process did, and when: one file for each, which survives the process.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::Result;

/// One line of a journal. Times are of CLOCK_BOOTTIME, which all processes share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The process has acquired the lock, with this generation.
    Acquired { generation: u64, reclaimed: bool },
    /// Right before the time of this event the lock said that it is held.
    Believed { generation: u64 },
    /// A write that was held up is sent at the time of this event.
    Sent { generation: u64, write: u64 },
    /// The store has accepted it.
    Accepted { write: u64 },
    /// An entry was reported as written.
    Acknowledged { entry: String },
}

pub struct Journal {
    file: File,
}

impl Journal {
    pub fn open(directory: &Path, worker: u32) -> Result<Journal> {
        let path = path(directory, worker);
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Journal { file })
    }

    /// Written in one call: a kill leaves a whole line, or none.
    pub fn write(&mut self, at: Duration, event: &Event) -> Result<()> {
        let nanos = at.as_nanos();
        let line = match event {
            Event::Acquired {
                generation,
                reclaimed,
            } => format!("{nanos} acquired {generation} {}\n", u8::from(*reclaimed)),
            Event::Believed { generation } => format!("{nanos} believed {generation} -\n"),
            Event::Sent { generation, write } => format!("{nanos} sent {generation} {write}\n"),
            Event::Accepted { write } => format!("{nanos} accepted {write} -\n"),
            Event::Acknowledged { entry } => format!("{nanos} acknowledged {entry} -\n"),
        };
        self.file.write_all(line.as_bytes())?;
        Ok(())
    }
}

/// Every event of all processes, with its time.
pub fn read_all(directory: &Path, workers: u32) -> Result<Vec<(Duration, Event)>> {
    let mut events = Vec::new();
    for worker in 0..workers {
        let Ok(text) = std::fs::read_to_string(path(directory, worker)) else {
            continue;
        };
        for line in text.lines() {
            events.push(parse(line).ok_or_else(|| format!("no event: {line}"))?);
        }
    }
    events.sort_by_key(|(at, _)| *at);
    Ok(events)
}

fn parse(line: &str) -> Option<(Duration, Event)> {
    let mut words = line.split(' ');
    let at = Duration::from_nanos(words.next()?.parse().ok()?);
    let (kind, first, second) = (words.next()?, words.next()?, words.next()?);
    let number = || first.parse().ok();
    let event = match kind {
        "acquired" => Event::Acquired {
            generation: number()?,
            reclaimed: second == "1",
        },
        "believed" => Event::Believed {
            generation: number()?,
        },
        "sent" => Event::Sent {
            generation: number()?,
            write: second.parse().ok()?,
        },
        "accepted" => Event::Accepted { write: number()? },
        "acknowledged" => Event::Acknowledged {
            entry: first.to_owned(),
        },
        _ => return None,
    };
    Some((at, event))
}

fn path(directory: &Path, worker: u32) -> PathBuf {
    directory.join(format!("journal-{worker}"))
}

pub fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}
