//! Words of cmd.exe and PowerShell.

/// Whether a character needs no quotes.
pub fn is_plain(c: char) -> bool {
    const HARMLESS: &str = r"_-./+:\";
    c.is_alphanumeric() || HARMLESS.contains(c)
}

/// No path contains a double quote.
pub fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// A name to read, not to paste: no form of the shells names unpaired surrogates, or hides control
/// characters.
pub fn escaped(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}

#[cfg(test)]
mod tests {
    use crate::escape::shell_word;

    // Messages propose commands to paste: a path must not become two words or another command.
    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        for (word, expected) in [
            (r"C:\data\store.rvf", r"C:\data\store.rvf"),
            ("two words", "\"two words\""),
            ("a&del b", "\"a&del b\""),
            ("", "\"\""),
        ] {
            assert_eq!(shell_word(word), expected);
        }
    }
}
