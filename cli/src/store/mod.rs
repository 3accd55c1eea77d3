//! Locks in object stores: `s3://`, `gs://` and `az://` URLs. The threads and the HTTP client of the store
//! start with the first request, so that a lock file costs what it did.

mod breaking;
mod diagnosis;
mod holding;
mod options;
mod reading;
mod report;
mod requests;
mod running;
mod url;
mod waiting;

pub use breaking::break_lock;
pub use diagnosis::diagnose;
pub use reading::read_lock;
pub use report::Looker;
pub use running::run;
pub use url::Url;
pub use waiting::wait;
