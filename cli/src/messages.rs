//! Messages on standard error: one line each, which begins with `rvlf: `.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rvlf::Escaped;

use crate::thread;

/// The time that the reader of standard error has at the end to read what is left.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where messages go once they are printed in the background.
static BACKGROUND: OnceLock<Sender<Message>> = OnceLock::new();

enum Message {
    Line(String),
    /// Answered when all lines before it are written.
    Flush(Sender<()>),
}

pub fn print(message: impl Display) {
    let line = format!("rvlf: {}\n", Escaped::text(&message.to_string()));
    match BACKGROUND.get() {
        // The thread receives until this process ends.
        Some(background) => drop(background.send(Message::Line(line))),
        None => write(&line),
    }
}

/// Has a thread write all messages from now on: a pipe that no process reads must not keep the caller
/// from what it has to do next.
///
/// # Errors
///
/// No thread can be started.
pub fn print_in_background() -> io::Result<()> {
    let (sender, messages) = channel();
    thread::spawn("rvlf-messages", move || write_all(&messages))?;
    BACKGROUND.get_or_init(|| sender);
    Ok(())
}

/// Waits until all messages are written, for [`PATIENCE`] at most.
pub fn flush() {
    if let Some(background) = BACKGROUND.get() {
        let (written, is_written) = channel();
        let _ = background.send(Message::Flush(written));
        let _ = is_written.recv_timeout(PATIENCE);
    }
}

fn write_all(messages: &Receiver<Message>) {
    for message in messages {
        match message {
            Message::Line(line) => write(&line),
            Message::Flush(written) => drop(written.send(())),
        }
    }
}

/// One write, so that the lines of several processes do not mix.
fn write(line: &str) {
    // If it fails, no other way is left to report that.
    let _ = io::stderr().write_all(line.as_bytes());
}

/// `1 file`, `2 files`.
pub fn count(number: usize, singular: &str, plural: &str) -> String {
    let noun = if number == 1 { singular } else { plural };
    format!("{number} {noun}")
}
