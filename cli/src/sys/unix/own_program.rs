//! The path by which this program starts itself once more.

use std::io;
use std::path::PathBuf;

/// A path that leads to the program that runs, also after its file was removed or replaced, as an update
/// does. proc(5), /proc/PID/exe
///
/// # Errors
///
/// The path cannot be found.
pub fn own_program() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    // That of a removed file ends with " (deleted)". Not always this one: it would name the process "exe".
    let by_link = cfg!(target_os = "linux") && !path.exists();
    Ok(if by_link {
        PathBuf::from("/proc/self/exe")
    } else {
        path
    })
}
