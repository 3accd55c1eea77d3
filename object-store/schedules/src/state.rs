//! The states of a search, and what it keeps about one schedule.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;

use crate::client::Client;
use crate::fingerprint::fingerprint;
use crate::machine::{Condition, ErrorClass, Found, Purpose, Put, RequestId};
use crate::store::Store;
use crate::world::Budget;

/// The store, the requests in flight, and the clients.
#[derive(Clone, Hash)]
pub(crate) struct State {
    pub(crate) tick: u32,
    pub(crate) store: Store,
    /// In the order of client, lock and request, so that the order in which they were sent makes no
    /// difference.
    pub(crate) flights: Vec<Flight>,
    pub(crate) clients: Vec<Slot>,
    /// What is left of it.
    pub(crate) budget: Budget,
    /// The commits that were reported as in, and as not in. In order.
    pub(crate) acknowledged: Vec<u8>,
    pub(crate) not_in: Vec<u8>,
    /// The highest generation since the object was deleted.
    pub(crate) generation: u64,
    pub(crate) was_deleted: bool,
}

/// A request that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flight {
    pub(crate) client: usize,
    /// Which of the client's locks sent it.
    pub(crate) lock: u8,
    pub(crate) request: RequestId,
    pub(crate) body: Body,
    /// The answer, once the store has executed the request.
    pub(crate) reply: Option<Reply>,
    /// No answer to this request reaches the client any more: the client has heard of a failure, or this
    /// is a second copy.
    pub(crate) is_unheard: bool,
    /// Time passes although it is not served.
    pub(crate) is_late: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Body {
    Get,
    Put {
        purpose: Purpose,
        bytes: Bytes,
        condition: Condition,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reply {
    Got(Result<Found, ErrorClass>),
    Written(Result<Put, ErrorClass>),
}

/// A client, shared with the states in which it is the same.
#[derive(Clone)]
pub(crate) struct Slot {
    client: Arc<Client>,
    fingerprint: u128,
}

impl Slot {
    pub(crate) fn new(client: Client) -> Slot {
        Slot {
            fingerprint: fingerprint(&client),
            client: Arc::new(client),
        }
    }
}

impl Hash for Slot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

impl State {
    pub(crate) fn client(&self, client: usize) -> &Client {
        let slot = self.clients.get(client);
        &slot.expect("clients keep their place").client
    }

    pub(crate) fn change<T>(&mut self, client: usize, change: impl FnOnce(&mut Client) -> T) -> T {
        let slot = self.clients.get_mut(client);
        let slot = slot.expect("clients keep their place");
        let changed = Arc::make_mut(&mut slot.client);
        let result = change(changed);
        slot.fingerprint = fingerprint(changed);
        result
    }

    pub(crate) fn flight(&self, flight: u8) -> &Flight {
        let flight = self.flights.get(usize::from(flight));
        flight.expect("steps name requests in flight")
    }

    pub(crate) fn flight_mut(&mut self, flight: u8) -> &mut Flight {
        let flight = self.flights.get_mut(usize::from(flight));
        flight.expect("steps name requests in flight")
    }

    pub(crate) fn take_flight(&mut self, flight: u8) -> Flight {
        self.flights.remove(flight.into())
    }
}

/// The message of a broken promise. The caller that knows the schedule adds the trace.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken(pub(crate) &'static str);

/// The lines of a trace, or nothing where no trace is wanted.
pub(crate) struct Log(pub(crate) Option<Vec<String>>);

impl Log {
    pub(crate) fn line(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.0 {
            lines.push(line());
        }
    }
}
