//! Names that other programs have chosen, as [`Escaped`] shows them, in other forms: a word to paste
//! into a shell, JSON, and a usage error.

use std::path::Path;

use clap::error::{ContextKind, ContextValue};
use rvlf::{Escaped, ShellWord};
use serde_json::Value;

/// A path as one word of a shell command, quoted if necessary. A relative one that begins with a hyphen would be an
/// option of the command.
pub fn shell_path(path: &Path) -> String {
    ShellWord::path(path).to_string()
}

/// JSON as text in which every character that [`Escaped`] escapes is `\u....`. Such characters are in
/// strings only.
pub fn json_text(object: &Value) -> String {
    let mut text = String::new();
    for c in object.to_string().chars() {
        if is_safe(c.encode_utf8(&mut [0; 4])) {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

/// Escapes the arguments that a usage error quotes.
pub fn usage_error(mut error: clap::Error) -> clap::Error {
    let context: Vec<_> = error
        .context()
        .map(|(kind, value)| (kind, value.clone()))
        .collect();
    for (kind, value) in context {
        if let Some(escaped) = escaped_context(kind, value) {
            error.insert(kind, escaped);
        }
    }
    error
}

/// `None` for what quotes no argument.
fn escaped_context(kind: ContextKind, value: ContextValue) -> Option<ContextValue> {
    let escaped = |text: &str| Escaped::text(text).to_string();
    Some(match value {
        ContextValue::String(text) => ContextValue::String(escaped(&text)),
        ContextValue::Strings(texts) => {
            ContextValue::Strings(texts.iter().map(|text| escaped(text)).collect())
        }
        // "to pass '--x' as a value, use '-- --x'". Its `Display` leaves the colours out.
        ContextValue::StyledStrs(texts) if kind == ContextKind::Suggested => {
            let plain = texts.iter().map(|text| escaped(&text.to_string()).into());
            ContextValue::StyledStrs(plain.collect())
        }
        _ => return None,
    })
}

fn is_safe(text: &str) -> bool {
    Escaped::text(text).to_string() == text
}

#[cfg(test)]
mod tests {
    use super::*;

    // `status --json` on a terminal, of a file whose name reverses the text behind it.
    #[test]
    fn no_format_character_is_printed_as_json() {
        let object = serde_json::json!({ "data_path": "a\u{202e}b\u{e0001}\n\u{fc}" });
        let text = json_text(&object);
        assert_eq!(text, "{\"data_path\":\"a\\u202eb\\udb40\\udc01\\n\u{fc}\"}");
        assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(object));
    }
}
