//! A lock in an object store as one look found it.

use std::fmt::{self, Display, Write};

use clap::builder::styling::{AnsiColor, Style};
use rvlf::judge::StoreVerdict;
use rvlf::{Escaped, ShellWord};
use rvlf_object_store::{Location, LockReport, StoreOptions, block_on};
use serde_json::{Value, json};

use super::url::{Opened, Url};
use crate::report::{Essence, Report};
use crate::{exit, time};

/// Looks at one lock as often as requested.
#[derive(Clone)]
pub struct Looker {
    url: Url,
    opened: Option<Opened>,
}

impl Looker {
    pub fn new(url: &Url) -> Looker {
        Looker {
            url: url.clone(),
            opened: None,
        }
    }

    /// # Errors
    ///
    /// The store cannot be asked. The text contains the cause and the next step.
    pub fn look(&mut self) -> Result<Box<dyn Report>, String> {
        Ok(Box::new(self.found()?))
    }

    /// As [`look`](Looker::look).
    pub fn found(&mut self) -> Result<Found, String> {
        let opened = match self.opened.take() {
            Some(opened) => opened,
            None => self
                .url
                .open(&StoreOptions::new())
                .map_err(|error| error.to_string())?,
        };
        let opened = self.opened.insert(opened);
        let found = block_on(opened.lock.inspect()).map_err(|error| error.to_string())?;
        Ok(Found {
            data: opened.data.clone(),
            found,
        })
    }
}

/// What was found.
pub struct Found {
    pub data: Location,
    pub found: LockReport,
}

impl Found {
    /// The state and the holder, without the reason.
    fn summary(&self) -> String {
        let (code, record) = (self.found.code(), self.found.record());
        match (code, record) {
            ("held", Some(record)) => {
                format!("held by pid {} on {}", record.pid(), record.hostname())
            }
            ("stale", Some(record)) => {
                format!(
                    "left behind by pid {} on {}",
                    record.pid(),
                    record.hostname()
                )
            }
            ("foreign", _) => "not a lock of an object store".into(),
            ("unsupported", _) => "an RVLF lock of another version".into(),
            _ => code.into(),
        }
    }

    /// What an operator can do next.
    pub fn next_step(&self) -> Option<String> {
        let data = self.data.to_string();
        let data = ShellWord::new(&data);
        Some(match self.found.code() {
            "free" => return None,
            "held" => format!("wait until it is free: rvlf wait {data}"),
            "stale" => format!(
                "none needed, the next writer that waits takes it over; to free it now: rvlf break {data}"
            ),
            "unsupported" => "update rvlf: a process with a newer version may hold the lock".into(),
            _ => "if no other program needs the object, move it away".into(),
        })
    }

    fn style(&self) -> Style {
        let color = match self.status() {
            exit::SUCCESS => AnsiColor::Green,
            exit::HELD => AnsiColor::Yellow,
            _ => AnsiColor::Red,
        };
        color.on_default()
    }

    fn write_block(&self, out: &mut impl Write) -> fmt::Result {
        let (found, style) = (&self.found, self.style());
        writeln!(out, "{}: {style}{}{style:#}", self.data(), self.summary())?;
        if found.code() == "free" && found.record().is_none() {
            return Ok(());
        }
        write_label(out, "reason", found.verdict().reason())?;
        if let Some(age) = found.timestamp_age() {
            let label = if found.is_released() {
                "released"
            } else {
                "refreshed"
            };
            write_label(out, label, time::age_in_words(age))?;
        }
        if let StoreVerdict::Held {
            stale_in: Some(rest),
            ..
        } = found.verdict()
        {
            let rest = time::in_words(rest);
            write_label(out, "stale in", format_args!("{rest}, unless refreshed"))?;
        }
        if let Some(generation) = found.generation() {
            write_label(out, "generation", generation)?;
        }
        if let Some(lease) = found.lease() {
            write_label(out, "lease", time::in_words(lease))?;
        }
        if let Some(record) = found.record() {
            write_label(out, "writer id", record.writer_id())?;
        }
        if let Some(payload) = found.payload() {
            write_label(out, "payload", format_args!("{} bytes", payload.len()))?;
        }
        write_label(out, "object", Escaped::path(found.name().as_ref()))?;
        match self.next_step() {
            Some(step) => write_label(out, "next step", step),
            None => Ok(()),
        }
    }
}

impl Report for Found {
    fn status(&self) -> u8 {
        exit::status_for_code(self.found.code())
    }

    fn essence(&self) -> Essence {
        let writer_id = self.found.record().map(|record| record.writer_id());
        let reason = self.found.verdict().reason().code();
        Essence::State(self.status(), Some(reason), writer_id)
    }

    fn data(&self) -> String {
        Escaped::path(self.data.to_string().as_ref()).to_string()
    }

    fn line(&self) -> String {
        format!("{}: {}", self.summary(), self.found.verdict().reason())
    }

    fn block(&self) -> String {
        let mut block = String::new();
        self.write_block(&mut block)
            .expect("a string takes all text");
        block
    }

    /// The library's report, and every key that the JSON of a lock file has.
    fn json(&self) -> Value {
        let mut json = json!({
            "data_path": self.data.to_string(),
            "lock_path": self.found.name(),
            "trailing_bytes": self.found.payload().map(|payload| !payload.is_empty()),
        });
        let found = json!(self.found);
        if let (Some(object), Value::Object(found)) = (json.as_object_mut(), found) {
            object.extend(OF_FILES.map(|key| (key.to_owned(), Value::Null)));
            object.extend(found);
        }
        json
    }
}

/// The keys of a lock file that a lock in an object store does not have.
const OF_FILES: [&str; 8] = [
    "evidence",
    "found",
    "held_for_ms",
    "holder_command",
    "in_another_container",
    "locked_by",
    "row",
    "uid",
];

fn write_label(out: &mut impl Write, name: &str, value: impl Display) -> fmt::Result {
    writeln!(out, "  {name:<10}  {value}")
}
