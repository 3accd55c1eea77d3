//! The scope algebra, compared with sets of paths.
//!
//! The failures: an overlap that the algebra does not find lets two processes write one file; an overlap
//! that does not exist refuses a valid claim. Both occur in the corner cases: a shallow rule and a rule
//! for a child, a denial that covers most of a rule. So every combination of rules about a small tree is
//! compared with the list of paths that the rules contain.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rvlf::table::{Permission, ScopeRule, Table};

/// Every path of up to four components named a, b or z. Rules name at most two components and never
/// z: so below each target there is a child and a grandchild that no rule names.
fn universe() -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::from("/")];
    let mut last = paths.clone();
    for _ in 0..4 {
        last = { last.iter() }
            .flat_map(|path| ["a", "b", "z"].map(|name| path.join(name)))
            .collect();
        paths.extend_from_slice(&last);
    }
    paths
}

fn targets() -> Vec<PathBuf> {
    let named = |path: &PathBuf| path.components().count() <= 3 && !path.ends_with("z");
    let all = universe();
    let named = all.iter().filter(|path| named(path));
    let named = named.filter(|path| path.parent().is_none_or(|parent| !parent.ends_with("z")));
    named.cloned().collect()
}

fn rules() -> Vec<ScopeRule> {
    let rules = targets().into_iter().flat_map(|target| {
        let (write, read) = (ScopeRule::write(&target), ScopeRule::read(&target));
        [write.clone().shallow(), write, read.clone().shallow(), read]
    });
    rules.collect()
}

/// The paths of a rule, by its definition alone.
fn paths(rule: &ScopeRule, universe: &[PathBuf]) -> BTreeSet<PathBuf> {
    let depth = rule.target.components().count();
    let below = |path: &&PathBuf| {
        let same_beginning = path.components().take(depth).eq(rule.target.components());
        let deeper = path.components().count().saturating_sub(depth);
        same_beginning && (rule.recursive || deeper <= 1)
    };
    universe.iter().filter(below).cloned().collect()
}

fn writes(rules: &[ScopeRule], universe: &[PathBuf]) -> BTreeSet<PathBuf> {
    let writes = rules
        .iter()
        .filter(|rule| rule.permission == Permission::Write);
    writes.flat_map(|rule| paths(rule, universe)).collect()
}

#[test]
fn two_rules_overlap_and_cover_exactly_where_their_paths_do() {
    let universe = universe();
    let rules = rules();
    assert_eq!(
        rules.len(),
        7 * 4,
        "seven targets, two extents, two permissions"
    );
    for one in &rules {
        let one_paths = paths(one, &universe);
        for path in &universe {
            assert_eq!(
                one.contains(path),
                one_paths.contains(path),
                "{one} at {path:?}"
            );
        }
        for other in &rules {
            let other_paths = paths(other, &universe);
            let overlap = !one_paths.is_disjoint(&other_paths);
            assert_eq!(one.overlaps(other), overlap, "overlap of {one} and {other}");
            let both_write = [one, other].map(|rule| rule.permission) == [Permission::Write; 2];
            assert_eq!(
                one.conflicts_with(other),
                both_write && overlap,
                "only writing is exclusive: {one} and {other}"
            );
            let covers = other_paths.is_subset(&one_paths) && one.permission >= other.permission;
            assert_eq!(one.covers(other), covers, "does {one} cover {other}");
        }
    }
}

fn table(entries: &[(&str, &[ScopeRule], &[ScopeRule])]) -> Table {
    let entries: Vec<_> = { entries.iter() }
        .map(|(name, allow, deny)| {
            serde_json::json!({
                "pod_name": name, "pid": 1, "socket": "", "scope_allow": allow,
                "scope_deny": deny, "delegated_from": null, "segment_id": name,
            })
        })
        .collect();
    let json = serde_json::json!({ "allocations": entries }).to_string();
    Table::parse(json.as_bytes()).expect("the table is valid JSON")
}

// Two holders with two rules and a denial each: the rules of a scope together, not each alone.
#[test]
fn scopes_with_denials_conflict_exactly_where_both_may_write() {
    let universe = universe();
    let rules = rules();
    let mut generator = 0x2545_f491_4f6c_dd1d_u64;
    let mut conflicts = 0;
    let rounds = 3_000;
    for _ in 0..rounds {
        let [a, b, c, d, e, f]: [ScopeRule; 6] =
            std::array::from_fn(|_| pick(&rules, &mut generator));
        let (one, other) = (
            Pair::new([a, b], c, &universe),
            Pair::new([d, e], f, &universe),
        );
        let table = table(&[
            ("one", &one.allow, std::slice::from_ref(&one.deny)),
            ("other", &other.allow, std::slice::from_ref(&other.deny)),
        ]);
        let scope = |name| table.find(name).expect("the entry is in the table").scope();
        let conflict = scope("one").conflict(&scope("other")).is_some();
        let overlap = !one.writes.is_disjoint(&other.writes);
        assert_eq!(conflict, overlap, "{one:?} and {other:?}");
        for path in &universe {
            let permitted = scope("one").permits(path, Permission::Write);
            assert_eq!(permitted, one.writes.contains(path), "{one:?} at {path:?}");
        }
        let covers = scope("one").covers_scope(&scope("other"));
        let contains = other.writes.is_subset(&one.writes) && other.reads.is_subset(&one.reads);
        assert_eq!(covers, contains, "does {one:?} cover {other:?}");
        conflicts += usize::from(conflict);
    }
    let is_frequent = (rounds / 10..rounds * 9 / 10).contains(&conflicts);
    assert!(
        is_frequent,
        "both results are frequent: {conflicts} of {rounds}"
    );
}

/// Two rules and a denial, with the paths that they permit.
struct Pair {
    allow: [ScopeRule; 2],
    deny: ScopeRule,
    writes: BTreeSet<PathBuf>,
    reads: BTreeSet<PathBuf>,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} less {}", self.allow, self.deny)
    }
}

impl Pair {
    fn new(allow: [ScopeRule; 2], deny: ScopeRule, universe: &[PathBuf]) -> Pair {
        let denied = paths(&deny, universe);
        // A denial of reading also denies writing: every denial counts.
        let writes = &writes(&allow, universe) - &denied;
        let allowed: BTreeSet<_> = allow
            .iter()
            .flat_map(|rule| paths(rule, universe))
            .collect();
        let reads = match deny.permission {
            Permission::Read => &allowed - &denied,
            Permission::Write => allowed,
        };
        Pair {
            allow,
            deny,
            writes,
            reads,
        }
    }
}

/// xorshift64, with the same sequence in every run.
fn pick(rules: &[ScopeRule], state: &mut u64) -> ScopeRule {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    let index = usize::try_from(*state >> 33).expect("31 bits fit") % rules.len();
    rules
        .get(index)
        .expect("a remainder is below the length")
        .clone()
}

// Otherwise two processes could have "/etc": one as "/data/../etc", one as "/etc".
#[test]
fn paths_are_compared_by_their_normal_form() {
    let etc = ScopeRule::write("/etc");
    for spelling in ["/data/../etc", "/etc/", "//etc/.", "/../etc/x/.."] {
        let other = ScopeRule::write(spelling);
        assert!(
            etc.covers(&other) && other.covers(&etc),
            "{spelling} is /etc"
        );
    }
    assert!(
        !etc.overlaps(&ScopeRule::write("/etcetera")),
        "a component is compared as a whole"
    );
    assert_eq!(ScopeRule::write("/").to_string(), "write /**");
    assert_eq!(ScopeRule::read("/a").shallow().to_string(), "read /a/*");
}
