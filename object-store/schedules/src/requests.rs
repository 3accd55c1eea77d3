//! Requests in flight: sent by clients, executed by the store, answered or not.

use crate::client::stamp;
use crate::events::name;
use crate::explorer::Explorer;
use crate::machine::{Answer, ErrorClass, Found, Put, Request};
use crate::state::{Body, Broken, Flight, Log, Reply, State};
use crate::store::found;

impl Explorer<'_> {
    pub(crate) fn send(
        &self,
        state: &mut State,
        client: usize,
        request: Request,
        log: &mut Log,
    ) -> Result<(), Broken> {
        let (request, body) = match request {
            Request::Get { request } => (request, Body::Get),
            Request::Put {
                request,
                purpose,
                bytes,
                condition,
            } => {
                self.check_sent(state, client, purpose)?;
                let body = Body::Put {
                    purpose,
                    bytes,
                    condition,
                };
                (request, body)
            }
        };
        log.line(|| format!("    {} sends {}", name(client), describe(&body)));
        let is_write = state.change(client, |client| {
            client.request = Some(request);
            match &body {
                Body::Put { bytes, .. } if client.bytes.as_ref() != Some(bytes) => {
                    client.bytes = Some(bytes.clone());
                    client.writes += 1;
                    true
                }
                Body::Put { .. } => true,
                Body::Get => false,
            }
        });
        if is_write {
            if state.budget.writes == 0 {
                return Ok(());
            }
            if state.budget.writes < u8::MAX {
                state.budget.writes -= 1;
            }
        }
        state.flights.push(Flight {
            client,
            lock: state.client(client).locks,
            request,
            body,
            reply: None,
            is_unheard: false,
            is_late: false,
        });
        Ok(())
    }

    /// The store executes the request.
    pub(crate) fn land(&mut self, state: &mut State, at: u8, log: &mut Log) -> Result<(), Broken> {
        let flight = state.flight(at).clone();
        let reply = match &flight.body {
            Body::Get => Reply::Got(Ok(found(state.store.object.as_ref()))),
            Body::Put {
                purpose,
                bytes,
                condition,
            } => {
                let put = state
                    .store
                    .put(self.world.faults, *purpose, bytes, condition);
                Reply::Written(Ok(put))
            }
        };
        let who = name(flight.client);
        log.line(|| {
            format!(
                "{who}'s {} is executed: {}",
                describe(&flight.body),
                answer_text(&reply)
            )
        });
        if matches!(&reply, Reply::Written(Ok(Put::Stored(_)))) {
            self.check_stored(state)?;
        }
        if flight.body == Body::Get && !self.world.has_slow_reads {
            state.take_flight(at);
            return self.answer(state, &flight, reply, log);
        }
        if self.world.keeps_copies && flight.body != Body::Get && !flight.is_unheard {
            state.flights.push(Flight {
                is_unheard: true,
                is_late: true,
                ..flight.clone()
            });
        }
        if !flight.is_unheard {
            state.flight_mut(at).reply = Some(reply);
        } else if !self.world.keeps_copies {
            state.take_flight(at);
        }
        Ok(())
    }

    /// The answer reaches the client.
    pub(crate) fn deliver(
        &mut self,
        state: &mut State,
        at: u8,
        log: &mut Log,
    ) -> Result<(), Broken> {
        let flight = state.take_flight(at);
        let reply = flight.reply.clone();
        let reply = reply.expect("only requests with an answer are answered");
        let who = name(flight.client);
        log.line(|| {
            format!(
                "{who} gets the answer to its {}: {}",
                describe(&flight.body),
                answer_text(&reply)
            )
        });
        self.answer(state, &flight, reply, log)
    }

    /// The client hears that the request failed. If the store has not executed it, it still may.
    pub(crate) fn fail(&mut self, state: &mut State, at: u8, log: &mut Log) -> Result<(), Broken> {
        let mut flight = state.take_flight(at);
        let who = name(flight.client);
        log.line(|| {
            format!(
                "{who} gets the answer to its {}: it failed",
                describe(&flight.body)
            )
        });
        let reply = match flight.body {
            Body::Get => Reply::Got(Err(ErrorClass::Unknown)),
            Body::Put { .. } => Reply::Written(Err(ErrorClass::Unknown)),
        };
        let answered = flight.clone();
        if flight.reply.is_none() && flight.body != Body::Get {
            flight.is_unheard = true;
            flight.is_late = true;
            state.flights.push(flight);
        }
        self.answer(state, &answered, reply, log)
    }

    fn answer(
        &mut self,
        state: &mut State,
        flight: &Flight,
        reply: Reply,
        log: &mut Log,
    ) -> Result<(), Broken> {
        let request = flight.request;
        self.run(state, flight.client, log, |client, at| {
            let answer = match reply {
                Reply::Written(answer) => Answer::Written { request, answer },
                Reply::Got(answer) => {
                    let first_seen = match &answer {
                        Ok(found) => client.first_seen(found, at),
                        Err(_) => at.boottime,
                    };
                    Answer::Got {
                        request,
                        answer,
                        first_seen,
                    }
                }
            };
            client.answered(at, answer)
        })
    }

    /// Whether the client still waits for the answer to exactly this request.
    pub(crate) fn is_awaited(state: &State, flight: &Flight) -> bool {
        let client = state.client(flight.client);
        !flight.is_unheard && client.locks == flight.lock && client.request == Some(flight.request)
    }

    /// Forgets what can make no difference any more, so that states that differ by it alone are one.
    pub(crate) fn forget(&self, state: &mut State) {
        if state.budget.stale_reads == 0 {
            state.store.past.clear();
        }
        let mut flights = std::mem::take(&mut state.flights);
        flights.retain(|flight| self.matters(state, flight));
        flights.sort_by_key(|flight| {
            (
                flight.client,
                flight.lock,
                flight.request,
                flight.is_unheard,
            )
        });
        state.flights = flights;
        for client in 0..state.clients.len() {
            let is_readable = |bytes: &bytes::Bytes| {
                state.store.object.as_ref() == Some(bytes)
                    || state.store.past.iter().flatten().any(|past| past == bytes)
                    || state.flights.iter().any(|flight| shows(flight, bytes))
            };
            let sights = &state.client(client).sights;
            if sights.iter().all(|(bytes, _)| is_readable(bytes)) {
                continue;
            }
            let mut sights = sights.clone();
            sights.retain(|(bytes, _)| is_readable(bytes));
            state.change(client, |client| client.sights = sights);
        }
    }

    fn matters(&self, state: &State, flight: &Flight) -> bool {
        if Self::is_awaited(state, flight) {
            return true;
        }
        let Body::Put { bytes, .. } = &flight.body else {
            // The machine waits for its latest read alone.
            return false;
        };
        match &flight.reply {
            // Also a late confirmation counts, for the write that is under way.
            Some(Reply::Written(Ok(Put::Stored(_)))) => {
                let client = state.client(flight.client);
                client.locks == flight.lock && client.bytes.as_ref() == Some(bytes)
            }
            Some(_) => false,
            None => self.may_be_done(state, flight),
        }
    }

    /// Whether the store may do this write now or later. No state of the object comes back, unless it is
    /// deleted; where a search leaves that rule out, it forgets nothing.
    fn may_be_done(&self, state: &State, flight: &Flight) -> bool {
        let world = self.world;
        world.keeps_copies
            || world.same_identity
            || state.budget.deletions > 0
            || self.is_done_now(state, flight)
    }

    /// Whether the write would be done if it were executed now.
    pub(crate) fn is_done_now(&self, state: &State, flight: &Flight) -> bool {
        match &flight.body {
            Body::Get => false,
            Body::Put {
                purpose, condition, ..
            } => state.store.executes(self.world.faults, *purpose, condition),
        }
    }
}

fn shows(flight: &Flight, bytes: &bytes::Bytes) -> bool {
    match &flight.reply {
        Some(Reply::Got(Ok(Found::Present(stored)))) => stored.bytes == *bytes,
        _ => false,
    }
}

pub(crate) fn describe(body: &Body) -> String {
    match body {
        Body::Get => "read".to_owned(),
        Body::Put { purpose, bytes, .. } => format!("{purpose:?} ({})", content(bytes)),
    }
}

fn content(bytes: &bytes::Bytes) -> String {
    let payload = bytes.get(rvlf::record::RECORD_LEN..).unwrap_or_default();
    let stamp = stamp(bytes).map(|stamp| (stamp.generation % 1000, stamp.nonce >> 10));
    match stamp {
        Some((generation, nonce)) => {
            format!("generation {generation}, nonce {nonce}, root {payload:?}")
        }
        None => "no record".to_owned(),
    }
}

fn answer_text(reply: &Reply) -> String {
    match reply {
        Reply::Got(Ok(Found::Absent)) => "absent".to_owned(),
        Reply::Got(Ok(Found::Present(stored))) => content(&stored.bytes),
        Reply::Written(Ok(Put::Stored(_))) => "stored".to_owned(),
        Reply::Written(Ok(Put::Refused)) => "refused".to_owned(),
        Reply::Got(Err(class)) | Reply::Written(Err(class)) => format!("{class:?}"),
    }
}
