//! `spec/` compared with itself and with the tests: every MUST has a row and a test, every link has a
//! target. Without a check the table would be wrong after the next renaming.
#![allow(clippy::indexing_slicing, reason = "a panic is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use rvlf::judge::Reason;

/// The files with rules.
const TEXTS: [&str; 3] = ["format.md", "protocol.md", "object-store.md"];

/// The files without rules.
const EXPLANATIONS: [&str; 6] = [
    "README.md",
    "rationale.md",
    "guarantees.md",
    "divergences.md",
    "windows.md",
    "reports.md",
];

/// The most words that protocol.md may have.
const PROTOCOL_WORDS: usize = 3500;

/// The directories of tests.
const PLACES: [&str; 11] = [
    "tests/lock",
    "tests/spec",
    "tests/schedules",
    "tests/table",
    "interop/tests/deployed_clients",
    "cli/tests/command",
    "cli/tests/reference",
    "object-store/src",
    "object-store/tests",
    "object-store/schedules/tests",
    "scripts",
];

fn root() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests
        .parent()
        .expect("the package is a directory of the repository")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn spec(name: &str) -> String {
    read(&root().join("spec").join(name))
}

/// A rule's number: F1, P12, S3.
fn is_rule(text: &str) -> bool {
    let number = text.strip_prefix(['F', 'P', 'S']);
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

/// The parts of the text between two of `mark`, in order.
fn between<'t>(text: &'t str, mark: &'t str) -> impl Iterator<Item = &'t str> {
    text.split(mark).skip(1).step_by(2)
}

/// The numbered rules of the texts, in order.
fn rules() -> Vec<String> {
    let texts = TEXTS.map(spec);
    let bold = texts.iter().flat_map(|text| between(text, "**"));
    bold.filter(|text| is_rule(text))
        .map(str::to_owned)
        .collect()
}

/// The rows of README's table: rule, vectors, tests.
fn table() -> BTreeMap<String, (String, String)> {
    let text = spec("README.md");
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, rule, _, vectors, tests, _] = cells[..] else {
            return None;
        };
        is_rule(rule).then(|| (rule.to_owned(), (vectors.to_owned(), tests.to_owned())))
    });
    let rows: Vec<_> = rows.collect();
    let table: BTreeMap<_, _> = rows.iter().cloned().collect();
    assert_eq!(rows.len(), table.len(), "a rule has one row");
    table
}

// A rule was added to the text; an implementation that was made from the table missed it.
#[test]
fn every_rule_of_the_text_has_a_row_and_every_row_a_rule() {
    let rules = rules();
    for letter in ["F", "P", "S"] {
        let of_letter: Vec<_> = rules
            .iter()
            .filter(|rule| rule.starts_with(letter))
            .collect();
        let counted = (1..=of_letter.len()).map(|number| format!("{letter}{number}"));
        assert!(
            of_letter.into_iter().cloned().eq(counted),
            "numbered in the order of the text, each once: {rules:?}"
        );
    }
    let (rules, rows): (BTreeSet<_>, BTreeSet<_>) =
        (rules.into_iter().collect(), table().into_keys().collect());
    assert!(!rules.is_empty(), "the texts have rules");
    assert_eq!(rules, rows, "the table is the list of the rules");
}

/// Paragraphs and items of lists.
fn paragraphs(text: &str) -> Vec<String> {
    let is_item =
        |line: &str| line.starts_with("* ") || line.starts_with(|c: char| c.is_ascii_digit());
    let mut found = vec![String::new()];
    for line in text.lines() {
        if line.is_empty() || is_item(line.trim_start()) {
            found.push(String::new());
        }
        let paragraph = found.last_mut().expect("the list is never empty");
        paragraph.push_str(line);
        paragraph.push('\n');
    }
    found
}

// A MUST without a number is a rule for which the table can name no test.
#[test]
fn every_must_has_a_number() {
    for name in TEXTS {
        let paragraphs = paragraphs(&spec(name));
        let rules = { paragraphs.iter() }.filter(|paragraph| !paragraph.contains("RFC 2119"));
        for paragraph in rules {
            let musts = paragraph.matches("MUST").count();
            let numbers = between(paragraph, "**")
                .filter(|bold| is_rule(bold))
                .count();
            // One rule may demand two things of one kind, in one sentence.
            assert!(
                musts == 0 || numbers > 0,
                "{name}: a MUST without a number:\n{paragraph}"
            );
            assert!(
                musts >= numbers,
                "{name}: a number without a MUST:\n{paragraph}"
            );
        }
    }
    // README.md names the rules.
    for name in EXPLANATIONS.into_iter().filter(|name| *name != "README.md") {
        assert!(!spec(name).contains("MUST"), "{name} has no rules");
    }
}

// An implementer skims a long text, and misses a rule between two explanations. Reasons belong in
// rationale.md, and what holds where in guarantees.md.
#[test]
fn the_protocol_is_short_enough_to_be_read_in_one_go() {
    let words = spec("protocol.md").split_whitespace().count();
    assert!(
        words <= PROTOCOL_WORDS,
        "protocol.md has {words} words, as wc -w counts them, and {PROTOCOL_WORDS} at most: move \
         what an implementer need not do to rationale.md"
    );
}

/// `file::function`: a test, or a function of a shell script.
fn check_test(test: &str, context: &str) {
    let (file, function) = test
        .split_once("::")
        .expect("the caller has checked the name");
    let (path, definition) = match file.strip_suffix(".sh") {
        Some(_) => (file.to_owned(), format!("\n{function}() {{")),
        None => (format!("{file}.rs"), format!("fn {function}(")),
    };
    let files = PLACES.map(|directory| root().join(directory).join(&path));
    let texts = files
        .iter()
        .filter(|file| file.exists())
        .map(|file| read(file));
    let found = texts.filter_map(|text| text.find(&definition).map(|place| (text, place)));
    let found: Vec<_> = found.collect();
    let [(text, place)] = &found[..] else {
        panic!("{context}: {test} names {} tests", found.len());
    };
    let attributes = text[..*place].rsplit("\n\n").next().unwrap_or_default();
    assert!(
        !attributes.contains("#[ignore"),
        "{context}: {test} is ignored, and enforces nothing"
    );
}

fn is_test(text: &str) -> bool {
    text.split_once("::").is_some_and(|(file, function)| {
        let is_name = |text: &str, more: &str| {
            let mut chars = text.chars();
            chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || more.contains(c))
        };
        is_name(file, "/.") && is_name(function, "")
    })
}

// The table named a test for a rule; the test had been renamed, then deleted, and for a year no test
// enforced the rule.
#[test]
fn every_test_of_the_table_exists_and_runs() {
    for (rule, (_, tests)) in table() {
        if tests.starts_with("untested: ") {
            println!("{rule} is {tests}");
            continue;
        }
        let names: Vec<_> = between(&tests, "`").collect();
        assert!(!names.is_empty(), "{rule} has a test");
        for name in names {
            assert!(is_test(name), "{rule}: `file::function`, not {name}");
            check_test(name, &rule);
        }
    }
    let text = spec("README.md");
    let elsewhere = text.lines().filter(|line| !line.starts_with('|'));
    for line in elsewhere {
        for name in between(line, "`").filter(|name| is_test(name)) {
            check_test(name, "README.md");
        }
    }
}

/// Whether `name` matches `pattern`, in which a star matches any text.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|tail| {
            let mut ends = tail.char_indices().map(|(at, _)| at).chain([tail.len()]);
            ends.any(|at| matches(rest, &tail[at..]))
        }),
    }
}

// Other implementations run the vectors and not these tests: the vectors of a rule must exist.
#[test]
fn every_vector_of_the_table_exists() {
    let json = |name: &str| -> Vec<serde_json::Value> {
        serde_json::from_str(&spec(name)).expect("an array of objects")
    };
    let text = |value: &serde_json::Value| value.as_str().expect("a name is text").to_owned();
    let files = json("vectors/index.json").into_iter().map(|entry| {
        let file = text(&entry["file"]);
        let name = file.rsplit('/').next().unwrap_or(&file);
        name.trim_end_matches(".bin").to_owned()
    });
    let cases = ["vectors/judge.json", "vectors/judge_store.json"];
    let cases = cases.into_iter().flat_map(json);
    let cases = cases.map(|case| text(&case["name"]));
    let names: Vec<_> = files.chain(cases).collect();
    for (rule, (vectors, _)) in table() {
        for pattern in between(&vectors, "`") {
            assert!(
                names.iter().any(|name| matches(pattern, name)),
                "{rule}: no vector is called {pattern}"
            );
        }
    }
}

// A program that waits for a code of the text, which the library reports under another name, waits
// indefinitely.
#[test]
fn the_reason_codes_of_the_judge_table_are_those_of_the_library() {
    let text = spec("protocol.md");
    let (_, table) = text
        .split_once("| row | when | verdict | `reason_code` |\n|---|---|---|---|\n")
        .expect("the text has the judge table");
    let (table, rest) = table.split_once("\n\n").expect("the table ends");
    let rows = table.lines().map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, row, _, _, codes, _] = cells[..] else {
            panic!("four cells: {line}");
        };
        let codes = between(codes, "`").map(|code| (row.to_owned(), code.to_owned()));
        codes.collect::<Vec<_>>()
    });
    let listed: BTreeSet<_> = rows.flatten().collect();
    let (without_a_row, of_a_row): (Vec<_>, Vec<_>) = Reason::ALL
        .into_iter()
        .partition(|reason| reason.row() == 0);
    let expected = of_a_row
        .iter()
        .map(|reason| (reason.row().to_string(), reason.code().to_owned()));
    assert_eq!(listed, expected.collect());
    for reason in without_a_row {
        let code = format!("`{}`", reason.code());
        assert!(rest.contains(&code), "protocol.md does not name {code}");
    }
}

// A program prints the sentence of a code.
#[test]
fn the_reasons_of_the_text_are_those_of_the_library() {
    let text = spec("reports.md");
    let (_, table) = text
        .split_once("| row | `reason_code` | `reason` |\n|---|---|---|\n")
        .expect("the text has a table of reasons");
    let listed: Vec<_> = table
        .lines()
        .take_while(|line| line.starts_with('|'))
        .collect();
    let expected = Reason::ALL.map(|reason| {
        let row = match reason.row() {
            0 => "-".to_owned(),
            row => row.to_string(),
        };
        format!("| {row} | `{}` | {reason} |", reason.code())
    });
    assert_eq!(listed, expected);
}

// A type that one implementation takes for local and another one does not: the first breaks by the kernel's answer
// what the second holds without one.
#[test]
fn the_local_file_systems_of_linux_are_those_of_the_library_and_of_the_reference() {
    fn part<'t>(text: &'t str, from: &str, to: &str) -> &'t str {
        let (_, rest) = text.split_once(from).expect(from);
        rest.split_once(to).expect(to).0
    }
    let names = |list: &str| -> BTreeSet<String> {
        let words = list.split(|c: char| !c.is_ascii_alphanumeric());
        let words = words.filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    };
    let text = spec("format.md");
    let numbered = part(&text, "\n| Linux | ext2", " | f_type");
    let types = format!("ext2{numbered}");
    let types = types
        .split(", ")
        .map(|one| one.split(" (").next().expect("a name"));
    let listed: BTreeSet<String> = types.map(str::to_owned).collect();
    let reference = read(&root().join("spec/reference/rvlf.py"));
    let in_reference = names(part(&reference, "LOCAL_TYPES = b\"", "\""));
    assert_eq!(in_reference, listed, "spec/reference/rvlf.py");

    let library = read(&root().join("src/sys/linux/mod.rs"));
    let plain = part(&library, "const PLAIN: [FsType; ", "];").to_lowercase();
    let known = |name: &&String| {
        // The three share a number, and an overlay is local but not plain.
        !["ext2", "ext3", "overlay"].contains(&name.as_str())
    };
    let expected: Vec<_> = listed.iter().filter(known).collect();
    let count: usize = plain
        .split(']')
        .next()
        .and_then(|n| n.parse().ok())
        .expect("a length");
    assert_eq!(count, expected.len(), "src/sys/linux/mod.rs");
    for name in expected {
        assert!(
            plain.contains(name.as_str()),
            "{name} in src/sys/linux/mod.rs"
        );
    }
}

/// The targets of a text's links, without those to other sites.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'));
    let targets = targets.map(|(target, _)| target);
    targets.filter(|target| !target.contains("://"))
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("the directory exists") {
        let path = entry.expect("the directory can be read").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// `path` exists, and has the anchor.
fn check_link(path: &Path, anchor: Option<&str>, context: &str) {
    assert!(
        path.exists(),
        "{context}: {} does not exist",
        path.display()
    );
    if let Some(anchor) = anchor {
        assert!(
            read(path).contains(&format!("<a id=\"{anchor}\"></a>")),
            "{context}: {} has no anchor {anchor}",
            path.display()
        );
    }
}

// The documentation of the judge linked to a section that had been renamed.
#[test]
fn every_link_into_the_standard_has_a_target() {
    let directory = root().join("spec");
    let texts = TEXTS.into_iter().chain(EXPLANATIONS);
    for name in texts {
        for link in links(&spec(name)) {
            let (file, anchor) = match link.split_once('#') {
                Some((file, anchor)) => (file, Some(anchor)),
                None => (link, None),
            };
            let file = if file.is_empty() { name } else { file };
            check_link(&directory.join(file), anchor, name);
        }
    }
    let mut sources = Vec::new();
    rust_files(&root().join("src"), &mut sources);
    let mut found = 0;
    for source in sources {
        let context = source.display().to_string();
        for rest in read(&source).split("`spec/").skip(1) {
            let (target, _) = rest.split_once('`').expect("the quotation ends");
            let (file, anchor) = match target.split_once('#') {
                Some((file, anchor)) => (file, Some(anchor)),
                None => (target, None),
            };
            check_link(&directory.join(file), anchor, &context);
            found += 1;
        }
    }
    assert!(found > 0, "the code cites the standard");
}
