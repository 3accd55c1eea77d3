//! [`Location`]: the URL of an object, taken apart.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use object_store::path::Path;

/// The services that a URL can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Service {
    /// `s3://`: Amazon S3, and every server with its API.
    S3,
    /// `az://`: Azure Blob Storage.
    Azure,
    /// `gs://`: Google Cloud Storage.
    Gcs,
}

impl Service {
    /// The scheme of its URLs.
    #[must_use]
    pub fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Azure => "az",
            Self::Gcs => "gs",
        }
    }

    fn of_scheme(scheme: &str) -> Option<Self> {
        [Self::S3, Self::Azure, Self::Gcs]
            .into_iter()
            .find(|service| service.scheme() == scheme)
    }
}

/// The URL of a data object: the service, the bucket and the key.
///
/// The key is taken as it stands. `%`, `?` and `#` have no special meaning, as in the commands of the
/// services.
///
/// ```
/// use rvlf_object_store::Location;
///
/// let data: Location = "s3://bucket/data/x".parse()?;
/// assert_eq!(data.lock_key(None).as_ref(), "data/x.lock");
/// assert_eq!(data.lock_key(Some(&"locks".into())).as_ref(), "locks/data/x.lock");
/// let data: Location = "s3://bucket/50%~".parse()?;
/// assert_eq!(data.lock_key(None).as_ref(), "50%~.lock");
/// # Ok::<(), rvlf_object_store::LocationError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    /// The service.
    pub service: Service,
    /// The bucket, which Azure calls a container.
    pub bucket: String,
    /// The key of the data object.
    pub key: Path,
}

impl Location {
    /// The key of the lock object: that of the data with `.lock`, under `prefix` if there is one.
    ///
    /// A prefix of their own lets lock objects have other rules than data: how long a versioned bucket
    /// keeps old versions, who may write.
    #[must_use]
    pub fn lock_key(&self, prefix: Option<&Path>) -> Path {
        lock_key(&self.key, prefix)
    }

    /// The URL of the bucket.
    #[must_use]
    pub fn bucket_url(&self) -> String {
        format!("{}://{}", self.service.scheme(), self.bucket)
    }
}

/// The key of the lock of the data object `data`.
pub(crate) fn lock_key(data: &Path, prefix: Option<&Path>) -> Path {
    let key = match prefix {
        Some(prefix) => format!("{prefix}/{data}.lock"),
        None => format!("{data}.lock"),
    };
    // Not `into`, which encodes some characters, and `%` among them: the lock of `a%7Eb` would be that of
    // `a%257Eb`, and a program with another path for the same data would have another lock.
    Path::parse(key).expect("two keys and `.lock` make no segment that is empty or has dots alone")
}

/// The key that this text is, as it stands. Text that is none is made one, as by `object_store`: for the
/// objects of a self-test, which may have any key.
pub(crate) fn any_key(text: &str) -> Path {
    Path::parse(text).unwrap_or_else(|_| Path::from(text))
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.bucket_url(), self.key)
    }
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(url: &str) -> Result<Self, LocationError> {
        let (scheme, rest) = url.split_once("://").ok_or(LocationError::NoScheme)?;
        let service = Service::of_scheme(scheme).ok_or_else(|| LocationError::UnknownScheme {
            scheme: scheme.to_owned(),
        })?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if !is_bucket_name(bucket) {
            return Err(LocationError::NoBucket {
                scheme: service.scheme(),
            });
        }
        let bucket = bucket.to_owned();
        // `Path` drops these two, and `b/d/` would have the lock of `b/d`.
        let has_an_empty_end = key.starts_with('/') || key.ends_with('/');
        let key = Path::parse(key).ok();
        let key = key.filter(|key| !key.is_root() && !has_an_empty_end);
        let key = key.ok_or_else(|| LocationError::BadKey {
            bucket_url: format!("{scheme}://{bucket}"),
        })?;
        Ok(Self {
            service,
            bucket,
            key,
        })
    }
}

/// The characters that a service allows. Others are refused here, because `user:secret@bucket` would be
/// shown in messages. In the path of a request `.` and `..` are no names.
fn is_bucket_name(name: &str) -> bool {
    !name.bytes().all(|byte| byte == b'.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._$".contains(&byte))
}

/// Why a text is not the URL of an object. No message repeats the text: it may contain credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LocationError {
    /// There is no `://`.
    NoScheme,
    /// No service has this scheme.
    UnknownScheme {
        /// The scheme.
        scheme: String,
    },
    /// There is no name of a bucket behind the scheme.
    NoBucket {
        /// The scheme.
        scheme: &'static str,
    },
    /// The key is empty, or no key of an object store: it has an empty segment, `.`, `..` or a control
    /// character.
    BadKey {
        /// The URL up to the key, or the name of the store.
        bucket_url: String,
    },
}

impl fmt::Display for LocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoScheme => {
                write!(
                    f,
                    "not the URL of an object: write s3://BUCKET/KEY, gs:// or az://"
                )
            }
            Self::UnknownScheme { scheme } => {
                write!(
                    f,
                    "no object store has the scheme {scheme:?}: use s3, gs or az"
                )
            }
            Self::NoBucket { scheme } => write!(
                f,
                "no bucket name follows {scheme}://: write {scheme}://BUCKET/KEY; the credentials \
                 come from environment variables"
            ),
            Self::BadKey { bucket_url } => write!(
                f,
                "the key in {bucket_url} is empty, or has an empty segment, `.`, `..` or a control \
                 character: write {bucket_url}/KEY"
            ),
        }
    }
}

impl Error for LocationError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_its_key_is_not_decoded() {
        let location: Location = "gs://my-bucket/a/b%20c#d?e".parse().expect("it is a URL");
        assert_eq!(location.service, Service::Gcs);
        assert_eq!(location.bucket, "my-bucket");
        assert_eq!(location.key.as_ref(), "a/b%20c#d?e");
        assert_eq!(location.to_string(), "gs://my-bucket/a/b%20c#d?e");
    }

    // `~` became `%7E`, and `%` became `%25`: a program that had made its path otherwise had another lock.
    #[test]
    fn the_key_of_the_lock_is_that_of_the_data_with_an_end_and_no_character_is_encoded() {
        let key = "d/~%7E#?*[]{}^|\\\"<>`é/x";
        let location: Location = format!("s3://b/{key}").parse().expect("it is a URL");
        assert_eq!(location.lock_key(None).as_ref(), format!("{key}.lock"));
        let prefix = Path::parse("~locks").expect("it is a key");
        let under = location.lock_key(Some(&prefix));
        assert_eq!(under.as_ref(), format!("~locks/{key}.lock"));
        assert_eq!(any_key(under.as_ref()), under);
    }

    #[test]
    fn text_that_is_no_url_of_an_object_is_refused_without_showing_a_secret() {
        for url in [
            "x",
            "s3://",
            "s3://bucket",
            "s3:///key",
            "s3://b/a/../c",
            "s3://b/a//c",
            "s3://b//c",
            "s3://b/a/",
            "s3://b/",
            "s3://./c",
            "s3://../c",
        ] {
            url.parse::<Location>().expect_err(url);
        }
        for url in [
            "s3://id:hunter2@bucket/key",
            "https://bucket/key?sig=hunter2",
            "hunter2",
        ] {
            let error = url.parse::<Location>().expect_err("not a location");
            assert!(
                !format!("{error} {error:?}").contains("hunter2"),
                "{error:?}"
            );
        }
    }
}
