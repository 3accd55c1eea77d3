//! Where the log is: the object that is lock and root, and the data objects beside it.

use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use rvlf_object_store::faults::{Faults, Rates};
use rvlf_object_store::{DirRegister, LockObject, Register, StoreOptions};

use crate::Result;
use crate::options::Options;
use crate::stopping::Stopping;

pub struct Place {
    pub lock: LockObject,
    pub data: Arc<dyn ObjectStore>,
    /// The key of the data.
    pub key: Path,
}

impl Place {
    /// `stopping` holds the writes of the lock up.
    pub fn open(
        options: &Options,
        stopping: impl FnOnce(Arc<dyn Register>) -> Stopping,
    ) -> Result<Place> {
        let (data, key, register) = store(options)?;
        let mut register: Arc<dyn Register> = Arc::new(stopping(register));
        if options.faults {
            let faults = Faults::new(rand::random(), Duration::from_secs(1));
            faults.set_rates(rates());
            register = Arc::new(faults.register(register));
        }
        let lock = StoreOptions::new()
            .lease(options.lease)
            .open_register(register);
        Ok(Place { lock, data, key })
    }
}

/// One answer in ten is lost, one request in twenty lands up to 3 s late, one in twenty never.
pub fn rates() -> Rates {
    Rates {
        lost_answer: 0.1,
        late: 0.05,
        late_by: Duration::from_secs(3),
        not_sent: 0.05,
        ..Rates::default()
    }
}

/// The store of the data objects, the key of the log in it, and the object that is lock and root.
type Store = (Arc<dyn ObjectStore>, Path, Arc<dyn Register>);

fn store(options: &Options) -> Result<Store> {
    let Some(url) = &options.url else {
        let data = LocalFileSystem::new_with_prefix(&options.directory)?;
        let register = DirRegister::new(options.directory.join("log.lock"));
        return Ok((Arc::new(data), Path::from("log"), Arc::new(register)));
    };
    of_url(url)
}

#[cfg(any(feature = "aws", feature = "azure"))]
fn of_url(url: &str) -> Result<Store> {
    use rvlf_object_store::{Bucket, HttpOptions, Location};

    let location: Location = url.parse()?;
    // As in the library: requests and connections on threads that no other work blocks.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let http = HttpOptions {
        request_timeout: Duration::from_secs(10),
        runtime: runtime.handle().clone(),
    };
    // It ends with the process.
    std::mem::forget(runtime);
    let lock = Bucket::open(&location, &http)?.register(location.lock_key(None));
    let data = Bucket::open(&location, &http)?.store();
    Ok((data, location.key, Arc::new(lock)))
}

#[cfg(not(any(feature = "aws", feature = "azure")))]
fn of_url(url: &str) -> Result<Store> {
    Err(format!("{url} needs --features aws or azure").into())
}
