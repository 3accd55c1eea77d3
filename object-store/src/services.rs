//! Opens the bucket of a [`Location`] with the environment variables of its service.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::bucket::Bucket;
use crate::location::{Location, Service};
use crate::sync::runtime::Handle;

/// What the HTTP client of a bucket needs.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// How long one request may take, from the connection to the last byte of the answer.
    pub request_timeout: Duration,
    /// Where the requests and the connections run. It must not be blocked: a refresh that waits for
    /// other work is late.
    pub runtime: Handle,
}

impl Bucket {
    /// Opens the bucket of `location`. Nothing is sent yet.
    ///
    /// The configuration is in the environment: `AWS_*`, `AZURE_*` or `GOOGLE_*`, as `object_store`
    /// documents them. `http://` endpoints need `AWS_ALLOW_HTTP=true` or its counterpart. No request is
    /// repeated below the lock, which has to know of each.
    ///
    /// The first call makes *ring* the process-wide default provider of `rustls`, unless the process
    /// has one already.
    ///
    /// # Errors
    ///
    /// [`OpenError::NoFeature`] if the service was left out of this build,
    /// [`OpenError::Configuration`] if the environment does not configure it, [`OpenError::Variable`] if a
    /// variable has a value that no request can carry.
    ///
    #[cfg_attr(feature = "aws", doc = "```")]
    #[cfg_attr(not(feature = "aws"), doc = "```ignore")]
    /// use std::time::Duration;
    ///
    /// use rvlf_object_store::{Bucket, HttpOptions, Location, Register};
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// let data: Location = "s3://bucket/data/x".parse()?;
    /// let http = HttpOptions {
    ///     request_timeout: Duration::from_secs(5),
    ///     runtime: runtime.handle().clone(),
    /// };
    /// let object = Bucket::open(&data, &http)?.register(data.lock_key(None));
    /// assert_eq!(object.name(), "s3://bucket/data/x.lock");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(location: &Location, http: &HttpOptions) -> Result<Self, OpenError> {
        #[cfg(feature = "http")]
        install_tls_provider();
        match location.service {
            #[cfg(feature = "aws")]
            Service::S3 => http::s3(location, http),
            #[cfg(feature = "azure")]
            Service::Azure => http::azure(location, http),
            #[cfg(feature = "gcp")]
            Service::Gcs => http::gcs(location, http),
            #[cfg(not(all(feature = "aws", feature = "azure", feature = "gcp")))]
            service => {
                let _ = http;
                Err(OpenError::NoFeature { service })
            }
        }
    }
}

/// `reqwest` without a provider of its own panics if the process has no default one. Losing the race
/// against another thread that installs one is as good.
#[cfg(feature = "http")]
pub(crate) fn install_tls_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
mod http {
    use std::str::FromStr;
    use std::sync::Arc;

    use object_store::client::ClientConfigKey;
    use object_store::{ObjectStore, RetryConfig};

    use super::{Bucket, HttpOptions, Location, OpenError};
    use crate::http_client::Connector;
    use crate::variables::flawed;

    /// What `object_store` sends again by itself is refused because of its own first copy.
    fn no_retries() -> RetryConfig {
        RetryConfig {
            max_retries: 0,
            ..RetryConfig::default()
        }
    }

    fn connector(http: &HttpOptions) -> Connector {
        Connector(http.runtime.clone())
    }

    /// Variables that are not UTF-8 are not read by `object_store`.
    fn check_variables<K: FromStr>(location: &Location) -> Result<(), OpenError> {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        match flawed::<K>(variables) {
            None => Ok(()),
            Some((name, flaw)) => Err(OpenError::Variable {
                bucket_url: location.bucket_url(),
                name,
                problem: flaw.text(),
            }),
        }
    }

    /// As `object_store` reads durations.
    fn timeout(http: &HttpOptions) -> String {
        format!("{}ms", http.request_timeout.as_millis().max(1))
    }

    fn bucket<S: ObjectStore>(
        location: &Location,
        built: object_store::Result<S>,
    ) -> Result<Bucket, OpenError> {
        match built {
            Ok(store) => Ok(Bucket::new(Arc::new(store), &location.bucket_url())),
            Err(error) => Err(OpenError::configuration(location, &error)),
        }
    }

    #[cfg(feature = "aws")]
    pub(super) fn s3(location: &Location, http: &HttpOptions) -> Result<Bucket, OpenError> {
        use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
        check_variables::<AmazonS3ConfigKey>(location)?;
        let builder = AmazonS3Builder::from_env()
            .with_bucket_name(&location.bucket)
            .with_config(
                AmazonS3ConfigKey::Client(ClientConfigKey::Timeout),
                timeout(http),
            )
            .with_retry(no_retries())
            .with_http_connector(connector(http));
        bucket(location, builder.build())
    }

    #[cfg(feature = "azure")]
    pub(super) fn azure(location: &Location, http: &HttpOptions) -> Result<Bucket, OpenError> {
        use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
        check_variables::<AzureConfigKey>(location)?;
        let builder = MicrosoftAzureBuilder::from_env()
            .with_container_name(&location.bucket)
            .with_config(
                AzureConfigKey::Client(ClientConfigKey::Timeout),
                timeout(http),
            )
            .with_retry(no_retries())
            .with_http_connector(connector(http));
        bucket(location, builder.build())
    }

    #[cfg(feature = "gcp")]
    pub(super) fn gcs(location: &Location, http: &HttpOptions) -> Result<Bucket, OpenError> {
        use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
        check_variables::<GoogleConfigKey>(location)?;
        let builder = GoogleCloudStorageBuilder::from_env()
            .with_bucket_name(&location.bucket)
            .with_config(
                GoogleConfigKey::Client(ClientConfigKey::Timeout),
                timeout(http),
            )
            .with_retry(no_retries())
            .with_http_connector(connector(http));
        bucket(location, builder.build())
    }
}

/// Why a bucket was not opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// This build has no client for the service.
    NoFeature {
        /// The service.
        service: Service,
    },
    /// A variable has a value that the client of the service cannot use.
    Variable {
        /// The bucket.
        bucket_url: String,
        /// The variable. Its value may be secret.
        name: String,
        /// What is wrong, and what to do.
        problem: &'static str,
    },
    /// The environment does not configure the service.
    Configuration {
        /// The bucket.
        bucket_url: String,
        /// What is wrong, without the values of variables that hold secrets.
        problem: String,
    },
}

impl OpenError {
    #[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
    fn configuration(location: &Location, error: &object_store::Error) -> Self {
        Self::Configuration {
            bucket_url: location.bucket_url(),
            problem: crate::secrets::masked(&error.to_string()),
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFeature { service } => {
                let feature = match service {
                    Service::S3 => "aws",
                    Service::Azure => "azure",
                    Service::Gcs => "gcp",
                };
                write!(
                    f,
                    "this build has no client for {}:// URLs: build rvlf-object-store with the \
                     feature `{feature}`",
                    service.scheme()
                )
            }
            Self::Variable {
                bucket_url,
                name,
                problem,
            } => write!(f, "cannot open {bucket_url}: {name} {problem}"),
            Self::Configuration {
                bucket_url,
                problem,
            } => {
                write!(
                    f,
                    "cannot open {bucket_url}: {problem}; check the environment variables"
                )
            }
        }
    }
}

impl Error for OpenError {}

#[cfg(all(test, not(feature = "gcp")))]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_a_service_names_the_feature_that_brings_it() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let http = HttpOptions {
            request_timeout: Duration::from_secs(1),
            runtime: runtime.handle().clone(),
        };
        let location = "gs://bucket/key".parse().expect("it is a URL");
        let error = Bucket::open(&location, &http).expect_err("the feature is not there");
        assert!(error.to_string().contains("feature `gcp`"), "{error}");
    }
}
