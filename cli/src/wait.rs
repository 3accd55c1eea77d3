//! `rvlf wait`: return when a lock is free.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};
use rvlf::LockState;

use crate::waiting::{self, Ended};
use crate::{duration, exit, report, signals, text};

/// Wait until the lock of a data file is free
///
/// Does not acquire it: somebody else may be quicker. To wait and acquire, use `rvlf run --wait`.
/// Returns also when the holder has died (exit status 3).
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Wait {
    /// Give up after DURATION (500ms, 5s, 2m, 1h)
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    timeout: Option<Duration>,

    /// The data file; its lock is DATA.lock
    #[arg(value_hint = ValueHint::FilePath)]
    data: PathBuf,
}

const HELP: &str = "\
EXAMPLES
  rvlf wait store.rvf && notify-send 'store.rvf is free'
  rvlf wait --timeout 30s store.rvf

EXIT STATUS
  0    free
  1    still held when the time was over
  2    bad usage
  3    stale: its holder has died; the next writer recovers the lock
  4    malformed, of an unsupported version, or no RVLF lock at all
  5    the operating system failed
  130  interrupted by Ctrl-C (128 and the signal's number)";

pub fn run(args: Wait) -> u8 {
    wait(args).unwrap_or_else(|error| {
        text::complain(&error);
        exit::IO
    })
}

/// An error that nothing else speaks for: no thread, no signal handler.
fn wait(args: Wait) -> io::Result<u8> {
    let channel = signals::listen()?;
    let (data, timeout) = (args.data.clone(), args.timeout.unwrap_or(Duration::MAX));
    let waiting = move || rvlf::wait_until_free(data, timeout);
    let state = match waiting::watched(&args.data, &channel, waiting)? {
        Ended::Done(Ok(state)) => state,
        Ended::Done(Err(error)) => {
            text::complain(&error);
            return Ok(exit::IO);
        }
        Ended::By(signal) => return Ok(exit::by_signal(signal as i32)),
    };
    if !matches!(state, LockState::Free) {
        let (path, line) = (text::path(&args.data), report::line(&state));
        let (when, step) = match args.timeout {
            Some(timeout) if exit::of_state(&state) == exit::HELD => (
                format!("timed out after {} s: ", timeout.as_secs_f64()),
                // "Wait for it" is what was just done.
                format!("more of it: rvlf status {}", text::word(&args.data)),
            ),
            _ => (
                String::new(),
                report::next_step(&state, &args.data).unwrap_or_default(),
            ),
        };
        text::say(format_args!("{path}: {when}{line}; {step}"));
    }
    Ok(exit::of_state(&state))
}
