//! A terminal, made by script(1), and the keys that a test presses on it.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use super::{Directory, RVLF, Watchdog, allow_signals, skip};

/// Runs a shell line on a terminal of its own. `type_keys` reads the screen and presses keys.
/// Returns all that was shown; `None` without script(1).
pub fn on_a_terminal(
    dir: &Directory,
    line: &str,
    type_keys: impl FnOnce(&mut Terminal),
) -> Option<String> {
    allow_signals();
    // Wide enough for the longest host name.
    let wide = format!("stty rows 24 columns 200; {line}");
    let mut command = Command::new("script");
    command
        .args(["-qec", &wide, "/dev/null"])
        .process_group(0)
        .current_dir(dir.path())
        .env("RVLF", RVLF)
        .env("TERM", "xterm")
        .env("COLUMNS", "200")
        .env_remove("NO_COLOR")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else {
        skip("there is no script(1) to make a terminal");
        return None;
    };
    let watchdog = Watchdog::start(&child);
    let mut terminal = Terminal {
        keyboard: child.stdin.take().expect("standard input is piped"),
        screen: child.stdout.take().expect("standard output is piped"),
        shown: String::new(),
    };
    type_keys(&mut terminal);
    terminal.read_until(None);
    child.wait().expect("script has not been reaped");
    watchdog.stop(&format!("{line}: {}", terminal.shown));
    Some(terminal.shown)
}

pub struct Terminal {
    keyboard: ChildStdin,
    screen: ChildStdout,
    shown: String,
}

impl Terminal {
    /// Reads until the screen has shown a text.
    pub fn wait_for(&mut self, text: &str) {
        self.read_until(Some(text));
    }

    fn read_until(&mut self, text: Option<&str>) {
        let mut buffer = [0; 4096];
        while text.is_none_or(|text| !self.shown.contains(text)) {
            match self.screen.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    let bytes = buffer.get(..count).expect("a read fits its buffer");
                    self.shown.push_str(&String::from_utf8_lossy(bytes));
                }
            }
        }
    }

    pub fn press_ctrl_c(&mut self) {
        let typed = self.keyboard.write_all(b"\x03");
        typed
            .and_then(|()| self.keyboard.flush())
            .expect("script reads its input");
    }
}
