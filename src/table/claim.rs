//! [`Claim`]: the name and the rules of an entry that is to be made.

use std::path::{Path, PathBuf};

use super::entry::{Entry, EntryHolder};
use super::error::{PathProblem, Result, TableError};
use super::region::normalize;
use super::rule::ScopeRule;
use super::scope::Scope;

/// A request for an entry: its name and its rules.
///
/// ```
/// use rvlf::table::{Claim, ScopeRule};
///
/// let claim = Claim::new("indexer")
///     .allow(ScopeRule::write("/data/index"))
///     .allow(ScopeRule::read("/data"))
///     .deny(ScopeRule::write("/data/index/frozen"));
/// assert_eq!(claim.name(), "indexer");
/// assert!(claim.scope().covers(&ScopeRule::write("/data/index/a")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a claim has no effect until it is registered or delegated"]
pub struct Claim {
    name: String,
    socket: PathBuf,
    allow: Vec<ScopeRule>,
    deny: Vec<ScopeRule>,
}

impl Claim {
    /// A claim without rules. No other entry of the table may have the name.
    ///
    /// ```
    /// # use rvlf::table::Claim;
    /// assert_eq!(Claim::new("indexer").name(), "indexer");
    /// ```
    pub fn new(name: impl Into<String>) -> Claim {
        Claim {
            name: name.into(),
            socket: PathBuf::new(),
            allow: Vec::new(),
            deny: Vec::new(),
        }
    }

    /// Sets a path at which the holder can be reached. The table stores it for other processes and
    /// attaches no meaning to it.
    ///
    /// ```
    /// # use rvlf::table::Claim;
    /// let claim = Claim::new("indexer").socket("/run/indexer.sock");
    /// ```
    pub fn socket(mut self, path: impl Into<PathBuf>) -> Claim {
        self.socket = path.into();
        self
    }

    /// Adds a rule that grants.
    ///
    /// ```
    /// # use rvlf::table::{Claim, ScopeRule};
    /// let claim = Claim::new("indexer")
    ///     .allow(ScopeRule::write("/data/index"))
    ///     .allow(ScopeRule::read("/data"));
    /// ```
    pub fn allow(mut self, rule: ScopeRule) -> Claim {
        self.allow.push(rule);
        self
    }

    /// Adds a rule that denies, which takes precedence over every rule that grants.
    ///
    /// ```
    /// # use rvlf::table::{Claim, ScopeRule};
    /// let frozen = ScopeRule::write("/data/frozen");
    /// let claim = Claim::new("indexer").deny(frozen.clone()).allow(ScopeRule::write("/data"));
    /// assert!(!claim.scope().covers(&frozen));
    /// ```
    pub fn deny(mut self, rule: ScopeRule) -> Claim {
        self.deny.push(rule);
        self
    }

    /// The name of the claim.
    ///
    /// ```
    /// # use rvlf::table::Claim;
    /// assert_eq!(Claim::new("indexer").name(), "indexer");
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The rules of the claim.
    ///
    /// ```
    /// # use rvlf::table::{Claim, ScopeRule};
    /// let claim = Claim::new("indexer").allow(ScopeRule::write("/data"));
    /// assert!(claim.scope().covers(&ScopeRule::write("/data/index")));
    /// ```
    #[must_use]
    pub fn scope(&self) -> Scope<'_> {
        Scope {
            allow: self.allow.iter().collect(),
            deny: self.deny.iter().collect(),
        }
    }

    /// The entry for this claim, with normalized paths.
    pub(super) fn to_entry(&self, holder: &EntryHolder) -> Result<Entry> {
        ensure_no_nul(&self.name)?;
        ensure_text(&self.socket)?;
        let mut entry = Entry::new(&self.name, holder.clone());
        entry.socket.clone_from(&self.socket);
        entry.allow = normalize_rules(&self.allow)?;
        entry.deny = normalize_rules(&self.deny)?;
        Ok(entry)
    }
}

fn normalize_rules(rules: &[ScopeRule]) -> Result<Vec<ScopeRule>> {
    rules.iter().map(normalize_rule).collect()
}

fn normalize_rule(rule: &ScopeRule) -> Result<ScopeRule> {
    if !rule.target.is_absolute() {
        return Err(invalid(&rule.target, PathProblem::Relative));
    }
    ensure_text(&rule.target)?;
    let mut rule = rule.clone();
    rule.target = normalize(&rule.target);
    Ok(rule)
}

/// Refuses what JSON cannot hold, and what no system call can name.
fn ensure_text(path: &Path) -> Result<()> {
    match path.to_str() {
        None => Err(invalid(path, PathProblem::NotUtf8)),
        Some(text) if text.contains('\0') => Err(invalid(path, PathProblem::Nul)),
        Some(_) => Ok(()),
    }
}

/// Refuses a name or a segment that no command line can pass on. An operator released the entry `a` in place of
/// `a\0b`, which was in the way: a shell cuts the word at that character.
pub(super) fn ensure_no_nul(name: &str) -> Result<()> {
    if name.contains('\0') {
        return Err(TableError::InvalidName {
            name: name.to_owned(),
        });
    }
    Ok(())
}

fn invalid(path: &Path, problem: PathProblem) -> TableError {
    TableError::InvalidPath {
        path: path.to_owned(),
        problem,
    }
}
