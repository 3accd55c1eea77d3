//! The operations on a table: what they change, and what they refuse.
//!
//! The failures: an operation that accepts one claim too many gives two processes one file; an operation
//! that does not pass on the scope of a dead process withdraws a part of the data from every process for
//! good. The model at the end compares thousands of sequences of operations with a list of paths and
//! holders.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rvlf::table::{
    Claim, EntryHolder, PathProblem, Permission, Problem, ScopeRule, Table, TableError,
};

fn process(pid: u32) -> EntryHolder {
    EntryHolder::from_pid(pid)
}

/// A claim to write `paths`.
fn claim(name: &str, paths: &[&str]) -> Claim {
    let rules = paths.iter().map(ScopeRule::write);
    rules.fold(Claim::new(name), Claim::allow)
}

/// "top" has /src and has delegated /src/core to "child", which has delegated /src/core/x to
/// "grandchild".
fn family() -> Table {
    let mut table = Table::default();
    let done = "the claims of a family do not conflict";
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
        .expect("the entry is in the table")
        .parent
        .as_deref()
}

#[track_caller]
fn assert_conflict(outcome: Result<(), TableError>, with: &str, over: &str) {
    match outcome {
        Err(TableError::WriteConflict { entry, held, .. }) => {
            assert_eq!(
                (entry.as_str(), held.target.as_path()),
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
    table.release("a").expect("the entry is in the table");
    table
        .register(&claim("c", &["/src/core"]), "3", &process(3))
        .expect("a reader excludes no writer");
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
        matches!(&error, TableError::DuplicateName { name, pid: 7, .. } if name == "a"),
        "{error:?}"
    );
    let error = table
        .register(&claim("b", &["/b"]), "s", &process(8))
        .expect_err("the segment is taken");
    assert!(
        matches!(
            &error,
            TableError::SegmentConflict { segment, entry, socket, .. }
                if segment == "s" && entry == "a" && socket == Path::new("/run/a")
        ),
        "{error:?}"
    );
    assert_eq!(table.entries.len(), 1, "a refusal adds nothing");

    table
        .register(&claim("b", &["/b"]), "t", &process(8))
        .expect("name and segment are free");
    assert!(matches!(
        table.update_segment("b", "s"),
        Err(TableError::SegmentConflict { .. })
    ));
    table
        .update_segment("b", "t")
        .expect("an entry does not conflict with itself");
    table
        .update_segment("b", "u")
        .expect("no entry writes that segment");
    assert!(
        table.find_by_segment("t").is_none(),
        "the entry has left that segment"
    );
    assert!(matches!(
        table.update_segment("x", "y"),
        Err(TableError::UnknownName { .. })
    ));
}

#[test]
fn a_parent_delegates_only_what_it_has_and_only_once() {
    let mut table = family();
    let foreign = table.delegate("top", &claim("other", &["/docs"]), &process(1));
    assert!(
        matches!(&foreign, Err(TableError::NotSubset { parent, rule }) if parent == "top" && rule.target == Path::new("/docs")),
        "{foreign:?}"
    );
    let siblings = table.delegate("top", &claim("other", &["/src/core/y"]), &process(1));
    assert_conflict(siblings, "child", "/src/core");
    let deepest = table.delegate("top", &claim("other", &["/src/core/x"]), &process(1));
    assert_conflict(deepest, "grandchild", "/src/core/x");
    assert!(matches!(
        table.delegate("unknown", &claim("other", &["/src"]), &process(1)),
        Err(TableError::UnknownName { .. })
    ));

    let top = table
        .effective_write_scope("top")
        .expect("the entry is in the table");
    assert!(top.permits(Path::new("/src/main"), Permission::Write));
    assert!(
        !top.permits(Path::new("/src/core/y"), Permission::Write),
        "the part is the child's"
    );
    assert!(
        top.permits(Path::new("/src/core/y"), Permission::Read),
        "a delegation does not end reading"
    );
    table
        .delegate("top", &claim("other", &["/src/docs"]), &process(1))
        .expect("the part is still top's");
}

// A rule that only reads allows no writing: neither to the reader nor to those to whom it delegates.
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
        .expect("a reader may delegate reading");
}

// An orchestrator reads a workspace and its children write parts of it. A part that neither of them
// holds in the end must be free, and one that another entry holds refused.
#[test]
fn an_orchestrator_hands_out_what_it_does_not_write_itself_and_no_other_entry_has() {
    let mut table = Table::default();
    let reader = Claim::new("reader").allow(ScopeRule::read("/work"));
    let done = "the scope is free";
    table.register(&reader, "s", &process(1)).expect(done);
    let work = [ScopeRule::write("/work")];
    let coder = claim("coder", &["/work/a"]);
    table
        .delegate_within("reader", &work, &coder, &process(1))
        .expect("it may hand that out");
    assert_eq!(parent(&table, "coder"), Some("reader"));
    let beyond = table.delegate_within("reader", &work, &claim("x", &["/other"]), &process(1));
    assert!(
        matches!(beyond, Err(TableError::NotSubset { .. })),
        "{beyond:?}"
    );
    let second = claim("second", &["/work/a/b"]);
    let sibling = table.delegate_within("reader", &work, &second, &process(1));
    assert_conflict(sibling, "coder", "/work/a");
    let stranger = table.register(&claim("stranger", &["/work/a"]), "t", &process(2));
    assert_conflict(stranger, "coder", "/work/a");
    table.release("coder").expect("it is in the table");
    let stranger = table.register(&claim("stranger", &["/work/a"]), "t", &process(2));
    stranger.expect("neither the coder nor its parent has the scope");

    // What "top" has kept, a child of "child" would write beside it.
    let mut table = family();
    let all = [ScopeRule::write("/")];
    let more = claim("more", &["/src"]);
    let refused = table.delegate_within("child", &all, &more, &process(2));
    assert_conflict(refused, "top", "/src");
}

// A parent that regains a path must not write it beside the child of a child that has it by another
// authority.
#[test]
fn a_reclaimed_scope_is_not_given_to_an_ancestor_of_its_holder() {
    let mut table = Table::default();
    let core = ScopeRule::write("/src/core");
    let top = claim("top", &["/src"]).deny(core.clone());
    table.register(&top, "s", &process(1)).expect("it is empty");
    let docs = claim("child", &["/src/docs"]);
    table
        .delegate("top", &docs, &process(1))
        .expect("it is top's");
    let grandchild = claim("grandchild", &["/src/core"]);
    table
        .delegate_within(
            "child",
            std::slice::from_ref(&core),
            &grandchild,
            &process(1),
        )
        .expect("no entry has the scope");
    let refused = table.reclaim_delegated("top", "gone", std::slice::from_ref(&core));
    assert_conflict(refused, "grandchild", "/src/core");
}

#[test]
fn conflicts_name_the_deepest_holder_of_the_paths() {
    let table = family();
    let names = |rule: &ScopeRule| -> Vec<String> {
        let conflicts = table.conflicts(rule).into_iter();
        conflicts
            .map(|conflict| conflict.entry.name.clone())
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

// Before a delegation, a caller asks who else holds the scope. An ignored child must not make its parent
// seem to hold what the child has.
#[test]
fn an_ignored_entry_is_left_out_of_the_conflicts_and_its_parent_does_not_take_its_place() {
    let table = family();
    let others = |rule: &ScopeRule, ignored: &str| -> Vec<String> {
        let conflicts = table.conflicts_except(rule, ignored).into_iter();
        conflicts
            .map(|conflict| conflict.entry.name.clone())
            .collect()
    };
    let core = ScopeRule::write("/src/core/y");
    assert_eq!(others(&core, "top"), ["child"]);
    assert!(others(&core, "child").is_empty());
    let all = ScopeRule::write("/src");
    assert_eq!(others(&all, "child"), ["top", "grandchild"]);
    assert_eq!(others(&all, "no such entry").len(), 3);
}

// The first implementation of this format searched for conflicts from the top of each family down: an
// entry whose parent is missing was never found, and its scope was given to the next claim.
#[test]
fn an_entry_without_its_parent_still_has_its_scope() {
    let mut table = family();
    table.entries.retain(|entry| entry.name != "top");
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
        .expect("the scope is top's");
    let placeholder = table.find("child").expect("the scope was delegated");
    assert!(
        placeholder.is_placeholder(),
        "no process has adopted the entry"
    );
    assert_eq!(
        placeholder.pid, 1,
        "a placeholder lives as long as its parent"
    );

    // The first implementation of this format did not check that: the child would write what its parent
    // writes.
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
        .expect("the entry is a placeholder");
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
fn a_released_scope_returns_to_the_parent() {
    let mut table = family();
    let released = table.release("child").expect("the entry is in the table");
    assert_eq!(released.pid, 2);
    assert_eq!(parent(&table, "grandchild"), Some("top"));
    let top = table
        .effective_write_scope("top")
        .expect("the entry is in the table");
    assert!(
        top.permits(Path::new("/src/core/y"), Permission::Write),
        "the scope is the parent's again"
    );
    assert!(
        !top.permits(Path::new("/src/core/x"), Permission::Write),
        "the grandchild still has this part"
    );
    table.release("top").expect("the entry is in the table");
    assert_eq!(
        parent(&table, "grandchild"),
        None,
        "no entry is above the grandchild"
    );
    assert!(matches!(
        table.release("top"),
        Err(TableError::UnknownName { .. })
    ));
    assert_eq!(table.problems(), []);
}

#[test]
fn dead_entries_are_reclaimed_and_their_children_go_to_the_nearest_live_ancestor() {
    let mut table = family();
    let dead = table.reclaim_stale_with(|entry| entry.pid == 2);
    assert_eq!(
        dead.iter()
            .map(|entry| entry.name.as_str())
            .collect::<Vec<_>>(),
        ["child"]
    );
    assert_eq!(parent(&table, "grandchild"), Some("top"));

    let mut table = family();
    table.reclaim_stale_with(|entry| entry.pid <= 2);
    assert_eq!(
        parent(&table, "grandchild"),
        None,
        "both ancestors are dead"
    );

    let mut table = family();
    let great = claim("great", &["/src/core/x/y"]);
    table
        .delegate("grandchild", &great, &process(4))
        .expect("the scope is the grandchild's");
    table.reclaim_stale_with(|entry| [2, 3].contains(&entry.pid));
    assert_eq!(
        parent(&table, "great"),
        Some("top"),
        "two dead ancestors are skipped"
    );

    let mut table = family();
    assert!(table.reclaim_stale_with(|_| false).is_empty());
    assert_eq!(table, family(), "without dead entries nothing changes");
}

// Entries of other programs may name each other as parents. A walk along the parents must end.
#[test]
fn a_cycle_of_parents_hangs_no_operation() {
    let mut table = family();
    table
        .find_mut("top")
        .expect("the entry is in the table")
        .parent = Some("grandchild".into());
    assert!(
        table
            .problems()
            .iter()
            .any(|problem| matches!(problem, Problem::Cycle { .. }))
    );
    assert_conflict(
        table.register(&claim("new", &["/src/core/x"]), "s", &process(9)),
        "top",
        "/src",
    );
    table.reclaim_stale_with(|entry| entry.pid <= 2);
    assert_eq!(table.entries.len(), 1, "one entry is alive");
}

// A parent that crashed registers again while its old children live: its new claim denies what they may
// still hold, and it reclaims that child by child.
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
        .expect("a denied scope does not conflict");
    assert_eq!(table.problems(), []);

    table
        .reclaim_delegated("top", "child", std::slice::from_ref(&core))
        .expect_err("the grandchild is alive");
    assert!(table.find("child").is_some(), "a refusal changes nothing");
    table
        .release("grandchild")
        .expect("the entry is in the table");
    table
        .reclaim_delegated("top", "child", std::slice::from_ref(&core))
        .expect("no other entry has the scope");
    assert!(table.find("child").is_none());
    let top = table
        .effective_write_scope("top")
        .expect("the entry is in the table");
    assert!(top.covers(&core), "the whole scope is back");
    table
        .reclaim_delegated("top", "child", &[core])
        .expect("a second reclaim changes nothing");
}

// As above, but the child also reads, what the parent did not list. A stranger at another path that the parent
// denies itself must not be taken for such a child.
#[test]
fn a_child_is_known_by_what_its_parent_could_have_delegated() {
    let [core, docs] = ["/src/core", "/src/docs"].map(ScopeRule::write);
    let mut table = Table::default();
    let top = claim("top", &["/src"]).deny(core.clone()).deny(docs);
    let done = "the scope is denied by top";
    table.register(&top, "s-top", &process(1)).expect(done);
    let child = claim("child", &["/src/core/a"]).allow(ScopeRule::read("/src/lib"));
    table.register(&child, "s-child", &process(2)).expect(done);
    let stranger = claim("stranger", &["/src/docs/a"]);
    table.register(&stranger, "s", &process(3)).expect(done);

    let refused = table.reclaim_delegated("top", "stranger", std::slice::from_ref(&core));
    assert!(
        matches!(&refused, Err(TableError::NotAChild { .. })),
        "top does not name what the stranger has: {refused:?}"
    );
    table
        .reclaim_delegated("top", "child", &[core])
        .expect("the child has a part of what top denied itself");
    let top = table.find("top").expect("it stays");
    assert_eq!(top.deny.len(), 1, "the docs are still denied");
    assert!(table.find("stranger").is_some());
}

// A parent is restored from a log that has one delegation twice. The first reclaim was refused: the
// second denial hid that the child's scope had been the parent's.
#[test]
fn a_path_that_a_parent_denied_itself_twice_is_reclaimed_twice() {
    let core = ScopeRule::write("/src/core");
    let mut table = Table::default();
    let top = claim("top", &["/src"])
        .deny(core.clone())
        .deny(core.clone());
    let done = "the scope is free";
    table.register(&top, "s-top", &process(1)).expect(done);
    let child = claim("child", &["/src/core"]);
    table.register(&child, "s", &process(2)).expect(done);
    let mut denials_after_reclaim = || {
        table
            .reclaim_delegated("top", "child", std::slice::from_ref(&core))
            .expect("the child's scope was top's");
        assert!(table.find("child").is_none());
        table.find("top").expect("it stays").deny.len()
    };
    assert_eq!(denials_after_reclaim(), 1, "one denial for each reclaim");
    assert_eq!(denials_after_reclaim(), 0);
    assert_eq!(denials_after_reclaim(), 0, "a repeated reclaim succeeds");
}

// A program that shuts down may release its own entry before it reclaims its children: the entries
// of the children would stay for as long as their processes, which it has just told to end.
#[test]
fn a_parent_without_an_entry_cleans_up_after_its_own_children_alone() {
    let core = ScopeRule::write("/src/core");
    let mut table = family();
    table.release("top").expect("the entry is in the table");
    let refused = table.reclaim_delegated("top", "child", &[]);
    assert!(
        matches!(&refused, Err(TableError::NotAChild { .. })),
        "nothing shows that the child was top's: {refused:?}"
    );
    let other = [ScopeRule::write("/other")];
    let refused = table.reclaim_delegated("top", "child", &other);
    assert!(
        matches!(&refused, Err(TableError::NotAChild { .. })),
        "a stranger's scope is not what top delegated: {refused:?}"
    );
    let refused = table.reclaim_delegated("top", "grandchild", std::slice::from_ref(&core));
    assert!(
        matches!(&refused, Err(TableError::NotAChild { delegated_from: Some(from), .. }) if from == "child"),
        "another entry delegated it: {refused:?}"
    );
    for _ in 0..2 {
        table
            .reclaim_delegated("top", "child", std::slice::from_ref(&core))
            .expect("the second time there is nothing to do");
    }
    assert!(table.find("child").is_none());
    assert_eq!(parent(&table, "grandchild"), None);
}

// The first implementation of this format removed the denial even if another process had registered the
// scope meanwhile.
#[test]
fn a_denied_scope_is_not_reclaimed_from_a_stranger() {
    let core = ScopeRule::write("/src/core");
    let mut table = Table::default();
    let top = claim("top", &["/src"]).deny(core.clone());
    table
        .register(&top, "s-top", &process(1))
        .expect("the table is empty");
    table
        .register(&claim("stranger", &["/src/core"]), "s", &process(2))
        .expect("the scope is excluded from top's");
    assert_conflict(
        table.reclaim_delegated("top", "child", std::slice::from_ref(&core)),
        "stranger",
        "/src/core",
    );

    let mut table = family();
    let outcome = table.reclaim_delegated("top", "grandchild", &[]);
    assert!(
        matches!(&outcome, Err(TableError::NotAChild { delegated_from, .. }) if delegated_from.as_deref() == Some("child")),
        "{outcome:?}"
    );
}

// A child had ended, and a stranger had registered under its name: the parent reclaimed the stranger's
// scope. A child could also reclaim its own parent.
#[test]
fn only_a_child_is_reclaimed() {
    let mut table = family();
    table
        .release("grandchild")
        .expect("the entry is in the table");
    table.release("child").expect("the entry is in the table");
    table
        .register(&claim("child", &["/other"]), "s", &process(9))
        .expect("name and path are free");
    let outcome = table.reclaim_delegated("top", "child", &[ScopeRule::write("/src/core")]);
    assert!(
        matches!(
            &outcome,
            Err(TableError::NotAChild {
                delegated_from: None,
                ..
            })
        ),
        "{outcome:?}"
    );
    assert!(
        table.find("child").is_some(),
        "the stranger keeps the scope"
    );

    table
        .delegate("top", &claim("all", &["/src"]), &process(1))
        .expect("the scope is top's");
    let outcome = table.reclaim_delegated("all", "top", &[]);
    assert!(
        matches!(&outcome, Err(TableError::NotAChild { .. })),
        "{outcome:?}"
    );
}

// A scope that a child's claim denies is still the parent's: a stranger with that scope would conflict
// with the parent after the end of the child.
#[test]
fn a_scope_that_a_child_denies_is_not_free_for_strangers() {
    let mut table = Table::default();
    table
        .register(&claim("top", &["/src"]), "s", &process(1))
        .expect("the table is empty");
    let child = claim("child", &["/src/core"]).deny(ScopeRule::write("/src/core/x"));
    table
        .delegate("top", &child, &process(1))
        .expect("the scope is top's");
    assert_conflict(
        table.register(&claim("stranger", &["/src/core/x"]), "t", &process(2)),
        "top",
        "/src",
    );
    table
        .delegate("top", &claim("second", &["/src/core/x"]), &process(1))
        .expect("top may delegate the scope");
    assert_eq!(table.problems(), []);
}

// The entry "c" denied itself a part that its parent did not have either, and handed it out: the parent's parent wrote
// there.
#[test]
fn what_an_entry_denies_itself_is_not_its_to_hand_out() {
    let mut table = Table::default();
    let top = claim("g", &["/data"]);
    table.register(&top, "s", &process(1)).expect("it is empty");
    let part = claim("p", &["/data/p"]);
    table.delegate("g", &part, &process(1)).expect("it is g's");
    let all = [ScopeRule::write("/data")];
    let child = claim("c", &["/data/p/c", "/data/q"]).deny(ScopeRule::write("/data/q"));
    let delegated = table.delegate_within("p", &all, &child, &process(1));
    delegated.expect("what it does not deny itself is p's");
    for giver in ["p", "c"] {
        let refused = table.delegate_within(giver, &all, &claim("d", &["/data/q"]), &process(1));
        assert_conflict(refused, "g", "/data");
    }
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
        .expect("the path is absolute");
    let target = table
        .find("a")
        .and_then(|entry| entry.allow.first())
        .map(|rule| rule.target.clone());
    assert_eq!(
        target,
        Some(PathBuf::from("/src/core")),
        "the table has the normal form"
    );
}

#[test]
fn problems_of_tables_of_other_programs_are_found() {
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
    let table = Table::parse(table.to_string().as_bytes()).expect("the table is valid JSON");
    let problems: Vec<String> = table.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            r#"entries "a" and "b" both write segment "1""#,
            r#"two entries have the name "g""#,
            r#"entry "g" has a rule for a relative path: relative"#,
            r#"entry "d" was delegated by "gone", which is not in the table"#,
            r#"entries "a" and "b" may write the same paths: write /a/** and write /a/b/**"#,
        ],
        "a parent and its child may overlap; names with a common prefix do not"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn sequences_of_operations_do_what_a_naive_model_does(
        bytes in prop::collection::vec(any::<u8>(), 0..250),
    ) {
        support::table_model::compare(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    // A child's claim denied itself a part that its parent did not have either. The child handed that part out,
    // although its parent's parent held it.
    #[test]
    fn no_operation_gives_two_holders_one_path(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        support::table_model::keep_disjoint(&bytes);
    }

    // A check that stops at the ancestors of an entry could overlook a stranger above them.
    #[test]
    fn the_overlaps_that_are_found_are_those_of_a_comparison_of_every_pair(
        bytes in prop::collection::vec(any::<u8>(), 0..150),
    ) {
        let table = support::table_model::any_table(&bytes);
        let expected = support::table_model::overlapping(&table);
        let problems = table.problems();
        let found: Vec<_> = problems.iter().filter_map(|problem| match problem {
            Problem::Overlap { one, other } => Some((other.0.clone(), one.0.clone())),
            _ => None,
        }).collect();
        for (entry, with) in &found {
            let conflicts = expected.get(entry).is_some_and(|names| names.contains(with));
            prop_assert!(conflicts, "{entry} and {with} do not conflict: {table:?}");
        }
        let names: std::collections::BTreeSet<_> = found.into_iter().map(|(entry, _)| entry).collect();
        prop_assert_eq!(names, expected.into_keys().collect(), "each is reported: {:?}", table);
    }

    #[test]
    fn cycles_and_missing_parents_are_found_by_a_walk_from_each_entry(
        bytes in prop::collection::vec(any::<u8>(), 0..150),
    ) {
        let table = support::table_model::any_table(&bytes);
        let (mut cycles, mut dangling) = (Vec::new(), Vec::new());
        for entry in &table.entries {
            let Some(parent) = &entry.parent else { continue };
            if table.find(parent).is_none() {
                dangling.push(entry.name.clone());
            } else if support::table_model::ancestors(&table, parent).contains(&entry.name) {
                cycles.push(entry.name.clone());
            }
        }
        let (mut found_cycles, mut found_dangling) = (Vec::new(), Vec::new());
        for problem in table.problems() {
            match problem {
                Problem::Cycle { name } => found_cycles.push(name),
                Problem::DanglingParent { name, .. } => found_dangling.push(name),
                _ => {}
            }
        }
        prop_assert_eq!((found_cycles, found_dangling), (cycles, dangling), "{:?}", table);
    }
}

// An operator pasted the command of a refusal for "a\0b": the shell cut the word there, and "a" was released.
#[test]
fn a_name_or_a_path_with_a_nul_character_is_refused() {
    let mut table = Table::default();
    let nul = "a\0b";
    let refused = |outcome: Result<(), TableError>| {
        assert!(
            matches!(&outcome, Err(TableError::InvalidName { name }) if name == nul),
            "{outcome:?}"
        );
    };
    refused(table.register(&claim(nul, &["/a"]), "s", &process(1)));
    refused(table.register(&claim("a", &["/a"]), nul, &process(1)));
    let registered = table.register(&claim("a", &["/a"]), "s", &process(1));
    registered.expect("the table is empty");
    refused(table.delegate("a", &claim(nul, &["/a/b"]), &process(1)));
    refused(table.update_segment("a", nul));
    let of_path = [claim("c", &["/c\0"]), claim("c", &["/c"]).socket("/c\0")];
    for claim in of_path {
        let refused = table.register(&claim, "c", &process(1));
        assert!(
            matches!(
                refused,
                Err(TableError::InvalidPath {
                    problem: PathProblem::Nul,
                    ..
                })
            ),
            "{refused:?}"
        );
    }
}

// `yoi` reads both as one UUID, and two processes wrote one segment.
#[test]
fn a_uuid_is_one_segment_in_upper_and_in_lower_case() {
    let (lower, upper) = (
        "0197f0c2-7d2b-7c55-9f0a-3d1f6f1f0a11",
        "0197F0C2-7D2B-7C55-9F0A-3D1F6F1F0A11",
    );
    let mut table = Table::default();
    let registered = table.register(&claim("a", &["/a"]), lower, &process(1));
    registered.expect("the table is empty");
    let refused = table.register(&claim("b", &["/b"]), upper, &process(2));
    assert!(
        matches!(refused, Err(TableError::SegmentConflict { .. })),
        "{refused:?}"
    );
    assert!(table.find_by_segment(upper).is_some());

    // Another program has written both.
    let registered = table.register(&claim("b", &["/b"]), "s", &process(2));
    registered.expect("the scope is free");
    if let Some(entry) = table.find_mut("b") {
        entry.segment = Some(upper.to_owned());
    }
    let problems = table.problems();
    assert!(
        matches!(problems.as_slice(), [Problem::DuplicateSegment { .. }]),
        "{problems:?}"
    );
}
