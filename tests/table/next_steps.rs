//! The next step that an error names: that it leads on.
//!
//! The failure: a person did what an error said, and got the same error again; or waited for what never came.
#![cfg(target_os = "linux")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rvlf::table::{Allocation, EntryHolder, ScopeRule, TableError, TableGuard, snapshot};
use support::PATIENCE;
use support::table::{claim, place};

pub const ROLES: &[support::RoleEntry] =
    &[("saves a table as another user", saves_as_another_user)];

fn refusal<T: std::fmt::Debug>(outcome: Result<T, TableError>) -> String {
    outcome.expect_err("it is refused").to_string()
}

fn verb(path: &Path, verb: &str) -> String {
    format!("`rvlf table --table {} {verb}`", path.display())
}

// P delegates a part, releases its own entry and registers again: it is refused by its own placeholder, which no
// process releases. The error said to wait for that.
#[test]
fn a_process_that_its_own_placeholder_refuses_learns_how_to_take_it_back() {
    let (_dir, path) = place();
    let register = || Allocation::register(&path, &claim("p", "/a"), "s", PATIENCE);
    let orphan = || {
        let p = register().expect("the scope is free");
        let delegated = p.delegate(&claim("child", "/a/x"), PATIENCE);
        delegated.expect("it is its own");
        p.release().expect("the entry is held");
    };
    let change = |change: &dyn Fn(&mut TableGuard)| {
        let mut guard = TableGuard::open(&path, PATIENCE).expect("the lock is free");
        change(&mut guard);
        guard.save().expect("the disk has room");
    };
    orphan();
    let error = refusal(register());
    assert!(
        error.contains("no process will adopt this placeholder"),
        "{error}"
    );
    assert!(error.contains("reclaim_delegated"), "{error}");
    assert!(
        error.contains(&verb(&path, "release --force child")),
        "{error}"
    );
    let same_name = Allocation::register(&path, &claim("child", "/b"), "t", PATIENCE);
    let error = refusal(same_name);
    assert!(
        error.contains(&verb(&path, "release --force child")),
        "{error}"
    );

    change(&|guard| {
        let taken_back = guard.reclaim_delegated("p", "child", &[ScopeRule::write("/a/x")]);
        taken_back.expect("p has delegated it");
    });
    let again = register().expect("the placeholder is gone");
    again.release().expect("the entry is held");
    orphan();
    change(&|guard| drop(guard.release("child").expect("it is there")));
    let again = register().expect("the placeholder is gone");
    again.release().expect("the entry is held");
}

// A process of a program that writes no `holder` has ended, and another one has its pid. The error named no process, and
// said to wait for a release that never comes.
#[test]
fn a_conflict_names_the_process_and_a_way_out_where_the_pid_may_have_been_reused() {
    let (_dir, path) = place();
    let pid = std::process::id();
    let mut guard = TableGuard::open(&path, PATIENCE).expect("the lock is free");
    let added = guard.register_for(&EntryHolder::from_pid(pid), &claim("old", "/a"), "s");
    added.expect("the scope is free");
    guard.save().expect("the disk has room");
    drop(guard);
    for (name, scope, segment) in [("old", "/b", "t"), ("new", "/a/b", "t"), ("new", "/b", "s")] {
        let outcome = Allocation::register(&path, &claim(name, scope), segment, PATIENCE);
        let error = refusal(outcome);
        let known = format!("if pid {pid} is another process by now, ");
        let way_out = known + &verb(&path, "release --force old");
        assert!(error.contains(&way_out), "{error}");
        assert!(
            error.contains(": a process with its pid is alive"),
            "{error}"
        );
    }
    let held = Allocation::register(&path, &claim("a", "/c"), "u", PATIENCE);
    let held = held.expect("the scope is free");
    let error = refusal(Allocation::register(
        &path,
        &claim("b", "/c/d"),
        "v",
        PATIENCE,
    ));
    let expected =
        format!("entry \"a\" (pid {pid}), which holds write /c/**: its process is alive; wait");
    assert!(error.contains(&expected), "{error}");
    held.release().expect("the entry is held");
}

// The directory of the table is a file, or a link to a disk that is not mounted. The error was "File exists", of the
// table; and a reader took the table for empty.
#[test]
fn what_is_in_the_place_of_a_directory_is_named() {
    let (dir, path) = place();
    let (file, link) = (dir.path().join("file"), dir.path().join("link"));
    fs::write(&file, "").expect("the disk has room");
    symlink("nowhere", &link).expect("the disk has room");
    for (culprit, step) in [
        (&file, "move it away"),
        (&link, "make the directory that it names"),
    ] {
        for table in [culprit.join("table.json"), culprit.join("d/table.json")] {
            let expected = format!("{}: could not open the directory: ", culprit.display());
            let errors = [
                refusal(TableGuard::open(&table, PATIENCE)),
                refusal(snapshot(&table)),
            ];
            for error in errors {
                assert!(
                    error.starts_with(&expected) && error.contains(step),
                    "{error}"
                );
            }
        }
    }
    fs::create_dir(dir.path().join("nowhere")).expect("the disk has room");
    fs::remove_file(&file).expect("it exists");
    for above in [&file, &link] {
        drop(
            TableGuard::open(above.join("d/table.json"), PATIENCE).expect("nothing is in the way"),
        );
    }
    assert!(!path.exists());
}

// The disk with the table is not mounted for a moment. The holder was told that its entry was removed, and stopped.
#[test]
fn a_holder_whose_directory_is_a_link_that_leads_nowhere_has_not_lost_its_entry() {
    let (dir, _) = place();
    let (disk, link) = (dir.path().join("disk"), dir.path().join("link"));
    fs::create_dir(&disk).expect("the disk has room");
    symlink(&disk, &link).expect("the disk has room");
    let held = Allocation::register(link.join("t"), &claim("a", "/a"), "s", PATIENCE);
    let held = held.expect("the table is empty");
    let away = dir.path().join("away");
    fs::rename(&disk, &away).expect("both are in one directory");
    assert!(matches!(held.check(), Err(TableError::Io(_))));
    fs::rename(&away, &disk).expect("both are in one directory");
    held.check().expect("the entry is there");
    held.release().expect("the entry is held");
}

/// The group of the table, of which the other user is no member.
const GROUP: u32 = 2345;

/// Files are accessed as the user and with the group 65534.
fn saves_as_another_user() {
    let path = PathBuf::from(std::env::var_os("TABLE").expect("the test sets it"));
    nix::unistd::setgroups(&[]).expect("root may leave its groups");
    nix::unistd::setfsgid(nix::unistd::Gid::from_raw(65534));
    nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65534));
    let saved = TableGuard::open(path, PATIENCE).and_then(|mut guard| guard.save());
    support::report(match saved {
        Ok(()) => "saved".to_owned(),
        Err(error) => error.to_string(),
    });
}

// A table that every user may write, of a group that one of them is not in. The error sent that user to the
// permissions of the file and of its directory, which permitted the save.
#[test]
fn a_save_that_cannot_keep_the_group_names_it() {
    if !nix::unistd::geteuid().is_root() {
        return support::skip("only root can act as another user");
    }
    let (dir, path) = place();
    fs::write(&path, "").expect("the disk has room");
    std::os::unix::fs::chown(&path, Some(1234), Some(GROUP)).expect("root may change the owner");
    let permit = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
    permit(&path, 0o666).expect("root may change the mode");
    permit(dir.path(), 0o777).expect("root may change the mode");
    let save = || {
        let mut command = support::Role::new("saves a table as another user").into_command();
        command.env("TABLE", &path);
        support::Role::from(command).start().receive()
    };
    let error = save();
    let expected = format!("group {GROUP}; join that group, or change the group of the file");
    assert!(error.contains(&expected), "{error}");
    std::os::unix::fs::chown(&path, None, Some(65534)).expect("root may change the group");
    assert_eq!(save(), "saved");
}

/// A home directory, and what [`default_path`](rvlf::table::default_path) answers there.
struct Login {
    _dir: tempfile::TempDir,
    home: PathBuf,
    runtime: PathBuf,
}

impl Login {
    fn new() -> Login {
        let (dir, _) = place();
        let (home, runtime) = (dir.path().join("home"), dir.path().join("run"));
        fs::create_dir_all(runtime.join("rvlf")).expect("the disk has room");
        Login {
            _dir: dir,
            home,
            runtime,
        }
    }

    fn old(&self) -> PathBuf {
        self.runtime.join("rvlf/table.json")
    }

    fn new_default(&self) -> String {
        let path = self.home.join(".local/state/rvlf/table.json");
        path.display().to_string()
    }

    fn default_path(&self) -> String {
        let mut command = support::Role::new("prints the default path").into_command();
        command
            .env("XDG_RUNTIME_DIR", &self.runtime)
            .env("HOME", &self.home)
            .env_remove("XDG_STATE_HOME")
            .env_remove("RVLF_TABLE");
        support::Role::from(command).start().receive()
    }
}

// The old default has an entry of another host. Every verb without --table was refused alike, and the process that was to
// be ended was not known.
#[test]
fn an_entry_of_another_host_in_the_old_default_is_released_by_the_command_that_the_error_names() {
    let login = Login::new();
    let table = r#"{"allocations": [{"pod_name": "a", "pid": 7, "scope_allow": [], "segment_id": "s",
        "holder": {"hostname": "another", "pid_namespace": 1, "start_ticks": 5,
        "writer_id": "6ba7b810-9dad-41d1-80b4-00c04fd430c8"}}]}"#;
    fs::write(login.old(), table).expect("the disk has room");
    let error = login.default_path();
    let way_out = format!(
        "if that process is dead, {}",
        verb(&login.old(), "release a")
    );
    assert!(error.contains(&way_out), "{error}");
    let mut guard = TableGuard::open(login.old(), PATIENCE).expect("the lock is free");
    guard.release("a").expect("it is there");
    guard.save().expect("the disk has room");
    assert_eq!(login.default_path(), login.new_default());
}

// Both defaults were one file, by a link. The default was refused because of an entry "in this table and not in" itself.
#[test]
fn a_default_that_is_the_old_one_by_another_path_is_not_refused() {
    let login = Login::new();
    let state = login.home.join(".local/state");
    fs::create_dir_all(login.home.join(".local")).expect("the disk has room");
    symlink(&login.runtime, state).expect("the disk has room");
    let held = Allocation::register(login.old(), &claim("a", "/a"), "s", PATIENCE);
    let held = held.expect("the table is empty");
    assert_eq!(login.default_path(), login.new_default());
    held.release().expect("the entry is held");
}

// The error named a file that the user had never heard of, and advised to choose another path for it.
#[test]
fn an_old_default_that_is_no_table_is_said_to_be_the_old_default() {
    let login = Login::new();
    let old = login.old();
    let expected = format!("move it away, and {} is used", login.new_default());
    let refused = |cause: &str| {
        let error = login.default_path();
        let subject = error.starts_with(&old.display().to_string());
        assert!(subject && error.contains(cause), "{error}");
        assert!(
            error.contains("earlier versions used this table by default"),
            "{error}"
        );
        assert!(error.contains(&expected), "{error}");
        assert!(!error.contains("choose another path"), "{error}");
        let away = old.with_file_name(cause);
        fs::rename(&old, &away).expect("both are in one directory");
        assert_eq!(login.default_path(), login.new_default());
    };
    fs::write(&old, "{\"alloc").expect("the disk has room");
    refused("not an allocation table");
    fs::create_dir(&old).expect("the disk has room");
    refused("not a regular file");
    symlink("nowhere", &old).expect("the disk has room");
    refused("a symbolic link");
}

// A login whose XDG_RUNTIME_DIR leads nowhere has no table there.
#[test]
fn a_link_that_leads_nowhere_in_place_of_the_old_directory_has_no_table() {
    let login = Login::new();
    fs::remove_dir_all(&login.runtime).expect("no process uses it");
    symlink("nowhere", &login.runtime).expect("the disk has room");
    assert_eq!(login.default_path(), login.new_default());
}
