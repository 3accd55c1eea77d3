//! A lock as a JSON object: the library's report and the paths. `docs/command.md` has the schema.

use std::ffi::OsStr;
use std::path::Path;

use rvlf::{LockState, lock_path_for};
use serde_json::{Map, Value, json};

use crate::escape::is_visible;

/// One lock.
pub fn lock_json(data: &Path, state: &LockState) -> Value {
    let mut object = json!(state);
    if let Some(object) = object.as_object_mut() {
        insert_path(object, "data_path", data.as_os_str());
        insert_path(object, "lock_path", lock_path_for(data).as_os_str());
    }
    object
}

/// The object as text that is safe to print on a terminal: what [`escape`](crate::escape) escapes elsewhere is
/// `\u....` here. Such characters are in strings only.
pub fn to_text(object: &Value) -> String {
    let mut text = String::new();
    for c in object.to_string().chars() {
        if is_visible(c) {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

/// `name`, and `name_bytes` in hexadecimal if the text alone does not identify the file.
fn insert_path(object: &mut Map<String, Value>, name: &str, path: &OsStr) {
    object.insert(name.into(), json!(path.to_string_lossy()));
    if path.to_str().is_none() {
        object.insert(format!("{name}_bytes"), json!(hex(path.as_encoded_bytes())));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // `status --json` on a terminal, of a file whose name reverses the text behind it.
    #[test]
    fn no_format_character_is_printed_as_json() {
        let object = json!({ "data_path": "a\u{202e}b\u{e0001}\n\u{fc}" });
        let text = to_text(&object);
        assert_eq!(text, "{\"data_path\":\"a\\u202eb\\udb40\\udc01\\n\u{fc}\"}");
        assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(object));
    }
}
