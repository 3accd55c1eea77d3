//! Uncontended acquire and release, beside the same system calls made bare, and beside the calls
//! that the deployed client makes.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use criterion::Criterion;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode as Permissions, fstatat};
use nix::sys::statfs::fstatfs;
use nix::unistd::{UnlinkatFlags, gethostname, linkat, unlinkat};
use rvlf::record::RECORD_LEN;
use rvlf::{Durability, LockFile, LockOptions, WriterLock};
use rvlf_benches::{
    Directory, Goal, Mode, Samples, directories, interleaved, print_row, report_goal,
};

const FREE: &str = "this process is the only contender";

/// The system calls of one acquisition and release by the library, in its order and with its
/// arguments (`strace` shows them), and nothing else. None can be left out: each keeps a promise.
///
/// The library makes fcntl(2) calls besides: each use of a descriptor asks for the mark by which the
/// descriptor is known again (F_GETSIG, 14 times), and each of the two descriptors is marked (F_SETSIG).
/// They are not here, because neither std nor nix has them: the ratio to these calls shows their cost.
///
/// What cannot change in a process is read once and not here: the boot id, the pid, the start time
/// (which the kernel, and no call, erases in a forked child). The clocks are read without a system
/// call.
fn same_calls(data_path: &Path, sync: bool) -> std::io::Result<()> {
    let parent = data_path
        .parent()
        .expect("the data files here have a parent");
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    // All later calls go through this handle: neither a chdir nor a renamed parent directory can
    // make the release miss its file.
    let dir: File = nix::fcntl::open(parent, flags, Permissions::empty())?.into();
    // Whether the kernel is a witness here, or age decides.
    fstatfs(&dir)?;
    // The directory's number, by which a replaced directory is noticed.
    let opened = fstatat(&dir, ".", AtFlags::empty())?;
    // A refused attempt creates nothing and syncs nothing.
    let absent = fstatat(&dir, "data.lock", AtFlags::AT_SYMLINK_NOFOLLOW);
    assert!(absent.is_err(), "{FREE}");
    // The record appears whole: no process can see, and delete, an empty file.
    let file = unnamed(&dir)?;
    // The inode that the kernel stamp names.
    file.metadata()?;
    // The witness of the holder's death.
    file.try_lock()?;
    // The writer id, from the kernel: forked children must not share one.
    getrandom()?;
    // The host name may change at any time.
    gethostname()?;
    file.write_at(&[1; RECORD_LEN], 0)?;
    // Publishes the record; of several contenders one succeeds.
    linkat(&file, "", &dir, "data.lock", AtFlags::AT_EMPTY_PATH)?;
    if sync {
        // Record and name survive a power loss.
        file.sync_all()?;
    }
    compare_directory(&opened, parent)?;
    // A descriptor that foreign code closed holds no kernel lock: the file at the path may be a
    // successor's, and even have the same inode number.
    file.metadata()?;
    compare_directory(&opened, parent)?;
    // The release removes the holder's own file and no other.
    fstatat(&dir, "data.lock", AtFlags::AT_SYMLINK_NOFOLLOW)?;
    unlinkat(&dir, "data.lock", UnlinkatFlags::NoRemoveDir)?;
    Ok(())
}

/// Whether the path still leads to the directory in which the lock is.
fn compare_directory(opened: &FileStat, parent: &Path) -> std::io::Result<()> {
    let named = fstatat(AT_FDCWD, parent, AtFlags::empty())?;
    assert_eq!((named.st_dev, named.st_ino), (opened.st_dev, opened.st_ino));
    Ok(())
}

/// The least that a record which appears whole, with a kernel lock, can be: no check, a directory
/// that is open already, nothing read from the operating system.
fn least_calls(dir: &File, sync: bool) -> std::io::Result<()> {
    let file = unnamed(dir)?;
    file.try_lock()?;
    file.write_at(&[1; RECORD_LEN], 0)?;
    linkat(&file, "", dir, "data.lock", AtFlags::AT_EMPTY_PATH)?;
    if sync {
        file.sync_all()?;
    }
    unlinkat(dir, "data.lock", UnlinkatFlags::NoRemoveDir)?;
    Ok(())
}

fn unnamed(dir: &File) -> std::io::Result<File> {
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let mode = Permissions::from_bits_truncate(0o666);
    Ok(openat(dir, ".", flags, mode)?.into())
}

/// getrandom(2) as the library calls it.
fn getrandom() -> std::io::Result<[u8; 16]> {
    use rand::TryRng;
    let mut bytes = [0; 16];
    rand::rngs::SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(std::io::Error::other)?;
    Ok(bytes)
}

/// The calls of rvf-runtime 0.5.0 (its `locking.rs`; the type is private there): create, then
/// write. Other processes can see, and delete, the empty file. It takes no kernel lock, compares no
/// inode, and reads /etc/hostname and /dev/urandom each time.
fn deployed_calls(lock_path: &Path, sync: bool) -> std::io::Result<()> {
    let hostname = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let mut writer_id = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut writer_id)?;
    let mut content = [0; RECORD_LEN];
    for (to, from) in content.iter_mut().zip(hostname.bytes()) {
        *to = from;
    }
    let mut file = File::create_new(lock_path)?;
    file.write_all(&content)?;
    if sync {
        file.sync_all()?;
    }
    drop(file);
    let read = std::fs::read(lock_path)?;
    assert_eq!(read.len(), RECORD_LEN, "{FREE}");
    std::fs::remove_file(lock_path)?;
    // The drop of the client's guard, which follows its release, reads once more.
    assert!(std::fs::read(lock_path).is_err(), "it was removed");
    Ok(())
}

fn options(sync: bool, keepalive: bool) -> LockOptions {
    let durability = if sync {
        Durability::Sync
    } else {
        Durability::None
    };
    WriterLock::options()
        .durability(durability)
        .keepalive(keepalive.then_some(Duration::from_secs(10)))
}

fn cycle(options: &LockOptions, data_path: &Path) {
    let lock = options.try_acquire(data_path).expect(FREE);
    lock.release().expect(FREE);
}

/// As [`cycle`], in a directory that is open already.
fn cycle_opened(lock_file: &LockFile) {
    let lock = lock_file.try_acquire().expect(FREE);
    lock.release().expect(FREE);
}

fn benchmarks(c: &mut Criterion, directory: &Directory) {
    let data_path = directory.join("data");
    for sync in [false, true] {
        let synced = if sync { "synced" } else { "unsynced" };
        let mut group = c.benchmark_group(format!("cycle, {}, {synced}", directory.file_system));
        if sync {
            group.sample_size(20);
        }
        for (name, keepalive) in [("rvlf, no keepalive", false), ("rvlf", true)] {
            let options = options(sync, keepalive);
            group.bench_function(name, |b| b.iter(|| cycle(&options, &data_path)));
        }
        group.bench_function("the same calls, bare", |b| {
            b.iter(|| same_calls(&data_path, sync));
        });
        group.finish();
    }
}

/// What is compared, one sample a round.
struct Cycles {
    rvlf: Samples,
    no_keepalive: Samples,
    opened: Samples,
    same: Samples,
    least: Samples,
    deployed: Samples,
}

fn measure(mode: Mode, directory: &Directory, sync: bool) -> Cycles {
    let data_path = directory.join("data");
    let lock_path = rvlf::lock_path_for(&data_path);
    let dir = File::open(directory.path()).expect("the directory exists");
    let (with, without) = (options(sync, true), options(sync, false));
    let lock_file = LockFile::with_options(&data_path, with.clone()).expect("the directory exists");
    let bare = "bare calls succeed as the library's do";
    let (rounds, batch) = if sync { (300, 5) } else { (600, 40) };
    let [rvlf, no_keepalive, opened, same, least, deployed] = interleaved(
        mode.pick(rounds, 1),
        mode.pick(batch, 1),
        [
            &mut || cycle(&with, &data_path),
            &mut || cycle(&without, &data_path),
            &mut || cycle_opened(&lock_file),
            &mut || same_calls(&data_path, sync).expect(bare),
            &mut || least_calls(&dir, sync).expect(bare),
            &mut || deployed_calls(&lock_path, sync).expect(bare),
        ],
    );
    Cycles {
        rvlf,
        no_keepalive,
        opened,
        same,
        least,
        deployed,
    }
}

fn report(mode: Mode, place: &str, cycles: &Cycles) {
    println!("acquire and release, {place}:");
    let row = |name, samples| print_row(name, samples, &cycles.same);
    row("the same calls, bare", &cycles.same);
    row("rvlf", &cycles.rvlf);
    row("rvlf, no keepalive", &cycles.no_keepalive);
    row("rvlf, through an opened LockFile", &cycles.opened);
    row("open, flock, write, link, unlink alone", &cycles.least);
    row("the deployed client's calls (unsafe)", &cycles.deployed);
    let goal = |what, at_most, samples: &Samples, against| {
        report_goal(
            mode,
            what,
            Goal::AtMost(at_most),
            place,
            samples.ratio_to(against),
        );
    };
    let what = "acquire and release, against its own system calls bare";
    goal(what, 1.05, &cycles.rvlf, &cycles.same);
    let what = "acquire and release through an opened `LockFile`, against open, flock, write, link, unlink alone";
    goal(what, 1.25, &cycles.opened, &cycles.least);
    let what = "acquire and release, against the deployed client's system calls";
    goal(what, 1.2, &cycles.rvlf, &cycles.deployed);
}

fn main() {
    let mode = Mode::from_args();
    let directories = directories();
    mode.sample(|c| {
        for directory in &directories {
            benchmarks(c, directory);
        }
    });
    if mode == Mode::List {
        return;
    }
    for directory in &directories {
        for (synced, sync) in [("unsynced", false), ("synced", true)] {
            let place = format!("{}, {synced}", directory.file_system);
            report(mode, &place, &measure(mode, directory, sync));
        }
    }
}
