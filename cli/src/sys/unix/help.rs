//! The help, which is written for Unix.

use clap::Command;

pub fn adapted(command: Command) -> Command {
    command
}
