//! `rvlf diagnose`: finds out whether an object store can carry a lock.

use std::io;

use clap::{Args, ValueHint};

use crate::target::Target;
use crate::{exit, messages, store};

/// Test whether an object store keeps what the lock relies on
///
/// Sends the requests of the self-test, which the first acquisition of a new lock sends as well, to a key
/// beside URL.lock: creations that must be refused, and writes under a condition that holds or does not.
/// Then 16 writers race for one key, again and again: exactly one of them may win. The lock itself is
/// neither read nor written.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Diagnose {
    /// The URL of a data object: s3://BUCKET/KEY, gs:// or az://
    #[arg(value_name = "URL", value_hint = ValueHint::Url)]
    url: Target,
}

const HELP: &str = "\
EXAMPLES
  rvlf diagnose s3://bucket/data/x

EXIT STATUS
  0  the store can carry a lock
  2  usage error
  4  the store cannot carry a lock: it ignores a condition, or lets two writers win
  5  the store gave no answer, or refused access";

pub fn run(args: &Diagnose) -> io::Result<u8> {
    match &args.url {
        Target::Store(url) => store::diagnose(url),
        Target::File(_) => {
            messages::print(
                "rvlf diagnose tests an object store: give a URL such as s3://bucket/data/x",
            );
            Ok(exit::USAGE)
        }
    }
}
