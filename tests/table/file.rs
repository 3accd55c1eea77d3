//! The file of the table: its format, its permissions, and its replacement by a save.
//!
//! The failure: the predecessor of this table was truncated and rewritten in place. A full disk or a kill
//! at the wrong moment left half a table, and the holders were unknown. A file that is replaced instead
//! has another failure: a process that waits for the old file's lock gets it in the end, and saves into a
//! file without a name.
#![cfg(unix)]
#![allow(clippy::indexing_slicing, reason = "a missing field fails the test")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use rvlf::FileKind;
use rvlf::table::{
    Allocation, Claim, EntryHolder, ScopeRule, Table, TableError, TableGuard, snapshot,
};
#[cfg(target_os = "linux")]
use support::succeeds_in_fork;
use support::table::{claim, descriptors_of, place};
use support::{PATIENCE, until};

/// A table as the programs write it for which the format was made.
const YOI: &str = r#"{
  "allocations": [
    {
      "pod_name": "orchestrator",
      "pid": 4121,
      "socket": "/run/user/1000/yoi/orchestrator/sock",
      "scope_allow": [
        {
          "target": "/home/u/project",
          "permission": "write",
          "recursive": true
        },
        {
          "target": "/home/u/notes",
          "permission": "read",
          "recursive": false
        }
      ],
      "scope_deny": [],
      "delegated_from": null,
      "segment_id": "0197f0c2-7d2b-7c55-9f0a-3d1f6f1f0a11"
    },
    {
      "pod_name": "coder",
      "pid": 4121,
      "socket": "/run/user/1000/yoi/coder/sock",
      "scope_allow": [
        {
          "target": "/home/u/project/src",
          "permission": "write",
          "recursive": true
        }
      ],
      "scope_deny": [],
      "delegated_from": "orchestrator",
      "segment_id": null
    }
  ]
}"#;

fn mode(path: &Path) -> u32 {
    let stat = fs::symlink_metadata(path).expect("the file exists");
    stat.permissions().mode() & 0o7777
}

fn save(path: &Path, change: impl FnOnce(&mut TableGuard)) {
    let mut guard = TableGuard::open(path, PATIENCE).expect("no process holds the table for long");
    change(&mut guard);
    guard.save().expect("the disk has room");
}

// ---------------------------------------------------------------- format

#[test]
fn a_table_of_other_writers_comes_back_byte_for_byte() {
    let (_dir, path) = place();
    fs::write(&path, YOI).expect("the disk has room");
    save(&path, |guard| assert_eq!(guard.table().entries.len(), 2));
    assert_eq!(fs::read_to_string(&path).expect("the file exists"), YOI);

    let old = r#"{"allocations": [{"pod_name": "a", "pid": 1, "socket": "/s", "delegated_from": null,
        "scope_allow": [{"target": "/a", "permission": "write"}]}]}"#;
    let table =
        Table::parse(old.as_bytes()).expect("scope_deny, segment_id and recursive are optional");
    let entry = table.find("a").expect("the file exists");
    assert!(entry.deny.is_empty() && entry.is_placeholder() && entry.holder.is_none());
    assert!(
        entry.allow.iter().all(|rule| rule.recursive),
        "recursive is the default"
    );
}

// Since June 2026 the programs write `worker_name`, in `workers.json`. An entry with the other field
// makes the whole file unreadable for them.
#[test]
fn a_table_keeps_the_field_that_its_writers_use_for_names() {
    let (dir, path) = place();
    let names = |path: &Path| {
        let json = fs::read_to_string(path).expect("the file exists");
        let count = |field: &str| json.matches(&format!("\"{field}\": ")).count();
        (count("pod_name"), count("worker_name"))
    };
    let register = |path: &Path| {
        save(path, |guard| {
            let registered = guard.register(&claim("new", "/new"), "s");
            registered.expect("the scope is free");
        });
    };
    let of_today = YOI.replace("pod_name", "worker_name").replace("4121", "1");
    fs::write(&path, &of_today).expect("the disk has room");
    save(&path, |guard| {
        assert!(guard.table().find("coder").is_some(), "it is read by name")
    });
    let unchanged = fs::read_to_string(&path).expect("the file exists");
    assert_eq!(unchanged, of_today);
    register(&path);
    assert_eq!(names(&path), (0, 3), "also that of the new entry");

    let empty = dir.path().join("workers.json");
    fs::write(&empty, "{\"allocations\": []}").expect("the disk has room");
    register(&empty);
    assert_eq!(names(&empty), (0, 1), "by the name of the file");
    save(&empty, |guard| *guard.table_mut() = Table::default());
    save(&empty, |guard| {
        *guard.table_mut() = Table::default();
        let registered = guard.register(&claim("new", "/new"), "s");
        registered.expect("the table is empty");
    });
    assert_eq!(
        names(&empty),
        (0, 1),
        "also if the table was replaced by hand"
    );
    let old = dir.path().join("pods.json");
    register(&old);
    assert_eq!(names(&old), (1, 0));

    let both = r#"{"allocations": [{"worker_name": "a", "pod_name": "b", "pid": 1, "socket": "",
        "scope_allow": [], "delegated_from": null}]}"#;
    let table = Table::parse(both.as_bytes()).expect("the newer name counts");
    assert!(table.find("a").is_some());
    let json = String::from_utf8(table.to_json().expect("no path")).expect("JSON is UTF-8");
    assert!(
        json.contains(r#""pod_name": "b""#),
        "the other is kept: {json}"
    );
}

// "missing field `pod_name`" did not say what the file has in its place.
#[test]
fn an_entry_without_a_name_is_refused_with_what_was_found_and_where() {
    let (_dir, path) = place();
    let renamed = YOI.replace("pod_name", "agent_name");
    fs::write(&path, renamed).expect("the disk has room");
    let error = snapshot(&path).expect_err("no entry has a name");
    let shown = error.to_string();
    assert!(
        shown.contains("table.json:23:")
            && shown.contains("neither `pod_name` nor `worker_name`, but `agent_name`"),
        "{shown}"
    );
}

#[test]
fn an_empty_file_and_blanks_are_an_empty_table() {
    let (_dir, path) = place();
    for content in ["", "  \n\t\n", "{}", r#"{"allocations": []}"#] {
        fs::write(&path, content).expect("the disk has room");
        let guard = TableGuard::open(&path, PATIENCE).expect("the file is a table");
        assert!(guard.table().entries.is_empty(), "{content:?}");
    }
    assert!(names(&path.with_file_name("none")).is_empty());
    assert!(
        !path.with_file_name("none").exists(),
        "a snapshot creates no file"
    );
}

// A later version, or another program, may write more fields. A save must keep them.
#[test]
fn unknown_fields_survive_a_save() {
    let (_dir, path) = place();
    let json = r#"{
        "version": 7,
        "allocations": [{
            "pod_name": "a", "pid": 0, "socket": "", "delegated_from": null, "segment_id": "s",
            "scope_allow": [{"target": "/a", "permission": "write", "since": {"year": 2031}}],
            "weight": 0.1234567890123456789, "big": 18446744073709551615,
            "holder": {"hostname": "h", "start_ticks": 5, "cgroup": ["x", null],
                       "writer_id": "6ba7b810-9dad-41d1-80b4-00c04fd430c8"}
        }]
    }"#;
    fs::write(&path, json).expect("the disk has room");
    save(&path, |guard| {
        guard
            .table_mut()
            .find_mut("a")
            .expect("the file exists")
            .pid = 1;
    });
    let saved = fs::read(&path).expect("the file exists");
    let saved: serde_json::Value = serde_json::from_slice(&saved).expect("the file is JSON");
    let mut expected: serde_json::Value = serde_json::from_str(json).expect("the file is JSON");
    let entry = &mut expected["allocations"][0];
    entry["pid"] = 1.into();
    entry["scope_deny"] = serde_json::json!([]);
    entry["scope_allow"][0]["recursive"] = true.into();
    assert_eq!(saved, expected);
}

#[test]
fn a_file_that_is_no_table_is_refused_with_line_and_column_and_left_unchanged() {
    let (_dir, path) = place();
    let cases: [(&[u8], usize, usize); 6] = [
        (b"{\"allocations\": [\n  {\"pod_name\": 7}\n]}", 2, 16),
        (b"{\"allocations\": [}", 1, 18),
        (b"{\"allocations\": []} trailing", 1, 21),
        (b"4121\n", 1, 4),
        (b"{\n\"allocations\": [\n", 3, 0),
        (b"{\"x\": \"\xff\"}", 1, 8),
    ];
    for (content, line, column) in cases {
        fs::write(&path, content).expect("the disk has room");
        let before = fs::metadata(&path).expect("the file exists");
        let error = TableGuard::open(&path, PATIENCE).expect_err("the file is no table");
        let shown = String::from_utf8_lossy(content);
        match &error {
            TableError::Parse {
                path: named,
                line: at,
                column: by,
                ..
            } => {
                assert_eq!((named, *at, *by), (&path, line, column), "{shown}: {error}");
            }
            other => panic!("{shown}: {other:?}"),
        }
        let place = format!("table.json:{line}:{column}: ");
        assert!(
            error.to_string().contains(&place),
            "the error names the place: {error}"
        );
        assert!(matches!(snapshot(&path), Err(TableError::Parse { .. })));
        let after = fs::metadata(&path).expect("the file exists");
        assert_eq!(
            fs::read(&path).expect("the file exists"),
            content,
            "the file is unchanged"
        );
        assert_eq!(
            (before.ino(), before.mtime_nsec()),
            (after.ino(), after.mtime_nsec())
        );
        TableGuard::open(&path, Duration::ZERO)
            .expect_err("the lock was released, so the error is the same");
    }
}

// ---------------------------------------------------------------- the file

// A table's path that led to a sparse file of a disk image ended the process: no memory was left to allocate.
#[test]
fn a_file_that_is_larger_than_any_table_is_refused_before_it_is_read_whole() {
    const LIMIT: u64 = 64 * 1024 * 1024;
    // 32-bit systems count 2^31 bytes.
    const IS_LARGE: bool = cfg!(target_pointer_width = "64");
    let huge = if IS_LARGE { 1 << 40 } else { 1 << 30 };
    let (_dir, path) = place();
    let is_refused = |outcome| matches!(outcome, Err(TableError::TooLarge { .. }));
    let file = fs::File::create(&path).expect("the disk has room");
    for len in [LIMIT + 1, huge] {
        file.set_len(len).expect("a hole takes no room");
        assert!(is_refused(snapshot(&path).map(drop)), "{len} bytes");
        assert!(
            is_refused(TableGuard::open(&path, PATIENCE).map(drop)),
            "{len} bytes"
        );
    }
    file.set_len(0).expect("it is this process's");
    let mut guard = TableGuard::open(&path, PATIENCE).expect("no process has locked it");
    let name = "x".repeat(usize::try_from(LIMIT).expect("it fits"));
    let large = guard.register(&claim(&name, "/a"), "1");
    large.expect("the table is empty");
    assert!(is_refused(guard.save()), "no other process could read it");
    let len = fs::metadata(&path).map(|found| found.len());
    assert_eq!(len.ok(), Some(0), "the table is unchanged");
}

#[test]
fn new_files_are_private_to_their_user_and_existing_modes_are_kept() {
    let (dir, path) = place();
    let nested = dir.path().join("x/y/table.json");
    let open = |path: &Path| TableGuard::open(path, PATIENCE).expect("the table can be created");
    drop(open(&nested));
    assert_eq!(mode(&nested), 0o600);
    for parent in ["x", "x/y"] {
        assert_eq!(mode(&dir.path().join(parent)), 0o700, "{parent}");
    }

    fs::create_dir(dir.path().join("shared")).expect("the disk has room");
    let shared = dir.path().join("shared/table.json");
    fs::write(&shared, "").expect("the disk has room");
    fs::set_permissions(
        shared.parent().expect("the path has a directory"),
        Permissions::from_mode(0o755),
    )
    .expect("the file belongs to this user");
    fs::set_permissions(&shared, Permissions::from_mode(0o640))
        .expect("the file belongs to this user");
    save(&shared, |_| {});
    assert_eq!(
        mode(&shared),
        0o640,
        "the new file has the mode of the old one"
    );
    assert_eq!(
        mode(shared.parent().expect("the path has a directory")),
        0o755
    );
    save(&path, |_| {});
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn a_save_by_root_keeps_the_owner_of_the_table() {
    if !nix::unistd::geteuid().is_root() {
        return support::skip("only root can change the owner of a file");
    }
    let (_dir, path) = place();
    drop(TableGuard::open(&path, PATIENCE).expect("the table can be created"));
    std::os::unix::fs::chown(&path, Some(1234), Some(2345)).expect("root may change the owner");
    save(&path, |_| {});
    let stat = fs::metadata(&path).expect("the file exists");
    assert_eq!(
        (stat.uid(), stat.gid()),
        (1234, 2345),
        "the user can still open the table"
    );
}

#[test]
fn only_a_regular_file_can_be_a_table() {
    let (dir, path) = place();
    let target = dir.path().join("target");
    fs::write(&target, "kept").expect("the disk has room");
    let refused = |expected: FileKind| {
        for error in [
            TableGuard::open(&path, PATIENCE).expect_err("the file is not regular"),
            snapshot(&path).expect_err("the file is not regular"),
        ] {
            match &error {
                TableError::NotRegular { found, .. } => assert_eq!(*found, expected, "{error}"),
                other => panic!("{other:?}"),
            }
        }
        let stat = fs::symlink_metadata(&path).expect("the file still exists");
        let _ = if stat.is_dir() {
            fs::remove_dir(&path)
        } else {
            fs::remove_file(&path)
        };
    };
    symlink(&target, &path).expect("the disk has room");
    refused(FileKind::Symlink);
    symlink(dir.path().join("dangling"), &path).expect("the disk has room");
    refused(FileKind::Symlink);
    assert!(
        !dir.path().join("dangling").exists(),
        "no file is created through a link"
    );
    fs::create_dir(&path).expect("the disk has room");
    refused(FileKind::Directory);
    // open(2) of a FIFO would wait for a writer.
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("the disk has room");
    refused(FileKind::Fifo);
    let _socket = std::os::unix::net::UnixListener::bind(&path).expect("the disk has room");
    refused(FileKind::Socket);
    assert_eq!(
        fs::read_to_string(&target).expect("the file exists"),
        "kept"
    );
}

// The directories "new" and "new/deep" were created before the path was refused.
#[test]
fn a_path_that_names_no_file_creates_no_directory() {
    let (_dir, path) = place();
    let new = path.with_file_name("new");
    let outcome = TableGuard::open(new.join("deep/.."), PATIENCE);
    assert!(matches!(outcome, Err(TableError::Io { .. })), "{outcome:?}");
    assert!(!new.exists(), "a refusal leaves nothing");
}

// An empty table would be reported, and every path in it would look free.
#[test]
fn a_table_that_cannot_be_read_is_not_taken_for_none() {
    let (_dir, path) = place();
    fs::write(&path, "").expect("the disk has room");
    let below_a_file = snapshot(path.join("table.json"));
    let refused = below_a_file.expect_err("a file has no files in it");
    assert!(
        matches!(&refused, TableError::Io(error) if error.source.kind() == std::io::ErrorKind::NotADirectory),
        "{refused:?}"
    );
    assert!(names(&path.with_file_name("absent")).is_empty());
}

#[test]
fn a_change_that_is_not_saved_is_lost() {
    let (_dir, path) = place();
    save(&path, |guard| {
        guard
            .register(&claim("a", "/a"), "1")
            .expect("the table is empty");
    });
    let mut guard = TableGuard::open(&path, PATIENCE).expect("the lock is free");
    guard
        .register(&claim("b", "/b"), "2")
        .expect("the scope is free");
    drop(guard);
    let table = snapshot(&path).expect("the file is a table").table;
    assert!(table.find("a").is_some() && table.find("b").is_none());
}

#[test]
fn the_table_has_one_holder_at_a_time_also_after_a_save() {
    let (_dir, path) = place();
    let mut guard = TableGuard::open(&path, PATIENCE).expect("the lock is free");
    for _ in 0..2 {
        let error = TableGuard::open(&path, Duration::ZERO).expect_err("the table is locked");
        assert!(matches!(error, TableError::Timeout { .. }), "{error:?}");
        guard.save().expect("the disk has room");
    }
    drop(guard);
    drop(TableGuard::open(&path, Duration::ZERO).expect("the table is not locked any more"));
}

// Sums of times that are larger than what the clock can count.
#[test]
fn a_wait_may_be_without_end() {
    let (_dir, path) = place();
    let forever = Duration::MAX;
    let parent = Allocation::register(&path, &claim("parent", "/a"), "1", forever);
    let parent = parent.expect("the table is empty");
    let guard = TableGuard::open(&path, forever).expect("the lock is free");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| parent.delegate(&claim("child", "/a/b"), forever));
        until("it waits with the file open", || descriptors_of(&path) >= 2);
        drop(guard);
        let delegated = waiter.join().expect("it waits");
        delegated.expect("the part is the parent's");
    });
    let child = Allocation::adopt(&path, "child", "2", forever).expect("it is a placeholder");
    child.update_segment("3", forever).expect("it is free");
    parent
        .reclaim("child", &[], forever)
        .expect("it is a child");
}

// An orchestrator that reads hands out the right to write. If the entry were not in the table, two of its workers
// could be given one part.
#[test]
fn what_an_allocation_hands_out_beyond_its_own_scope_is_held_by_the_child() {
    let (_dir, path) = place();
    let reads = Claim::new("parent").allow(ScopeRule::read("/work"));
    let parent = Allocation::register(&path, &reads, "1", PATIENCE).expect("the table is empty");
    let authority = [ScopeRule::write("/work")];
    parent
        .delegate_within(&authority, &claim("child", "/work/a"), PATIENCE)
        .expect("it is within the authority");
    let found = snapshot(&path).expect("it is a table");
    let child = found.table.find("child").expect("the child has an entry");
    assert_eq!(child.parent.as_deref(), Some("parent"));
    let other = Allocation::register(&path, &claim("other", "/work/a"), "2", PATIENCE);
    let refused = other.expect_err("the child has it");
    assert!(refused.is_contention(), "{refused}");
    parent.release().expect("the entry is there");
}

// A release that is refused says why, and gives the allocation back.
#[test]
fn a_refused_release_names_its_reason() {
    let (_dir, path) = place();
    let held = Allocation::register(&path, &claim("a", "/a"), "1", PATIENCE);
    let held = held.expect("the table is empty");
    fs::write(&path, "no table").expect("the disk has room");
    let refused = held.release().expect_err("the file is no table");
    assert!(
        matches!(refused.error, TableError::Parse { .. }),
        "{refused}"
    );
    assert_eq!(refused.to_string(), refused.error.to_string());
    assert!(refused.to_string().contains("repair the file"), "{refused}");
    assert_eq!(refused.allocation.name(), "a");
}

// B waits for the file that A has locked; A saves, which replaces the file. B must not take the old
// file's lock for the lock of the table, nor the old content for the table.
#[test]
fn a_waiter_for_the_old_file_gets_the_new_one() {
    for saves in [1, 3] {
        let (_dir, path) = place();
        let mut guard = TableGuard::open(&path, PATIENCE).expect("the lock is free");
        let (done, finished) = channel();
        std::thread::scope(|scope| {
            for number in 0..3 {
                let (done, path) = (done.clone(), &path);
                scope.spawn(move || {
                    save(path, |guard| {
                        let (name, own) = (format!("b{number}"), format!("/b{number}"));
                        guard
                            .register(&claim(&name, &own), &name)
                            .expect("the scope is free");
                    });
                    done.send(()).expect("the test waits");
                });
            }
            until("all threads wait with the old file open", || {
                descriptors_of(&path) >= 4
            });
            for number in 0..saves {
                let (name, own) = (format!("a{number}"), format!("/a{number}"));
                guard
                    .register(&claim(&name, &own), &name)
                    .expect("the scope is free");
                guard.save().expect("the disk has room");
                assert!(
                    finished.try_recv().is_err(),
                    "the new file is locked before the rename"
                );
                until("all threads wait for the new file", || {
                    descriptors_of(&path) >= 4
                });
            }
            drop(guard);
        });
        assert_eq!(finished.try_iter().count(), 3);
        let table = snapshot(&path).expect("the file is a table").table;
        assert_eq!(
            table.entries.len(),
            3 + saves,
            "no save was lost: {table:?}"
        );
    }
}

// `mv d d.old; mkdir d` while B waits for A: B must not save into the table that was moved away, next
// to a process that has the one at the path.
#[test]
fn a_waiter_follows_the_path_into_the_directory_that_took_its_place() {
    let (dir, _) = place();
    let (parent, path) = (dir.path().join("d"), dir.path().join("d/table.json"));
    let first = TableGuard::open(&path, PATIENCE).expect("the lock is free");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            save(&path, |guard| {
                let claimed = guard.register(&claim("b", "/b"), "b");
                claimed.expect("the scope is free");
            });
        });
        until("it waits with the old file open", || {
            descriptors_of(&path) >= 2
        });
        fs::rename(&parent, dir.path().join("d.old")).expect("the directory is writable");
        fs::create_dir(&parent).expect("the name is free");
        let second = TableGuard::open(&path, PATIENCE).expect("the lock is free");
        drop(first);
        drop(second);
        waiter.join().expect("it saves");
    });
    let table = snapshot(&path).expect("it is a table").table;
    assert_eq!(table.entries.len(), 1, "it saved elsewhere: {table:?}");
}

#[cfg(target_os = "linux")]
pub const ROLES: &[support::RoleEntry] = &[
    ("prints the default path", prints_the_default_path),
    ("registers by a relative path", registers_by_a_relative_path),
];

/// Prints what the default path is. The environment of a whole process decides it.
#[cfg(target_os = "linux")]
fn prints_the_default_path() {
    // Files are accessed as this user: root may read every directory. Without effect for any other user.
    if std::env::var_os("AS_NOBODY").is_some() {
        nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65534));
    }
    support::report(match rvlf::table::default_path(None) {
        Ok(path) => path.display().to_string(),
        Err(error) => error.to_string(),
    });
}

// Versions before kept the default table in a directory that vanishes at logout. A process of such a
// version may still hold an entry there: in two tables it and its rival do not exclude each other.
#[cfg(target_os = "linux")]
#[test]
fn the_default_outlives_a_login_and_is_refused_while_the_old_one_has_holders() {
    let (dir, _) = place();
    let (runtime, home) = (dir.path().join("run"), dir.path().join("home"));
    let old = runtime.join("rvlf/table.json");
    let printed = |variable: Option<&str>| {
        let mut command = support::Role::new("prints the default path").into_command();
        command.env("XDG_RUNTIME_DIR", &runtime).env("HOME", &home);
        command
            .env_remove("XDG_STATE_HOME")
            .env_remove("RVLF_TABLE");
        command.envs(variable.map(|variable| (variable, "1")));
        support::Role::from(command).start().receive()
    };
    let (default, as_nobody) = (|| printed(None), || printed(Some("AS_NOBODY")));
    let new = home.join(".local/state/rvlf/table.json");
    let new = new
        .to_str()
        .expect("names of temporary directories are ASCII");
    assert_eq!(default(), new);
    let held = Allocation::register(&old, &claim("a", "/a"), "1", PATIENCE);
    let held = held.expect("the table is empty");
    let refusal = default();
    let advice = format!("set RVLF_TABLE to {}", old.display());
    assert!(
        refusal.contains("entry \"a\" of pid") && refusal.contains(&advice),
        "{refusal}"
    );
    held.release().expect("the entry is held");
    assert_eq!(default(), new, "an empty old table hinders no process");
    assert!(!home.exists(), "nothing is created");

    // What su(1) leaves in the variable is the directory of another user, with no entry of this one.
    fs::set_permissions(&runtime, Permissions::from_mode(0o000)).expect("it is this user's");
    assert_eq!(as_nobody(), new);
    fs::set_permissions(&runtime, Permissions::from_mode(0o700)).expect("it is this user's");
    fs::remove_dir_all(runtime.join("rvlf")).expect("no process uses it");
    fs::write(runtime.join("rvlf"), "").expect("the disk has room");
    assert_eq!(default(), new, "no table can be below a file");
}

// No program removes a table, but operators do.
#[test]
fn a_table_that_was_removed_while_locked_does_not_replace_its_successor() {
    let (_dir, path) = place();
    let mut first = TableGuard::open(&path, PATIENCE).expect("the lock is free");
    fs::remove_file(&path).expect("the file exists");
    save(&path, |guard| {
        guard
            .register(&claim("second", "/a"), "1")
            .expect("the table is new");
    });
    first
        .register(&claim("first", "/a"), "1")
        .expect("this process does not know of the new table");
    let error = first.save().expect_err("the path names another file");
    assert!(matches!(error, TableError::Replaced { .. }), "{error:?}");
    let table = snapshot(&path).expect("the file is a table").table;
    assert!(table.find("second").is_some() && table.find("first").is_none());
}

// A has locked the table, `mv d d.old; mkdir d`, and B has registered in the new directory: A saved in the old one,
// and both had the scope. The same with a link to the directory that `ln -sfn` has changed.
#[test]
fn a_table_whose_directory_was_replaced_while_locked_is_not_saved() {
    let moved = |dir: &Path| {
        fs::rename(dir.join("d"), dir.join("d.old")).expect("the directory is writable");
        fs::create_dir(dir.join("d")).expect("the name is free");
    };
    let relinked = |dir: &Path| {
        fs::create_dir(dir.join("d2")).expect("the name is free");
        symlink(dir.join("d2"), dir.join("link2")).expect("the name is free");
        fs::rename(dir.join("link2"), dir.join("link")).expect("the directory is writable");
    };
    for (parent, replace) in [("d", &moved as &dyn Fn(&Path)), ("link", &relinked)] {
        let (dir, _) = place();
        fs::create_dir(dir.path().join("d")).expect("the name is free");
        symlink(dir.path().join("d"), dir.path().join("link")).expect("the name is free");
        let path = dir.path().join(parent).join("table.json");
        let mut first = TableGuard::open(&path, PATIENCE).expect("the lock is free");
        let registered = first.register(&claim("first", "/a"), "1");
        registered.expect("the table is new");
        replace(dir.path());
        save(&path, |guard| {
            let registered = guard.register(&claim("second", "/a"), "1");
            registered.expect("the table is new");
        });
        let error = first.save().expect_err("the path leads to another table");
        assert!(matches!(error, TableError::Replaced { .. }), "{error:?}");
        let table = snapshot(&path).expect("the file is a table").table;
        assert!(table.find("second").is_some() && table.find("first").is_none());
    }
}

#[test]
fn the_half_written_table_of_a_killed_process_does_not_hinder_a_save() {
    let (dir, path) = place();
    let leftover = dir.path().join(".table.json.rvlf-new");
    fs::write(&leftover, "{\"alloc").expect("the disk has room");
    save(&path, |guard| {
        guard
            .register(&claim("a", "/a"), "1")
            .expect("the table is empty");
    });
    assert!(!leftover.exists(), "the leftover is removed");
    let names: Vec<_> = fs::read_dir(dir.path())
        .expect("the file exists")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(names, ["table.json"], "a save leaves nothing behind");
}

// In /tmp only its owner may remove what a killed process of another user has left. The error named the table, whose
// permissions were right.
#[test]
fn an_error_about_what_a_killed_process_left_names_it_and_a_step_that_removes_it() {
    let (_dir, path) = place();
    // No user may remove a directory as if it were a file.
    fs::create_dir(path.with_file_name(".table.json.rvlf-new")).expect("the disk has room");
    let mut guard = TableGuard::open(&path, PATIENCE).expect("the lock is free");
    let error = guard.save().expect_err("the name is taken").to_string();
    assert!(
        error.contains("/.table.json.rvlf-new: could not remove"),
        "{error}"
    );
    assert!(
        error.ends_with("move the directory of this name away"),
        "{error}"
    );
}

// A child that is forked while its parent has the table shares the kernel lock: an unlock in the child
// would let a third process in while the parent writes.
#[cfg(target_os = "linux")]
#[test]
fn a_forked_child_neither_saves_nor_frees_its_parents_table() {
    let (_dir, path) = place();
    let mut guard = Some(TableGuard::open(&path, PATIENCE).expect("the lock is free"));
    assert!(
        succeeds_in_fork(|| {
            let mut copy = guard.take().expect("the child has a copy");
            let refused = matches!(copy.save(), Err(TableError::Forked { .. }));
            drop(copy);
            refused && TableGuard::open(&path, Duration::ZERO).is_err()
        }),
        "the child is refused, and its drop frees nothing"
    );
    assert!(
        TableGuard::open(&path, Duration::ZERO).is_err(),
        "the parent still has the table"
    );
    drop(guard);
    drop(TableGuard::open(&path, Duration::ZERO).expect("the parent has released the table"));
}

// A child that may open no file could not read in /proc who it is, took itself for its parent, and unlocked the
// table while its parent wrote.
#[cfg(target_os = "linux")]
#[test]
fn a_forked_child_that_may_open_no_file_does_not_free_its_parents_table() {
    use nix::sys::resource::{Resource, setrlimit};
    let (_dir, path) = place();
    let guard = TableGuard::open(&path, PATIENCE).expect("the lock is free");
    let held = Allocation::register(
        path.with_file_name("other"),
        &claim("a", "/a"),
        "1",
        PATIENCE,
    );
    let held = held.expect("the table is empty");
    let mut copies = Some((guard, held));
    assert!(
        succeeds_in_fork(|| {
            let (mut guard, held) = copies.take().expect("the child has a copy");
            setrlimit(Resource::RLIMIT_NOFILE, 0, 0).expect("a limit may be lowered");
            let refused = matches!(guard.save(), Err(TableError::Forked { .. }))
                && matches!(held.check(), Err(TableError::Forked { .. }));
            drop((guard, held));
            refused
        }),
        "the child is refused"
    );
    let second = TableGuard::open(&path, Duration::ZERO);
    assert!(second.is_err(), "the parent still has the table");
    let (guard, held) = copies.expect("the child took its copy");
    held.check().expect("the child's drop released nothing");
    drop(guard);
    drop(TableGuard::open(&path, Duration::ZERO).expect("the parent has released the table"));
}

// Many processes wait for a table that one of them has locked: if they looked without a pause, they would
// slow it down.
#[cfg(target_os = "linux")]
#[test]
fn a_waiter_for_a_table_sleeps() {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike;
    let processor_time = || {
        let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("the thread is there");
        let both = usage.user_time() + usage.system_time();
        Duration::from_micros(both.num_microseconds().unsigned_abs())
    };
    let (_dir, path) = place();
    let _guard = TableGuard::open(&path, PATIENCE).expect("the lock is free");
    let before = processor_time();
    let waited = Duration::from_secs(1);
    TableGuard::open(&path, waited).expect_err("the table is locked");
    let used = processor_time() - before;
    assert!(used < waited / 4, "{used:?} of {waited:?}");
}

// The kernel lock belongs to the open file, of which a child that was forked meanwhile has a copy: the end of
// the parent's hold must not wait for the end of the child.
#[cfg(target_os = "linux")]
#[test]
fn a_table_is_free_after_its_holder_although_a_forked_child_goes_on() {
    use std::io::Read;
    let (_dir, path) = place();
    let guard = TableGuard::open(&path, PATIENCE).expect("the lock is free");
    let (mut reader, writer) = support::pipe().expect("the process may open files");
    let mut writer = Some(writer);
    let child = support::fork(|| {
        drop(writer.take());
        reader.read_to_end(&mut Vec::new()).is_ok()
    });
    drop(guard);
    drop(TableGuard::open(&path, Duration::ZERO).expect("the holder has released the table"));
    drop(writer);
    support::join(child, "the child lived until then");
}

// An operator asks which process makes all others wait.
#[cfg(all(target_os = "linux", not(rvlf_portable)))]
#[test]
fn the_process_that_has_locked_a_table_is_named() {
    let (_dir, path) = place();
    let guard = TableGuard::open(&path, PATIENCE).expect("the lock is free");
    let pids = |path: &Path| -> Vec<u32> {
        let found = rvlf::table::locked_by(path).expect("the table can be opened");
        found.iter().map(|process| process.pid.get()).collect()
    };
    assert_eq!(pids(&path), [std::process::id()]);
    drop(guard);
    assert!(pids(&path).is_empty());
}

// What a program logs of its own state.
#[test]
fn debug_output_names_the_table_and_the_entry() {
    let (_dir, path) = place();
    let guard = TableGuard::open(&path, PATIENCE).expect("the lock is free");
    let text = format!("{guard:?}");
    assert!(
        text.contains("table.json") && text.contains("entries: 0"),
        "{text}"
    );
    drop(guard);
    let held = Allocation::register(&path, &claim("a", "/a"), "1", PATIENCE);
    let held = held.expect("the table is empty");
    let text = format!("{held:?}");
    let id = held.writer_id().to_string();
    assert!(
        text.contains("\"a\"") && text.contains("table.json"),
        "{text}"
    );
    assert!(text.contains(&id), "{text}");
}

// ---------------------------------------------------------------- liveness

/// Systems other than Linux report neither the start of a process nor the boot.
#[cfg(all(target_os = "linux", not(rvlf_portable)))]
mod liveness {
    use super::*;
    use rvlf::record::Hostname;
    use rvlf::table::Liveness;

    fn liveness_after(path: &Path, change: impl FnOnce(&mut serde_json::Value)) -> Liveness {
        let json = fs::read(path).expect("the file exists");
        let mut json: serde_json::Value = serde_json::from_slice(&json).expect("the file is JSON");
        change(&mut json["allocations"][0]);
        fs::write(path, json.to_string()).expect("the disk has room");
        let seen = snapshot(path).expect("the file is a table");
        let [liveness] = seen.liveness.as_slice() else {
            panic!("there is one entry: {seen:?}")
        };
        *liveness
    }

    // A pid alone is no proof: by the time of the query it may belong to a web browser.
    #[test]
    fn liveness_is_exact_across_reused_pids_reboots_and_hosts() {
        let (_dir, path) = place();
        save(&path, |guard| {
            guard
                .register(&claim("a", "/a"), "1")
                .expect("the table is empty");
            assert_eq!(
                guard.liveness(),
                [Liveness::Alive],
                "the holder is this process"
            );
        });
        let entry = snapshot(&path).expect("the file is a table").table;
        let holder = entry.find("a").and_then(|entry| entry.holder.as_ref());
        let hostname = nix::unistd::gethostname().expect("the host has a name");
        let hostname =
            Hostname::truncated(std::os::unix::ffi::OsStrExt::as_bytes(hostname.as_os_str()));
        assert_eq!(
            holder.map(|holder| holder.hostname.clone()),
            Some(hostname.to_string())
        );
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id");
        let boot = boot.expect("the kernel has a boot id");
        let recorded = holder.and_then(|holder| holder.boot_id.as_deref());
        assert_eq!(
            recorded,
            Some(boot.trim_end()),
            "written as the kernel writes it, for other readers"
        );

        let pristine = fs::read(&path).expect("the file exists");
        let restored = |change: &dyn Fn(&mut serde_json::Value)| {
            fs::write(&path, &pristine).expect("the disk has room");
            liveness_after(&path, |entry| change(entry))
        };
        let reused = restored(&|entry| entry["holder"]["start_ticks"] = 1.into());
        assert_eq!(reused, Liveness::PidReused);
        let gone = restored(&|entry| entry["pid"] = 0x3fff_fff0.into());
        assert_eq!(gone, Liveness::ProcessGone);
        let container = restored(&|entry| entry["holder"]["pid_namespace"] = 1.into());
        assert_eq!(
            container,
            Liveness::Elsewhere,
            "pids of another namespace mean nothing here"
        );
        // A sandbox without /proc has the host name of the host, and pids of its own.
        let unknown = |hostname: &str| {
            restored(&|entry| {
                let holder = &mut entry["holder"];
                for field in ["boot_id", "pid_namespace"] {
                    holder.as_object_mut().map(|holder| holder.remove(field));
                }
                holder["hostname"] = hostname.into();
                holder["witness"] = serde_json::Value::Null;
            })
        };
        assert_eq!(unknown(&hostname.to_string()), Liveness::Elsewhere);
        assert_eq!(unknown("another"), Liveness::Elsewhere);
        let rebooted = restored(&|entry| {
            entry["holder"]["boot_id"] = "00000000-0000-4000-8000-000000000000".into();
        });
        assert!(
            matches!(rebooted, Liveness::BeforeBoot | Liveness::Elsewhere),
            "dead if only this machine writes here, otherwise unknown: {rebooted:?}"
        );
        let foreign =
            restored(&|entry| drop(entry.as_object_mut().map(|entry| entry.remove("holder"))));
        assert_eq!(foreign, Liveness::PidAlive);
        let none = restored(&|entry| entry["pid"] = 0.into());
        assert_eq!(none, Liveness::NoProcess);
    }
}

// An orchestrator registers what the process that it has started will write. The pid alone would keep
// the entry alive when another process has got the number.
#[cfg(all(target_os = "linux", not(rvlf_portable)))]
#[test]
fn an_entry_that_is_made_for_another_process_lives_and_dies_with_it() {
    use rvlf::table::Liveness;
    let (_dir, path) = place();
    let mut sleeper = std::process::Command::new("sleep");
    let mut sleeper = sleeper.arg("1000").spawn().expect("it can be executed");
    let holder = EntryHolder::of_process(sleeper.id()).expect("the process runs");
    save(&path, |guard| {
        let own = guard.register(&claim("own", "/own"), "own");
        own.expect("the scope is free");
        guard
            .register_for(&holder, &claim("other", "/other"), "other")
            .expect("the scope is free");
        guard
            .delegate("own", &claim("child", "/own/a"))
            .expect("the scope is free");
        let again = EntryHolder::of_process(sleeper.id()).expect("the process runs");
        guard
            .adopt_for(&again, "child", "child")
            .expect("it is a placeholder");
    });
    let liveness = || snapshot(&path).expect("the file is a table").liveness;
    assert_eq!(liveness(), [Liveness::Alive; 3]);
    sleeper.kill().expect("it is a child of this process");
    sleeper.wait().expect("it is a child of this process");
    assert_eq!(
        liveness(),
        [
            Liveness::Alive,
            Liveness::ProcessGone,
            Liveness::ProcessGone
        ]
    );
    let refused = EntryHolder::of_process(sleeper.id());
    assert!(
        matches!(refused, Err(TableError::NoProcess { .. })),
        "{refused:?}"
    );
    assert!(EntryHolder::of_process(0).is_err());
}

#[cfg(all(target_os = "linux", not(rvlf_portable)))]
mod witness {
    use super::*;
    use rvlf::table::Liveness;

    /// The liveness of each entry for a reader in another container.
    fn seen_from_elsewhere(path: &Path) -> Vec<Liveness> {
        let json = fs::read(path).expect("the file exists");
        let mut json: serde_json::Value = serde_json::from_slice(&json).expect("the file is JSON");
        let entries = json["allocations"].as_array_mut();
        for entry in entries.expect("the table has entries") {
            entry["holder"]["pid_namespace"] = 1.into();
        }
        fs::write(path, json.to_string()).expect("the disk has room");
        snapshot(path).expect("the file is a table").liveness
    }

    fn register(path: &Path, name: &str) -> Allocation {
        let claim = claim(name, &format!("/{name}"));
        Allocation::register(path, &claim, name, PATIENCE).expect("the scope is free")
    }

    /// Changes the witness of the first entry in the JSON. False, and the test is skipped, where there
    /// are no witnesses.
    fn change_witness(path: &Path, change: impl FnOnce(&mut serde_json::Value)) -> bool {
        let json = fs::read(path).expect("the file exists");
        let mut json: serde_json::Value = serde_json::from_slice(&json).expect("the file is JSON");
        let witness = &mut json["allocations"][0]["holder"]["witness"];
        if witness.is_null() {
            support::skip("the directory of temporary files is not local, or an overlay");
            return false;
        }
        change(witness);
        fs::write(path, json.to_string()).expect("the disk has room");
        true
    }

    fn change_number(witness: &mut serde_json::Value, name: &str) {
        let number = witness[name].as_u64().expect("a number");
        witness[name] = (number ^ 1).into();
    }

    // The kernel unlocks what a dead process had locked: an entry names exactly one such lock.
    #[test]
    fn a_lock_of_another_process_or_of_another_directory_is_no_witness() {
        let (_dir, path) = place();
        let _held = register(&path, "a");
        let pristine = fs::read(&path).expect("the file exists");
        for (name, expected) in [
            ("none", Liveness::Witnessed),
            ("offset", Liveness::WitnessEnded),
            ("inode", Liveness::Elsewhere),
            ("device", Liveness::Elsewhere),
        ] {
            fs::write(&path, &pristine).expect("the disk has room");
            let are_there = change_witness(&path, |witness| {
                if name != "none" {
                    change_number(witness, name);
                }
            });
            if !are_there {
                return;
            }
            assert_eq!(seen_from_elsewhere(&path), [expected], "changed: {name}");
        }
    }

    // A witness that outlives its entry is a leak, and one that ends before is a robbed holder.
    #[test]
    fn the_witness_of_an_allocation_is_open_as_long_as_the_allocation() {
        let (dir, path) = place();
        let opened = || descriptors_of(dir.path());
        let held = register(&path, "a");
        if !change_witness(&path, |_| ()) {
            return;
        }
        assert_eq!(opened(), 1);
        held.release().expect("it is held");
        assert_eq!(opened(), 0);
        drop(register(&path, "a"));
        assert_eq!(opened(), 0);
    }

    // A parent that has crashed leaves the parts that no child has adopted.
    #[test]
    fn a_placeholder_has_the_witness_of_the_entry_that_delegated_it() {
        let (_dir, path) = place();
        let held = register(&path, "a");
        held.delegate(&claim("child", "/a/b"), PATIENCE)
            .expect("the part is held");
        if change_witness(&path, |_| ()) {
            assert_eq!(seen_from_elsewhere(&path), [Liveness::Witnessed; 2]);
        }
    }

    // A program may execute another one under its entry: the kernel would unlock the byte.
    #[test]
    fn an_entry_that_is_made_with_a_guard_has_no_witness() {
        let (_dir, path) = place();
        save(&path, |guard| {
            let registered = guard.register(&claim("a", "/a"), "s");
            registered.expect("the scope is free");
        });
        assert_eq!(seen_from_elsewhere(&path), [Liveness::Elsewhere]);
    }

    // "wait until that entry is released": nothing would ever release it.
    #[test]
    fn a_refusal_names_the_way_out_where_no_process_can_see_whether_the_holder_lives() {
        let (_dir, path) = place();
        save(&path, |guard| {
            let registered = guard.register(&claim("a", "/a"), "s");
            registered.expect("the scope is free");
        });
        let register = |name: &str, path: &Path, scope: &str, segment: &str| {
            let outcome = Allocation::register(path, &claim(name, scope), segment, PATIENCE);
            outcome.expect_err("the entry is in the way").to_string()
        };
        let seen_here = register("a", &path, "/b", "t");
        assert!(
            seen_here.contains("wait until that entry is released"),
            "{seen_here}"
        );
        assert_eq!(seen_from_elsewhere(&path), [Liveness::Elsewhere]);
        for (name, scope, segment) in [("a", "/b", "t"), ("b", "/a", "t"), ("b", "/b", "s")] {
            let refusal = register(name, &path, scope, segment);
            let release = format!("`rvlf table --table {} release a`", path.display());
            let advice = format!("cannot be checked from here; if that process is dead, {release}");
            assert!(refusal.contains(&advice), "{refusal}");
        }
    }

    #[test]
    fn unknown_fields_of_a_witness_survive_a_save() {
        let (_dir, path) = place();
        let _held = register(&path, "a");
        if !change_witness(&path, |witness| witness["since"] = 7.into()) {
            return;
        }
        let _other = register(&path, "b");
        change_witness(&path, |witness| assert_eq!(witness["since"], 7));
    }
}

#[test]
fn dead_entries_are_removed_by_the_next_operation() {
    let (_dir, path) = place();
    fs::write(&path, YOI.replace("4121", "0")).expect("the disk has room");
    save(&path, |guard| {
        guard
            .register(&claim("new", "/home/u/project"), "1")
            .expect("dead processes hold nothing");
        assert_eq!(guard.table().entries.len(), 1);
    });
}

fn names_of(table: &Table) -> Vec<String> {
    table
        .entries
        .iter()
        .map(|entry| entry.name.clone())
        .collect()
}

/// Makes the entries dead, but for the `spared` first ones.
fn end_holders(guard: &mut TableGuard, spared: usize) {
    for entry in guard.table_mut().entries.iter_mut().skip(spared) {
        entry.pid = 0;
    }
}

/// A table of "own", held by this process, and of dead entries with these names.
fn with_dead(path: &Path, names: &[&str]) -> TableGuard {
    let mut guard = TableGuard::open(path, PATIENCE).expect("no process holds the table for long");
    for name in ["own"].iter().chain(names) {
        let claim = claim(name, &format!("/{name}"));
        guard.register(&claim, name).expect("the scope is free");
    }
    end_holders(&mut guard, 1);
    guard
}

// The dead entry may be the one to change: its process is gone, and an operator repairs the table.
#[test]
fn a_change_of_a_dead_entry_reclaims_all_other_dead_ones() {
    let (_dir, path) = place();
    let mut guard = with_dead(&path, &["changed", "other"]);
    guard
        .update_segment("changed", "new")
        .expect("the entry is still there");
    assert_eq!(names_of(guard.table()), ["own", "changed"]);
}

// A parent has died after it delegated a part to a child that it had not started yet.
#[test]
fn an_adoption_reclaims_all_dead_entries_but_the_placeholder() {
    let (_dir, path) = place();
    let mut guard = with_dead(&path, &["other"]);
    guard
        .delegate("own", &claim("child", "/own/a"))
        .expect("the part is the parent's");
    guard
        .delegate("own", &claim("unadopted", "/own/b"))
        .expect("the part is the parent's");
    end_holders(&mut guard, 0);
    let adopter = EntryHolder::of_process(std::process::id()).expect("the process runs");
    guard
        .adopt_for(&adopter, "child", "1")
        .expect("the placeholder is still there");
    assert_eq!(names_of(guard.table()), ["child"]);

    // An entry that its process has left is not adopted in its place.
    let mut guard = with_dead(&path.with_file_name("second.json"), &["child"]);
    let refused = guard.adopt_for(&adopter, "child", "1");
    assert!(
        matches!(refused, Err(TableError::UnknownName { .. })),
        "{refused:?}"
    );
}

// A parent that had crashed could not reclaim what the dead child of a dead child held.
#[test]
fn dead_entries_do_not_hinder_a_reclaim() {
    let (_dir, path) = place();
    let whole = claim("top", "/src").deny(ScopeRule::write("/src/core"));
    let top = Allocation::register(&path, &whole, "s-top", PATIENCE).expect("the lock is free");
    save(&path, |guard| {
        for (name, path) in [("child", "/src/core/a"), ("grandchild", "/src/core/b")] {
            guard
                .register(&claim(name, path), name)
                .expect("the scope is excluded from top's");
        }
        end_holders(guard, 1);
    });
    top.reclaim("child", &[ScopeRule::write("/src/core")], PATIENCE)
        .expect("no live process holds the scope");
    assert_eq!(names(&path), ["top"]);
}

// ---------------------------------------------------------------- the handle

fn names(path: &Path) -> Vec<String> {
    names_of(&snapshot(path).expect("the file is a table").table)
}

#[test]
fn an_allocation_is_released_when_it_is_dropped() {
    let (_dir, path) = place();
    let parent = Allocation::register(&path, &claim("parent", "/data"), "1", PATIENCE)
        .expect("the table is empty");
    parent.check().expect("the allocation is held");
    parent
        .delegate(&claim("child", "/data/a"), PATIENCE)
        .expect("the part is the parent's");
    let child = Allocation::adopt(&path, "child", "2", PATIENCE).expect("the part was delegated");
    assert_ne!(child.writer_id(), parent.writer_id());
    child
        .update_segment("3", PATIENCE)
        .expect("no process writes that segment");
    assert_eq!(names(&path), ["parent", "child"]);
    drop(child);
    assert_eq!(names(&path), ["parent"]);
    parent
        .delegate(&claim("child", "/data/a"), PATIENCE)
        .expect("the part is the parent's again");
    parent
        .reclaim("child", &[], PATIENCE)
        .expect("no process has adopted the part");
    parent.release().expect("the allocation is held");
    assert!(names(&path).is_empty());
}

// A byte stays locked while a placeholder names it. If it stayed for longer, a daemon that delegates and releases
// would have no descriptor left in the end.
#[cfg(target_os = "linux")]
#[test]
fn what_an_allocation_keeps_open_for_its_placeholders_is_closed_after_their_adoption() {
    let (dir, path) = place();
    let register = |name, scope| Allocation::register(&path, &claim(name, scope), name, PATIENCE);
    for _ in 0..3 {
        let parent = register("parent", "/data").expect("the scope is free");
        let part = parent.delegate(&claim("child", "/data/a"), PATIENCE);
        part.expect("the part is the parent's");
        parent.release().expect("it is held");
        let json = fs::read_to_string(&path).expect("the table exists");
        let kept = usize::from(json.contains("\"witness\""));
        assert_eq!(descriptors_of(dir.path()), kept, "the placeholder names it");
        let child = Allocation::adopt(&path, "child", "2", PATIENCE);
        child
            .expect("the part was delegated")
            .release()
            .expect("it is held");
        assert_eq!(descriptors_of(dir.path()), 0, "no placeholder is left");
    }
}

// P's entry has lost its holder to the older program. Thread A was in P.delegate, had kept the byte, and waited for the
// table. Thread B changed the table, read no entry that names the byte, and forgot it. Then A saved the placeholder, and
// after P's release other containers saw its maker dead.
#[cfg(target_os = "linux")]
#[test]
fn a_placeholder_keeps_its_witness_although_another_thread_changes_the_table_first() {
    for _ in 0..20 {
        let (dir, path) = place();
        let register = |name: &str| {
            let claim = claim(name, &format!("/{name}"));
            Allocation::register(&path, &claim, name, PATIENCE).expect("the scope is free")
        };
        let (parent, other) = (register("parent"), register("other"));
        if descriptors_of(dir.path()) == 0 {
            return support::skip("the directory of temporary files is not local, or an overlay");
        }
        save_without_holders(&path);
        let guard = TableGuard::open(&path, PATIENCE).expect("the lock is free");
        std::thread::scope(|scope| {
            let delegating =
                scope.spawn(|| parent.delegate(&claim("child", "/parent/a"), PATIENCE));
            let changing = scope.spawn(|| other.update_segment("2", PATIENCE));
            until("both wait with the file open", || {
                descriptors_of(&path) >= 3
            });
            drop(guard);
            for ended in [delegating.join(), changing.join()] {
                ended.expect("no panic").expect("the entry is held");
            }
        });
        parent.release().expect("it is held");
        assert_eq!(
            descriptors_of(dir.path()),
            2,
            "the placeholder names a byte"
        );
    }
}

// The register waited for the table; meanwhile another thread changed the working directory. The entry was in the right
// table, and `check` and `release` looked for it in another one: the entry stayed until the process ended.
#[cfg(target_os = "linux")]
fn registers_by_a_relative_path() {
    let dir = std::path::PathBuf::from(support::arg("DIR"));
    let path = dir.join("table.json");
    std::env::set_current_dir(&dir).expect("it is there");
    let guard = TableGuard::open(&path, PATIENCE).expect("the lock is free");
    std::thread::scope(|scope| {
        let waiting =
            scope.spawn(|| Allocation::register("table.json", &claim("a", "/a"), "1", PATIENCE));
        until("it waits with the file open", || descriptors_of(&path) >= 2);
        std::env::set_current_dir("/").expect("every user may");
        drop(guard);
        let held = waiting
            .join()
            .expect("no panic")
            .expect("the table is empty");
        assert_eq!(held.table_path(), path);
        held.check().expect("the entry is held");
        held.release().expect("the entry is held");
    });
    assert_eq!(names(&path), [""; 0]);
    support::report("done");
}

#[cfg(target_os = "linux")]
#[test]
fn an_allocation_finds_its_entry_although_the_working_directory_changes_while_it_waits() {
    let (dir, _) = place();
    let dir = dir.path().canonicalize().expect("it is there");
    let role = support::Role::new("registers by a relative path").with("DIR", &dir);
    assert_eq!(role.start().receive(), "done");
}

#[test]
fn a_lost_allocation_is_reported_and_changes_nothing() {
    let (_dir, path) = place();
    let first =
        Allocation::register(&path, &claim("a", "/a"), "1", PATIENCE).expect("the table is empty");
    save(&path, |guard| {
        drop(guard.release("a").expect("the file exists"))
    });
    assert!(matches!(
        first.check(),
        Err(TableError::Lost { held_by: None, .. })
    ));

    // The same name, but another hold.
    let second = Allocation::register(&path, &claim("a", "/a"), "1", PATIENCE)
        .expect("the first one was released");
    let pid = std::process::id();
    let lost = first.check().expect_err("the entry is the second's");
    assert!(
        matches!(lost, TableError::Lost { held_by: Some(by), .. } if by == pid),
        "{lost:?}"
    );
    assert!(matches!(
        first.update_segment("2", PATIENCE),
        Err(TableError::Lost { .. })
    ));
    let error = first.release().expect_err("the allocation is lost");
    assert!(matches!(error.error, TableError::Lost { .. }), "{error:?}");
    drop(error);
    second.check().expect("the second allocation is unchanged");
}

// A program that ended put back the directory that an operator had removed, with its own user and mode 0700: the
// service to which the directory belonged could not use it.
#[test]
fn no_operation_of_an_allocation_puts_back_a_table_that_was_removed() {
    let (dir, _) = place();
    let within = dir.path().join("app");
    let path = within.join("table.json");
    let remove_file = || fs::remove_file(&path).expect("it is there");
    let remove_directory = || fs::remove_dir_all(&within).expect("it is there");
    for remove in [&remove_file as &dyn Fn(), &remove_directory] {
        let held = Allocation::register(&path, &claim("a", "/a"), "1", PATIENCE);
        let held = held.expect("the scope is free");
        remove();
        let is_lost = |outcome| matches!(outcome, Err(TableError::Lost { held_by: None, .. }));
        assert!(is_lost(held.check()));
        assert!(is_lost(held.update_segment("2", PATIENCE)));
        assert!(is_lost(held.delegate(&claim("b", "/a/b"), PATIENCE)));
        let failed = held.release().expect_err("there is no entry");
        assert!(is_lost(Err(failed.error)));
        drop(failed.allocation);
        assert!(!path.exists(), "no operation made a table");
    }
    assert!(!within.exists(), "no operation made the directory");
}

/// Saves the table as a program does that knows no fields but its own.
fn save_without_holders(path: &Path) {
    let json = fs::read(path).expect("the file exists");
    let mut json: serde_json::Value = serde_json::from_slice(&json).expect("the file is JSON");
    let entries = json["allocations"].as_array_mut();
    for entry in entries.expect("the table has entries") {
        entry.as_object_mut().map(|entry| entry.remove("holder"));
    }
    fs::write(path, json.to_string()).expect("the disk has room");
}

// Each save of the programs whose format this is drops `holder`. The live holder was told that it had
// lost its entry to itself, and could not release it.
#[test]
fn a_holder_recognises_its_entry_after_a_program_has_dropped_the_holder() {
    let (_dir, path) = place();
    let socket = claim("a", "/a").socket("/run/a");
    let held = Allocation::register(&path, &socket, "1", PATIENCE).expect("the table is empty");
    held.update_segment("2", PATIENCE).expect("it is free");
    let before = snapshot(&path).expect("the file is a table").table;

    save_without_holders(&path);
    held.check()
        .expect("the entry is unchanged but for its holder");
    held.delegate(&claim("child", "/a/b"), PATIENCE)
        .expect("the scope is held");
    let after = snapshot(&path).expect("the file is a table").table;
    assert_eq!(after.find("a"), before.find("a"), "the holder is back");

    save_without_holders(&path);
    held.release().expect("the entry is this process's");
    assert_eq!(names(&path), ["child"]);
}

// A full disk refused a change of the segment, and a program that drops `holder` saved next. The check of the
// live holder reported a loss: it compared the segment that was never saved.
#[test]
fn a_holder_recognises_its_entry_after_a_change_that_was_not_saved() {
    let (_dir, path) = place();
    let held = Allocation::register(&path, &claim("a", "/a"), "1", PATIENCE);
    let held = held.expect("the table is empty");
    let in_the_way = path.with_file_name(".table.json.rvlf-new");
    fs::create_dir(&in_the_way).expect("the disk has room");
    let refused = held.update_segment("2", PATIENCE);
    assert!(matches!(refused, Err(TableError::Io(_))), "{refused:?}");
    fs::remove_dir(&in_the_way).expect("it is empty");

    save_without_holders(&path);
    held.check()
        .expect("the entry is unchanged but for its holder");
    held.release().expect("the entry is this process's");
}

// Another process's entry of the same name looks like one's own but for what it says.
#[test]
fn an_entry_that_differs_in_more_than_the_holder_is_not_recognised() {
    let change = |field: &str, value: serde_json::Value| {
        let (_dir, path) = place();
        let held = Allocation::register(&path, &claim("a", "/a"), "1", PATIENCE);
        let held = held.expect("the table is empty");
        save_without_holders(&path);
        let json = fs::read(&path).expect("the file exists");
        let mut json: serde_json::Value = serde_json::from_slice(&json).expect("it is JSON");
        json["allocations"][0][field] = value;
        fs::write(&path, json.to_string()).expect("the disk has room");
        let outcome = held.check();
        assert!(
            matches!(outcome, Err(TableError::Lost { .. })),
            "{field}: {outcome:?}"
        );
    };
    change("pid", 1.into());
    change("segment_id", "2".into());
    change("socket", "/run/other".into());
    let scope = serde_json::json!([{"target": "/b", "permission": "write", "recursive": true}]);
    change("scope_allow", scope);
}

#[test]
fn what_keeps_other_programs_from_reading_a_table_is_reported() {
    let (_dir, path) = place();
    fs::write(&path, YOI.replace("4121", "1")).expect("the disk has room");
    save(&path, |guard| {
        assert_eq!(guard.table().compatibility_problems(), []);
        let segment = rvlf::table::new_segment().expect("the system has random bytes");
        let new = guard.register(&claim("new", "/new"), &segment);
        new.expect("the scope is free");
        assert_eq!(guard.table().compatibility_problems(), []);
        guard
            .register(&claim("other", "/other"), "segment-1")
            .expect("any text is a segment");
        let found = guard.table().compatibility_problems();
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        let expected = "entry \"other\" writes segment \"segment-1\", which is not a UUID: yoi cannot \
                        read this table";
        assert_eq!(found, [expected]);
    });
    let mixed = YOI.replacen("pod_name", "worker_name", 1);
    let table = Table::parse(mixed.as_bytes()).expect("either field is a name");
    let found = format!("{:?}", table.compatibility_problems());
    assert!(found.contains("TwoNameFields"), "{found}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_forked_child_does_not_release_its_parents_allocation() {
    let (_dir, path) = place();
    let held =
        Allocation::register(&path, &claim("a", "/a"), "1", PATIENCE).expect("the table is empty");
    let mut copied = Some(held);
    assert!(
        succeeds_in_fork(|| {
            let copy = copied.take().expect("the child has a copy");
            matches!(copy.check(), Err(TableError::Forked { .. }))
        }),
        "the child has a copy, not the allocation"
    );
    copied
        .expect("the child took its copy")
        .check()
        .expect("the child's drop released nothing");
}

#[test]
fn public_types_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + std::fmt::Debug>() {}
    shared::<Allocation>();
    shared::<TableGuard>();
    shared::<TableError>();
    shared::<Table>();
    shared::<(Claim, ScopeRule, rvlf::table::Liveness)>();
    shared::<(rvlf::table::EntryHolder, rvlf::table::CompatibilityProblem)>();
}
