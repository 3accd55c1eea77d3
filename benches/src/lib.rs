//! What the benches share: candidates measured in turn, speed goals, directories to measure in.
//!
//! `cargo bench -p rvlf-benches` runs every bench, `--bench NAME` one of them. Options after `--`:
//! `--goals` leaves out what only criterion measures; `--test` runs everything once, in seconds,
//! and judges no goal.

mod command;
mod directory;
mod goal;
mod mode;
mod process;
mod record;
mod samples;

pub use command::{Installed, build_command};
pub use directory::{Directory, directories};
pub use goal::{Goal, report_goal};
pub use mode::Mode;
pub use process::{cpu_time, entries_in, raise_descriptor_limit, resident_bytes};
pub use record::dead_record;
pub use samples::{Samples, interleaved, print_row, show_time};
