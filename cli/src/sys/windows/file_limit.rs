//! The limit of file sizes.

/// Windows has none that ends a process.
pub fn report_excess() {}
