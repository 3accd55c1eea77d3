//! Windows: job objects, the console, and handles that are inherited.

pub mod command;
pub mod file_limit;
pub mod help;
mod hold;
pub mod open_locks;
pub mod regular_file;
pub mod removal;
pub mod signals;
pub mod standard_error;
pub mod supervisor;
mod verb;

pub use verb::Verb;
