//! [`LockingProcess`]: a process that shares the kernel lock of a lock file.

use std::fmt;

use crate::escape::Escaped;
use crate::record::Pid;

/// A process that has a lock file open with the kernel lock of that file.
///
/// A kernel lock lasts until the last process has closed the open file description to which it
/// belongs: the holder's children share it if they inherited the descriptor.
///
/// `Display` gives the pid and the command: `pid 12 (sh)`. Example:
/// [`LockFile::locked_by`](crate::LockFile::locked_by).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LockingProcess {
    /// Its pid in the pid namespace of this process.
    pub pid: Pid,
    /// Its pid in its own pid namespace, which it records as a holder. `None` if that is the
    /// namespace of this process.
    pub pid_in_container: Option<Pid>,
    /// The name of its program, or as much as the kernel keeps of it (15 bytes). Any process may
    /// change its own. `Display` is safe on a terminal.
    pub command: String,
}

impl fmt::Display for LockingProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} ({}", self.pid, Escaped::text(&self.command))?;
        match self.pid_in_container {
            Some(pid) => write!(f, ", pid {pid} in its container)"),
            None => f.write_str(")"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A process names itself as it likes.
    #[test]
    fn no_command_controls_a_terminal() {
        let process = LockingProcess {
            pid: Pid::new(12).expect("a positive number"),
            pid_in_container: Pid::new(1),
            command: "\u{1b}[2J\u{202e}".to_owned(),
        };
        let text = r"pid 12 (\u{1b}[2J\u{202e}, pid 1 in its container)";
        assert_eq!(process.to_string(), text);
    }
}
