//! [`ShellWord`]: a name as one word of a command to paste into a shell.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use crate::escape::Escaped;
use crate::sys::shell;

/// Displays a name that another program has chosen as one word of a shell command, quoted if necessary.
///
/// Messages propose commands to paste. In this form no name becomes two words, another command, or what
/// [`Escaped`] hides. The shell is sh(1), and on Windows cmd.exe or PowerShell.
///
/// ```
/// use rvlf::ShellWord;
///
/// assert_eq!(ShellWord::new("indexer").to_string(), "indexer");
/// # #[cfg(unix)]
/// assert_eq!(ShellWord::new("$(reboot)").to_string(), "'$(reboot)'");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ShellWord<'a>(Cow<'a, OsStr>);

impl<'a> ShellWord<'a> {
    /// The word that a shell passes on as `word`.
    ///
    /// ```
    /// # #[cfg(unix)]
    /// assert_eq!(rvlf::ShellWord::new("two words").to_string(), "'two words'");
    /// ```
    #[must_use]
    pub fn new(word: &'a (impl AsRef<OsStr> + ?Sized)) -> ShellWord<'a> {
        ShellWord(Cow::Borrowed(word.as_ref()))
    }

    /// The same for a path. A relative one that begins with a hyphen would be an option of the command, and gets a
    /// `./`.
    ///
    /// ```
    /// # #[cfg(unix)]
    /// # {
    /// use std::path::Path;
    /// use rvlf::ShellWord;
    ///
    /// assert_eq!(ShellWord::path(Path::new("-n")).to_string(), "./-n");
    /// # }
    /// ```
    #[must_use]
    pub fn path(path: &'a Path) -> ShellWord<'a> {
        if path.as_os_str().as_encoded_bytes().starts_with(b"-") {
            ShellWord(Cow::Owned(Path::new(".").join(path).into()))
        } else {
            ShellWord::new(path)
        }
    }
}

impl fmt::Display for ShellWord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.as_encoded_bytes();
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.is_empty() && text.chars().all(shell::is_plain) => f.write_str(text),
            Ok(text) if Escaped::text(text).to_string() == text => {
                f.write_str(&shell::quoted(text))
            }
            _ => f.write_str(&shell::escaped(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A path must not become two words or another command.
    #[cfg(unix)]
    #[test]
    fn shell_words_survive_a_shell() {
        use std::os::unix::ffi::OsStrExt;
        let cases: [(&[u8], &str); 8] = [
            (b"data/store.rvf", "data/store.rvf"),
            (b"two words", "'two words'"),
            (b"it's; rm -r", r"'it'\''s; rm -r'"),
            (b"$(reboot)`reboot`", "'$(reboot)`reboot`'"),
            (b"", "''"),
            (b"new\nline", r"$'new\nline'"),
            (b"caf\xe9", r"$'caf\xe9'"),
            (b"a\xe2\x80\xae.b", r"$'a\xe2\x80\xae.b'"),
        ];
        for (bytes, expected) in cases {
            let name: &OsStr = OsStrExt::from_bytes(bytes);
            assert_eq!(ShellWord::new(name).to_string(), expected);
        }
    }

    // A path must not become two words or another command.
    #[cfg(windows)]
    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        for (word, expected) in [
            (r"C:\data\store.rvf", r"C:\data\store.rvf"),
            ("two words", "\"two words\""),
            ("a&del b", "\"a&del b\""),
            ("", "\"\""),
        ] {
            assert_eq!(ShellWord::new(word).to_string(), expected);
        }
    }
}
