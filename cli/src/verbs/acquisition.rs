//! What `run` and `hold` share: the lock is acquired, or its holder is reported.

use std::io;
use std::path::Path;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};
use rvlf::judge::FileSystem;
use rvlf::{
    AcquireError, CancelToken, Escaped, LockFile, LockOptions, LockState, Lost, WriterId,
    WriterLock, lock_path_for,
};

use crate::arguments::without_lock;
use crate::environment::Holds;
use crate::events::Events;
use crate::failure::failed;
use crate::holding::Holding;
use crate::progress::{self, Ended};
use crate::sys::signals;
use crate::target::Target;
use crate::{exit, inspection, messages, render, time};

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
    #[arg(short = 'E', long, value_name = "CODE", default_value_t = exit::TRY_AGAIN, value_parser = exit::parse)]
    pub conflict_exit_code: u8,

    /// Print nothing if another process holds the lock
    #[arg(short, long)]
    pub quiet: bool,

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

    /// The data file, or for `run` a URL; its lock is DATA.lock
    #[arg(value_hint = ValueHint::FilePath)]
    pub data: Target,
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
    /// Acquires the lock of a data file. Every failure is printed where it happens. The error is the exit
    /// status for it.
    pub fn acquire(&self, data: &Path) -> Result<Holding, u8> {
        if let Some(writer_id) = nesting_hold(data) {
            messages::print(format_args!(
                "{}: held by the rvlf run that started this command (writer id {writer_id}): waiting for \
                 it would never end; leave the inner rvlf out, or lock another data file",
                Escaped::path(data)
            ));
            return Err(exit::RVLF_FAILED);
        }
        report_name_of_lock_file(data);
        signals::unblock().map_err(|error| failed(&error))?;
        let free = self.open_if_free(data);
        let mut events = signals::listen().map_err(|error| failed(&error))?;
        let lock = self.attempt(data, free, &mut events)?;
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

    /// The lock file, if the lock is free, and on a local file system, whose calls return soon.
    ///
    /// On another file system this call may hang. No signal has a handler yet: each ends this process, which
    /// has made no lock file.
    fn open_if_free(&self, data: &Path) -> Option<LockFile> {
        let file = LockFile::with_options(data, self.options()).ok()?;
        let is_local = matches!(file.file_system(), FileSystem::Local { .. });
        (is_local && file.inspect().ok()? == LockState::Free).then_some(file)
    }

    fn attempt(
        &self,
        data: &Path,
        free: Option<LockFile>,
        events: &mut Events,
    ) -> Result<WriterLock, u8> {
        // A thread for the wait would cost more than the lock.
        let acquired = free.map(|file| checked(file.try_acquire()));
        match acquired {
            Some(acquired) if !(self.patience().is_some() && is_refused(&acquired)) => {
                self.report(data, acquired)
            }
            _ => self.attempt_on_a_thread(data, events),
        }
    }

    fn attempt_on_a_thread(&self, data: &Path, events: &mut Events) -> Result<WriterLock, u8> {
        let cancel = CancelToken::new();
        let (options, path, wait) = (self.options(), data.to_owned(), self.patience());
        let waiting = options.clone().cancel_token(&cancel);
        let work = move || {
            checked(match wait {
                None => options.try_acquire(path),
                Some(timeout) => waiting.acquire(path, timeout),
            })
        };
        let ended = progress::wait_for(render::looks(data), events, &cancel, work);
        match ended.map_err(|error| failed(&error))? {
            Ended::Done(acquired) => self.report(data, acquired),
            Ended::BySignal(signal) => Err(exit::status_for_signal(signal as i32)),
        }
    }

    /// Prints why the lock is not held.
    fn report(
        &self,
        data: &Path,
        acquired: Result<Checked, AcquireError>,
    ) -> Result<WriterLock, u8> {
        let error = match acquired {
            Ok((lock, checked)) => return checked.map(|()| lock).map_err(|lost| failed(&lost)),
            Err(error) => error,
        };
        if self.quiet && error.is_held() {
            return Err(self.conflict_exit_code);
        }
        messages::print(&error);
        if let Some(holder) = error.holder() {
            inspection::report_kept_open(data, holder);
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

    /// # Errors
    ///
    /// There is an option that only a lock file has.
    pub fn check_for_store(&self) -> Result<(), &'static str> {
        const REFRESHES: &str = "--no-keepalive is for lock files: a lock in an object store is lost without \
                                 refreshes; leave it out";
        const ALIASES: &str =
            "--refuse-aliases is for lock files: an object has one key; leave it out";
        match (self.no_keepalive, self.refuse_aliases) {
            (true, _) => Err(REFRESHES),
            (_, true) => Err(ALIASES),
            _ => Ok(()),
        }
    }

    pub fn kills_on_loss(&self) -> bool {
        self.on_lost == OnLost::Kill
    }

    /// How long to wait for the lock. `None`: one attempt.
    pub fn patience(&self) -> Option<Duration> {
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

/// `d.lock` is the lock file of d where d or `d.lock` is there, and a data file where neither is.
fn report_name_of_lock_file(data: &Path) {
    let is_missing = |path: &Path| {
        path.symlink_metadata()
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    let meant = without_lock(data).filter(|meant| is_missing(meant) && is_missing(data));
    if let Some(meant) = meant {
        messages::print(format_args!(
            "{}: taken for a data file, since neither it nor {} is there: its lock is {}",
            Escaped::path(data),
            Escaped::path(&meant),
            Escaped::path(&lock_path_for(data)),
        ));
    }
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
            "{path}: removed a lock file without a whole record, of a writer that died or of another program: \
             {advice}"
        )),
    }
}
