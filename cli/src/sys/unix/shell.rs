//! Words of sh(1).

/// Whether a character needs no quotes.
pub fn is_plain(c: char) -> bool {
    const HARMLESS: &str = "_-./+=:,@%";
    c.is_alphanumeric() || HARMLESS.contains(c)
}

pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// No other form can name bytes that are not UTF-8. POSIX 2024, sh, dollar-single-quotes
pub fn escaped(bytes: &[u8]) -> String {
    format!("$'{}'", bytes.escape_ascii())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use crate::escape::shell_word;

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
            let name: &OsStr = OsStrExt::from_bytes(bytes);
            assert_eq!(shell_word(name), expected);
        }
    }
}
