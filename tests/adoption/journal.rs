//! What a contender reports of its holds: the witness beside the lock. Also a module of the program
//! rvf_runtime/contender.rs.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// A file of lines: `enter NS`, `ack ID NS`, `leave NS` and `error TEXT`. NS is the time of one clock
/// for all processes of the machine. Of a killed contender whole lines remain, because each is one
/// write(2).
pub struct Journal(File);

impl Journal {
    pub fn open(path: impl AsRef<Path>) -> Journal {
        let file = File::options().create(true).append(true).open(path);
        Journal(file.expect("the directory of journals is writable"))
    }

    /// After the store was opened: from now on this process is the only writer.
    pub fn enter(&mut self) {
        self.line(format_args!("enter {}", now()));
        dwell();
    }

    /// The store has reported that it wrote `id`.
    pub fn acknowledge(&mut self, id: u64) {
        self.line(format_args!("ack {id} {}", now()));
    }

    /// Before the store is closed: until now this process was the only writer.
    pub fn leave(&mut self) {
        dwell();
        self.line(format_args!("leave {}", now()));
    }

    pub fn error(&mut self, text: impl std::fmt::Display) {
        self.line(format_args!("error {text}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let line = format!("{line}\n");
        self.0
            .write_all(line.as_bytes())
            .expect("the disk is not full");
    }
}

/// Lengthens the hold, so that other contenders and the killer meet it.
fn dwell() {
    std::thread::sleep(Duration::from_millis(2));
}

fn now() -> i128 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux has this clock");
    i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec())
}
