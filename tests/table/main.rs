//! The allocation table: its algebra, its file, and many processes that share one.

mod crash;
mod file;
mod next_steps;
mod operations;
mod processes;
mod scope;
mod yoi;

#[cfg(target_os = "linux")]
#[test]
fn child_role() {
    support::run_role(
        &[
            crash::ROLES,
            file::ROLES,
            next_steps::ROLES,
            processes::ROLES,
        ]
        .concat(),
    );
}
