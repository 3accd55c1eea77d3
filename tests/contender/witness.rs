//! Holds that are reported to a witness outside of the lock: a program on another machine that knows no lock.
//!
//! Each report is a line over TCP, and is answered before this program goes on. So the witness sees a hold
//! begin after the acquisition and end before the release, and two holds that overlap there did overlap.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rvlf::{LockOptions, WriterLock, lock_path_for};

use super::program::Fallible;

/// The limit of one wait. The witness decides earlier that a wait was too long.
const PATIENCE: Duration = Duration::from_secs(3600);

/// The pause of a holder between two writes.
const BETWEEN_WRITES: Duration = Duration::from_millis(200);

/// Long enough for a lock that does not exclude to let another one in.
const LENGTH_OF_A_HOLD: Duration = Duration::from_millis(30);

#[derive(Clone)]
pub(crate) struct Witness(Arc<Mutex<BufReader<TcpStream>>>);

impl Witness {
    /// `address` is HOST:PORT; `name` is how the witness calls this process.
    pub(crate) fn connect(address: &str, name: &str) -> Fallible<Witness> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let witness = Witness(Arc::new(Mutex::new(BufReader::new(stream))));
        witness.report(&format!("contender {name}"))?;
        Ok(witness)
    }

    /// The answer: `ok`, or `release` to a holder that is to end.
    fn report(&self, line: &str) -> io::Result<String> {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stream.get_mut().write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        match stream.read_line(&mut answer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(answer.trim_end().to_owned()),
        }
    }

    fn entered(&self, lock: &WriterLock) -> io::Result<()> {
        let reclaimed = lock.reclaimed().map_or("", |_| " reclaimed");
        self.report(&format!("enter {}{reclaimed}", lock.writer_id()))?;
        Ok(())
    }
}

/// Acquires, holds and releases, `rounds` times.
pub(crate) fn rounds(
    rounds: u32,
    path: &Path,
    options: &LockOptions,
    witness: &Witness,
) -> Fallible<ExitCode> {
    for _ in 0..rounds {
        let lock = options.acquire(path, PATIENCE)?;
        witness.entered(&lock)?;
        std::thread::sleep(LENGTH_OF_A_HOLD);
        lock.check()?;
        witness.report("leave")?;
        lock.release()?;
    }
    witness.report("done")?;
    Ok(ExitCode::SUCCESS)
}

/// The same with a lock file that is looked for and then created without O_EXCL: a witness that counts no
/// overlap of such holds counts none at all.
pub(crate) fn unlocked_rounds(rounds: u32, path: &Path, witness: &Witness) -> Fallible<ExitCode> {
    let lock_path = lock_path_for(path);
    for _ in 0..rounds {
        while lock_path.try_exists()? || !create_weakly(&lock_path)? {
            std::thread::sleep(Duration::from_millis(10));
        }
        witness.report("enter weak")?;
        std::thread::sleep(LENGTH_OF_A_HOLD);
        witness.report("leave")?;
        // Another one may have removed it.
        let _ = std::fs::remove_file(&lock_path);
    }
    witness.report("done")?;
    Ok(ExitCode::SUCCESS)
}

/// False where SMB refuses a name that another client is removing.
fn create_weakly(path: &Path) -> io::Result<bool> {
    match File::create(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Holds the lock and writes the data file until the witness lets it go or the lock is lost.
///
/// Each write is checked before and announced. With `blind` the holder neither checks nor asks for a report
/// of a loss, as a program does that never heard of one.
pub(crate) fn keep(
    path: &Path,
    options: LockOptions,
    blind: bool,
    witness: &Witness,
    name: &str,
) -> Fallible<ExitCode> {
    let reporter = witness.clone();
    let options = match blind {
        true => options,
        false => options.on_lost(move |lost| drop(reporter.report(&format!("lost {lost}")))),
    };
    let lock = options.acquire(path, PATIENCE)?;
    witness.entered(&lock)?;
    let mut last = String::new();
    for number in 0.. {
        if let Some(lost) = lock.check().err().filter(|_| !blind) {
            witness.report(&format!("ended {lost}"))?;
            return Ok(ExitCode::SUCCESS);
        }
        if witness.report(&format!("write {number}"))? == "release" {
            break;
        }
        last = match write(path, &last, &format!("{name} {number}\n"), witness) {
            Ok(written) => written,
            // A mount without its server may refuse the data before the lock is lost.
            Err(_) if blind => String::new(),
            Err(error) => {
                witness.report(&format!("ended could not write: {error}"))?;
                return Ok(ExitCode::SUCCESS);
            }
        };
        std::thread::sleep(BETWEEN_WRITES);
    }
    witness.report("leave")?;
    lock.release()?;
    witness.report("done")?;
    Ok(ExitCode::SUCCESS)
}

/// Overwrites the data file, and reports a writer that has overwritten what was there before.
fn write(path: &Path, last: &str, next: &str, witness: &Witness) -> Fallible<String> {
    if !last.is_empty() {
        let found = std::fs::read_to_string(path)?;
        if found != last {
            witness.report(&format!("overwritten by {}", found.trim_end()))?;
        }
    }
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    let padded = format!("{:<40}\n", next.trim_end());
    file.write_all(padded.as_bytes())?;
    file.sync_data()?;
    Ok(padded)
}
