//! [`Bucket`]: the objects of one store, as registers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{
    Error as ClientError, GetOptions, GetResult, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
    PutResult, UpdateVersion,
};

use crate::machine::{Condition, ErrorClass, Found, Put, Stored, Version};
use crate::register::{Register, RegisterError, RegisterFuture, caught};
use crate::store_error;

/// The most that is read of an object: one byte more than a record and its payload may have. Of an
/// object that is longer, which is no lock, only this beginning is read.
pub(crate) const READ_LIMIT: usize = 104 + 64 * 1024 + 1;

/// A store of the crate `object_store`, whose objects are used as [`Register`]s.
///
/// The requests of a store that is handed in run where its HTTP client runs. Do not share it with other
/// work: a connection whose driver waits on a blocked runtime delays the refresh of a lock.
///
/// ```
/// use std::sync::Arc;
///
/// use object_store::memory::InMemory;
/// use rvlf_object_store::{Bucket, Found, Register};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// let bucket = Bucket::new(Arc::new(InMemory::new()), "memory://");
/// let object = bucket.register("data/x.lock".into());
/// assert_eq!(object.name(), "memory://data/x.lock");
/// assert_eq!(object.get().await?, Found::Absent);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    url: Arc<str>,
    strips_quotes: Arc<AtomicBool>,
}

impl Bucket {
    /// Uses `store`, which messages call `url`.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, url: &str) -> Self {
        let url = if url.ends_with('/') {
            url.to_owned()
        } else {
            format!("{url}/")
        };
        Self {
            store,
            url: url.into(),
            strips_quotes: Arc::default(),
        }
    }

    /// The store, for data objects beside the lock.
    ///
    /// Use another [`Bucket`] for the data than for the lock: a connection that is busy with data delays
    /// the refreshes.
    #[must_use]
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        self.store.clone()
    }

    /// The object with this key. `Path::parse` takes a text as it stands, `Path::from` encodes some characters.
    #[must_use]
    pub fn register(&self, key: Path) -> ObjectRegister {
        ObjectRegister {
            bucket: self.clone(),
            key,
        }
    }

    /// Removes an object that the self-test has made. The lock removes nothing.
    pub(crate) fn delete(&self, key: Path) -> RegisterFuture<()> {
        let store = Arc::clone(&self.store);
        Box::pin(async move {
            store
                .delete(&key)
                .await
                .map_err(|error| store_error::of_client(&error))
        })
    }

    /// Sends ETags without their quotes from now on, in all registers of this bucket: some servers
    /// compare what a condition names with what they store, and store it without quotes.
    pub(crate) fn strip_quotes(&self, strip: bool) {
        self.strips_quotes.store(strip, Ordering::Relaxed);
    }

    fn put_mode(&self, condition: &Condition) -> PutMode {
        let Condition::Version(Version { e_tag, version }) = condition else {
            return PutMode::Create;
        };
        let e_tag = match e_tag {
            Some(e_tag) if self.strips_quotes.load(Ordering::Relaxed) => {
                Some(e_tag.trim_matches('"').to_owned())
            }
            other => other.clone(),
        };
        PutMode::Update(UpdateVersion {
            e_tag,
            version: version.clone(),
        })
    }
}

// `object_store` shows the whole configuration of a store.
impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// One object of a [`Bucket`].
#[derive(Clone, Debug)]
pub struct ObjectRegister {
    bucket: Bucket,
    key: Path,
}

impl Register for ObjectRegister {
    fn get(&self) -> RegisterFuture<Found> {
        let Self { bucket, key } = self.clone();
        caught(Box::pin(async move {
            // Not a range: of an empty object none can be read, and the answer is an error (416).
            match bucket.store.get_opts(&key, GetOptions::default()).await {
                Ok(result) => Ok(Found::Present(read(result).await?)),
                Err(error @ ClientError::NotFound { .. }) => absent_or_no_bucket(&error),
                Err(error) => Err(store_error::of_client(&error)),
            }
        }))
    }

    fn put_if(&self, bytes: Bytes, condition: Condition) -> RegisterFuture<Put> {
        let Self { bucket, key } = self.clone();
        caught(Box::pin(async move {
            let options = PutOptions::from(bucket.put_mode(&condition));
            match bucket.store.put_opts(&key, bytes.into(), options).await {
                Ok(put) => stored(put, &condition),
                Err(error) if is_refusal(&error, &condition) => Ok(Put::Refused),
                Err(error) => Err(store_error::of_client(&error)),
            }
        }))
    }

    fn name(&self) -> String {
        format!("{}{}", self.bucket.url, self.key)
    }
}

/// The answer of a write that is in has another version than the one that it replaced, because no two
/// writes have equal bytes (S1). The same version is the answer of a read that the write has become: a
/// client that follows redirects sends the PUT on as a GET.
fn stored(put: PutResult, condition: &Condition) -> Result<Put, RegisterError> {
    let new = Version {
        e_tag: put.e_tag,
        version: put.version,
    };
    match condition {
        Condition::Version(old) if is_same(&new, old) => {
            let text = "the store answered with the version that was to be replaced";
            Err(store_error::of_text(ErrorClass::Unknown, text))
        }
        _ => Ok(Put::Stored(new)),
    }
}

/// By the ETag if both have one: S3 numbers all states of an object alike if the bucket keeps no versions.
fn is_same(new: &Version, old: &Version) -> bool {
    match (&new.e_tag, &old.e_tag) {
        (Some(new), Some(old)) => new.trim_matches('"') == old.trim_matches('"'),
        _ => new.version.is_some() && new.version == old.version,
    }
}

/// A missing bucket is no free lock: a wrong name would otherwise look like one until the first write. Nor is
/// the 404 of a proxy, which a holder would take for the deletion of its lock.
fn absent_or_no_bucket(error: &ClientError) -> Result<Found, RegisterError> {
    match store_error::class(error) {
        ErrorClass::Permanent => Err(store_error::of_client(error)),
        _ if store_error::is_of_no_store(error) => Err(store_error::of_client(error)),
        _ => Ok(Found::Absent),
    }
}

/// Whether the store answered that the condition does not hold. For an update of a missing object
/// stores answer 404 or 412.
fn is_refusal(error: &ClientError, condition: &Condition) -> bool {
    let refused = match error {
        ClientError::AlreadyExists { .. }
        | ClientError::Precondition { .. }
        | ClientError::NotModified { .. } => true,
        ClientError::NotFound { .. } => matches!(condition, Condition::Version(_)),
        _ => false,
    };
    refused && store_error::class(error) != ErrorClass::Permanent
}

async fn read(result: GetResult) -> Result<Stored, RegisterError> {
    let meta = result.meta.clone();
    let mut bytes = Vec::new();
    let mut stream = result.into_stream();
    while bytes.len() < READ_LIMIT {
        match stream.try_next().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) => return Err(store_error::of_client(&error)),
        }
    }
    // A part of a record is no record: it would be taken for an object that is not ours.
    if (bytes.len() as u64) < meta.size.min(READ_LIMIT as u64) {
        let text = format!(
            "the answer ended after {} of {} bytes",
            bytes.len(),
            meta.size
        );
        return Err(store_error::of_text(ErrorClass::Unknown, &text));
    }
    bytes.truncate(READ_LIMIT);
    Ok(Stored {
        bytes: bytes.into(),
        version: Version {
            e_tag: meta.e_tag,
            version: meta.version,
        },
        modified_ms: u64::try_from(meta.last_modified.timestamp_millis()).ok(),
    })
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    fn bucket() -> Bucket {
        Bucket::new(Arc::new(InMemory::new()), "memory://")
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime needs no resource here")
            .block_on(future)
    }

    fn stored(put: Result<Put, RegisterError>) -> Version {
        match put.expect("the store answers") {
            Put::Stored(version) => version,
            Put::Refused => panic!("the condition holds"),
        }
    }

    #[test]
    fn a_condition_that_does_not_hold_is_refused_and_one_that_holds_is_not() {
        run(async {
            let object = bucket().register("k".into());
            let put = |text: &'static str, condition| object.put_if(Bytes::from(text), condition);
            let nothing = Condition::Version(Version {
                e_tag: Some("\"7\"".into()),
                version: None,
            });
            assert_eq!(
                put("early", nothing).await.expect("an answer"),
                Put::Refused
            );
            let first = stored(put("first", Condition::Absent).await);
            assert_eq!(
                put("late", Condition::Absent).await.expect("an answer"),
                Put::Refused
            );
            let second = stored(put("second", Condition::Version(first.clone())).await);
            let stale = put("stale", Condition::Version(first)).await;
            assert_eq!(stale.expect("an answer"), Put::Refused);
            let Found::Present(found) = object.get().await.expect("an answer") else {
                panic!("it was written");
            };
            assert_eq!((&*found.bytes, &found.version), (&b"second"[..], &second));
            assert!(found.modified_ms.is_some_and(|ms| ms > 1_700_000_000_000));
        });
    }

    #[test]
    fn an_update_without_a_version_is_a_permanent_error_and_never_a_blind_write() {
        run(async {
            let object = bucket().register("k".into());
            stored(object.put_if(Bytes::from("kept"), Condition::Absent).await);
            let nothing = Condition::Version(Version::default());
            let error = object
                .put_if(Bytes::from("blind"), nothing)
                .await
                .expect_err("no version");
            assert_eq!(error.class, ErrorClass::Permanent);
        });
    }

    #[test]
    fn of_a_long_object_only_the_beginning_is_read_and_an_empty_one_is_read_whole() {
        run(async {
            let bucket = bucket();
            for (key, length, read) in [("long", 3 << 20, READ_LIMIT), ("empty", 0, 0)] {
                let object = bucket.register(key.into());
                stored(
                    object
                        .put_if(vec![7; length].into(), Condition::Absent)
                        .await,
                );
                let Found::Present(found) = object.get().await.expect("an answer") else {
                    panic!("it was written");
                };
                assert_eq!(found.bytes.len(), read);
            }
        });
    }

    #[test]
    fn quotes_of_an_etag_are_sent_as_they_came_unless_they_are_to_be_stripped() {
        let bucket = bucket();
        let version = Version {
            e_tag: Some("\"abc\"".into()),
            version: Some("7".into()),
        };
        let condition = Condition::Version(version);
        let sent = |bucket: &Bucket| match bucket.put_mode(&condition) {
            PutMode::Update(update) => (update.e_tag, update.version),
            other => panic!("not an update: {other:?}"),
        };
        assert_eq!(sent(&bucket), (Some("\"abc\"".into()), Some("7".into())));
        bucket.clone().strip_quotes(true);
        assert_eq!(sent(&bucket), (Some("abc".into()), Some("7".into())));
    }
}
