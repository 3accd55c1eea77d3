//! The next step that an error names: that it leads on.
//!
//! The failure: a person did what an error said, and got the same error again; or waited for what never came.
#![cfg(target_os = "linux")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rvlf::table::{Allocation, TableError, TableGuard, snapshot};
use support::PATIENCE;
use support::table::{claim, place};

pub const ROLES: &[support::RoleEntry] =
    &[("saves a table as another user", saves_as_another_user)];

fn refusal<T: std::fmt::Debug>(outcome: Result<T, TableError>) -> String {
    outcome.expect_err("it is refused").to_string()
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

// A login whose XDG_RUNTIME_DIR leads nowhere has no table there.
#[test]
fn a_link_that_leads_nowhere_in_place_of_the_old_directory_has_no_table() {
    let login = Login::new();
    fs::remove_dir_all(&login.runtime).expect("no process uses it");
    symlink("nowhere", &login.runtime).expect("the disk has room");
    assert_eq!(login.default_path(), login.new_default());
}
