//! One file for each verb: its arguments, its help and what it does.

pub mod acquisition;
pub mod break_;
pub mod completions;
pub mod diagnose;
pub mod dump;
pub mod man;
pub mod run;
pub mod scan;
pub mod status;
pub mod table;
pub mod wait;
