//! `rvlf run URL`.

use std::time::{Duration, Instant};

use rvlf::{CancelToken, Escaped};
use rvlf_object_store::{
    AcquireError, ReleaseError, Released, StoreLock, StoreOptions, block_on, is_idle,
};

use super::holding::Holding;
use super::url::Url;
use super::{options, waiting};
use crate::environment::{Environment, Holds};
use crate::events::Events;
use crate::failure::{failed, failed_to};
use crate::order::Order;
use crate::progress::{self, Ended};
use crate::sys::{command, signals};
use crate::verbs::acquisition::Acquisition;
use crate::{exit, messages, time};

/// Runs a command under the lock. Every failure is printed where it happens. The error is the exit status for
/// it.
pub fn run(
    url: &Url,
    acquisition: &Acquisition,
    lease: Option<Duration>,
    order: &Order,
) -> Result<i32, u8> {
    command::check(order).map_err(failed)?;
    let options = options::with_lease(lease).map_err(failed)?;
    refuse_nesting(url)?;
    signals::unblock().map_err(|error| failed(&error))?;
    let mut events = signals::listen().map_err(|error| failed(&error))?;
    let lock = acquire(url, acquisition, &options, &mut events)?;
    report_reclaimed(&lock);
    // A signal that arrived during the acquisition was meant for rvlf: no command runs yet.
    while let Some(event) = events.try_next() {
        if let Some(signal) = event.fatal_signal() {
            release(lock, &mut events)?;
            return Err(exit::status_for_signal(signal as i32));
        }
    }
    run_holding(lock, events, order)
}

/// Runs the command until it ends, and releases the lock. Must run on the main thread.
fn run_holding(lock: StoreLock, events: Events, order: &Order) -> Result<i32, u8> {
    let mut holding = Holding::new(lock, events).map_err(|error| failed(&error))?;
    // This process was stopped since the acquisition, and another one has the lock by now.
    if let Err(lost) = holding.lock().check_local() {
        messages::print(format_args!("{lost}: the command was not started"));
        let (lock, mut events) = holding.into_parts();
        release(lock, &mut events)?;
        return Err(exit::RVLF_FAILED);
    }
    let environment = Environment::of_object(holding.lock());
    let mut supervisor = match command::start_alone(&environment, order) {
        Ok(supervisor) => supervisor,
        Err(status) => {
            let (lock, mut events) = holding.into_parts();
            release(lock, &mut events)?;
            return Err(status);
        }
    };
    let ended = supervisor.wait(&mut holding);
    supervisor.dismiss_guardian();
    // The end of the command is what counts: a lock that is lost later had a holder until then.
    let has_failed = holding.has_failed() || holding.lock().check_local().is_err();
    let (lock, mut events) = holding.into_parts();
    release(lock, &mut events)?;
    let status = ended.map_err(|error| failed_to("wait for the command", &error))?;
    if status == i32::from(exit::SUCCESS) && has_failed && order.kills_on_loss {
        // The command ended with 0 although it did not have the lock to the end, or received a signal to end.
        return Err(exit::RVLF_FAILED);
    }
    Ok(status)
}

/// A command under the lock that waits for the same lock waits indefinitely.
fn refuse_nesting(url: &Url) -> Result<(), u8> {
    let Some(holds) = Holds::of_this_process() else {
        return Ok(());
    };
    let opened = url.open(&StoreOptions::new()).map_err(failed)?;
    // The outer rvlf run has no lock that is absent.
    let Some(report) = opened.inspect().map_err(failed)? else {
        return Ok(());
    };
    match report
        .record()
        .filter(|record| report.is_held() && holds.contain(record.writer_id()))
    {
        None => Ok(()),
        Some(record) => Err(failed(format_args!(
            "{}: held by the rvlf run that started this command (writer id {}): waiting for it would never \
             end; leave the inner rvlf out, or lock other data",
            Escaped::path(opened.data.to_string().as_ref()),
            record.writer_id(),
        ))),
    }
}

fn acquire(
    url: &Url,
    acquisition: &Acquisition,
    options: &StoreOptions,
    events: &mut Events,
) -> Result<StoreLock, u8> {
    let cancel = CancelToken::new();
    let options = options.clone().cancel_token(&cancel);
    let patience = acquisition.patience().unwrap_or(Duration::ZERO);
    let acquired_url = url.clone();
    let work = move || {
        let opened = acquired_url.open(&options)?;
        block_on(opened.lock.acquire(patience))
    };
    let ended = progress::wait_for(waiting::looks(url), events, &cancel, work);
    match ended.map_err(|error| failed(&error))? {
        Ended::Done(Ok(lock)) => Ok(lock),
        Ended::Done(Err(error)) => Err(refused(acquisition, &error)),
        Ended::BySignal(signal) => {
            settle(events);
            Err(exit::status_for_signal(signal as i32))
        }
    }
}

/// The time that a store has to answer an acquisition that a signal has cancelled.
const SETTLES_WITHIN: Duration = Duration::from_secs(5);

/// Lets the library learn what came of its last write, and release the lock if it was acquired: ended before, this
/// process would leave a lock for a lease. A second signal ends the wait.
fn settle(events: &mut Events) {
    let deadline = Instant::now() + SETTLES_WITHIN;
    while !is_idle() && Instant::now() < deadline {
        let event = events.next_before(Some(Instant::now() + Duration::from_millis(20)));
        if event.is_some_and(|event| event.fatal_signal().is_some()) {
            return;
        }
    }
}

/// Prints why the lock is not held.
fn refused(acquisition: &Acquisition, error: &AcquireError) -> u8 {
    if error.is_held() && acquisition.quiet {
        return acquisition.conflict_exit_code;
    }
    messages::print(error);
    match error.is_held() {
        true => acquisition.conflict_exit_code,
        false => exit::RVLF_FAILED,
    }
}

fn report_reclaimed(lock: &StoreLock) {
    if let Some(record) = lock.reclaimed() {
        messages::print(format_args!(
            "{}: taken over from pid {} on {}, which did not release it (last refreshed {}, writer id {}): \
             what it did not commit may be incomplete",
            Escaped::path(lock.name().as_ref()),
            record.pid(),
            record.hostname(),
            time::local_time_of(record.timestamp_ns()),
            record.writer_id(),
        ));
    }
}

/// Releases the lock. The error is the exit status if a signal has ended the wait for the store.
fn release(lock: StoreLock, events: &mut Events) -> Result<(), u8> {
    let name = Escaped::path(lock.name().as_ref()).to_string();
    let lease = lock.lease();
    let work = move || block_on(lock.release()).map_err(|ReleaseError { lost, .. }| lost);
    // Without a deadline: a release ends by itself, after a time.
    let ended = progress::finish_work(events, &CancelToken::new(), None, work);
    match ended.map_err(|error| failed(&error))? {
        Some(Ended::Done(Ok(Released {
            confirmed: true, ..
        }))) => Ok(()),
        Some(Ended::Done(Ok(_))) | None => {
            messages::print(format_args!(
                "{name}: the store has not confirmed the release: other processes may wait for its lease of {}",
                time::in_words(lease)
            ));
            Ok(())
        }
        // Reported when it happened.
        Some(Ended::Done(Err(_))) => Ok(()),
        Some(Ended::BySignal(signal)) => Err(exit::status_for_signal(signal as i32)),
    }
}
