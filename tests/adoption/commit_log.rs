//! commitlog 0.2: no lock of its own, a log whose messages get consecutive numbers.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use commitlog::message::MessageSet;
use commitlog::{CommitLog, LogOptions, ReadError, ReadLimit};
use support::{Role, arg, number, report};

use crate::contention::{Assignment, Seen, contend};
use crate::guarded_log::GuardedLog;
use crate::journal::Journal;

fn open(directory: &Path) -> CommitLog {
    CommitLog::new(LogOptions::new(directory)).expect("the directory is writable")
}

/// The message of each number.
fn messages(directory: &Path) -> Result<Vec<Vec<u8>>, ReadError> {
    let log = open(directory);
    let message = |number| {
        let read = log.read(number, ReadLimit::default())?;
        let first = read.iter().next();
        Ok(first.map_or_else(Vec::new, |message| message.payload().to_vec()))
    };
    (0..log.next_offset()).map(message).collect()
}

// ---------------------------------------------------------------- two openers

// The harm that the guard prevents: both appends are reported as done, and one of the messages is gone.
#[test]
fn without_a_lock_two_writers_are_given_one_number_and_a_message_is_lost() {
    let directory = support::scratch();
    let (mut first, mut second) = (open(directory.path()), open(directory.path()));
    assert_eq!(first.append_msg("a").expect("it is written"), 0);
    assert_eq!(second.append_msg("b").expect("it is written"), 0);
    drop((first, second));
    assert_eq!(
        open(directory.path()).next_offset(),
        1,
        "two were acknowledged"
    );
}

#[test]
fn with_the_lock_the_second_writer_is_refused_and_told_which_process_writes() {
    let directory = support::scratch();
    let path = directory.path().join("log");
    let mut first = GuardedLog::open(&path).expect("no other writer");
    first.append(b"a").expect("it is written");
    let Err(refused) = GuardedLog::open(&path) else {
        panic!("two writers have the log open");
    };
    assert!(
        refused.to_string().contains("held by this process"),
        "{refused}"
    );
    first.close().expect("the lock is held");
    GuardedLog::open(&path).expect("the first writer has closed it");
}

// A writer whose lock was taken away must not append beside the writer that has it now.
#[test]
fn a_writer_that_has_lost_the_lock_appends_nothing() {
    let directory = support::scratch();
    let path = directory.path().join("log");
    let mut log = GuardedLog::open(&path).expect("no other writer");
    log.append(b"a").expect("the lock is held");
    std::fs::remove_file(rvlf::lock_path_for(&path)).expect("the lock file exists");
    log.append(b"b").expect_err("the lock file is gone");
    drop(log);
    assert_eq!(messages(&path).expect("the log is whole"), [b"a"]);
}

// ---------------------------------------------------------------- a crash

/// Appends `whole`, then the half of a message, and waits for its end.
pub fn torn_writer() {
    let path = PathBuf::from(arg("DATA"));
    let mut log = GuardedLog::open(&path).expect("no other writer");
    log.append(b"whole").expect("the lock is held");
    let segment = path.join(format!("{:020}.log", 0));
    let file = File::options().append(true).open(segment);
    let written = file.and_then(|mut file| file.write_all(&[1; 13]));
    written.expect("the segment is writable");
    report("ready");
    support::next_command();
}

fn crashed_log(path: &Path) {
    let mut writer = Role::new("torn writer").with("DATA", path).ready();
    writer.kill();
}

// What commitlog by itself makes of a crash in an append.
#[test]
fn without_the_report_of_a_crash_a_torn_message_makes_the_log_unreadable() {
    let directory = support::scratch();
    let path = directory.path().join("log");
    crashed_log(&path);
    open(&path).append_msg("next").expect("it is written");
    let read = messages(&path);
    assert!(
        read.is_err(),
        "the torn message is between two whole ones: {read:?}"
    );
}

#[test]
fn the_log_of_a_killed_writer_opens_at_once_and_without_its_torn_message() {
    let directory = support::scratch();
    let path = directory.path().join("log");
    crashed_log(&path);
    let mut log = GuardedLog::open(&path).expect("the writer is dead");
    log.append(b"next").expect("the lock is held");
    log.close().expect("the lock is held");
    let read = messages(&path).expect("the log is whole");
    assert_eq!(read, [b"whole".to_vec(), b"next".to_vec()]);
}

// ---------------------------------------------------------------- eight processes

pub fn bare_contender() {
    contender(|path, id, journal| {
        let mut log = open(path);
        journal.enter();
        match log.append_msg(id.to_string()) {
            Ok(_) => journal.acknowledge(id),
            Err(error) => journal.error(error),
        }
        journal.leave();
    });
}

pub fn guarded_contender() {
    contender(|path, id, journal| {
        let mut log = match GuardedLog::open(path) {
            Ok(log) => log,
            Err(error) if error.to_string().contains("held by") => return,
            Err(error) => return journal.error(error),
        };
        journal.enter();
        match log.append(id.to_string().as_bytes()) {
            Ok(_) => journal.acknowledge(id),
            Err(error) => journal.error(error),
        }
        journal.leave();
        if let Err(error) = log.close() {
            journal.error(error);
        }
    });
}

fn contender(hold: impl Fn(&Path, u64, &mut Journal)) {
    let path = PathBuf::from(arg("DATA"));
    let stop = PathBuf::from(arg("STOP"));
    let mut journal = Journal::open(arg("JOURNAL"));
    let mut ids = number("FIRST")..;
    while let Some(id) = ids.next().filter(|_| !stop.exists()) {
        hold(&path, id, &mut journal);
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn role(name: &'static str) -> impl Fn(&Assignment<'_>) -> Command {
    move |assignment| {
        let first = u64::try_from(assignment.first_id).expect("few contenders");
        let role = Role::new(name).with("DATA", assignment.store);
        let role = role.with("STOP", assignment.stop);
        let role = role.with("JOURNAL", assignment.journal);
        let mut command = role.with_number("FIRST", first).into_command();
        command.stdin(std::process::Stdio::null());
        command.stdout(std::process::Stdio::null());
        command.stderr(std::process::Stdio::null());
        command
    }
}

fn ids(directory: &Path) -> Result<BTreeSet<u64>, ReadError> {
    let texts = messages(directory)?;
    let id = |text: &Vec<u8>| str::from_utf8(text).ok()?.parse().ok();
    Ok(texts.iter().filter_map(id).collect())
}

// The witness of the next test, without the lock: it must see what it looks for.
#[test]
fn without_a_lock_eight_writers_overlap() {
    let directory = support::scratch();
    let path = directory.path().join("log");
    open(&path).append_msg("0").expect("it is written");
    let enough = |seen: &Seen| seen.overlaps > 20;
    let seen = contend(&path, role("bare contender"), 0, enough);
    let lost = ids(&path).map(|contained| seen.lost(&contained));
    println!("commitlog without a lock: {seen}, lost: {lost:?}");
    assert!(seen.overlaps > 0, "eight writers without a lock take turns");
    assert!(
        !matches!(lost, Ok(0)),
        "overlapping writers lose messages or tear the log"
    );
}

#[test]
fn with_the_lock_eight_writers_of_which_some_are_killed_never_overlap_and_lose_nothing() {
    let directory = support::scratch();
    let path = directory.path().join("log");
    let enough = |seen: &Seen| seen.holds > 100;
    let seen = contend(&path, role("guarded contender"), 5, enough);
    let contained = ids(&path).expect("the log is whole");
    let lost = seen.lost(&contained);
    println!("commitlog with rvlf: {seen}, {lost} lost");
    assert_eq!(seen.errors, Vec::<String>::new(), "no append fails");
    assert!(
        seen.killed_holders >= 5 && seen.holds > 100,
        "the run is no proof: {seen}"
    );
    assert_eq!((seen.overlaps, lost), (0, 0), "overlaps and lost messages");
}
