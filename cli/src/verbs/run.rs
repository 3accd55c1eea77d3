//! `rvlf run`: runs a command while holding a lock.

use std::error::Error;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};
use nix::sys::signal::Signal;
use rvlf::{CancelToken, Escaped, HoldError, LockOptions, WriterLock};

use crate::progress::{self, Ended};
use crate::signals::{self, Event, Events};
use crate::supervisor::Supervisor;
use crate::{exit, inspection, messages, time};

/// Run a command while holding the lock of a data file
///
/// COMMAND inherits a file descriptor of the lock file. If rvlf is killed, the lock stays held
/// until COMMAND and every process that inherited the descriptor have ended. COMMAND finds the path
/// of the lock file in RVLF_LOCK_PATH and the id of this hold in RVLF_WRITER_ID. rvlf releases the
/// lock when COMMAND ends.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Run {
    /// Wait for the lock indefinitely, or for DURATION (500ms, 5s, 2m, 1h)
    #[arg(
        long,
        value_name = "DURATION",
        num_args = 0..=1,
        require_equals = true,
        value_parser = time::parse_duration
    )]
    wait: Option<Option<Duration>>,

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
    #[arg(last = true, required = true, value_hint = ValueHint::CommandWithArguments)]
    command: Vec<OsString>,
}

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
  rvlf run --wait=30s store.rvf -- rsync -a incoming/ store.rvf.d/
  rvlf run --wait --on-lost=warn log -- sh -c 'date >> log'

EXIT STATUS
  That of COMMAND, 128 + N if signal N killed COMMAND, or
  75   another process holds the lock (with --wait: at the end of DURATION)
  125  rvlf itself failed: usage error, no usable lock file, or the lock was
       lost and COMMAND ended with 0 (with --on-lost=kill)
  126  COMMAND cannot be executed
  127  COMMAND was not found
  130  interrupted by Ctrl-C while waiting (128 + the number of the signal)";

pub fn run(args: &Run) -> u8 {
    let (Ok(status) | Err(status)) = run_locked(args);
    status
}

/// Every failure is printed where it happens. The error is the exit status for it.
fn run_locked(args: &Run) -> Result<u8, u8> {
    let channel = signals::listen().map_err(|error| failed(&error))?;
    let lock = acquire(args, &channel)?;
    report_reclaimed(&lock);
    let (_, events) = channel;
    // A signal that arrived during the acquisition was meant for rvlf: the command does not run
    // yet.
    if let Some(signal) = events.try_iter().find_map(as_signal) {
        release(lock);
        return Err(exit::status_for_signal(signal as i32));
    }
    lock.check().map_err(|lost| failed(&lost))?;
    run_holding(lock, args, &events)
}

fn failed(error: &dyn Error) -> u8 {
    messages::print(error);
    exit::RVLF_FAILED
}

fn as_signal(event: Event) -> Option<Signal> {
    match event {
        Event::Signal { signal, .. } => Some(signal),
        _ => None,
    }
}

fn acquire(args: &Run, channel: &Events) -> Result<WriterLock, u8> {
    let cancel = CancelToken::new();
    let (options, data, wait) = (options(args, &channel.0), args.data.clone(), args.wait);
    let waiting = options.clone().cancel_token(&cancel);
    let work = move || match wait {
        None => options.try_acquire(data),
        Some(timeout) => waiting.acquire(data, timeout.unwrap_or(Duration::MAX)),
    };
    let ended = progress::wait_for(&args.data, channel, &cancel, work);
    match ended.map_err(|error| failed(&error))? {
        Ended::Done(Ok(lock)) => Ok(lock),
        Ended::Done(Err(error)) => {
            messages::print(&error);
            if let Some(holder) = error.holder() {
                inspection::report_kept_open(&args.data, holder);
            }
            Err(exit::status_for_acquire_error(&error))
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
fn run_holding(lock: WriterLock, args: &Run, events: &Receiver<Event>) -> Result<u8, u8> {
    let child = match spawn(&lock, args) {
        Ok(child) => child,
        Err(status) => {
            release(lock);
            return Err(status);
        }
    };
    let kills_on_loss = args.on_lost == OnLost::Kill;
    let ended = Supervisor::new(child, kills_on_loss).wait(events);
    let was_held = release(lock);
    let status = status_for_command(ended.map_err(|error| {
        messages::print(format_args!("cannot wait for the command: {error}"));
        exit::RVLF_FAILED
    })?);
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
        .env("RVLF_WRITER_ID", lock.writer_id().to_string());
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

fn status_for_command(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(exit::RVLF_FAILED),
        (None, Some(signal)) => exit::status_for_signal(signal),
        (None, None) => exit::RVLF_FAILED,
    }
}

/// Returns whether the lock was held until now and is released.
fn release(lock: WriterLock) -> bool {
    let Err(error) = lock.release() else {
        return true;
    };
    messages::print(&error);
    if let HoldError::Io(_) = error.error {
        // The lock file stays. It becomes stale when this process ends.
        messages::print("the next writer recovers the lock");
    }
    false
}
