//! Every row of the table "Bad input and hard cases" of the protocol: a clear error, no hang, and no file
//! of another program is removed.
#![cfg(all(target_os = "linux", not(rvlf_portable), not(rvlf_unsupported)))]

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{Gid, Uid, mkfifo, setgroups, setresgid, setresuid};
use rvlf::judge::{Reason, Verdict};
use rvlf::record::{Hostname, KernelStamp, Pid, RECORD_LEN, StoreStamp};
use rvlf::{
    AcquireError, Alias, BreakError, CancelToken, Durability, Escaped, FileKind, Foreign, LockFile,
    LockOptions, LockState, Record, StalePolicy, WriterLock, inspect, lock_path_for,
};
use support::{Container, MIDDLE, OLD, Role, RoleEntry, VERY_OLD, YOUNG};

pub const ROLES: &[RoleEntry] = &[
    ("mount-points", mount_points),
    ("read-only", read_only),
    ("full disk", full_disk),
    ("ordinary user", ordinary_user),
    ("gives up root", gives_up_root),
    ("writes where it may not list", writes_where_it_may_not_list),
    ("acquires and recovers", acquires_and_recovers),
    ("leases", leases),
    ("no descriptors", no_descriptors),
    ("changes directories", changes_directories),
    ("inspects", inspects),
    (
        "copies on a machine that is up",
        copies_on_a_machine_that_is_up,
    ),
    ("copies after a boot", copies_after_a_boot),
    ("stamps after a boot", stamps_after_a_boot),
];

/// A short name: behind a long one a record has no room for a stamp.
const CONTAINER_HOST: Option<&str> = Some("rvlf-container");

/// Runs a role that makes its own assertions, in namespaces in which it may mount.
fn run_in_container(name: &str) {
    match support::no_containers() {
        None => run_contained(Role::in_container(name, CONTAINER_HOST)),
        Some(reason) => support::skip(&reason),
    }
}

/// Runs a role that makes its own assertions, on a machine that booted `uptime` ago.
fn run_after_boot(uptime: Duration, name: &str) {
    match support::no_time_namespaces() {
        None => run_contained(Role::in_container(name, CONTAINER_HOST).with_uptime(uptime)),
        Some(reason) => support::skip(&reason),
    }
}

fn run_contained(role: Role) {
    let dir = support::scratch();
    let mut container = Container::ready(role.with("DIR", dir.path()));
    container.process.send("end");
    assert_eq!(container.process.receive(), "ended");
    container.process.finish();
}

fn passed() {
    support::report("ready");
    support::next_command();
}

// ---------------------------------------------------------------- files of other programs

/// Everything about a file that acquiring, breaking or inspecting could change.
#[derive(Debug, PartialEq, Eq)]
struct Snapshot {
    bytes: Vec<u8>,
    ino: u64,
    mode: u32,
    links: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Snapshot {
    fn of(path: &Path) -> Snapshot {
        let stat = fs::symlink_metadata(path).expect("the file is there");
        Snapshot {
            bytes: fs::read(path).expect("the file can be read"),
            ino: stat.ino(),
            mode: stat.mode(),
            links: stat.nlink(),
            modified: (stat.mtime(), stat.mtime_nsec()),
            changed: (stat.ctime(), stat.ctime_nsec()),
        }
    }
}

fn big_endian_magic() -> Vec<u8> {
    let host = support::this_host();
    let record = support::unstamped(support::dead_pid(), &host, VERY_OLD).encode();
    let mut bytes = record.to_vec();
    if let Some(magic) = bytes.get_mut(..4) {
        magic.reverse();
    }
    bytes
}

// A user runs two tools on one data file, or keeps notes beside it. The deployed client deletes a file
// that is not a record at once.
#[test]
fn other_tools_files_are_refused_by_name_and_left_byte_for_byte() {
    let files: [(Vec<u8>, &str); 7] = [
        (
            br#"{"pid": 4121, "host": "a"}"#.into(),
            r#"{\"pid\": 4121, \""#,
        ),
        (b"do not delete\n".into(), r"do not delete\n"),
        (b"4711\n".into(), r"4711\n"),
        (b"4711".into(), "4711"),
        (big_endian_magic(), "RVLF"),
        (vec![0; 105], r"\x00\x00\x00"),
        (b"\x89PNG\r\n\x1a\n".into(), r"\x89PNG\r\n"),
    ];
    for (content, first_bytes) in files {
        let dir = support::scratch();
        let data = dir.path().join("data");
        let lock_path = lock_path_for(&data);
        fs::write(&lock_path, &content).expect("the directory is writable");
        // Older than every threshold: the age must not matter.
        support::age_mtime(&lock_path, VERY_OLD);
        let before = Snapshot::of(&lock_path);
        assert_foreign(&data, first_bytes);
        let after = Snapshot::of(&lock_path);
        assert_eq!(after, before, "not a byte, not a time stamp changed");
        let names = support::names_in(dir.path());
        assert_eq!(names, ["data.lock"], "no other file was created");
    }
}

/// Every operation refuses the file at the lock path, and the refusal shows its first bytes.
fn assert_foreign(data: &Path, first_bytes: &str) {
    let error = WriterLock::try_acquire(data).expect_err("the file is foreign");
    let text = error.to_string();
    assert!(matches!(error, AcquireError::Foreign { .. }), "{error:?}");
    assert!(!error.is_held(), "a wait would not end");
    let lock_path = lock_path_for(data).display().to_string();
    assert!(text.contains(&lock_path), "names the file: {text}");
    assert!(text.contains(first_bytes), "shows its first bytes: {text}");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidData);
    let state = inspect(data).expect("the lock file can be inspected");
    let is_foreign = matches!(state, LockState::Foreign(Foreign::Content(_)));
    assert!(is_foreign, "{state:?}");
    let error = support::break_stale(data).expect_err("the file is foreign");
    assert!(matches!(error, BreakError::Foreign { .. }), "{error:?}");
    let forced = support::force_break(data, support::some_writer_id());
    let error = forced.expect_err("the file is foreign");
    assert!(matches!(error, BreakError::Foreign { .. }), "{error:?}");
}

fn record_of_version_2() -> [u8; RECORD_LEN] {
    let host = support::this_host();
    let mut bytes = support::unstamped(support::dead_pid(), &host, VERY_OLD).encode();
    if let Some(version) = bytes.get_mut(0x60) {
        *version = 2;
    }
    bytes
}

// A lock of a newer version may be held by rules that this version does not know.
#[test]
fn a_record_of_another_version_is_refused_and_left_alone() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let lock_path = lock_path_for(&data);
    fs::write(&lock_path, record_of_version_2()).expect("the directory is writable");
    support::age_mtime(&lock_path, VERY_OLD);
    let before = Snapshot::of(&lock_path);
    let error = WriterLock::try_acquire(&data).expect_err("the lock may be held");
    assert!(
        matches!(error, AcquireError::UnsupportedVersion { found: 2, .. }),
        "{error:?}"
    );
    let error = support::break_stale(&data).expect_err("the lock may be held");
    assert!(
        matches!(error, BreakError::UnsupportedVersion { found: 2, .. }),
        "{error:?}"
    );
    let state = inspect(&data).expect("the lock file can be inspected");
    assert_eq!(state, LockState::UnsupportedVersion(2));
    assert_eq!(Snapshot::of(&lock_path), before);
}

// In /tmp any user may put anything at the lock path: open(2) of a FIFO would hang, and through a
// symlink a file elsewhere would be created or overwritten.
#[test]
fn links_directories_pipes_sockets_and_devices_are_refused_at_once() {
    let dir = support::scratch();
    let mode = Permissions::from_mode(0o1777);
    fs::set_permissions(dir.path(), mode).expect("the directory belongs to this user");
    let target = dir.path().join("target");
    fs::write(&target, "precious").expect("the directory is writable");
    let target_before = Snapshot::of(&target);
    let at = |name: &str| dir.path().join(format!("{name}.lock"));
    symlink(&target, at("link")).expect("the directory is writable");
    symlink(dir.path().join("missing"), at("dangling")).expect("the directory is writable");
    fs::create_dir(at("directory")).expect("the directory is writable");
    mkfifo(&at("fifo"), Mode::S_IRWXU).expect("the directory is writable");
    let _socket = UnixListener::bind(at("socket")).expect("the directory is writable");
    let mut planted = vec![
        ("link", FileKind::Symlink),
        ("dangling", FileKind::Symlink),
        ("directory", FileKind::Directory),
        ("fifo", FileKind::Fifo),
        ("socket", FileKind::Socket),
    ];
    let null = makedev(1, 3);
    match mknod(&at("device"), SFlag::S_IFCHR, Mode::S_IRWXU, null) {
        Ok(()) => planted.push(("device", FileKind::Device)),
        Err(error) => support::skip(&format!("no device at the lock path: mknod: {error}")),
    }
    let names = support::names_in(dir.path());
    for (name, kind) in planted {
        assert_irregular(&dir.path().join(name), kind);
    }
    let after = support::names_in(dir.path());
    assert_eq!(after, names, "no file was created or removed");
    assert_eq!(Snapshot::of(&target), target_before, "no link was followed");
}

/// Every operation names the kind of the file at the lock path, in a child process, which is killed if
/// it hangs.
fn assert_irregular(data: &Path, kind: FileKind) {
    let mut worker = Role::worker(data).ready();
    let lock_path = lock_path_for(data).display().to_string();
    for command in ["try", "acquire", "break"] {
        let text = worker.expect(command, "error");
        assert!(text.contains(&kind.to_string()), "names the kind: {text}");
        assert!(text.contains(&lock_path), "names the path: {text}");
    }
    let state = worker.request("inspect");
    assert_eq!(state, format!("Ok(Foreign(Kind({kind:?})))"), "{lock_path}");
    worker.close_input();
}

// One line that a program printed to a standard output that it had closed went into its own lock file.
// Contenders reported the file as another program's and advised to move it away: the lock of
// a live holder.
#[test]
fn a_file_that_a_live_process_has_locked_is_held_whatever_it_contains() {
    let newer = [b"FLVR".as_slice(), &[0xff; 100]].concat();
    for content in [b"progress: 12 %\n".as_slice(), &newer] {
        let dir = support::scratch();
        let data = dir.path().join("data");
        let path = lock_path_for(&data);
        fs::write(&path, content).expect("the directory is writable");
        let holder = File::open(&path).expect("the file is there");
        support::try_lock(&holder).expect("no other process has it open");

        let error = WriterLock::try_acquire(&data).expect_err("a live process has locked it");
        assert!(error.is_held(), "a wait can end: {error}");
        let state = inspect(&data).expect("the lock file can be inspected");
        let LockState::Held(found) = state else {
            panic!("not held: {state:?}");
        };
        assert_eq!(found.verdict().reason(), Reason::KernelLock);
        let error = support::break_stale(&data).expect_err("a live process has locked it");
        assert!(matches!(error, BreakError::Held { .. }), "{error:?}");

        support::unlock(&holder).expect("it is locked");
        let error = WriterLock::try_acquire(&data).expect_err("the content is no record");
        assert!(!error.is_held(), "no process will ever release it: {error}");
        let left = fs::read(&path).expect("the file is still there");
        assert_eq!(left, content, "not a byte was changed");
    }
}

// Two names, one inode: the file at the lock path can be another program's file under a second name.
#[test]
fn a_hard_link_to_a_foreign_file_at_the_lock_path_leaves_that_file_alone() {
    let dir = support::scratch();
    let (data, original) = (dir.path().join("data"), dir.path().join("config.toml"));
    fs::write(&original, "[server]\n").expect("the directory is writable");
    fs::hard_link(&original, lock_path_for(&data)).expect("one file system");
    support::age_mtime(&original, VERY_OLD);
    let before = Snapshot::of(&original);
    let error = WriterLock::try_acquire(&data).expect_err("the file is not a lock of this library");
    assert!(matches!(error, AcquireError::Foreign { .. }), "{error:?}");
    support::break_stale(&data).expect_err("the file is not a lock of this library");
    assert_eq!(
        Snapshot::of(&original),
        before,
        "content and both names are as before"
    );
}

// ---------------------------------------------------------------- torn files

fn torn_contents() -> Vec<(&'static str, Vec<u8>)> {
    let host = support::this_host();
    let whole = support::unstamped(support::dead_pid(), &host, Duration::ZERO).encode();
    let mut flipped = whole;
    if let Some(byte) = flipped.get_mut(9) {
        *byte ^= 0x40;
    }
    let first = |len| whole.get(..len).expect("a record is longer").to_vec();
    vec![
        ("empty", Vec::new()),
        ("magic alone", first(4)),
        ("one byte short", first(103)),
        ("zeros, as power loss leaves them", vec![0; 104]),
        ("damaged", flipped.to_vec()),
    ]
}

type SetAge<'a> = &'a dyn Fn(&Path);

// A writer died between creating the file and writing it, or the power failed: there is no record to
// judge by.
#[test]
fn a_torn_file_is_recovered_when_no_process_can_still_be_writing_it() {
    let grace = Duration::from_millis(40);
    let options =
        WriterLock::options().stale_policy(StalePolicy::new().with_malformed_grace(grace));
    for (name, content) in torn_contents() {
        let old = |path: &Path| support::age_mtime(path, Duration::from_secs(3));
        let future =
            |path: &Path| support::set_mtime(path, SystemTime::now() + Duration::from_secs(86_400));
        let ages: [(&str, &LockOptions, SetAge); 3] = [
            ("older than the grace", &WriterLock::options(), &old),
            ("young, waited out within the attempt", &options, &|_| {}),
            // The clock was set back by a day since: by its mtime it would stay young for a day.
            (
                "from the future, waited out by the clock of the process",
                &options,
                &future,
            ),
        ];
        for (age, options, set_age) in ages {
            let dir = support::scratch();
            let data = dir.path().join("data");
            fs::write(lock_path_for(&data), &content).expect("the directory is writable");
            set_age(&lock_path_for(&data));
            let lock = options.try_acquire(&data);
            let lock = lock.unwrap_or_else(|error| panic!("{name}, {age}: {error}"));
            assert!(
                lock.reclaimed().is_some(),
                "{name}, {age}: a lock was broken"
            );
            assert_eq!(
                lock.reclaimed().and_then(|reclaimed| reclaimed.record),
                None,
                "{name}, {age}: but its holder is unknown"
            );
            lock.release().expect("the lock is held");
            assert!(
                support::names_in(dir.path()).is_empty(),
                "{name}, {age}: no leftovers"
            );
        }
    }
}

// The clock was set back by a day since the power failed. One attempt ends before this grace does, and
// each attempt of a waiter used to start the grace again: no process ever got the lock.
#[test]
fn a_torn_file_from_the_future_is_recovered_by_a_wait_of_several_attempts() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let file = File::create_new(lock_path_for(&data)).expect("the lock path is free");
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    file.set_modified(tomorrow)
        .expect("the file belongs to this user");
    let grace = StalePolicy::MALFORMED_GRACE + Duration::from_millis(500);
    let options =
        WriterLock::options().stale_policy(StalePolicy::new().with_malformed_grace(grace));
    let lock = options.acquire(&data, support::PATIENCE);
    let lock = lock.expect("no process has written the file for longer than the grace");
    assert!(lock.reclaimed().is_some(), "the torn file was broken");
    lock.release().expect("the lock is held");
}

// A board without a battery boots in 1970 after a loss of power, and what the dead holder wrote lies in
// the future until the clock has caught up. "Stale in 5 min", said the report, again and again.
#[test]
fn a_record_from_the_future_is_recovered_by_a_wait_that_watches_it() {
    let here = support::this_host();
    let elsewhere = Hostname::new(b"rvlf-elsewhere").expect("the name is short enough");
    let second = Duration::from_secs(1);
    let policies = [
        (
            here,
            Duration::from_secs(200),
            StalePolicy::new().with_same_host_age(second),
        ),
        (
            elsewhere,
            1000 * support::PATIENCE,
            StalePolicy::new().with_cross_host_age(second),
        ),
    ];
    for (host, ahead, policy) in policies {
        let dir = support::scratch();
        let data = dir.path().join("data");
        let record = support::unstamped(support::dead_pid(), &host, Duration::ZERO);
        let record = record.refreshed(record.timestamp_ns() + support::ns(ahead));
        let path = lock_path_for(&data);
        fs::write(&path, record.encode()).expect("the directory is writable");
        support::set_mtime(&path, SystemTime::now() + ahead);

        let options = WriterLock::options().stale_policy(policy);
        let refused = options
            .try_acquire(&data)
            .expect_err("one look shows no age");
        assert!(refused.is_held(), "{refused}");
        let lock = options.acquire(&data, support::PATIENCE);
        let lock = lock.expect("nothing has refreshed the record for a second");
        let reclaimed = lock.reclaimed().and_then(|reclaimed| reclaimed.record);
        assert_eq!(reclaimed, Some(record), "{ahead:?} ahead");
        lock.release().expect("the lock is held");
    }
}

// `rvlf break` examined the file once, found it young and refused, in each run: by its mtime the file
// stayed young for a day.
#[test]
fn a_torn_file_from_the_future_can_be_broken_by_hand() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let file = File::create_new(lock_path_for(&data)).expect("the lock path is free");
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    file.set_modified(tomorrow)
        .expect("the file belongs to this user");
    let grace = StalePolicy::new().with_malformed_grace(Duration::from_millis(40));
    let broken = support::break_stale_with(WriterLock::options().stale_policy(grace), &data);
    let holder = broken
        .expect("no process writes the file")
        .expect("the lock file existed");
    assert_eq!(holder.record(), None, "the file was torn: {holder}");
    assert!(
        support::names_in(dir.path()).is_empty(),
        "the file was removed"
    );
}

// One attempt ends within two seconds, whatever the policy: with a grace of an hour it slept for an
// hour, and with the longest grace indefinitely.
#[test]
fn a_long_grace_does_not_make_one_attempt_long() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    File::create_new(lock_path_for(&data)).expect("the lock path is free");
    let (sender, answer) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let patient = StalePolicy::new().with_malformed_grace(Duration::MAX);
        let options = WriterLock::options().stale_policy(patient);
        // The test may have failed.
        let _ = sender.send(options.try_acquire(&data));
    });
    let outcome = answer.recv_timeout(support::PATIENCE);
    assert_held(
        outcome.expect("one attempt does not wait indefinitely"),
        Reason::BeingWritten,
    );
}

// Deployed clients create the file and write it in a second step. A contender that breaks a file that is
// empty for a moment lets two writers in.
#[test]
fn a_file_that_is_being_written_is_not_broken_and_then_read() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let file = File::create_new(lock_path_for(&data)).expect("the lock path is free");
    let state = inspect(&data).expect("the lock file can be inspected");
    let LockState::Malformed(holder) = &state else {
        panic!("an empty file is malformed: {state:?}");
    };
    assert_eq!(holder.verdict().reason(), Reason::BeingWritten);
    let patient =
        WriterLock::options().stale_policy(StalePolicy::new().with_malformed_grace(Duration::MAX));
    let error =
        support::break_stale_with(patient, &data).expect_err("another process may be writing it");
    assert!(
        error.to_string().contains("may still be writing it"),
        "{error}"
    );

    let record = support::unstamped(
        support::this_process(),
        &support::this_host(),
        Duration::ZERO,
    );
    let outcome = std::thread::scope(|scope| {
        let attempt = scope.spawn(|| {
            let patient = StalePolicy::new().with_malformed_grace(support::PATIENCE);
            WriterLock::options()
                .stale_policy(patient)
                .try_acquire(&data)
        });
        std::thread::sleep(Duration::from_millis(30));
        file.write_all_at(&record.encode(), 0)
            .expect("the file is open");
        attempt.join().expect("the thread does not panic")
    });
    let error = outcome.expect_err("the writer is alive");
    let holder = error.holder().expect("the lock is held");
    assert_eq!(
        holder.record(),
        Some(&record),
        "the attempt saw the record appear"
    );
    assert_eq!(holder.verdict().reason(), Reason::ProcessAlive);
    assert_eq!(support::read_record(&data), record);
}

// ---------------------------------------------------------------- paths

fn io_error(outcome: Result<WriterLock, AcquireError>) -> (io::ErrorKind, String) {
    match outcome {
        Err(AcquireError::Io(error)) => {
            let text = error.to_string();
            let cause = format!(": {}; ", error.source);
            assert!(
                text.contains(&cause),
                "the cause, then the next step: {text}"
            );
            (io::Error::from(error).kind(), text)
        }
        outcome => panic!("expected an I/O error: {outcome:?}"),
    }
}

#[test]
fn paths_that_cannot_be_locked_fail_with_operation_path_and_kind() {
    use io::ErrorKind::{InvalidInput, NotADirectory, NotFound};
    // It has its name since Rust 1.87.
    let invalid_filename = io::Error::from(Errno::ENAMETOOLONG).kind();
    let dir = support::scratch();
    let below = |name: &str| dir.path().join(name);
    fs::write(below("file"), "").expect("the directory is writable");
    let long = |len: usize| below(&"n".repeat(len));
    let cases: [(PathBuf, io::ErrorKind, &str); 9] = [
        (below("missing/data"), NotFound, "open the directory"),
        (below("file/data"), NotADirectory, "open the directory"),
        // With ".lock" the name is one byte too long.
        (long(251), invalid_filename, "stat"),
        (long(5000), invalid_filename, "stat"),
        (below("nul\0byte"), InvalidInput, "name the lock file"),
        ("/".into(), InvalidInput, "name the lock file"),
        ("..".into(), InvalidInput, "name the lock file"),
        (".".into(), InvalidInput, "name the lock file"),
        ("".into(), InvalidInput, "name the lock file"),
    ];
    for (path, kind, operation) in cases {
        let (found, text) = io_error(WriterLock::try_acquire(&path));
        let shown = path.display().to_string();
        assert_eq!(found, kind, "{shown}: {text}");
        let lock_path = lock_path_for(&path);
        let lock_path = Escaped::path(&lock_path).to_string();
        for part in [operation, &lock_path] {
            assert!(text.contains(part), "{shown}: names {part}: {text}");
        }
        assert!(inspect(&path).is_err(), "{shown}: an inspection fails, too");
    }
    // From a script whose variable is not set, and from a program that joins what it was sent.
    let text = |path: PathBuf| io_error(WriterLock::try_acquire(path)).1;
    assert!(text("".into()).contains("the path of the data file is empty"));
    assert!(text(below("nul\0byte")).contains("the path has a NUL byte"));
    let names = support::names_in(dir.path());
    assert_eq!(names, ["file"], "no file was created");
    let lock = WriterLock::try_acquire(long(250)).expect("255 bytes are a file name");
    lock.release().expect("the lock is held");
}

// A program prints an error as it is. A file name that clears the screen, starts a second line or
// reverses the text behind it must not reach the terminal.
#[test]
fn no_error_displays_a_control_or_format_character_of_a_path() {
    const NAME: &str = "a\u{1b}[2Jb\nc\u{202e}d";
    const ESCAPED: &str = r"a\u{1b}[2Jb\nc\u{202e}d";
    let dir = support::scratch();
    let data = dir.path().join(NAME);
    let file = LockFile::open(&data).expect("the directory exists");
    let mut texts = vec![
        refusal(WriterLock::try_acquire(data.join("below"))),
        refusal(inspect(data.join("below"))),
        refusal(rvlf::remove_leftovers(data.join("below"))),
    ];

    let lock = WriterLock::try_acquire(&data).expect("any bytes are a name");
    let token = CancelToken::new();
    token.cancel();
    let cancelled = LockOptions::new().cancel_token(&token);
    texts.extend([
        refusal(file.try_acquire()),
        refusal(file.acquire(Duration::from_millis(1))),
        refusal(cancelled.acquire(&data, Duration::MAX)),
        refusal(file.break_stale()),
    ]);
    fs::remove_file(lock.lock_path()).expect("the directory is writable");
    texts.extend([refusal(lock.check()), refusal(lock.release())]);

    for content in [&b"another program's"[..], &record_of_version_2()] {
        fs::write(file.lock_path(), content).expect("the directory is writable");
        texts.extend([refusal(file.try_acquire()), refusal(file.break_stale())]);
    }
    symlink("elsewhere", &data).expect("the directory is writable");
    let single = LockOptions::new().refuse_aliases(true);
    texts.push(refusal(single.try_acquire(&data)));

    for text in texts {
        assert!(text.contains(ESCAPED), "the name is legible: {text:?}");
        let visible = |c: char| !c.is_control() && c != '\u{202e}';
        assert!(text.chars().all(visible), "{text:?}");
    }
}

fn refusal<T: std::fmt::Debug, E: std::fmt::Display>(outcome: Result<T, E>) -> String {
    match outcome {
        Ok(value) => panic!("expected an error: {value:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn names_that_are_not_utf_8_and_relative_paths_are_locked_like_others() {
    let dir = support::scratch();
    let name = OsString::from_vec(b"d\xe4ta\n\x01".to_vec());
    let data = dir.path().join(&name);
    let lock = WriterLock::try_acquire(&data).expect("any bytes are a name");
    let mut lock_name = name.clone();
    lock_name.push(".lock");
    assert_eq!(support::names_in(dir.path()), [lock_name.as_os_str()]);
    assert_eq!(lock.data_path(), data);
    let error = WriterLock::try_acquire(&data).expect_err("the lock is held");
    assert!(error.holder().is_some_and(rvlf::Holder::is_this_process));
    lock.release().expect("the lock is held");

    // The same file from inside the directory, by its bare name and by another spelling.
    let mut inside = Role::worker(Path::new(&name))
        .in_directory(dir.path())
        .ready();
    inside.expect("try", "got");
    for path in [
        data.clone(),
        dir.path().join(".").join(&name),
        dir.path().join(OsStr::from_bytes(b"./d\xe4ta\n\x01/")),
    ] {
        let error = WriterLock::try_acquire(&path).expect_err("one file, one lock");
        assert!(error.is_held(), "{error}");
    }
    assert_eq!(inside.request("release"), "released");
    assert!(support::names_in(dir.path()).is_empty());
}

/// Between acquiring and releasing: changes the working directory, renames the parent, and puts another
/// directory with another lock in its place.
fn changes_directories() {
    let lock = WriterLock::try_acquire("parent/data").expect("the lock is free");
    fs::rename("parent", "renamed").expect("the directory is writable");
    fs::create_dir("parent").expect("the name is free");
    fs::write("parent/data.lock", "another program's").expect("the directory is writable");
    std::env::set_current_dir("/").expect("every user may");
    support::report("ready");
    support::next_command();
    let moved = |lost: rvlf::Lost| lost.reason == rvlf::LossReason::Moved;
    assert!(lock.check().is_err_and(moved), "contenders do not see it");
    lock.refresh().expect_err("the loss is reported again");
    lock.release().expect_err("the loss is reported again");
    support::report("released");
}

// A daemon acquires by a relative path, changes to / and is still running when an administrator renames
// its directory. A release by path would miss its file, or remove another program's.
#[test]
fn release_finds_its_own_file_after_chdir_and_a_renamed_parent() {
    let dir = support::scratch();
    fs::create_dir(dir.path().join("parent")).expect("the directory is writable");
    let mut daemon = Role::new("changes directories")
        .in_directory(dir.path())
        .ready();
    let held = WriterLock::try_acquire(dir.path().join("renamed/data"));
    assert!(
        held.is_err_and(|error| error.is_held()),
        "the lock is held under its new path"
    );
    assert_eq!(daemon.request("release"), "released");
    daemon.finish();
    assert!(
        support::names_in(&dir.path().join("renamed")).is_empty(),
        "the daemon's own file is removed"
    );
    let other = fs::read(dir.path().join("parent/data.lock")).expect("the file exists");
    assert_eq!(
        other, b"another program's",
        "the file at the old path is unchanged"
    );
}

// By its own name and by a link, one data file has two lock paths and two writers, by the rule of
// deployed clients. `refuse_aliases` refuses such a file.
#[test]
fn a_data_file_with_two_names_is_refused_only_by_refuse_aliases() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    fs::write(&data, "").expect("the directory is writable");
    let strict = WriterLock::options().refuse_aliases(true);
    let lock = strict.try_acquire(&data).expect("the file has one name");
    lock.release().expect("the lock is held");

    symlink("data", dir.path().join("symlink")).expect("the directory is writable");
    let error = strict
        .try_acquire(dir.path().join("symlink"))
        .expect_err("the path is a link");
    assert!(
        matches!(
            error,
            AcquireError::Aliased {
                alias: Alias::Symlink,
                ..
            }
        ),
        "{error:?}"
    );
    strict
        .try_acquire(&data)
        .map(drop)
        .expect("a file does not show the symlinks to it");

    fs::hard_link(&data, dir.path().join("hard")).expect("one file system");
    for name in ["data", "hard"] {
        let error = strict
            .try_acquire(dir.path().join(name))
            .expect_err("the file has two names");
        assert!(
            matches!(
                error,
                AcquireError::Aliased {
                    alias: Alias::HardLinks(2),
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(error.to_string().contains(name), "{error}");
    }
    let lenient = ["data", "hard", "symlink"].map(|name| dir.path().join(name));
    let locks =
        lenient.map(|path| WriterLock::try_acquire(path).expect("each name has a lock of its own"));
    assert_eq!(
        locks.len(),
        3,
        "documented: the lock path follows from the name"
    );
}

/// In a mount namespace of its own: data that is reached by a bind mount, of the same file system.
fn mount_points() {
    let dir = PathBuf::from(support::arg("DIR"));
    let none = None::<&str>;
    let at = |name: &str| dir.join(name);
    fs::create_dir_all(at("host/volume/part")).expect("the directory is writable");
    fs::create_dir_all(at("container/volume")).expect("the directory is writable");
    for name in ["host/data", "container/data"] {
        fs::write(at(name), "").expect("the directory is writable");
    }
    for name in ["data", "volume"] {
        let (from, to) = (at("host").join(name), at("container").join(name));
        mount(Some(&from), &to, none, MsFlags::MS_BIND, none).expect("this user may mount here");
    }

    let strict = WriterLock::options().refuse_aliases(true);
    for name in ["container/data", "container/volume"] {
        let error = strict.try_acquire(at(name)).expect_err("it is a mount");
        assert!(
            matches!(
                error,
                AcquireError::Aliased {
                    alias: Alias::MountPoint,
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(!lock_path_for(at(name)).exists(), "nothing is left behind");
    }
    for name in ["host/data", "host/volume", "container/volume/part"] {
        let lock = strict.try_acquire(at(name));
        lock.map(drop)
            .expect("neither a link nor a mount point, although it has a subdirectory");
    }
    WriterLock::try_acquire(at("container/data"))
        .map(drop)
        .expect("documented: the default permits mount points");
    passed();
}

// Mounted alone into two containers, a data file has a lock file in each, and no name, link or
// device number shows that.
#[test]
fn a_data_file_that_is_mounted_alone_is_refused_by_refuse_aliases() {
    run_in_container("mount-points");
}

// ---------------------------------------------------------------- places

/// In a mount namespace of its own: a tmpfs that holds a stale lock and is remounted read-only.
fn read_only() {
    let dir = PathBuf::from(support::arg("DIR"));
    let tmpfs = Some("tmpfs");
    let none = None::<&str>;
    mount(tmpfs, &dir, tmpfs, MsFlags::empty(), none).expect("root of its namespaces may mount");
    let left = dir.join("left");
    support::plant_left_behind(&left);
    let before = Snapshot::of(&lock_path_for(&left));
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(none, &dir, none, read_only, none).expect("root of its namespaces may mount");

    let (kind, text) = io_error(WriterLock::try_acquire(dir.join("data")));
    assert_eq!(kind, io::ErrorKind::ReadOnlyFilesystem, "{text}");
    let (kind, text) = io_error(WriterLock::try_acquire(&left));
    assert_eq!(kind, io::ErrorKind::ReadOnlyFilesystem, "{text}");
    let state = inspect(&left).expect("an inspection writes nothing");
    assert!(matches!(state, LockState::Stale(_)), "{state:?}");
    assert_eq!(
        inspect(dir.join("data")).expect("see above"),
        LockState::Free
    );
    assert_eq!(Snapshot::of(&lock_path_for(&left)), before);
    passed();
}

#[test]
fn a_read_only_file_system_is_an_error_that_says_so() {
    run_in_container("read-only");
}

/// In a mount namespace of its own: a file system without a free block, and one without a free inode.
fn full_disk() {
    let dir = PathBuf::from(support::arg("DIR"));
    for (name, options) in [("blocks", "size=4k"), ("inodes", "nr_inodes=3")] {
        let disk = dir.join(name);
        fs::create_dir(&disk).expect("the directory is writable");
        let tmpfs = Some("tmpfs");
        mount(tmpfs, &disk, tmpfs, MsFlags::empty(), Some(options))
            .expect("root of its namespaces may mount");
        let mut fillers = 0;
        while fs::write(disk.join(format!("filler{fillers}")), [b'x'; 4096]).is_ok() {
            fillers += 1;
        }
        let before = support::names_in(&disk);
        for durability in [Durability::Sync, Durability::None] {
            let options = WriterLock::options().durability(durability);
            let (kind, text) = io_error(options.try_acquire(disk.join("data")));
            assert_eq!(kind, io::ErrorKind::StorageFull, "{name}: {text}");
            assert_eq!(
                support::names_in(&disk),
                before,
                "{name}: no lock file is left"
            );
        }
        let filler = before.first().expect("files fill the disk");
        fs::remove_file(disk.join(filler)).expect("the file belongs to this user");
        let lock = WriterLock::try_acquire(disk.join("data")).expect("the disk has room again");
        lock.release().expect("the lock is held");
    }
    passed();
}

// A lock file that is created and cannot be written would exclude every writer until it is old.
#[test]
fn a_full_disk_is_an_error_and_leaves_no_lock_file() {
    run_in_container("full disk");
}

fn become_nobody() {
    setgroups(&[]).expect("root may change its user");
    setresgid(NOBODY.1, NOBODY.1, NOBODY.1).expect("root may change its user");
    setresuid(NOBODY.0, NOBODY.0, NOBODY.0).expect("root may change its user");
}

/// As an ordinary user, in the directory DIR.
fn writes_where_it_may_not_list() {
    let dir = PathBuf::from(support::arg("DIR"));
    become_nobody();
    fs::read_dir(&dir).expect_err("this user may not list the directory");
    let lock = WriterLock::try_acquire(dir.join("data")).expect("this user may create files");
    lock.check().expect("the lock is held");
    lock.release().expect("the lock is held");
    passed();
}

// A spool directory (mode 1733) on a file system that cannot link: its descriptor is one that fsync(2)
// refuses with EBADF. strace makes every link fail as such a file system does.
#[test]
fn a_directory_that_may_be_written_but_not_listed_needs_no_links() {
    if !Uid::effective().is_root() || Command::new("strace").arg("-V").output().is_err() {
        return support::skip("only root can become another user, under strace");
    }
    let dir = support::scratch();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o1733)).expect("root may");
    let role = Role::new("writes where it may not list").with("DIR", dir.path());
    let role = role.under_fault("linkat:error=EPERM");
    role.ready().close_input();
    assert!(support::names_in(dir.path()).is_empty());
}

/// Acquires, and recovers a dead lock, in the directory DIR.
fn acquires_and_recovers() {
    let dir = PathBuf::from(support::arg("DIR"));
    let lock = WriterLock::try_acquire(dir.join("data")).expect("the lock is free");
    let error = WriterLock::try_acquire(dir.join("data")).expect_err("the lock is held");
    assert!(error.is_held(), "{error}");
    lock.check().expect("the lock is held");
    lock.release().expect("the lock is held");
    let record = support::plant_left_behind(&dir.join("left"));
    assert_reclaimed(WriterLock::try_acquire(dir.join("left")), &record);
    passed();
}

// Some sandboxes refuse statx(2), and old kernels do not have it: fstat(2) has no birth time, but the inode
// number alone distinguishes a dead holder's file from another one.
#[test]
fn where_statx_is_refused_locks_are_held_and_recovered_as_elsewhere() {
    if Command::new("strace").arg("-V").output().is_err() {
        return support::skip("strace is not installed");
    }
    // 32-bit glibc itself calls statx(2) for fstat(2), and reports EPERM.
    let is_of_the_library = cfg!(target_pointer_width = "64");
    let refusals = if is_of_the_library { 2 } else { 1 };
    for errno in ["ENOSYS", "EPERM"].iter().take(refusals) {
        let dir = support::scratch();
        let mut strace = Command::new("strace");
        strace.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=statx"]);
        strace.args(["-e", &format!("inject=statx:error={errno}")]);
        let role = Role::new("acquires and recovers").with("DIR", dir.path());
        role.under(strace).ready().close_input();
    }
}

/// Takes a lease on the lock file of DATA, and keeps it until the test commands it to yield.
#[allow(unsafe_code, reason = "fcntl(2) and signal(2)")]
fn leases() {
    // SAFETY: SIG_IGN is no handler; the signal would end the process when the lease is broken.
    unsafe { nix::sys::signal::signal(Signal::SIGIO, nix::sys::signal::SigHandler::SigIgn) }
        .expect("SIGIO can be ignored");
    let lock_path = lock_path_for(PathBuf::from(support::arg("DATA")));
    let file = File::options().read(true).write(true).open(lock_path);
    let file = file.expect("the file exists");
    let lease = |kind: i32| {
        // SAFETY: F_SETLEASE takes an int, and the descriptor is open.
        let outcome = unsafe { nix::libc::fcntl(file.as_raw_fd(), nix::libc::F_SETLEASE, kind) };
        nix::errno::Errno::result(outcome)
    };
    match lease(nix::libc::F_WRLCK) {
        Ok(_) => support::report("leased"),
        Err(error) => return support::report(format_args!("cannot: {error}")),
    }
    support::next_command();
    lease(nix::libc::F_UNLCK).expect("the lease is this process's");
    support::report("yielded");
}

// A backup program or a file server (Samba, with kernel oplocks) may lease any file. While it does not
// yield the lease, no process can open the lock file: that is a reason to wait, and no I/O error.
#[test]
fn a_lease_that_is_not_yielded_is_contention() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    support::plant_left_behind(&data);
    let mut lessee = Role::new("leases").with("DATA", &data).start();
    match lessee.receive().as_str() {
        "leased" => {}
        refusal => return support::skip(&format!("leases: {refusal}")),
    }
    let error = WriterLock::try_acquire(&data).expect_err("the file cannot be opened");
    let holder = error.holder().expect("a lease is contention");
    assert_eq!(holder.verdict().reason(), Reason::Leased);
    let state = inspect(&data).expect("a lease is no error");
    assert!(matches!(state, LockState::Held(_)), "{state:?}");
    let waiter = {
        let data = data.clone();
        std::thread::spawn(move || WriterLock::acquire(&data, support::PATIENCE))
    };
    assert_eq!(lessee.request("yield"), "yielded");
    lessee.finish();
    let lock = waiter.join().expect("no panic");
    drop(lock.expect("the lock of a dead holder is recovered"));
}

/// As an ordinary user, in the directories that root has prepared in DIR.
fn ordinary_user() {
    let dir = PathBuf::from(support::arg("DIR"));
    become_nobody();

    let denied = |name: &str| {
        let (kind, text) = io_error(WriterLock::try_acquire(dir.join(name)));
        assert_eq!(kind, io::ErrorKind::PermissionDenied, "{name}: {text}");
        text
    };
    let text = denied("readable/new");
    assert!(text.contains("create the lock file"), "{text}");
    denied("closed/new");
    // Root's writer has left this lock, and this user may not rename in the directory, or not the files
    // of other users.
    let text = denied("readable/left");
    assert!(text.contains("rename the lock file aside"), "{text}");
    let text = denied("sticky/left");
    assert!(text.contains("in a sticky directory"), "{text}");

    let error =
        WriterLock::try_acquire(dir.join("sticky/private")).expect_err("the lock may be held");
    let holder = error.holder().expect("doubt reads as held");
    assert_eq!(holder.verdict().reason(), Reason::Unreadable);
    assert_eq!(
        holder.uid(),
        Some(0),
        "the report names the owner of the file"
    );
    let text = error.to_string();
    assert!(
        text.contains("held or left behind by a process of user 0"),
        "the holder may be dead: {text}"
    );
    let state = inspect(dir.join("sticky/private")).expect("an inspection is no error");
    assert!(matches!(state, LockState::Held(_)), "{state:?}");

    let lock = WriterLock::try_acquire(dir.join("sticky/new")).expect("every user may write here");
    assert!(
        lock.record().stamp().is_some(),
        "a process that gave up root has a stamp"
    );
    lock.check().expect("the lock is held");
    lock.release().expect("the lock is held");
    passed();
}

/// Acquires as root in DIR, which only root may write to, and becomes an ordinary user.
fn gives_up_root() {
    let data = PathBuf::from(support::arg("DIR")).join("data");
    let lock = WriterLock::try_acquire(data).expect("root may write here");
    setgroups(&[]).expect("root may change its user");
    setresgid(NOBODY.1, NOBODY.1, NOBODY.1).expect("root may change its user");
    setresuid(NOBODY.0, NOBODY.0, NOBODY.0).expect("root may change its user");

    lock.refresh().expect("the descriptor is still writable");
    let error = lock
        .release()
        .expect_err("this user may not unlink in the directory");
    let text = error.to_string();
    assert!(
        text.contains("check the permissions of its directory"),
        "{text}"
    );
    assert!(text.contains("the lock is still held"), "{text}");
    error.lock.check().expect("the lock is still held");
    passed();
}

// A server that acquires as root and then gives up root never releases. Told to try again, it would
// do so until it is killed.
#[test]
fn after_setuid_a_release_fails_with_a_step_that_works_and_the_next_writer_is_told() {
    if !nix::unistd::geteuid().is_root() {
        return support::skip("only root can become another user");
    }
    let dir = support::scratch();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755))
        .expect("the file is this user's");
    let mut user = Role::new("gives up root").with("DIR", dir.path()).ready();
    user.send("end");
    user.finish();
    let lock = WriterLock::try_acquire(dir.path().join("data")).expect("the holder has ended");
    assert!(lock.reclaimed().is_some(), "the holder could not release");
    lock.release().expect("the lock is held");
}

const NOBODY: (Uid, Gid) = (Uid::from_raw(65534), Gid::from_raw(65534));

#[test]
fn another_users_directories_and_lock_files_are_errors_or_held_and_never_changed() {
    if !nix::unistd::geteuid().is_root() {
        return support::skip("only root can become another user");
    }
    let dir = support::scratch();
    let set_mode = |path: &Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode))
            .expect("the file belongs to this user");
    };
    set_mode(dir.path(), 0o755);
    for (name, mode) in [("readable", 0o755), ("closed", 0o700), ("sticky", 0o1777)] {
        fs::create_dir(dir.path().join(name)).expect("the file belongs to this user");
        set_mode(&dir.path().join(name), mode);
    }
    let mut kept = Vec::new();
    for name in ["readable/left", "sticky/left", "sticky/private"] {
        support::plant_left_behind(&dir.path().join(name));
        let lock_path = lock_path_for(dir.path().join(name));
        let private = name.ends_with("private");
        set_mode(&lock_path, if private { 0o600 } else { 0o644 });
        kept.push((Snapshot::of(&lock_path), lock_path));
    }
    let mut user = Role::new("ordinary user").with("DIR", dir.path()).ready();
    user.send("end");
    user.finish();
    for (before, path) in kept {
        assert_eq!(Snapshot::of(&path), before, "{}", path.display());
    }
    let names = support::names_in(&dir.path().join("sticky"));
    assert_eq!(names, ["left.lock", "private.lock"]);
}

/// Attempts with SPARE descriptors, and again with enough: the shortage must not be cached.
fn no_descriptors() {
    let dir = PathBuf::from(support::arg("DIR"));
    let (data, left) = (dir.join("data"), dir.join("left"));
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit can be read");
    let first_free = File::open("/dev/null").map(|file| file.as_raw_fd());
    let first_free =
        u64::try_from(first_free.expect("the file opens")).expect("descriptors are positive");
    let limit = rlim_t::try_from(first_free + support::number("SPARE"));
    let limit = limit.expect("a small number");
    setrlimit(Resource::RLIMIT_NOFILE, limit, hard).expect("a lower limit is allowed");
    let free = WriterLock::try_acquire(&data).map(drop);
    let stale = WriterLock::try_acquire(&left).map(drop);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("up to the hard limit");
    if let Err(error) = &free {
        assert!(matches!(error, AcquireError::Io(_)), "{error}");
    }
    if let Err(error) = &stale {
        // Without the boot id the stamp is no evidence, and doubt reads as held.
        assert!(
            matches!(error, AcquireError::Io(_)) || error.is_held(),
            "{error}"
        );
    }
    let refusals = [&free, &stale]
        .iter()
        .filter(|outcome| outcome.is_err())
        .count();
    assert!(
        support::is_absent(&lock_path_for(&data)),
        "the lock file was removed, or never created"
    );
    let lock = WriterLock::try_acquire(&data).expect("the shortage is over");
    assert!(
        lock.record().stamp().is_some(),
        "the boot id can be read now"
    );
    lock.release().expect("the lock is held");
    if stale.is_err() {
        let recovered = WriterLock::try_acquire(&left).expect("its holder is dead");
        assert!(recovered.reclaimed().is_some(), "the first that has it");
    }
    support::report(format_args!("refused {refusals}"));
}

// A server at its limit of open files: the first shortage must not be cached as "this machine has no
// procfs", nor leave a lock file that no process holds, nor take the lock of a dead holder away without a report.
#[test]
fn running_out_of_descriptors_is_an_error_that_passes() {
    let mut refused = Vec::new();
    for spare in 0..8 {
        let dir = support::scratch();
        support::plant_left_behind(&dir.path().join("left"));
        let role = Role::new("no descriptors").with("DIR", dir.path());
        let mut role = role.with_number("SPARE", spare).start();
        refused.push(role.receive());
        role.finish();
    }
    assert_eq!(
        refused.first().map(String::as_str),
        Some("refused 2"),
        "without spare descriptors both attempts fail"
    );
    assert_eq!(
        refused.last().map(String::as_str),
        Some("refused 0"),
        "seven spare descriptors are enough"
    );
}

// ---------------------------------------------------------------- records

fn attempt(record: &Record, mtime_age: Duration) -> Result<WriterLock, AcquireError> {
    attempt_in(support::scratch().path(), record, mtime_age)
}

fn attempt_in(
    dir: &Path,
    record: &Record,
    mtime_age: Duration,
) -> Result<WriterLock, AcquireError> {
    let data = dir.join("data");
    fs::write(lock_path_for(&data), record.encode()).expect("the directory is writable");
    support::age_mtime(&lock_path_for(&data), mtime_age);
    WriterLock::try_acquire(&data)
}

#[track_caller]
fn assert_held(outcome: Result<WriterLock, AcquireError>, reason: Reason) {
    let error = outcome.expect_err("the lock counts as held");
    let holder = error.holder().expect("the lock counts as held");
    assert_eq!(holder.verdict().reason(), reason, "{error}");
}

#[track_caller]
fn assert_reclaimed(outcome: Result<WriterLock, AcquireError>, from: &Record) {
    let lock = outcome.expect("the lock is stale");
    assert_eq!(
        lock.reclaimed().and_then(|reclaimed| reclaimed.record),
        Some(*from)
    );
}

// A record without a stamp is a deployed client's, which holds no flock: pid, host and age decide.
#[test]
fn records_of_deployed_clients_are_judged_by_pid_host_and_age() {
    let (live, dead) = (support::this_process(), support::dead_pid());
    let here = support::this_host();
    let elsewhere = Hostname::new(b"rvlf-elsewhere").expect("the name is short enough");
    let held = [
        (live, here, Duration::ZERO, Reason::ProcessAlive),
        // Older than this process: the pid was reused since. Still held, because that is not certain.
        (
            live,
            here,
            Duration::from_secs(1_000_000),
            Reason::PidProbablyReused,
        ),
        (dead, here, YOUNG, Reason::ProcessDead),
        (dead, elsewhere, MIDDLE, Reason::OtherHost),
        (live, elsewhere, MIDDLE, Reason::OtherHost),
    ];
    for (pid, host, age, reason) in held {
        let record = support::unstamped(pid, &host, age);
        // The mtime has no influence on these rows.
        assert_held(attempt(&record, VERY_OLD), reason);
    }
    for (pid, host, age) in [
        (dead, here, OLD),
        (dead, elsewhere, VERY_OLD),
        (live, elsewhere, VERY_OLD),
    ] {
        let record = support::unstamped(pid, &host, age);
        assert_reclaimed(attempt(&record, Duration::ZERO), &record);
    }
}

// A bucket was copied into a directory, with the object of a lock in it. Its store stamp is no kernel
// stamp: whatever its bytes are as inode key and start ticks, no kernel witnesses anything about it.
#[test]
fn the_lock_of_an_object_store_in_a_copied_file_is_judged_as_a_record_without_a_stamp() {
    let (live, dead) = (support::this_process(), support::dead_pid());
    let here = support::this_host();
    let elsewhere = Hostname::new(b"rvlf-elsewhere").expect("the name is short enough");
    let of_store = |pid, host: &Hostname, age, lease_ms| {
        let stamp = StoreStamp {
            generation: 8,
            lease_ms,
            nonce: 7,
        };
        let timestamp = support::now_ns() - support::ns(age);
        Record::for_store(pid, host, timestamp, support::some_writer_id(), stamp)
    };
    for lease_ms in [30_000, 0] {
        let held = [
            (dead, elsewhere, MIDDLE, Reason::OtherHost),
            (live, elsewhere, MIDDLE, Reason::OtherHost),
        ];
        for (pid, host, age, reason) in held {
            assert_held(
                attempt(&of_store(pid, &host, age, lease_ms), VERY_OLD),
                reason,
            );
        }
        let record = of_store(live, &elsewhere, VERY_OLD, lease_ms);
        assert_reclaimed(attempt(&record, Duration::ZERO), &record);
    }
    // The name is cut at 43 bytes, so a long one is another host's.
    if here.as_bytes().len() <= StoreStamp::MAX_HOSTNAME_LEN {
        let record = of_store(live, &here, VERY_OLD, 30_000);
        let holder = attempt(&record, VERY_OLD).expect_err("the recorded process is alive");
        let holder = holder.holder().expect("the lock counts as held");
        assert_eq!(holder.verdict().reason().row(), 10, "{holder}");
        let record = of_store(dead, &here, OLD, 30_000);
        assert_reclaimed(attempt(&record, Duration::ZERO), &record);
    }
}

fn stamped(pid: Pid, host: &Hostname, age: Duration, start_ticks: u64) -> Record {
    let stamp = KernelStamp {
        // Not an inode of this kernel, but of another machine, of the last boot, or of the original of a
        // copy.
        inode_key: 1,
        start_ticks,
    };
    let timestamp = support::now_ns() - support::ns(age);
    Record::new(pid, host, timestamp, support::some_writer_id(), Some(stamp))
}

// A process that examines a dead lock never ends (stopped by a debugger, for example) and keeps the
// kernel lock. The dead lock cannot be broken then, and the refusal must not call it stale: the caller
// would retry indefinitely.
#[test]
fn a_stale_lock_whose_kernel_lock_an_examiner_keeps_is_held_and_then_recovered() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let record = support::plant_left_behind(&data);
    let examiner = fs::File::open(lock_path_for(&data)).expect("the file exists");
    support::lock_shared(&examiner).expect("the kernel lock is free");
    let outcome = WriterLock::try_acquire(&data);
    assert_held(outcome, Reason::KernelLockOutlivesProcess);
    match support::break_stale(&data) {
        Err(BreakError::Held { holder, .. }) => assert!(!holder.verdict().is_stale()),
        outcome => panic!("the examiner keeps the kernel lock: {outcome:?}"),
    }
    // Closing is not enough: a child that another test forks has a copy until it executes.
    support::unlock(&examiner).expect("it is open");
    assert_reclaimed(WriterLock::try_acquire(&data), &record);
}

// In containers of one image both programs are pid 1 of a host of the same name. A record that has this
// process's pid and host only by chance must not make a person search this program for a second guard.
#[test]
fn a_record_with_the_pid_and_host_of_this_process_is_not_taken_for_its_own() {
    let (pid, host) = (support::this_process(), support::this_host());
    let record = support::unstamped(pid, &host, Duration::from_secs(1));
    let error =
        attempt(&record, Duration::from_secs(1)).expect_err("the recorded process is alive");
    let holder = error.holder().expect("the recorded process is alive");
    assert!(!holder.is_this_process(), "{error}");
}

// The next question about a lock is since when it is held: the record has the time of the last refresh,
// the file the time of its creation.
#[test]
fn a_holder_is_reported_to_hold_since_it_acquired() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let lock = WriterLock::try_acquire(&data).expect("the lock is free");
    let made = fs::metadata(lock.lock_path())
        .expect("the file exists")
        .created();
    std::thread::sleep(Duration::from_millis(20));
    lock.refresh().expect("the lock is held");
    let LockState::Held(holder) = inspect(&data).expect("the lock file can be read") else {
        panic!("the lock is held");
    };
    let Some(held_for) = holder.held_for() else {
        assert!(
            made.is_err(),
            "the file system records the time of creation"
        );
        return support::skip("this file system does not record the time of creation");
    };
    let times = Duration::from_millis(20)..Duration::from_secs(600);
    assert!(times.contains(&held_for), "{held_for:?}");
}

/// On a machine whose uptime the test has set: the meaning of each age of a copied record.
fn copies_on_a_machine_that_is_up() {
    let (live, dead) = (support::this_process(), support::dead_pid());
    let here = support::this_host();
    let elsewhere = Hostname::new(b"rvlf-elsewhere").expect("the name is short enough");
    for (pid, host) in [(dead, here), (dead, elsewhere), (live, here)] {
        let record = |age| stamped(pid, &host, age, 1);
        let (young, old) = (MIDDLE, VERY_OLD);
        assert_held(attempt(&record(young), VERY_OLD), Reason::Elsewhere);
        assert_held(attempt(&record(old), young), Reason::Elsewhere);
        let left = record(old);
        assert_reclaimed(attempt(&left, VERY_OLD), &left);
    }
    passed();
}

// A backup is restored beside the running system, a container image carries a lock file: the record
// is of another inode. Its holder may live on another machine, or see the directory through an
// overlay, so only age ends it.
#[test]
fn copied_and_restored_lock_files_are_stale_when_they_are_old() {
    run_after_boot(Duration::from_secs(3600), "copies on a machine that is up");
}

/// On a machine that the test has booted a minute ago.
fn copies_after_a_boot() {
    let (live, dead) = (support::this_process(), support::dead_pid());
    let here = support::this_host();
    let elsewhere = Hostname::new(b"rvlf-elsewhere").expect("the name is short enough");
    let overlay = PathBuf::from(support::arg("DIR")).join("overlay");
    mount_overlay(&overlay);
    let attempt = |record: &Record, mtime_age| attempt_in(&overlay, record, mtime_age);
    for pid in [dead, live] {
        let left = stamped(pid, &here, MIDDLE, 1);
        assert_held(attempt(&left, YOUNG), Reason::BeforeBoot);
        assert_reclaimed(attempt(&left, OLD), &left);
        let since = stamped(pid, &here, OLD, 1);
        assert_held(attempt(&since, VERY_OLD), Reason::Elsewhere);
    }
    let left = stamped(dead, &elsewhere, MIDDLE, 1);
    assert_held(attempt(&left, VERY_OLD), Reason::Elsewhere);
    passed();
}

/// An overlay at `at`, whose layers are beside it.
fn mount_overlay(at: &Path) {
    let layers = at.with_extension("layers");
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| layers.join(name));
    let (overlay, tmpfs) = (Some("overlay"), Some("tmpfs"));
    const MAY: &str = "root of its namespaces may mount";
    fs::create_dir(&layers).expect("the directory is writable");
    mount(tmpfs, &layers, tmpfs, MsFlags::empty(), None::<&str>).expect(MAY);
    for dir in [at, &lower, &upper, &work] {
        fs::create_dir(dir).expect("the directory is writable");
    }
    let [lower, upper, work] = [lower, upper, work].map(|dir| dir.display().to_string());
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    mount(overlay, at, overlay, MsFlags::empty(), Some(&*options)).expect(MAY);
}

// A machine lost its power and boots again: no process that held a lock before the boot still runs. On an
// overlay the stamp does not show that the lock is of this inode, and host name and age decide. The
// five minutes of a copied record would be five minutes of downtime.
#[test]
fn on_an_overlay_a_lock_file_from_before_the_last_boot_is_stale_after_half_a_minute() {
    run_after_boot(Duration::from_secs(60), "copies after a boot");
}

/// A record that this process could have written in an earlier boot, `age` ago: for the inode of the file
/// at the lock path, by a process with this one's pid and start ticks.
fn plant_from_before_the_boot(data: &Path, host: &Hostname, age: Duration) -> Record {
    let file = fs::File::create_new(lock_path_for(data)).expect("the lock path is free");
    let stat = fs::read_to_string("/proc/self/stat").expect("procfs is mounted");
    let (_, fields) = stat
        .rsplit_once(") ")
        .expect("the name ends with a parenthesis");
    let start_ticks = fields
        .split(' ')
        .nth(22 - 3)
        .and_then(|ticks| ticks.parse().ok());
    let stamp = KernelStamp {
        inode_key: support::plain_key(&file),
        start_ticks: start_ticks.expect("the start ticks are a number"),
    };
    let (pid, timestamp) = (
        support::this_process(),
        support::now_ns() - support::ns(age),
    );
    let record = Record::new(pid, host, timestamp, support::some_writer_id(), Some(stamp));
    fs::write(lock_path_for(data), record.encode()).expect("the file is writable");
    record
}

/// On a plain file system, and a machine that the test has booted five seconds ago.
fn stamps_after_a_boot() {
    let dir = PathBuf::from(support::arg("DIR"));
    let elsewhere = Hostname::new(b"rvlf-elsewhere").expect("the name is short enough");
    // The same name, and another one: a container that was created anew.
    for (number, host) in [support::this_host(), elsewhere].iter().enumerate() {
        let data = dir.join(format!("data{number}"));
        let left = plant_from_before_the_boot(&data, host, YOUNG);
        assert_reclaimed(WriterLock::try_acquire(&data), &left);
    }
    // Copies are of other inodes. They may be of a lock that a machine of this name holds through an
    // export of this directory.
    for host in [support::this_host(), elsewhere] {
        let copy = stamped(support::dead_pid(), &host, MIDDLE, 1);
        assert_held(attempt_in(&dir, &copy, MIDDLE), Reason::Elsewhere);
        let old = stamped(support::dead_pid(), &host, VERY_OLD, 1);
        assert_reclaimed(attempt_in(&dir, &old, VERY_OLD), &old);
    }
    passed();
}

// The kernel that had the file system before is gone, whichever process has the recorded pid and start ticks in
// this boot: early processes of two boots have both alike.
#[test]
fn a_lock_from_before_the_last_boot_is_recovered_at_once() {
    if !support::is_plain(support::scratch().path()) {
        return support::skip("temporary files are on an overlay, where age decides after a boot");
    }
    run_after_boot(Duration::from_secs(5), "stamps after a boot");
}

// A copy of the lock of a live holder: no process holds the copy, and the original must not be affected.
#[test]
fn a_copy_of_a_live_lock_file_is_judged_by_age_and_the_original_is_left_alone() {
    let dir = support::scratch();
    let (data, copy) = (dir.path().join("data"), dir.path().join("copy"));
    let mut holder = Role::worker(&data).ready();
    holder.expect("try", "got");
    fs::copy(lock_path_for(&data), lock_path_for(&copy)).expect("the directory is writable");
    assert_held(WriterLock::try_acquire(&copy), Reason::Elsewhere);
    support::backdate(&copy, VERY_OLD);
    support::age_mtime(&lock_path_for(&copy), VERY_OLD);
    let left = support::read_record(&copy);
    assert_reclaimed(WriterLock::try_acquire(&copy), &left);
    assert_held(WriterLock::try_acquire(&data), Reason::KernelLock);
    assert_eq!(holder.request("check"), "Ok(())");
}

// A board without a battery boots in 1970, and NTP sets its clock while a process holds the lock; a
// laptop's clock was a year ahead when it crashed. An unsigned subtraction would make either age 584
// years.
#[test]
fn timestamps_of_stepped_clocks_neither_break_live_locks_nor_keep_dead_ones() {
    let hour = Duration::from_secs(3600);
    let dir = support::scratch();
    let data = dir.path().join("data");
    let mut holder = Role::worker(&data).ready();
    holder.expect("try", "got");
    let now = support::now_ns();
    let file = File::options()
        .write(true)
        .open(lock_path_for(&data))
        .expect("the file exists");
    for timestamp in [
        0,
        1,
        now - support::ns(hour),
        now + support::ns(hour),
        u64::MAX,
    ] {
        let record = support::read_record(&data).refreshed(timestamp);
        file.write_all_at(&record.encode(), 0)
            .expect("the file is open");
        assert_held(WriterLock::try_acquire(&data), Reason::KernelLock);
        assert!(inspect(&data).is_ok(), "no arithmetic overflows");
    }
    holder.kill();

    let (dead, host) = (support::dead_pid(), support::this_host());
    let at = |timestamp| Record::new(dead, &host, timestamp, support::some_writer_id(), None);
    // A little ahead: clocks differ. The record counts as new.
    let ahead = at(support::now_ns() + support::ns(Duration::from_secs(100)));
    assert_held(attempt(&ahead, VERY_OLD), Reason::ProcessDead);
    // Further ahead than every threshold: the mtime of the file replaces the timestamp.
    for timestamp in [support::now_ns() + support::ns(hour), u64::MAX] {
        let record = at(timestamp);
        assert_held(attempt(&record, Duration::ZERO), Reason::ProcessDead);
        assert_reclaimed(attempt(&record, OLD), &record);
    }
    let ancient = at(0);
    assert_reclaimed(attempt(&ancient, Duration::ZERO), &ancient);
}

// For an operator who wants to decide about each crash.
#[test]
fn with_the_policy_never_nothing_is_broken() {
    let never = WriterLock::options().stale_policy(StalePolicy::never());
    let dir = support::scratch();
    let data = dir.path().join("data");
    let left = support::plant_left_behind(&data);
    support::backdate(&data, VERY_OLD);
    let error = never.try_acquire(&data).expect_err("nothing is ever stale");
    let verdict = error.holder().map(rvlf::Holder::verdict);
    let (reason, stale_in) = (Reason::KernelWitness, None);
    assert_eq!(verdict, Some(Verdict::Held { reason, stale_in }));
    let removed = support::force_break(&data, left.writer_id()).expect("force removes the lock");
    assert!(removed.is_some());
    never
        .try_acquire(&data)
        .map(drop)
        .expect("the lock path is free");
}

// A break by force names the lock that it means: if the lock has a new holder meanwhile, the new holder
// keeps it.
#[test]
fn force_removes_the_named_lock_and_no_other() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let mut holder = Role::worker(&data).ready();
    let writer_id = holder.expect("try", "got");
    let error = support::force_break(&data, support::some_writer_id())
        .expect_err("the lock has another writer id");
    let text = error.to_string();
    assert!(
        text.contains(&writer_id),
        "the error names the lock's writer id: {text}"
    );
    assert_eq!(holder.request("check"), "Ok(())", "the lock is unchanged");
    let named = writer_id.parse().expect("the text is a writer id");
    let removed = support::force_break(&data, named).expect("the writer id is the lock's");
    assert!(removed.is_some());
    let answer = holder.request("check");
    assert!(
        answer.contains("Removed"),
        "the holder is informed: {answer}"
    );
    assert_eq!(
        support::force_break(&data, named).expect("the lock path is free"),
        None
    );
    assert!(support::names_in(dir.path()).is_empty(), "no leftovers");
}

// A breaker that died between renaming and unlinking has left the renamed file. The next breaker removes
// it, but only if the file is certainly the lock of a dead process.
#[test]
fn breaking_removes_leftovers_of_dead_breakers_and_no_similar_files() {
    let dir = support::scratch();
    let (dead, host) = (support::dead_pid(), support::this_host());
    let record = stamped(dead, &host, Duration::ZERO, 1).encode();
    let (old, young) = (Duration::from_secs(61), Duration::from_secs(30));
    let plant = |name: &str, bytes: &[u8], age| {
        let path = dir.path().join(name);
        let mut file = File::create_new(&path).expect("the directory is writable");
        file.write_all(bytes).expect("the disk has room");
        support::age_mtime(&path, age);
    };
    plant(".rvlf-0123456789abcdef", &record, old);
    plant(".rvlf-1123456789abcdef", &record, young);
    plant(".rvlf-2123456789abcdef", b"notes of a user", old);
    plant(".rvlf-3123456789ABCDEF", &record, old);
    plant(".rvlf-4123", &record, old);
    plant(".rvlf-5123456789abcdef", &record, old);
    let live = File::open(dir.path().join(".rvlf-5123456789abcdef")).expect("the file exists");
    let locked = support::try_lock(&live);
    locked.expect("a live lock that a breaker renamed by mistake");

    let data = dir.path().join("data");
    support::plant_left_behind(&data);
    let broken = support::break_stale(&data).expect("the holder is dead");
    assert!(broken.is_some(), "the lock file existed");
    let kept = [
        ".rvlf-1123456789abcdef",
        ".rvlf-2123456789abcdef",
        ".rvlf-3123456789ABCDEF",
        ".rvlf-4123",
        ".rvlf-5123456789abcdef",
    ];
    let names = support::names_in(dir.path());
    assert_eq!(names, kept, "only the old record is removed");
}

// To list a directory of 100,000 names takes 35 ms. A contender that did so before it handed the lock out
// kept the data without a writer for that long.
#[test]
fn an_acquisition_hands_the_lock_out_before_it_removes_leftovers() {
    let leftover = ".rvlf-0123456789abcdef";
    let recover = |interval: Option<Duration>| {
        let dir = support::scratch();
        let data = dir.path().join("data");
        support::plant_left_behind(&data);
        let record = std::fs::read(lock_path_for(&data)).expect("the lock was planted");
        std::fs::write(dir.path().join(leftover), record).expect("the disk has room");
        support::age_mtime(&dir.path().join(leftover), Duration::from_secs(61));
        let options = LockOptions::new().keepalive(interval);
        let lock = options.try_acquire(&data).expect("the holder is dead");
        (dir, lock)
    };

    let (dir, lock) = recover(None);
    assert_eq!(support::names_in(dir.path()), [leftover, "data.lock"]);
    lock.release().expect("the lock is held");
    assert!(
        support::names_in(dir.path()).is_empty(),
        "the release removes it"
    );

    let (dir, lock) = recover(Some(Duration::from_millis(100)));
    support::until("a refresh removes it", || {
        support::names_in(dir.path()) == ["data.lock"]
    });
    lock.check().expect("the lock is held");
}

fn inspects() {
    support::report(std::process::id());
    let state = inspect(support::arg("DATA")).expect("the directory can be read");
    support::report(format_args!("{state:?}"));
}

// A contender has opened the lock file and requested its kernel lock; before it continues, the holder
// releases. The contender must not report, or wait for, a holder that has ended: its open file is no
// longer the one at the path. The test stops the contender right after its flock(2).
#[test]
fn a_lock_that_is_released_during_the_examination_is_not_held() {
    if Command::new("strace").arg("-V").output().is_err() {
        return support::skip("strace is not installed");
    }
    let dir = support::scratch();
    let data = dir.path().join("data");
    let lock = WriterLock::try_acquire(&data).expect("the directory is new");
    let mut strace = Command::new("strace");
    // -D: the role is a child of this process, and strace a grandchild.
    strace.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=flock"]);
    strace.args(["-e", "inject=flock:signal=SIGSTOP:when=1"]);
    let mut role = Role::new("inspects")
        .with("DATA", &data)
        .under(strace)
        .start();
    let pid = role.receive();
    let is_stopped = || {
        let stat =
            fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process has not ended");
        let state = stat.rsplit(')').next().expect("the process name ends");
        state.trim_start().starts_with(['t', 'T'])
    };
    support::until("the contender is stopped after its flock", is_stopped);
    lock.release().expect("the file belongs to this user");
    let pid = nix::unistd::Pid::from_raw(pid.parse().expect("a pid is a number"));
    kill(pid, Signal::SIGCONT).expect("the process is stopped");
    assert_eq!(
        role.receive(),
        "Free",
        "the holder has released, and no other came"
    );
    role.finish();
}
