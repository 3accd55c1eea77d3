//! `rvlf hold`, which Windows does not have.

use std::ffi::OsString;

use clap::Args;

use crate::{exit, messages};

/// Hold the lock of a data file for the rest of a script (Unix only)
#[derive(Args)]
#[command(disable_help_flag = true)]
pub struct Hold {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    _arguments: Vec<OsString>,
}

/// Returns the exit status.
pub fn refuse() -> u8 {
    messages::print(
        "rvlf hold does not work on Windows, where a process has no way to end a script that has lost its \
         lock; run the script under the lock: rvlf run DATA COMMAND",
    );
    exit::RVLF_FAILED
}
