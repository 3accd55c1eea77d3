//! What can be done to a table, and what is refused.
//!
//! The story: an operation that lets through one claim too many gives two processes one file; one that
//! forgets to hand on what a dead process held takes a part of the data from everybody for good. The
//! model at the end plays thousands of sequences of operations against a list of paths and holders.
#![cfg(feature = "table")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rvlf::table::{Claim, PathProblem, Permission, Problem, Process, ScopeRule, Table, TableError};

fn process(pid: u32) -> Process {
    Process { pid, holder: None }
}

/// A claim to write `paths`.
fn claim(name: &str, paths: &[&str]) -> Claim {
    let rules = paths.iter().map(ScopeRule::write);
    rules.fold(Claim::new(name), Claim::allow)
}

/// "top" has /src and has given /src/core to "child", which has given /src/core/x to "grandchild".
fn family() -> Table {
    let mut table = Table::default();
    let done = "a family conflicts with nobody";
    table
        .register(&claim("top", &["/src"]), "s-top", &process(1))
        .expect(done);
    table
        .delegate("top", &claim("child", &["/src/core"]), &process(1))
        .expect(done);
    table.adopt("child", "s-child", &process(2)).expect(done);
    table
        .delegate("child", &claim("grandchild", &["/src/core/x"]), &process(2))
        .expect(done);
    table
        .adopt("grandchild", "s-grandchild", &process(3))
        .expect(done);
    table
}

fn parent<'a>(table: &'a Table, name: &str) -> Option<&'a str> {
    table
        .find(name)
        .expect("it is in the table")
        .delegated_from
        .as_deref()
}

#[track_caller]
fn assert_conflict(outcome: Result<(), TableError>, with: &str, over: &str) {
    match outcome {
        Err(TableError::WriteConflict {
            competitor,
            competitor_rule,
            ..
        }) => {
            assert_eq!(
                (competitor.as_str(), competitor_rule.target.as_path()),
                (with, Path::new(over))
            );
        }
        other => panic!("expected a conflict with {with}, got {other:?}"),
    }
}

#[test]
fn one_path_has_one_writer_and_any_number_of_readers() {
    let mut table = Table::default();
    table
        .register(&claim("a", &["/src"]), "1", &process(1))
        .expect("the table is empty");
    assert_conflict(
        table.register(&claim("b", &["/src/core"]), "2", &process(2)),
        "a",
        "/src",
    );
    assert_conflict(
        table.register(&claim("b", &["/"]), "2", &process(2)),
        "a",
        "/src",
    );
    let reader = Claim::new("b").allow(ScopeRule::read("/src"));
    table
        .register(&reader, "2", &process(2))
        .expect("reading is not exclusive");
    assert!(table.conflicts(&ScopeRule::read("/src")).is_empty());
    table.release("a").expect("it is there");
    table
        .register(&claim("c", &["/src/core"]), "3", &process(3))
        .expect("readers are not in the way");
}

#[test]
fn names_and_segments_are_held_once() {
    let mut table = Table::default();
    table
        .register(&claim("a", &["/a"]).socket("/run/a"), "s", &process(7))
        .expect("the table is empty");
    let error = table
        .register(&claim("a", &["/b"]), "t", &process(8))
        .expect_err("the name is taken");
    assert!(
        matches!(&error, TableError::DuplicateName { name, pid: 7 } if name == "a"),
        "{error:?}"
    );
    let error = table
        .register(&claim("b", &["/b"]), "s", &process(8))
        .expect_err("the segment is");
    assert!(
        matches!(
            &error,
            TableError::SegmentConflict { segment, competitor, socket }
                if segment == "s" && competitor == "a" && socket == Path::new("/run/a")
        ),
        "{error:?}"
    );
    assert_eq!(table.allocations.len(), 1, "what was refused left nothing");

    table
        .register(&claim("b", &["/b"]), "t", &process(8))
        .expect("name and segment are free");
    assert!(matches!(
        table.update_segment("b", "s"),
        Err(TableError::SegmentConflict { .. })
    ));
    table
        .update_segment("b", "t")
        .expect("its own segment is no conflict");
    table.update_segment("b", "u").expect("nobody writes that");
    assert!(
        table.find_by_segment("t").is_none(),
        "it has left that segment"
    );
    assert!(matches!(
        table.update_segment("x", "y"),
        Err(TableError::UnknownName { .. })
    ));
}

#[test]
fn a_parent_can_give_what_it_has_and_only_once() {
    let mut table = family();
    let not_ours = table.delegate("top", &claim("other", &["/docs"]), &process(1));
    assert!(
        matches!(&not_ours, Err(TableError::NotSubset { parent, rule }) if parent == "top" && rule.target == Path::new("/docs")),
        "{not_ours:?}"
    );
    let siblings = table.delegate("top", &claim("other", &["/src/core/y"]), &process(1));
    assert_conflict(siblings, "child", "/src/core");
    let deepest = table.delegate("top", &claim("other", &["/src/core/x"]), &process(1));
    assert_conflict(deepest, "grandchild", "/src/core/x");
    assert!(matches!(
        table.delegate("nobody", &claim("other", &["/src"]), &process(1)),
        Err(TableError::UnknownName { .. })
    ));

    let top = table
        .effective_write_scope("top")
        .expect("it is in the table");
    assert!(top.permits(Path::new("/src/main"), Permission::Write));
    assert!(
        !top.permits(Path::new("/src/core/y"), Permission::Write),
        "that is the child's now"
    );
    assert!(
        top.permits(Path::new("/src/core/y"), Permission::Read),
        "reading is not given away"
    );
    table
        .delegate("top", &claim("other", &["/src/docs"]), &process(1))
        .expect("that is still its own");
}

// A rule that only reads lets nobody write: not the reader, not those to whom it delegates.
#[test]
fn reading_does_not_become_writing_by_delegation() {
    let mut table = Table::default();
    let reader = Claim::new("reader").allow(ScopeRule::read("/data"));
    table
        .register(&reader, "s", &process(1))
        .expect("the table is empty");
    let outcome = table.delegate("reader", &claim("writer", &["/data/a"]), &process(1));
    assert!(
        matches!(outcome, Err(TableError::NotSubset { .. })),
        "{outcome:?}"
    );
    let child = Claim::new("child").allow(ScopeRule::read("/data/a"));
    table
        .delegate("reader", &child, &process(1))
        .expect("what it may read it may let others read");
}

#[test]
fn conflicts_name_the_deepest_holder_that_really_has_it() {
    let table = family();
    let names = |rule: &ScopeRule| -> Vec<String> {
        let conflicts = table.conflicts(rule).into_iter();
        conflicts
            .map(|conflict| conflict.entry.pod_name.clone())
            .collect()
    };
    assert_eq!(names(&ScopeRule::write("/src/core/x/y")), ["grandchild"]);
    assert_eq!(names(&ScopeRule::write("/src/core/y")), ["child"]);
    assert_eq!(
        names(&ScopeRule::write("/src")),
        ["top", "child", "grandchild"]
    );
    assert_eq!(
        names(&ScopeRule::write("/src/core").shallow()),
        ["child", "grandchild"]
    );
    assert!(names(&ScopeRule::write("/docs")).is_empty());
    assert!(names(&ScopeRule::read("/src")).is_empty());
}

// The seed of this format looked for competitors from the top of each family down: an entry whose
// parent is not there was nobody's, and its scope was given to the next who asked.
#[test]
fn an_entry_without_its_parent_still_has_its_scope() {
    let mut table = family();
    table.allocations.retain(|entry| entry.pod_name != "top");
    assert!(table.problems().contains(&Problem::DanglingParent {
        name: "child".into(),
        parent: "top".into()
    }));
    assert_conflict(
        table.register(&claim("new", &["/src"]), "s", &process(9)),
        "child",
        "/src/core",
    );
}

#[test]
fn a_placeholder_is_adopted_once() {
    let mut table = Table::default();
    table
        .register(&claim("top", &["/src"]), "s-top", &process(1))
        .expect("the table is empty");
    table
        .delegate("top", &claim("child", &["/src/core"]), &process(1))
        .expect("it is top's");
    let placeholder = table.find("child").expect("it was delegated");
    assert!(placeholder.is_placeholder(), "nobody has adopted it");
    assert_eq!(placeholder.pid, 1, "until then it lives with its parent");

    // The seed of this format forgot to ask: the child would write what its parent writes.
    assert!(matches!(
        table.adopt("child", "s-top", &process(2)),
        Err(TableError::SegmentConflict { .. })
    ));
    assert!(matches!(
        table.adopt("ghost", "s", &process(2)),
        Err(TableError::UnknownName { .. })
    ));
    table
        .adopt("child", "s-child", &process(2))
        .expect("it is a placeholder");
    assert_eq!(
        table.find_by_segment("s-child").map(|entry| entry.pid),
        Some(2)
    );
    let second = table.adopt("child", "s-other", &process(3));
    assert!(
        matches!(second, Err(TableError::NotAPlaceholder { pid: 2, .. })),
        "{second:?}"
    );
}

#[test]
fn what_is_released_goes_to_the_parent() {
    let mut table = family();
    let released = table.release("child").expect("it is there");
    assert_eq!(released.pid, 2);
    assert_eq!(parent(&table, "grandchild"), Some("top"));
    let top = table.effective_write_scope("top").expect("it is there");
    assert!(
        top.permits(Path::new("/src/core/y"), Permission::Write),
        "it is back"
    );
    assert!(
        !top.permits(Path::new("/src/core/x"), Permission::Write),
        "that is lent out still"
    );
    table.release("top").expect("it is there");
    assert_eq!(
        parent(&table, "grandchild"),
        None,
        "there is nobody above it"
    );
    assert!(matches!(
        table.release("top"),
        Err(TableError::UnknownName { .. })
    ));
    assert_eq!(table.problems(), []);
}

#[test]
fn the_dead_are_reclaimed_and_their_children_go_to_the_nearest_who_lives() {
    let mut table = family();
    let dead = table.reclaim_stale_with(|entry| entry.pid == 2);
    assert_eq!(
        dead.iter()
            .map(|entry| entry.pod_name.as_str())
            .collect::<Vec<_>>(),
        ["child"]
    );
    assert_eq!(parent(&table, "grandchild"), Some("top"));

    let mut table = family();
    table.reclaim_stale_with(|entry| entry.pid <= 2);
    assert_eq!(parent(&table, "grandchild"), None, "both above it are dead");

    let mut table = family();
    assert!(table.reclaim_stale_with(|_| false).is_empty());
    assert_eq!(table, family(), "nobody is dead, nothing changes");
}

// Entries of others may name each other as parents. Whoever follows them must come to an end.
#[test]
fn a_circle_of_parents_ends_nothing() {
    let mut table = family();
    table.find_mut("top").expect("it is there").delegated_from = Some("grandchild".into());
    assert!(
        table
            .problems()
            .iter()
            .any(|problem| matches!(problem, Problem::Circle { .. }))
    );
    assert_conflict(
        table.register(&claim("new", &["/src/core/x"]), "s", &process(9)),
        "top",
        "/src",
    );
    table.reclaim_stale_with(|entry| entry.pid <= 2);
    assert_eq!(table.allocations.len(), 1, "one is alive");
}

// A parent that crashed registers again while its old children live: it denies itself what they may
// still hold, and takes it back child by child.
#[test]
fn a_restored_parent_reclaims_what_it_had_delegated() {
    let core = ScopeRule::write("/src/core");
    let mut table = family();
    table.reclaim_stale_with(|entry| entry.pid == 1);
    let restored = claim("top", &["/src"]);
    assert_conflict(
        table.register(&restored, "s-top", &process(4)),
        "child",
        "/src/core",
    );
    let restored = restored.deny(core.clone());
    table
        .register(&restored, "s-top", &process(4))
        .expect("what it denies itself is not in the way");
    assert_eq!(table.problems(), []);

    table
        .reclaim_delegated("top", "child", std::slice::from_ref(&core))
        .expect_err("the grandchild lives");
    assert!(
        table.find("child").is_some(),
        "what is refused changes nothing"
    );
    table.release("grandchild").expect("it is there");
    table
        .reclaim_delegated("top", "child", std::slice::from_ref(&core))
        .expect("nobody else has it");
    assert!(table.find("child").is_none());
    let top = table.effective_write_scope("top").expect("it is there");
    assert!(top.covers(&core), "all of it is back");
    table
        .reclaim_delegated("top", "child", &[core])
        .expect("once more does no harm");
    assert!(matches!(
        table.reclaim_delegated("nobody", "child", &[]),
        Err(TableError::UnknownName { .. })
    ));
}

// The seed of this format took the denial away whoever had registered there meanwhile.
#[test]
fn a_denial_is_not_reclaimed_from_somebody_else() {
    let core = ScopeRule::write("/src/core");
    let mut table = Table::default();
    let top = claim("top", &["/src"]).deny(core.clone());
    table
        .register(&top, "s-top", &process(1))
        .expect("the table is empty");
    table
        .register(&claim("stranger", &["/src/core"]), "s", &process(2))
        .expect("top does without it");
    assert_conflict(
        table.reclaim_delegated("top", "child", std::slice::from_ref(&core)),
        "stranger",
        "/src/core",
    );

    let mut table = family();
    let outcome = table.reclaim_delegated("top", "grandchild", &[]);
    assert!(
        matches!(&outcome, Err(TableError::NotAChild { delegated_from, .. }) if delegated_from == "child"),
        "{outcome:?}"
    );
}

// A part that a child does without is still the parent's to give: a stranger who got it would clash
// with the parent once the child has ended.
#[test]
fn what_a_child_does_without_is_not_free_for_strangers() {
    let mut table = Table::default();
    table
        .register(&claim("top", &["/src"]), "s", &process(1))
        .expect("the table is empty");
    let child = claim("child", &["/src/core"]).deny(ScopeRule::write("/src/core/x"));
    table
        .delegate("top", &child, &process(1))
        .expect("it is top's");
    assert_conflict(
        table.register(&claim("stranger", &["/src/core/x"]), "t", &process(2)),
        "top",
        "/src",
    );
    table
        .delegate("top", &claim("second", &["/src/core/x"]), &process(1))
        .expect("top may give it");
    assert_eq!(table.problems(), []);
}

#[test]
fn paths_that_other_processes_would_read_differently_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    let mut table = Table::default();
    let relative = table.register(&claim("a", &["src"]), "s", &process(1));
    assert!(
        matches!(
            &relative,
            Err(TableError::InvalidPath {
                problem: PathProblem::Relative,
                ..
            })
        ),
        "{relative:?}"
    );
    let bytes = std::ffi::OsStr::from_bytes(b"/caf\xe9");
    for claim in [
        Claim::new("a").allow(ScopeRule::write(bytes)),
        Claim::new("a").deny(ScopeRule::write(bytes)),
        Claim::new("a").socket(bytes),
    ] {
        let outcome = table.register(&claim, "s", &process(1));
        assert!(
            matches!(
                &outcome,
                Err(TableError::InvalidPath {
                    problem: PathProblem::NotUtf8,
                    ..
                })
            ),
            "{outcome:?}"
        );
    }
    table
        .register(&claim("a", &["/x/../src//core/."]), "s", &process(1))
        .expect("it is absolute");
    let target = table
        .find("a")
        .and_then(|entry| entry.scope_allow.first())
        .map(|rule| rule.target.clone());
    assert_eq!(
        target,
        Some(PathBuf::from("/src/core")),
        "stored as it is meant"
    );
}

#[test]
fn problems_of_tables_that_others_wrote_are_found() {
    let entry = |name: &str, parent: Option<&str>, segment: Option<&str>, path: &str| {
        serde_json::json!({
            "pod_name": name, "pid": 1, "socket": "", "delegated_from": parent, "segment_id": segment,
            "scope_allow": [{"target": path, "permission": "write"}],
        })
    };
    let table = serde_json::json!({ "allocations": [
        entry("a", None, Some("1"), "/a"),
        entry("b", None, Some("1"), "/a/b"),
        entry("c", Some("a"), None, "/a/c"),
        entry("g", None, None, "relative"),
        entry("g", None, None, "/g"),
        entry("d", Some("gone"), None, "/d"),
        entry("e", None, None, "/e"),
        entry("f", None, None, "/ee"),
    ]});
    let table = Table::parse(table.to_string().as_bytes()).expect("the table is as it should be");
    let problems: Vec<String> = table.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            r#""a" and "b" both write segment "1""#,
            r#"two entries are called "g""#,
            r#""g" claims a relative path, relative"#,
            r#""d" was delegated by "gone", which is not there"#,
            r#""a" and "b" may write the same paths: write /a/** and write /a/b/**"#,
        ],
        "a parent and its child may overlap, names that begin alike do not"
    );
}

// ---------------------------------------------------------------- the naive model

/// Paths in place of rules, and one holder per path: the same operations, as one would do them on
/// paper. `held` says who effectively may write a path; a child's path falls back to `parent`.
#[derive(Clone, Debug, Default)]
struct Model {
    entries: BTreeMap<String, ModelEntry>,
}

#[derive(Clone, Debug)]
struct ModelEntry {
    /// What it may write, delegated or not.
    own: BTreeSet<PathBuf>,
    parent: Option<String>,
    segment: Option<String>,
    pid: u32,
}

impl Model {
    fn lineage(&self, name: &str) -> BTreeSet<String> {
        let mut lineage = BTreeSet::new();
        let mut next = Some(name.to_owned());
        while let Some(name) = next {
            next = self
                .entries
                .get(&name)
                .and_then(|entry| entry.parent.clone());
            lineage.insert(name);
        }
        lineage
    }

    fn is_free(&self, paths: &BTreeSet<PathBuf>, exempt: &BTreeSet<String>) -> bool {
        let mut others = self
            .entries
            .iter()
            .filter(|(name, _)| !exempt.contains(*name));
        others.all(|(_, entry)| entry.own.is_disjoint(paths))
    }

    fn segment_is_free(&self, segment: &str, asker: &str) -> bool {
        let mut others = self.entries.iter().filter(|(name, _)| *name != asker);
        others.all(|(_, entry)| entry.segment.as_deref() != Some(segment))
    }

    fn remove(&mut self, name: &str) -> bool {
        let Some(removed) = self.entries.remove(name) else {
            return false;
        };
        for entry in self.entries.values_mut() {
            if entry.parent.as_deref() == Some(name) {
                entry.parent.clone_from(&removed.parent);
            }
        }
        true
    }

    fn effective(&self, name: &str) -> BTreeSet<PathBuf> {
        let entry = self.entries.get(name);
        let mut paths = entry.map(|entry| entry.own.clone()).unwrap_or_default();
        for child in self
            .entries
            .values()
            .filter(|child| child.parent.as_deref() == Some(name))
        {
            paths = &paths - &child.own;
        }
        paths
    }
}

#[derive(Clone, Debug)]
enum Step {
    Register {
        name: u8,
        rules: Vec<(u8, bool)>,
        segment: u8,
        pid: u32,
    },
    Delegate {
        parent: u8,
        name: u8,
        rules: Vec<(u8, bool)>,
        pid: u32,
    },
    Adopt {
        name: u8,
        segment: u8,
        pid: u32,
    },
    Segment {
        name: u8,
        segment: u8,
    },
    Release {
        name: u8,
    },
    Reclaim {
        parent: u8,
        child: u8,
    },
    Die {
        pid: u32,
    },
}

const TARGETS: [&str; 9] = [
    "/", "/a", "/a/a", "/a/b", "/a/b/a", "/b", "/b/a", "/b/a/a", "/c",
];

fn step() -> impl Strategy<Value = Step> {
    let rules = || prop::collection::vec((0..9_u8, any::<bool>()), 1..3);
    prop_oneof![
        3 => (0..6_u8, rules(), 0..6_u8, 1..6_u32).prop_map(|(name, rules, segment, pid)| Step::Register { name, rules, segment, pid }),
        5 => (0..6_u8, 0..6_u8, rules(), 1..6_u32).prop_map(|(parent, name, rules, pid)| Step::Delegate { parent, name, rules, pid }),
        3 => (0..6_u8, 0..6_u8, 1..6_u32).prop_map(|(name, segment, pid)| Step::Adopt { name, segment, pid }),
        1 => (0..6_u8, 0..6_u8).prop_map(|(name, segment)| Step::Segment { name, segment }),
        1 => (0..6_u8).prop_map(|name| Step::Release { name }),
        1 => (0..6_u8, 0..6_u8).prop_map(|(parent, child)| Step::Reclaim { parent, child }),
        1 => (1..6_u32).prop_map(|pid| Step::Die { pid }),
    ]
}

fn universe() -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::from("/")];
    let mut last = paths.clone();
    for _ in 0..5 {
        last = last
            .iter()
            .flat_map(|path| ["a", "b", "c", "z"].map(|name| path.join(name)))
            .collect();
        paths.extend_from_slice(&last);
    }
    paths
}

fn to_rules(rules: &[(u8, bool)]) -> Vec<ScopeRule> {
    let rule = |(target, recursive): &(u8, bool)| {
        let rule =
            ScopeRule::write({ TARGETS.get(usize::from(*target)) }.expect("steps name these"));
        if *recursive { rule } else { rule.shallow() }
    };
    rules.iter().map(rule).collect()
}

fn paths_of(rules: &[ScopeRule], universe: &[PathBuf]) -> BTreeSet<PathBuf> {
    let claimed = |path: &&PathBuf| {
        rules.iter().any(|rule| {
            path.starts_with(&rule.target)
                && (rule.recursive
                    || path.components().count() <= rule.target.components().count() + 1)
        })
    };
    universe.iter().filter(claimed).cloned().collect()
}

/// Does one step to both, and says whether each did it.
fn apply(step: &Step, table: &mut Table, model: &mut Model, universe: &[PathBuf]) -> (bool, bool) {
    let name_of = |number: &u8| format!("e{number}");
    let to_claim = |name: &str, rules: &[(u8, bool)]| {
        to_rules(rules)
            .into_iter()
            .fold(Claim::new(name), Claim::allow)
    };
    match step {
        Step::Register {
            name,
            rules,
            segment,
            pid,
        } => {
            let (name, segment) = (name_of(name), format!("s{segment}"));
            let own = paths_of(&to_rules(rules), universe);
            let done = table
                .register(&to_claim(&name, rules), &segment, &process(*pid))
                .is_ok();
            let may = !model.entries.contains_key(&name)
                && model.segment_is_free(&segment, &name)
                && model.is_free(&own, &BTreeSet::new());
            if may {
                let entry = ModelEntry {
                    own,
                    parent: None,
                    segment: Some(segment),
                    pid: *pid,
                };
                model.entries.insert(name, entry);
            }
            (done, may)
        }
        Step::Delegate {
            parent,
            name,
            rules,
            pid,
        } => {
            let (parent, name) = (name_of(parent), name_of(name));
            let own = paths_of(&to_rules(rules), universe);
            let done = table
                .delegate(&parent, &to_claim(&name, rules), &process(*pid))
                .is_ok();
            let may = !model.entries.contains_key(&name)
                && model.entries.contains_key(&parent)
                && own.is_subset(&model.effective(&parent))
                && model.is_free(&own, &model.lineage(&parent));
            if may {
                let entry = ModelEntry {
                    own,
                    parent: Some(parent),
                    segment: None,
                    pid: *pid,
                };
                model.entries.insert(name, entry);
            }
            (done, may)
        }
        Step::Adopt { name, segment, pid } => {
            let (name, segment) = (name_of(name), format!("s{segment}"));
            let done = table.adopt(&name, &segment, &process(*pid)).is_ok();
            let free = model.segment_is_free(&segment, &name);
            let entry = model
                .entries
                .get_mut(&name)
                .filter(|entry| free && entry.segment.is_none());
            let may = entry.is_some();
            if let Some(entry) = entry {
                (entry.segment, entry.pid) = (Some(segment), *pid);
            }
            (done, may)
        }
        Step::Segment { name, segment } => {
            let (name, segment) = (name_of(name), format!("s{segment}"));
            let done = table.update_segment(&name, &segment).is_ok();
            let free = model.segment_is_free(&segment, &name);
            let entry = model.entries.get_mut(&name).filter(|_| free);
            let may = entry.is_some();
            if let Some(entry) = entry {
                entry.segment = Some(segment);
            }
            (done, may)
        }
        Step::Release { name } => {
            let name = name_of(name);
            (table.release(&name).is_ok(), model.remove(&name))
        }
        Step::Reclaim { parent, child } => {
            let (parent, child) = (name_of(parent), name_of(child));
            let done = table.reclaim_delegated(&parent, &child, &[]).is_ok();
            let foreign =
                |entry: &ModelEntry| entry.parent.as_ref().is_some_and(|from| *from != parent);
            let may = model.entries.contains_key(&parent)
                && !model.entries.get(&child).is_some_and(foreign);
            if may && parent != child {
                model.remove(&child);
            }
            (done, may)
        }
        Step::Die { pid } => {
            let reclaimed = table.reclaim_stale_with(|entry| entry.pid == *pid).len();
            let dead: Vec<String> = { model.entries.iter() }
                .filter(|(_, entry)| entry.pid == *pid)
                .map(|(name, _)| name.clone())
                .collect();
            for name in &dead {
                model.remove(name);
            }
            (true, reclaimed == dead.len())
        }
    }
}

fn assert_agreement(table: &Table, model: &Model, universe: &[PathBuf]) {
    let names: BTreeSet<&str> = table
        .allocations
        .iter()
        .map(|entry| entry.pod_name.as_str())
        .collect();
    assert_eq!(
        names,
        model.entries.keys().map(String::as_str).collect(),
        "the same entries"
    );
    let mut writers: BTreeMap<&Path, &str> = BTreeMap::new();
    for entry in &table.allocations {
        let expected = model.entries.get(&entry.pod_name).expect("compared above");
        assert_eq!(
            entry.delegated_from, expected.parent,
            "the parent of {entry}"
        );
        assert_eq!(entry.segment_id, expected.segment, "the segment of {entry}");
        let scope = table
            .effective_write_scope(&entry.pod_name)
            .expect("it is in the table");
        let effective = model.effective(&entry.pod_name);
        for path in universe {
            let permits = scope.permits(path, Permission::Write);
            assert_eq!(permits, effective.contains(path), "{entry} at {path:?}");
            if permits {
                let other = writers.insert(path, &entry.pod_name);
                assert_eq!(other, None, "two may write {path:?}: {other:?} and {entry}");
            }
        }
    }
    assert_eq!(table.problems(), [], "operations make no problems");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sequences_of_operations_do_what_a_naive_model_does(steps in prop::collection::vec(step(), 1..40)) {
        let universe = universe();
        let (mut table, mut model) = (Table::default(), Model::default());
        for step in &steps {
            let before = table.clone();
            let (done, may) = apply(step, &mut table, &mut model, &universe);
            prop_assert_eq!(done, may, "{:?} on {:?}", step, before);
            if !done {
                prop_assert_eq!(&table, &before, "what is refused changes nothing: {:?}", step);
            }
        }
        assert_agreement(&table, &model, &universe);
        let json = table.to_json().expect("all paths are UTF-8");
        prop_assert_eq!(&Table::parse(&json).expect("what was written can be read"), &table);
    }
}
