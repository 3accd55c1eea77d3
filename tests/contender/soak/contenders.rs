//! The processes of a soak that use the library.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use rvlf::{AcquireError, BreakError, LockFile, WriterLock};
use support::Rng;
use support::table_worker::TableWorker;

use super::witness::{Observer, Witness};
use crate::program::Fallible;

/// Longer than the age at which a dead holder's lock is recovered where no kernel is a witness.
const PATIENCE: Duration = Duration::from_secs(330);

/// Acquires, works and releases until the soak is over.
pub(super) fn contend(data: &Path, witness: &Witness) -> Fallible<ExitCode> {
    support::die_with_the_parent();
    let mut rng = Rng::from_seed(support::now_ns());
    let mut observer = witness.observer("library")?;
    let file = LockFile::open(data)?;
    while !witness.is_over() {
        std::thread::sleep(rng.micros(400_000));
        let outcome = one_call(&file, &mut observer, &mut rng);
        outcome.inspect_err(|error| witness.violation(format_args!("the library: {error}")))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn one_call(file: &LockFile, observer: &mut Observer, rng: &mut Rng) -> Fallible<()> {
    match rng.below(8) {
        0 => {
            file.inspect()?;
        }
        1 => match file.break_stale() {
            Ok(_) | Err(BreakError::Held { .. }) => {}
            Err(error) => return Err(error.into()),
        },
        2 => {
            file.wait_until_free(Duration::from_millis(300))?;
        }
        3 => hold(file.try_acquire(), observer, rng)?,
        // The directory is opened anew.
        4 => hold(
            WriterLock::acquire(file.data_path(), PATIENCE),
            observer,
            rng,
        )?,
        _ => hold(file.acquire(PATIENCE), observer, rng)?,
    }
    Ok(())
}

fn hold(
    outcome: Result<WriterLock, AcquireError>,
    observer: &mut Observer,
    rng: &mut Rng,
) -> Fallible<()> {
    let lock = match outcome {
        Err(error) if error.is_held() => return Ok(()),
        outcome => outcome?,
    };
    let time = match rng.below(100) {
        0 => Duration::from_secs(2),
        _ => rng.micros(60_000),
    };
    observer.hold(lock.reclaimed().is_some(), time)?;
    lock.check()?;
    if rng.below(4) > 0 {
        lock.release()?;
    }
    Ok(())
}

/// The command of `rvlf run`: works for a time.
pub(super) fn work(witness: &Witness, millis: u64) -> Fallible<ExitCode> {
    let time = Duration::from_millis(millis);
    let worked = witness.observer("command")?.hold(false, time);
    worked.inspect_err(|error| witness.violation(format_args!("a command: {error}")))?;
    Ok(ExitCode::SUCCESS)
}

/// Registers, delegates, adopts and releases until it is killed.
pub(super) fn use_table(table: PathBuf, witness: &Witness) -> ! {
    support::die_with_the_parent();
    table_worker(table, witness).work(Duration::from_millis(500))
}

fn table_worker(table: PathBuf, witness: &Witness) -> TableWorker {
    TableWorker::new(table, witness.file("pieces"), &witness.file("table"))
}

/// Works without the lock, and leaks descriptors, threads and memory: the soak must report each of these.
pub(super) fn sabotage(witness: &Witness) -> Fallible<ExitCode> {
    support::die_with_the_parent();
    let mut observer = witness.observer("sabotage")?;
    while !witness.is_over() {
        observer.hold(false, Duration::from_millis(20))?;
        std::mem::forget(File::open("/dev/null")?);
        std::mem::forget(vec![1_u8; 1 << 16]);
        std::thread::spawn(std::thread::park);
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes parts that are not its own by the table: the soak must report it.
pub(super) fn steal(table: PathBuf, witness: &Witness) -> ! {
    support::die_with_the_parent();
    table_worker(table, witness).steal()
}
