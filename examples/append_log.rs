//! A log that several processes append to, one at a time: acquire, recover if the predecessor
//! crashed, append, check before the commit, release.
//!
//! ```sh
//! cargo run --example append_log                       # 4 writers, some are killed, then an audit
//! cargo run --example append_log -- --processes 8      # more of them
//! cargo run --example append_log -- my.log some words  # append one entry to a file of your own
//! ```
//!
//! [`append`] is what a program of yours would do; everything behind it is the demonstration.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rvlf::record::Checksum;
use rvlf::{LockState, WriterLock};

type Outcome<T> = Result<T, Box<dyn Error>>;

// ---------------------------------------------------------------- the single writer

/// What became of one append.
struct Receipt {
    number: u64,
    /// The pid of a predecessor that crashed while it held the lock.
    crashed: Option<u32>,
    /// How many bytes of an unfinished entry were cut off.
    torn: u64,
}

/// Appends one entry: a line that ends in a line feed. What has none yet is no entry.
fn append(path: &Path, text: &str, pause: Duration) -> Outcome<Receipt> {
    let lock = WriterLock::acquire(path, Duration::from_secs(30))?;
    let mut log = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;

    // The lock says whether its last holder crashed. It cannot know everything (somebody may have
    // removed a dead holder's lock by hand), so the log must be able to tell for itself: whatever
    // follows the last line feed was never committed.
    let crashed = lock
        .reclaimed()
        .and_then(|reclaimed| reclaimed.record)
        .map(|record| record.pid().get());
    let (last, torn) = recover(&mut log)?;

    let number = last + 1;
    let entry = Entry {
        number,
        // Says for ever which hold of the lock wrote this.
        writer_id: lock.writer_id().to_string(),
        text: text.to_owned(),
    };
    log.write_all(entry.to_line().as_bytes())?;
    // A disk that takes its time, so that a kill finds something to tear.
    std::thread::sleep(pause);

    lock.check()?; // Right before the commit: is the lock still ours?
    log.write_all(b"\n")?;
    log.sync_data()?;
    lock.release()?;
    Ok(Receipt {
        number,
        crashed,
        torn,
    })
}

/// Cuts off what was never committed, and goes to the end of the rest. Returns the number of the
/// last entry (0 if there is none) and how many bytes were cut off.
fn recover(log: &mut File) -> Outcome<(u64, u64)> {
    const TWO_LONG_ENTRIES: u64 = 8192;
    const NOT_OURS: &str = "this is not a log that append_log wrote: nothing was changed";
    let len = log.metadata()?.len();
    let mut tail = Vec::new();
    log.seek(SeekFrom::Start(len.saturating_sub(TWO_LONG_ENTRIES)))?;
    log.read_to_end(&mut tail)?;
    let committed = tail.iter().rposition(|byte| *byte == b'\n');
    let torn = tail.split_off(committed.map_or(0, |at| at + 1));

    let tail = String::from_utf8_lossy(&tail);
    let last = match tail.lines().last() {
        None => 0,
        Some(line) => Entry::from_line(line).ok_or(NOT_OURS)?.number,
    };
    let begins_like_an_entry = Entry::number_field(last + 1)
        .bytes()
        .zip(&torn)
        .all(|(expected, found)| expected == *found);
    if !begins_like_an_entry {
        return Err(NOT_OURS.into());
    }
    let torn = torn.len() as u64;
    log.set_len(len - torn)?;
    log.seek(SeekFrom::End(0))?;
    Ok((last, torn))
}

/// `number writer-id checksum text`
struct Entry {
    number: u64,
    writer_id: String,
    text: String,
}

impl Entry {
    fn to_line(&self) -> String {
        let Entry {
            number,
            writer_id,
            text,
        } = self;
        let number = Entry::number_field(*number);
        let sum = Checksum::Crc32c.of(format!("{number}{writer_id}{text}").as_bytes());
        format!("{number}{writer_id} {sum:08x} {text}")
    }

    fn number_field(number: u64) -> String {
        format!("{number:06} ")
    }

    /// `None` if the line is not exactly what its entry looks like.
    fn from_line(line: &str) -> Option<Entry> {
        let mut words = line.splitn(4, ' ');
        let number = words.next()?.parse().ok()?;
        let writer_id = words.next()?.to_owned();
        let text = words.nth(1)?.to_owned();
        let entry = Entry {
            number,
            writer_id,
            text,
        };
        (entry.to_line() == line).then_some(entry)
    }
}

// ---------------------------------------------------------------- the command line

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("append_log: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<bool> {
    let mut args = std::env::args_os().skip(1);
    let first = args.next().unwrap_or_else(|| "--processes".into());
    let mut text = || -> Vec<_> {
        args.by_ref()
            .map(|arg| arg.to_string_lossy().into())
            .collect()
    };
    match first.to_str() {
        Some("--processes") => {
            let count: Vec<String> = text();
            let count = count.first().map_or(Ok(4), |count| count.parse())?;
            demonstrate(count.max(1))
        }
        Some("--writer") => {
            let path = PathBuf::from(args.next().ok_or("--writer needs a file")?);
            write_until_told_to_stop(&path)?;
            Ok(true)
        }
        Some("--help" | "-h") => {
            println!("append_log [--processes N]   writers contend and are killed; then an audit");
            println!("append_log FILE TEXT...      appends one entry to FILE");
            Ok(true)
        }
        _ => {
            let receipt = append(Path::new(&first), &text().join(" "), Duration::ZERO)?;
            if let Some(pid) = receipt.crashed {
                println!("the last writer (pid {pid}) crashed while it held the lock");
            }
            if receipt.torn > 0 {
                println!("{} bytes of an unfinished entry were cut off", receipt.torn);
            }
            println!("entry {} committed", receipt.number);
            Ok(true)
        }
    }
}

// ---------------------------------------------------------------- one writer of many

/// Appends and reports, until standard input ends: then the parent wants no more, or is gone.
fn write_until_told_to_stop(path: &Path) -> Outcome<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopper = stop.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stopper.store(true, Ordering::Relaxed);
    });
    let mut chance = Chance::new();
    let text = format!("written by pid {}", std::process::id());
    while !stop.load(Ordering::Relaxed) {
        let pause = Duration::from_micros(chance.below(20_000));
        let Receipt {
            number,
            crashed,
            torn,
        } = append(path, &text, pause)?;
        let (crashed, now) = (crashed.unwrap_or(0), unix_time()?.as_nanos());
        // One write: a writer that is killed says all of it or nothing.
        std::io::stdout().write_all(format!("{number} {crashed} {torn} {now}\n").as_bytes())?;
    }
    Ok(())
}

/// All processes of one machine share this clock.
fn unix_time() -> Outcome<Duration> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?)
}

struct Writer {
    name: usize,
    child: Child,
}

/// A writer has committed an entry.
struct News {
    by: String,
    number: u64,
    crashed: Option<u32>,
    torn: u64,
    at: Duration,
}

impl Writer {
    fn start(name: usize, path: &Path, news: &Sender<News>) -> Outcome<Writer> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--writer").arg(path);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("standard output was not piped")?;
        let (news, id) = (news.clone(), format!("writer {name} (pid {})", child.id()));
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let told = News::from_line(&line, &id).map(|told| news.send(told));
                if !matches!(told, Some(Ok(()))) {
                    return;
                }
            }
        });
        Ok(Writer { name, child })
    }
}

impl News {
    fn from_line(line: &str, by: &str) -> Option<News> {
        let mut numbers = line.split(' ').map(str::parse::<u64>);
        let mut number = || numbers.next()?.ok();
        Some(News {
            by: by.to_owned(),
            number: number()?,
            crashed: number()?.try_into().ok().filter(|pid| *pid != 0),
            torn: number()?,
            at: Duration::from_nanos(number()?),
        })
    }
}

// ---------------------------------------------------------------- the demonstration

const KILLS: usize = 12;

fn demonstrate(processes: usize) -> Outcome<bool> {
    let dir = tempfile::Builder::new().prefix("rvlf-").tempdir()?;
    let path = dir.path().join("journal.log");
    let mut story = Story::new();
    println!(
        "{processes} processes append to {}, one at a time.",
        path.display()
    );
    println!("Every now and then one of them gets `kill -9`, and is replaced.\n");

    let mut chance = Chance::new();
    let mut writers = Vec::new();
    for name in 1..=processes {
        writers.push(Writer::start(name, &path, &story.sender)?);
    }
    for kill in 0..KILLS {
        story.listen_for(Duration::from_millis(80 + chance.below(250)));
        // Half of the time the one that holds the lock right now: its record says who that is.
        let holder = (kill % 2 == 0).then(|| holder_of(&path)).flatten();
        let holder = writers
            .iter()
            .position(|writer| Some(writer.child.id()) == holder);
        let victim = holder.unwrap_or(chance.below(processes as u64) as usize);
        let Some(writer) = writers.get_mut(victim) else {
            continue;
        };
        story.killed(writer)?;
        writer.child.kill()?;
        writer.child.wait()?;
        *writer = Writer::start(writer.name, &path, &story.sender)?;
    }
    story.listen_for(Duration::from_millis(300));
    let mut failed = 0;
    for mut writer in writers {
        drop(writer.child.stdin.take());
        failed += usize::from(!writer.child.wait()?.success());
    }
    story.listen_to_the_end();
    Ok(story.audit(&path)? && failed == 0)
}

fn holder_of(path: &Path) -> Option<u32> {
    match rvlf::inspect(path).ok()? {
        LockState::Held(holder) => holder.record().map(|record| record.pid().get()),
        _ => None,
    }
}

/// What was seen from outside.
struct Story {
    start: Instant,
    sender: Sender<News>,
    news: Receiver<News>,
    killed_at: HashMap<u32, Duration>,
    next_commit: HashMap<u32, Duration>,
    recoveries: Vec<Duration>,
    torn: u64,
    promised: HashSet<u64>,
}

impl Story {
    fn new() -> Story {
        let (sender, news) = channel();
        Story {
            start: Instant::now(),
            sender,
            news,
            killed_at: HashMap::new(),
            next_commit: HashMap::new(),
            recoveries: Vec::new(),
            torn: 0,
            promised: HashSet::new(),
        }
    }

    fn tell(&self, text: &str) {
        println!("{:7.3} s  {text}", self.start.elapsed().as_secs_f64());
    }

    fn killed(&mut self, writer: &Writer) -> Outcome<()> {
        let pid = writer.child.id();
        self.tell(&format!("kill -9 writer {} (pid {pid})", writer.name));
        self.killed_at.insert(pid, unix_time()?);
        Ok(())
    }

    fn listen_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        let left = || end.saturating_duration_since(Instant::now());
        while let Ok(news) = self.news.recv_timeout(left()) {
            self.note(news);
        }
    }

    /// Until every writer's pipe is closed.
    fn listen_to_the_end(&mut self) {
        let (silent, _) = channel();
        self.sender = silent;
        while let Ok(news) = self.news.recv() {
            self.note(news);
        }
    }

    fn note(&mut self, news: News) {
        self.promised.insert(news.number);
        for (pid, killed_at) in &self.killed_at {
            let after = news.at.saturating_sub(*killed_at);
            if !after.is_zero() {
                let first = self.next_commit.entry(*pid).or_insert(after);
                *first = after.min(*first);
            }
        }
        // Whoever is first after a crash cuts off; whoever has removed the dead holder's lock knows
        // of the crash. With several contenders that need not be the same.
        if news.torn > 0 {
            self.torn += news.torn;
            let (by, torn) = (&news.by, news.torn);
            self.tell(&format!(
                "        {by} has cut off {torn} bytes of an unfinished entry"
            ));
        }
        if let Some(pid) = news.crashed {
            let after = self.next_commit.get(&pid).copied().unwrap_or_default();
            self.recoveries.push(after);
            let (by, after) = (&news.by, millis(after));
            self.tell(&format!(
                "        {by} has reclaimed the lock of pid {pid}; next entry: +{after:.1} ms"
            ));
        }
    }

    fn audit(&mut self, path: &Path) -> Outcome<bool> {
        let text = String::from_utf8_lossy(&std::fs::read(path)?).into_owned();
        let entries: Vec<_> = text.split_terminator('\n').map(Entry::from_line).collect();
        let whole = entries.iter().flatten().count();
        let in_order = (1..)
            .zip(entries.iter().flatten())
            .filter(|(place, entry)| *place == entry.number)
            .count();
        let holds: HashSet<_> = entries
            .iter()
            .flatten()
            .map(|entry| &entry.writer_id)
            .collect();
        let numbers: HashSet<_> = entries.iter().flatten().map(|entry| entry.number).collect();
        let kept = self.promised.intersection(&numbers).count();
        let all = entries.len();
        let promised = self.promised.len();

        println!("\nThe audit of {}:", path.display());
        let ended = text.ends_with('\n');
        let lines = [
            (
                ended && whole == all,
                format!("{whole} of {all} entries are whole"),
            ),
            (
                in_order == all,
                format!("{in_order} of {all} are numbered in order, without a gap"),
            ),
            (
                holds.len() == all,
                format!(
                    "{} of {all} were written in a hold of their own",
                    holds.len()
                ),
            ),
            (
                kept == promised,
                format!("{kept} of {promised} that were reported as committed are there"),
            ),
        ];
        for (good, line) in &lines {
            println!("  {}  {line}", if *good { "ok    " } else { "FAILED" });
        }
        self.recoveries.sort();
        let median = self.recoveries.get(self.recoveries.len() / 2);
        println!(
            "\n{KILLS} kills, {} of them of the holder: {} torn bytes cut off, the next entry \
             committed\nafter {:.1} ms (median). No timeout was waited for.",
            self.recoveries.len(),
            self.torn,
            millis(median.copied().unwrap_or_default())
        );
        let good = lines.iter().all(|(good, _)| *good);
        println!(
            "{}",
            if good {
                "Nothing is lost, nothing is torn."
            } else {
                "THE LOG IS DAMAGED."
            }
        );
        Ok(good)
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Enough randomness for a demonstration: xorshift, seeded by the clock and the pid.
struct Chance(u64);

impl Chance {
    fn new() -> Chance {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Chance(u64::from(now.subsec_nanos()) << 32 | u64::from(std::process::id()) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
