//! [`Url`]: the data object that an argument names.

use rvlf_object_store::{Location, LockObject, LockReport, StoreError, StoreOptions, block_on};

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
            let opened = Opened { data, lock };
            let is_lock = |found: LockReport| {
                // Of another program it is the data, of which this name is the whole.
                found.record().is_some() || found.code() == "unsupported"
            };
            if opened.inspect()?.is_some_and(is_lock) {
                return Ok(opened);
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

impl Opened {
    /// What is there. `None` if the store denies the look: so S3 answers for an absent lock, if the user may not
    /// list the bucket.
    ///
    /// # Errors
    ///
    /// The store cannot be asked.
    pub fn inspect(&self) -> Result<Option<LockReport>, StoreError> {
        match block_on(self.lock.inspect()) {
            Err(StoreError::Denied { .. }) => Ok(None),
            found => found.map(Some),
        }
    }
}
