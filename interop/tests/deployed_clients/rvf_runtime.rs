//! The published `rvf-runtime`: this library respects and recovers its locks, and it respects and recovers
//! this library's.
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::cases::{Process, Start};
use rvlf::{
    AcquireError, BreakError, Foreign, LockOptions, LockState, StalePolicy, WriterLock, inspect,
    lock_path_for,
};

fn start() -> Option<Start> {
    Some(Box::new(Process::own))
}

all_cases!(start);

/// Inode and time of modification: a write or a replacement changes one of them.
fn identity(file: &Path) -> (u64, SystemTime) {
    let metadata = fs::metadata(file).expect("the file is there");
    (
        metadata.ino(),
        metadata.modified().expect("every Unix has this time"),
    )
}

type Attempt = fn(&LockOptions, &Path) -> Result<WriterLock, AcquireError>;

// rvlite writes JSON at the same path, other programs a decimal pid, users a note. The deployed client
// deletes all of them at once.
#[test]
fn a_file_that_is_no_lock_is_refused_and_left_unchanged() {
    let rvlite = support::repository().join("spec/vectors/rvlite031-json-lock.bin");
    let rvlite = fs::read(rvlite).expect("the vectors are part of the repository");
    let contents = [
        rvlite.as_slice(),
        b"4242\n",
        b"do not touch, I am copying this by hand. Ann\n",
        b"RVLF",
        &[0; 105],
    ];
    for content in contents {
        let directory = support::scratch();
        let data = directory.path().join("data.rvf");
        let lock_path = lock_path_for(&data);
        fs::write(&lock_path, content).expect("the directory is writable");
        // Old enough for every rule about age.
        support::age_mtime(&lock_path, Duration::from_secs(100_000));
        let before = identity(&lock_path);
        assert_refused(&data, content.get(..16).unwrap_or(content));
        let after = fs::read(&lock_path).expect("the file still exists");
        assert_eq!(after, content, "the content is unchanged");
        let after = identity(&lock_path);
        assert_eq!(after, before, "the file was neither written nor replaced");
        let names = support::names_in(directory.path());
        assert_eq!(names, ["data.rvf.lock"], "no other file was created");
    }
}

/// Every operation refuses the file at the lock path, and the refusal shows its first bytes.
fn assert_refused(data: &Path, first: &[u8]) {
    let eager = StalePolicy::new()
        .with_malformed_grace(Duration::ZERO)
        .with_same_host_age(Duration::ZERO)
        .with_cross_host_age(Duration::ZERO);
    let eager = WriterLock::options().stale_policy(eager);
    let attempts: [Attempt; 3] = [
        |_, data| WriterLock::try_acquire(data),
        |eager, data| eager.try_acquire(data),
        // A wait for a file that no process releases would never end.
        |eager, data| eager.acquire(data, Duration::from_secs(600)),
    ];
    let lock_path = lock_path_for(data).display().to_string();
    for attempt in attempts {
        let error = attempt(&eager, data).expect_err("the file is no lock");
        let AcquireError::Foreign { found, .. } = &error else {
            panic!("foreign, not {error}");
        };
        assert!(matches!(found, Foreign::Content(found) if found.as_bytes() == first));
        let sentence = error.to_string();
        for part in [lock_path.clone(), first.escape_ascii().to_string()] {
            assert!(
                sentence.contains(&part),
                "the error shows {part}: {sentence}"
            );
        }
    }
    let state = inspect(data).expect("the lock file can be read");
    assert!(matches!(state, LockState::Foreign(_)), "{state:?}");
    let broken = [
        support::break_stale(data),
        support::force_break(data, support::some_writer_id()),
    ];
    for outcome in broken {
        let error = outcome.expect_err("the file is no lock");
        assert!(matches!(error, BreakError::Foreign { .. }), "{error}");
    }
}
