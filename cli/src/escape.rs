//! Text that is safe to print on a terminal and to paste into a shell.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::{self, Display, Write};
use std::path::Path;

/// Displays text with its control characters and its characters without a shape escaped, so that no
/// file name can control a terminal, start a second line, or pass for another name (by a character
/// that reverses the direction of text).
pub struct Escaped<'a>(pub Cow<'a, str>);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if is_visible(c) {
                f.write_char(c)?;
            } else {
                write!(f, "{}", c.escape_default())?;
            }
        }
        Ok(())
    }
}

/// Whether the standard library's `Debug` of a text shows `c` as it is. It escapes Unicode's control
/// and format characters and its separators but the space; and quotes and the backslash, which can
/// do no harm. Behind another character, it shows combining marks.
pub fn is_visible(c: char) -> bool {
    let text = format!("x{c}");
    matches!(c, '"' | '\'' | '\\') || text.escape_debug().eq(text.chars())
}

pub fn text(text: &str) -> Escaped<'_> {
    Escaped(text.into())
}

pub fn path(path: &Path) -> Escaped<'_> {
    Escaped(path.to_string_lossy())
}

/// One word of a shell command, quoted if necessary.
pub fn shell_word(word: impl AsRef<OsStr>) -> String {
    const HARMLESS: &str = "_-./+=:,@%";
    let bytes = word.as_ref().as_encoded_bytes();
    let is_plain = |c: char| c.is_alphanumeric() || HARMLESS.contains(c);
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && text.chars().all(is_plain) => text.to_owned(),
        Ok(text) if text.chars().all(is_visible) => {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
        // No other form can name bytes that are not UTF-8. POSIX 2024, sh, dollar-single-quotes
        _ => format!("$'{}'", bytes.escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Messages propose commands to paste: a path must not become two words or another command.
    #[test]
    fn shell_words_survive_a_shell() {
        let cases: [(&[u8], &str); 7] = [
            (b"data/store.rvf", "data/store.rvf"),
            (b"two words", "'two words'"),
            (b"it's; rm -r", r"'it'\''s; rm -r'"),
            (b"", "''"),
            (b"new\nline", r"$'new\nline'"),
            (b"caf\xe9", r"$'caf\xe9'"),
            (b"a\xe2\x80\xae.b", r"$'a\xe2\x80\xae.b'"),
        ];
        for (bytes, expected) in cases {
            let name: &OsStr = std::os::unix::ffi::OsStrExt::from_bytes(bytes);
            assert_eq!(shell_word(name), expected);
        }
    }

    // The status of a file named "\x1b[2J" must not clear the screen.
    #[test]
    fn file_names_cannot_control_a_terminal() {
        let shown = path(Path::new("a\u{1b}[2J\nb\u{9b}")).to_string();
        assert_eq!(shown, "a\\u{1b}[2J\\nb\\u{9b}");
    }

    // A name that reverses the text behind it makes a message name another file, and a character
    // without a shape makes two names look the same.
    #[test]
    fn no_format_character_of_a_file_name_is_printed() {
        let escaped = ['\u{ad}', '\u{61c}', '\u{200b}', '\u{feff}']
            .into_iter()
            .chain('\u{200c}'..='\u{200f}')
            .chain('\u{2028}'..='\u{202e}')
            .chain('\u{2060}'..='\u{206f}');
        for c in escaped {
            assert_eq!(
                text(&c.to_string()).to_string(),
                c.escape_unicode().to_string()
            );
        }
        for name in [
            "b\u{fc}ro",
            "bu\u{308}ro",
            "\u{65e5}\u{672c}",
            r#"a"b'c\d"#,
            "a b",
        ] {
            assert_eq!(text(name).to_string(), name);
        }
    }
}
