//! `dump` of both programs against the text of the format.

use std::fs;
use std::process::Command;

use crate::programs::{python3, reference, rvlf, spec};

/// The fields that `spec/format.md` lists, and the offset of each. The parts of a field are
/// indented and end where the field ends.
fn fields_of_the_text() -> Vec<(String, usize)> {
    let text = fs::read_to_string(spec().join("format.md")).expect("the text exists");
    let mut fields = Vec::new();
    let mut end = 0;
    let mut parts = 0;
    // From the end: the parts of a field are counted before the field.
    for line in text.lines().rev() {
        let item = line.trim_start().strip_prefix("* ");
        let Some((size, rest)) = item.and_then(|item| item.split_once(" bytes: `")) else {
            continue;
        };
        let size: usize = size.parse().expect("a number of bytes");
        let name = rest.split('`').next().expect("a name in backquotes");
        if line.starts_with(' ') {
            end += size;
            parts += size;
        } else {
            end += size - parts;
            parts = 0;
        }
        fields.push((name.to_owned(), end));
    }
    assert_eq!(end, rvlf::record::RECORD_LEN, "the list covers a record");
    let from_start = fields.into_iter().rev();
    from_start
        .map(|(name, to_end)| (name, end - to_end))
        .collect()
}

// People compare a hex dump with the text, byte by byte. Other names or offsets than the text's
// mislead them.
#[test]
fn dump_has_the_fields_of_the_text() {
    let stamped = spec().join("vectors/synthetic/stamped.bin");
    let dump = |mut command: Command| {
        let output = command.arg(&stamped).output().expect("the program runs");
        assert!(output.status.success(), "the record is valid");
        String::from_utf8(output.stdout).expect("a dump is text")
    };
    let fields = fields_of_the_text();
    let text = dump(rvlf("dump"));
    for (name, offset) in &fields {
        let start = format!("{offset:#04x}  ");
        let mut lines = text.lines().map(str::trim_start);
        let line = lines.find(|line| line.starts_with(&start));
        let line = line.unwrap_or_else(|| panic!("no line for {name} at {start}:\n{text}"));
        let has_name = line.split_whitespace().any(|word| word == name);
        assert!(has_name, "{name} at {start}: {line}");
    }
    let Some(program) = reference() else { return };
    let mut command = python3();
    command.arg(program).arg("dump");
    let text = dump(command);
    for (name, _) in &fields {
        assert!(
            text.contains(name.as_str()) || name == "stamp_tag",
            "the reference names {name}:\n{text}"
        );
    }
}
