//! The begin and the end of each hold, noted beside the lock. All processes of a machine share the clock.

use std::error::Error;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use support::monotonic_ns;

/// The length of a line: two numbers of 20 digits and the flags.
const LINE: u64 = 44;

/// The flags of a line.
const RECLAIMED: u8 = 1;
const LOST: u8 = 2;

/// The holds of one process.
pub(crate) struct Log {
    file: File,
    lines: u64,
}

/// A hold that has not ended. Its process may be killed: the line is whole from the begin on, and its end is
/// the last sign of life.
pub(crate) struct Hold<'a> {
    log: &'a Log,
    begin: u64,
    flags: u8,
}

impl Log {
    pub(crate) fn create(path: &Path) -> io::Result<Log> {
        let file = File::create_new(path)?;
        Ok(Log { file, lines: 0 })
    }

    pub(crate) fn begin(&mut self, reclaimed: bool) -> io::Result<Hold<'_>> {
        self.lines += 1;
        let hold = Hold {
            log: self,
            begin: monotonic_ns(),
            flags: if reclaimed { RECLAIMED } else { 0 },
        };
        hold.continues()?;
        Ok(hold)
    }
}

impl Hold<'_> {
    /// Notes that the hold has not ended yet.
    pub(crate) fn continues(&self) -> io::Result<()> {
        let now = monotonic_ns();
        let line = format!("{:020} {now:020} {}\n", self.begin, self.flags);
        let at = (self.log.lines - 1) * LINE;
        // One write: a process that is killed leaves whole lines.
        self.log.file.write_all_at(line.as_bytes(), at)
    }

    /// Notes that it was lost before its release.
    pub(crate) fn lost(mut self) -> io::Result<()> {
        self.flags |= LOST;
        self.continues()
    }

    /// Works for a time, with a sign of life every 5 ms at most.
    pub(crate) fn last(&self, time: Duration) -> io::Result<()> {
        let end = monotonic_ns() + support::ns(time);
        while let Some(left) = end.checked_sub(monotonic_ns()) {
            std::thread::sleep(Duration::from_nanos(left).min(Duration::from_millis(5)));
            self.continues()?;
        }
        Ok(())
    }
}

/// What the logs of several processes show together.
#[derive(Default)]
pub(crate) struct Audit {
    pub(crate) holds: usize,
    pub(crate) overlaps: usize,
    pub(crate) reclaimed: usize,
    pub(crate) lost: usize,
    /// The longest time between two holds.
    pub(crate) longest_gap: Duration,
}

/// Counts two holds at one time.
pub(crate) fn audit(logs: &[PathBuf]) -> Result<Audit, Box<dyn Error>> {
    let mut holds = Vec::new();
    for log in logs {
        for line in std::fs::read_to_string(log)?.lines() {
            let mut words = line.split_whitespace();
            let mut number = || {
                words
                    .next()
                    .ok_or("a line of less than three numbers")?
                    .parse::<u64>()
                    .map_err(Box::<dyn Error>::from)
            };
            holds.push((number()?, number()?, number()?));
        }
    }
    holds.sort_unstable();
    let mut audit = Audit {
        holds: holds.len(),
        ..Audit::default()
    };
    let mut busy_until = holds.first().map_or(0, |(begin, ..)| begin - 1);
    for (begin, end, flags) in holds {
        audit.overlaps += usize::from(begin <= busy_until);
        audit.reclaimed += usize::from(flags & u64::from(RECLAIMED) != 0);
        audit.lost += usize::from(flags & u64::from(LOST) != 0);
        let gap = Duration::from_nanos(begin.saturating_sub(busy_until));
        audit.longest_gap = audit.longest_gap.max(gap);
        busy_until = busy_until.max(end);
    }
    Ok(audit)
}
