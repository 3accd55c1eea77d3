//! The two programs, and the commands that they run under the lock.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use support::scratch;

pub fn spec() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../spec")
}

/// The path of the reference. `None` if it cannot run here, with the reason printed.
pub fn reference() -> Option<PathBuf> {
    let program = spec().join("reference/rvlf.py");
    if interpreter().is_none() {
        support::skip("there is no python3 here");
        return None;
    }
    let directory = scratch();
    let probe = python(&program, "hold", &directory.path().join("probe"))
        .arg("0")
        .output()
        .expect("python3 has run before");
    let message = String::from_utf8_lossy(&probe.stderr);
    if message.contains("other kernels may write here") {
        support::skip("the reference refuses the temporary directory: it is not local");
        return None;
    }
    assert!(probe.status.success(), "it acquires a free lock: {message}");
    Some(program)
}

/// The program behind the name python3, which may be a script that takes time to find it.
fn interpreter() -> Option<&'static PathBuf> {
    static INTERPRETER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let mut command = Command::new("python3");
        let output = command
            .args(["-c", "import sys; print(sys.executable)"])
            .output();
        let output = output.ok().filter(|output| output.status.success())?;
        let path = String::from_utf8(output.stdout).ok()?;
        Some(PathBuf::from(path.trim_end()))
    };
    INTERPRETER.get_or_init(find).as_ref()
}

pub fn python3() -> Command {
    Command::new(interpreter().expect("tests that need python3 were skipped without it"))
}

pub fn python(program: &Path, verb: &str, data: &Path) -> Command {
    let mut command = python3();
    command.arg(program).arg(verb).arg(data);
    command
}

/// Whether the reader in JavaScript can run here.
pub fn node_runs() -> bool {
    static RUNS: OnceLock<bool> = OnceLock::new();
    *RUNS.get_or_init(|| {
        let runs = Command::new("node").arg("--version").output().is_ok();
        if !runs {
            support::skip("there is no node here");
        }
        runs
    })
}

pub fn javascript(verb: &str, data: &Path) -> Command {
    let mut command = Command::new("node");
    command.arg(spec().join("reference/rvlf.mjs"));
    command.arg(verb).arg(data);
    command
}

pub fn rvlf(verb: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rvlf"));
    command.arg(verb);
    command
}

/// One of the two programs, as the one that runs a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Python,
    Rust,
}

impl Peer {
    pub const EACH: [(Peer, Peer); 2] = [(Peer::Python, Peer::Rust), (Peer::Rust, Peer::Python)];

    /// One attempt at the lock, in a process group of its own. The arguments of the command to run
    /// follow.
    pub fn run(self, program: &Path, data: &Path) -> Command {
        let mut command = match self {
            Peer::Python => python(program, "run", data),
            Peer::Rust => rvlf("run"),
        };
        if self == Peer::Rust {
            command.arg(data);
        }
        command.arg("--").process_group(0);
        command
    }

    /// Runs true(1) without waiting for the lock.
    pub fn must_run_at_once(self, program: &Path, data: &Path) {
        let output = self.run(program, data).arg("true").output();
        let output = output.expect("the program runs");
        assert!(
            output.status.success(),
            "{self:?} does not wait for the lock of dead holders: {}, {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// A command that ignores SIGTERM: `rvlf run` sends that to its command when it dies.
pub fn outliving(supervisor: Command) -> Command {
    let mut command = supervisor;
    command.args(["sh", "-c", r#"trap '' TERM; exec "$0" "$@""#]);
    command
}

/// For a role that outlives its parent. Every role starts with SIGKILL as its parent's death
/// signal.
pub fn outlive_the_parent() {
    nix::sys::prctl::set_pdeathsig(None).expect("no signal is a valid argument");
}
