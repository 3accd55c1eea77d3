//! The HTTP client of a bucket: with the settings of `object_store`, but it follows no redirect.
//!
//! `object_store` lets its client follow them. A PUT that is answered with 301, 302 or 303 then goes on
//! as a GET, whose 200 has an ETag: a conditional write of which nothing is in would count as done. The
//! headers go along to the other host, the session token among them.
//!
//! One setting has no effect, `RANDOMIZE_ADDRESSES`: a lock has one connection, which spreads no load.

use std::error::Error;
use std::time::Duration;

use object_store::client::ClientConfigKey as Key;
use object_store::client::{HttpClient, HttpConnector, SpawnService};
use object_store::{ClientOptions, Error as ClientError, Result};
use reqwest::redirect::Policy;
use reqwest::tls::Certificate;
use reqwest::{ClientBuilder, NoProxy, Proxy};

use crate::sync::runtime::Handle;

type Failure = Box<dyn Error + Send + Sync>;

/// Connects on a runtime that no work of the program blocks.
#[derive(Debug)]
pub(crate) struct Connector(pub(crate) Handle);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient> {
        let settings = Settings(options);
        let client = builder(&settings).and_then(|builder| Ok(builder.build()?));
        let client = client.map_err(|source| ClientError::Generic {
            store: "HTTP client",
            source,
        })?;
        Ok(HttpClient::new(SpawnService::new(client, self.0.clone())))
    }
}

fn builder(settings: &Settings<'_>) -> Result<ClientBuilder, Failure> {
    let agent = settings.text(Key::UserAgent);
    let agent = agent.unwrap_or_else(|| concat!("rvlf/", env!("CARGO_PKG_VERSION")).to_owned());
    let mut builder = ClientBuilder::new()
        .redirect(Policy::none())
        .user_agent(agent)
        .default_headers(settings.0.get_default_headers().cloned().unwrap_or_default())
        .https_only(!settings.flag(Key::AllowHttp)?)
        .danger_accept_invalid_certs(settings.flag(Key::AllowInvalidCertificates)?)
        // The length of an answer in its headers is that of the object.
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate();
    if settings.flag(Key::NoSystemCertificates)? {
        builder = builder.tls_certs_only([]);
    }
    let builder = with_proxy(builder, settings)?;
    let builder = with_timeouts(builder, settings)?;
    with_http_version(builder, settings)
}

fn with_proxy(
    mut builder: ClientBuilder,
    settings: &Settings<'_>,
) -> Result<ClientBuilder, Failure> {
    let Some(url) = settings.text(Key::ProxyUrl) else {
        return Ok(builder);
    };
    let mut proxy = Proxy::all(url)?;
    if let Some(pem) = settings.text(Key::ProxyCaCertificate) {
        builder = builder.tls_certs_merge([Certificate::from_pem(pem.as_bytes())?]);
    }
    if let Some(excludes) = settings.text(Key::ProxyExcludes) {
        proxy = proxy.no_proxy(NoProxy::from_string(&excludes));
    }
    Ok(builder.proxy(proxy))
}

fn with_timeouts(
    mut builder: ClientBuilder,
    settings: &Settings<'_>,
) -> Result<ClientBuilder, Failure> {
    if let Some(time) = settings.time(Key::Timeout)? {
        builder = builder.timeout(time);
    }
    if let Some(time) = settings.time(Key::ConnectTimeout)? {
        builder = builder.connect_timeout(time);
    }
    if let Some(time) = settings.time(Key::ReadTimeout)? {
        builder = builder.read_timeout(time);
    }
    if let Some(time) = settings.time(Key::PoolIdleTimeout)? {
        builder = builder.pool_idle_timeout(time);
    }
    if let Some(most) = settings.text(Key::PoolMaxIdlePerHost) {
        builder = builder.pool_max_idle_per_host(most.parse()?);
    }
    Ok(builder)
}

fn with_http_version(
    mut builder: ClientBuilder,
    settings: &Settings<'_>,
) -> Result<ClientBuilder, Failure> {
    if let Some(time) = settings.time(Key::Http2KeepAliveInterval)? {
        builder = builder.http2_keep_alive_interval(time);
    }
    if let Some(time) = settings.time(Key::Http2KeepAliveTimeout)? {
        builder = builder.http2_keep_alive_timeout(time);
    }
    if let Some(size) = settings.text(Key::Http2MaxFrameSize) {
        builder = builder.http2_max_frame_size(size.parse::<u32>()?);
    }
    builder = builder.http2_keep_alive_while_idle(settings.flag(Key::Http2KeepAliveWhileIdle)?);
    if settings.flag(Key::Http1Only)? {
        builder = builder.http1_only();
    }
    if settings.flag(Key::Http2Only)? {
        builder = builder.http2_prior_knowledge();
    }
    Ok(builder)
}

/// The settings, as texts in the forms that `object_store` documents.
struct Settings<'a>(&'a ClientOptions);

impl Settings<'_> {
    fn text(&self, key: Key) -> Option<String> {
        self.0.get_config_value(&key)
    }

    fn time(&self, key: Key) -> Result<Option<Duration>, Failure> {
        let wrong = |text: &str| format!("{}: {text:?} is no time such as 5s", key.as_ref());
        let time = |text: String| humantime::parse_duration(&text).map_err(|_| wrong(&text).into());
        self.text(key).map(time).transpose()
    }

    fn flag(&self, key: Key) -> Result<bool, Failure> {
        let text = self.text(key).unwrap_or_default();
        match text.to_ascii_lowercase().as_str() {
            "1" | "true" | "on" | "yes" | "y" => Ok(true),
            "" | "0" | "false" | "off" | "no" | "n" => Ok(false),
            _ => Err(format!("{}: {text:?} is neither true nor false", key.as_ref()).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A setting that was read and not used, or not understood and passed over, is found in an outage.
    #[test]
    fn a_setting_that_is_not_understood_is_an_error_and_one_that_is_builds_a_client() {
        let builds = |key, value: &str| {
            crate::services::install_tls_provider();
            let options = ClientOptions::new().with_config(key, value);
            builder(&Settings(&options)).and_then(|builder| Ok(builder.build()?))
        };
        for (key, good, bad) in [
            (Key::AllowHttp, "yes", "perhaps"),
            (Key::AllowInvalidCertificates, "on", "perhaps"),
            (Key::ConnectTimeout, "2 seconds", "2"),
            (Key::ReadTimeout, "1m", "soon"),
            (Key::PoolIdleTimeout, "1m 30s", "soon"),
            (Key::PoolMaxIdlePerHost, "2", "two"),
            (Key::Http2KeepAliveInterval, "5s", "soon"),
            (Key::Http2MaxFrameSize, "32768", "large"),
            (Key::ProxyUrl, "http://127.0.0.1:9", "::"),
        ] {
            builds(key, good).unwrap_or_else(|error| panic!("{key:?} {good}: {error}"));
            builds(key, bad).expect_err(bad);
        }
    }
}
