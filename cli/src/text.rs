//! Text that may be shown on a terminal, or pasted into a shell.

use std::borrow::Cow;
use std::error::Error;
use std::ffi::OsStr;
use std::fmt::{self, Display, Write};
use std::path::Path;

/// Shows text with its control characters escaped, so that no name can drive a terminal or begin a
/// second line.
pub struct Plain<'a>(pub Cow<'a, str>);

impl Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// A path, for a person to read.
pub fn path(path: &Path) -> Plain<'_> {
    Plain(path.to_string_lossy())
}

/// A path or another word, for a person to paste into a shell.
pub fn word(word: impl AsRef<OsStr>) -> String {
    const HARMLESS: &str = "_-./+=:,@%";
    let bytes = word.as_ref().as_encoded_bytes();
    let plain = |c: char| c.is_alphanumeric() || HARMLESS.contains(c);
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && text.chars().all(plain) => text.to_owned(),
        Ok(text) if !text.chars().any(char::is_control) => {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
        // Only this form can name bytes that are no text. POSIX 2024, sh, dollar-single-quotes
        _ => format!("$'{}'", bytes.escape_ascii()),
    }
}

/// Says something on standard error, in one line.
pub fn say(message: impl Display) {
    let message = Plain(message.to_string().into());
    // Where nobody listens there is nobody to tell.
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("rvlf: {message}\n"));
}

/// Says what went wrong and why, in one line: the error and those that led to it.
pub fn complain(error: &dyn Error) {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(message, ": {error}");
        cause = error.source();
    }
    say(message);
}

#[cfg(test)]
mod tests {
    use super::*;

    // The next step that a message proposes is pasted: a path must not become two words or a command.
    #[test]
    fn words_survive_a_shell() {
        let cases: [(&[u8], &str); 6] = [
            (b"data/store.rvf", "data/store.rvf"),
            (b"two words", "'two words'"),
            (b"it's; rm -r", r"'it'\''s; rm -r'"),
            (b"", "''"),
            (b"new\nline", r"$'new\nline'"),
            (b"caf\xe9", r"$'caf\xe9'"),
        ];
        for (bytes, expected) in cases {
            let name: &OsStr = std::os::unix::ffi::OsStrExt::from_bytes(bytes);
            assert_eq!(word(name), expected);
        }
    }

    // A file called "\x1b[2J" must not clear the screen of whoever asks for its lock.
    #[test]
    fn names_cannot_drive_a_terminal() {
        let shown = path(Path::new("a\u{1b}[2J\nb\u{9b}")).to_string();
        assert_eq!(shown, "a\\u{1b}[2J\\nb\\u{9b}");
    }
}
