//! The state of a lock, in words.

use std::fmt::{self, Display};
use std::io;
use std::path::Path;

use clap::builder::styling::{AnsiColor, Style};
use rvlf::judge::{Age, Reason, Verdict};
use rvlf::{Escaped, Holder, LockState, LockingProcess, lock_path_for};

use crate::escape::shell_path;
use crate::inspection::{self, Inspection, Inspector};
use crate::sys::open_locks;
use crate::sys::removal::Removal;
use crate::{exit, time};

const CONTAINER: &str = " in another container of this machine";

/// The state, its reason and the holder, in one line.
pub fn line(inspection: &Inspection) -> String {
    let line = with_reason(&inspection.state, summary(inspection));
    match inspection.kept_open() {
        Some(kept_open) => format!("{line}; {kept_open}"),
        None => line,
    }
}

/// What a wait for the lock of `data` shows, from one look after another: the holder, if it is another
/// process.
pub fn looks(data: &Path) -> impl FnMut() -> Option<String> + Clone + Send + use<> {
    let (data, mut inspector) = (data.to_owned(), Inspector::new(data));
    move || {
        let inspection = inspector.inspect().ok()?;
        let LockState::Held(holder) = &inspection.state else {
            return None;
        };
        let held = line(&inspection);
        (!holder.is_this_process()).then(|| format!("waiting for {}: {held}", Escaped::path(&data)))
    }
}

/// One line for a state, without what /proc shows of the processes that keep the lock.
pub fn state_line(state: &LockState) -> String {
    with_reason(state, state_summary(state, None))
}

fn with_reason(state: &LockState, summary: String) -> String {
    match state.reason() {
        Some(reason) => format!("{summary}: {reason}"),
        None => summary,
    }
}

/// The state and the holder, without the reason.
fn summary(inspection: &Inspection) -> String {
    state_summary(&inspection.state, inspection.holder_command.as_deref())
}

fn state_summary(state: &LockState, command: Option<&str>) -> String {
    match state {
        LockState::Free => "free".into(),
        LockState::Held(holder) => held_by(holder, command),
        LockState::Stale(holder) => left_by(holder),
        LockState::Malformed(holder) => {
            let class = match exit::status_for_state(state) {
                exit::HELD => "held, record being written",
                _ => "malformed",
            };
            match holder.decode_error() {
                Some(error) => format!("{class}: {error}"),
                None => class.into(),
            }
        }
        LockState::UnsupportedVersion(found) => format!("an RVLF lock of version {found}"),
        LockState::Foreign(found) => format!("not an RVLF lock but {found}"),
        _ => "in a state that this version of rvlf does not know".into(),
    }
}

fn held_by(holder: &Holder, command: Option<&str>) -> String {
    let held = match (holder.record(), holder.decode_error(), holder.uid()) {
        (Some(record), ..) => {
            let (pid, host) = (record.pid(), record.hostname());
            let note = match () {
                () if holder.is_in_another_container() => CONTAINER,
                () if holder.pid_is_another_process() => ", but here this pid is another process,",
                () => "",
            };
            let command = command.map(|name| format!(" ({})", Escaped::text(name)));
            let command = command.unwrap_or_default();
            format!("held by pid {pid}{command} on {host}{note}")
        }
        (None, Some(_), _) => "held".into(),
        (None, None, Some(uid)) => format!("held or left behind by a process of user {uid}"),
        (None, None, None) => "held".into(),
    };
    let held = match holder.held_for() {
        Some(age) => format!("{held} for {}", time::in_words(age)),
        None => held,
    };
    match holder.decode_error() {
        Some(error) => format!("{held}, {error}"),
        None => held,
    }
}

fn left_by(holder: &Holder) -> String {
    let Some(record) = holder.record() else {
        return "left behind".into();
    };
    let (pid, host) = (record.pid(), record.hostname());
    let place = match holder.is_in_another_container() {
        true => CONTAINER,
        false => "",
    };
    match holder.timestamp_age() {
        Some(age) => {
            let age = time::age_in_words(age);
            format!("left behind by pid {pid} on {host}{place}, last refreshed {age}")
        }
        None => format!("left behind by pid {pid} on {host}{place}"),
    }
}

/// What an operator can do next.
pub fn next_step(state: &LockState, data: &Path) -> Option<String> {
    let removal = Removal::of(&lock_path_for(data));
    let (data, by_whom) = (shell_path(data), removal.by_whom());
    let as_whom = by_whom
        .as_ref()
        .map(|whom| format!(", {whom}"))
        .unwrap_or_default();
    Some(match state {
        LockState::Free => return None,
        LockState::Held(holder) => match (holder.verdict().reason(), holder.record()) {
            (Reason::PidProbablyReused, Some(record)) => {
                let id = record.writer_id();
                format!(
                    "if you are sure that no process writes the data file{as_whom}: \
                     rvlf break --force --writer-id {id} {data}"
                )
            }
            (Reason::Unreadable, _) => format!(
                "as a user who may read the lock file, see whether its holder is alive: rvlf \
                 status {data}"
            ),
            _ => format!("wait until it is free: rvlf wait {data}"),
        },
        LockState::Malformed(holder) if !holder.verdict().is_stale() => {
            format!("check again in a moment: rvlf status {data}")
        }
        LockState::Stale(_) | LockState::Malformed(_) => match by_whom {
            None => format!(
                "none needed, the next writer that may remove the file recovers the lock; to remove \
                 it now: rvlf break {data}"
            ),
            Some(whom) => {
                format!("{whom}: rvlf break {data}; a writer of this user cannot recover the lock")
            }
        },
        LockState::UnsupportedVersion(_) => {
            "update rvlf: a process with a newer version may hold the lock".into()
        }
        _ => format!("if no other program needs the file, move it away{as_whom}"),
    })
}

/// All that is known of a lock, in labelled lines.
pub struct Block<'a> {
    pub data: &'a Path,
    pub inspection: &'a Inspection,
}

impl Display for Block<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = &self.inspection.state;
        let (data, style) = (Escaped::path(self.data), style(state));
        writeln!(f, "{data}: {style}{}{style:#}", summary(self.inspection))?;
        if matches!(state, LockState::Free) {
            return self.fmt_free(f);
        }
        if let Some(reason) = state.reason() {
            write_label(f, "reason", reason)?;
        }
        if let Some(processes) = &self.inspection.locked_by {
            write_processes(f, processes, state)?;
        }
        if let Some(holder) = state.holder() {
            write_holder(f, holder)?;
        }
        write_label(f, "lock file", Escaped::path(&lock_path_for(self.data)))?;
        match next_step(state, self.data) {
            Some(step) => write_label(f, "next step", step),
            None => Ok(()),
        }
    }
}

impl Block<'_> {
    /// A mistyped path has no lock: "free" alone would be taken for the answer.
    fn fmt_free(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.data.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                write_label(f, "data file", "there is none of this name")
            }
            _ => Ok(()),
        }
    }
}

fn write_processes(
    f: &mut fmt::Formatter<'_>,
    processes: &[LockingProcess],
    state: &LockState,
) -> fmt::Result {
    const LABEL: &str = "kept open";
    for process in processes {
        write_label(f, LABEL, format_args!("by {process}"))?;
    }
    if !processes.is_empty() {
        return Ok(());
    }
    match inspection::possible_client(state) {
        None => {
            let where_to_look = open_locks::WHERE_TO_LOOK;
            write_label(f, LABEL, format_args!("by a process that {where_to_look}"))
        }
        Some(host) => {
            let unseen = "by no process that can be seen here: perhaps on";
            write_label(
                f,
                LABEL,
                format_args!("{unseen} {host}, over the network file system"),
            )
        }
    }
}

fn write_holder(f: &mut fmt::Formatter<'_>, holder: &Holder) -> fmt::Result {
    if let Some(since) = holder.held_for().and_then(time::local_time_before) {
        write_label(f, "since", since)?;
    }
    if let Some(age) = holder.timestamp_age() {
        write_label(f, "refreshed", time::age_in_words(age))?;
    }
    if let Verdict::Held {
        stale_in: Some(rest),
        ..
    } = holder.verdict()
    {
        let rest = time::in_words(rest);
        // A status that is repeated gives the same time until this machine's clock has caught up. A
        // process that waits counts the time for which it has watched the record, which may be less.
        let condition = match holder.timestamp_age() {
            Some(Age::Ahead(_)) => " at the latest to a process that waits for it",
            _ => "",
        };
        write_label(
            f,
            "stale in",
            format_args!("{rest}{condition}, unless refreshed"),
        )?;
    }
    if let Some(record) = holder.record() {
        write_label(f, "writer id", record.writer_id())?;
    }
    if holder.has_trailing_bytes() {
        write_label(f, "note", "bytes follow the record and are ignored")?;
    }
    Ok(())
}

fn write_label(f: &mut fmt::Formatter<'_>, name: &str, value: impl Display) -> fmt::Result {
    writeln!(f, "  {name:<9}  {value}")
}

fn style(state: &LockState) -> Style {
    let color = match exit::status_for_state(state) {
        exit::SUCCESS => AnsiColor::Green,
        exit::HELD => AnsiColor::Yellow,
        _ => AnsiColor::Red,
    };
    color.on_default()
}
