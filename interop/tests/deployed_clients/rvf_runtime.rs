//! The published `rvf-runtime` at the other end: its locks are respected and recovered by us, ours
//! by it.
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::cases::{Process, Start, directory};
use rvlf::{
    AcquireError, BreakError, Foreign, LockFile, LockOptions, LockState, StalePolicy, WriterId,
    WriterLock, inspect, lock_path_for,
};

fn start() -> Option<Start> {
    Some(Box::new(Process::own))
}

all_cases!(start);

/// Inode and time of modification: what changes when somebody writes the file or puts it back.
fn identity(file: &Path) -> (u64, SystemTime) {
    let metadata = fs::metadata(file).expect("the file is there");
    (
        metadata.ino(),
        metadata.modified().expect("every Unix has it"),
    )
}

type Attempt = fn(&LockOptions, &Path) -> Result<WriterLock, AcquireError>;

// rvlite puts JSON at the very same path, other programs a decimal pid, people a note. The deployed
// client deletes all of them on sight.
#[test]
fn what_is_no_lock_is_refused_and_left_untouched() {
    let rvlite =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../spec/vectors/rvlite031-json-lock.bin");
    let rvlite = fs::read(rvlite).expect("the vectors are part of the repository");
    let contents = [
        rvlite.as_slice(),
        b"4242\n",
        b"do not touch, I am copying this by hand. Ann\n",
        b"RVLF",
        &[0; 105],
    ];
    for content in contents {
        let directory = directory();
        let data = directory.path().join("data.rvf");
        let lock_path = lock_path_for(&data);
        fs::write(&lock_path, content).expect("the directory is ours");
        // Old enough for every rule that goes by age.
        let long_ago = SystemTime::now() - Duration::from_secs(100_000);
        let file = File::options().write(true).open(&lock_path);
        let set = file.and_then(|file| file.set_modified(long_ago));
        set.expect("the file is ours");
        let before = identity(&lock_path);
        let first = &content.get(..16).unwrap_or(content);

        let eager = StalePolicy::new()
            .with_malformed_grace(Duration::ZERO)
            .with_same_host_age(Duration::ZERO)
            .with_cross_host_age(Duration::ZERO);
        let eager = WriterLock::options().stale_policy(eager);
        let attempts: [Attempt; 3] = [
            |_, data| WriterLock::try_acquire(data),
            |eager, data| eager.try_acquire(data),
            // Waiting for what nobody will release would be waiting for ever.
            |eager, data| eager.acquire(data, Duration::from_secs(600)),
        ];
        for attempt in attempts {
            let error = attempt(&eager, &data).expect_err("it is no lock of ours");
            let AcquireError::Foreign { found, .. } = &error else {
                panic!("foreign, not {error}");
            };
            assert!(matches!(found, Foreign::Content(found) if found.as_bytes() == *first));
            let sentence = error.to_string();
            let names_it = sentence.contains(&*lock_path.to_string_lossy());
            assert!(names_it, "the error names the file: {sentence}");
            let shows_it = sentence.contains(&first.escape_ascii().to_string());
            assert!(shows_it, "the error shows its first bytes: {sentence}");
        }
        let state = inspect(&data).expect("it can be read");
        assert!(matches!(state, LockState::Foreign(_)), "{state:?}");
        let error = LockFile::open(&data)
            .expect("the directory is there")
            .break_stale()
            .expect_err("it is no lock of ours");
        assert!(matches!(error, BreakError::Foreign { .. }), "{error}");
        let nobody = WriterId::from_bytes([0; 16]);
        let error = LockFile::open(&data)
            .expect("the directory is there")
            .force_break(nobody)
            .expect_err("it is no lock of ours");
        assert!(matches!(error, BreakError::Foreign { .. }), "{error}");

        let after = fs::read(&lock_path).expect("it is still there");
        assert_eq!(after, content, "byte for byte");
        assert_eq!(identity(&lock_path), before, "nobody wrote or replaced it");
        let names = fs::read_dir(directory.path()).expect("it is ours").count();
        assert_eq!(names, 1, "nothing was put beside it");
    }
}
