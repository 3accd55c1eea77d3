//! Messages on standard error: one line each, which begins with `rvlf: `.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rvlf::Escaped;

use crate::sys::standard_error::{is_writable_within, without_stop};

/// The time that the reader of standard error has at the end to read what is left.
const LAST_FLUSH: Duration = Duration::from_secs(1);

/// What a pipe takes without blocking once poll(2) calls it writable. pipe(7), `PIPE_BUF`
const CHUNK: usize = 4096;

/// Lines that could not be written yet. `None`: lines are written at once, and may block.
static WAITING: Mutex<Option<VecDeque<Vec<u8>>>> = Mutex::new(None);

pub fn print(message: impl Display) {
    let line = format!("rvlf: {}\n", Escaped::text(&message.to_string()));
    match &mut *waiting() {
        Some(lines) => {
            lines.push_back(line.into_bytes());
            write_waiting(lines, Duration::ZERO);
        }
        None => write(line.as_bytes()),
    }
}

/// From now on a message that would block waits for the next one, or for [`flush`]: a pipe that no
/// process reads must not keep the caller from what it has to do next.
pub fn never_block() {
    waiting().get_or_insert_default();
}

/// Writes all messages that wait, for [`LAST_FLUSH`] at most.
pub fn flush() {
    if let Some(lines) = &mut *waiting() {
        write_waiting(lines, LAST_FLUSH);
    }
}

fn waiting() -> MutexGuard<'static, Option<VecDeque<Vec<u8>>>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes lines until that would block for longer than `patience`.
fn write_waiting(lines: &mut VecDeque<Vec<u8>>, patience: Duration) {
    let deadline = Instant::now() + patience;
    while let Some(line) = lines.front_mut() {
        let left = deadline.saturating_duration_since(Instant::now());
        if !is_writable_within(left) {
            return;
        }
        let rest = line.split_off(CHUNK.min(line.len()));
        write(line);
        *line = rest;
        if line.is_empty() {
            lines.pop_front();
        }
    }
}

/// One write, so that the lines of several processes do not mix.
fn write(line: &[u8]) {
    // If it fails, no other way is left to report that.
    let _ = without_stop(|| io::stderr().write_all(line));
}

/// `1 file`, `2 files`.
pub fn count(number: usize, singular: &str, plural: &str) -> String {
    let noun = if number == 1 { singular } else { plural };
    format!("{number} {noun}")
}
