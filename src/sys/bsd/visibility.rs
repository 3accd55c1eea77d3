//! Whether this process may see all processes: only then does ESRCH of kill(2) prove a death.

/// FreeBSD answers ESRCH for a process that it hides: one outside of the own jail, and, unless the
/// administrator permits it, one of another user, of another group or in a jail. kill(2), security(7)
#[cfg(target_os = "freebsd")]
pub(super) fn is_each_process_visible() -> bool {
    use std::ffi::CStr;

    use super::sysctl::read_by_name;

    /// What must have a value, if it is there at all: policies are modules of the kernel.
    const POLICIES: [(&CStr, u32); 9] = [
        (c"security.jail.jailed", 0),
        (c"security.bsd.see_other_uids", 1),
        (c"security.bsd.see_other_gids", 1),
        (c"security.bsd.see_jail_proc", 1),
        (c"security.mac.seeotheruids.enabled", 0),
        (c"security.mac.partition.enabled", 0),
        (c"security.mac.biba.enabled", 0),
        (c"security.mac.lomac.enabled", 0),
        (c"security.mac.mls.enabled", 0),
    ];
    POLICIES.iter().all(|(name, visible)| {
        let mut value = 0_u32;
        match read_by_name(name, bytemuck::bytes_of_mut(&mut value)) {
            Ok(_) => value == *visible,
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        }
    })
}

/// A jail of DragonFly hides the processes outside of it, and does not say that it is one.
#[cfg(target_os = "dragonfly")]
pub(super) fn is_each_process_visible() -> bool {
    false
}

/// There are no jails, and a sandbox answers EPERM.
#[cfg(not(any(target_os = "freebsd", target_os = "dragonfly")))]
pub(super) fn is_each_process_visible() -> bool {
    true
}
