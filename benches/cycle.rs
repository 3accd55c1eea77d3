//! Uncontended acquire and release, next to the same system calls made bare, and to the calls that
//! the deployed client makes.

mod common;
#[path = "common/sampling.rs"]
mod sampling;

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use common::{Ground, Mode, Samples, goal, grounds, interleaved, show};
use criterion::Criterion;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode as Permissions, fstatat};
use nix::sys::statfs::fstatfs;
use nix::unistd::{UnlinkatFlags, gethostname, linkat, unlinkat};
use rvlf::{Durability, LockOptions, RECORD_LEN, WriterLock};

/// What the library calls in one acquisition and release, in its order and with its arguments, and
/// nothing else. `PERFORMANCE.md` says what each is for.
fn same_calls(resource: &Path, sync: bool) -> std::io::Result<()> {
    let parent = resource.parent().expect("resources here have a parent");
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let dir: File = nix::fcntl::open(parent, flags, Permissions::empty())?.into();
    fstatfs(&dir)?;
    let absent = fstatat(&dir, "data.lock", AtFlags::AT_SYMLINK_NOFOLLOW);
    assert!(absent.is_err(), "nobody else is here");
    let file = unnamed(&dir)?;
    file.metadata()?;
    file.try_lock()?;
    getrandom()?;
    gethostname()?;
    file.write_at(&[1; RECORD_LEN], 0)?;
    linkat(&file, "", &dir, "data.lock", AtFlags::AT_EMPTY_PATH)?;
    if sync {
        file.sync_all()?;
    }
    fstatat(&dir, "data.lock", AtFlags::AT_SYMLINK_NOFOLLOW)?;
    unlinkat(&dir, "data.lock", UnlinkatFlags::NoRemoveDir)?;
    file.metadata()?;
    Ok(())
}

/// What a record that appears whole, with a kernel lock, cannot do without: no check, no directory
/// handle, nothing learnt from the operating system.
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

/// What rvf-runtime 0.5.0 calls (its `locking.rs`; the type is private there): create, then write.
/// Others can see, and delete, the empty file. No kernel lock, no inode is compared.
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
    assert_eq!(read.len(), RECORD_LEN, "nobody else is here");
    std::fs::remove_file(lock_path)?;
    // Its guard's drop, which follows its release, reads once more.
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

fn cycle(options: &LockOptions, resource: &Path) {
    let lock = options.try_acquire(resource).expect("nobody else is here");
    lock.release().expect("nobody else was here");
}

fn criterion(c: &mut Criterion, ground: &Ground) {
    let resource = ground.resource("data");
    for sync in [false, true] {
        let synced = if sync { "synced" } else { "unsynced" };
        let mut group = c.benchmark_group(format!("cycle, {}, {synced}", ground.name));
        if sync {
            group.sample_size(20);
        }
        for keepalive in [false, true] {
            let options = options(sync, keepalive);
            let name = if keepalive {
                "rvlf"
            } else {
                "rvlf, no keepalive"
            };
            group.bench_function(name, |b| b.iter(|| cycle(&options, &resource)));
        }
        group.bench_function("the same calls, bare", |b| {
            b.iter(|| same_calls(&resource, sync));
        });
        group.finish();
    }
}

fn goals(mode: Mode, ground: &Ground) {
    let resource = ground.resource("data");
    let lock_path = rvlf::lock_path_for(&resource);
    let dir = File::open(ground.dir.path()).expect("it was just made");
    for sync in [false, true] {
        let (with, without) = (options(sync, true), options(sync, false));
        let bare = "bare calls succeed as the library's do";
        let [rvlf, plain, same, least, deployed] = interleaved(
            mode.pick(if sync { 300 } else { 600 }, 1),
            mode.pick(if sync { 5 } else { 40 }, 1),
            [
                &mut || cycle(&with, &resource),
                &mut || cycle(&without, &resource),
                &mut || same_calls(&resource, sync).expect(bare),
                &mut || least_calls(&dir, sync).expect(bare),
                &mut || deployed_calls(&lock_path, sync).expect(bare),
            ],
        );
        let synced = if sync { "synced" } else { "unsynced" };
        println!("acquire + release, {}, {synced}:", ground.name);
        let row = |name: &str, samples: &Samples| {
            let (time, ratio) = (show(samples.median()), samples.ratio_to(&same));
            println!("  {name:36} {time:>8}  {ratio:.2} x");
        };
        row("the same calls, bare", &same);
        row("rvlf", &rvlf);
        row("rvlf, no keepalive", &plain);
        row("open, flock, write, link, unlink", &least);
        row("deployed client's calls (unsafe)", &deployed);
        let at = format!("{}, {synced}", ground.name);
        let what = format!("acquire + release against the same calls made bare, {at}");
        goal(mode, what, rvlf.ratio_to(&same), 1.15);
        let what = format!("acquire + release against the deployed client's calls, {at}");
        goal(
            mode,
            what,
            rvlf.ratio_to(&deployed),
            if sync { 1.0 } else { 1.2 },
        );
    }
}

fn main() {
    let mode = Mode::from_args();
    let mut c = sampling::criterion();
    for ground in grounds() {
        criterion(&mut c, &ground);
        if mode != Mode::List {
            goals(mode, &ground);
        }
    }
    c.final_summary();
}
