//! The verbs that only Unix has.

use std::io;

use clap::Subcommand;

use super::{gate, guardian, hold};
use crate::exit;

#[derive(Subcommand)]
pub enum Verb {
    Hold(hold::Hold),
    /// Hold the lock as the keeper that `rvlf hold` has started
    #[command(hide = true)]
    Keep(hold::Hold),
    #[command(hide = true)]
    Guard(guardian::Guard),
    #[command(hide = true)]
    Gated(gate::Gated),
}

impl Verb {
    /// An error is a failure to write to standard output.
    pub fn run(self) -> io::Result<u8> {
        match self {
            Verb::Hold(args) => Ok(hold::run(&args)),
            Verb::Keep(args) => Ok(hold::keep(&args)),
            Verb::Guard(guard) => guard.run().map(|()| exit::SUCCESS),
            Verb::Gated(gated) => Ok(gated.run()),
        }
    }
}
