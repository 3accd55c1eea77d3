//! `rvlf scan`: which files it lists, which it removes, and directories that it cannot read.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use snapbox::str;

use crate::support::{
    Directory, Holder, LONG_AGO, STUBBORN, assert_reads, finish, run_as_ordinary_user,
};

const LEFTOVER: &str = "a/.rvlf-0123456789abcdef";
const YOUNG: &str = "a/.rvlf-1123456789abcdef";
const FOREIGN: &str = "a/.rvlf-2123456789abcdef";

/// Two locks, files that only look like locks or leftovers, and a link that leads in a circle.
fn populated() -> (Directory, Holder) {
    let dir = Directory::new();
    fs::create_dir_all(dir.join("a/b")).expect("the directory is writable");
    fs::create_dir(dir.join("other")).expect("the directory is writable");
    dir.plant("a/b/stale.rvf.lock", b"elsewhere", LONG_AGO);
    dir.write("a/yarn.lock", "# yarn lockfile v1\n");
    dir.write("a/empty.lock", "");
    dir.write("a/..lock", "FLVR");
    std::os::unix::fs::symlink(dir.join("a/b"), dir.join("other/link")).expect("links exist");

    dir.plant(LEFTOVER, b"elsewhere", LONG_AGO);
    dir.plant(YOUNG, b"elsewhere", LONG_AGO);
    dir.write(FOREIGN, "not a record");
    dir.age(LEFTOVER, Duration::from_secs(120));
    dir.age(FOREIGN, Duration::from_secs(120));
    let holder = Holder::start(&dir);
    (dir, holder)
}

fn names_in_a(dir: &Directory) -> Vec<OsString> {
    let entries = fs::read_dir(dir.join("a")).expect("the directory is readable");
    let names = entries.map(|entry| entry.expect("the directory is readable").file_name());
    let mut names: Vec<OsString> = names.collect();
    names.sort_unstable();
    names
}

#[test]
fn scan_lists_every_lock_and_removes_nothing() {
    let (dir, holder) = populated();
    let before = names_in_a(&dir);
    let scanned = dir.rvlf(&["scan", "."]);
    let message = &scanned.stderr;
    assert_eq!(scanned.code(), 3, "one is stale, one is held: {message}");
    assert!(message.contains("skipped 1 empty *.lock file"), "{message}");
    assert_reads(
        scanned.stdout,
        str![[r#"
./d.rvf: held by pid [..] on [..] for [..] s: the kernel reports that a process holds it
./a/b/stale.rvf: left behind by pid 1073741822 on elsewhere, last refreshed [..] ago: it names another host: only its age decides

"#]],
    );
    assert_eq!(
        names_in_a(&dir),
        before,
        "without --clean no file is removed"
    );
    holder.end();
}

// Years of crashes have left files all over a disk. The clean-up must not remove a lock, nor the
// file of a breaker that still runs, nor another program's file.
#[test]
fn scan_cleans_only_old_leftovers() {
    let (dir, holder) = populated();
    let mut expected = names_in_a(&dir);
    let scanned = dir.rvlf(&["scan", "--json", "--clean", "."]);
    assert_eq!(scanned.json_lines().len(), 2, "{}", scanned.stdout);
    let message = &scanned.stderr;
    assert!(
        message.contains("removed 1 leftover .rvlf-* file"),
        "{message}"
    );
    expected.retain(|name| name != ".rvlf-0123456789abcdef");
    assert_eq!(
        names_in_a(&dir),
        expected,
        "the old leftover alone is removed"
    );
    assert!(
        dir.join("a/b/stale.rvf.lock").exists(),
        "a stale lock is not a leftover"
    );
    holder.end();
}

// One unreadable directory must not end the search.
#[test]
fn scan_continues_after_a_directory_that_it_cannot_read() {
    let dir = Directory::new();
    fs::create_dir(dir.join("closed")).expect("the directory is writable");
    fs::create_dir(dir.join("open")).expect("the directory is writable");
    dir.plant("open/d.lock", b"elsewhere", LONG_AGO);
    dir.plant("open/private.lock", b"elsewhere", LONG_AGO);
    let set_mode = |name: &str, mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(dir.join(name), mode).expect("the directory has our uid");
    };
    // Whatever the umask is.
    set_mode("", 0o755);
    set_mode("open", 0o755);
    set_mode("open/d.lock", 0o644);
    set_mode("open/private.lock", 0);
    set_mode("closed", 0);
    let mut command = dir.command(["scan", "."]);
    if !run_as_ordinary_user(&mut command) {
        return;
    }
    let scanned = finish(command);
    set_mode("closed", 0o755);
    let message = &scanned.stderr;
    assert_eq!(scanned.code(), 5, "{message}");
    for part in [
        "./closed: cannot inspect: Permission denied (os error 13); scan as a user who may read it",
        "skipped 1 *.lock file without read permission; scan as a user who may read them",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let found = "./open/d: left behind";
    assert!(scanned.stdout.contains(found), "{}", scanned.stdout);
}

// An operator who asks which locks are held does not know where the data files are. lslocks(8) shows only
// `#123 (deleted)` for them.
#[test]
#[cfg(target_os = "linux")]
fn scan_without_a_directory_finds_the_locks_of_living_processes() {
    let dir = Directory::new();
    let holder = Holder::start(&dir);
    dir.plant("stale.lock", b"elsewhere", LONG_AGO);
    dir.write("other.lock", "");
    let other = fs::File::open(dir.join("other.lock")).expect("it was just written");
    ::support::try_lock(&other).expect("no process has locked it");

    let scanned = dir.rvlf(&["scan"]);
    let (shown, path) = (&scanned.stdout, dir.path().display());
    let line = shown
        .lines()
        .find(|line| line.starts_with(&format!("{path}/d.rvf: ")));
    let line = line.unwrap_or_else(|| panic!("{shown}{}", scanned.stderr));
    let held_by = format!("held by pid {} (rvlf) on ", holder.rvlf_pid());
    assert!(line.contains(&held_by), "{line}");
    let of_this_test = shown.matches(&path.to_string()).count();
    assert_eq!(
        of_this_test, 1,
        "neither the stale lock nor that of another program: {shown}"
    );

    let moved = dir.path().with_extension("moved");
    fs::rename(dir.path(), &moved).expect("the directory above is writable");
    let scanned = finish(moved_command(&moved));
    fs::rename(&moved, dir.path()).expect("the directory above is writable");
    let line = format!("{}/d.rvf: held by ", moved.display());
    assert!(
        scanned.stdout.contains(&line),
        "{}{}",
        scanned.stdout,
        scanned.stderr
    );
    holder.end();
}

#[cfg(target_os = "linux")]
fn moved_command(directory: &std::path::Path) -> std::process::Command {
    let mut command = std::process::Command::new(crate::support::RVLF);
    command.arg("scan").current_dir(directory);
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    command
}

// The holder has ended; its child has the lock and no descriptor of the directory.
#[test]
#[cfg(target_os = "linux")]
fn scan_finds_a_lock_that_was_left_to_a_child() {
    let dir = Directory::new();
    let mut holder = Holder::running(&dir, &[], &STUBBORN);
    let input = holder.take_input();
    holder.kill_rvlf();
    let scanned = dir.rvlf(&["scan"]);
    let line = format!("{}/d.rvf: held by ", dir.path().display());
    assert!(
        scanned.stdout.contains(&line),
        "{}{}",
        scanned.stdout,
        scanned.stderr
    );
    assert!(scanned.stdout.contains("(sh)"), "{}", scanned.stdout);
    drop(input);
}

// Without the message, an ordinary user takes the locks of other users for free.
#[test]
#[cfg(target_os = "linux")]
fn scan_says_that_it_may_not_examine_the_processes_of_other_users() {
    if !nix::unistd::geteuid().is_root() {
        return crate::support::skip("only root can hold a lock as one user and scan as another");
    }
    let dir = Directory::new();
    let holder = Holder::start(&dir);
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(dir.path(), mode).expect("root may do that");
    let mut command = dir.command(["scan"]);
    if run_as_ordinary_user(&mut command) {
        let scanned = finish(command);
        let path = dir.path().display().to_string();
        assert!(!scanned.stdout.contains(&path), "{}", scanned.stdout);
        let message = "that this user may not examine; to see all locks, scan as root";
        assert!(scanned.stderr.contains(message), "{}", scanned.stderr);
    }
    holder.end();
}

#[test]
fn scan_cleans_no_unnamed_directory() {
    let output = Directory::new().rvlf(&["scan", "--clean"]);
    assert_eq!(output.code(), 2, "{}", output.stderr);
}

// A typing error sent an operator to the disk.
#[test]
fn scan_says_what_to_do_about_a_path_that_is_no_directory() {
    let dir = Directory::new();
    dir.write("afile", "");
    for (path, step) in [
        (
            "afile",
            "name a directory; for one data file: rvlf status DATA",
        ),
        ("nowhere", "check the path"),
    ] {
        let output = dir.rvlf(&["scan", path]);
        assert_eq!(output.code(), 5, "{path}");
        assert!(output.stderr.contains(step), "{path}: {}", output.stderr);
    }
}
