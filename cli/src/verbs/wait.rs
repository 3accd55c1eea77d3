//! `rvlf wait`: returns when a lock is free.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};
use rvlf::{LockFile, LockState};

use crate::escape::{self, shell_word};
use crate::progress::{self, Ended};
use crate::{exit, messages, render, signals, time};

/// Wait until the lock of a data file is free
///
/// Does not acquire the lock: another process may be faster. To wait and then hold the lock, use
/// `rvlf run --wait`. Also returns if the holder dies (exit status 3).
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Wait {
    /// Give up after DURATION (500ms, 5s, 2m, 1h)
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration)]
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
  1    timed out: still held
  2    usage error
  3    stale: the holder has died; the next writer recovers the lock
  4    malformed, of an unsupported version, or not an RVLF lock
  5    operating system error
  130  interrupted by Ctrl-C (128 + the number of the signal)";

pub fn run(args: &Wait) -> u8 {
    wait(args).unwrap_or_else(|error| {
        messages::print_error(&error);
        exit::IO
    })
}

/// Fails only if no thread can be started or no signal handler can be installed.
fn wait(args: &Wait) -> io::Result<u8> {
    let channel = signals::listen()?;
    let (data, timeout) = (args.data.clone(), args.timeout.unwrap_or(Duration::MAX));
    let work = move || LockFile::open(data)?.wait_until_free(timeout);
    match progress::wait_for(&args.data, &channel, work)? {
        Ended::Done(Ok(state)) => {
            report(args, &state);
            Ok(exit::status_for_state(&state))
        }
        Ended::Done(Err(error)) => {
            messages::print_error(&error);
            Ok(exit::IO)
        }
        Ended::BySignal(signal) => Ok(exit::status_for_signal(signal as i32)),
    }
}

/// Says why the lock is not free.
fn report(args: &Wait, state: &LockState) {
    if matches!(state, LockState::Free) {
        return;
    }
    let (path, line) = (escape::path(&args.data), render::line(state));
    match args.timeout {
        Some(timeout) if exit::status_for_state(state) == exit::HELD => {
            let (seconds, data) = (timeout.as_secs_f64(), shell_word(&args.data));
            messages::print(format_args!(
                "{path}: timed out after {seconds} s: {line}; for details: rvlf status {data}"
            ));
        }
        _ => {
            let step = render::next_step(state, &args.data).unwrap_or_default();
            messages::print(format_args!("{path}: {line}; next step: {step}"));
        }
    }
}
