//! `tracing` events for what an operator wants in the log: breaks, losses, failed refreshes.
//!
//! Without the feature `tracing` these functions do nothing.

use std::error::Error;
use std::path::Path;

#[cfg(feature = "tracing")]
use crate::escape::Escaped;
use crate::holder::Holder;

#[cfg(feature = "tracing")]
pub(crate) fn broken(lock_path: &Path, holder: &Holder) {
    tracing::warn!(lock_path = %Escaped::path(lock_path), %holder, "broke a lock");
}

#[cfg(feature = "tracing")]
pub(crate) fn lost(lock_path: &Path, reason: &dyn std::fmt::Display) {
    tracing::error!(lock_path = %Escaped::path(lock_path), %reason, "lost a lock");
}

#[cfg(feature = "tracing")]
pub(crate) fn refresh_failed(lock_path: &Path, error: &dyn Error) {
    tracing::warn!(lock_path = %Escaped::path(lock_path), %error, "could not refresh a lock");
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn broken(_lock_path: &Path, _holder: &Holder) {}

#[cfg(not(feature = "tracing"))]
pub(crate) fn lost(_lock_path: &Path, _reason: &dyn std::fmt::Display) {}

#[cfg(not(feature = "tracing"))]
pub(crate) fn refresh_failed(_lock_path: &Path, _error: &dyn Error) {}
