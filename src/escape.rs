//! [`Escaped`]: text that is safe to print on a terminal.

use core::fmt::{self, Write};
#[cfg(feature = "std")]
use std::path::Path;

/// Displays a name that another program has chosen, so that it is safe to print on a terminal.
///
/// Control characters and characters without a shape (such as those that reverse the direction of
/// text) are escaped as in a Rust string, and bytes that are not UTF-8 are replaced: no name can
/// control the terminal, start a second line, or pass for another name. Quotes, backslashes and
/// spaces stay as they are, and so does text that was escaped before.
///
/// The errors of this crate display their paths, host names and names of entries in this way.
///
/// ```
/// use rvlf::Escaped;
///
/// let path = std::path::Path::new("a\u{1b}[2J\nb\u{202e}.rvf");
/// assert_eq!(Escaped::path(path).to_string(), r"a\u{1b}[2J\nb\u{202e}.rvf");
/// assert_eq!(Escaped::text("it's a name").to_string(), "it's a name");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Escaped<'a>(&'a [u8]);

impl<'a> Escaped<'a> {
    /// Bytes that should be UTF-8.
    ///
    /// ```
    /// assert_eq!(rvlf::Escaped::bytes(b"caf\xe9\t").to_string(), "caf\u{fffd}\\t");
    /// ```
    #[must_use]
    pub const fn bytes(bytes: &'a [u8]) -> Escaped<'a> {
        Escaped(bytes)
    }

    /// Text.
    ///
    /// ```
    /// assert_eq!(rvlf::Escaped::text("b\u{fc}ro\r").to_string(), "b\u{fc}ro\\r");
    /// ```
    #[must_use]
    pub const fn text(text: &'a str) -> Escaped<'a> {
        Escaped(text.as_bytes())
    }

    /// A path.
    ///
    /// ```
    /// let path = std::path::Path::new("data/store.rvf");
    /// assert_eq!(rvlf::Escaped::path(path).to_string(), "data/store.rvf");
    /// ```
    #[cfg(feature = "std")]
    #[must_use]
    pub fn path(path: &'a Path) -> Escaped<'a> {
        Escaped(path.as_os_str().as_encoded_bytes())
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if is_visible(c) {
                    f.write_char(c)?;
                } else {
                    write!(f, "{}", c.escape_default())?;
                }
            }
            if !chunk.invalid().is_empty() {
                f.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(())
    }
}

/// Whether the standard library's `Debug` of a text shows `c` as it is. It escapes Unicode's control
/// and format characters and its separators but the space; and quotes and the backslash, which can
/// do no harm. Behind another character, it shows combining marks.
fn is_visible(c: char) -> bool {
    if matches!(c, '"' | '\'' | '\\') {
        return true;
    }
    let mut buffer = [b'x'; 5];
    let (_, rest) = buffer.split_at_mut(1);
    let len = 1 + c.encode_utf8(rest).len();
    let text = buffer.get(..len).map(core::str::from_utf8);
    matches!(text, Some(Ok(text)) if text.escape_debug().eq(text.chars()))
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;

    // A name that reverses the text behind it makes a message name another file, a character without
    // a shape makes two names look the same, and "\x1b[2J" clears the screen.
    #[test]
    fn no_control_or_format_character_is_displayed() {
        let hidden = [
            '\u{ad}', '\u{61c}', '\u{200b}', '\u{feff}', '\u{1b}', '\u{9b}',
        ]
        .into_iter()
        .chain('\u{200c}'..='\u{200f}')
        .chain('\u{2028}'..='\u{202e}')
        .chain('\u{2060}'..='\u{206f}')
        .chain('\u{fff9}'..='\u{fffb}')
        .chain(['\u{e0001}', '\u{e007f}']);
        for c in hidden {
            let escaped = c.escape_unicode().to_string();
            assert_eq!(Escaped::text(&c.to_string()).to_string(), escaped);
            // A second pass changes nothing.
            assert_eq!(Escaped::text(&escaped).to_string(), escaped);
        }
        for name in [
            "db-3",
            "b\u{fc}ro",
            "bu\u{308}ro",
            "\u{65e5}\u{672c}",
            r#"a"b'c\d"#,
            "a b",
        ] {
            assert_eq!(Escaped::text(name).to_string(), name);
        }
    }
}
