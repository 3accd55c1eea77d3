//! One look at the object, judged.

use std::time::Duration;

use rvlf::judge::{StoreContent, StoreEvidence, judge_store};
use rvlf::{Record, WriterId};

use super::acquire::Refusal;
use super::clocks::both_clocks;
use super::object::Found;
use super::step::Moment;

/// Judges what a GET found, as a contender does.
///
/// `unchanged`: for how long this process has seen these bytes. `own_dead`: the holds that it has lost or
/// given up. `clocks`: whether the clocks of the holder and the store are asked.
#[must_use]
pub fn judge(
    found: &Found,
    unchanged: Duration,
    own_dead: &[WriterId],
    clocks: bool,
    at: &Moment,
) -> Refusal {
    let stored = match found {
        Found::Absent => None,
        Found::Present(stored) => Some(stored),
    };
    let record = stored.and_then(|stored| Record::decode(&stored.bytes).ok());
    let evidence = StoreEvidence {
        content: stored.map_or(StoreContent::Absent, |stored| {
            StoreContent::of(&stored.bytes)
        }),
        unchanged,
        own_dead: record.is_some_and(|record| own_dead.contains(&record.writer_id())),
        both_clocks: match (record, stored) {
            (Some(record), Some(stored)) if clocks => both_clocks(&record, stored, at),
            _ => None,
        },
    };
    Refusal {
        verdict: judge_store(&evidence),
        record,
        unchanged,
    }
}
