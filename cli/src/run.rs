//! `rvlf run`: a command that holds the lock.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum, ValueHint};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgid, getpgrp};
use rvlf::{AcquireError, Lost, ReleaseErrorKind, WriterLock};

use crate::signals::{self, Event};
use crate::waiting::{self, Ended};
use crate::{duration, exit, report, text};

/// How long a command that has lost its lock may take to end in good order.
const GRACE: Duration = Duration::from_secs(5);

/// Run a command while holding the lock of a data file
///
/// COMMAND inherits a descriptor of the lock file: if rvlf is killed, the lock outlives it until
/// COMMAND and whatever it has left behind have ended. COMMAND finds the lock's path in
/// RVLF_LOCK_PATH and the id of this hold in RVLF_WRITER_ID. When COMMAND ends the lock is released.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Run {
    /// Wait for the lock, for as long as it takes or for DURATION (500ms, 5s, 2m, 1h)
    #[arg(
        long,
        value_name = "DURATION",
        num_args = 0..=1,
        require_equals = true,
        value_parser = duration::parse
    )]
    wait: Option<Option<Duration>>,

    /// Do not refresh the record while COMMAND runs
    ///
    /// After 300 s deployed RVF clients on other hosts take the lock then, and on network file
    /// systems everybody does.
    #[arg(long)]
    no_keepalive: bool,

    /// Do not let COMMAND inherit the lock's descriptor
    ///
    /// For a COMMAND that leaves daemons behind. If rvlf is killed COMMAND is killed, too, and the
    /// lock is free at once.
    #[arg(short = 'o', long)]
    close: bool,

    /// What to do when the lock is lost while COMMAND runs
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
    /// End COMMAND: SIGTERM, and SIGKILL if it still runs after 5 seconds
    Kill,
    /// Only say so
    Warn,
}

const HELP: &str = "\
EXAMPLES
  rvlf run store.rvf -- ./compact store.rvf
  rvlf run --wait=30s store.rvf -- rsync -a incoming/ store.rvf.d/
  rvlf run --wait --on-lost=warn log -- sh -c 'date >> log'

EXIT STATUS
  COMMAND's own, or 128 and the number of the signal that ended it, and
  75   the lock is held by another, after --wait too
  125  a failure of rvlf itself: bad usage, no lock file to be had, or the
       lock was lost while a COMMAND that ended with 0 ran (--on-lost=kill)
  126  COMMAND cannot be executed
  127  COMMAND was not found
  130  interrupted by Ctrl-C while waiting (128 and the signal's number)";

pub fn run(args: Run) -> u8 {
    run_locked(args).unwrap_or_else(|error| {
        text::complain(&error);
        exit::OWN_FAILURE
    })
}

/// An error that nothing else speaks for: no thread, no signal handler.
fn run_locked(args: Run) -> io::Result<u8> {
    let channel = signals::listen()?;
    let acquiring = acquiring(&args, &channel.0);
    let lock = match waiting::watched(&args.data, &channel, acquiring)? {
        Ended::Done(Ok(lock)) => lock,
        Ended::Done(Err(error)) => {
            text::complain(&error);
            return Ok(exit::of_acquire_error(&error));
        }
        Ended::By(signal) => return Ok(exit::by_signal(signal as i32)),
    };
    say_reclaimed(&lock);
    let (_, events) = channel;
    // A signal that came while the lock was being acquired was meant for rvlf: no command yet.
    if let Some(signal) = events.try_iter().find_map(as_signal) {
        release(lock);
        return Ok(exit::by_signal(signal as i32));
    }
    if let Err(lost) = lock.check() {
        text::complain(&lost);
        return Ok(exit::OWN_FAILURE);
    }
    Ok(run_holding(lock, &args, &events))
}

fn as_signal(event: Event) -> Option<Signal> {
    match event {
        Event::Signal { signal, .. } => Some(signal),
        _ => None,
    }
}

fn acquiring(
    args: &Run,
    events: &Sender<Event>,
) -> impl FnOnce() -> Result<WriterLock, AcquireError> + Send + 'static {
    let events = events.clone();
    let mut options = WriterLock::options().on_lost(move |lost| {
        // A main thread that has gone has released the lock.
        let _ = events.send(Event::Lost(lost.clone()));
    });
    if args.no_keepalive {
        options = options.keepalive(None);
    }
    let (data, wait) = (args.data.clone(), args.wait);
    move || match wait {
        None => options.try_acquire(data),
        Some(timeout) => options.acquire(data, timeout.unwrap_or(Duration::MAX)),
    }
}

fn say_reclaimed(lock: &WriterLock) {
    let path = text::path(lock.lock_path());
    let advice = "the data file may need recovery";
    match lock.reclaimed_from() {
        Some(record) => text::say(format_args!(
            "{path}: reclaimed from pid {} on {}, which ended without releasing it (last refreshed \
             {}, writer id {}): {advice}",
            record.pid(),
            record.hostname(),
            report::local_time_of(record.timestamp_ns()),
            record.writer_id(),
        )),
        None if lock.has_reclaimed() => text::say(format_args!(
            "{path}: reclaimed from a holder whose record was malformed: {advice}"
        )),
        None => {}
    }
}

/// Runs the command to its end. The lock's descriptor is inherited at spawn; the thread that spawns
/// is the main thread, for the kernel takes its end for ours.
fn run_holding(lock: WriterLock, args: &Run, events: &Receiver<Event>) -> u8 {
    let mut child = match spawn(&lock, args) {
        Ok(child) => child,
        Err(status) => {
            release(lock);
            return status;
        }
    };
    let ended = Supervision::new(args.on_lost).until_end(&mut child, events);
    let status = match ended {
        Ok(status) => of_command(status),
        Err(error) => {
            text::say(format_args!("could not wait for the command: {error}"));
            exit::OWN_FAILURE
        }
    };
    let released = release(lock);
    if status == exit::DONE && !released && args.on_lost == OnLost::Kill {
        // The command succeeded without the lock, and did not learn it.
        return exit::OWN_FAILURE;
    }
    status
}

fn spawn(lock: &WriterLock, args: &Run) -> Result<Child, u8> {
    let (program, arguments) = args.command.split_first().expect("clap requires a command");
    let mut command = Command::new(program);
    command.args(arguments);
    let lock_path = std::path::absolute(lock.lock_path());
    command.env(
        "RVLF_LOCK_PATH",
        lock_path.unwrap_or_else(|_| lock.lock_path().to_owned()),
    );
    command.env("RVLF_WRITER_ID", lock.writer_id().to_string());
    if args.close {
        lock.withhold_from(&mut command);
    } else if let Err(error) = lock.lend_to(&mut command) {
        text::say(format_args!("could not lend the lock: {error}"));
        return Err(exit::OWN_FAILURE);
    }
    command.spawn().map_err(|error| {
        let program = text::path(program.as_ref());
        text::say(format_args!("could not run {program}: {error}"));
        match error.kind() {
            io::ErrorKind::NotFound => exit::NOT_FOUND,
            // No room for a process: nothing that is wrong with the command.
            io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => exit::OWN_FAILURE,
            _ => exit::NOT_EXECUTABLE,
        }
    })
}

fn of_command(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(exit::OWN_FAILURE),
        (None, Some(signal)) => exit::by_signal(signal),
        (None, None) => exit::OWN_FAILURE,
    }
}

/// False if the lock was not ours any more, or could not be released.
fn release(lock: WriterLock) -> bool {
    let Err(error) = lock.release() else {
        return true;
    };
    text::complain(&error);
    if let ReleaseErrorKind::Io { .. } = error.kind {
        // The lock file stays; the end of this process makes it stale.
        text::say("the next writer recovers the lock");
    }
    false
}

/// A running command, and what is done to it.
struct Supervision {
    on_lost: OnLost,
    /// When patience with a command that has lost its lock ends.
    deadline: Option<Instant>,
}

impl Supervision {
    fn new(on_lost: OnLost) -> Supervision {
        Supervision {
            on_lost,
            deadline: None,
        }
    }

    fn until_end(&mut self, child: &mut Child, events: &Receiver<Event>) -> io::Result<ExitStatus> {
        loop {
            match self.next(events) {
                // Signals to the child come from this thread alone, and so does the reaping of its
                // pid: no signal can hit a later process of the same number.
                Some(Event::Child) => {
                    if let Some(status) = child.try_wait()? {
                        return Ok(status);
                    }
                }
                Some(Event::Signal {
                    signal,
                    from_terminal,
                }) => {
                    // Sent again, the one Ctrl-C would count for two: many programs give up cleaning
                    // up at the second.
                    if !(from_terminal && is_in_our_group(child)) {
                        send(child, signal);
                    }
                }
                Some(Event::Lost(lost)) => self.lose(&lost, child),
                Some(Event::WorkDone) => {}
                None => {
                    self.deadline = None;
                    text::say("the command does not end: killing it");
                    send(child, Signal::SIGKILL);
                }
            }
        }
    }

    /// `None` when the deadline has passed.
    fn next(&self, events: &Receiver<Event>) -> Option<Event> {
        const LISTENING: &str = "the thread that listens to signals does not end";
        match self.deadline {
            None => Some(events.recv().expect(LISTENING)),
            Some(deadline) => {
                match events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                    Ok(event) => Some(event),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => unreachable!("{LISTENING}"),
                }
            }
        }
    }

    fn lose(&mut self, lost: &Lost, child: &Child) {
        text::complain(lost);
        if self.on_lost == OnLost::Kill {
            let pid = child.id();
            text::say(format_args!("ending the command (pid {pid}) with SIGTERM"));
            send(child, Signal::SIGTERM);
            self.deadline = Some(Instant::now() + GRACE);
        }
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

fn is_in_our_group(child: &Child) -> bool {
    getpgid(Some(pid(child))).is_ok_and(|group| group == getpgrp())
}

fn send(child: &Child, signal: Signal) {
    // A command that runs as another user cannot be told: say so, and wait for it.
    if let Err(error) = kill(pid(child), signal) {
        text::say(format_args!(
            "could not send {signal} to the command: {error}"
        ));
    }
}
