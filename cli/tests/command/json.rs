//! JSON: documented keys, and paths that are not UTF-8.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rvlf::judge::Reason;
use serde_json::Value;

use crate::support::{
    CONTAINER, Directory, Holder, RVLF, can_run_in_container, finish, now_ns, skip,
};

fn keys(value: &Value, found: &mut BTreeSet<String>) {
    if let Value::Object(object) = value {
        for (key, value) in object {
            found.insert(key.clone());
            keys(value, found);
        }
    }
}

fn document() -> String {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/command.md");
    fs::read_to_string(document).expect("the document lies beside the source")
}

// A program branches on the code. One that the document lacks falls into no branch.
#[test]
fn every_reason_code_is_documented() {
    let document = document();
    for reason in Reason::ALL {
        let mention = format!("`\"{}\"`", reason.code());
        assert!(
            document.contains(&mention),
            "docs/command.md lacks {mention}"
        );
    }
}

// A program relies on the document. A key that only the code knows is a trap.
#[test]
fn every_key_of_the_json_is_documented() {
    let document = document();
    let dir = Directory::new();
    dir.plant("latin.lock", b"caf\xe9", now_ns());
    let holder = Holder::start(&dir);
    let mut found = BTreeSet::new();
    for data in ["d.rvf", "latin", "free"] {
        let status = dir.rvlf(&["status", "--json", data]);
        keys(&status.json(), &mut found);
    }
    holder.end();
    assert!(
        found.contains("hostname_hex"),
        "keys of the record: {found:?}"
    );
    for key in found {
        let mention = format!("`{key}`");
        assert!(document.contains(&mention), "docs/command.md lacks {key}");
    }
}

// File names are bytes. A lock whose name is not UTF-8 must be found under that very name.
#[test]
fn paths_need_not_be_utf_8() {
    let dir = Directory::new();
    let data = OsStr::from_bytes(b"caf\xe9.rvf");
    let lock_name = OsStr::from_bytes(b"caf\xe9.rvf.lock");
    if File::create(dir.join(data)).is_err() {
        return skip("this file system requires names in UTF-8");
    }
    fs::remove_file(dir.join(data)).expect("the file was just created");
    let mut command = dir.command(["run"]);
    command.arg(data).args(["--", "ls"]);
    let listed = command.output().expect("the command starts").stdout;
    assert_eq!(listed, b"caf\xe9.rvf.lock\n", "the name of the data file");

    let holder = Holder::of(&dir, data);
    let mut command = dir.command(["status", "--json"]);
    command.arg(data);
    let json = finish(command).json();
    assert_eq!(json["state"], "held");
    assert_eq!(json["data_path"], "caf\u{fffd}.rvf", "for people");
    assert_eq!(json["data_path_bytes"], "636166e92e727666", "for programs");
    assert_eq!(json["lock_path_bytes"], "636166e92e7276662e6c6f636b");
    let scanned = dir.rvlf(&["scan", "--json", "."]).json();
    assert_eq!(scanned["lock_path_bytes"], "2e2f636166e92e7276662e6c6f636b");
    assert_eq!(dir.names(), [lock_name]);
    holder.end();
}

// The line for people says that the holder runs in another container. A program could not tell.
#[test]
fn a_holder_in_another_container_has_a_key() {
    // Without a stamp nothing shows that the record is of this machine.
    if !can_run_in_container() {
        return;
    }
    let dir = Directory::new();
    let is_elsewhere = || {
        let status = dir.rvlf(&["status", "--json", "d.rvf"]).json();
        status["in_another_container"].clone()
    };
    assert_eq!(is_elsewhere(), Value::Null, "free");
    let here = Holder::start(&dir);
    assert_eq!(is_elsewhere(), Value::Bool(false));
    here.end();
    let mut command = Command::new("unshare");
    command
        .args(CONTAINER)
        .args([RVLF, "run", "d.rvf"])
        .args(["sh", "-c", "echo ready; read line"])
        .current_dir(dir.path())
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let elsewhere = Holder::spawn(command);
    assert_eq!(is_elsewhere(), Value::Bool(true));
    elsewhere.end();
}
