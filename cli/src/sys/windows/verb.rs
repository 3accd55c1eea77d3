//! The verbs that only Unix has, each with the reason.

use std::io;

use clap::Subcommand;

use super::hold;

#[derive(Subcommand)]
pub enum Verb {
    #[command(hide = true)]
    Hold(hold::Hold),
}

impl Verb {
    /// An error is a failure to write to standard output.
    pub fn run(self) -> io::Result<u8> {
        match self {
            Verb::Hold(_) => Ok(hold::refuse()),
        }
    }
}
