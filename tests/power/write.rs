//! The writers: each notes what it has been promised, and some kill themselves.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::signal::{Signal, raise};
use nix::sys::stat::Mode;
use rvlf::table::{Allocation, Claim, ScopeRule, new_segment};
use rvlf::{BreakError, Durability, LockFile, WriterLock};
use support::Rng;

use super::marks::Marks;
use super::program::Fallible;

/// The limit of one wait. Every holder dies or releases within milliseconds of its processor time.
const PATIENCE: Duration = Duration::from_secs(120);

/// A table is larger than what a disk writes at once, so that it can be torn.
const RULES: usize = 60;

/// What is written: the role of a process, and its item.
const WRITERS: [(&str, &str); 9] = [
    ("hold", "lock"),
    ("hold", "lock"),
    ("break", "lock"),
    ("hold", "control-lock"),
    ("table", "table"),
    ("table", "table"),
    ("table", "control-table"),
    ("log", "log"),
    ("log", "control-log"),
];

/// How the locks of a holder are published: by the link of an unnamed file, by a private name, and by an
/// exclusive create. It notes which.
pub(crate) const PUBLISHES: [&str; 3] = ["linked", "private", "created"];

/// Keeps all writers running.
pub(crate) fn all(dir: &Path, name: &str) -> Fallible<ExitCode> {
    let mut rng = Rng::new();
    let mut start = |(role, item): (&str, &str)| -> Fallible<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("write").arg(dir).args([name, role, item]);
        let mut preload = None;
        if item == "control-table" || item == "control-log" {
            preload = Some("RVLF_POWER_NO_SYNC");
        }
        if role == "hold" {
            let kind = rng.below(PUBLISHES.len() as u64) as usize;
            let publish = *PUBLISHES
                .get(kind)
                .ok_or("the kind is below their number")?;
            command.env("RVLF_POWER_PUBLISH", publish);
            preload = (publish != "linked").then_some("RVLF_POWER_NO_TMPFILE");
        }
        if let Some(library) = preload {
            let path = std::env::var_os(library);
            command.env("LD_PRELOAD", path.ok_or(format!("{library} is not set"))?);
        }
        Ok(command.stdout(Stdio::null()).spawn()?)
    };
    let mut running = Vec::new();
    for writer in WRITERS {
        running.push((writer, start(writer)?));
    }
    loop {
        for (writer, child) in &mut running {
            if let Some(status) = child.try_wait()? {
                if let Some(code) = status.code() {
                    return Err(format!("{writer:?} failed with status {code}").into());
                }
                *child = start(*writer)?;
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One writer, until it kills itself.
pub(crate) fn one(dir: &Path, name: &str, role: &str, item: &str) -> Fallible<ExitCode> {
    let marks = Marks::open(name, item)?;
    let path = dir.join(item);
    let mut rng = Rng::new();
    match role {
        "hold" if item == "lock" => hold(&path, &marks, Durability::Sync, &mut rng, None),
        "hold" => {
            let data = Some((dir.join("data"), Marks::open(name, "data")?));
            hold(&path, &marks, Durability::None, &mut rng, data)
        }
        "break" => break_dead(&path, &mut rng),
        "table" => allocate(&path, &marks, &mut rng),
        "log" => append(&path, &marks, &mut rng),
        _ => Err(format!("no writer has the role {role}").into()),
    }
}

/// Holds the lock for some refreshes, again and again, and dies as a holder in the end.
fn hold(
    path: &Path,
    marks: &Marks,
    durability: Durability,
    rng: &mut Rng,
    data: Option<(std::path::PathBuf, Marks)>,
) -> Fallible<ExitCode> {
    let publish = std::env::var("RVLF_POWER_PUBLISH")?;
    ensure_publishes(path, &publish)?;
    loop {
        let options = WriterLock::options().durability(durability);
        let lock = options.acquire(path, PATIENCE)?;
        marks.note(&format!("{publish} {}", lock.writer_id()))?;
        if let Some((path, marks)) = &data {
            marks.note(&format!("committed {}", commit(path)?))?;
        }
        for _ in 0..rng.below(4) {
            std::thread::sleep(rng.micros(30_000));
            lock.refresh()?;
        }
        if rng.below(8) == 0 {
            marks.note(&format!("dying {}", lock.writer_id()))?;
            raise(Signal::SIGKILL)?;
        }
        marks.note(&format!("releasing {}", lock.writer_id()))?;
        lock.release()?;
        std::thread::sleep(rng.micros(20_000));
    }
}

/// Fails unless O_TMPFILE ends as the lock must be published: else a library that was not preloaded would count.
fn ensure_publishes(path: &Path, publish: &str) -> Fallible<()> {
    let dir = path.parent().ok_or("the item has a directory")?;
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR;
    let opened = openat(AT_FDCWD, dir, flags, Mode::S_IRUSR);
    match (publish, opened.map(drop)) {
        ("linked", Ok(())) => Ok(()),
        ("private", Err(Errno::EOPNOTSUPP)) | ("created", Err(Errno::EPERM)) => Ok(()),
        (_, outcome) => Err(format!("{publish}: O_TMPFILE answers {outcome:?}").into()),
    }
}

/// Appends and syncs an entry of the form that `append_log` writes, and returns its number.
fn commit(path: &Path) -> Fallible<usize> {
    let mut options = File::options();
    let mut file = options.read(true).append(true).create(true).open(path)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let committed = text.rfind('\n').map_or(0, |last| last + 1);
    file.set_len(committed as u64)?;
    let number = text.matches('\n').count() + 1;
    let pid = std::process::id();
    writeln!(file, "{number} written by pid {pid}, committed")?;
    file.sync_data()?;
    Ok(number)
}

fn break_dead(path: &Path, rng: &mut Rng) -> Fallible<ExitCode> {
    loop {
        std::thread::sleep(rng.micros(300_000));
        match LockFile::open(path)?.break_stale() {
            Ok(_) | Err(BreakError::Held { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Registers an entry, delegates a part of it, takes it back and releases the entry; and dies with an entry
/// in the end.
fn allocate(path: &Path, marks: &Marks, rng: &mut Rng) -> Fallible<ExitCode> {
    let pid = std::process::id();
    for number in 0.. {
        let name = format!("{pid}-{number}");
        let part = |part: usize| ScopeRule::write(format!("/data/{name}/{part}"));
        let claim = (0..RULES).map(part);
        let claim = claim.fold(Claim::new(&name), Claim::allow);
        let entry = Allocation::register(path, &claim, &new_segment()?, PATIENCE)?;
        marks.note(&format!("registered {name}"))?;
        std::thread::sleep(rng.micros(30_000));
        let child = format!("{name}-child");
        entry.delegate(&Claim::new(&child).allow(part(0)), PATIENCE)?;
        marks.note(&format!("registered {child}"))?;
        std::thread::sleep(rng.micros(30_000));
        marks.note(&format!("releasing {child}"))?;
        if rng.below(4) == 0 {
            marks.note(&format!("releasing {name}"))?;
            raise(Signal::SIGKILL)?;
        }
        entry.reclaim(&child, &[part(0)], PATIENCE)?;
        marks.note(&format!("releasing {name}"))?;
        entry.release()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the example, notes what it reports, and kills it in the end.
fn append(path: &Path, marks: &Marks, rng: &mut Rng) -> Fallible<ExitCode> {
    let program = std::env::var_os("RVLF_POWER_LOG").ok_or("RVLF_POWER_LOG is not set")?;
    loop {
        let mut command = Command::new(&program);
        command
            .arg(path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut example = command.spawn()?;
        let output = example.stdout.take().ok_or("the output is not piped")?;
        let entries = BufReader::new(output).lines();
        for number in entries.take(1 + rng.below(20) as usize) {
            marks.note(&format!("committed {}", number?))?;
        }
        example.kill()?;
        example.wait()?;
    }
}
