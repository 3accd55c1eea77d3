//! The rules that a test can switch off, to see that it finds what they defend against.

/// A rule of the machine.
#[cfg_attr(not(rvlf_sim), allow(dead_code))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The belief is counted from the beginning of a confirmed write. Without the rule: from its answer.
    BeliefFromBeginning,
    /// A new hold whose confirmation took long is taken over again. Without the rule: its belief starts
    /// anew when the confirmation comes.
    OwnAge,
    /// After the first attempt to release, the holder does not believe any more.
    SilentAfterRelease,
    /// A takeover by force keeps the lease of its victim, if that is longer than the own one.
    VictimsLease,
    /// A write whose outcome is not known is written again. Without the rule: a read that shows the old
    /// object is taken for the proof that the write is not in, and never will be.
    SettleByWriting,
}

/// The rule that is switched off: none, but in a search of the simulated store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Omission {
    #[cfg(rvlf_sim)]
    rule: Option<Rule>,
}

impl Omission {
    /// Switches `rule` off.
    #[cfg(rvlf_sim)]
    #[must_use]
    pub fn of(rule: Rule) -> Omission {
        Omission { rule: Some(rule) }
    }

    #[cfg(rvlf_sim)]
    pub(super) fn is(self, rule: Rule) -> bool {
        self.rule == Some(rule)
    }

    #[cfg(not(rvlf_sim))]
    pub(super) const fn is(self, _: Rule) -> bool {
        false
    }
}
