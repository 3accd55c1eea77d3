//! The next step where an entry is in the way, and the commands that a message proposes.

use std::fmt;
use std::path::Path;

use super::liveness::Liveness;
use crate::shell_word::ShellWord;

/// A verb of `rvlf table` with the table that it is to act on, to paste into a shell.
pub(super) struct Verb<'a> {
    table: Option<&'a Path>,
    verb: &'static str,
    force: bool,
    /// The entry that it is to act on.
    name: Option<&'a str>,
}

impl<'a> Verb<'a> {
    pub(super) fn new(table: Option<&'a Path>, verb: &'static str) -> Verb<'a> {
        Verb {
            table,
            verb,
            force: false,
            name: None,
        }
    }

    pub(super) fn of(self, name: &'a str) -> Verb<'a> {
        Verb {
            name: Some(name),
            ..self
        }
    }

    pub(super) fn with_force(self, force: bool) -> Verb<'a> {
        Verb { force, ..self }
    }
}

impl fmt::Display for Verb<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No argument of a command can be such a name, which another program may have written.
        if let Some(name) = self.name.filter(|name| name.contains('\0')) {
            return write!(f, "TableGuard::{}({name:?})", self.verb);
        }
        f.write_str("rvlf table")?;
        if let Some(table) = self.table {
            write!(f, " --table {}", ShellWord::path(table))?;
        }
        write!(f, " {}", self.verb)?;
        if self.force {
            f.write_str(" --force")?;
        }
        let Some(name) = self.name else {
            return Ok(());
        };
        if name.starts_with('-') {
            f.write_str(" --")?;
        }
        write!(f, " {}", ShellWord::new(name))
    }
}

/// What decides the next step where an entry is in the way.
pub(super) struct InTheWay<'a> {
    pub(super) name: &'a str,
    pub(super) pid: u32,
    pub(super) is_placeholder: bool,
    /// `None` from an operation that looks at no process.
    pub(super) liveness: Option<Liveness>,
    pub(super) table: Option<&'a Path>,
}

impl InTheWay<'_> {
    /// Writes what is known of the entry's process, and the next step: to release the entry by hand where a wait
    /// may have no end, or else what `otherwise` says.
    pub(super) fn write_advice(
        &self,
        f: &mut fmt::Formatter<'_>,
        otherwise: impl fmt::Display,
    ) -> fmt::Result {
        if let Some(liveness) = self.liveness {
            write!(f, ": {liveness}")?;
        }
        let conditions = self.unending();
        if conditions.is_empty() {
            return write!(f, "; {otherwise}");
        }
        let release = Verb::new(self.table, "release").of(self.name);
        // `rvlf table release` removes the entry of a process that may live only so.
        let release = release.with_force(self.liveness.is_none_or(Liveness::is_alive));
        let conditions = conditions.join(" or if ");
        write!(f, "; if {conditions}, `{release}`; otherwise {otherwise}")
    }

    /// As [`write_advice`](InTheWay::write_advice): to wait, or what `otherwise` says.
    pub(super) fn write_wait(
        &self,
        f: &mut fmt::Formatter<'_>,
        otherwise: impl fmt::Display,
    ) -> fmt::Result {
        self.write_advice(
            f,
            format_args!("wait until that entry is released, or {otherwise}"),
        )
    }

    /// The conditions, which a person has to check, under which the entry stays.
    fn unending(&self) -> Vec<String> {
        let of_process = match self.liveness {
            Some(Liveness::Elsewhere) => Some("that process is dead".to_owned()),
            Some(Liveness::PidAlive | Liveness::ProcessHidden) => {
                Some(format!("pid {} is another process by now", self.pid))
            }
            _ => None,
        };
        // Its maker may live on for long, and have no use for it. A maker that registers again what it has delegated
        // is refused by its own placeholder.
        let adopted_by_none = self.is_placeholder.then(|| {
            "no process will adopt this placeholder (its maker can take it back: reclaim_delegated)"
                .to_owned()
        });
        of_process.into_iter().chain(adopted_by_none).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Written<'a>(InTheWay<'a>);

    impl fmt::Display for Written<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.write_advice(f, "wait")
        }
    }

    // A wait for the release of an entry that no process will release; and a command that was refused for the lack of
    // --force.
    #[test]
    fn where_a_wait_may_have_no_end_the_command_that_ends_it_is_named() {
        const FORCE: &str = "`rvlf table --table t release --force a`; otherwise wait";
        let reused = format!("; if pid 7 is another process by now, {FORCE}");
        let adopted = format!(
            "no process will adopt this placeholder (its maker can take it back: reclaim_delegated), {FORCE}"
        );
        let plain = "`rvlf table --table t release a`; otherwise wait";
        let cases = [
            (None, false, "; wait".to_owned()),
            (Some(Liveness::Alive), false, "; wait".to_owned()),
            (Some(Liveness::Witnessed), false, "; wait".to_owned()),
            (Some(Liveness::PidAlive), false, reused.clone()),
            (Some(Liveness::ProcessHidden), false, reused),
            (
                Some(Liveness::Elsewhere),
                false,
                format!("; if that process is dead, {plain}"),
            ),
            (None, true, format!("; if {adopted}")),
            (Some(Liveness::Alive), true, format!("; if {adopted}")),
            (
                Some(Liveness::PidAlive),
                true,
                format!("; if pid 7 is another process by now or if {adopted}"),
            ),
        ];
        for (liveness, is_placeholder, expected) in cases {
            let entry = InTheWay {
                name: "a",
                pid: 7,
                is_placeholder,
                liveness,
                table: Some(Path::new("t")),
            };
            let known = liveness.map_or_else(String::new, |liveness| format!(": {liveness}"));
            assert_eq!(Written(entry).to_string(), known + &expected);
        }
    }
}
