//! What is known of a lock, in words.

use std::fmt::{self, Display};
use std::path::Path;
use std::time::Duration;

use clap::builder::styling::{AnsiColor, Style};
use jiff::{Timestamp, tz::TimeZone};
use rvlf::{Age, Holder, LockState, Reason, Verdict, lock_path_for};

use crate::{duration, exit, text};

/// Who holds or left the lock, since when.
pub fn who(state: &LockState) -> String {
    match state {
        LockState::Free => "free".into(),
        LockState::Held(holder) => held_by(holder),
        LockState::Stale(holder) => left_by(holder),
        LockState::Malformed(holder) => {
            let class = match exit::of_state(state) {
                exit::HELD => "held, being written",
                _ => "malformed",
            };
            match holder.decode_error() {
                Some(error) => format!("{class}: {error}"),
                None => class.into(),
            }
        }
        LockState::UnsupportedVersion(found) => format!("an RVLF lock of version {found}"),
        LockState::Foreign(found) => format!("not an RVLF lock but {found}"),
        _ => "in a state that this program does not know".into(),
    }
}

fn held_by(holder: &Holder) -> String {
    let who = match (holder.record(), holder.decode_error(), holder.uid()) {
        (Some(record), ..) => format!("held by pid {} on {}", record.pid(), record.hostname()),
        (None, Some(error), _) => format!("held, {error}"),
        (None, None, Some(uid)) => format!("held by a process of user {uid}"),
        (None, None, None) => "held".into(),
    };
    match holder.held_for() {
        Some(time) => format!("{who} for {}", duration::words(time)),
        None => who,
    }
}

fn left_by(holder: &Holder) -> String {
    match holder.record() {
        Some(record) => {
            let (pid, host) = (record.pid(), record.hostname());
            let age = holder.timestamp_age().map_or(String::new(), |age| {
                format!(", last refreshed {}", in_words(age))
            });
            format!("left behind by pid {pid} on {host}{age}")
        }
        None => "left behind".into(),
    }
}

/// How we know: a sentence.
pub fn reason(state: &LockState) -> Option<Reason> {
    match state {
        LockState::Held(holder) | LockState::Stale(holder) | LockState::Malformed(holder) => {
            Some(holder.verdict().reason())
        }
        LockState::UnsupportedVersion(_) => Some(Reason::Unsupported),
        LockState::Foreign(_) => Some(Reason::Foreign),
        _ => None,
    }
}

/// The holder, if the state has one.
pub fn holder(state: &LockState) -> Option<&Holder> {
    match state {
        LockState::Held(holder) | LockState::Stale(holder) | LockState::Malformed(holder) => {
            Some(holder)
        }
        _ => None,
    }
}

/// What the reader may do about it.
pub fn next_step(state: &LockState, resource: &Path) -> Option<String> {
    let data = text::word(resource);
    Some(match state {
        LockState::Free => return None,
        LockState::Held(holder) => match (holder.verdict().reason(), holder.record()) {
            (Reason::PidProbablyReused, Some(record)) => {
                let id = record.writer_id();
                format!(
                    "if you are sure that nobody writes: rvlf break --force --writer-id {id} {data}"
                )
            }
            _ => format!("wait for it: rvlf wait {data}"),
        },
        LockState::Malformed(holder) if !holder.verdict().is_stale() => {
            format!("look again in a moment: rvlf status {data}")
        }
        LockState::Stale(_) | LockState::Malformed(_) => {
            format!(
                "nothing to do, the next writer recovers it; to remove it now: rvlf break {data}"
            )
        }
        LockState::UnsupportedVersion(_) => "update this program: a newer one may hold it".into(),
        _ => "another program may own the file; move it away yourself if it is not needed".into(),
    })
}

/// Everything in one line: who, since when, how we know.
pub fn line(state: &LockState) -> String {
    match reason(state) {
        Some(reason) => format!("{}: {reason}", who(state)),
        None => who(state),
    }
}

/// Everything, in a block of labelled lines.
pub struct Block<'a> {
    pub resource: &'a Path,
    pub state: &'a LockState,
}

impl Display for Block<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let style = style(self.state);
        let resource = text::path(self.resource);
        writeln!(f, "{resource}: {style}{}{style:#}", who(self.state))?;
        if matches!(self.state, LockState::Free) {
            return Ok(());
        }
        if let Some(reason) = reason(self.state) {
            label(f, "how we know", reason)?;
        }
        if let Some(holder) = holder(self.state) {
            describe(f, holder)?;
        }
        label(f, "lock file", text::path(&lock_path_for(self.resource)))?;
        match next_step(self.state, self.resource) {
            Some(step) => label(f, "next step", step),
            None => Ok(()),
        }
    }
}

fn describe(f: &mut fmt::Formatter<'_>, holder: &Holder) -> fmt::Result {
    if let Some(since) = holder.held_for().and_then(time_ago) {
        label(f, "since", since)?;
    }
    if let Some(age) = holder.timestamp_age() {
        label(f, "refreshed", in_words(age))?;
    }
    if let Verdict::Held {
        stale_in: Some(time),
        ..
    } = holder.verdict()
    {
        let time = duration::words(time);
        label(
            f,
            "stale in",
            format_args!("{time}, unless it is refreshed"),
        )?;
    }
    if let Some(record) = holder.record() {
        label(f, "writer id", record.writer_id())?;
    }
    if holder.has_trailing_bytes() {
        label(f, "note", "bytes follow the record; they are ignored")?;
    }
    Ok(())
}

fn label(f: &mut fmt::Formatter<'_>, name: &str, value: impl Display) -> fmt::Result {
    writeln!(f, "  {name:<12} {value}")
}

fn style(state: &LockState) -> Style {
    let color = match exit::of_state(state) {
        exit::DONE => AnsiColor::Green,
        exit::HELD => AnsiColor::Yellow,
        _ => AnsiColor::Red,
    };
    color.on_default()
}

fn in_words(age: Age) -> String {
    match age {
        Age::Past(time) => format!("{} ago", duration::words(time)),
        Age::Ahead(time) => format!("{} in the future", duration::words(time)),
    }
}

/// In local time. `None` for what no calendar reaches.
fn time_ago(age: Duration) -> Option<String> {
    let then = Timestamp::now().checked_sub(age).ok()?;
    Some(local_time(then))
}

/// The record's time, in local time; u64 nanoseconds reach to the year 2554.
pub fn local_time_of(timestamp_ns: u64) -> String {
    let timestamp = Timestamp::from_nanosecond(timestamp_ns.into());
    timestamp.map_or_else(|_| "beyond all calendars".into(), local_time)
}

/// The wall clock, for whoever reads a log.
pub fn now() -> String {
    local_time(Timestamp::now())
}

fn local_time(timestamp: Timestamp) -> String {
    let local = timestamp.to_zoned(TimeZone::system());
    local.strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}
