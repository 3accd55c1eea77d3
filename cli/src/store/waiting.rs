//! `rvlf wait URL`.

use std::time::Duration;

use rvlf::{CancelToken, ShellWord};
use rvlf_object_store::{StoreOptions, block_on};

use super::report::{Found, Looker};
use super::url::Url;
use crate::failure::io_failed;
use crate::progress::{self, Ended};
use crate::report::Report;
use crate::sys::signals;
use crate::{exit, messages};

/// Waits until the lock is free. Every failure is printed where it happens. The error is the exit status for
/// it.
pub fn wait(url: &Url, timeout: Option<Duration>) -> Result<u8, u8> {
    let mut events = signals::listen().map_err(io_failed)?;
    let cancel = CancelToken::new();
    let options = StoreOptions::new().cancel_token(&cancel);
    let waited_for = url.clone();
    let work = move || {
        let opened = waited_for
            .open(&options)
            .map_err(|error| error.to_string())?;
        let patience = timeout.unwrap_or(Duration::MAX);
        let found = block_on(opened.lock.wait_until_free(patience));
        let found = found.map_err(|error| error.to_string())?;
        Ok(Found {
            data: opened.data,
            found,
        })
    };
    match progress::wait_for(looks(url), &mut events, &cancel, work).map_err(io_failed)? {
        Ended::Done(waited) => {
            let found = waited.map_err(|error: String| io_failed(error))?;
            report(&found, timeout);
            Ok(found.status())
        }
        Ended::BySignal(signal) => Err(exit::status_for_signal(signal as i32)),
    }
}

/// A single failure of a store passes. Of more the user has to know: an endpoint that is wrong is wrong for good.
const FAILURES: u32 = 3;

/// What a wait for the lock shows, from one look after another: the holder, or why the store cannot be asked.
pub fn looks(url: &Url) -> impl FnMut() -> Option<String> + Clone + Send + use<> {
    let mut looker = Looker::new(url);
    let mut failures = 0;
    move || match looker.found() {
        Ok(report) => {
            failures = 0;
            // The record of an acquisition that is not confirmed yet is this process's own: no other holder.
            let is_held = report.status() == exit::HELD && !report.found.is_this_process();
            is_held.then(|| format!("waiting for {}: {}", report.data(), report.line()))
        }
        Err(error) => {
            failures += 1;
            (failures >= FAILURES).then(|| format!("waiting, although {error}"))
        }
    }
}

/// Says why the lock is not free.
fn report(found: &Found, timeout: Option<Duration>) {
    let (data, line) = (found.data(), found.line());
    match (found.next_step(), timeout) {
        (None, _) => {}
        (_, Some(timeout)) if found.status() == exit::HELD => {
            let (seconds, url) = (timeout.as_secs_f64(), found.data.to_string());
            let url = ShellWord::new(&url);
            messages::print(format_args!(
                "{data}: timed out after {seconds} s: {line}; for details: rvlf status {url}"
            ));
        }
        (Some(step), _) => {
            messages::print(format_args!("{data}: {line}; next step: {step}"));
        }
    }
}
