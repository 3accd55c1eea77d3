//! `rvlf run`: runs a command while holding a lock.

use std::error::Error;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::Sender;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};
use rvlf::{
    CancelToken, Escaped, HoldError, LockFile, LockOptions, Released, WriterId, WriterLock,
    lock_path_for,
};

use crate::descendants::{Ticks, adopt_orphans};
use crate::progress::{self, Ended};
use crate::signals::{self, Event, Events};
use crate::supervisor::Supervisor;
use crate::{arguments, exit, inspection, messages, time};

/// Run a command while holding the lock of a data file
///
/// COMMAND inherits a file descriptor of the lock file. If rvlf is killed, the lock stays held
/// until COMMAND and every process that inherited the descriptor have ended. COMMAND finds the path
/// of the lock file in RVLF_LOCK_PATH and the id of this hold in RVLF_WRITER_ID. When COMMAND ends,
/// rvlf releases the lock, or leaves it to the processes that still have the descriptor.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Run {
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

    /// When COMMAND has ended, wait for the processes that it has started and that still have the
    /// lock's descriptor
    ///
    /// rvlf refreshes the lock meanwhile. Without this option the lock is left to them: no process
    /// refreshes it, and deployed RVF clients, and on network file systems other writers, take it after
    /// a while.
    #[arg(long, conflicts_with = "close")]
    wait_children: bool,

    /// Do not refresh the record while COMMAND runs
    ///
    /// Without refreshes, deployed RVF clients on other hosts can take the lock after 300 s, and
    /// on network file systems every other writer can.
    #[arg(long)]
    no_keepalive: bool,

    /// Do not let COMMAND inherit the lock's file descriptor
    ///
    /// For a COMMAND that leaves daemons running. If rvlf is killed, COMMAND is killed as well and
    /// the lock is free at once.
    #[arg(short = 'o', long)]
    close: bool,

    /// Refuse a DATA that is a link or a mount point
    ///
    /// The lock goes by the path: under two names, or mounted alone into two containers, DATA has
    /// two locks. Refused are a symbolic link, a file with several hard links, and a mount point.
    #[arg(long)]
    refuse_aliases: bool,

    /// What to do if the lock is lost while COMMAND runs
    #[arg(long, value_enum, value_name = "ACTION", default_value_t = OnLost::Kill)]
    on_lost: OnLost,

    /// The data file; its lock is DATA.lock
    #[arg(value_hint = ValueHint::FilePath)]
    data: PathBuf,

    /// The command and its arguments
    #[arg(trailing_var_arg = true, required = true, value_hint = ValueHint::CommandWithArguments)]
    command: Vec<OsString>,
}

/// The environment variable that lists the writer ids of all holds under which a command runs.
const HOLDS: &str = "RVLF_HOLDS";

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnLost {
    /// Send SIGTERM to COMMAND, and SIGKILL if it still runs after 5 seconds
    Kill,
    /// Only print a message
    Warn,
}

const HELP: &str = "\
EXAMPLES
  rvlf run store.rvf -- ./compact store.rvf
  rvlf run --wait 30s store.rvf rsync -a incoming/ store.rvf.d/
  rvlf run -n -q -E 0 store.rvf ./nightly-if-free
  rvlf run --wait --on-lost=warn log -- sh -c 'date >> log'

EXIT STATUS
  That of COMMAND, 128 + N if signal N killed COMMAND, or
  75   another process holds the lock (with --wait: at the end of DURATION);
       -E sets another number
  125  rvlf itself failed: usage error, no usable lock file, or the lock was
       lost and COMMAND ended with 0 (with --on-lost=kill)
  126  COMMAND cannot be executed
  127  COMMAND was not found
  130  interrupted by Ctrl-C while waiting (128 + the number of the signal)";

pub fn run(mut args: Run) -> u8 {
    args.data = arguments::data_file(&args.data);
    let (Ok(status) | Err(status)) = run_locked(&args);
    status
}

/// Every failure is printed where it happens. The error is the exit status for it.
fn run_locked(args: &Run) -> Result<u8, u8> {
    if let Some(writer_id) = nesting_hold(&args.data) {
        messages::print(format_args!(
            "{}: held by the rvlf run that started this command (writer id {writer_id}): waiting for it \
             would never end; leave the inner rvlf run out, or lock another data file",
            Escaped::path(&args.data)
        ));
        return Err(exit::RVLF_FAILED);
    }
    let channel = signals::listen().map_err(|error| failed(&error))?;
    let lock = acquire(args, &channel)?;
    report_reclaimed(&lock);
    // A signal that arrived during the acquisition was meant for rvlf: the command does not run
    // yet.
    let fatal = |event: Event| event.fatal_signal();
    if let Some(signal) = channel.1.try_iter().find_map(fatal) {
        release(lock, args, &channel)?;
        return Err(exit::status_for_signal(signal as i32));
    }
    lock.check().map_err(|lost| failed(&lost))?;
    messages::print_in_background().map_err(|error| failed(&error))?;
    let status = run_holding(lock, args, &channel);
    messages::flush();
    status
}

/// The hold of `data` under which this process runs, if there is one.
fn nesting_hold(data: &Path) -> Option<WriterId> {
    let holds = std::env::var(HOLDS).ok()?;
    let state = rvlf::inspect(data).ok()?;
    let writer_id = state.holder()?.record()?.writer_id();
    holds
        .split(':')
        .any(|hold| hold == writer_id.to_string())
        .then_some(writer_id)
}

fn failed(error: &dyn Error) -> u8 {
    messages::print(error);
    exit::RVLF_FAILED
}

fn acquire(args: &Run, channel: &Events) -> Result<WriterLock, u8> {
    let cancel = CancelToken::new();
    let (options, data, wait) = (
        options(args, &channel.0),
        args.data.clone(),
        args.patience(),
    );
    let waiting = options.clone().cancel_token(&cancel);
    let work = move || match wait {
        None => options.try_acquire(data),
        Some(timeout) => waiting.acquire(data, timeout),
    };
    let ended = progress::wait_for(&args.data, channel, &cancel, work);
    match ended.map_err(|error| failed(&error))? {
        Ended::Done(Ok(lock)) => Ok(lock),
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

fn options(args: &Run, events: &Sender<Event>) -> LockOptions {
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

/// Runs the command until it ends, and releases the lock. Must run on the main thread: the kernel
/// sends the death signal of a child when the thread that started the child ends.
fn run_holding(lock: WriterLock, args: &Run, channel: &Events) -> Result<u8, u8> {
    adopt_orphans();
    let started = Ticks::now().map_err(|error| failed(&error));
    let child = started.and_then(|since| Ok((since, spawn(&lock, args)?)));
    let (since, child) = match child {
        Ok(started) => started,
        Err(status) => {
            release(lock, args, channel)?;
            return Err(status);
        }
    };
    let kills_on_loss = args.on_lost == OnLost::Kill;
    let ended = Supervisor::new(&child, since, kills_on_loss).wait(&channel.1);
    let was_held = release(lock, args, channel)?;
    let status = ended.map_err(|error| {
        messages::print(format_args!("cannot wait for the command: {error}"));
        exit::RVLF_FAILED
    })?;
    if status == exit::SUCCESS && !was_held && kills_on_loss {
        // The command ended with 0 although it did not have the lock to the end.
        return Err(exit::RVLF_FAILED);
    }
    Ok(status)
}

/// Starts the command, or returns the exit status that says why not.
fn spawn(lock: &WriterLock, args: &Run) -> Result<Child, u8> {
    let (program, arguments) = args.command.split_first().expect("clap requires a command");
    let lock_path = std::path::absolute(lock.lock_path());
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env(
            "RVLF_LOCK_PATH",
            lock_path.unwrap_or_else(|_| lock.lock_path().to_owned()),
        )
        .env("RVLF_WRITER_ID", lock.writer_id().to_string())
        .env(HOLDS, holds_with(lock.writer_id()));
    if args.close {
        rvlf::process::kill_with_parent(&mut command);
    } else if let Err(error) = lock.lend_to(&mut command) {
        messages::print(format_args!("cannot pass the lock to the command: {error}"));
        return Err(exit::RVLF_FAILED);
    }
    command.spawn().map_err(|error| {
        let program = Escaped::path(program.as_ref());
        messages::print(format_args!("cannot run {program}: {error}"));
        match error.kind() {
            io::ErrorKind::NotFound => exit::NOT_FOUND,
            // The system has no room for another process: the command itself may be executable.
            io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => exit::RVLF_FAILED,
            _ => exit::NOT_EXECUTABLE,
        }
    })
}

/// The value of [`HOLDS`] for a command that runs under one more hold.
fn holds_with(writer_id: WriterId) -> String {
    match std::env::var(HOLDS) {
        Ok(outer) if !outer.is_empty() => format!("{outer}:{writer_id}"),
        _ => writer_id.to_string(),
    }
}

/// Returns whether the lock was held until now and is released, or left to processes that the command
/// has started. The error is the exit status if a signal ended the release, which may hang with its
/// file system.
fn release(lock: WriterLock, args: &Run, channel: &Events) -> Result<bool, u8> {
    let patience = match args.wait_children {
        true => Duration::MAX,
        false => Duration::ZERO,
    };
    let cancel = CancelToken::new();
    let token = cancel.clone();
    let work = move || lock.release_within(patience, &token).map_err(Box::new);
    let ended = progress::finish_work(channel, &cancel, work);
    let error = match ended.map_err(|error| failed(&error))? {
        Ended::Done(Ok(Released::Free)) => return Ok(true),
        Ended::Done(Ok(Released::StillOpen)) => {
            report_left_open(&args.data);
            return Ok(true);
        }
        Ended::Done(Err(error)) => error,
        Ended::BySignal(signal) => return Err(exit::status_for_signal(signal as i32)),
    };
    messages::print(&error);
    if let HoldError::Io(_) = error.error {
        // The lock file stays. It becomes stale when this process ends.
        messages::print("the next writer that may remove the lock file recovers the lock");
    }
    Ok(false)
}

fn report_left_open(data: &Path) {
    let found = LockFile::open(data).and_then(|file| file.locked_by());
    let keepers = found.ok().and_then(|found| inspection::kept_open(&found));
    let keepers =
        keepers.unwrap_or_else(|| "kept open by a process that the command started".into());
    messages::print(format_args!(
        "{}: stays held after the command's end: {keepers}; no process refreshes the lock: deployed RVF \
         clients take it after 30 s, and on network file systems other writers after 300 s; to wait for \
         such processes: rvlf run --wait-children; to release the lock nevertheless: rvlf run --close",
        Escaped::path(&lock_path_for(data))
    ));
}

impl Run {
    /// How long to wait for the lock. `None`: one attempt.
    fn patience(&self) -> Option<Duration> {
        let wait = self.wait.map(|timeout| timeout.unwrap_or(Duration::MAX));
        wait.or(self.timeout)
    }
}
