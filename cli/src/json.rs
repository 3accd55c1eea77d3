//! A lock as a JSON object: the library's report and the paths. `docs/command.md` has the schema.

use std::ffi::OsStr;
use std::path::Path;

use rvlf::lock_path_for;
use serde_json::{Map, Value, json};

use crate::inspection::Inspection;

/// One lock.
pub fn lock_json(data: &Path, inspection: &Inspection) -> Value {
    let mut object = json!(inspection.state);
    if let Some(object) = object.as_object_mut() {
        object.insert("locked_by".into(), json!(inspection.locked_by));
        object.insert("holder_command".into(), json!(inspection.holder_command));
        insert_path(object, "data_path", data.as_os_str());
        insert_path(object, "lock_path", lock_path_for(data).as_os_str());
    }
    object
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
