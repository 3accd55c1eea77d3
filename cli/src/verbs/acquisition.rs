//! What `run` and `hold` share: the lock is acquired, or its holder is reported.

use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};
use rvlf::{CancelToken, Escaped, LockOptions, WriterId, WriterLock};

use crate::environment::Holds;
use crate::events::{Event, Events};
use crate::failure::failed;
use crate::progress::{self, Ended};
use crate::sys::signals;
use crate::{arguments, exit, inspection, messages, time};

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
    pub fn acquire(&mut self) -> Result<(WriterLock, Events), u8> {
        self.data = arguments::data_file(&self.data);
        if let Some(writer_id) = nesting_hold(&self.data) {
            messages::print(format_args!(
                "{}: held by the rvlf run that started this command (writer id {writer_id}): waiting for \
                 it would never end; leave the inner rvlf out, or lock another data file",
                Escaped::path(&self.data)
            ));
            return Err(exit::RVLF_FAILED);
        }
        let channel = signals::listen().map_err(|error| failed(&error))?;
        let lock = attempt(self, &channel)?;
        report_reclaimed(&lock);
        // A signal that arrived during the acquisition was meant for rvlf: no command runs yet.
        let fatal = |event: Event| event.fatal_signal();
        match channel.1.try_iter().find_map(fatal) {
            // Dropped, the lock is released.
            Some(signal) => Err(exit::status_for_signal(signal as i32)),
            None => Ok((lock, channel)),
        }
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

fn attempt(args: &Acquisition, channel: &Events) -> Result<WriterLock, u8> {
    let cancel = CancelToken::new();
    let (options, data, wait) = (
        options(args, &channel.0),
        args.data.clone(),
        args.patience(),
    );
    let waiting = options.clone().cancel_token(&cancel);
    let work = move || {
        let lock = match wait {
            None => options.try_acquire(data),
            Some(timeout) => waiting.acquire(data, timeout),
        };
        // Here, because this call hangs with its file system, too.
        lock.map(|lock| (lock.check(), lock))
    };
    let ended = progress::wait_for(&args.data, channel, &cancel, work);
    match ended.map_err(|error| failed(&error))? {
        Ended::Done(Ok((checked, lock))) => {
            checked.map_err(|lost| failed(&lost))?;
            Ok(lock)
        }
        Ended::Done(Err(error)) if args.quiet && error.is_held() => Err(args.conflict_exit_code),
        Ended::Done(Err(error)) => {
            messages::print(&error);
            if let Some(holder) = error.holder() {
                inspection::report_kept_open(&args.data, holder);
            }
            Err(match error.is_held() {
                true => args.conflict_exit_code,
                false => exit::RVLF_FAILED,
            })
        }
        Ended::BySignal(signal) => Err(exit::status_for_signal(signal as i32)),
    }
}

fn options(args: &Acquisition, events: &Sender<Event>) -> LockOptions {
    let events = events.clone();
    let options = LockOptions::new()
        .refuse_aliases(args.refuse_aliases)
        .on_lost(move |lost| {
            // Fails if the main thread has dropped the receiver: it has released the lock.
            let _ = events.send(Event::Lost(lost.clone()));
        });
    if args.no_keepalive {
        options.keepalive(None)
    } else {
        options
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
            "{path}: reclaimed from a holder whose record was malformed: {advice}"
        )),
    }
}
