//! The command `rvlf` among the contenders of a soak.

use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use support::Rng;

use super::witness::Witness;
use crate::program::Fallible;

/// Where the lock is, and what contends for it.
pub(super) struct Place {
    pub(super) rvlf: PathBuf,
    /// This program.
    pub(super) contender: PathBuf,
    pub(super) dir: PathBuf,
    /// The same directory, perhaps on another mount, for the command.
    pub(super) command_dir: PathBuf,
    pub(super) witness: Witness,
}

impl Place {
    pub(super) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn command_data(&self) -> PathBuf {
        self.command_dir.join("data")
    }

    pub(super) fn table(&self) -> PathBuf {
        self.dir.join("table.json")
    }

    /// `contender soak-WHAT PATH WITNESS`.
    pub(super) fn contender(&self, what: &str, path: impl AsRef<Path>) -> Command {
        let mut command = Command::new(&self.contender);
        command.arg(format!("soak-{what}")).arg(path.as_ref());
        self.with_streams(&mut command);
        command.arg(self.witness.path());
        command
    }

    pub(super) fn rvlf(&self) -> Command {
        let mut command = Command::new(&self.rvlf);
        self.with_streams(&mut command);
        command
    }

    fn with_streams(&self, command: &mut Command) {
        let errors = File::options()
            .append(true)
            .open(self.witness.file("errors"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors.expect("the soak has made it"));
    }
}

/// The ways to run a command under the lock.
const RUNS: [&[&str]; 5] = [
    &["run", "--wait"],
    &["run", "--wait=2s"],
    &["run", "--wait", "--wait-children"],
    // The command does not inherit the lock: a guardian keeps it if `rvlf` is killed.
    &["run", "--wait", "--close"],
    &["run"],
];

/// One `rvlf` after another.
pub(super) struct Slot {
    running: Option<(Child, String)>,
    next: Instant,
}

impl Slot {
    pub(super) fn new() -> Slot {
        Slot {
            running: None,
            next: Instant::now(),
        }
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|(child, _)| child.id())
    }

    /// Reports how the last one has ended, and starts another.
    pub(super) fn step(&mut self, place: &Place, rng: &mut Rng) -> Fallible<()> {
        self.reap(place, rng)?;
        if self.running.is_none() && Instant::now() >= self.next {
            let mut command = some_command(place, rng);
            command.process_group(0);
            let shown = format!("{command:?}");
            self.running = Some((command.spawn()?, shown));
        }
        Ok(())
    }

    pub(super) fn reap(&mut self, place: &Place, rng: &mut Rng) -> Fallible<()> {
        let Some((child, shown)) = &mut self.running else {
            return Ok(());
        };
        if let Some(status) = child.try_wait()? {
            if !is_explained(status) {
                place.witness.violation(format_args!("{shown}: {status}"));
            }
            self.running = None;
            self.next = Instant::now() + rng.micros(2_000_000);
        }
        Ok(())
    }
}

/// A command that works under the lock, or one that reports of it.
fn some_command(place: &Place, rng: &mut Rng) -> Command {
    let millis = if rng.below(50) == 0 {
        2000
    } else {
        rng.below(60)
    };
    let choice = rng.below(10);
    let Some(arguments) = RUNS.get(choice as usize) else {
        return match choice {
            5..8 => script(place, millis),
            _ => report(place, rng),
        };
    };
    let mut command = place.rvlf();
    command.args(*arguments).arg(place.command_data()).arg("--");
    with_work(command, place, millis)
}

fn with_work(mut command: Command, place: &Place, millis: u64) -> Command {
    command.arg(&place.contender).arg("soak-work");
    command.arg(place.witness.path()).arg(millis.to_string());
    command
}

/// A script whose keeper holds the lock while the script becomes the work.
fn script(place: &Place, millis: u64) -> Command {
    let text = "keeper=$(\"$0\" hold --for $$ --wait \"$1\") || exit; shift; exec \"$@\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", text])
        .arg(&place.rvlf)
        .arg(place.command_data());
    place.with_streams(&mut command);
    with_work(command, place, millis)
}

fn report(place: &Place, rng: &mut Rng) -> Command {
    let (arguments, path): (&[&str], _) = match rng.below(4) {
        0 => (&["status", "--json"], place.command_data()),
        1 => (&["wait", "--timeout=500ms"], place.command_data()),
        2 => (&["break"], place.command_data()),
        _ => (&["scan"], place.command_dir.clone()),
    };
    let mut command = place.rvlf();
    command.args(arguments).arg(path);
    command
}

/// Whether docs/command.md permits that a command ends so on a lock that works: 0, 1 and 3 (the lock is held,
/// or stale), 75 (held), and 128 with the number of a signal.
fn is_explained(status: ExitStatus) -> bool {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    matches!(code, Some(0 | 1 | 3 | 75 | 129 | 130 | 137 | 143))
}

/// A hold for the whole soak by the command, which ends with its standard input.
pub(super) fn run(place: &Place) -> Command {
    let mut command = place.rvlf();
    let data = place.command_dir.join("long-run");
    command.arg("run").arg(data).args(["--", "cat"]);
    command.stdin(Stdio::piped());
    command
}

/// The same by the library.
pub(super) fn hold(place: &Place) -> Command {
    let mut command = Command::new(&place.contender);
    command.arg("hold").arg(place.dir.join("long-hold"));
    place.with_streams(&mut command);
    command.stdin(Stdio::piped());
    command
}

/// How long a contender may take to end when the soak is over.
pub(super) const END: Duration = Duration::from_secs(400);
