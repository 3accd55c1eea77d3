//! [`DirRegister`]: an object that is a file, for tests and demonstrations without a server.

use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use nix::fcntl::{Flock, FlockArg};

use crate::machine::{Condition, ErrorClass, Found, Put, Stored, Version};
use crate::register::{Register, RegisterError, RegisterFuture};

/// An object that is a file of a local file system, for tests and demonstrations without a server.
///
/// It is no second product: between the processes of one kernel `rvlf::WriterLock` is better. The
/// calls block the thread for as long as an fsync takes. Beside the file stands `NAME.guard`, whose
/// `flock(2)` makes a write atomic; it is never removed.
///
/// ```
/// use rvlf_object_store::{Condition, DirRegister, Put, Register};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// # let directory = tempfile::tempdir()?;
/// let object = DirRegister::new(directory.path().join("x.lock"));
/// assert!(matches!(object.put_if("first".into(), Condition::Absent).await?, Put::Stored(_)));
/// assert_eq!(object.put_if("second".into(), Condition::Absent).await?, Put::Refused);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct DirRegister {
    path: PathBuf,
}

impl DirRegister {
    /// The object at `path`, whose directory exists.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(ending);
        name.into()
    }

    fn put(&self, bytes: &Bytes, condition: &Condition) -> io::Result<Put> {
        let guard = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.beside(".guard"))?;
        // Held until the end of this call. A process that is killed loses it, and leaves at most the
        // file aside, which the next write truncates.
        let _guard = Flock::lock(guard, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        let holds = match (read(&self.path)?, condition) {
            (Found::Absent, Condition::Absent) => true,
            (Found::Present(found), Condition::Version(version)) => found.version == *version,
            _ => false,
        };
        if !holds {
            return Ok(Put::Refused);
        }
        let aside = self.beside(".new");
        let mut file = File::create(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, &self.path)?;
        File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(Put::Stored(version(bytes)))
    }
}

impl Register for DirRegister {
    fn get(&self) -> RegisterFuture<Found> {
        let path = self.path.clone();
        Box::pin(async move { read(&path).map_err(failure) })
    }

    fn put_if(&self, bytes: Bytes, condition: Condition) -> RegisterFuture<Put> {
        let register = self.clone();
        Box::pin(async move { register.put(&bytes, &condition).map_err(failure) })
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

/// Without the guard: a file is written before it gets its name, and never afterwards.
fn read(path: &Path) -> io::Result<Found> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Absent),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut file, &mut bytes)?;
    let modified = file.metadata()?.modified()?.duration_since(UNIX_EPOCH);
    let modified = modified
        .ok()
        .and_then(|since| u64::try_from(since.as_millis()).ok());
    let version = version(&bytes);
    Ok(Found::Present(Stored {
        bytes: bytes.into(),
        version,
        modified_ms: modified,
    }))
}

/// The content names its version, as on stores whose ETag is a hash: no two writes of the lock have
/// equal bytes. Another build may hash otherwise, which harms nothing: each process compares versions
/// that it has computed itself.
fn version(bytes: &[u8]) -> Version {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    Version {
        e_tag: Some(format!("\"{:016x}\"", hasher.finish())),
        version: None,
    }
}

fn failure(error: io::Error) -> RegisterError {
    let class = match error.kind() {
        io::ErrorKind::PermissionDenied => ErrorClass::Denied,
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => {
            ErrorClass::Permanent
        }
        _ => ErrorClass::Unknown,
    };
    RegisterError {
        class,
        source: error.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn get(object: &DirRegister) -> Stored {
        match read(&object.path).expect("the directory can be read") {
            Found::Present(found) => found,
            Found::Absent => panic!("it was written"),
        }
    }

    #[test]
    fn of_the_contenders_for_one_version_one_writes() {
        let directory = tempfile::tempdir().expect("there is room for a directory");
        let object = DirRegister::new(directory.path().join("x.lock"));
        object
            .put(&Bytes::from("first"), &Condition::Absent)
            .expect("a local file system");
        for round in 0..50 {
            let condition = Condition::Version(get(&object).version);
            let won: usize = thread::scope(|scope| {
                let contenders: Vec<_> = (0..4)
                    .map(|contender| {
                        let (object, condition) = (&object, &condition);
                        scope.spawn(move || {
                            let bytes = Bytes::from(format!("{round} {contender}"));
                            let put = object.put(&bytes, condition).expect("a local file system");
                            usize::from(matches!(put, Put::Stored(_)))
                        })
                    })
                    .collect();
                contenders
                    .into_iter()
                    .map(|thread| thread.join().expect("no panic"))
                    .sum()
            });
            assert_eq!(won, 1, "round {round}");
        }
    }

    #[test]
    fn an_old_version_and_a_second_create_are_refused() {
        let directory = tempfile::tempdir().expect("there is room for a directory");
        let object = DirRegister::new(directory.path().join("x.lock"));
        let put = |text: &'static str, condition: &Condition| {
            object
                .put(&Bytes::from(text), condition)
                .expect("a local file system")
        };
        let Put::Stored(first) = put("first", &Condition::Absent) else {
            panic!("it is absent")
        };
        assert_eq!(
            get(&object).version,
            first,
            "a GET shows the version of the PUT"
        );
        assert_eq!(put("late", &Condition::Absent), Put::Refused);
        assert!(matches!(
            put("second", &Condition::Version(first.clone())),
            Put::Stored(_)
        ));
        assert_eq!(put("stale", &Condition::Version(first)), Put::Refused);
        assert_eq!(&*get(&object).bytes, b"second");
    }

    #[test]
    fn a_missing_directory_is_a_permanent_error() {
        let object = DirRegister::new("no-such-directory/x.lock");
        let error = object
            .put(&Bytes::from("x"), &Condition::Absent)
            .expect_err("no directory");
        assert_eq!(failure(error).class, ErrorClass::Permanent);
    }
}
