//! Unix: signals, process trees, and descriptors that are inherited.

pub mod command;
mod descendants;
mod ending;
pub mod file_limit;
mod gate;
mod guardian;
pub mod help;
mod hold;
mod ignored;
mod inherited;
pub mod open_locks;
mod other_process;
mod own_program;
pub mod regular_file;
pub mod removal;
pub mod signals;
mod sigpipe;
pub mod standard_error;
pub mod supervisor;
mod verb;

pub use verb::Verb;
