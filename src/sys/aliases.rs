//! The names under which deployed clients may have recorded this host.

use std::ffi::OsString;

use crate::record::Hostname;

/// Deployed clients cut host names at 62 bytes, one less than fits.
const DEPLOYED_HOSTNAME_LEN: usize = 62;

/// Whether `name` is what a deployed client records on this host, which calls itself `own`.
pub(super) fn is_alias(name: &Hostname, own: Option<OsString>) -> bool {
    // What they record where they find no name; on Windows they find none.
    if matches!(name.as_bytes(), b"" | b"unknown") {
        return true;
    }
    let exported = std::env::var_os("HOSTNAME").map(OsString::into_encoded_bytes);
    let configured = std::fs::read("/etc/hostname")
        .map(|name| name.trim_ascii().to_vec())
        .ok();
    let real = own.map(OsString::into_encoded_bytes);
    [exported, configured, real].iter().flatten().any(|alias| {
        let recorded = name.as_bytes();
        let cut = alias.get(..DEPLOYED_HOSTNAME_LEN);
        recorded == Hostname::truncated(alias).as_bytes() || Some(recorded) == cut
    })
}
