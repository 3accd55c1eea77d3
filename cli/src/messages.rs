//! Messages on standard error: one line each, which begins with `rvlf: `.

use std::fmt::Display;
use std::io::Write;

use rvlf::Escaped;

pub fn print(message: impl Display) {
    let line = format!("rvlf: {}\n", Escaped::text(&message.to_string()));
    // One write, so that the lines of several processes do not mix. If it fails, no other way is
    // left to report that.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// `1 file`, `2 files`.
pub fn count(number: usize, singular: &str, plural: &str) -> String {
    let noun = if number == 1 { singular } else { plural };
    format!("{number} {noun}")
}
