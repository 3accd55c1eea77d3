//! `rvlf completions`: the completion scripts that a package installs.

use std::io::{self, Write};

use clap::{Args, Command};
use clap_complete::Shell;

use crate::exit;

/// Print a completion script for a shell
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

const HELP: &str = "\
EXAMPLES
  source <(rvlf completions bash)
  rvlf completions fish > ~/.config/fish/completions/rvlf.fish

EXIT STATUS
  0  success
  2  usage error
  5  operating system error";

pub fn run(args: &Completions, mut command: Command) -> io::Result<u8> {
    // The generator panics if its output fails, for example at a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "rvlf", &mut script);
    io::stdout().write_all(&script)?;
    Ok(exit::SUCCESS)
}
