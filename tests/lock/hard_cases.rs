//! Every row of the table "Bad input and hard cases" of the protocol: a clear error, nothing hangs,
//! nothing is removed that is not ours.
#![cfg(all(target_os = "linux", not(rvlf_portable), not(rvlf_unsupported)))]

use support as common;

use std::error::Error;
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

use common::{Contained, MIDDLE, OLD, Role, VERY_OLD, YOUNG};
use nix::mount::{MsFlags, mount};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{Gid, Uid, mkfifo, setgroups, setresgid, setresuid};
use rvlf::judge::{Reason, Verdict};
use rvlf::record::{Hostname, KernelStamp, Pid};
use rvlf::{
    AcquireError, BreakError, Durability, FileKind, Foreign, LockOptions, LockState, Record,
    StalePolicy, WriterLock, inspect, lock_path_for,
};

pub const ROLES: &[(&str, fn())] = &[
    ("read-only", read_only),
    ("full disk", full_disk),
    ("nobody", nobody),
    ("no descriptors", no_descriptors),
    ("moves about", moves_about),
    ("looks", looks),
    (
        "copies on a machine that is up",
        copies_on_a_machine_that_is_up,
    ),
    ("copies after a boot", copies_after_a_boot),
];

/// Runs a role that makes its own assertions, in namespaces where it may mount.
fn run_in_container(name: &str) {
    match common::no_containers() {
        None => run_contained(Role::in_container(name, None)),
        Some(reason) => common::skip(&reason),
    }
}

/// The same on a machine that booted `uptime` ago.
fn run_after_boot(uptime: Duration, name: &str) {
    match common::no_time_namespaces() {
        None => run_contained(Role::in_container(name, None).with_uptime(uptime)),
        Some(reason) => common::skip(&reason),
    }
}

fn run_contained(role: Role) {
    let dir = common::scratch();
    let mut contained = Contained::ready(role.with("DIR", dir.path()));
    contained.actor.tell("end");
    assert_eq!(contained.actor.hear(), "ended");
    contained.actor.finish();
}

fn passed() {
    common::say("ready");
    common::next_cue();
}

// ---------------------------------------------------------------- somebody else's files

/// All of a file that acquiring, breaking or looking could change.
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
    let host = common::this_host();
    let record = common::unstamped(common::dead_pid(), &host, VERY_OLD).encode();
    let mut bytes = record.to_vec();
    if let Some(magic) = bytes.get_mut(..4) {
        magic.reverse();
    }
    bytes
}

// A user who runs two tools on one data file, or keeps notes beside it. The deployed client deletes
// whatever is not a record, at once.
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
        let dir = common::scratch();
        let data = dir.path().join("data");
        let lock_path = lock_path_for(&data);
        fs::write(&lock_path, &content).expect("the directory is ours");
        // Older than any threshold: age must not matter.
        common::age_mtime(&lock_path, VERY_OLD);
        let before = Snapshot::of(&lock_path);

        let error = WriterLock::try_acquire(&data).expect_err("it is not ours");
        let text = error.to_string();
        assert!(matches!(error, AcquireError::Foreign { .. }), "{error:?}");
        assert!(!error.is_held(), "waiting does not help");
        assert!(
            text.contains(&lock_path.display().to_string()),
            "names the file: {text}"
        );
        assert!(text.contains(first_bytes), "shows its first bytes: {text}");
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidData);
        let state = inspect(&data).expect("it can be looked at");
        assert!(
            matches!(state, LockState::Foreign(Foreign::Content(_))),
            "{state:?}"
        );
        let error = common::break_stale(&data).expect_err("it is not ours");
        assert!(matches!(error, BreakError::Foreign { .. }), "{error:?}");
        let error =
            common::force_break(&data, common::some_writer_id()).expect_err("it is not ours");
        assert!(matches!(error, BreakError::Foreign { .. }), "{error:?}");

        assert_eq!(
            Snapshot::of(&lock_path),
            before,
            "not a byte, not a time stamp changed"
        );
        assert_eq!(
            common::names_in(dir.path()),
            ["data.lock"],
            "nothing else was made"
        );
    }
}

// A lock of a newer version may be held by rules that we do not know.
#[test]
fn a_record_of_another_version_is_refused_and_left_alone() {
    let dir = common::scratch();
    let data = dir.path().join("data");
    let lock_path = lock_path_for(&data);
    let host = common::this_host();
    let mut bytes = common::unstamped(common::dead_pid(), &host, VERY_OLD).encode();
    if let Some(version) = bytes.get_mut(0x60) {
        *version = 2;
    }
    fs::write(&lock_path, bytes).expect("the directory is ours");
    common::age_mtime(&lock_path, VERY_OLD);
    let before = Snapshot::of(&lock_path);
    let error = WriterLock::try_acquire(&data).expect_err("it may be held");
    assert!(
        matches!(error, AcquireError::UnsupportedVersion { found: 2, .. }),
        "{error:?}"
    );
    let error = common::break_stale(&data).expect_err("it may be held");
    assert!(
        matches!(error, BreakError::UnsupportedVersion { found: 2, .. }),
        "{error:?}"
    );
    let state = inspect(&data).expect("it can be looked at");
    assert_eq!(state, LockState::UnsupportedVersion(2));
    assert_eq!(Snapshot::of(&lock_path), before);
}

// In /tmp anybody may put anything at our lock path: a FIFO would hang an open, a symlink would
// have us create or overwrite a file elsewhere.
#[test]
fn links_directories_pipes_sockets_and_devices_are_refused_at_once() {
    let dir = common::scratch();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o1777)).expect("it is ours");
    let target = dir.path().join("victim");
    fs::write(&target, "precious").expect("the directory is ours");
    let target_before = Snapshot::of(&target);
    let mut planted = vec![
        ("link", FileKind::Symlink),
        ("dangling", FileKind::Symlink),
        ("directory", FileKind::Directory),
        ("fifo", FileKind::Fifo),
        ("socket", FileKind::Socket),
    ];
    let at = |name: &str| dir.path().join(format!("{name}.lock"));
    symlink(&target, at("link")).expect("the directory is ours");
    symlink(dir.path().join("nowhere"), at("dangling")).expect("the directory is ours");
    fs::create_dir(at("directory")).expect("the directory is ours");
    mkfifo(&at("fifo"), Mode::S_IRWXU).expect("the directory is ours");
    let _socket = UnixListener::bind(at("socket")).expect("the directory is ours");
    let null = makedev(1, 3);
    match mknod(&at("device"), SFlag::S_IFCHR, Mode::S_IRWXU, null) {
        Ok(()) => planted.push(("device", FileKind::Device)),
        Err(error) => common::skip(&format!("no device at the lock path: mknod: {error}")),
    }
    let names = common::names_in(dir.path());

    for (name, kind) in planted {
        // A child does it, and is killed if it hangs.
        let mut puppet = Role::puppet(&dir.path().join(name)).ready();
        for cue in ["try", "acquire", "break"] {
            let text = puppet.expect(cue, "error");
            assert!(
                text.contains(&kind.to_string()),
                "{name}: says what it is: {text}"
            );
            assert!(
                text.contains(&format!("{name}.lock")),
                "{name}: says where: {text}"
            );
        }
        let state = puppet.ask("inspect");
        assert_eq!(state, format!("Ok(Foreign(Kind({kind:?})))"), "{name}");
        puppet.dismiss();
    }
    assert_eq!(
        common::names_in(dir.path()),
        names,
        "nothing was made or removed"
    );
    assert_eq!(Snapshot::of(&target), target_before, "no link was followed");
}

// Two names, one inode: what is at the lock path can be another program's file under a second name.
#[test]
fn a_hard_link_to_a_foreign_file_at_the_lock_path_leaves_that_file_alone() {
    let dir = common::scratch();
    let (data, original) = (dir.path().join("data"), dir.path().join("config.toml"));
    fs::write(&original, "[server]\n").expect("the directory is ours");
    fs::hard_link(&original, lock_path_for(&data)).expect("one file system");
    common::age_mtime(&original, VERY_OLD);
    let before = Snapshot::of(&original);
    let error = WriterLock::try_acquire(&data).expect_err("it is not ours");
    assert!(matches!(error, AcquireError::Foreign { .. }), "{error:?}");
    common::break_stale(&data).expect_err("it is not ours");
    assert_eq!(
        Snapshot::of(&original),
        before,
        "content and both names are as before"
    );
}

// ---------------------------------------------------------------- torn files

fn torn_contents() -> Vec<(&'static str, Vec<u8>)> {
    let host = common::this_host();
    let whole = common::unstamped(common::dead_pid(), &host, Duration::ZERO).encode();
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

// A writer died between creating the file and writing it, or the power went: there is no record to
// judge by, and nobody to ask.
#[test]
fn a_torn_file_is_recovered_when_nobody_can_be_writing_it_any_more() {
    let grace = Duration::from_millis(40);
    let options =
        WriterLock::options().stale_policy(StalePolicy::new().with_malformed_grace(grace));
    for (name, content) in torn_contents() {
        let old = |path: &Path| common::age_mtime(path, Duration::from_secs(3));
        let future =
            |path: &Path| common::set_mtime(path, SystemTime::now() + Duration::from_secs(86_400));
        let ages: [(&str, &LockOptions, SetAge); 3] = [
            ("older than the grace", &WriterLock::options(), &old),
            ("young, waited out within the attempt", &options, &|_| {}),
            // The clock was set back by a day since: by its mtime it would stay young for a day.
            (
                "from the future, waited out by our own clock",
                &options,
                &future,
            ),
        ];
        for (age, options, set_age) in ages {
            let dir = common::scratch();
            let data = dir.path().join("data");
            fs::write(lock_path_for(&data), &content).expect("the directory is ours");
            set_age(&lock_path_for(&data));
            let lock = options.try_acquire(&data);
            let lock = lock.unwrap_or_else(|error| panic!("{name}, {age}: {error}"));
            assert!(
                lock.reclaimed().is_some(),
                "{name}, {age}: something was broken"
            );
            assert_eq!(
                lock.reclaimed().and_then(|reclaimed| reclaimed.record),
                None,
                "{name}, {age}: but nobody known"
            );
            lock.release().expect("it is held");
            assert!(
                common::names_in(dir.path()).is_empty(),
                "{name}, {age}: no litter"
            );
        }
    }
}

// The clock was set back by a day since the power went. An attempt's patience ends before this grace
// does, and each attempt of a waiter used to begin to watch anew: nobody ever got the lock.
#[test]
fn a_torn_file_from_the_future_is_recovered_by_who_waits_for_longer_than_one_attempt() {
    let dir = common::scratch();
    let data = dir.path().join("data");
    let file = File::create_new(lock_path_for(&data)).expect("nothing is there");
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    file.set_modified(tomorrow).expect("the file is ours");
    let grace = StalePolicy::MALFORMED_GRACE + Duration::from_millis(500);
    let options =
        WriterLock::options().stale_policy(StalePolicy::new().with_malformed_grace(grace));
    let lock = options.acquire(&data, common::PATIENCE);
    let lock = lock.expect("nobody has written it for longer than the grace");
    assert!(lock.reclaimed().is_some(), "the torn file was broken");
    lock.release().expect("it is held");
}

// `rvlf break` looked once, saw a young file and refused, each time it was asked: by its mtime the
// file stayed young for a day.
#[test]
fn a_torn_file_from_the_future_can_be_broken_by_hand() {
    let dir = common::scratch();
    let data = dir.path().join("data");
    let file = File::create_new(lock_path_for(&data)).expect("nothing is there");
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    file.set_modified(tomorrow).expect("the file is ours");
    let grace = StalePolicy::new().with_malformed_grace(Duration::from_millis(40));
    let broken = common::break_stale_by(WriterLock::options().stale_policy(grace), &data);
    let holder = broken.expect("nobody writes it").expect("it was there");
    assert_eq!(holder.record(), None, "it was torn: {holder}");
    assert!(common::names_in(dir.path()).is_empty(), "it was removed");
}

// One attempt answers within two seconds, whatever the policy: with a grace of an hour it slept for
// an hour, and with the longest one for ever.
#[test]
fn a_long_grace_does_not_make_one_attempt_long() {
    let dir = common::scratch();
    let data = dir.path().join("data");
    File::create_new(lock_path_for(&data)).expect("nothing is there");
    let (sender, answer) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let patient = StalePolicy::new().with_malformed_grace(Duration::MAX);
        let options = WriterLock::options().stale_policy(patient);
        // The test may have failed.
        let _ = sender.send(options.try_acquire(&data));
    });
    let outcome = answer.recv_timeout(common::PATIENCE);
    assert_held(
        outcome.expect("one attempt does not wait for ever"),
        Reason::BeingWritten,
    );
}

// Deployed clients create the file and write it in a second step. Whoever breaks what is empty for
// a moment lets two writers in.
#[test]
fn a_file_that_is_being_written_is_not_broken_and_then_read() {
    let dir = common::scratch();
    let data = dir.path().join("data");
    let file = File::create_new(lock_path_for(&data)).expect("nothing is there");
    let state = inspect(&data).expect("it can be looked at");
    let LockState::Malformed(holder) = &state else {
        panic!("an empty file is malformed: {state:?}");
    };
    assert_eq!(holder.verdict().reason(), Reason::BeingWritten);
    let patient =
        WriterLock::options().stale_policy(StalePolicy::new().with_malformed_grace(Duration::MAX));
    let error =
        common::break_stale_by(patient, &data).expect_err("another process may be writing it");
    assert!(
        error.to_string().contains("may still be writing it"),
        "{error}"
    );

    let record = common::unstamped(common::this_process(), &common::this_host(), Duration::ZERO);
    let outcome = std::thread::scope(|scope| {
        let attempt = scope.spawn(|| {
            let patient = StalePolicy::new().with_malformed_grace(common::PATIENCE);
            WriterLock::options()
                .stale_policy(patient)
                .try_acquire(&data)
        });
        std::thread::sleep(Duration::from_millis(30));
        file.write_all_at(&record.encode(), 0).expect("it is open");
        attempt.join().expect("it does not panic")
    });
    let error = outcome.expect_err("its writer lives");
    let holder = error.holder().expect("it is held");
    assert_eq!(
        holder.record(),
        Some(&record),
        "the attempt saw the record appear"
    );
    assert_eq!(holder.verdict().reason(), Reason::ProcessAlive);
    assert_eq!(common::read_record(&data), record);
}

// ---------------------------------------------------------------- paths

fn io_error(outcome: Result<WriterLock, AcquireError>) -> (io::ErrorKind, String) {
    match outcome {
        Err(error @ AcquireError::Io(_)) => {
            let text = error.to_string();
            assert!(
                error.source().is_some(),
                "the system's own words are kept: {text}"
            );
            (io::Error::from(error).kind(), text)
        }
        outcome => panic!("expected an I/O error: {outcome:?}"),
    }
}

#[test]
fn paths_that_cannot_be_locked_fail_with_operation_path_and_kind() {
    let dir = common::scratch();
    let below = |name: &str| dir.path().join(name);
    fs::write(below("file"), "").expect("the directory is ours");
    let long = |len: usize| below(&"n".repeat(len));
    let cases: [(PathBuf, io::ErrorKind, &str); 9] = [
        (
            below("missing/data"),
            io::ErrorKind::NotFound,
            "open the directory",
        ),
        (
            below("file/data"),
            io::ErrorKind::NotADirectory,
            "open the directory",
        ),
        // ".lock" makes it one byte too long.
        (long(251), io::ErrorKind::InvalidFilename, "stat"),
        (long(5000), io::ErrorKind::InvalidFilename, "stat"),
        (below("nul\0byte"), io::ErrorKind::InvalidInput, "stat"),
        (
            "/".into(),
            io::ErrorKind::InvalidInput,
            "name the lock file",
        ),
        (
            "..".into(),
            io::ErrorKind::InvalidInput,
            "name the lock file",
        ),
        (
            ".".into(),
            io::ErrorKind::InvalidInput,
            "name the lock file",
        ),
        ("".into(), io::ErrorKind::InvalidInput, "name the lock file"),
    ];
    for (path, kind, operation) in cases {
        let (found, text) = io_error(WriterLock::try_acquire(&path));
        let shown = path.display().to_string();
        assert_eq!(found, kind, "{shown}: {text}");
        assert!(
            text.contains(operation),
            "{shown}: says what failed: {text}"
        );
        let lock_path = lock_path_for(&path).display().to_string();
        assert!(text.contains(&lock_path), "{shown}: says where: {text}");
        assert!(inspect(&path).is_err(), "{shown}: a look fails, too");
    }
    assert_eq!(common::names_in(dir.path()), ["file"], "nothing was made");
    let lock = WriterLock::try_acquire(long(250)).expect("255 bytes are a file name");
    lock.release().expect("it is held");
}

#[test]
fn names_that_are_not_utf_8_and_relative_paths_are_locked_like_others() {
    let dir = common::scratch();
    let name = OsString::from_vec(b"d\xe4ta\n\x01".to_vec());
    let data = dir.path().join(&name);
    let lock = WriterLock::try_acquire(&data).expect("any bytes are a name");
    let mut lock_name = name.clone();
    lock_name.push(".lock");
    assert_eq!(common::names_in(dir.path()), [lock_name.as_os_str()]);
    assert_eq!(lock.data_path(), data);
    let error = WriterLock::try_acquire(&data).expect_err("it is held");
    assert!(error.holder().is_some_and(rvlf::Holder::is_this_process));
    lock.release().expect("it is held");

    // The same file from inside the directory, by its bare name and by another spelling.
    let mut inside = Role::puppet(Path::new(&name))
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
    assert_eq!(inside.ask("release"), "released");
    assert!(common::names_in(dir.path()).is_empty());
}

/// Between acquiring and releasing: another working directory, the parent renamed, another
/// directory with another lock in its place.
fn moves_about() {
    let lock = WriterLock::try_acquire("parent/data").expect("nobody has it");
    fs::rename("parent", "renamed").expect("the directory is ours");
    fs::create_dir("parent").expect("the name is free");
    fs::write("parent/data.lock", "somebody else's").expect("the directory is ours");
    std::env::set_current_dir("/").expect("everybody may");
    common::say("ready");
    common::next_cue();
    lock.check()
        .expect("the file is where it was, whatever the path says");
    lock.refresh()
        .expect("it is refreshed through its descriptor");
    lock.release().expect("it is held");
    common::say("released");
}

// A daemon acquires by a relative path, changes to / and is still running when an administrator
// moves its directory aside. A release by path would miss its file, or remove another's.
#[test]
fn release_finds_its_own_file_after_chdir_and_a_renamed_parent() {
    let dir = common::scratch();
    fs::create_dir(dir.path().join("parent")).expect("the directory is ours");
    let mut mover = Role::new("moves about").in_directory(dir.path()).ready();
    let held = WriterLock::try_acquire(dir.path().join("renamed/data"));
    assert!(
        held.is_err_and(|error| error.is_held()),
        "it is held under its new path"
    );
    assert_eq!(mover.ask("release"), "released");
    mover.finish();
    assert!(
        common::names_in(&dir.path().join("renamed")).is_empty(),
        "its own file is gone"
    );
    let other = fs::read(dir.path().join("parent/data.lock")).expect("it is there");
    assert_eq!(
        other, b"somebody else's",
        "what took the old path is untouched"
    );
}

// Through a link and past it, one data file has two lock paths and two writers, by the rule that
// deployed clients have. Who does not want that can ask to be refused.
#[test]
fn a_data_file_with_two_names_is_refused_only_where_asked() {
    let dir = common::scratch();
    let data = dir.path().join("data");
    fs::write(&data, "").expect("the directory is ours");
    let strict = WriterLock::options().refuse_aliases(true);
    let lock = strict.try_acquire(&data).expect("it has one name");
    lock.release().expect("it is held");

    symlink("data", dir.path().join("symlink")).expect("the directory is ours");
    let error = strict
        .try_acquire(dir.path().join("symlink"))
        .expect_err("it is a link");
    assert!(
        matches!(error, AcquireError::Aliased { links: 1, .. }),
        "{error:?}"
    );
    strict
        .try_acquire(&data)
        .map(drop)
        .expect("a symlink to it cannot be known");

    fs::hard_link(&data, dir.path().join("hard")).expect("one file system");
    for name in ["data", "hard"] {
        let error = strict
            .try_acquire(dir.path().join(name))
            .expect_err("it has two names");
        assert!(
            matches!(error, AcquireError::Aliased { links: 2, .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains(name), "{error}");
    }
    let lenient = ["data", "hard", "symlink"].map(|name| dir.path().join(name));
    let locks = lenient.map(|path| WriterLock::try_acquire(path).expect("each has its lock"));
    assert_eq!(
        locks.len(),
        3,
        "documented: the lock path follows from the name"
    );
}

// ---------------------------------------------------------------- places

/// In a mount namespace of its own: a tmpfs with a stale lock in it, remounted read-only.
fn read_only() {
    let dir = PathBuf::from(common::arg("DIR"));
    let tmpfs = Some("tmpfs");
    let none = None::<&str>;
    mount(tmpfs, &dir, tmpfs, MsFlags::empty(), none).expect("root of its namespaces may");
    let left = dir.join("left");
    common::plant_left_behind(&left);
    let before = Snapshot::of(&lock_path_for(&left));
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(none, &dir, none, read_only, none).expect("root of its namespaces may");

    let (kind, text) = io_error(WriterLock::try_acquire(dir.join("data")));
    assert_eq!(kind, io::ErrorKind::ReadOnlyFilesystem, "{text}");
    let (kind, text) = io_error(WriterLock::try_acquire(&left));
    assert_eq!(kind, io::ErrorKind::ReadOnlyFilesystem, "{text}");
    let state = inspect(&left).expect("looking needs no writing");
    assert!(matches!(state, LockState::Stale(_)), "{state:?}");
    assert_eq!(
        inspect(dir.join("data")).expect("as above"),
        LockState::Free
    );
    assert_eq!(Snapshot::of(&lock_path_for(&left)), before);
    passed();
}

#[test]
fn a_read_only_file_system_is_an_error_that_says_so() {
    run_in_container("read-only");
}

/// In a mount namespace of its own: file systems without a free block, and without a free inode.
fn full_disk() {
    let dir = PathBuf::from(common::arg("DIR"));
    for (name, options) in [("blocks", "size=4k"), ("inodes", "nr_inodes=3")] {
        let disk = dir.join(name);
        fs::create_dir(&disk).expect("the directory is ours");
        let tmpfs = Some("tmpfs");
        mount(tmpfs, &disk, tmpfs, MsFlags::empty(), Some(options))
            .expect("root of its namespaces may");
        let mut fillers = 0;
        while fs::write(disk.join(format!("filler{fillers}")), [b'x'; 4096]).is_ok() {
            fillers += 1;
        }
        let before = common::names_in(&disk);
        for durability in [Durability::Sync, Durability::None] {
            let options = WriterLock::options().durability(durability);
            let (kind, text) = io_error(options.try_acquire(disk.join("data")));
            assert_eq!(kind, io::ErrorKind::StorageFull, "{name}: {text}");
            assert_eq!(
                common::names_in(&disk),
                before,
                "{name}: no lock file is left"
            );
        }
        let filler = before.first().expect("something filled it");
        fs::remove_file(disk.join(filler)).expect("it is ours");
        let lock = WriterLock::try_acquire(disk.join("data")).expect("there is room again");
        lock.release().expect("it is held");
    }
    passed();
}

// A lock file that is created and cannot be filled would keep everybody out until it is old.
#[test]
fn a_full_disk_is_an_error_and_leaves_no_lock_file() {
    run_in_container("full disk");
}

/// As an ordinary user among the directories that root has prepared in DIR.
fn nobody() {
    let dir = PathBuf::from(common::arg("DIR"));
    setgroups(&[]).expect("root may");
    setresgid(NOBODY.1, NOBODY.1, NOBODY.1).expect("root may");
    setresuid(NOBODY.0, NOBODY.0, NOBODY.0).expect("root may");

    let denied = |name: &str| {
        let (kind, text) = io_error(WriterLock::try_acquire(dir.join(name)));
        assert_eq!(kind, io::ErrorKind::PermissionDenied, "{name}: {text}");
        text
    };
    let text = denied("readable/new");
    assert!(text.contains("create the lock file"), "{text}");
    denied("closed/new");
    // Left behind by root's writer, and this user may not rename in here, or not others' files.
    let text = denied("readable/left");
    assert!(text.contains("rename the lock file aside"), "{text}");
    denied("sticky/left");

    let error = WriterLock::try_acquire(dir.join("sticky/private")).expect_err("it may be held");
    let holder = error.holder().expect("doubt reads as held");
    assert_eq!(holder.verdict().reason(), Reason::Unreadable);
    assert_eq!(holder.uid(), Some(0), "it says whose file it is");
    assert!(error.to_string().contains("user 0"), "{error}");
    let state = inspect(dir.join("sticky/private")).expect("a look is no error");
    assert!(matches!(state, LockState::Held(_)), "{state:?}");

    let lock = WriterLock::try_acquire(dir.join("sticky/new")).expect("everybody may write here");
    assert!(
        lock.record().stamp().is_some(),
        "a process that gave up root has its stamp"
    );
    lock.check().expect("it is held");
    lock.release().expect("it is held");
    passed();
}

const NOBODY: (Uid, Gid) = (Uid::from_raw(65534), Gid::from_raw(65534));

#[test]
fn another_users_directories_and_lock_files_are_errors_or_held_never_touched() {
    if !common::is_root() {
        return common::skip("only root can become another user");
    }
    let dir = common::scratch();
    let set_mode = |path: &Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
    };
    set_mode(dir.path(), 0o755);
    for (name, mode) in [("readable", 0o755), ("closed", 0o700), ("sticky", 0o1777)] {
        fs::create_dir(dir.path().join(name)).expect("it is ours");
        set_mode(&dir.path().join(name), mode);
    }
    let mut kept = Vec::new();
    for name in ["readable/left", "sticky/left", "sticky/private"] {
        common::plant_left_behind(&dir.path().join(name));
        let lock_path = lock_path_for(dir.path().join(name));
        let private = name.ends_with("private");
        set_mode(&lock_path, if private { 0o600 } else { 0o644 });
        kept.push((Snapshot::of(&lock_path), lock_path));
    }
    let mut nobody = Role::new("nobody").with("DIR", dir.path()).ready();
    nobody.tell("end");
    nobody.finish();
    for (before, path) in kept {
        assert_eq!(Snapshot::of(&path), before, "{}", path.display());
    }
    let names = common::names_in(&dir.path().join("sticky"));
    assert_eq!(names, ["left.lock", "private.lock"]);
}

/// Tries with SPARE descriptors, and again with enough: nothing may be remembered wrongly.
fn no_descriptors() {
    let dir = PathBuf::from(common::arg("DIR"));
    let (data, left) = (dir.join("data"), dir.join("left"));
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("it can be asked");
    let first_free = File::open("/dev/null").map(|file| file.as_raw_fd());
    let first_free = u64::try_from(first_free.expect("it opens")).expect("it is positive");
    let limit = first_free + common::number("SPARE");
    setrlimit(Resource::RLIMIT_NOFILE, limit, hard).expect("less is allowed");
    let free = WriterLock::try_acquire(&data).map(drop);
    let stale = WriterLock::try_acquire(&left).map(drop);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("up to the hard limit");
    if let Err(error) = &free {
        assert!(matches!(error, AcquireError::Io(_)), "{error}");
    }
    if let Err(error) = &stale {
        // Without the boot id the stamp vouches for nothing, and doubt reads as held.
        assert!(
            matches!(error, AcquireError::Io(_)) || error.is_held(),
            "{error}"
        );
    }
    let refusals = [free, stale]
        .iter()
        .filter(|outcome| outcome.is_err())
        .count();
    assert!(
        common::is_absent(&lock_path_for(&data)),
        "released, or never there"
    );
    let lock = WriterLock::try_acquire(&data).expect("the shortage is over");
    assert!(
        lock.record().stamp().is_some(),
        "what could not be read then can be read now"
    );
    lock.release().expect("it is held");
    common::say(format_args!("refused {refusals}"));
}

// A server at its limit of open files: the first shortage must not be remembered as "this machine
// has no procfs", nor leave a lock file that nobody holds.
#[test]
fn running_out_of_descriptors_is_an_error_that_passes() {
    let mut refused = Vec::new();
    for spare in 0..8 {
        let dir = common::scratch();
        common::plant_left_behind(&dir.path().join("left"));
        let role = Role::new("no descriptors").with("DIR", dir.path());
        let mut role = role.with_number("SPARE", spare).start();
        refused.push(role.hear());
        role.finish();
    }
    assert_eq!(
        refused.first().map(String::as_str),
        Some("refused 2"),
        "the limit is felt"
    );
    assert_eq!(
        refused.last().map(String::as_str),
        Some("refused 0"),
        "eight are enough"
    );
}

// ---------------------------------------------------------------- records

fn attempt(record: &Record, mtime_age: Duration) -> Result<WriterLock, AcquireError> {
    let dir = common::scratch();
    let data = dir.path().join("data");
    fs::write(lock_path_for(&data), record.encode()).expect("the directory is ours");
    common::age_mtime(&lock_path_for(&data), mtime_age);
    WriterLock::try_acquire(&data)
}

#[track_caller]
fn assert_held(outcome: Result<WriterLock, AcquireError>, reason: Reason) {
    let error = outcome.expect_err("it counts as held");
    let holder = error.holder().expect("it counts as held");
    assert_eq!(holder.verdict().reason(), reason, "{error}");
}

#[track_caller]
fn assert_reclaimed(outcome: Result<WriterLock, AcquireError>, from: &Record) {
    let lock = outcome.expect("it is stale");
    assert_eq!(
        lock.reclaimed().and_then(|reclaimed| reclaimed.record),
        Some(*from)
    );
}

// Records without a stamp are deployed clients': they hold no flock, so pid, host and age decide.
#[test]
fn records_of_deployed_clients_are_judged_by_pid_host_and_age() {
    let (live, dead) = (common::this_process(), common::dead_pid());
    let here = common::this_host();
    let elsewhere = Hostname::new(b"rvlf-elsewhere").expect("it fits");
    let held = [
        (live, here, Duration::ZERO, Reason::ProcessAlive),
        // Older than this process: its pid was given away since. Still held: who can tell.
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
        let record = common::unstamped(pid, &host, age);
        // The mtime plays no part in these rows.
        assert_held(attempt(&record, VERY_OLD), reason);
    }
    for (pid, host, age) in [
        (dead, here, OLD),
        (dead, elsewhere, VERY_OLD),
        (live, elsewhere, VERY_OLD),
    ] {
        let record = common::unstamped(pid, &host, age);
        assert_reclaimed(attempt(&record, Duration::ZERO), &record);
    }
}

fn stamped(pid: Pid, host: &Hostname, age: Duration, start_ticks: u64) -> Record {
    let stamp = KernelStamp {
        // No inode of this kernel: that of another machine, of the last boot, or of a copy's
        // source.
        inode_key: 1,
        start_ticks,
    };
    let timestamp = common::now_ns() - common::ns(age);
    Record::new(pid, host, timestamp, common::some_writer_id(), Some(stamp))
}

// Somebody who looks at a dead lock never comes to an end (stopped by a debugger, say), and has its
// kernel lock all the time. It cannot be broken then, and who is refused must not be told that it is
// stale: it would try for ever.
#[test]
fn a_stale_lock_that_somebody_never_lets_go_of_is_held_and_then_recovered() {
    let dir = common::scratch();
    let data = dir.path().join("data");
    let record = common::plant_left_behind(&data);
    let looker = fs::File::open(lock_path_for(&data)).expect("it is there");
    looker.lock_shared().expect("nobody else has it");
    let outcome = WriterLock::try_acquire(&data);
    assert_held(outcome, Reason::KernelLockOutlivesProcess);
    match common::break_stale(&data) {
        Err(BreakError::Held { holder, .. }) => assert!(!holder.verdict().is_stale()),
        outcome => panic!("who looks keeps it: {outcome:?}"),
    }
    drop(looker);
    assert_reclaimed(WriterLock::try_acquire(&data), &record);
}

// In a container of the same image both programs are pid 1 of a host of the same name. A record that only
// looks like ours must not make a person look for a second guard in this program.
#[test]
fn a_record_with_our_pid_and_host_is_not_taken_for_our_own() {
    let ours = (common::this_process(), common::this_host());
    let record = common::unstamped(ours.0, &ours.1, Duration::from_secs(1));
    let error = attempt(&record, Duration::from_secs(1)).expect_err("its process lives");
    let holder = error.holder().expect("its process lives");
    assert!(!holder.is_this_process(), "{error}");
}

// Whoever finds a lock in the way asks since when: the record tells when it was refreshed, the file when
// it was made.
#[test]
fn a_holder_is_seen_to_hold_since_it_acquired() {
    let dir = common::scratch();
    let data = dir.path().join("data");
    let lock = WriterLock::try_acquire(&data).expect("nobody has it");
    let made = fs::metadata(lock.lock_path())
        .expect("it is there")
        .created();
    std::thread::sleep(Duration::from_millis(20));
    lock.refresh().expect("it is held");
    let LockState::Held(holder) = inspect(&data).expect("it can be read") else {
        panic!("it is held");
    };
    let Some(held_for) = holder.held_for() else {
        assert!(
            made.is_err(),
            "the file system remembers when files are made"
        );
        return common::skip("this file system does not remember when files are made");
    };
    let times = Duration::from_millis(20)..Duration::from_secs(600);
    assert!(times.contains(&held_for), "{held_for:?}");
}

/// On a machine whose uptime the test has set: what each age of a copied record means.
fn copies_on_a_machine_that_is_up() {
    let (live, dead) = (common::this_process(), common::dead_pid());
    let here = common::this_host();
    let elsewhere = Hostname::new(b"rvlf-elsewhere").expect("it fits");
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
    let (live, dead) = (common::this_process(), common::dead_pid());
    let here = common::this_host();
    for pid in [dead, live] {
        let left = stamped(pid, &here, MIDDLE, 1);
        assert_held(attempt(&left, YOUNG), Reason::BeforeBoot);
        assert_reclaimed(attempt(&left, OLD), &left);
        let since = stamped(pid, &here, OLD, 1);
        assert_held(attempt(&since, VERY_OLD), Reason::Elsewhere);
    }
    let elsewhere = Hostname::new(b"rvlf-elsewhere").expect("it fits");
    let left = stamped(dead, &elsewhere, MIDDLE, 1);
    assert_held(attempt(&left, VERY_OLD), Reason::Elsewhere);
    passed();
}

// A machine lost its power, and boots again: nothing that held a lock on it before the boot still runs.
// Waiting for the five minutes of a copied record would keep the service down for them.
#[test]
fn a_copied_lock_file_from_before_the_last_boot_is_stale_after_half_a_minute() {
    run_after_boot(Duration::from_secs(60), "copies after a boot");
}

// The copy of a lock whose holder lives: it is nobody's, and the original must not suffer.
#[test]
fn a_copy_of_a_live_lock_file_is_judged_by_age_and_the_original_is_left_alone() {
    let dir = common::scratch();
    let (data, copy) = (dir.path().join("data"), dir.path().join("copy"));
    let mut holder = Role::puppet(&data).ready();
    holder.expect("try", "got");
    fs::copy(lock_path_for(&data), lock_path_for(&copy)).expect("the directory is ours");
    assert_held(WriterLock::try_acquire(&copy), Reason::Elsewhere);
    common::backdate(&copy, VERY_OLD);
    common::age_mtime(&lock_path_for(&copy), VERY_OLD);
    let left = common::read_record(&copy);
    assert_reclaimed(WriterLock::try_acquire(&copy), &left);
    assert_held(WriterLock::try_acquire(&data), Reason::KernelLock);
    assert_eq!(holder.ask("check"), "Ok(())");
}

// A board without a battery boots in 1970 and is set by NTP while a holder holds; a laptop's clock
// was a year ahead when it crashed. Subtracting unsigned would make either age 584 years.
#[test]
fn timestamps_of_stepped_clocks_neither_rob_the_living_nor_keep_the_dead() {
    let hour = Duration::from_secs(3600);
    let dir = common::scratch();
    let data = dir.path().join("data");
    let mut holder = Role::puppet(&data).ready();
    holder.expect("try", "got");
    let now = common::now_ns();
    let file = File::options()
        .write(true)
        .open(lock_path_for(&data))
        .expect("it is there");
    for timestamp in [
        0,
        1,
        now - common::ns(hour),
        now + common::ns(hour),
        u64::MAX,
    ] {
        let record = common::read_record(&data).refreshed(timestamp);
        file.write_all_at(&record.encode(), 0).expect("it is open");
        assert_held(WriterLock::try_acquire(&data), Reason::KernelLock);
        assert!(inspect(&data).is_ok(), "no arithmetic overflows");
    }
    holder.kill();

    let (dead, host) = (common::dead_pid(), common::this_host());
    let at = |timestamp| Record::new(dead, &host, timestamp, common::some_writer_id(), None);
    // A little ahead: clocks differ. It counts as new.
    let ahead = at(common::now_ns() + common::ns(Duration::from_secs(100)));
    assert_held(attempt(&ahead, VERY_OLD), Reason::ProcessDead);
    // More ahead than any threshold: the file's own time takes its place.
    for timestamp in [common::now_ns() + common::ns(hour), u64::MAX] {
        let record = at(timestamp);
        assert_held(attempt(&record, Duration::ZERO), Reason::ProcessDead);
        assert_reclaimed(attempt(&record, OLD), &record);
    }
    let ancient = at(0);
    assert_reclaimed(attempt(&ancient, Duration::ZERO), &ancient);
}

// An operator who would rather be asked than have a crash passed over.
#[test]
fn with_the_policy_never_nothing_is_broken() {
    let never = WriterLock::options().stale_policy(StalePolicy::never());
    let dir = common::scratch();
    let data = dir.path().join("data");
    let left = common::plant_left_behind(&data);
    common::backdate(&data, VERY_OLD);
    let error = never.try_acquire(&data).expect_err("nothing is ever stale");
    let verdict = error.holder().map(rvlf::Holder::verdict);
    let (reason, stale_in) = (Reason::KernelWitness, None);
    assert_eq!(verdict, Some(Verdict::Held { reason, stale_in }));
    let removed = common::force_break(&data, left.writer_id()).expect("by hand it can be removed");
    assert!(removed.is_some());
    never
        .try_acquire(&data)
        .map(drop)
        .expect("nothing is there any more");
}

// Whoever breaks by hand names what they mean: if the lock has changed hands meanwhile, the new
// holder is not robbed.
#[test]
fn force_removes_the_named_lock_and_no_other() {
    let dir = common::scratch();
    let data = dir.path().join("data");
    let mut holder = Role::puppet(&data).ready();
    let writer_id = holder.expect("try", "got");
    let error =
        common::force_break(&data, common::some_writer_id()).expect_err("that is another one's");
    let text = error.to_string();
    assert!(
        text.contains(&writer_id),
        "it says whose is there, and how to go on: {text}"
    );
    assert_eq!(holder.ask("check"), "Ok(())", "it was not touched");
    let named = writer_id.parse().expect("it is a writer id");
    let removed = common::force_break(&data, named).expect("it is the named one");
    assert!(removed.is_some());
    let answer = holder.ask("check");
    assert!(answer.contains("Removed"), "the holder learns it: {answer}");
    assert_eq!(
        common::force_break(&data, named).expect("nothing is there"),
        None
    );
    assert!(common::names_in(dir.path()).is_empty(), "no litter");
}

// A breaker that died between renaming and unlinking has left an aside: the next one cleans up, but
// only what is surely a lock file of the dead.
#[test]
fn breaking_removes_litter_of_dead_breakers_and_nothing_that_resembles_it() {
    let dir = common::scratch();
    let aside = |digits: &str| dir.path().join(format!(".rvlf-{digits}"));
    let record = stamped(common::dead_pid(), &common::this_host(), Duration::ZERO, 1).encode();
    let write = |path: &Path, bytes: &[u8], age| {
        let mut file = File::create_new(path).expect("the directory is ours");
        file.write_all(bytes).expect("there is room");
        common::age_mtime(path, age);
    };
    let (old, young) = (Duration::from_secs(61), Duration::from_secs(30));
    write(&aside("0123456789abcdef"), &record, old);
    write(&aside("1123456789abcdef"), &record, young);
    write(&aside("2123456789abcdef"), b"somebody's notes", old);
    write(&aside("3123456789ABCDEF"), &record, old);
    write(&aside("4123"), &record, old);
    write(&aside("5123456789abcdef"), &record, old);
    let alive = File::open(aside("5123456789abcdef")).expect("it is there");
    alive.try_lock().expect("a live lock, caught by mistake");

    let data = dir.path().join("data");
    common::plant_left_behind(&data);
    common::break_stale(&data)
        .expect("its holder is dead")
        .expect("it was there");
    assert!(
        common::is_absent(&aside("0123456789abcdef")),
        "litter is removed"
    );
    let kept = [
        ".rvlf-1123456789abcdef",
        ".rvlf-2123456789abcdef",
        ".rvlf-3123456789ABCDEF",
        ".rvlf-4123",
        ".rvlf-5123456789abcdef",
    ];
    assert_eq!(common::names_in(dir.path()), kept, "everything else stays");
}

fn looks() {
    common::say(std::process::id());
    let state = inspect(common::arg("DATA")).expect("the directory can be looked at");
    common::say(format_args!("{state:?}"));
}

// A contender has opened the lock file and asked for its kernel lock; before it looks on, the holder
// releases. It must not report, or wait for, a holder that has gone: the file that it has open is not
// the one at the path any more. The contender is stopped right after its flock(2).
#[test]
fn a_lock_that_is_released_during_the_look_is_not_held() {
    if Command::new("strace").arg("-V").output().is_err() {
        return common::skip("strace is not installed");
    }
    let dir = common::scratch();
    let data = dir.path().join("data");
    let lock = WriterLock::try_acquire(&data).expect("the directory is new");
    let mut strace = Command::new("strace");
    // -D: the role is our child, and strace its grandchild.
    strace.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=flock"]);
    strace.args(["-e", "inject=flock:signal=SIGSTOP:when=1"]);
    let mut role = Role::new("looks").with("DATA", &data).under(strace).start();
    let pid = role.hear();
    let is_stopped = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it has not ended");
        let state = stat.rsplit(')').next().expect("the name ends");
        state.trim_start().starts_with(['t', 'T'])
    };
    common::until("the contender is stopped after its flock", is_stopped);
    lock.release().expect("it is ours");
    let pid = nix::unistd::Pid::from_raw(pid.parse().expect("a number"));
    kill(pid, Signal::SIGCONT).expect("it is stopped, and has not ended");
    assert_eq!(role.hear(), "Free", "the holder has gone, and nobody came");
    role.finish();
}
