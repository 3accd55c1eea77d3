//! One process: acquire, five entries, release, and again, until it is killed.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use rvlf_object_store::{AcquireError, StoreLock, block_on};

use crate::Result;
use crate::journal::{Event, Journal, now};
use crate::options::Options;
use crate::place::{self, Place};
use crate::stopping::{Stopping, record, record_at, stop};

const ENTRIES_A_HOLD: u32 = 5;
const WORK: Duration = Duration::from_millis(15);

pub fn work(options: &Options, number: u32) -> Result<()> {
    let journal = Arc::new(Mutex::new(Journal::open(&options.directory, number)?));
    let place = Place::open(options, |inner| Stopping {
        inner,
        journal: journal.clone(),
        // Without the fence it is the write of the data that is held up.
        share: if options.fenced {
            options.self_stops
        } else {
            0.0
        },
    })?;
    let worker = Worker {
        options,
        place,
        journal,
    };
    loop {
        match block_on(worker.place.lock.acquire(Duration::from_secs(60))) {
            Ok(lock) => worker.hold(lock),
            Err(AcquireError::Held { .. }) => {}
            // The store may be frozen, or an outcome unknown: the next try finds out.
            Err(error) => eprintln!("{error}"),
        }
    }
}

struct Worker<'a> {
    options: &'a Options,
    place: Place,
    journal: Arc<Mutex<Journal>>,
}

impl Worker<'_> {
    fn hold(&self, lock: StoreLock) {
        let generation = lock.generation();
        let reclaimed = lock.reclaimed().is_some();
        record(
            &self.journal,
            &Event::Acquired {
                generation,
                reclaimed,
            },
        );
        for _ in 0..ENTRIES_A_HOLD {
            let entry = format!("{generation}.{:016x}", rand::random::<u64>());
            let written = match self.options.fenced {
                true => self.append_fenced(&lock, &entry),
                false => self.append_unfenced(&lock, &entry),
            };
            match written {
                Ok(()) => record(&self.journal, &Event::Acknowledged { entry }),
                // The entry may be in all the same. It was not acknowledged.
                Err(_) => break,
            }
        }
        let _ = block_on(lock.release());
    }

    /// The next log is an immutable object of its own; the commit makes it the log.
    fn append_fenced(&self, lock: &StoreLock, entry: &str) -> Result<()> {
        let old = lock.payload();
        let log = match std::str::from_utf8(&old)? {
            "" => String::new(),
            name => block_on(self.read(&Path::from(name)))?,
        };
        thread::sleep(WORK);
        let name = Path::from(format!("{}/{entry}", self.place.key));
        block_on(self.write(&name, format!("{log}{entry}\n")))?;
        self.believe(lock)?;
        block_on(lock.commit(name.to_string()))?;
        Ok(())
    }

    /// As programs do that trust a lock: check, and write. The write can be late.
    fn append_unfenced(&self, lock: &StoreLock, entry: &str) -> Result<()> {
        let name = self.place.key.clone();
        let log = match block_on(self.read(&name)) {
            Err(error) if !error.is::<NotThere>() => return Err(error),
            log => log.unwrap_or_default(),
        };
        thread::sleep(WORK);
        self.believe(lock)?;
        let sent = stop(self.options.self_stops, lock.generation(), &self.journal);
        block_on(self.write_with_faults(&name, format!("{log}{entry}\n")))?;
        if let Some(write) = sent {
            record(&self.journal, &Event::Accepted { write });
        }
        Ok(())
    }

    /// Asks the lock. The time is taken before, so that an overlap in the audit is one.
    fn believe(&self, lock: &StoreLock) -> Result<()> {
        let at = now();
        lock.check_local()?;
        let generation = lock.generation();
        record_at(&self.journal, at, &Event::Believed { generation });
        Ok(())
    }

    async fn read(&self, name: &Path) -> Result<String> {
        let got = self.place.data.get(name).await;
        let got = got.map_err(|error| match error {
            object_store::Error::NotFound { .. } => NotThere.into(),
            error => Box::<dyn std::error::Error>::from(error),
        })?;
        Ok(String::from_utf8(got.bytes().await?.to_vec())?)
    }

    async fn write(&self, name: &Path, text: String) -> Result<()> {
        self.place.data.put(name, Bytes::from(text).into()).await?;
        Ok(())
    }

    /// The faults that the fenced log meets at its commit.
    async fn write_with_faults(&self, name: &Path, text: String) -> Result<()> {
        let rates = place::rates();
        let mut drawn = rand::random::<f64>();
        let mut happens = |rate: f64| {
            drawn -= rate;
            self.options.faults && drawn < 0.0
        };
        if happens(rates.not_sent) {
            return Err("the request timed out".into());
        }
        if happens(rates.late) {
            let (data, name) = (self.place.data.clone(), name.clone());
            let delay = rates.late_by.mul_f64(rand::random());
            thread::spawn(move || {
                thread::sleep(delay);
                let _ = block_on(async { data.put(&name, Bytes::from(text).into()).await });
            });
            return Err("the request timed out".into());
        }
        self.write(name, text).await?;
        match happens(rates.lost_answer) {
            true => Err("the request timed out".into()),
            false => Ok(()),
        }
    }
}

/// There is no log yet.
#[derive(Debug)]
struct NotThere;

impl std::fmt::Display for NotThere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("there is no such object")
    }
}

impl std::error::Error for NotThere {}
