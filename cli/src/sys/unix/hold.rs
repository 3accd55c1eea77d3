//! `rvlf hold`: holds a lock for the rest of a script.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};
use rvlf::{CancelToken, Escaped, WriterLock};

use super::descendants::Tree;
use super::ending::Ending;
use super::inherited::close_inherited;
use super::other_process::OtherProcess;
use super::own_program::own_program;
use super::signals;
use super::supervisor::status_for_end;
use crate::events::{Event, EventSource, Events, Sender};
use crate::failure::{failed, failed_to, with_next_step};
use crate::holding::Holding;
use crate::target::{NOT_FOR_HOLD, Target};
use crate::verbs::acquisition::Acquisition;
use crate::{arguments, exit, loss, messages, progress, thread};

/// Hold the lock of a data file for the rest of a script
///
/// Returns when the lock is held. A process in the background, the keeper, holds and refreshes it until
/// the process PID has ended, or until the keeper gets SIGTERM. The pid of the keeper is printed.
///
/// The children of PID do not inherit the lock: it is free as soon as PID itself has ended. If the keeper
/// is killed with SIGKILL, the lock is free at once, and PID gets no signal.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Hold {
    #[command(flatten)]
    acquisition: Acquisition,

    /// The process for which the lock is held; $$ is the script
    #[arg(long = "for", value_name = "PID", value_parser = parse_pid)]
    pid: i32,
}

const HELP: &str = "\
EXAMPLES
  keeper=$(rvlf hold --for $$ --wait store.rvf) || exit
  ./append store.rvf
  kill $keeper    # releases the lock before the script ends

EXIT STATUS
  0    the lock is held
  75   another process holds the lock (with --wait: at the end of DURATION);
       -E sets another number
  125  rvlf itself failed: usage error, or no usable lock file
  130  interrupted by Ctrl-C while waiting (128 + the number of the signal)";

fn parse_pid(text: &str) -> Result<i32, &'static str> {
    match text.parse() {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err("expected the pid of a process; $$ is that of the script"),
    }
}

/// Starts a keeper. Returns the exit status.
pub fn run(args: &Hold) -> u8 {
    let (Ok(status) | Err(status)) = data_file(args).and_then(|data| start_keeper(&data));
    status
}

fn data_file(args: &Hold) -> Result<PathBuf, u8> {
    match &args.acquisition.data {
        Target::File(data) => Ok(arguments::data_file(data)),
        Target::Store(_) => Err(failed(NOT_FOR_HOLD)),
    }
}

/// What the keeper does. Returns its exit status.
pub fn keep(args: &Hold) -> u8 {
    // A lock of flock(1) that the script has, or of an `rvlf run` around the script, would be held by the keeper as
    // well, after the script has let it go.
    close_inherited();
    let (Ok(status) | Err(status)) = keep_until_the_end(args);
    status
}

/// Starts the keeper: this program with the same arguments, in a process group of its own, so that
/// Ctrl-C in the script's terminal reaches the script first. Returns when the keeper holds the lock or
/// has ended.
fn start_keeper(data: &Path) -> Result<u8, u8> {
    let data = Escaped::path(data);
    let cannot_start = |error| failed_to(&format!("start the keeper of {data}"), &error);
    let mut events = signals::listen().map_err(|error| failed(&error))?;
    let program = own_program().map_err(cannot_start)?;
    let mut command = Command::new(program);
    command.arg("keep").args(std::env::args_os().skip(2));
    command
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut keeper = command.spawn().map_err(cannot_start)?;
    let output = keeper.stdout.take().expect("standard output is piped");
    // The keeper ends if this end is closed before the script knows of the lock, also because this process was
    // killed.
    let input = keeper.stdin.take().expect("standard input is piped");
    let sender = events.sender();
    thread::spawn("rvlf-keeper", move || report_held(output, &sender))
        .map_err(|error| failed(&error))?;
    await_keeper(&mut keeper, input, &mut events)
}

/// Sends [`Event::WorkDone`] when the keeper has printed that it holds the lock. The end of its output
/// alone is reported by SIGCHLD.
fn report_held(output: impl io::Read, sender: &Sender) {
    let mut line = String::new();
    let read = BufReader::new(output).read_line(&mut line);
    if read.is_ok() && !line.is_empty() {
        sender.send(Event::WorkDone);
    }
}

fn await_keeper(keeper: &mut Child, input: ChildStdin, events: &mut Events) -> Result<u8, u8> {
    let pid = Pid::from_raw(keeper.id() as i32);
    let mut ended_by = None;
    loop {
        let Some(event) = events.next_before(None) else {
            continue;
        };
        match event {
            // The keeper reports that it holds the lock, this process sends it SIGTERM, and then reads the
            // report: the keeper lets go, and the script would go on without the lock.
            Event::WorkDone if ended_by.is_some() => {}
            Event::WorkDone => return announce(keeper, input),
            Event::Child => {
                let ended = keeper.try_wait();
                let ended = ended.map_err(|error| failed_to("wait for the keeper", &error))?;
                if let Some(ended) = ended {
                    return Err(status_without_lock(ended, ended_by));
                }
            }
            event => {
                if let Some(signal) = event.fatal_signal() {
                    ended_by = Some(signal);
                    end_keeper(pid);
                }
            }
        }
    }
}

/// Prints the pid of a keeper that holds the lock, and lets the keeper know.
fn announce(keeper: &mut Child, mut input: ChildStdin) -> Result<u8, u8> {
    let pid = Pid::from_raw(keeper.id() as i32);
    let printed = writeln!(io::stdout(), "{pid}");
    // Fails if the keeper has ended: its status is the answer.
    if printed.is_ok() && input.write_all(PRINTED).is_ok() {
        return Ok(exit::SUCCESS);
    }
    // The exit status says that the lock is not held.
    end_keeper(pid);
    let ended = keeper.wait();
    let ended = ended.map_err(|error| failed_to("wait for the keeper", &error))?;
    printed.map_err(|error| failed_to("print the pid of the keeper", &error))?;
    Err(status_without_lock(ended, None))
}

/// No other signal ends a keeper that holds the lock. A stopped one acts on no signal before SIGCONT.
fn end_keeper(pid: Pid) {
    let _ = kill(pid, Signal::SIGTERM);
    let _ = kill(pid, Signal::SIGCONT);
}

/// The exit status when the keeper has ended: because of the signal `ended_by` that this process got, or else by
/// itself. A keeper that held the lock until SIGTERM came ends with 0.
fn status_without_lock(ended: ExitStatus, ended_by: Option<Signal>) -> u8 {
    match (ended_by, status_for_end(ended.code(), ended.signal())) {
        (Some(signal), _) => exit::status_for_signal(signal as i32),
        (None, exit::SUCCESS) => exit::status_for_signal(Signal::SIGTERM as i32),
        (None, status) => status,
    }
}

/// What the keeper reads when the script has its pid.
const PRINTED: &[u8] = b"printed\n";

/// Sends SIGTERM to this process if the `rvlf hold` that started it fails or is killed: the script goes on as if it
/// did not have the lock, and would have it.
fn end_unless_printed() -> io::Result<()> {
    thread::spawn("rvlf-starter", || {
        let mut line = Vec::new();
        let _ = io::stdin().lock().read_until(b'\n', &mut line);
        if line != PRINTED {
            let _ = kill(getpid(), Signal::SIGTERM);
        }
    })?;
    Ok(())
}

/// Holds the lock until the process has ended.
fn keep_until_the_end(args: &Hold) -> Result<u8, u8> {
    let data = data_file(args)?;
    let script = Pid::from_raw(args.pid);
    // The keeper has inherited what the script ignores.
    signals::unignore_sigterm().map_err(|error| failed(&error))?;
    end_unless_printed().map_err(|error| failed(&error))?;
    let script = end_with(script).map_err(|error| {
        let described = match error.raw_os_error() {
            Some(number) if number == Errno::ESRCH as i32 => {
                format!("{error}; --for takes the pid of the script: $$")
            }
            _ => with_next_step(&error),
        };
        messages::print(format_args!(
            "cannot hold the lock for process {script}: {described}"
        ));
        exit::RVLF_FAILED
    })?;
    let mut holding = args.acquisition.acquire(&data)?;
    // Fails if the process that started this one is gone: then no script knows of the lock.
    writeln!(io::stdout(), "held").map_err(|_| {
        messages::print("the rvlf that started this keeper was killed: the lock is released");
        exit::RVLF_FAILED
    })?;
    wait(&script, args.acquisition.kills_on_loss(), &mut holding);
    let is_lost = holding.lock().is_lost();
    let lock = holding.take_lock();
    if is_lost {
        release_lost(lock, &mut holding);
    } else {
        release(lock());
    }
    Ok(exit::SUCCESS)
}

/// Releases a lock of which nothing may be left. The release waits for the refresh that is under way, and that
/// may hang with its mount: the keeper would stay until the server is back.
fn release_lost(lock: impl FnOnce() -> WriterLock + Send + 'static, holding: &mut Holding) {
    let deadline = Instant::now() + loss::RELEASE;
    let work = move || release(lock());
    // The keeper ends, whatever the answer is.
    let _ = progress::finish_work(holding.events(), &CancelToken::new(), Some(deadline), work);
}

/// Sends SIGTERM to this process when `script` has ended, whether the lock is held by then or not.
///
/// # Errors
///
/// The process has ended. A pid that is a zombie's was not reaped yet: the keeper would get SIGTERM at once, and
/// report a signal that no process sent.
fn end_with(pid: Pid) -> io::Result<Script> {
    let process = Arc::new(OtherProcess::open(pid)?);
    if process.has_ended_within(Duration::ZERO) {
        return Err(Errno::ESRCH.into());
    }
    let script = Script {
        pid,
        process: Arc::clone(&process),
    };
    thread::spawn("rvlf-script", move || {
        process.wait();
        let _ = kill(getpid(), Signal::SIGTERM);
    })?;
    Ok(script)
}

/// The process for which the lock is held.
struct Script {
    pid: Pid,
    process: Arc<OtherProcess>,
}

/// Returns when this process is to let go; after a loss when what has run under the lock has ended.
///
/// SIGTERM alone means that. A keeper that was stopped when `rvlf hold` ended gets SIGHUP from the kernel, because
/// its process group is an orphan from then on (setpgid(2)): the script would go on without the lock.
fn wait(script: &Script, kills_on_loss: bool, holding: &mut Holding) {
    while let Some(event) = holding.next_before(None) {
        match event {
            Event::Lost(loss) => {
                // The signals come first.
                let ending = kills_on_loss.then(|| begin_ending(script, loss.kill_at));
                messages::print(&loss.message);
                if let Some(ending) = ending {
                    return complete(ending, script);
                }
            }
            event if event.fatal_signal() == Some(Signal::SIGTERM) => return,
            _ => {}
        }
    }
}

/// Ends what has run under the lock. Without a /proc of this pid namespace, which shows no tree, that is the script.
fn begin_ending(script: &Script, kill_at: Instant) -> Ending {
    let tree = Tree::of(script.pid);
    if !tree.is_visible() {
        script.process.signal(Signal::SIGTERM);
    }
    Ending::begin(tree, kill_at)
}

fn complete(mut ending: Ending, script: &Script) {
    while !(ending.is_over() && script.process.has_ended_within(Duration::ZERO)) {
        std::thread::sleep(ending.next().saturating_duration_since(Instant::now()));
        if ending.act() {
            script.process.signal(Signal::SIGKILL);
        }
    }
}

fn release(lock: WriterLock) {
    if let Err(error) = lock.release() {
        messages::print(&error);
    }
}
