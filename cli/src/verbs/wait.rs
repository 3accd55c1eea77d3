//! `rvlf wait`: returns when a lock is free.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};
use rvlf::{CancelToken, Escaped, LockFile, LockOptions, LockState, WaitError};

use crate::escape::shell_word;
use crate::inspection::Inspection;
use crate::progress::{self, Ended};
use crate::sys::signals;
use crate::{arguments, exit, messages, render, time};

/// Wait until the lock of a data file is free
///
/// Does not acquire the lock: another process may acquire it first. To wait and then hold the lock,
/// use `rvlf run --wait`. Also returns if the holder dies (exit status 3).
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

pub fn run(mut args: Wait) -> u8 {
    args.data = arguments::data_file(&args.data);
    let (Ok(status) | Err(status)) = wait(&args);
    status
}

/// Every failure is printed where it happens. The error is the exit status for it.
fn wait(args: &Wait) -> Result<u8, u8> {
    let mut events = signals::listen().map_err(|error| failed(&error))?;
    let cancel = CancelToken::new();
    let options = LockOptions::new().cancel_token(&cancel);
    let (data, timeout) = (args.data.clone(), args.timeout.unwrap_or(Duration::MAX));
    let work = move || {
        let file = LockFile::with_options(data, options)?;
        let state = file.wait_until_free(timeout)?;
        Ok::<_, WaitError>(Inspection::from_state(&file, state))
    };
    let ended = progress::wait_for(render::looks(&args.data), &mut events, &cancel, work);
    match ended.map_err(|error| failed(&error))? {
        Ended::Done(waited) => {
            let inspection = waited.map_err(|error| failed(&error))?;
            report(args, &inspection);
            Ok(exit::status_for_state(&inspection.state))
        }
        Ended::BySignal(signal) => Err(exit::status_for_signal(signal as i32)),
    }
}

fn failed(error: &dyn Error) -> u8 {
    messages::print(error);
    exit::IO
}

/// Says why the lock is not free.
fn report(args: &Wait, inspection: &Inspection) {
    let state = &inspection.state;
    if matches!(state, LockState::Free) {
        return;
    }
    let (path, line) = (Escaped::path(&args.data), render::line(inspection));
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
