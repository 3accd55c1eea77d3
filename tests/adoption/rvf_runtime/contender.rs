//! Opens a store, adds a vector and closes the store, until the file STOP exists. Compiled with the
//! published rvf-runtime and with the one whose lock is rvlf.

#[path = "../journal.rs"]
mod journal;

use std::path::Path;
use std::time::Duration;

use journal::Journal;
use rvf_runtime::RvfStore;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [store, journal, stop, first_id] = arguments.as_slice() else {
        panic!("arguments: STORE JOURNAL STOP FIRST_ID");
    };
    let mut journal = Journal::open(journal);
    let mut ids = first_id.parse().expect("a number")..;
    while !Path::new(stop).exists() {
        hold(Path::new(store), &mut ids, &mut journal);
    }
}

/// One hold, if the lock is free. A refused contender tries again at once: the published lock fails when
/// one contender looks while another one has created the lock file and not written it yet.
fn hold(store: &Path, ids: &mut impl Iterator<Item = u64>, journal: &mut Journal) {
    let mut store = match RvfStore::open(store) {
        Ok(store) => store,
        Err(error) if format!("{error:?}").contains("LockHeld") => return,
        Err(error) => return journal.error(format_args!("open: {error:?}")),
    };
    journal.enter();
    let id = ids.next().expect("numbers do not end");
    match store.ingest_batch(&[&[1.0, 2.0, 3.0, 4.0]], &[id], None) {
        Ok(result) if result.accepted == 1 => journal.acknowledge(id),
        Ok(_) => journal.error("the vector was not accepted"),
        Err(error) => journal.error(format_args!("ingest: {error:?}")),
    }
    std::thread::sleep(least_time_of_a_hold());
    journal.leave();
    if let Err(error) = store.close() {
        journal.error(format_args!("close: {error:?}"));
    }
}

fn least_time_of_a_hold() -> Duration {
    let milliseconds = std::env::var("HOLD_MS").map(|text| text.parse().expect("a number"));
    Duration::from_millis(milliseconds.unwrap_or(0))
}
