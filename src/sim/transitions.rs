//! The steps that are possible in a state, and what each of them does.

use super::call::{Call, Fork, Reply};
use super::explorer::{Explorer, is_over};
use super::histories::NodeId;
use super::kernel::{Fault, WorldEvent};
use super::process::Next;
use super::state::{Actor, Broken, Log, State};
use super::step::Step;
use super::world::World;
use super::{LOCK, SPIN_LIMIT};
use crate::record::Pid;

impl Explorer<'_> {
    /// The state before the first step.
    pub(super) fn initial(&mut self, log: &mut Log) -> Result<State, Broken> {
        let World {
            kernel,
            contenders,
            budget,
            ..
        } = self.world;
        let mut state = State {
            kernel: kernel.clone(),
            actors: Vec::new(),
        };
        state.kernel.budget = *budget;
        state.kernel.sync_everything();
        for (program, contender) in contenders.iter().enumerate() {
            let pid_index = state.kernel.start(first_pid(program), contender.system);
            state.actors.push(Actor {
                program,
                node: self.histories.root(program),
                runs_left: contender.runs,
            });
            self.advance(&mut state, pid_index, log)?;
        }
        Ok(state)
    }

    /// What can happen next.
    pub(super) fn steps(&self, state: &State) -> Vec<Step> {
        let mut steps = Vec::new();
        for pid_index in 0..state.actors.len() {
            if state.kernel.is_dying(pid_index) {
                steps.push(Step::Reap(pid_index));
            } else if state.kernel.is_alive(pid_index) {
                self.push_steps_of(state, pid_index, &mut steps);
            }
        }
        if is_over(&steps) && state.kernel.clone().pass_time(state.living()) {
            steps.push(Step::PassTime);
        }
        let events = state.kernel.possible_events();
        steps.extend(events.into_iter().map(Step::Event));
        // After the passage of time, which a possible cancellation must not prevent.
        let may_be_cancelled = |pid_index: &usize| {
            let call = self.next_call(state, *pid_index);
            call.is_some_and(Call::may_be_cancelled)
        };
        steps.extend(state.living().filter(may_be_cancelled).map(Step::Cancel));
        if state.kernel.budget.crashes > 0 {
            // A kill of a program that has returned does what its exit does.
            let is_in_a_call = |pid_index: &usize| self.next_call(state, *pid_index).is_some();
            steps.extend(state.living().filter(is_in_a_call).map(Step::Kill));
        }
        steps
    }

    /// The next call of a process, and how it may fail.
    fn push_steps_of(&self, state: &State, pid_index: usize, steps: &mut Vec<Step>) {
        let rules = self.histories.rules();
        let Some(call) = self.next_call(state, pid_index) else {
            steps.push(Step::Run(pid_index));
            return;
        };
        if state.kernel.is_ready(rules, pid_index, call) {
            steps.push(Step::Run(pid_index));
        }
        let faults = state.kernel.possible_faults(rules, pid_index, call);
        steps.extend(faults.into_iter().map(|fault| Step::Fail(pid_index, fault)));
    }

    /// `None` if the program has returned.
    pub(super) fn next_call(&self, state: &State, pid_index: usize) -> Option<&Call> {
        match self.histories.next(state.actor(pid_index).node) {
            Next::Call(call) => Some(call),
            Next::Returned | Next::Panicked(_) => None,
        }
    }

    /// Takes one step and checks what must hold after every step.
    pub(super) fn take(
        &mut self,
        state: &mut State,
        step: Step,
        log: &mut Log,
    ) -> Result<(), Broken> {
        match step {
            Step::Run(pid_index) => self.run(state, pid_index, log)?,
            Step::Kill(pid_index) => self.kill(state, pid_index, log)?,
            Step::Reap(pid_index) => self.reap(state, pid_index, log)?,
            Step::PassTime => self.pass_time(state, log)?,
            Step::Fail(pid_index, fault) => self.fail(state, pid_index, fault, log)?,
            Step::Cancel(pid_index) => self.cancel(state, pid_index, log)?,
            Step::Event(event) => self.apply_event(state, event, log)?,
        }
        self.check(state)
    }

    fn run(&mut self, state: &mut State, pid_index: usize, log: &mut Log) -> Result<(), Broken> {
        match self.next_call(state, pid_index).cloned() {
            Some(call) => self.perform(state, pid_index, &call, log)?,
            None => {
                let rules = self.histories.rules();
                state.kernel.apply(rules, pid_index, &Call::Exit);
                log.line(|| format!("{}: exit", self.world.name(pid_index)));
            }
        }
        self.advance(state, pid_index, log)
    }

    fn kill(&mut self, state: &mut State, pid_index: usize, log: &mut Log) -> Result<(), Broken> {
        log.line(|| format!("{}: killed", self.world.name(pid_index)));
        state.kernel.budget.crashes -= 1;
        state.kernel.kill(pid_index);
        self.advance(state, pid_index, log)
    }

    fn cancel(&mut self, state: &mut State, pid_index: usize, log: &mut Log) -> Result<(), Broken> {
        log.line(|| format!("{}: its wait is cancelled", self.world.name(pid_index)));
        let reply = state.kernel.cancel_wait(pid_index);
        self.deliver(state, pid_index, reply);
        self.advance(state, pid_index, log)
    }

    fn reap(&mut self, state: &mut State, pid_index: usize, log: &mut Log) -> Result<(), Broken> {
        state.kernel.reap_process(pid_index);
        let effect = if state.kernel.is_dead(pid_index) {
            "removed from the process table"
        } else {
            "its files are closed"
        };
        log.line(|| format!("{}: {effect}", self.world.name(pid_index)));
        self.advance(state, pid_index, log)
    }

    fn pass_time(&mut self, state: &mut State, log: &mut Log) -> Result<(), Broken> {
        self.check_sleepers(state)?;
        let waiting: Vec<_> = state.living().collect();
        state.kernel.pass_time(waiting.into_iter());
        log.line(|| "time passes".to_owned());
        Ok(())
    }

    fn fail(
        &mut self,
        state: &mut State,
        pid_index: usize,
        fault: Fault,
        log: &mut Log,
    ) -> Result<(), Broken> {
        let call = self.next_call(state, pid_index).cloned();
        let call = call.expect("only calls fail");
        let rules = self.histories.rules();
        let reply = state.kernel.fail(rules, pid_index, &call, fault);
        log.line(|| format!("{}: {call} {fault}", self.world.name(pid_index)));
        self.deliver(state, pid_index, reply);
        self.advance(state, pid_index, log)
    }

    fn apply_event(
        &mut self,
        state: &mut State,
        event: WorldEvent,
        log: &mut Log,
    ) -> Result<(), Broken> {
        let held_by = state.kernel.held_by();
        state.kernel.apply_event(event);
        log.line(|| event.to_string());
        if !matches!(
            event,
            WorldEvent::LosePower { .. } | WorldEvent::RebootServer
        ) {
            return Ok(());
        }
        if self.world.has_table {
            self.check_table(&state.kernel, &held_by)?;
        } else if !held_by.is_empty() && !state.kernel.has_record(LOCK) {
            let message = "no record is left of the holder that lost power";
            return Err(Broken(message.to_owned()));
        }
        // Those that go on are in the middle of a call.
        let died = |pid_index: &usize| state.kernel.is_dead(*pid_index);
        let died: Vec<_> = (0..state.actors.len()).filter(died).collect();
        let mut died = died.into_iter();
        died.try_for_each(|pid_index| self.advance(state, pid_index, log))
    }

    /// Executes a call and delivers the reply to its process.
    fn perform(
        &mut self,
        state: &mut State,
        pid_index: usize,
        call: &Call,
        log: &mut Log,
    ) -> Result<(), Broken> {
        let name = self.world.name(pid_index);
        self.saw_named_write |= state.kernel.is_named_write(pid_index, call);
        if state.kernel.is_write_to_another(pid_index, call) {
            log.line(|| format!("{name}: {call}"));
            let message = format!("{name} writes into a file that is not its own");
            return Err(Broken(message));
        }
        let rules = self.histories.rules();
        let Some(reply) = state.kernel.apply(rules, pid_index, call) else {
            log.line(|| format!("{name}: {call}: first half"));
            return Ok(());
        };
        if !call.is_quiet() {
            log.line(|| format!("{name}: {call} -> {reply}"));
        }
        let before = state.actor(pid_index).clone();
        self.deliver(state, pid_index, reply);
        if *call == Call::Fork {
            self.start_child(state, before, log)?;
        }
        Ok(())
    }

    /// Starts the child of a process that has forked at `parent`.
    fn start_child(
        &mut self,
        state: &mut State,
        parent: Actor,
        log: &mut Log,
    ) -> Result<(), Broken> {
        let child = state.actors.len();
        let node = self.node_after(state, parent.node, Reply::Fork(Fork::Child), child);
        state.actors.push(Actor {
            node,
            runs_left: 1,
            ..parent
        });
        self.advance(state, child, log)
    }

    fn deliver(&mut self, state: &mut State, pid_index: usize, reply: Reply) {
        let node = state.actor(pid_index).node;
        state.actor_mut(pid_index).node = self.node_after(state, node, reply, pid_index);
    }

    fn node_after(
        &mut self,
        state: &mut State,
        node: NodeId,
        reply: Reply,
        pid_index: usize,
    ) -> NodeId {
        let live = self
            .batch_private_calls
            .then_some((&mut state.kernel, pid_index));
        self.histories.after(node, reply, live)
    }

    /// Brings a process to its next call that other processes can observe. Private calls are
    /// executed; a run of the program that has ended is followed by the next one, also in the
    /// place of a dead process.
    pub(super) fn advance(
        &mut self,
        state: &mut State,
        pid_index: usize,
        log: &mut Log,
    ) -> Result<(), Broken> {
        let name = self.world.name(pid_index);
        for _ in 0..SPIN_LIMIT {
            let Actor {
                program,
                node,
                runs_left,
            } = *state.actor(pid_index);
            if state.kernel.is_dead(pid_index) && runs_left > 1 {
                state.kernel.restart(pid_index);
                self.begin_next_run(state, pid_index);
                let pid = state.kernel.pid(pid_index);
                log.line(|| format!("{name}: starts again as pid {pid}"));
                continue;
            }
            if !state.kernel.is_alive(pid_index) {
                // A dead process remembers nothing. So it does not matter where it died.
                state.actor_mut(pid_index).node = self.histories.root(program);
                return Ok(());
            }
            let rules = self.histories.rules();
            match self.histories.next(node).clone() {
                Next::Panicked(message) => {
                    return Err(Broken(format!("{name} panicked: {message}")));
                }
                Next::Returned if runs_left > 1 => self.begin_next_run(state, pid_index),
                Next::Returned => return Ok(()),
                Next::Call(call) if state.kernel.is_private(rules, pid_index, &call) => {
                    self.perform(state, pid_index, &call, log)?;
                }
                Next::Call(call) => {
                    state.kernel.begin_sleep(rules, pid_index, &call);
                    return Ok(());
                }
            }
        }
        let message = format!("{name} makes calls without end that no other process can observe");
        Err(Broken(message))
    }

    fn begin_next_run(&mut self, state: &mut State, pid_index: usize) {
        state.kernel.begin_run(pid_index);
        let actor = state.actor_mut(pid_index);
        actor.runs_left -= 1;
        actor.node = self.histories.root(actor.program);
    }
}

/// The pids of neighbouring places are so far apart that restarted processes do not share any.
fn first_pid(place: usize) -> Pid {
    let place = u32::try_from(place).expect("a world has few processes");
    Pid::new(100 * (place + 1)).expect("pids of the simulation are small")
}
