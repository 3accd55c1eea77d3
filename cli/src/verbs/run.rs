//! `rvlf run`: runs a command while holding a lock.

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::{Args, ValueHint};
use rvlf::judge::{FileSystem, StalePolicy};
use rvlf::{
    CancelToken, Escaped, HoldError, LockFile, Lost, ReleaseError, Released, lock_path_for,
};

use super::acquisition::Acquisition;
use crate::events::EventSource;
use crate::failure::{failed, failed_to};
use crate::holding::Holding;
use crate::loss::{self, Loss};
use crate::order::Order;
use crate::progress::{self, Ended};
use crate::sys::command;
use crate::target::Target;
use crate::{arguments, exit, inspection, messages, store, time};

/// Run a command while holding the lock of a data file
///
/// COMMAND inherits a file descriptor of the lock file. If rvlf is killed, the lock stays held
/// until COMMAND and every process that inherited the descriptor have ended. COMMAND finds the path
/// of the lock file in RVLF_LOCK_PATH and the id of this hold in RVLF_WRITER_ID. When COMMAND ends,
/// rvlf releases the lock, or leaves it to the processes that still have the descriptor.
///
/// The lock of a URL has no descriptor. If rvlf is killed, COMMAND is killed as well, and the lock is free
/// after its lease. COMMAND also finds RVLF_GENERATION, the number of this hold, which is higher than that
/// of every hold before.
#[derive(Args)]
#[command(after_help = HELP, override_usage = "rvlf run [OPTIONS] <DATA> [--] <COMMAND>...")]
pub struct Run {
    #[command(flatten)]
    acquisition: Acquisition,

    /// When COMMAND has ended, wait for the processes that it has started and that still have the
    /// lock's descriptor
    ///
    /// rvlf refreshes the lock meanwhile. Without this option the lock is left to them: no process
    /// refreshes it, and deployed RVF clients, and on network file systems other writers, take it after
    /// a while.
    #[arg(long, conflicts_with = "close")]
    wait_children: bool,

    /// Do not let COMMAND inherit the lock's file descriptor
    ///
    /// For a COMMAND that leaves daemons running. If rvlf is killed, COMMAND is killed as well. The lock
    /// is free when COMMAND itself has ended: until then a guardian keeps it, also if COMMAND has changed
    /// its user and rvlf may not kill it (sudo).
    #[arg(short = 'o', long)]
    close: bool,

    /// The lease of a lock in an object store: a killed rvlf keeps the lock for this time (30s)
    ///
    /// From 5s to 1h; RVLF_LEASE sets another default. rvlf refreshes the lock six times in each lease. If no
    /// refresh succeeds, COMMAND gets SIGTERM after half of the lease, and SIGKILL after two thirds.
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration)]
    lease: Option<Duration>,

    /// The command and its arguments
    #[arg(trailing_var_arg = true, required = true, value_hint = ValueHint::CommandWithArguments)]
    command: Vec<OsString>,
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

impl Run {
    fn order(&self) -> Order<'_> {
        let (program, arguments) = self.command.split_first().expect("clap requires a command");
        Order {
            program,
            arguments,
            close: self.close,
            kills_on_loss: self.acquisition.kills_on_loss(),
        }
    }
}

/// Returns the exit status of the command, which Windows does not limit to 255.
pub fn run(args: &Run) -> i32 {
    let ended = match &args.acquisition.data {
        Target::File(data) => run_on_file(args, &arguments::data_file(data)),
        Target::Store(url) => run_on_store(args, url),
    };
    ended.unwrap_or_else(i32::from)
}

/// Every failure is printed where it happens. The error is the exit status for it.
fn run_on_store(args: &Run, url: &store::Url) -> Result<i32, u8> {
    const NO_DESCRIPTOR: &str = "--wait-children is for lock files: a lock in an object store is released when \
                                 COMMAND has ended; leave it out";
    if args.wait_children {
        return Err(failed(NO_DESCRIPTOR));
    }
    args.acquisition.check_for_store().map_err(failed)?;
    store::run(url, &args.acquisition, args.lease, &args.order())
}

/// Every failure is printed where it happens. The error is the exit status for it.
fn run_on_file(args: &Run, data: &Path) -> Result<i32, u8> {
    if args.lease.is_some() {
        return Err(failed("--lease is for URLs: a lock file has no lease"));
    }
    command::check(&args.order()).map_err(failed)?;
    let mut holding = args.acquisition.acquire(data)?;
    run_holding(&mut holding, args, data)
}

/// Runs the command until it ends, and releases the lock. Must run on the main thread.
fn run_holding(holding: &mut Holding, args: &Run, data: &Path) -> Result<i32, u8> {
    let order = args.order();
    let mut supervisor = match command::start(holding.lock(), &order) {
        Ok(supervisor) => supervisor,
        Err(status) => {
            if let Some(NotReleased::Lost(lost)) = release(holding, args, data)? {
                messages::print(&lost);
            }
            return Err(status);
        }
    };
    let ended = supervisor.wait(holding);
    supervisor.dismiss_guardian();
    let failure = release(holding, args, data)?;
    if let Some(NotReleased::Lost(lost)) = &failure {
        let ended = supervisor.end_after_loss(&Loss::from(lost), holding);
        ended.map_err(|error| failed_to("end what the command has started", &error))?;
    }
    let status = ended.map_err(|error| failed_to("wait for the command", &error))?;
    if status == i32::from(exit::SUCCESS) && failure.is_some() && order.kills_on_loss {
        // The command ended with 0 although it did not have the lock to the end.
        return Err(exit::RVLF_FAILED);
    }
    Ok(status)
}

/// Why a lock is not released.
enum NotReleased {
    /// Not printed yet.
    Lost(Lost),
    /// Printed.
    Otherwise,
}

/// Releases the lock, or leaves it to processes that the command has started. The error is the exit status if
/// a signal ended the release, which may hang with its mount.
fn release(holding: &mut Holding, args: &Run, data: &Path) -> Result<Option<NotReleased>, u8> {
    let released = match holding.lock().file_system() {
        // A thread costs more than the lock, so only where the call may take long.
        FileSystem::Local { .. } if !args.wait_children => {
            holding.take_lock()().release().map_err(Box::new)
        }
        _ => match release_on_a_thread(holding, args, data)? {
            Some(released) => released,
            None => {
                messages::print(format_args!(
                    "{}: not released: the file system does not answer",
                    Escaped::path(&lock_path_for(data)),
                ));
                return Ok(Some(NotReleased::Otherwise));
            }
        },
    };
    let error = match released {
        Ok(Released::Free) => return Ok(None),
        Ok(Released::StillOpen) => {
            report_left_open(data);
            return Ok(None);
        }
        Err(error) => error,
    };
    if let HoldError::Lost(lost) = error.error {
        return Ok(Some(NotReleased::Lost(lost)));
    }
    messages::print(&error);
    // The lock file stays. It becomes stale when this process ends.
    messages::print("the next writer that may remove the lock file recovers the lock");
    Ok(Some(NotReleased::Otherwise))
}

/// `None` if the file system does not answer.
fn release_on_a_thread(
    holding: &mut Holding,
    args: &Run,
    data: &Path,
) -> Result<Option<Result<Released, Box<ReleaseError>>>, u8> {
    let patience = match args.wait_children {
        true => Duration::MAX,
        false => Duration::ZERO,
    };
    // A release waits for the refresh that is under way, which hangs with its mount. A cron job whose lock was
    // lost by that would stay until the server is back.
    let answers_within = match holding.lock().is_lost() {
        true => Some(loss::RELEASE),
        false if args.wait_children => None,
        // After that the lock on a mount that hangs is lost, and nothing is left to release.
        false => Some(StalePolicy::new().lost_after()),
    };
    let deadline = answers_within.map(|time| Instant::now() + time);
    let cancel = CancelToken::new();
    let token = cancel.clone();
    let lock = holding.take_lock();
    let work = move || lock().release_within(patience, &token).map_err(Box::new);
    let ended = progress::finish_work(holding.events(), &cancel, deadline, work);
    match ended.map_err(|error| failed(&error))? {
        None => Ok(None),
        Some(Ended::Done(released)) => Ok(Some(released)),
        Some(Ended::BySignal(signal)) => {
            if args.wait_children {
                report_left_open(data);
            }
            Err(exit::status_for_signal(signal as i32))
        }
    }
}

fn report_left_open(data: &Path) {
    let found = LockFile::open(data).and_then(|file| file.locked_by());
    let keepers = found.ok().and_then(|found| inspection::kept_open(&found));
    let keepers =
        keepers.unwrap_or_else(|| "kept open by a process that the command started".into());
    messages::print(format_args!(
        "{}: stays held after the command's end: {keepers}; {}",
        Escaped::path(&lock_path_for(data)),
        command::LEFT_OPEN,
    ));
}
