//! Roles in namespaces of their own.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid as RawPid, chdir, chroot};

use crate::fork::{fork, join};
use crate::process::{ChildProcess, Role, this_binary};
use crate::role::{ROLE, arg, die_with_the_parent, number, report, variable};

/// The role that wraps another in namespaces; the other is pid 1 in its pid namespace.
pub(crate) fn enter_namespaces() {
    // The harness runs tests in a thread beside its own, and only a process of one thread may enter
    // a user namespace: a forked child is one.
    let child = fork(|| match make_namespaces() {
        Ok(()) => run_inside(),
        Err(error) => {
            report(format_args!("cannot: {error}"));
            true
        }
    });
    join(child, "the inner role succeeds, or its test kills it");
}

fn make_namespaces() -> std::io::Result<()> {
    die_with_the_parent();
    let mut flags = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWNS;
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    if !uid.is_root() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    unshare(flags)?;
    if !uid.is_root() {
        let write = |name: &str, text: String| fs::write(format!("/proc/self/{name}"), text);
        write("setgroups", "deny".into())?;
        write("uid_map", format!("0 {uid} 1"))?;
        write("gid_map", format!("0 {gid} 1"))?;
    }
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
    if let Some(hostname) = env::var_os(variable("HOSTNAME")) {
        nix::unistd::sethostname(hostname)?;
    }
    if env::var_os(variable("UPTIME")).is_some() {
        make_time_namespace(number("UPTIME"))?;
    }
    Ok(())
}

/// The calling process's children see a machine that booted `uptime_s` seconds ago.
fn make_time_namespace(uptime_s: u64) -> std::io::Result<()> {
    unshare(CloneFlags::from_bits_retain(nix::libc::CLONE_NEWTIME))?;
    // Offsets count from the initial namespace, and this process may itself be in another one.
    let offsets = fs::read_to_string("/proc/self/timens_offsets")?;
    let mut lines = offsets.lines();
    let offset = lines.find_map(|line| line.strip_prefix("boottime"));
    let offset = offset.and_then(|rest| rest.split_whitespace().next());
    let offset = offset.and_then(|seconds| seconds.parse::<i64>().ok());
    let offset = offset.expect("every time namespace has this offset");
    let now = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?).as_secs();
    let shift = i64::try_from(uptime_s).ok().zip(i64::try_from(now).ok());
    let (wanted, now) = shift.expect("an uptime below 292 billion years");
    let offsets = format!("boottime {} 0", offset + wanted - now);
    fs::write("/proc/self/timens_offsets", offsets)
}

fn run_inside() -> bool {
    let mut inner = this_binary();
    inner.env(ROLE, arg("INNER"));
    inner.env(variable("MOUNT_PROC"), "yes");
    // Linux refuses vfork, which `spawn` uses, to a process whose children enter a time namespace.
    let inner = fork(|| panic!("this binary can be executed again: {}", inner.exec()));
    report(format_args!("inside {inner}"));
    let status = waitpid(inner, None).expect("the process is a child of this one");
    report("ended");
    matches!(status, WaitStatus::Exited(_, 0) | WaitStatus::Signaled(..))
}

/// Mounts the procfs of this pid namespace, as the arguments of the role say: with the options
/// `PROC_OPTIONS`, and with the file `BOOT_ID` in place of the boot id. Or none: the role sees only
/// the directory `CHROOT`.
pub(crate) fn mount_procfs() {
    const MAY: &str = "root of its own namespaces may mount";
    let (proc, none) = (Some("proc"), None::<&str>);
    let options = env::var_os(variable("PROC_OPTIONS"));
    mount(proc, "/proc", proc, MsFlags::empty(), options.as_deref()).expect(MAY);
    if let Some(file) = env::var_os(variable("BOOT_ID")) {
        let boot_id = "/proc/sys/kernel/random/boot_id";
        mount(Some(&*file), boot_id, none, MsFlags::MS_BIND, none).expect(MAY);
    }
    if let Some(root) = env::var_os(variable("CHROOT")) {
        let entered = chroot(&*root).and_then(|()| chdir("/"));
        entered.expect("root of its own namespaces may change its root");
    }
}

/// Why this user may not make namespaces on this machine; `None` if it may.
pub fn no_containers() -> Option<String> {
    refusal_to_enter(Role::in_container("worker", None))
}

/// Why this user may not make a time namespace on this machine; `None` if it may.
pub fn no_time_namespaces() -> Option<String> {
    refusal_to_enter(Role::in_container("worker", None).with_uptime(Duration::from_secs(60)))
}

fn refusal_to_enter(worker: Role) -> Option<String> {
    let answer = worker.with("DATA", "/").start().receive();
    let reason = answer.strip_prefix("cannot: ")?;
    Some(format!("this user may not make namespaces here: {reason}"))
}

/// A role in a container: its wrapper, and the pid by which the inner process can be killed.
pub struct Container {
    pub process: ChildProcess,
    pid: RawPid,
}

impl Container {
    /// Starts `role`, which was made by [`Role::in_container`], and waits until it is ready.
    pub fn ready(role: Role) -> Container {
        let mut process = role.start();
        let (mut pid, mut ready) = (None, false);
        while pid.is_none() || !ready {
            let text = process.receive();
            match text.strip_prefix("inside ") {
                Some(number) => pid = number.parse().ok(),
                None => ready = text == "ready",
            }
        }
        let pid = RawPid::from_raw(pid.expect("the loop ends with a pid"));
        Container { process, pid }
    }

    /// The pid of the inner process in the pid namespace of the test.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Sends SIGKILL to the inner process, which is reaped by the wrapper.
    pub fn kill(&mut self) {
        kill(self.pid, Signal::SIGKILL).expect("the process exists");
        assert_eq!(
            self.process.receive(),
            "ended",
            "SIGKILL ends every process"
        );
    }
}
