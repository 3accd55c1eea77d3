//! [`Url`]: the data object that an argument names.

use rvlf_object_store::{Location, LockObject, StoreError, StoreOptions, block_on};

/// The URL of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(Location);

impl Url {
    /// # Errors
    ///
    /// A URL that names no object. The text repeats nothing that may be a credential.
    pub fn parse(url: &str) -> Result<Url, String> {
        url.parse()
            .map(Url)
            .map_err(|error: rvlf_object_store::LocationError| error.to_string())
    }

    pub fn location(&self) -> &Location {
        &self.0
    }

    /// The lock of this object, or of the data object whose lock object this is.
    ///
    /// Taken for a data object, `x.lock` has the lock `x.lock.lock`: `status` would report it as free while
    /// x is held.
    ///
    /// # Errors
    ///
    /// There is no client for the URL, or the store cannot be asked which of the two the object is.
    pub fn open(&self, options: &StoreOptions) -> Result<Opened, StoreError> {
        if let Some(data) = self.without_lock() {
            let lock = options.open(&data.to_string())?;
            match block_on(lock.inspect()) {
                Ok(found) if found.record().is_some() || found.code() == "unsupported" => {
                    return Ok(Opened { data, lock });
                }
                // Of another program it is the data, of which this name is the whole. Denied is what S3 answers for
                // an absent object, if the user may not list the bucket.
                Ok(_) | Err(StoreError::Denied { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let lock = options.open(&self.0.to_string())?;
        Ok(Opened {
            data: self.0.clone(),
            lock,
        })
    }

    /// `x` for `x.lock`.
    fn without_lock(&self) -> Option<Location> {
        let key = self.0.key.as_ref().strip_suffix(".lock")?;
        let url = format!("{}/{key}", self.0.bucket_url());
        url.parse().ok()
    }
}

/// A data object and its lock.
#[derive(Clone)]
pub struct Opened {
    pub data: Location,
    pub lock: LockObject,
}
