//! A register whose store misbehaves, for tests and demonstrations: answers are lost, writes land
//! after the caller has given up, the server is overloaded, gone or frozen.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::machine::{Condition, ErrorClass, Found, Put, Stored};
use crate::register::{Register, RegisterError, RegisterFuture};
use crate::store_error;

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The request is done, and its answer is lost.
    LostAnswer,
    /// A write lands after this time, and its caller has given up before.
    Late(Duration),
    /// The request never arrives.
    NotSent,
    /// A write is refused although the condition holds: a conflict (409) without anything landed.
    RefusedUnstored,
    /// The server is overloaded (429, 503): nothing is done.
    Overloaded,
    /// The user may not do it (403).
    Denied,
    /// A read is answered with the state before the current one.
    Stale,
}

/// How often faults happen, as shares of all requests between 0 and 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Of reads and writes.
    pub lost_answer: f64,
    /// Of writes.
    pub late: f64,
    /// The longest time after which a late write lands.
    pub late_by: Duration,
    /// Of reads and writes.
    pub not_sent: f64,
    /// Of writes.
    pub refused_unstored: f64,
    /// Of reads.
    pub stale: f64,
}

/// The misbehaviour of one store: shared by all its registers, and changed while they are in use.
#[derive(Clone)]
pub struct Faults(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    thawed: Condvar,
    patience: Duration,
}

struct State {
    random: SmallRng,
    rates: Rates,
    puts: VecDeque<Option<Fault>>,
    gets: VecDeque<Option<Fault>>,
    lasting: Option<(Instant, Duration, Fault)>,
    frozen: bool,
    /// The last states of the object that an answer has shown, the newest last.
    seen: VecDeque<Found>,
    landing: usize,
    requests: u64,
}

impl Faults {
    /// No faults yet. A caller whose request has no answer gives up after `patience`.
    #[must_use]
    pub fn new(seed: u64, patience: Duration) -> Self {
        let state = State {
            random: SmallRng::seed_from_u64(seed),
            rates: Rates::default(),
            puts: VecDeque::new(),
            gets: VecDeque::new(),
            lasting: None,
            frozen: false,
            seen: VecDeque::new(),
            landing: 0,
            requests: 0,
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            thawed: Condvar::new(),
            patience,
        }))
    }

    /// Wraps the one object of the store.
    #[must_use]
    pub fn register(&self, inner: Arc<dyn Register>) -> FaultyRegister {
        FaultyRegister {
            inner,
            faults: self.clone(),
        }
    }

    /// Faults at random.
    pub fn set_rates(&self, rates: Rates) {
        self.state().rates = rates;
    }

    /// What happens to the next writes, one after the other. `None`: nothing.
    pub fn next_puts(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.state().puts.extend(faults);
    }

    /// What happens to the next reads, one after the other. `None`: nothing.
    pub fn next_gets(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.state().gets.extend(faults);
    }

    /// For this time every request has the fault: [`Fault::Overloaded`], or an outage with
    /// [`Fault::NotSent`].
    pub fn for_a_time(&self, time: Duration, fault: Fault) {
        self.state().lasting = Some((Instant::now(), time, fault));
    }

    /// The server stops: requests wait in its buffers, and are done when it continues, also those whose
    /// callers have given up.
    pub fn freeze(&self) {
        self.state().frozen = true;
    }

    /// The server continues.
    pub fn thaw(&self) {
        self.state().frozen = false;
        self.0.thawed.notify_all();
    }

    /// How many requests were made so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.state().requests
    }

    /// Waits until every late write has landed.
    pub fn wait_until_landed(&self) {
        let mut state = self.state();
        while state.landing > 0 {
            state = self
                .0
                .thawed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn saw(&self, found: &Found) {
        let seen = &mut self.state().seen;
        if seen.back() != Some(found) {
            seen.push_back(found.clone());
        }
        if seen.len() > 2 {
            seen.pop_front();
        }
    }

    /// Runs `write` on a thread of its own, after `delay` and not while the server is frozen: whatever
    /// runtime the caller had is gone by then.
    fn land(&self, delay: Duration, write: RegisterFuture<Put>) {
        self.state().landing += 1;
        let faults = self.clone();
        thread::spawn(move || {
            thread::sleep(delay);
            let mut state = faults.state();
            while state.frozen {
                state = faults
                    .0
                    .thawed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            drop(state);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build();
            if let Ok(runtime) = runtime {
                let _ = runtime.block_on(write);
            }
            faults.state().landing -= 1;
            faults.0.thawed.notify_all();
        });
    }

    async fn give_up<T>(&self) -> Result<T, RegisterError> {
        tokio::time::sleep(self.0.patience).await;
        Err(store_error::of_text(
            ErrorClass::Unknown,
            "the request timed out",
        ))
    }
}

impl State {
    /// The fault of the next request.
    fn draw(&mut self, is_put: bool) -> Option<Fault> {
        self.requests += 1;
        if let Some((began, time, fault)) = self.lasting {
            if began.elapsed() < time {
                return Some(fault);
            }
        }
        let script = if is_put {
            &mut self.puts
        } else {
            &mut self.gets
        };
        if let Some(fault) = script.pop_front() {
            return fault;
        }
        let Rates {
            lost_answer,
            late,
            late_by,
            not_sent,
            refused_unstored,
            stale,
        } = self.rates;
        let late_by = late_by.mul_f64(self.random.random::<f64>());
        let of_puts = [
            (late, Fault::Late(late_by)),
            (refused_unstored, Fault::RefusedUnstored),
        ];
        let of_gets = [(stale, Fault::Stale), (0.0, Fault::Stale)];
        let of_all = [(lost_answer, Fault::LostAnswer), (not_sent, Fault::NotSent)];
        let mut drawn: f64 = self.random.random();
        of_all
            .into_iter()
            .chain(if is_put { of_puts } else { of_gets })
            .find_map(|(rate, fault)| {
                drawn -= rate;
                (drawn < 0.0).then_some(fault)
            })
    }
}

/// A register of a store that misbehaves as its [`Faults`] say.
#[derive(Clone)]
pub struct FaultyRegister {
    inner: Arc<dyn Register>,
    faults: Faults,
}

impl Register for FaultyRegister {
    fn get(&self) -> RegisterFuture<Found> {
        let Self { inner, faults } = self.clone();
        Box::pin(async move {
            let (fault, frozen) = {
                let mut state = faults.state();
                (state.draw(false), state.frozen)
            };
            if frozen {
                return faults.give_up().await;
            }
            match fault {
                Some(Fault::NotSent) => faults.give_up().await,
                Some(Fault::Overloaded) => Err(overloaded()),
                Some(Fault::Denied) => Err(denied()),
                Some(Fault::Stale) => match faults.state().seen.front().cloned() {
                    Some(old) => Ok(old),
                    None => Ok(Found::Absent),
                },
                Some(Fault::LostAnswer) => {
                    inner.get().await?;
                    faults.give_up().await
                }
                Some(Fault::Late(_) | Fault::RefusedUnstored) | None => {
                    let found = inner.get().await?;
                    faults.saw(&found);
                    Ok(found)
                }
            }
        })
    }

    fn put_if(&self, bytes: Bytes, condition: Condition) -> RegisterFuture<Put> {
        let Self { inner, faults } = self.clone();
        Box::pin(async move {
            let (fault, frozen) = {
                let mut state = faults.state();
                (state.draw(true), state.frozen)
            };
            let write = inner.put_if(bytes.clone(), condition);
            if frozen {
                faults.land(Duration::ZERO, write);
                return faults.give_up().await;
            }
            match fault {
                Some(Fault::NotSent) => faults.give_up().await,
                Some(Fault::Overloaded) => Err(overloaded()),
                Some(Fault::Denied) => Err(denied()),
                Some(Fault::RefusedUnstored) => Ok(Put::Refused),
                Some(Fault::Late(delay)) => {
                    faults.land(delay, write);
                    faults.give_up().await
                }
                Some(Fault::LostAnswer) => {
                    write.await?;
                    faults.give_up().await
                }
                Some(Fault::Stale) | None => {
                    let put = write.await?;
                    if let Put::Stored(version) = &put {
                        let version = version.clone();
                        faults.saw(&Found::Present(Stored {
                            bytes,
                            version,
                            modified_ms: None,
                        }));
                    }
                    Ok(put)
                }
            }
        })
    }

    fn name(&self) -> String {
        self.inner.name()
    }
}

fn overloaded() -> RegisterError {
    store_error::of_text(ErrorClass::Unknown, "429 Too Many Requests")
}

fn denied() -> RegisterError {
    store_error::of_text(ErrorClass::Denied, "403 Forbidden")
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;
    use crate::bucket::Bucket;

    fn register(faults: &Faults) -> FaultyRegister {
        let bucket = Bucket::new(Arc::new(InMemory::new()), "memory://");
        faults.register(Arc::new(bucket.register("k".into())))
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime
            .expect("a runtime needs no resource here")
            .block_on(future)
    }

    fn bytes(found: Result<Found, RegisterError>) -> Option<Bytes> {
        match found.expect("the store answers") {
            Found::Present(found) => Some(found.bytes),
            Found::Absent => None,
        }
    }

    // Tests that use these faults are worth what the faults are worth.
    #[test]
    fn a_fault_does_to_the_object_what_its_name_says() {
        let faults = Faults::new(1, Duration::from_millis(1));
        let object = register(&faults);
        let create = |text: &'static str| object.put_if(text.into(), Condition::Absent);
        run(async {
            for nothing in [Fault::NotSent, Fault::Overloaded, Fault::Denied] {
                faults.next_puts([Some(nothing)]);
                create("not stored").await.expect_err("no answer");
                assert_eq!(bytes(object.get().await), None, "{nothing:?}");
            }
            faults.next_puts([Some(Fault::RefusedUnstored)]);
            assert_eq!(create("not stored").await.expect("an answer"), Put::Refused);
            assert_eq!(bytes(object.get().await), None);
            faults.next_puts([Some(Fault::LostAnswer)]);
            let error = create("stored").await.expect_err("the answer is lost");
            assert_eq!(error.class, ErrorClass::Unknown);
            assert_eq!(bytes(object.get().await), Some("stored".into()));
            faults.next_gets([Some(Fault::Stale)]);
            assert_eq!(
                bytes(object.get().await),
                None,
                "the state before the current one"
            );
        });
    }

    #[test]
    fn a_late_write_lands_after_its_caller_has_given_up_and_so_does_one_to_a_frozen_server() {
        let faults = Faults::new(1, Duration::from_millis(1));
        let object = register(&faults);
        run(async {
            faults.freeze();
            object
                .put_if("frozen".into(), Condition::Absent)
                .await
                .expect_err("no answer");
            object.get().await.expect_err("no answer");
            faults.thaw();
            faults.wait_until_landed();
            let Found::Present(found) = object.get().await.expect("an answer") else {
                panic!("the write has landed");
            };
            assert_eq!(&*found.bytes, b"frozen");
            faults.next_puts([Some(Fault::Late(Duration::from_millis(20)))]);
            let condition = Condition::Version(found.version);
            object
                .put_if("late".into(), condition)
                .await
                .expect_err("no answer");
            faults.wait_until_landed();
            assert_eq!(bytes(object.get().await), Some("late".into()));
        });
    }

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        let draw = |seed| {
            let faults = Faults::new(seed, Duration::ZERO);
            faults.set_rates(Rates {
                lost_answer: 0.3,
                late: 0.2,
                late_by: Duration::from_secs(1),
                ..Rates::default()
            });
            (0..64)
                .map(|n| faults.state().draw(n % 2 == 0))
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!(draw(7).contains(&None) && draw(7).contains(&Some(Fault::LostAnswer)));
    }
}
