//! DATA as a URL: which arguments are one, and what is refused before any request.

use crate::support::{Directory, Output};

/// Every verb that takes DATA, with the words before and behind it.
const VERBS: [(&[&str], &[&str]); 7] = [
    (&["run"], &["true"]),
    (&["hold", "--for", "1"], &[]),
    (&["status"], &[]),
    (&["wait"], &[]),
    (&["break"], &[]),
    (&["dump"], &[]),
    (&["diagnose"], &[]),
];

/// Runs each verb with `url`, and checks the status and that the message is one line.
fn refusals(url: &str) -> Vec<Output> {
    let dir = Directory::new();
    let refusals = VERBS.map(|(before, behind)| {
        let args = [before, &[url], behind].concat();
        let output = dir.rvlf(&args);
        let own_failure = ["run", "hold"].contains(&args[0]);
        let expected = if own_failure { 125 } else { 2 };
        assert_eq!(output.code(), expected, "{args:?}: {}", output.stderr);
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
        assert_eq!(output.stdout, "", "{args:?}");
        output
    });
    assert!(dir.is_empty(), "no lock file");
    refusals.into()
}

// A directory with the name `s3:` existed before the command knew URLs.
#[test]
fn a_file_below_a_directory_with_the_name_of_a_scheme_is_reached_by_its_path() {
    let dir = Directory::new();
    std::fs::create_dir_all(dir.join("s3:/bucket")).expect("the directory is writable");
    let command = ["--", "sh", "-c", "cat s3:/bucket/key.lock | wc -c"];
    let ended = dir.rvlf(&[&["run", "./s3://bucket/key"], &command[..]].concat());
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert_eq!(ended.stdout.trim(), "104", "a lock file");
}

// `rvlf run http://host/key` locked a file `key.lock` in a directory `http:`, if there was one.
#[test]
fn a_url_of_another_scheme_is_refused_by_every_verb_without_its_secrets() {
    for (url, advice) in [
        ("https://host/key?sig=hunter2", "s3://, gs:// or az://"),
        ("ftp://me:hunter2@host/key", "s3://, gs:// or az://"),
        ("file:///srv/hunter2", "by its path"),
    ] {
        for refusal in refusals(url) {
            assert!(refusal.stderr.contains(advice), "{}", refusal.stderr);
            assert!(!refusal.stderr.contains("hunter2"), "{}", refusal.stderr);
        }
    }
}

#[cfg(not(feature = "object-store"))]
#[test]
fn without_object_stores_every_verb_names_the_line_that_installs_them() {
    for url in ["s3://bucket/key", "gs://bucket/key", "az://bucket/key"] {
        for refusal in refusals(url) {
            let line = "cargo install rvlf-cli --features object-store";
            let of_hold = "rvlf hold takes files only";
            let text = refusal.stderr;
            assert!(text.contains(line) || text.contains(of_hold), "{text}");
        }
    }
}

// `s3://KEY:SECRET@bucket/key` is how other programs take credentials.
#[cfg(feature = "object-store")]
#[test]
fn a_url_that_names_no_object_is_refused_without_its_secrets() {
    for url in [
        "s3://",
        "s3://bucket",
        "s3://id:hunter2@bucket/key",
        "az://b/../k",
        "s3://..",
        "s3://../k",
        "s3://b//k",
        "s3://b/k/",
    ] {
        for refusal in refusals(url) {
            assert!(!refusal.stderr.contains("hunter2"), "{}", refusal.stderr);
        }
    }
}

// An option that has no effect misleads.
#[test]
fn options_of_one_kind_of_lock_are_refused_for_the_other() {
    let dir = Directory::new();
    let id = "1a3a8ffc-4f5d-477b-9db9-93b83de332ce";
    let of_files: [(&[&str], i32); 3] = [
        (&["run", "--lease=30s", "d", "true"], 125),
        (&["break", "--force", "--writer-id", id, "--now", "d"], 2),
        (&["diagnose", "d"], 2),
    ];
    for (args, code) in of_files {
        let refused = dir.rvlf(args);
        assert_eq!(refused.code(), code, "{args:?}: {}", refused.stderr);
        assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
    }
    if cfg!(feature = "object-store") {
        for option in ["--no-keepalive", "--refuse-aliases", "--wait-children"] {
            let refused = dir.rvlf(&["run", option, "s3://bucket/key", "true"]);
            assert_eq!(refused.code(), 125, "{option}: {}", refused.stderr);
            assert!(refused.stderr.contains(option), "{}", refused.stderr);
        }
        let refused = dir.rvlf(&["hold", "--for", "1", "s3://bucket/key"]);
        assert_eq!(refused.code(), 125, "{}", refused.stderr);
        assert!(refused.stderr.contains("rvlf run"), "{}", refused.stderr);
    }
    assert!(dir.is_empty(), "no lock was acquired");
}
