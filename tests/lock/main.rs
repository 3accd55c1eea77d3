//! The lock, used by real processes in the ways in which it is used and abused.

mod any_unix;
mod auto_traits;
mod cancel;
mod confinement;
mod crash;
mod data_race;
mod directories;
mod flock_errors;
mod hard_cases;
mod host_program;
mod keepalive;
mod lent;
mod locked_by;
mod processes;
mod soak;
mod waiting;

#[cfg(all(target_os = "linux", not(rvlf_portable), not(rvlf_unsupported)))]
#[test]
fn child_role() {
    let roles = [
        confinement::ROLES,
        crash::ROLES,
        directories::ROLES,
        hard_cases::ROLES,
        host_program::ROLES,
        keepalive::ROLES,
        locked_by::ROLES,
        processes::ROLES,
        soak::ROLES,
        waiting::ROLES,
    ];
    support::run_role(&roles.concat());
}
