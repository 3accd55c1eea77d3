//! How the shells of a system quote a word: sh(1), and cmd.exe and PowerShell.

#[cfg(not(windows))]
pub(crate) use sh::{escaped, is_plain, quoted};
#[cfg(windows)]
pub(crate) use windows::{escaped, is_plain, quoted};

#[cfg(not(windows))]
mod sh {
    /// Whether a character needs no quotes.
    pub(crate) fn is_plain(c: char) -> bool {
        const HARMLESS: &str = "_-./+=:,@%";
        c.is_alphanumeric() || HARMLESS.contains(c)
    }

    pub(crate) fn quoted(text: &str) -> String {
        format!("'{}'", text.replace('\'', r"'\''"))
    }

    /// No other form can name bytes that are not UTF-8. POSIX 2024, sh, dollar-single-quotes
    pub(crate) fn escaped(bytes: &[u8]) -> String {
        format!("$'{}'", bytes.escape_ascii())
    }
}

#[cfg(windows)]
mod windows {
    /// Whether a character needs no quotes.
    pub(crate) fn is_plain(c: char) -> bool {
        const HARMLESS: &str = r"_-./+:\";
        c.is_alphanumeric() || HARMLESS.contains(c)
    }

    /// No path contains a double quote.
    pub(crate) fn quoted(text: &str) -> String {
        format!("\"{text}\"")
    }

    /// A name to read, not to paste: no form of the shells names unpaired surrogates, or hides control
    /// characters.
    pub(crate) fn escaped(bytes: &[u8]) -> String {
        format!("\"{}\"", bytes.escape_ascii())
    }
}
