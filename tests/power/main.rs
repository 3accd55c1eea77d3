//! Writers on a disk that loses power, and what must be there afterwards. `scripts/power` runs it.
//! Linux only: it writes past the page cache.

#[cfg(target_os = "linux")]
mod check;
#[cfg(target_os = "linux")]
mod marks;
#[cfg(target_os = "linux")]
mod program;
#[cfg(target_os = "linux")]
mod write;

#[cfg(target_os = "linux")]
fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    program::run()
}

#[cfg(not(target_os = "linux"))]
fn main() {}
