//! Holds a lock, to try it in two terminals.
//!
//! ```sh
//! cargo run --example hold                    # holds a lock in /tmp until Enter
//! cargo run --example hold -- my.dat          # another file's
//! cargo run --example hold -- my.dat 5        # for five seconds
//! ```
//!
//! Run it in a second terminal at the same time: it prints the holder, and waits. End the first
//! with Enter, with Ctrl-C, or with `kill -9`, and see what the second prints.

use std::error::Error;
use std::io::BufRead;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rvlf::{AcquireError, LockOptions, WriterLock};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1);
    let default = || std::env::temp_dir().join("rvlf-example.dat");
    let data_path = args.next().map_or_else(default, PathBuf::from);
    let seconds = args.next().map(|arg| arg.to_string_lossy().parse::<u64>());
    let time = seconds.transpose()?.map(Duration::from_secs);

    // The default is 10 s; a person would like to see something happen.
    let options = WriterLock::options()
        .keepalive(Some(Duration::from_secs(2)))
        .on_lost(|lost| eprintln!("{lost}"));
    let lock = acquire(&options, &data_path)?;
    let record = lock.record();
    println!("holding    {}", lock.lock_path().display());
    println!("as         pid {} on {}", record.pid(), record.hostname());
    println!("writer id  {}", record.writer_id());
    if let Some(dead) = lock.reclaimed().and_then(|reclaimed| reclaimed.record) {
        println!(
            "reclaimed  from pid {} on {}, which crashed",
            dead.pid(),
            dead.hostname()
        );
    }

    match time {
        Some(time) => println!("... for {} s", time.as_secs()),
        None => println!("... until you press Enter"),
    }
    hold(&lock, time);
    lock.release()?;
    println!("released");
    Ok(())
}

fn acquire(options: &LockOptions, data_path: &PathBuf) -> Result<WriterLock, AcquireError> {
    match options.try_acquire(data_path) {
        Err(error) if error.is_held() => {
            println!("{error}");
            println!("... waiting for it (Ctrl-C to give up)");
            options.acquire(data_path, Duration::from_secs(3600))
        }
        outcome => outcome,
    }
}

/// Returns when the time is over, when Enter is pressed, or when the lock is lost.
fn hold(lock: &WriterLock, time: Option<Duration>) {
    let (sender, enter) = channel::<()>();
    if time.is_none() {
        std::thread::spawn(move || {
            let _ = std::io::stdin().lock().read_line(&mut String::new());
            drop(sender);
        });
    }
    let start = Instant::now();
    let mut refreshed = lock.record().timestamp_ns();
    loop {
        let left = time.map_or(Duration::MAX, |time| time.saturating_sub(start.elapsed()));
        let pause = left.min(Duration::from_millis(200));
        let ended = match time {
            None => enter.recv_timeout(pause) != Err(RecvTimeoutError::Timeout),
            Some(_) => {
                std::thread::sleep(pause);
                left.is_zero()
            }
        };
        if ended || lock.check().is_err() {
            return;
        }
        let timestamp = lock.record().timestamp_ns();
        if timestamp != refreshed {
            refreshed = timestamp;
            println!("refreshed  held for {:.1} s", start.elapsed().as_secs_f64());
        }
    }
}
