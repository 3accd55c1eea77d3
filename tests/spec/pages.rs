//! The pages for people against the tree: a page that names what is not there misleads each reader
//! once.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The directories whose files ARCHITECTURE.md lists.
const LISTED: [&str; 4] = [
    "src",
    "cli/src",
    "object-store/src",
    "object-store/schedules/src",
];

/// The modules of the library, in the order of ARCHITECTURE.md: each imports only those before it.
const ORDER: [&str; 20] = [
    "escape",
    "record",
    "judge",
    "sync",
    "sys",
    "shell_word",
    "host",
    "alias",
    "loss",
    "holder",
    "trace",
    "error",
    "task",
    "protocol",
    "process",
    "lock",
    "lock_file",
    "serialize",
    "table",
    "sim",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All files at and below `directory` whose names end in `ending`, relative to the root.
fn files(directory: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    let entries = fs::read_dir(root().join(directory)).expect("the directory exists");
    for entry in entries {
        let entry = entry.expect("the directory can be listed");
        let name = entry.file_name().into_string().expect("names are UTF-8");
        let path = match directory {
            "." => name.clone(),
            _ => format!("{directory}/{name}"),
        };
        let is_made = [".git", "target", "node_modules"].contains(&name.as_str());
        if entry.path().is_dir() && !is_made {
            found.append(&mut files(&path, ending));
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found
}

/// The files that ARCHITECTURE.md lists: a line `directory/`, and below it indented lines that
/// begin with a name.
fn listed_files() -> Vec<String> {
    let page = read("ARCHITECTURE.md");
    let mut directory = "";
    let mut found = Vec::new();
    for line in page.lines() {
        match line
            .strip_prefix("  ")
            .and_then(|rest| rest.split_once("  "))
        {
            Some((name, _)) if name.ends_with(".rs") => found.push(format!("{directory}{name}")),
            _ if line.ends_with('/') => directory = line,
            _ => {}
        }
    }
    found
}

// A newcomer looks for the file that does something in the list, and changes another one because
// the list names neither.
#[test]
fn the_architecture_page_lists_every_source_file_once_and_no_other() {
    let listed = listed_files();
    let unique: BTreeSet<_> = listed.iter().cloned().collect();
    assert_eq!(unique.len(), listed.len(), "the page lists a file twice");
    let existing: BTreeSet<_> = LISTED.into_iter().flat_map(|at| files(at, ".rs")).collect();
    let missing: Vec<_> = existing.difference(&unique).collect();
    let gone: Vec<_> = unique.difference(&existing).collect();
    assert!(
        missing.is_empty(),
        "ARCHITECTURE.md does not list {missing:?}"
    );
    assert!(
        gone.is_empty(),
        "ARCHITECTURE.md lists files that do not exist: {gone:?}"
    );
}

// A reviewer of the unsafe code reads the files that the page names, and no others.
#[test]
fn the_architecture_page_names_every_file_with_unsafe_code() {
    let page = read("ARCHITECTURE.md");
    let (_, rest) = page
        .split_once("\n## `unsafe`\n")
        .expect("the page has the section");
    let section = rest.split("\n## ").next().unwrap_or_default();
    let quoted = section.split('`').skip(1).step_by(2).map(str::to_owned);
    let named: BTreeSet<_> = quoted.filter(|name| name.ends_with(".rs")).collect();
    let sources = LISTED.into_iter().flat_map(|at| files(at, ".rs"));
    let unsafe_files: BTreeSet<_> = sources
        .filter(|file| read(file).contains("allow(unsafe_code"))
        .collect();
    assert_eq!(
        named, unsafe_files,
        "named on the page, and allowed in the code"
    );
}

/// The place of a module in the order.
fn place(module: &str) -> usize {
    let at = ORDER.iter().position(|name| *name == module);
    at.unwrap_or_else(|| panic!("the module {module} is not in ORDER: add it"))
}

/// The modules that a source text names after `crate::`, without those that only comments name.
fn imports(text: &str) -> BTreeSet<&str> {
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let paths = code.flat_map(|line| line.split("crate::").skip(1));
    let ends = |c: char| !(c.is_ascii_lowercase() || c == '_');
    let modules = paths.map(|path| path.split(ends).next().unwrap_or_default());
    modules.filter(|module| !module.is_empty()).collect()
}

// An import that points up makes a circle: neither module can be read, tested or moved without the
// other.
#[test]
fn imports_point_down() {
    for file in files("src", ".rs") {
        let own = file.trim_start_matches("src/").trim_end_matches(".rs");
        let own = own.split('/').next().unwrap_or_default();
        if own == "lib" {
            continue;
        }
        for module in imports(&read(&file)) {
            assert!(
                place(module) <= place(own),
                "{file} imports {module}, which comes after it"
            );
        }
    }
}

/// A heading as a link to it spells it.
fn anchor(heading: &str) -> String {
    let letters = heading.to_lowercase();
    let letters = letters
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    letters.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn has_anchor(page: &str, wanted: &str) -> bool {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let mut anchors = headings.map(|line| anchor(line.trim_start_matches('#').trim()));
    anchors.any(|found| found == wanted) || page.contains(&format!("<a id=\"{wanted}\"></a>"))
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    for page in files(".", ".md") {
        let text = read(&page);
        let links = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'));
        // scripts/measure makes docs/measured.
        let is_ours = |link: &str| !link.contains("://") && !link.ends_with("docs/measured/");
        for (link, _) in links.filter(|(link, _)| is_ours(link)) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let directory = page.rsplit_once('/').map_or("", |(directory, _)| directory);
            let target = match file {
                "" => page.clone(),
                _ => Path::new(directory).join(file).display().to_string(),
            };
            assert!(
                root().join(&target).exists(),
                "{page}: {link} leads nowhere"
            );
            assert!(
                anchor.is_empty() || has_anchor(&read(&target), anchor),
                "{page}: {link} names no heading of {target}"
            );
        }
    }
}

/// The value of a key of the workspace's manifest.
fn manifest_value(key: &str) -> String {
    let manifest = read("Cargo.toml");
    let start = format!("{key} = \"");
    let value = manifest
        .lines()
        .find_map(|line| line.strip_prefix(&start)?.strip_suffix('"'));
    value
        .unwrap_or_else(|| panic!("Cargo.toml has no {key}"))
        .to_owned()
}

// The project's address is a placeholder, `.invalid`, until it has one. Replaced in one file and
// forgotten in another, it would send the report of a vulnerability nowhere.
#[test]
fn every_page_names_the_address_that_the_manifest_names() {
    let address = manifest_value("repository");
    for page in ["CHANGELOG.md", "SECURITY.md"] {
        assert!(
            read(page).contains(&address),
            "{page} does not name {address}"
        );
    }
    let texts = [".md", ".toml", ".yml"].map(|ending| files(".", ending));
    for file in texts.concat() {
        let text = read(&file);
        let words = text.split(|c: char| c.is_whitespace() || "\"'<>()`".contains(c));
        for word in words.filter(|word| word.contains(".invalid/")) {
            assert!(
                word.starts_with(&address),
                "{file} names {word}, Cargo.toml {address}"
            );
        }
    }
}

// The README sells the version that the manifest builds, and the changelog says what is new in it.
#[test]
fn the_changelog_has_the_version_of_the_manifest() {
    let version = manifest_value("version");
    let heading = format!("\n## [{version}]");
    assert!(
        read("CHANGELOG.md").contains(&heading),
        "CHANGELOG.md has no {}",
        heading.trim()
    );
}

// cargo-fuzz lists the targets of the manifest, and fuzz/run.sh runs those: a file that is not there
// compiles nowhere, and a target without seeds begins each run from nothing.
#[test]
fn every_fuzz_target_is_built_run_seeded_measured_and_described() {
    let targets = files("fuzz/fuzz_targets", ".rs");
    let (manifest, coverage) = (read("fuzz/Cargo.toml"), read("fuzz/coverage.sh"));
    let page = read("fuzz/README.md");
    assert!(
        read("fuzz/run.sh").contains("targets=$(cargo +nightly fuzz list)"),
        "fuzz/run.sh runs every target of the manifest"
    );
    for path in &targets {
        let file = path.trim_start_matches("fuzz/");
        let target = file.trim_start_matches("fuzz_targets/");
        let target = target.trim_end_matches(".rs");
        let bin = format!("name = \"{target}\"\npath = \"{file}\"\n");
        assert!(manifest.contains(&bin), "{path} is not in fuzz/Cargo.toml");
        let seeds = root().join("fuzz/seeds").join(target);
        let has_seeds = fs::read_dir(&seeds).is_ok_and(|mut seeds| seeds.next().is_some());
        assert!(
            has_seeds,
            "{target} has no seeds: fuzz/keep.sh 120 {target}"
        );
        let part = format!("[{target}]=");
        assert!(
            coverage.contains(&part),
            "{target} is not in fuzz/coverage.sh"
        );
        let item = format!("- `{target}`: ");
        assert!(page.contains(&item), "{target} is not in fuzz/README.md");
    }
    let bins = manifest.matches("[[bin]]").count();
    assert_eq!(
        bins,
        targets.len(),
        "a target of fuzz/Cargo.toml has no file"
    );
    let seeded = fs::read_dir(root().join("fuzz/seeds")).expect("the seeds are kept");
    assert_eq!(
        seeded.count(),
        targets.len(),
        "seeds of a target that is gone"
    );
}
