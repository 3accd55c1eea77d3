//! What `run` and `hold` share: the lock is acquired, or its holder is reported.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};
use rvlf::judge::FileSystem;
use rvlf::{
    AcquireError, CancelToken, Escaped, LockFile, LockOptions, LockState, Lost, WriterId,
    WriterLock,
};

use crate::environment::Holds;
use crate::events::Events;
use crate::failure::failed;
use crate::holding::Holding;
use crate::progress::{self, Ended};
use crate::sys::signals;
use crate::{arguments, exit, inspection, messages, render, time};

#[derive(Args)]
pub struct Acquisition {
    /// Wait for the lock indefinitely, or for DURATION (500ms, 5s, 2m, 1h)
    ///
    /// Also `--wait DURATION`. A data file with a name such as 5s is ./5s.
    #[arg(
        long,
        value_name = "DURATION",
        num_args = 0..=1,
        require_equals = true,
        value_parser = time::parse_duration
    )]
    wait: Option<Option<Duration>>,

    /// Wait for the lock for DURATION, as flock(1) has it
    #[arg(short = 'w', long, value_name = "DURATION", value_parser = time::parse_duration, conflicts_with = "wait")]
    timeout: Option<Duration>,

    /// Do not wait for the lock (the default)
    #[arg(short, long, conflicts_with_all = ["wait", "timeout"])]
    nonblock: bool,

    /// The exit status if another process holds the lock
    #[arg(short = 'E', long, value_name = "CODE", default_value_t = exit::TRY_AGAIN)]
    conflict_exit_code: u8,

    /// Print nothing if another process holds the lock
    #[arg(short, long)]
    quiet: bool,

    /// Do not refresh the record while the lock is held
    ///
    /// Without refreshes, deployed RVF clients on other hosts can take the lock after 300 s, and
    /// on network file systems every other writer can.
    #[arg(long)]
    no_keepalive: bool,

    /// Refuse a DATA that is a link or a mount point
    ///
    /// The lock goes by the path: under two names, or mounted alone into two containers, DATA has
    /// two locks. Refused are a symbolic link, a file with several hard links, and a mount point.
    #[arg(long)]
    refuse_aliases: bool,

    /// What to do if the lock is lost
    #[arg(long, value_enum, value_name = "ACTION", default_value_t = OnLost::Kill)]
    on_lost: OnLost,

    /// The data file; its lock is DATA.lock
    #[arg(value_hint = ValueHint::FilePath)]
    pub data: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnLost {
    /// Send SIGTERM to the processes that run under the lock, and SIGKILL to those that still run after
    /// 5 seconds
    Kill,
    /// Only print a message
    Warn,
}

impl Acquisition {
    /// Acquires the lock. Every failure is printed where it happens. The error is the exit status for it.
    pub fn acquire(&mut self) -> Result<Holding, u8> {
        self.data = arguments::data_file(&self.data);
        if let Some(writer_id) = nesting_hold(&self.data) {
            messages::print(format_args!(
                "{}: held by the rvlf run that started this command (writer id {writer_id}): waiting for \
                 it would never end; leave the inner rvlf out, or lock another data file",
                Escaped::path(&self.data)
            ));
            return Err(exit::RVLF_FAILED);
        }
        signals::unblock().map_err(|error| failed(&error))?;
        let seems_free = self.seems_free();
        let mut events = signals::listen().map_err(|error| failed(&error))?;
        let lock = self.attempt(seems_free, &mut events)?;
        report_reclaimed(&lock);
        // A signal that arrived during the acquisition was meant for rvlf: no command runs yet.
        while let Some(event) = events.try_next() {
            if let Some(signal) = event.fatal_signal() {
                // Dropped, the lock is released.
                return Err(exit::status_for_signal(signal as i32));
            }
        }
        Ok(Holding::new(lock, events, !self.no_keepalive))
    }

    /// The lock, if it is free and on a local file system, whose calls return soon. This one may hang: no
    /// signal has a handler yet, so each ends this process, and nothing is left behind.
    fn seems_free(&self) -> Option<LockFile> {
        let file = LockFile::with_options(&self.data, self.options()).ok()?;
        let is_local = matches!(file.file_system(), FileSystem::Local { .. });
        (is_local && file.inspect().ok()? == LockState::Free).then_some(file)
    }

    fn attempt(&self, free: Option<LockFile>, events: &mut Events) -> Result<WriterLock, u8> {
        // A thread for the wait would cost more than the lock.
        let acquired = free.map(|file| checked(file.try_acquire()));
        match acquired {
            Some(acquired) if !(self.patience().is_some() && is_refused(&acquired)) => {
                self.report(acquired)
            }
            _ => self.attempt_on_a_thread(events),
        }
    }

    fn attempt_on_a_thread(&self, events: &mut Events) -> Result<WriterLock, u8> {
        let cancel = CancelToken::new();
        let (options, data, wait) = (self.options(), self.data.clone(), self.patience());
        let waiting = options.clone().cancel_token(&cancel);
        let work = move || {
            checked(match wait {
                None => options.try_acquire(data),
                Some(timeout) => waiting.acquire(data, timeout),
            })
        };
        let ended = progress::wait_for(render::looks(&self.data), events, &cancel, work);
        match ended.map_err(|error| failed(&error))? {
            Ended::Done(acquired) => self.report(acquired),
            Ended::BySignal(signal) => Err(exit::status_for_signal(signal as i32)),
        }
    }

    /// Prints why the lock is not held.
    fn report(&self, acquired: Result<Checked, AcquireError>) -> Result<WriterLock, u8> {
        let error = match acquired {
            Ok((lock, checked)) => return checked.map(|()| lock).map_err(|lost| failed(&lost)),
            Err(error) => error,
        };
        if self.quiet && error.is_held() {
            return Err(self.conflict_exit_code);
        }
        messages::print(&error);
        if let Some(holder) = error.holder() {
            inspection::report_kept_open(&self.data, holder);
        }
        Err(match error.is_held() {
            true => self.conflict_exit_code,
            false => exit::RVLF_FAILED,
        })
    }

    /// The refreshes are those of [`Holding`].
    fn options(&self) -> LockOptions {
        LockOptions::new()
            .refuse_aliases(self.refuse_aliases)
            .keepalive(None)
    }

    pub fn kills_on_loss(&self) -> bool {
        self.on_lost == OnLost::Kill
    }

    /// How long to wait for the lock. `None`: one attempt.
    fn patience(&self) -> Option<Duration> {
        let wait = self.wait.map(|timeout| timeout.unwrap_or(Duration::MAX));
        wait.or(self.timeout)
    }
}

/// The hold of `data` under which this process runs, if there is one.
fn nesting_hold(data: &Path) -> Option<WriterId> {
    let holds = Holds::of_this_process()?;
    let state = rvlf::inspect(data).ok()?;
    let writer_id = state.holder()?.record()?.writer_id();
    holds.contain(writer_id).then_some(writer_id)
}

/// A lock, and whether it is still held.
type Checked = (WriterLock, Result<(), Lost>);

/// Checks the lock where it was acquired: this call hangs with its file system, too.
fn checked(acquired: Result<WriterLock, AcquireError>) -> Result<Checked, AcquireError> {
    acquired.map(|lock| {
        let checked = lock.check();
        (lock, checked)
    })
}

fn is_refused(acquired: &Result<Checked, AcquireError>) -> bool {
    acquired.as_ref().is_err_and(AcquireError::is_held)
}

fn report_reclaimed(lock: &WriterLock) {
    let path = Escaped::path(lock.lock_path());
    let advice = "the data file may need recovery";
    let Some(reclaimed) = lock.reclaimed() else {
        return;
    };
    match reclaimed.record {
        Some(record) => messages::print(format_args!(
            "{path}: reclaimed from pid {} on {}, which did not release it (last refreshed {}, writer \
             id {}): {advice}",
            record.pid(),
            record.hostname(),
            time::local_time_of(record.timestamp_ns()),
            record.writer_id(),
        )),
        None => messages::print(format_args!(
            "{path}: reclaimed from a holder whose record was malformed: {advice}"
        )),
    }
}
