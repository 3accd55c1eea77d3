//! What the many-process tests share: child roles, namespaces, planted lock files, logs of holds.
//!
//! A child process is this test binary again, told by an environment variable which role to play.
//! Parent and child talk in lines: the child says `@...` on its standard output, the parent sends
//! cues to its standard input. A role dies with the test that started it.

#![allow(missing_docs, reason = "for this workspace's tests alone")]
#![allow(unsafe_code, reason = "fork(2)")]

pub mod second_reader;
pub mod table;
pub mod table_model;

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{ForkResult, Pid as RawPid};
use rvlf::record::{Checksum, Hostname, KernelStamp, Pid};
use rvlf::{
    AcquireError, BreakError, Holder, LockFile, LockOptions, LockState, Record, WaitError,
    WriterId, WriterLock, lock_path_for,
};

/// How long anything may take that is not measured, before it counts as a hang: nothing here takes
/// more than seconds, and 60 s outlast a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Ages on both sides of the published thresholds, 30 s and 300 s. What is older stays older; what
/// is younger has 20 s and 100 s to spare, which outlast the stalls of a loaded machine.
pub const YOUNG: Duration = Duration::from_secs(10);
pub const OLD: Duration = Duration::from_secs(31);
pub const MIDDLE: Duration = Duration::from_secs(200);
pub const VERY_OLD: Duration = Duration::from_secs(301);

const ROLE: &str = "RVLF_TEST_ROLE";

// ---------------------------------------------------------------- skips

/// Says why a test cannot run here. With RVLF_REQUIRE=all that is a failure.
pub fn skip(reason: &str) {
    let required = env::var_os("RVLF_REQUIRE").is_some_and(|value| value == "all");
    assert!(!required, "RVLF_REQUIRE=all, but: {reason}");
    eprintln!("skipped: {reason}");
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

// ---------------------------------------------------------------- the child's side

/// The body of the test `child_role`: does nothing unless this process was started for a role.
pub fn play(roles: &[(&str, fn())]) {
    let Ok(name) = env::var(ROLE) else { return };
    die_with_the_parent();
    if arg_or("MOUNT_PROC", "") == "yes" {
        mount(
            Some("proc"),
            "/proc",
            Some("proc"),
            MsFlags::empty(),
            None::<&str>,
        )
        .expect("the root of its own namespaces may mount procfs");
    }
    let common: [(&str, fn()); 2] = [("namespaced", enter_namespaces), ("puppet", puppet)];
    let (_, role) = { roles.iter().chain(&common) }
        .find(|(known, _)| *known == name)
        .expect("tests start only roles that exist");
    role();
    std::process::exit(0);
}

/// Tells the parent something.
pub fn say(text: impl std::fmt::Display) {
    // The harness may have left its own line unfinished.
    let line = format!("\n@{text}\n");
    let mut out = std::io::stdout().lock();
    // The parent may be gone; then so are we, in a moment.
    let _ = out.write_all(line.as_bytes());
    let _ = out.flush();
}

/// The parent's next cue. When the parent is gone there is nothing left to play for.
pub fn next_cue() -> String {
    let mut line = String::new();
    match std::io::stdin().read_line(&mut line) {
        Ok(n) if n > 0 => line.trim_end().to_owned(),
        _ => std::process::exit(0),
    }
}

pub fn arg(key: &str) -> OsString {
    env::var_os(variable(key)).expect("the test passes what the role needs")
}

pub fn arg_or(key: &str, default: &str) -> String {
    let value = env::var_os(variable(key)).and_then(|value| value.into_string().ok());
    value.unwrap_or_else(|| default.to_owned())
}

pub fn number(key: &str) -> u64 {
    let text = arg(key).into_string().expect("numbers are ASCII");
    text.parse().expect("the test passes a number")
}

fn variable(key: &str) -> String {
    format!("RVLF_TEST_{key}")
}

/// A holder or contender that does as it is told, on the data file `DATA`.
fn puppet() {
    let data = PathBuf::from(arg("DATA"));
    let mut held = None;
    say("ready");
    loop {
        match next_cue().as_str() {
            "try" => say(take(WriterLock::try_acquire(&data), &mut held)),
            "acquire" => say(take(WriterLock::acquire(&data, PATIENCE), &mut held)),
            "inspect" => say(format_args!("{:?}", rvlf::inspect(&data))),
            "break" => say(match break_stale(&data) {
                Ok(removed) => format!("broken {}", removed.is_some()),
                Err(error) => format!("error {error}"),
            }),
            "check" => match held.as_ref().map(WriterLock::check) {
                Some(outcome) => say(format_args!("{outcome:?}")),
                None => say("nothing held"),
            },
            "release" => match held.take().map(WriterLock::release) {
                Some(Ok(())) => say("released"),
                Some(Err(error)) => say(format_args!("not released: {error}")),
                None => say("nothing held"),
            },
            cue => panic!("no such cue: {cue}"),
        }
    }
}

fn take(outcome: Result<WriterLock, AcquireError>, held: &mut Option<WriterLock>) -> String {
    let text = describe(&outcome);
    if let Ok(lock) = outcome {
        *held = Some(lock);
    }
    text
}

/// An outcome in one word and its detail: `got`, `held`, `timeout` or `error`.
pub fn describe(outcome: &Result<WriterLock, AcquireError>) -> String {
    match outcome {
        Ok(lock) => match lock.reclaimed().and_then(|reclaimed| reclaimed.record) {
            Some(record) => format!("got {} from {}", lock.writer_id(), record.writer_id()),
            None => format!("got {}", lock.writer_id()),
        },
        Err(AcquireError::Held { holder, .. }) => format!("held {:?}", holder.verdict().reason()),
        Err(AcquireError::Timeout { holder, .. }) => {
            format!("timeout {:?}", holder.verdict().reason())
        }
        Err(error) => format!("error {error}"),
    }
}

// ---------------------------------------------------------------- the parent's side

/// A role to be started.
pub struct Role(Command);

impl From<Command> for Role {
    /// Another program that is started, heard and killed as a role is.
    fn from(command: Command) -> Role {
        Role(command)
    }
}

impl Role {
    pub fn new(name: &str) -> Role {
        let mut command = this_binary();
        command.env(ROLE, name);
        Role(command)
    }

    /// A role in namespaces of its own for pids, host name and mounts, as a container has them.
    pub fn in_container(name: &str, hostname: Option<&str>) -> Role {
        let role = Role::new("namespaced").with("INNER", name);
        match hostname {
            Some(hostname) => role.with("HOSTNAME", hostname),
            None => role,
        }
    }

    /// For a role in a container: how long ago its machine booted.
    pub fn with_uptime(self, uptime: Duration) -> Role {
        self.with_number("UPTIME", uptime.as_secs())
    }

    pub fn puppet(data: &Path) -> Role {
        Role::new("puppet").with("DATA", data)
    }

    pub fn with(mut self, key: &str, value: impl AsRef<OsStr>) -> Role {
        self.0.env(variable(key), value);
        self
    }

    pub fn with_number(self, key: &str, value: u64) -> Role {
        self.with(key, value.to_string())
    }

    /// The role as the command that `supervisor` runs: it becomes the last of its arguments.
    pub fn under(self, mut supervisor: Command) -> Role {
        supervisor.arg(self.0.get_program()).args(self.0.get_args());
        for (key, value) in self.0.get_envs() {
            supervisor.env(key, value.expect("roles only add variables"));
        }
        Role(supervisor)
    }

    pub fn in_directory(mut self, directory: &Path) -> Role {
        self.0.current_dir(directory);
        self
    }

    pub fn start(mut self) -> Actor {
        let command = self.0.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("this binary can run again");
        let stdout = child.stdout.take().expect("it is piped");
        let (sender, said) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                if let Some(text) = line.strip_prefix('@')
                    && sender.send(text.to_owned()).is_err()
                {
                    return;
                }
            }
        });
        Actor {
            cues: child.stdin.take(),
            child,
            said,
        }
    }

    /// To execute in place of the process that asks.
    pub fn into_command(self) -> Command {
        self.0
    }

    /// Starts the role and waits for its first word, which is `ready`.
    pub fn ready(self) -> Actor {
        let mut actor = self.start();
        assert_eq!(actor.hear(), "ready", "a role begins by saying so");
        actor
    }
}

fn this_binary() -> Command {
    let path = env::current_exe().expect("procfs is mounted");
    let mut command = Command::new(path);
    command.args(["--exact", "child_role", "--nocapture", "--test-threads=1"]);
    command
}

/// A child process that plays a role. Killed when dropped.
pub struct Actor {
    child: Child,
    cues: Option<ChildStdin>,
    said: Receiver<String>,
}

impl Actor {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the role says next.
    pub fn hear(&mut self) -> String {
        match self.said.recv_timeout(PATIENCE) {
            Ok(text) => text,
            Err(RecvTimeoutError::Timeout) => panic!("the child says nothing: it hangs"),
            Err(RecvTimeoutError::Disconnected) => {
                panic!("the child has ended: {:?}", self.child.wait())
            }
        }
    }

    /// What the role says next; `None` if it has ended instead.
    pub fn hear_or_end(&mut self) -> Option<String> {
        match self.said.recv_timeout(PATIENCE) {
            Ok(text) => Some(text),
            Err(RecvTimeoutError::Timeout) => panic!("the child says nothing: it hangs"),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    /// What the role has said by now that was not heard yet.
    pub fn heard_nothing(&self) -> bool {
        self.said.try_recv().is_err()
    }

    pub fn tell(&mut self, cue: &str) {
        let cues = self
            .cues
            .as_mut()
            .expect("it is open until the role is told to end");
        cues.write_all(format!("{cue}\n").as_bytes())
            .expect("the child listens");
    }

    pub fn ask(&mut self, cue: &str) -> String {
        self.tell(cue);
        self.hear()
    }

    /// Asks, and demands an answer that begins with `word`; returns what follows it.
    pub fn expect(&mut self, cue: &str, word: &str) -> String {
        let answer = self.ask(cue);
        let rest = answer.strip_prefix(word);
        let rest = rest.unwrap_or_else(|| panic!("{cue}: expected {word}, got: {answer}"));
        rest.trim_start().to_owned()
    }

    /// SIGKILL, and the death has been witnessed.
    pub fn kill(&mut self) -> ExitStatus {
        self.child.kill().expect("the child is ours");
        self.child.wait().expect("the child is ours")
    }

    pub fn signal_kill(&mut self) {
        self.child.kill().expect("the child is ours");
    }

    /// How the role has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the child is ours")
    }

    /// Waits until the role ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "the child does not end: it hangs"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until the role ends by itself, and demands that it ended well.
    pub fn finish(mut self) {
        let status = self.wait();
        assert!(status.success(), "the child failed: {status}");
    }

    /// Closes the role's standard input, which ends a role that waits for a cue.
    pub fn dismiss(mut self) {
        self.cues = None;
        self.finish();
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// ---------------------------------------------------------------- containers

/// The role that wraps another in namespaces; the other is pid 1 in there.
fn enter_namespaces() {
    // The harness runs tests in a thread beside its own, and user namespaces are for processes of
    // one thread: a forked child is one.
    let child = fork(|| match make_namespaces() {
        Ok(()) => run_inside(),
        Err(error) => {
            say(format_args!("cannot: {error}"));
            true
        }
    });
    join(
        child,
        "whatever runs inside ends well, or is killed by its test",
    );
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
    // Offsets count from the first namespace of all: this process may itself be in another.
    let offsets = fs::read_to_string("/proc/self/timens_offsets")?;
    let offset = offsets
        .lines()
        .find_map(|line| line.strip_prefix("boottime"));
    let offset = offset.and_then(|rest| rest.split_whitespace().next());
    let offset: i64 = offset
        .and_then(|s| s.parse().ok())
        .expect("every time namespace has one");
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME)?.tv_sec();
    let wanted = i64::try_from(uptime_s).expect("tests speak of less than 292 billion years");
    fs::write(
        "/proc/self/timens_offsets",
        format!("boottime {} 0", offset + wanted - now),
    )
}

fn run_inside() -> bool {
    let mut inner = this_binary();
    inner.env(ROLE, arg("INNER"));
    inner.env(variable("MOUNT_PROC"), "yes");
    // Only a real fork enters a time namespace: Linux refuses it to vfork, which `spawn` uses.
    let inner = fork(|| panic!("this binary can run again: {}", inner.exec()));
    say(format_args!("inside {inner}"));
    let status = waitpid(inner, None).expect("the child is ours");
    say("ended");
    matches!(status, WaitStatus::Exited(_, 0) | WaitStatus::Signaled(..))
}

/// A test that fails must not leave holders behind.
fn die_with_the_parent() {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).expect("SIGKILL is a signal");
}

/// Why this machine does not let us make namespaces; `None` if it does.
pub fn no_containers() -> Option<String> {
    refusal_to_enter(Role::in_container("puppet", None))
}

/// Why this machine does not let us make a time namespace; `None` if it does.
pub fn no_time_namespaces() -> Option<String> {
    refusal_to_enter(Role::in_container("puppet", None).with_uptime(Duration::from_secs(60)))
}

fn refusal_to_enter(puppet: Role) -> Option<String> {
    let answer = puppet.with("DATA", "/").start().hear();
    let reason = answer.strip_prefix("cannot: ")?;
    Some(format!("no namespaces here: {reason}"))
}

/// A role in a container: its wrapper, and the pid by which we can kill the one inside.
pub struct Contained {
    pub actor: Actor,
    pid: RawPid,
}

impl Contained {
    /// Starts `role`, which was made by [`Role::in_container`], and waits until it is ready.
    pub fn ready(role: Role) -> Contained {
        let mut actor = role.start();
        let (mut pid, mut ready) = (None, false);
        while pid.is_none() || !ready {
            let text = actor.hear();
            match text.strip_prefix("inside ") {
                Some(number) => pid = number.parse().ok(),
                None => ready = text == "ready",
            }
        }
        let pid = RawPid::from_raw(pid.expect("the loop ends with it"));
        Contained { actor, pid }
    }

    /// SIGKILL for the one inside, and the death has been witnessed.
    pub fn kill(&mut self) {
        kill(self.pid, Signal::SIGKILL).expect("the process exists");
        assert_eq!(self.actor.hear(), "ended", "SIGKILL ends every process");
    }
}

// ---------------------------------------------------------------- fork

/// Forks a child that runs `body` and ends with 0 if it returned true, 1 if not, 2 if it panicked.
pub fn fork(body: impl FnOnce() -> bool) -> RawPid {
    // SAFETY: in roles the harness's other thread only waits, and glibc keeps malloc usable in the
    // child. What the keepalive's thread may have locked is what these tests are about: the library
    // must not wait for it there. The child never returns from this function.
    match unsafe { nix::unistd::fork() }.expect("there is room for one process") {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            let status = match outcome {
                Ok(true) => 0,
                Ok(false) => 1,
                Err(_) => 2,
            };
            // SAFETY: _exit(2) ends the child without running what belongs to the parent.
            unsafe { nix::libc::_exit(status) }
        }
    }
}

/// Waits for a forked child and demands that its body returned true.
pub fn join(child: RawPid, promise: &str) {
    let status = waitpid(child, None).expect("the child is ours");
    assert_eq!(status, WaitStatus::Exited(child, 0), "{promise}");
}

// ---------------------------------------------------------------- files

pub fn scratch() -> tempfile::TempDir {
    let directory = tempfile::Builder::new().prefix("rvlf-test-").tempdir();
    directory.expect("there is a directory for temporary files")
}

pub fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("it is later than 1970").as_nanos();
    u64::try_from(now).expect("it is earlier than 2554")
}

pub fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("tests speak of less than 584 years")
}

/// The clock that all processes of this machine share, in nanoseconds.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux has this clock");
    ns(now.into())
}

pub fn this_host() -> Hostname {
    let name = nix::unistd::gethostname().expect("its buffer is long enough");
    Hostname::truncated(name.as_encoded_bytes())
}

pub fn this_process() -> Pid {
    Pid::new(std::process::id()).expect("pids are positive")
}

/// The pid of a process that has ended and was reaped.
pub fn dead_pid() -> Pid {
    let mut child = Command::new("true").spawn().expect("true(1) is installed");
    child.wait().expect("the child is ours");
    Pid::new(child.id()).expect("pids are positive")
}

/// A record without a stamp, as deployed clients write it, `age` old.
pub fn unstamped(pid: Pid, host: &Hostname, age: Duration) -> Record {
    let timestamp = now_ns() - ns(age);
    Record::new(pid, host, timestamp, some_writer_id(), None)
}

pub fn some_writer_id() -> WriterId {
    let (a, b) = (now_ns().to_le_bytes(), monotonic_ns().to_le_bytes());
    let mut random = [0; 16];
    for (to, from) in random.iter_mut().zip(a.into_iter().chain(b)) {
        *to = from;
    }
    WriterId::from_random(random)
}

pub fn read_record(data: &Path) -> Record {
    let bytes = fs::read(lock_path_for(data)).expect("the lock file is there");
    Record::decode(&bytes).expect("it holds a record")
}

/// Sets the timestamp of the record at the lock path back by `age`, in place.
pub fn backdate(data: &Path, age: Duration) {
    let record = read_record(data);
    let file = File::options().write(true).open(lock_path_for(data));
    let older = record.refreshed(record.timestamp_ns() - ns(age));
    file.and_then(|file| file.write_all_at(&older.encode(), 0))
        .expect("the lock file can be written");
}

/// Sets the modification time of `path` to `age` ago.
pub fn age_mtime(path: &Path, age: Duration) {
    set_mtime(path, SystemTime::now() - age);
}

pub fn set_mtime(path: &Path, time: SystemTime) {
    let file = File::options().write(true).open(path);
    file.and_then(|file| file.set_modified(time))
        .expect("our own file takes a time");
}

/// Leaves behind what a holder of this machine leaves that was killed a moment ago: a record of a
/// dead process with the kernel stamp of its very inode, and nobody's flock.
pub fn plant_left_behind(data: &Path) -> Record {
    let file = File::create_new(lock_path_for(data)).expect("nothing is there");
    let stat = file.metadata().expect("it is open");
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("procfs is mounted");
    let boot_id: WriterId = boot_id.trim_end().parse().expect("it is a UUID");
    let stamp = KernelStamp {
        inode_key: KernelStamp::inode_key(boot_id.as_bytes(), stat.dev(), stat.ino()),
        start_ticks: 1,
    };
    // No process of ours has started in the first tick since boot: also where the pid is reused,
    // its process is another.
    let record = Record::new(
        dead_pid_once(),
        &this_host(),
        now_ns(),
        some_writer_id(),
        Some(stamp),
    );
    file.write_all_at(&record.encode(), 0)
        .expect("our own file can be written");
    record
}

fn dead_pid_once() -> Pid {
    static DEAD: std::sync::OnceLock<Pid> = std::sync::OnceLock::new();
    *DEAD.get_or_init(dead_pid)
}

pub fn is_absent(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// The names in a directory, sorted.
pub fn names_in(directory: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(directory).expect("the directory is there");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("the directory can be read").file_name())
        .collect();
    names.sort();
    names
}

// ---------------------------------------------------------------- threads, seen from procfs

/// The names of this process's threads, main one included, as the kernel has them (15 bytes).
pub fn thread_names() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").expect("procfs is mounted");
    let name = |task: std::io::Result<fs::DirEntry>| {
        // The thread may end between the two looks.
        let name = fs::read_to_string(task.ok()?.path().join("comm")).ok()?;
        Some(name.trim_end().to_owned())
    };
    tasks.filter_map(name).collect()
}

/// How often the calling thread has gone to sleep.
pub fn voluntary_switches() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").expect("procfs is mounted");
    let mut lines = status.lines();
    let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    let count = count
        .expect("every kernel since 2.6.23 has the line")
        .trim();
    count.parse().expect("it is a number")
}

/// Waits until `condition` holds; it must, or the test fails as a hang.
pub fn until(promise: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never came true: {promise}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

// ---------------------------------------------------------------- chance

/// A small generator of random numbers, xorshift64*; its seed is printed and can be given again.
pub struct Chance(u64);

impl Chance {
    /// Seeded by `RVLF_SEED`, else by the clock.
    pub fn new() -> Chance {
        let given = env::var("RVLF_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| now_ns() | 1);
        println!("seed: RVLF_SEED={seed}");
        Chance(seed)
    }

    pub fn from_seed(seed: u64) -> Chance {
        Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }

    pub fn micros(&mut self, limit: u64) -> Duration {
        Duration::from_micros(self.below(limit))
    }
}

/// Median, 99th percentile and maximum.
pub fn summary(times: &mut [Duration]) -> String {
    times.sort();
    let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len() - 1));
    let [median, p99, max] = [50, 99, 100].map(|percent| at(percent).copied().unwrap_or_default());
    format!("median {median:.1?}, 99 % {p99:.1?}, longest {max:.1?}")
}

// ---------------------------------------------------------------- entries of data files

pub const SEALED_LEN: usize = 64;

/// Four numbers, something to be torn, and a checksum over both.
pub fn sealed(numbers: [u64; 4]) -> [u8; SEALED_LEN] {
    let mut bytes = [b'x'; SEALED_LEN];
    let numbers = numbers.iter().flat_map(|number| number.to_le_bytes());
    for (to, from) in bytes.iter_mut().zip(numbers) {
        *to = from;
    }
    let (body, sum) = bytes.split_at_mut(SEALED_LEN - 4);
    sum.copy_from_slice(&Checksum::IsoHdlc.of(body).to_le_bytes());
    bytes
}

/// `None` if it is torn, or two writers' halves.
pub fn unsealed(bytes: &[u8]) -> Option<[u64; 4]> {
    let (numbers, _) = bytes.as_chunks::<8>();
    let numbers: Vec<_> = { numbers.iter().take(4) }
        .map(|number| u64::from_le_bytes(*number))
        .collect();
    let numbers = numbers.try_into().ok()?;
    (sealed(numbers) == bytes).then_some(numbers)
}

/// [`LockFile::break_stale`] of the data file.
pub fn break_stale(data: impl AsRef<Path>) -> Result<Option<Holder>, BreakError> {
    break_stale_by(LockOptions::new(), data)
}

/// [`LockFile::break_stale`] of the data file, by `options`.
pub fn break_stale_by(
    options: LockOptions,
    data: impl AsRef<Path>,
) -> Result<Option<Holder>, BreakError> {
    LockFile::with_options(data, options)?.break_stale()
}

/// [`LockFile::force_break`] of the data file.
pub fn force_break(
    data: impl AsRef<Path>,
    writer_id: WriterId,
) -> Result<Option<Holder>, BreakError> {
    LockFile::open(data)?.force_break(writer_id)
}

/// [`LockFile::wait_until_free`] of the data file.
pub fn wait_until_free(data: impl AsRef<Path>, timeout: Duration) -> Result<LockState, WaitError> {
    LockFile::open(data)?.wait_until_free(timeout)
}
