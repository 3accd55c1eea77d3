//! Tries a lock on any file system, from several processes, mounts and hosts. Unix only: it raises signals.

#[cfg(unix)]
mod holds;
#[cfg(unix)]
mod program;
#[cfg(target_os = "linux")]
mod soak;
#[cfg(target_os = "linux")]
mod table;
#[cfg(unix)]
mod witness;

#[cfg(unix)]
fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    program::run()
}

#[cfg(not(unix))]
fn main() {}
