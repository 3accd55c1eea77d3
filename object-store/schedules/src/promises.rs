//! What must hold after every step.

use std::time::Duration;

use bytes::Bytes;
use rvlf::judge::StoreContent;
use rvlf::record::RECORD_LEN;

use crate::client::{self, stamp};
use crate::explorer::Explorer;
use crate::fingerprint::fingerprint;
use crate::machine::{
    Acquire, AcquireEnd, AcquireStep, Answer, Content, Omission, Purpose, Request,
};
use crate::state::{Body, Broken, Flight, State};
use crate::store::{Faults, Store, found};
use crate::world::{Deed, LEASE};

/// The writer id of the client that comes later.
const LATER: u8 = 0xff;

impl Explorer<'_> {
    /// I6 and I8.
    pub(crate) fn check(&mut self, state: &State) -> Result<(), Broken> {
        let believes = |client: &usize| self.believes(state, *client);
        if (0..state.clients.len()).filter(believes).count() > 1 {
            return Err(Broken("two clients believe at the same time"));
        }
        self.check_recovery(state)
    }

    /// Whether the client believes that it holds the lock. A breaker by force holds for its victim.
    fn believes(&self, state: &State, client: usize) -> bool {
        let it = state.client(client);
        let counts = !it.is_before_deletion && self.world.role(client).deed != Deed::ForceBreak;
        let clock = self.clock(state, client);
        counts && it.hold().is_some_and(|hold| hold.believes(clock))
    }

    /// I7, when the object has changed.
    pub(crate) fn check_stored(&self, state: &mut State) -> Result<(), Broken> {
        let Some(object) = &state.store.object else {
            // A weakened store carries a release out as a deletion.
            state.generation = 0;
            return Ok(());
        };
        let generation = stamp(object).map_or(0, |stamp| stamp.generation);
        if generation < state.generation {
            return Err(Broken("an older generation writes after a newer one"));
        }
        state.generation = generation;
        self.check_reported(state)
    }

    /// I7: what was reported of commits.
    pub(crate) fn check_reported(&self, state: &State) -> Result<(), Broken> {
        let object = state.store.object.as_deref().unwrap_or_default();
        let payload = object.get(RECORD_LEN..).unwrap_or_default();
        let is_in = |number: &u8| payload.contains(number);
        if !state.was_deleted && !state.acknowledged.iter().all(is_in) {
            return Err(Broken("an acknowledged commit is lost"));
        }
        if state.not_in.iter().any(is_in) {
            return Err(Broken("a commit that was reported as not in is in"));
        }
        Ok(())
    }

    /// Before a write is sent: nothing is written over what is no lock, and a lost lock writes nothing
    /// but its tombstone.
    pub(crate) fn check_sent(
        &self,
        state: &State,
        client: usize,
        purpose: Purpose,
    ) -> Result<(), Broken> {
        let object = state.store.object.as_ref();
        if object.is_some_and(|object| !is_lock(object)) {
            return Err(Broken("what is no lock would be written"));
        }
        let hold = state.client(client).hold();
        let is_lost = hold.is_some_and(|hold| hold.loss().is_some());
        if is_lost && purpose != Purpose::Release {
            return Err(Broken("a lost lock writes"));
        }
        Ok(())
    }

    /// A confirmed release has left no record of the client that holds the lock. An earlier state of the
    /// object can show that another client has taken the lock over, and a deletion takes away the tombstone
    /// that refuses a late copy of an earlier write.
    pub(crate) fn check_released(&self, state: &State, client: usize) -> Result<(), Broken> {
        let budget = &self.world.budget;
        if budget.stale_reads > 0 || budget.deletions > 0 || self.world.faults != Faults::default()
        {
            return Ok(());
        }
        let released = state
            .client(client)
            .hold()
            .map(|hold| hold.content().record);
        let stored = state.store.object.as_ref().and_then(Content::of);
        let is_held = stored.zip(released).is_some_and(|(stored, released)| {
            let stamp = stored.record.store_stamp();
            stored.record.writer_id() == released.writer_id()
                && !stamp.is_some_and(|stamp| stamp.is_released())
        });
        match is_held {
            true => Err(Broken("a released lock is held")),
            false => Ok(()),
        }
    }

    /// I8: were all clients dead, a client that comes later and is alone would get the lock within the
    /// lease and two polls, whether what is in flight is executed before it comes or never; at once if the lock
    /// is free.
    fn check_recovery(&mut self, state: &State) -> Result<(), Broken> {
        let is_write = |flight: &&Flight| flight.reply.is_none() && flight.body != Body::Get;
        let writes: Vec<_> = state
            .flights
            .iter()
            .filter(is_write)
            .map(|flight| &flight.body)
            .collect();
        let object = state.store.object.as_ref();
        let is_known = !self.recovered.insert(fingerprint(&(object, &writes)));
        if is_known || object.is_some_and(|object| !is_lock(object)) {
            return Ok(());
        }
        let never = Store {
            object: object.cloned(),
            past: Vec::new(),
        };
        let mut before = never.clone();
        for write in writes {
            if let Body::Put {
                purpose,
                bytes,
                condition,
            } = write
            {
                before.put(self.world.faults, *purpose, bytes, condition);
            }
        }
        match recovers(never) && recovers(before) {
            true => Ok(()),
            false => Err(Broken("a client that comes later does not get the lock")),
        }
    }
}

fn is_lock(object: &Bytes) -> bool {
    matches!(StoreContent::of(object), StoreContent::Valid(_))
}

fn recovers(mut store: Store) -> bool {
    let poll = (LEASE / 10).min(Duration::from_secs(2));
    let stamp = store.object.as_ref().map(stamp);
    let is_free = stamp.is_none_or(|stamp| stamp.is_some_and(|stamp| stamp.is_released()));
    let lease = stamp.flatten().map_or(LEASE, |stamp| stamp.lease());
    let limit = match is_free {
        true => Duration::ZERO,
        false => lease + 2 * poll,
    };
    let mut now = Duration::ZERO;
    let settings = client::settings(LATER, 1, Omission::default());
    let (mut acquire, request) = Acquire::begin(settings, &client::moment(now, 1));
    let mut next = Some(request);
    let object = store.object.clone();
    loop {
        let at = client::moment(now, 1);
        let step = match next.take() {
            Some(request) => {
                // Only this client writes: it has seen any other object since it came.
                let is_old = store.object == object;
                let first_seen = if is_old { Duration::ZERO } else { now };
                acquire.answered(&at, serve(&mut store, request, first_seen))
            }
            None => match acquire.wake_at().filter(|wake_at| *wake_at <= limit) {
                Some(wake_at) => {
                    now = now.max(wake_at);
                    acquire.woken(&client::moment(now, 1))
                }
                None => return false,
            },
        };
        match step {
            AcquireStep::Continue(request) => next = request,
            AcquireStep::End(end) => return matches!(end, AcquireEnd::Held(_)),
        }
    }
}

fn serve(store: &mut Store, request: Request, first_seen: Duration) -> Answer {
    match request {
        Request::Get { request } => Answer::Got {
            request,
            answer: Ok(found(store.object.as_ref())),
            first_seen,
        },
        Request::Put {
            request,
            purpose,
            bytes,
            condition,
        } => {
            let put = store.put(Default::default(), purpose, &bytes, &condition);
            Answer::Written {
                request,
                answer: Ok(put),
            }
        }
    }
}
