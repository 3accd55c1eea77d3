//! A process that keeps the lock of `rvlf run -o` if rvlf is killed, until the command has ended.
//!
//! The command does not inherit the lock's descriptor. Linux forgets the death signal that it would send the
//! command when the command changes its user (sudo, setpriv, a set-user-ID program; prctl(2)), and macOS has no such
//! signal. Then the command writes on, and the lock would be free. The guardian has the descriptor:
//!
//! ```text
//!   rvlf                         guardian                      command
//!   start the guardian           own process group, no signals
//!   start the command                                          waits at a gate before its exec
//!   name its pid          --->   watch for its end
//!                         <---   guarding
//!   open the gate                                         --->  exec
//!   (the command has ended)
//!   done                  --->   ends
//!   release
//! ```
//!
//! If rvlf ends without "done", the guardian kills the command, waits for its end where it may not, and
//! refreshes the record meanwhile. If rvlf is killed before it opens the gate, the command is not executed.
//! If both are killed at one time, the death signal alone is left, which only Linux and FreeBSD have.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;
use rvlf::record::RECORD_LEN;
use rvlf::{Record, WriterId, WriterLock};

use super::other_process::OtherProcess;
use super::own_program::own_program;
use super::standard_error::poll_again;

const DONE: &str = "done\n";
const GUARDING: &str = "guarding\n";

/// The time that a guardian has to end, in milliseconds.
const ENDS_WITHIN: u16 = 5000;

/// The interval of refreshes.
const INTERVAL: Duration = Duration::from_secs(10);

/// A running guardian.
pub struct Guardian {
    process: Child,
    /// `None` once the guardian is told to end.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Guardian {
    /// # Errors
    ///
    /// The process cannot be started.
    pub fn start(lock: &WriterLock) -> io::Result<Guardian> {
        let mut command = Command::new(own_program()?);
        command
            .arg("guard")
            .arg(std::path::absolute(lock.lock_path())?);
        command.arg(lock.writer_id().to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // The reader of standard error must not wait for a guardian.
        command.stderr(Stdio::null());
        // From its start: a signal to the group of rvlf must not end the guardian before it blocks signals.
        command.process_group(0);
        lock.lend_to(&mut command)?;
        let mut process = command.spawn()?;
        let input = process.stdin.take().expect("standard input is piped");
        let output = process.stdout.take().expect("standard output is piped");
        Ok(Guardian {
            process,
            input: Some(input),
            output: BufReader::new(output),
        })
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id() as i32)
    }

    /// Returns when the guardian guards the process.
    ///
    /// # Errors
    ///
    /// The guardian has ended.
    pub fn guard(&mut self, command: Pid) -> io::Result<()> {
        let input = self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        input.write_all(format!("{command}\n").as_bytes())?;
        let mut answer = String::new();
        self.output.read_line(&mut answer)?;
        if answer == GUARDING {
            Ok(())
        } else {
            Err(io::Error::other("the guardian has ended"))
        }
    }
}

/// Ends the guardian, and with it its hold on the lock.
impl Drop for Guardian {
    fn drop(&mut self) {
        if let Some(mut input) = self.input.take() {
            // Fails if it was killed.
            let _ = input.write_all(DONE.as_bytes());
        }
        // The end of its output is the end of the process, also where the supervisor has reaped it.
        let mut fds = [PollFd::new(
            self.output.get_ref().as_fd(),
            PollFlags::POLLIN,
        )];
        if !matches!(
            poll_again(&mut fds, PollTimeout::from(ENDS_WITHIN)),
            Ok(1..)
        ) {
            // It was stopped, say.
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

/// Guard the command of `rvlf run -o`
#[derive(Args)]
pub struct Guard {
    lock_path: PathBuf,
    writer_id: WriterId,
}

impl Guard {
    /// # Errors
    ///
    /// The process that started this one has ended, or the command cannot be watched.
    pub fn run(&self) -> io::Result<()> {
        // SIGTERM is this process's own death signal.
        SigSet::all().thread_block()?;
        std::env::set_current_dir("/")?;
        let mut input = BufReader::new(io::stdin());
        let mut pid = String::new();
        input.read_line(&mut pid)?;
        let pid = pid.trim().parse().map_err(io::Error::other)?;
        let command = OtherProcess::open(Pid::from_raw(pid))?;
        io::stdout().write_all(GUARDING.as_bytes())?;
        let mut last = String::new();
        input.read_line(&mut last)?;
        if last != DONE {
            self.outlive(&command);
        }
        Ok(())
    }

    /// rvlf was killed.
    fn outlive(&self, command: &OtherProcess) {
        command.signal(Signal::SIGKILL);
        while !command.has_ended_within(INTERVAL) {
            // A failure may pass.
            let _ = self.refresh();
        }
    }

    fn refresh(&self) -> io::Result<()> {
        let file = File::options()
            .read(true)
            .write(true)
            .open(&self.lock_path)?;
        let mut bytes = [0; RECORD_LEN];
        file.read_exact_at(&mut bytes, 0)?;
        let record = Record::decode(&bytes).map_err(io::Error::other)?;
        if record.writer_id() == self.writer_id {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let now = now.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
            file.write_all_at(&record.refreshed(now).encode(), 0)?;
        }
        Ok(())
    }
}
