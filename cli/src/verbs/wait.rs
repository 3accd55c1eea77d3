//! `rvlf wait`: returns when a lock is free.

use std::path::Path;
use std::time::Duration;

use clap::{Args, ValueHint};
use rvlf::{CancelToken, Escaped, LockFile, LockOptions, LockState, WaitError};

use crate::escape::shell_path;
use crate::failure::io_failed;
use crate::inspection::Inspection;
use crate::progress::{self, Ended};
use crate::sys::signals;
use crate::target::Target;
use crate::{arguments, exit, messages, render, store, time};

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

    /// The data file or URL; its lock is DATA.lock
    #[arg(value_hint = ValueHint::FilePath)]
    data: Target,
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
    let (Ok(status) | Err(status)) = match &args.data {
        Target::File(data) => wait(&arguments::data_file(data), args.timeout),
        Target::Store(url) => store::wait(url, args.timeout),
    };
    status
}

/// Every failure is printed where it happens. The error is the exit status for it.
fn wait(data: &Path, timeout: Option<Duration>) -> Result<u8, u8> {
    let mut events = signals::listen().map_err(io_failed)?;
    let cancel = CancelToken::new();
    let options = LockOptions::new().cancel_token(&cancel);
    let (path, patience) = (data.to_owned(), timeout.unwrap_or(Duration::MAX));
    let work = move || {
        let file = LockFile::with_options(path, options)?;
        let state = file.wait_until_free(patience)?;
        Ok::<_, WaitError>(Inspection::from_state(&file, state))
    };
    let ended = progress::wait_for(render::looks(data), &mut events, &cancel, work);
    match ended.map_err(io_failed)? {
        Ended::Done(waited) => {
            let inspection = waited.map_err(io_failed)?;
            report(data, timeout, &inspection);
            Ok(exit::status_for_state(&inspection.state))
        }
        Ended::BySignal(signal) => Err(exit::status_for_signal(signal as i32)),
    }
}

/// Says why the lock is not free.
fn report(data: &Path, timeout: Option<Duration>, inspection: &Inspection) {
    let state = &inspection.state;
    if matches!(state, LockState::Free) {
        return;
    }
    let (path, line) = (Escaped::path(data), render::line(inspection));
    match timeout {
        Some(timeout) if exit::status_for_state(state) == exit::HELD => {
            let (seconds, data) = (timeout.as_secs_f64(), shell_path(data));
            messages::print(format_args!(
                "{path}: timed out after {seconds} s: {line}; for details: rvlf status {data}"
            ));
        }
        _ => {
            let step = render::next_step(state, data).unwrap_or_default();
            messages::print(format_args!("{path}: {line}; next step: {step}"));
        }
    }
}
