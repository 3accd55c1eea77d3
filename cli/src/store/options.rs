//! How the command acquires a lock: the lease, from the option or the environment.

use std::time::Duration;

use rvlf::record::StoreStamp;
use rvlf_object_store::StoreOptions;

use crate::time;

/// The environment variable with the lease of `rvlf run` without `--lease`. Everything else is configured by
/// the variables of the services.
const LEASE: &str = "RVLF_LEASE";

/// A shorter lease leaves too little time for requests.
const SHORTEST: Duration = Duration::from_secs(5);

/// The options of an acquisition.
///
/// # Errors
///
/// The lease is out of its limits, or the variable is no duration.
pub fn with_lease(lease: Option<Duration>) -> Result<StoreOptions, String> {
    let options = StoreOptions::new();
    match (lease, std::env::var(LEASE)) {
        (Some(lease), _) => Ok(options.lease(checked(lease, "--lease")?)),
        (None, Ok(text)) if !text.is_empty() => {
            let lease = time::parse_duration(&text).map_err(|error| format!("{LEASE}: {error}"))?;
            Ok(options.lease(checked(lease, LEASE)?))
        }
        _ => Ok(options),
    }
}

fn checked(lease: Duration, source: &str) -> Result<Duration, String> {
    match (SHORTEST..=StoreStamp::MAX_LEASE).contains(&lease) {
        true => Ok(lease),
        false => Err(format!(
            "{source}: the lease must be 5s at least and 1h at most"
        )),
    }
}
