//! A register that stops the process right before a write is sent: the worst moment. The write is
//! decided, and it is late.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use nix::sys::signal::{Signal, raise};
use rvlf::Record;
use rvlf_object_store::{Condition, Found, Put, Register, RegisterFuture};

use crate::journal::{Event, Journal, now};

pub struct Stopping {
    pub inner: Arc<dyn Register>,
    pub journal: Arc<Mutex<Journal>>,
    /// The share of writes before which the process stops.
    pub share: f64,
}

impl Register for Stopping {
    fn get(&self) -> RegisterFuture<Found> {
        self.inner.get()
    }

    fn put_if(&self, bytes: Bytes, condition: Condition) -> RegisterFuture<Put> {
        let generation = Record::decode(&bytes)
            .ok()
            .and_then(|record| record.store_stamp())
            .map_or(0, |stamp| stamp.generation);
        let write = self.inner.put_if(bytes, condition);
        let (journal, share) = (self.journal.clone(), self.share);
        Box::pin(async move {
            let sent = stop(share, generation, &journal);
            let put = write.await?;
            if let (Put::Stored(_), Some(write)) = (&put, sent) {
                record(&journal, &Event::Accepted { write });
            }
            Ok(put)
        })
    }

    fn name(&self) -> String {
        self.inner.name()
    }
}

/// Stops this process sometimes, until the supervisor continues it. Returns the number of the write that
/// was held up.
pub fn stop(share: f64, generation: u64, journal: &Arc<Mutex<Journal>>) -> Option<u64> {
    if rand::random::<f64>() >= share {
        return None;
    }
    let _ = raise(Signal::SIGSTOP);
    let write = rand::random();
    record(journal, &Event::Sent { generation, write });
    Some(write)
}

pub fn record(journal: &Arc<Mutex<Journal>>, event: &Event) {
    record_at(journal, now(), event);
}

/// A journal that cannot be written would make every audit pass.
pub fn record_at(journal: &Arc<Mutex<Journal>>, at: Duration, event: &Event) {
    let mut journal = journal.lock().expect("no thread panics with it");
    journal
        .write(at, event)
        .expect("the journal can be written");
}
