//! Job objects: a child process and all that it starts, as one.

#![allow(unsafe_code, reason = "calls of kernel32 and ntdll")]

use std::io;
use std::mem::zeroed;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::os::windows::process::CommandExt;
use std::process::{Child, Command};
use std::ptr;

use windows_sys::Win32::Foundation::{HANDLE, NTSTATUS, RtlNtStatusToDosError};
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
    JOBOBJECT_BASIC_ACCOUNTING_INFORMATION, JOBOBJECT_EXTENDED_LIMIT_INFORMATION,
    JobObjectBasicAccountingInformation, JobObjectExtendedLimitInformation,
    QueryInformationJobObject, SetInformationJobObject, TerminateJobObject,
};
use windows_sys::Win32::System::Threading::CREATE_SUSPENDED;

#[link(name = "ntdll")]
unsafe extern "system" {
    // Not in windows-sys. std keeps the handle of the first thread, which ResumeThread needs.
    fn NtResumeProcess(process: HANDLE) -> NTSTATUS;
}

/// The processes that [`spawn`](Job::spawn) has started, and all that they have started, as one: for
/// children that write a data file, and must not outlive the hold of its lock. Windows only. Job Objects,
/// Win32
///
/// All of them end when this process ends, however it ends, and when the job is dropped, unless
/// [`let_live`](Job::let_live) was called. What another process starts for them is not among them: a
/// service, a scheduled task, a program for which the user has confirmed a prompt of User Account Control.
///
/// A child enters the job in the moment after its creation. If this process is killed in between, the child stays: it
/// has executed nothing and never will, but keeps the handles that it has inherited, such as that of a lent lock,
/// until it is ended by hand.
///
/// ```
/// use std::process::Command;
///
/// let job = rvlf::process::Job::new()?;
/// let mut child = job.spawn(Command::new("cmd").args(["/c", "exit 3"]))?;
/// assert_eq!(child.wait()?.code(), Some(3));
/// assert!(job.is_empty()?);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Job {
    handle: OwnedHandle,
}

impl Job {
    /// A job without processes.
    ///
    /// # Errors
    ///
    /// The system has no room for another object.
    pub fn new() -> io::Result<Job> {
        // SAFETY: both pointers may be null: no attributes (children do not inherit the handle), no name.
        let handle = unsafe { CreateJobObjectW(ptr::null(), ptr::null()) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has made the handle, and no other code knows it.
        let handle = unsafe { OwnedHandle::from_raw_handle(handle) };
        let job = Job { handle };
        job.set_limits(JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE)?;
        Ok(job)
    }

    /// Starts the child of `command` in this job. Replaces the creation flags of `command`.
    ///
    /// The child executes nothing before it is in the job, so no process that it starts is outside.
    ///
    /// # Errors
    ///
    /// As [`Command::spawn`]. Or the child cannot be put into the job: then it has executed nothing.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let mut child = command.creation_flags(CREATE_SUSPENDED).spawn()?;
        if let Err(error) = self.assign(&child).and_then(|()| resume(&child)) {
            // The first error says more.
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
        Ok(child)
    }

    /// Ends all processes of the job with `exit_code`. They have no time to clean up, and may be there for a
    /// moment after the call ([`is_empty`](Job::is_empty)).
    ///
    /// # Errors
    ///
    /// One of the processes may not be ended.
    pub fn terminate(&self, exit_code: u32) -> io::Result<()> {
        // SAFETY: the handle is open.
        done(unsafe { TerminateJobObject(self.raw(), exit_code) })
    }

    /// Whether all processes of the job have ended.
    ///
    /// # Errors
    ///
    /// The system does not report the processes of the job.
    pub fn is_empty(&self) -> io::Result<bool> {
        // SAFETY: the structure consists of numbers.
        let mut accounting: JOBOBJECT_BASIC_ACCOUNTING_INFORMATION = unsafe { zeroed() };
        // SAFETY: the pointer and the size are those of the structure that the class asks for.
        let queried = unsafe {
            QueryInformationJobObject(
                self.raw(),
                JobObjectBasicAccountingInformation,
                (&raw mut accounting).cast(),
                size_of_val(&accounting) as u32,
                ptr::null_mut(),
            )
        };
        done(queried)?;
        Ok(accounting.ActiveProcesses == 0)
    }

    /// From now on the processes of the job do not end with this process, or with the job.
    ///
    /// # Errors
    ///
    /// The system refuses the change.
    pub fn let_live(&self) -> io::Result<()> {
        self.set_limits(0)
    }

    fn set_limits(&self, flags: u32) -> io::Result<()> {
        // SAFETY: the structure consists of numbers.
        let mut limits: JOBOBJECT_EXTENDED_LIMIT_INFORMATION = unsafe { zeroed() };
        limits.BasicLimitInformation.LimitFlags = flags;
        // SAFETY: the pointer and the size are those of the structure that the class asks for.
        done(unsafe {
            SetInformationJobObject(
                self.raw(),
                JobObjectExtendedLimitInformation,
                (&raw const limits).cast(),
                size_of_val(&limits) as u32,
            )
        })
    }

    fn assign(&self, child: &Child) -> io::Result<()> {
        // SAFETY: both handles are open.
        done(unsafe { AssignProcessToJobObject(self.raw(), child.as_raw_handle()) })
    }

    fn raw(&self) -> HANDLE {
        self.handle.as_raw_handle()
    }
}

/// Resumes a process that was started suspended.
fn resume(child: &Child) -> io::Result<()> {
    // SAFETY: the handle is open.
    let status = unsafe { NtResumeProcess(child.as_raw_handle()) };
    if status >= 0 {
        return Ok(());
    }
    // SAFETY: the call translates a number.
    let code = unsafe { RtlNtStatusToDosError(status) };
    Err(io::Error::from_raw_os_error(code as i32))
}

fn done(result: i32) -> io::Result<()> {
    match result {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{ChildStdin, Stdio};

    use super::*;

    /// A child that starts a child, and both run until their input ends.
    fn start_two(job: &Job) -> (Child, ChildStdin) {
        let mut command = Command::new("cmd");
        let command = command.args(["/c", "cmd", "/c", "set", "/p", "line="]);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = job.spawn(command).expect("it starts");
        let input = child.stdin.take().expect("it is piped");
        (child, input)
    }

    // After a loss no process may go on writing the data file.
    #[test]
    fn a_job_that_is_terminated_becomes_empty() {
        let job = Job::new().expect("there is room");
        let (mut child, _input) = start_two(&job);
        assert!(!job.is_empty().expect("it can be queried"));
        job.terminate(7).expect("it may be ended");
        let ended = child.wait().expect("it is a child");
        assert_eq!(ended.code(), Some(7));
        while !job.is_empty().expect("it can be queried") {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_child_ends_with_its_job() {
        let job = Job::new().expect("there is room");
        let (mut child, _input) = start_two(&job);
        drop(job);
        child.wait().expect("it is a child");
    }

    // A process that a command leaves behind runs on after `rvlf run`.
    #[test]
    fn a_child_that_is_let_live_ends_by_itself() {
        let job = Job::new().expect("there is room");
        let (mut child, input) = start_two(&job);
        job.let_live().expect("the limit can be taken back");
        drop(job);
        assert!(child.try_wait().expect("it is a child").is_none());
        drop(input);
        child.wait().expect("it is a child");
    }

    #[test]
    fn a_program_that_does_not_exist_is_not_found() {
        let job = Job::new().expect("there is room");
        let error = job.spawn(&mut Command::new("no-such-program"));
        let error = error.expect_err("there is no such program");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(job.is_empty().expect("it can be queried"));
    }
}
