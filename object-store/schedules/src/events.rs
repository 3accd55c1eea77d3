//! The steps that are possible in a state, and what each does.

use std::time::Duration;

use crate::client::{self, Client, Effect, Stage, stamp};
use crate::explorer::Explorer;
use crate::machine::{
    AcquireEnd, AcquireSettings, CommitEnd, CommitId, Content, HoldStep, Loss, Moment, Put, Timing,
};
use crate::state::{Body, Broken, Flight, Log, Reply, State};
use crate::step::Step;
use crate::world::Deed;

pub(crate) fn name(client: usize) -> char {
    "ABCDEFGH".chars().nth(client).unwrap_or('?')
}

/// A place as a step names it. Worlds are small.
fn short(place: usize) -> u8 {
    u8::try_from(place).expect("worlds are small")
}

impl Explorer<'_> {
    /// The time by the client's clock. Clocks differ by hours, and by their rates.
    pub(crate) fn clock(&self, state: &State, client: usize) -> Duration {
        let rate = Duration::from_millis(self.world.role(client).ms_per_tick);
        // A second call in a process has the clock of the first.
        let process = self.world.role(client).inherits.unwrap_or(client);
        Duration::from_secs(3600) * u32::from(short(process)) + rate * state.tick
    }

    fn moment(&self, state: &State, client: usize) -> Moment {
        let random = match self.world.same_identity {
            true => 1,
            false => state.client(client).writes + 1,
        };
        client::moment(self.clock(state, client), random)
    }

    /// Every step that is possible.
    pub(crate) fn steps(&self, state: &State) -> Vec<Step> {
        let mut steps = Vec::new();
        for client in 0..state.clients.len() {
            if state.client(client).is_paused {
                steps.push(Step::Resume(short(client)));
            } else {
                self.client_steps(state, client, &mut steps);
            }
        }
        for (at, flight) in state.flights.iter().enumerate() {
            self.flight_steps(state, short(at), flight, &mut steps);
        }
        if state.budget.deletions > 0 && state.store.object.is_some() {
            steps.push(Step::Delete);
        }
        if state.tick < self.world.ticks && self.is_quiet(state) {
            steps.push(Step::Tick);
        }
        steps
    }

    /// Whether nothing is due.
    fn is_quiet(&self, state: &State) -> bool {
        let is_idle = |client: usize| state.client(client).is_paused || !self.is_due(state, client);
        let is_served = |flight: &Flight| {
            let is_paused = state.client(flight.client).is_paused;
            let is_free = self.world.has_free_writes && flight.body != Body::Get;
            is_free || flight.is_late || is_paused
        };
        (0..state.clients.len()).all(is_idle) && state.flights.iter().all(is_served)
    }

    fn is_due(&self, state: &State, client: usize) -> bool {
        let wake_at = state.client(client).wake_at();
        wake_at.is_some_and(|wake_at| wake_at <= self.clock(state, client))
    }

    fn client_steps(&self, state: &State, client: usize, steps: &mut Vec<Step>) {
        let it = state.client(client);
        let id = short(client);
        let budget = &state.budget;
        let mut add = |is_possible: bool, step| {
            if is_possible {
                steps.push(step);
            }
        };
        add(self.is_due(state, client), Step::Wake(id));
        let loses = matches!(&it.stage, Stage::Holding(hold) if hold.loss().is_some());
        let begins = matches!(it.stage, Stage::Idle) || loses;
        let can_begin = begins && it.rounds > 0 && self.has_reason(state, client);
        add(can_begin, Step::Begin(id));
        match &it.stage {
            Stage::Idle => return,
            Stage::Acquiring(_) => add(budget.cancels > 0, Step::Cancel(id)),
            Stage::Holding(hold) => {
                let holds = hold.loss().is_none() && !it.is_releasing;
                let is_free = it.open_commit.is_none();
                add(holds && is_free && it.commits > 0, Step::Commit(id));
                add(!is_free && budget.give_ups > 0, Step::GiveUp(id));
                let releases = self.world.role(client).releases && self.may_release(state, client);
                let is_expired = hold.loss() == Some(&Loss::Expired) && !it.is_releasing;
                add(releases && (holds || is_expired), Step::Release(id));
            }
        }
        add(budget.crashes > 0, Step::Crash(id));
        add(budget.pauses > 0, Step::Pause(id));
    }

    /// A breaker by force is started by a person who sees a live lock.
    fn has_reason(&self, state: &State, client: usize) -> bool {
        match self.world.role(client).deed {
            Deed::Hold | Deed::Break => true,
            Deed::ForceBreak => {
                let object = state.store.object.as_ref();
                object
                    .and_then(stamp)
                    .is_some_and(|stamp| !stamp.is_released())
            }
        }
    }

    fn may_release(&self, state: &State, client: usize) -> bool {
        let until = state.client(client).victim_until;
        until.is_none_or(|until| self.clock(state, client) > until)
    }

    fn flight_steps(&self, state: &State, at: u8, flight: &Flight, steps: &mut Vec<Step>) {
        let is_awaited = Self::is_awaited(state, flight);
        let is_put = flight.body != Body::Get;
        let client = short(flight.client);
        let budget = &state.budget;
        match &flight.reply {
            // A refusal without a listener changes nothing.
            // A client that is paused gets no answer of a read.
            None if !is_put
                && !self.world.has_slow_reads
                && state.client(flight.client).is_paused => {}
            None if is_awaited || self.is_done_now(state, flight) => {
                steps.push(Step::Land(client, at))
            }
            None => {}
            Some(_) if state.client(flight.client).is_paused => {}
            Some(_) => steps.push(Step::Deliver(client, at)),
        }
        if budget.late > 0 && !flight.is_late {
            steps.push(Step::Delay(at));
        }
        if !is_awaited || state.client(flight.client).is_paused {
            return;
        }
        let is_refusal = matches!(&flight.reply, Some(Reply::Written(Ok(Put::Refused))));
        if budget.refusals > 0 && is_put && !is_refusal {
            steps.push(Step::Refuse(at));
        }
        if budget.failures > 0 {
            steps.push(Step::Fail(at));
        }
        if budget.stale_reads > 0 && !is_put && flight.reply.is_none() {
            let past = (0..state.store.past.len()).map(|ago| Step::ReadStale(at, short(ago)));
            steps.extend(past);
        }
    }

    pub(crate) fn take(
        &mut self,
        state: &mut State,
        step: Step,
        log: &mut Log,
    ) -> Result<(), Broken> {
        self.act(state, step, log)?;
        self.forget(state);
        self.check(state)
    }

    fn act(&mut self, state: &mut State, step: Step, log: &mut Log) -> Result<(), Broken> {
        if let Some((client, what)) = action(step) {
            log.line(|| format!("{} {what}", name(client)));
        }
        match step {
            Step::Tick => {
                state.tick += 1;
                log.line(|| format!("tick {}", state.tick));
            }
            Step::Begin(client) => return self.begin(state, client.into(), log),
            Step::Wake(client) => {
                return self.run(state, client.into(), log, |client, at| client.woken(at));
            }
            Step::Commit(client) => return self.commit(state, client.into(), log),
            Step::GiveUp(client) => {
                state.budget.give_ups -= 1;
                return self.run(state, client.into(), log, |client, at| client.give_up(at));
            }
            Step::Cancel(client) => {
                state.budget.cancels -= 1;
                return self.run(state, client.into(), log, |client, at| client.cancel(at));
            }
            Step::Release(client) => {
                return self.run(state, client.into(), log, |client, at| client.release(at));
            }
            Step::Resume(client) => state.change(client.into(), |client| client.is_paused = false),
            Step::Land(_, at) => return self.land(state, at, log),
            Step::Deliver(_, at) => return self.deliver(state, at, log),
            mishap => return self.mishap(state, mishap, log),
        }
        Ok(())
    }

    fn mishap(&mut self, state: &mut State, step: Step, log: &mut Log) -> Result<(), Broken> {
        match step {
            Step::Delay(at) => {
                state.budget.late -= 1;
                let flight = state.flight_mut(at);
                flight.is_late = true;
                let what = if flight.reply.is_some() {
                    "answer"
                } else {
                    "request"
                };
                log.line(|| {
                    format!(
                        "the {what} {:?} of {} is late",
                        flight.request,
                        name(flight.client)
                    )
                });
            }
            Step::Refuse(at) => {
                state.budget.refusals -= 1;
                let flight = state.flight_mut(at);
                flight.reply = Some(Reply::Written(Ok(Put::Refused)));
                log.line(|| format!("the store answers {} with a refusal", name(flight.client)));
            }
            Step::Fail(at) => {
                state.budget.failures -= 1;
                return self.fail(state, at, log);
            }
            Step::ReadStale(at, ago) => {
                state.budget.stale_reads -= 1;
                let past = state.store.past.get(usize::from(ago));
                let found = crate::store::found(past.and_then(Option::as_ref));
                let flight = state.flight_mut(at);
                flight.reply = Some(Reply::Got(Ok(found)));
                log.line(|| {
                    format!(
                        "a read of {} shows the past, {ago} states ago",
                        name(flight.client)
                    )
                });
            }
            Step::Delete => {
                state.budget.deletions -= 1;
                state.store.replace(None);
                (state.was_deleted, state.generation) = (true, 0);
                for client in 0..state.clients.len() {
                    state.change(client, |client| client.is_before_deletion = true);
                }
                log.line(|| "the object is deleted".to_owned());
            }
            Step::Crash(client) => {
                state.budget.crashes -= 1;
                state.change(client.into(), Client::crash);
            }
            Step::Pause(client) => {
                state.budget.pauses -= 1;
                state.change(client.into(), |client| client.is_paused = true);
            }
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, state: &mut State, client: usize, log: &mut Log) -> Result<(), Broken> {
        let role = self.world.role(client);
        let lock = state.client(client).locks + 1;
        let (id, lock) = match self.world.same_identity {
            true => (1, 1),
            false => (short(client) + 1, lock),
        };
        let omission = self.world.omission;
        let record = state.store.object.as_ref().and_then(Content::of);
        let victim = record.map(|content| content.record.writer_id());
        let settings = AcquireSettings {
            timing: Timing::new(role.lease),
            forced: victim.filter(|_| role.deed == Deed::ForceBreak),
            stale_only: role.deed != Deed::Hold,
            ..client::settings(id, lock, omission)
        };
        let earlier = role.inherits.and_then(|of| state.client(of).call.clone());
        self.run(state, client, log, |client, at| {
            client.begin(settings, earlier.as_deref(), at)
        })
    }

    fn commit(&mut self, state: &mut State, client: usize, log: &mut Log) -> Result<(), Broken> {
        let left = state.change(client, |client| {
            client.commits -= 1;
            client.commits
        });
        let number = short(client) * 16 + self.world.role(client).commits - left;
        self.run(state, client, log, |client, at| client.commit(at, number))
    }

    /// Lets the client take an event, and does what follows from it.
    pub(crate) fn run(
        &mut self,
        state: &mut State,
        client: usize,
        log: &mut Log,
        event: impl FnOnce(&mut Client, &Moment) -> Vec<Effect>,
    ) -> Result<(), Broken> {
        let at = self.moment(state, client);
        let effects = state.change(client, |client| event(client, &at));
        for effect in effects {
            match effect {
                Effect::Request(request) => self.send(state, client, request, log)?,
                Effect::Acquired(end) => self.acquired(state, client, end, log),
                Effect::Hold(step) => self.held(state, client, step, log)?,
            }
        }
        Ok(())
    }

    fn acquired(&mut self, state: &mut State, client: usize, end: AcquireEnd, log: &mut Log) {
        log.line(|| {
            format!(
                "    {}'s acquisition ends: {}",
                name(client),
                short_name(&end)
            )
        });
        let role = self.world.role(client);
        let acquired_at = self.clock(state, client);
        let is_inherited = self
            .world
            .roles
            .iter()
            .any(|role| role.inherits == Some(client));
        state.change(client, |client| {
            let stage = std::mem::replace(&mut client.stage, Stage::Idle);
            let victim = match &stage {
                Stage::Acquiring(call) => call.reclaimed().and_then(|record| record.store_stamp()),
                Stage::Idle | Stage::Holding(_) => None,
            };
            if let (Stage::Acquiring(call), true) = (stage, is_inherited) {
                client.call = Some(call);
            }
            if let AcquireEnd::Held(hold) = end {
                client.stage = Stage::Holding(hold);
                client.victim_until = victim
                    .filter(|_| role.deed == Deed::ForceBreak)
                    .map(|victim| acquired_at + victim.lease());
            }
        });
        self.events.acquired += usize::from(state.client(client).hold().is_some());
    }

    fn held(
        &mut self,
        state: &mut State,
        client: usize,
        step: HoldStep,
        log: &mut Log,
    ) -> Result<(), Broken> {
        log.line(|| format!("    {}: {}", name(client), told_hold(&step)));
        match step {
            HoldStep::Committed { commit, end } => self.committed(state, client, commit, &end),
            HoldStep::Lost(_) => {
                self.events.lost += 1;
                match self.world.may_lose {
                    true => Ok(()),
                    false => Err(Broken("a lock is lost without need")),
                }
            }
            HoldStep::Released { confirmed } => {
                if confirmed {
                    self.events.released += 1;
                    self.check_released(state, client)?;
                }
                state.change(client, Client::give_up_hold);
                match state.client(client).open_commit {
                    None => Ok(()),
                    Some(_) => Err(Broken("a commit never ends")),
                }
            }
            HoldStep::Request(_) | HoldStep::Checked => Ok(()),
        }
    }

    fn committed(
        &mut self,
        state: &mut State,
        client: usize,
        commit: CommitId,
        end: &CommitEnd,
    ) -> Result<(), Broken> {
        let open = state.change(client, |client| client.open_commit.take());
        if open != Some(commit) {
            return Err(Broken("a commit ends twice"));
        }
        let number = u8::try_from(commit.0).expect("worlds are small");
        match end {
            CommitEnd::Done => {
                self.events.committed += 1;
                insert(&mut state.acknowledged, number);
            }
            CommitEnd::Out { may_be_in: false } => insert(&mut state.not_in, number),
            CommitEnd::Out { may_be_in: true } | CommitEnd::Unsettled => {}
        }
        self.check_reported(state)
    }
}

fn insert(numbers: &mut Vec<u8>, number: u8) {
    numbers.push(number);
    numbers.sort_unstable();
}

/// The client that acts, and what it does.
fn action(step: Step) -> Option<(usize, &'static str)> {
    let (client, what) = match step {
        Step::Begin(client) => (client, "begins to acquire"),
        Step::Wake(client) => (client, "is woken by its timer"),
        Step::Commit(client) => (client, "commits"),
        Step::GiveUp(client) => (client, "stops waiting for its commit"),
        Step::Cancel(client) => (client, "cancels its acquisition"),
        Step::Release(client) => (client, "releases"),
        Step::Resume(client) => (client, "is resumed"),
        Step::Crash(client) => (client, "crashes"),
        Step::Pause(client) => (client, "is paused"),
        _ => return None,
    };
    Some((client.into(), what))
}

fn told_hold(step: &HoldStep) -> String {
    match step {
        HoldStep::Lost(Loss::Replaced { .. }) => "lost: replaced".to_owned(),
        HoldStep::Committed { commit, end } => format!("commit {}: {end:?}", commit.0),
        other => format!("{other:?}"),
    }
}

fn short_name(end: &AcquireEnd) -> &'static str {
    match end {
        AcquireEnd::Held(_) => "held",
        AcquireEnd::Refused(_) => "refused",
        AcquireEnd::Free => "free",
        AcquireEnd::Unsettled => "unsettled",
        AcquireEnd::NoAnswer => "no answer",
        AcquireEnd::Failed(_) => "failed",
    }
}
