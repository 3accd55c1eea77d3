//! Who has the kernel lock of a file whose record does not name a live process.
#![cfg(all(target_os = "linux", not(rvlf_portable), not(rvlf_unsupported)))]

use std::fs::{self, File};
use std::path::PathBuf;

use nix::mount::{MsFlags, mount};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rvlf::{LockFile, LockState, WriterLock, inspect, lock_path_for};
use support::{Container, Role, RoleEntry};

pub const ROLES: &[RoleEntry] = &[
    ("locks on an overlay", locks_on_an_overlay),
    ("looks as another user", looks_as_another_user),
];

/// How this process names the process `pid`, whose command is the name of its program.
fn named(pid: impl std::fmt::Display) -> String {
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).expect("the process runs");
    format!("pid {pid} ({})", comm.trim_end())
}

// The writer is dead and its child writes on. "By a child it forked, by a process in another container,
// or by an unknown process" leaves the operator with fuser(1).
#[test]
fn a_child_that_keeps_the_lock_of_its_dead_parent_is_named() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let mut parent = Role::new("forker")
        .with("DATA", &data)
        .with("VARIANT", "outlives")
        .start();
    let child = parent.receive();
    let child = child.strip_prefix("forked ").expect("the child was forked");
    let both = format!("{}, {}", named(parent.pid()), named(child));
    assert_eq!(support::locked_by(&data), both, "both have the descriptor");

    parent.kill_only();
    support::until("the child alone has the descriptor", || {
        support::locked_by(&data) == named(child)
    });
    let state = inspect(&data).expect("the directory exists");
    assert!(matches!(state, LockState::Held(_)), "{state}");
}

// Content that no record explains: a stray write while the lock is held, and another program's file.
#[test]
fn a_process_that_locked_a_file_without_a_record_is_named() {
    // In a child: another test could fork while the file is locked, and its child would be named, too.
    let child = support::fork(|| {
        locks_files_without_a_record();
        true
    });
    support::join(child, "the process is named while it has the lock");
}

fn locks_files_without_a_record() {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let file = LockFile::open(&data).expect("the directory exists");
    assert_eq!(support::locked_by(&data), "", "there is no file");
    for content in ["", "FLVR", "another program's"] {
        fs::write(file.lock_path(), content).expect("the directory is writable");
        assert_eq!(support::locked_by(&data), "", "no process has locked it");
        let foreign = File::open(file.lock_path()).expect("the file exists");
        support::try_lock(&foreign).expect("no process has locked it");
        let state = file.inspect().expect("the directory exists");
        assert!(matches!(state, LockState::Held(_)), "{content}: {state}");
        assert_eq!(
            support::locked_by(&data),
            named(std::process::id()),
            "{content}"
        );
        support::unlock(&foreign).expect("it is locked");
        // A shared lock keeps breakers out, and no examination can see it.
        support::lock_shared(&foreign).expect("no process has locked it");
        assert_eq!(
            support::locked_by(&data),
            named(std::process::id()),
            "{content}"
        );
        drop(foreign);
        assert_eq!(support::locked_by(&data), "", "{content}");
    }
}

// "Held by pid 1 on c1" names no process of this machine. The host sees the container's process under
// another pid; the container next to it sees nothing.
#[test]
fn a_holder_in_a_container_is_named_by_both_of_its_pids() {
    if let Some(reason) = support::no_containers() {
        return support::skip(&reason);
    }
    for hostname in [Some("c1"), None] {
        is_named_by_both_of_its_pids(hostname);
    }
}

fn is_named_by_both_of_its_pids(hostname: Option<&str>) {
    let dir = support::scratch();
    let data = dir.path().join("data");
    let contained = |hostname| {
        let role = Role::in_container("worker", hostname).with("DATA", &data);
        Container::ready(role)
    };
    let mut holder = contained(hostname);
    holder.process.expect("try", "got");
    let seen = support::locked_by(&data);
    let expected = format!("pid {} (", holder.pid());
    assert!(seen.starts_with(&expected), "{seen}");
    assert!(seen.ends_with(", pid 1 in its container)"), "{seen}");

    let own = holder.process.request("locked by");
    assert!(own.starts_with("pid 1 ("), "in its own container: {own}");
    assert!(!own.contains("container"), "{own}");
    let mut neighbour = contained(Some("c2"));
    assert_eq!(neighbour.process.request("locked by"), "");

    let state = inspect(&data).expect("the directory exists").to_string();
    let name = hostname.map_or(
        support::this_host_beside_a_stamp().to_string(),
        str::to_owned,
    );
    let named = format!("held by pid 1 on {name} in another container of this machine for ");
    assert!(state.starts_with(&named), "{state}");
    holder.kill();
    assert_eq!(support::locked_by(&data), "");
}

/// On an overlay, where fdinfo shows another device than stat(2): in the upper layer, and for a file that
/// is copied up from the lower one when it is opened for writing.
fn locks_on_an_overlay() {
    let dir = PathBuf::from(support::arg("DIR"));
    let (lower, base) = (dir.join("lower"), dir.join("tmpfs"));
    let create = |path: &PathBuf| fs::create_dir(path).expect("the directory is writable");
    create(&lower);
    create(&base);
    let none = None::<&str>;
    mount(Some("tmpfs"), &base, Some("tmpfs"), MsFlags::empty(), none).expect("root may mount");
    let [upper, work, merged] = ["upper", "work", "merged"].map(|name| base.join(name));
    for layer in [&upper, &work, &merged] {
        create(layer);
    }
    fs::write(lower.join("old.lock"), "").expect("there is room");
    let [lower, upper, work] = [lower, upper, work].map(|layer| layer.display().to_string());
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    let mounted = mount(
        Some("overlay"),
        &merged,
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    );
    if let Err(error) = mounted {
        support::report(format_args!("cannot: {error}"));
        return;
    }
    let own = named(1);
    let lock = WriterLock::try_acquire(merged.join("new")).expect("the lock is free");
    assert_eq!(support::locked_by(&merged.join("new")), own);
    lock.release().expect("it is held");

    let old = merged.join("old");
    let foreign = File::open(lock_path_for(&old)).expect("the file exists");
    support::try_lock(&foreign).expect("no process has locked it");
    assert_eq!(support::locked_by(&old), own, "in the lower layer");
    drop(foreign);
    let foreign = File::options().write(true).open(lock_path_for(&old));
    let foreign = foreign.expect("the file exists");
    support::try_lock(&foreign).expect("no process has locked it");
    assert_eq!(support::locked_by(&old), own, "copied up");
    support::report("passed");
}

#[test]
fn the_holder_on_an_overlay_is_named() {
    if let Some(reason) = support::no_containers() {
        return support::skip(&reason);
    }
    let dir = support::scratch();
    let role = Role::in_container("locks on an overlay", None);
    let mut role = role.with("DIR", dir.path()).start();
    loop {
        match role.receive() {
            report if report.starts_with("inside ") => {}
            report if report == "passed" => break,
            report => match report.strip_prefix("cannot: ") {
                Some(reason) => return support::skip(&format!("overlay: {reason}")),
                None => panic!("{report}"),
            },
        }
    }
}

fn looks_as_another_user() {
    let data = PathBuf::from(support::arg("DATA"));
    let nobody = (Uid::from_raw(65534), Gid::from_raw(65534));
    setgroups(&[]).expect("root may change its user");
    setresgid(nobody.1, nobody.1, nobody.1).expect("root may change its user");
    setresuid(nobody.0, nobody.0, nobody.0).expect("root may change its user");
    support::report(format_args!("sees <{}>", support::locked_by(&data)));
}

// An ordinary user may not see what other users have open: that is no error.
#[test]
fn another_users_holder_is_not_seen_and_no_error() {
    if !nix::unistd::geteuid().is_root() {
        return support::skip("only root can become another user");
    }
    let dir = support::scratch();
    let data = dir.path().join("data");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(dir.path(), mode).expect("the directory is this user's");
    let lock = WriterLock::try_acquire(&data).expect("the lock is free");
    let role = Role::new("looks as another user").with("DATA", &data);
    assert_eq!(role.start().receive(), "sees <>");
    lock.release().expect("it is held");
}
