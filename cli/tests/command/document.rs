//! docs/command.md against the help texts, which the parser prints.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::support::{Directory, finish};

fn page(name: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    fs::read_to_string(page).expect("the pages lie beside the source")
}

fn section_of(page: &str, title: &str) -> String {
    let (_, rest) = page
        .split_once(&format!("\n## {title}\n"))
        .unwrap_or_else(|| panic!("there is no section {title}"));
    rest.split("\n## ").next().unwrap_or_default().to_owned()
}

/// A section of docs/command.md.
pub fn section(title: &str) -> String {
    section_of(&page("docs/command.md"), title)
}

fn help(verb: &str) -> String {
    let args: Vec<&str> = verb.split_ascii_whitespace().chain(["--help"]).collect();
    Directory::new().rvlf(&args).stdout
}

/// The verbs below `verb`, each with its own verbs instead where it has some.
fn verbs_of(verb: &str) -> Vec<String> {
    let help = help(verb);
    let commands = help.split_once("\nCommands:\n").map(|(_, rest)| rest);
    let lines = commands.unwrap_or_default().lines();
    let lines = lines.take_while(|line| !line.is_empty());
    // A line that is further indented continues a description.
    let lines = lines.filter_map(|line| {
        line.strip_prefix("  ")
            .filter(|line| !line.starts_with(' '))
    });
    let names = lines.filter_map(|line| line.split_ascii_whitespace().next());
    let verbs = names.filter(|name| *name != "help");
    verbs
        .flat_map(|name| {
            let verb = format!("{verb} {name}").trim().to_owned();
            let below = verbs_of(&verb);
            if below.is_empty() { vec![verb] } else { below }
        })
        .collect()
}

/// The options of a verb: its help has a line for each, which begins with `-w, --timeout <DURATION>`.
fn options_of(verb: &str) -> BTreeSet<String> {
    let help = help(verb);
    let lines = help.lines().map(str::trim_start);
    let lines = lines.filter(|line| line.starts_with('-') && !line.starts_with("- "));
    let names = lines.flat_map(|line| line.split(", "));
    let names = names.map(|name| name.split([' ', '[', '=', '<']).next().unwrap_or_default());
    let names = names.filter(|name| !["-h", "--help"].contains(name));
    names.map(str::to_owned).collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}

// An option that only the help knows is not found by a reader of the page; one that only the page knows is
// a usage error.
#[test]
fn the_page_lists_every_verb_with_its_options_and_no_other() {
    let section = section("Verbs and options");
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let documented: BTreeMap<_, BTreeSet<_>> = rows
        .map(|row| {
            let mut names = quoted(row);
            let verb = names.next().unwrap_or_default();
            (verb, names.collect())
        })
        .collect();
    let verbs = verbs_of("");
    assert!(verbs.contains(&"run".to_owned()), "{verbs:?}");
    let parsed: BTreeMap<_, _> = verbs
        .into_iter()
        .map(|verb| {
            let options = options_of(&verb);
            (verb, options)
        })
        .collect();
    assert_eq!(documented, parsed, "docs/command.md, and the help texts");
}

/// The numbers that begin the lines below EXIT STATUS.
fn statuses_of(verb: &str) -> BTreeSet<u32> {
    let help = help(verb);
    let (_, section) = help
        .split_once("\nEXIT STATUS\n")
        .unwrap_or_else(|| panic!("the help of {verb} lacks its exit statuses"));
    let first_words = section
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().next());
    first_words.filter_map(|word| word.parse().ok()).collect()
}

/// The numbers of one table of the page. `128 + n` counts as 130, which help texts name.
fn documented_statuses(table: &str) -> BTreeSet<u32> {
    let rows = table.lines().filter_map(|line| line.strip_prefix("| "));
    let cells = rows.filter_map(|row| row.split(" |").next());
    cells
        .flat_map(|cell| cell.split(", "))
        .map(|number| number.replace("128 + n", "130"))
        .filter_map(|number| number.parse().ok())
        .collect()
}

// A script branches on the status that the page or the help promises.
#[test]
fn the_page_and_the_help_texts_have_the_same_exit_statuses() {
    let section = section("Exit status");
    let tables: Vec<_> = section.split("\n| status |").skip(1).collect();
    let [general, run, table] = tables[..] else {
        panic!("three tables are expected: {section}");
    };
    let mut of_general = BTreeSet::new();
    for verb in [
        "status",
        "wait",
        "break",
        "dump",
        "scan",
        "diagnose",
        "completions",
        "man",
    ] {
        of_general.extend(statuses_of(verb));
    }
    assert_eq!(documented_statuses(general), of_general);
    assert_eq!(documented_statuses(run), statuses_of("run"));
    let of_hold: BTreeSet<_> = statuses_of("hold")
        .into_iter()
        .filter(|status| *status != 0)
        .collect();
    assert!(of_hold.is_subset(&documented_statuses(run)), "{of_hold:?}");
    assert_eq!(documented_statuses(table), statuses_of("table"));
}

// The first lines that a newcomer types.
#[test]
fn the_lines_of_the_readme_and_of_the_examples_run() {
    let pages = section_of(&page("README.md"), "At a shell") + &section("Examples");
    let lines = pages.lines().filter(|line| line.starts_with("rvlf "));
    // What follows a pipe is another program's.
    let lines: Vec<&str> = lines.filter_map(|line| line.split(" | ").next()).collect();
    assert!(lines.len() >= 9, "{lines:?}");
    for line in lines {
        let dir = Directory::new();
        dir.write("store.rvf", "data");
        fs::create_dir(dir.join("backup")).expect("the directory is writable");
        for program in ["make-index", "compact", "append"] {
            dir.write_program(program, "");
        }
        // A test does not read all of this machine's disk.
        let line = line.replace("/var/lib", ".").replace("/srv", ".");
        let output = finish(dir.sh(&line));
        // Without a directory, `scan` reports the locks that happen to be held on this machine.
        let is_scan = line.trim_end().starts_with("rvlf scan");
        let is_accepted = output.code() == 0 || is_scan && [1, 3, 4].contains(&output.code());
        assert!(is_accepted, "{line}: {}: {}", output.code(), output.stderr);
    }
}
