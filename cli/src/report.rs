//! [`Report`]: a lock as one look found it, whether its lock is a file or an object.

use std::path::{Path, PathBuf};

use rvlf::{Escaped, WriterId};
use serde_json::Value;

use crate::inspection::{Inspection, Inspector};
use crate::render::Block;
use crate::{exit, json, render, store};

/// What one look at a lock has found, in the forms in which it is shown.
pub trait Report {
    /// The exit status for its state.
    fn status(&self) -> u8;

    /// What must be another one for a watched lock to be shown again.
    fn essence(&self) -> Essence;

    /// The data whose lock it is, safe to print.
    fn data(&self) -> String;

    /// The state, its reason and the holder, in one line.
    fn line(&self) -> String;

    /// All that is known, in labelled lines.
    fn block(&self) -> String;

    fn json(&self) -> Value;
}

/// The part of a report whose change is worth a line. Ages change all the time.
#[derive(PartialEq, Eq)]
pub enum Essence {
    State(u8, Option<&'static str>, Option<WriterId>),
    Failed(String),
}

impl Essence {
    /// Without the words that are times: a request takes another one at each look.
    pub fn failed(error: &str) -> Essence {
        let is_time = |word: &&str| {
            let number = word.trim_end_matches(|c: char| c.is_alphabetic());
            number.len() < word.len() && number.parse::<f64>().is_ok()
        };
        let rest: Vec<_> = error.split(' ').filter(|word| !is_time(word)).collect();
        Essence::Failed(rest.join(" "))
    }
}

/// Looks at one lock as often as requested.
pub enum Looker {
    File(PathBuf, Inspector),
    Store(store::Looker),
}

impl Looker {
    pub fn of_file(data: &Path) -> Looker {
        Looker::File(data.to_owned(), Inspector::new(data))
    }

    /// # Errors
    ///
    /// The lock cannot be inspected. The text contains the cause and the next step.
    pub fn look(&mut self) -> Result<Box<dyn Report>, String> {
        match self {
            Looker::File(data, inspector) => match inspector.inspect() {
                Ok(inspection) => Ok(Box::new(FileReport {
                    data: data.clone(),
                    inspection,
                })),
                Err(error) => Err(error.to_string()),
            },
            Looker::Store(looker) => looker.look(),
        }
    }
}

struct FileReport {
    data: PathBuf,
    inspection: Inspection,
}

impl Report for FileReport {
    fn status(&self) -> u8 {
        exit::status_for_state(&self.inspection.state)
    }

    fn essence(&self) -> Essence {
        let state = &self.inspection.state;
        let record = state.holder().and_then(|holder| holder.record());
        let writer_id = record.map(|record| record.writer_id());
        let reason = state.reason().map(|reason| reason.code());
        Essence::State(self.status(), reason, writer_id)
    }

    fn data(&self) -> String {
        Escaped::path(&self.data).to_string()
    }

    fn line(&self) -> String {
        render::line(&self.inspection)
    }

    fn block(&self) -> String {
        let block = Block {
            data: &self.data,
            inspection: &self.inspection,
        };
        block.to_string()
    }

    fn json(&self) -> Value {
        json::lock_json(&self.data, &self.inspection)
    }
}
