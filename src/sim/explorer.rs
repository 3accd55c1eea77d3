//! The search over all schedules of a world.
//!
//! A state is a value: the kernel, and for each process the history that its program is at. Its
//! successors are: any process makes its next call; any process is killed before it, or its call fails;
//! a clock is set, a machine suspended, power lost; the kernel takes a dying process away; time passes when nobody
//! can do anything else. The search is breadth
//! first, so that the trace of a violation is as short as there is one.

use std::collections::HashSet;
use std::fmt;

use super::call::{Call, Fork, Reply};
use super::chooser::{Chooser, Random, Script};
use super::fingerprint::fingerprint;
use super::kernel::{Kernel, Mishap, Mishaps, Rules, System};
use super::process::{Histories, Next, NodeId};
use super::step::Step;
use super::{LOCK, World};
use crate::record::Pid;

/// How much was explored, without a violation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Situations that differ.
    pub states: usize,
    /// Steps from one to another.
    pub transitions: usize,
    /// Situations in which everybody is finished or dead.
    pub finals: usize,
    /// Steps of the longest schedule without a detour.
    pub depth: usize,
    /// Histories of single processes.
    pub histories: usize,
    /// Values of the kernel.
    pub kernels: usize,
}

/// A broken promise, and the schedule that breaks it, one step a line.
#[derive(Clone)]
pub struct Violation {
    message: String,
    trace: Vec<String>,
    seed: Option<u64>,
}

impl Violation {
    /// What was broken.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The schedule that breaks it.
    #[must_use]
    pub fn trace(&self) -> &[String] {
        &self.trace
    }

    /// The seed of the random schedule that this is.
    #[must_use]
    pub fn seed(&self) -> Option<u64> {
        self.seed
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.trace
            .iter()
            .try_for_each(|line| writeln!(f, "{line}"))?;
        write!(f, "=> {}", self.message)?;
        self.seed
            .iter()
            .try_for_each(|seed| write!(f, " (seed {seed})"))
    }
}

/// As `Display`: what `expect` prints should be readable.
impl fmt::Debug for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{self}")
    }
}

impl std::error::Error for Violation {}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct State {
    kernel: Kernel,
    /// By place in the kernel's table of processes.
    actors: Vec<Actor>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Actor {
    program: usize,
    node: NodeId,
    rounds_left: usize,
}

/// The lines of a trace, where somebody will read them.
struct Log(Option<Vec<String>>);

impl Log {
    fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.0 {
            lines.push(line());
        }
    }
}

/// What was broken; the trace is made by whoever knows the schedule.
type Outcome = Result<(), String>;

/// A program that makes so many calls without one that others can see is caught in a loop.
const SPIN: usize = 10_000;

/// More states than memory is likely to hold.
const NO_END: usize = 100_000_000;

/// Random schedules have little in common: so many histories are kept, then none.
const MANY: usize = 200_000;

/// The first state's place in the list of ways.
const NOWHERE: usize = usize::MAX;

pub(super) struct Explorer<'w> {
    world: &'w World,
    histories: Histories,
    /// Whether private calls need not be told one by one.
    hasty: bool,
    /// Whether a file was written that others can read.
    rewritten: bool,
}

impl<'w> Explorer<'w> {
    pub(super) fn new(world: &'w World) -> Explorer<'w> {
        Explorer::with_rules(world, world.rules.clone())
    }

    fn with_rules(world: &'w World, rules: Rules) -> Explorer<'w> {
        let mut programs: Vec<_> = world.contenders.iter().map(|c| c.program.clone()).collect();
        programs.extend(world.finally.iter().map(|(_, program)| program.clone()));
        let histories = Histories::new(programs, rules);
        Explorer {
            world,
            histories,
            hasty: true,
            rewritten: false,
        }
    }

    /// The same, told that files are written that have names.
    fn with_rewrites(&self) -> Explorer<'w> {
        let rules = Rules {
            rewrites: true,
            ..self.histories.rules().clone()
        };
        Explorer::with_rules(self.world, rules)
    }

    /// Every schedule.
    pub(super) fn explore(&mut self) -> Result<Report, Violation> {
        let report = self.search()?;
        // If files that have names are written after all, reading them is no private matter. The
        // first such write of any schedule has been seen: nothing before it depends on when it reads.
        if self.rewritten {
            self.with_rewrites().search()
        } else {
            Ok(report)
        }
    }

    fn search(&mut self) -> Result<Report, Violation> {
        let mut report = Report::default();
        let mut seen = HashSet::new();
        let mut kernels = HashSet::new();
        // How each state was first reached: from which, by what.
        let mut ways: Vec<(usize, Step)> = Vec::new();
        let first = self
            .initial(&mut Log(None))
            .map_err(|broken| self.violation(&[], broken))?;
        seen.insert(fingerprint(&first));
        let mut level = vec![(NOWHERE, first)];
        while !level.is_empty() {
            let mut next_level = Vec::new();
            for (at, state) in level {
                kernels.insert(fingerprint(&state.kernel));
                let steps = self.steps(&state);
                if is_over(&steps) {
                    report.finals += 1;
                    let outcome = self.check_final(&state, &mut Log(None));
                    outcome.map_err(|broken| self.violation(&path(&ways, at), broken))?;
                }
                for step in steps {
                    report.transitions += 1;
                    let mut next = state.clone();
                    if let Err(broken) = self.take(&mut next, step, &mut Log(None)) {
                        let mut path = path(&ways, at);
                        path.push(step);
                        return Err(self.violation(&path, broken));
                    }
                    if seen.insert(fingerprint(&next)) {
                        ways.push((at, step));
                        next_level.push((ways.len() - 1, next));
                    }
                }
            }
            report.depth += 1;
            assert!(
                seen.len() < NO_END,
                "no end of the search is in sight: a loop counts its rounds"
            );
            level = next_level;
        }
        report.states = seen.len();
        report.kernels = kernels.len();
        report.histories = self.histories.len();
        Ok(report)
    }

    /// One schedule, chosen by `seed`.
    pub(super) fn walk(&mut self, seed: u64) -> Result<usize, Violation> {
        self.go(Random::new(seed)).map_err(|violation| Violation {
            seed: Some(seed),
            ..violation
        })
    }

    /// The schedule that `bytes` say.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        self.go(Script::new(bytes))
    }

    fn go(&mut self, chooser: impl Chooser) -> Result<usize, Violation> {
        if self.histories.len() > MANY || !self.histories.rules().rewrites {
            *self = self.with_rewrites();
        }
        let mut taken = Vec::new();
        let outcome = self.walk_on(chooser, &mut taken);
        outcome
            .map(|()| taken.len())
            .map_err(|broken| self.violation(&taken, broken))
    }

    fn walk_on(&mut self, mut chooser: impl Chooser, taken: &mut Vec<Step>) -> Outcome {
        let mut state = self.initial(&mut Log(None))?;
        loop {
            let steps = self.steps(&state);
            let Some(step) = chooser.choose(&steps).filter(|_| !is_over(&steps)) else {
                return self.check_final(&state, &mut Log(None));
            };
            taken.push(step);
            self.take(&mut state, step, &mut Log(None))?;
        }
    }

    /// Goes the way once more, without any history being taken for another, and writes it down.
    fn violation(&self, path: &[Step], message: String) -> Violation {
        let rules = Rules {
            every_history: true,
            ..self.histories.rules().clone()
        };
        let mut log = Log(Some(Vec::new()));
        let mut slow = Explorer {
            hasty: false,
            ..Explorer::with_rules(self.world, rules)
        };
        let replayed = slow.replay(path, &mut log);
        let message = match replayed {
            Err(again) if again == message => message,
            _ => format!("{message}; but a loop remembers more than it says, so this is in doubt"),
        };
        Violation {
            message,
            trace: log.0.unwrap_or_default(),
            seed: None,
        }
    }

    fn replay(&mut self, path: &[Step], log: &mut Log) -> Outcome {
        let mut state = self.initial(log)?;
        for step in path {
            self.take(&mut state, *step, log)?;
        }
        if is_over(&self.steps(&state)) {
            self.check_final(&state, log)
        } else {
            Ok(())
        }
    }

    fn initial(&mut self, log: &mut Log) -> Result<State, String> {
        let mut state = State {
            kernel: self.world.kernel.clone(),
            actors: Vec::new(),
        };
        state.kernel.mishaps = self.world.mishaps;
        state.kernel.settle_disk();
        for (program, contender) in self.world.contenders.iter().enumerate() {
            let who = state.kernel.start(first_pid(program), contender.system);
            let node = self.histories.root(program);
            state.actors.push(Actor {
                program,
                node,
                rounds_left: contender.rounds,
            });
            self.settle(&mut state, who, log)?;
        }
        Ok(state)
    }

    /// What can happen next.
    fn steps(&self, state: &State) -> Vec<Step> {
        let mut steps = Vec::new();
        for (who, actor) in state.actors.iter().enumerate() {
            if state.kernel.is_dying(who) {
                steps.push(Step::Bury(who));
            } else if state.kernel.is_alive(who) {
                let next = self.histories.next(actor.node);
                let ready = match next {
                    Next::Call(call) => state.kernel.is_ready(self.histories.rules(), who, call),
                    _ => true,
                };
                steps.extend(ready.then_some(Step::Run(who)));
                if let Next::Call(call) = next {
                    let rules = self.histories.rules();
                    let faults = state.kernel.possible_faults(rules, who, call);
                    steps.extend(faults.into_iter().map(|fault| Step::Fail(who, fault)));
                }
            }
        }
        if is_over(&steps) && state.kernel.clone().pass_time(self.waiting(state)) {
            steps.push(Step::PassTime);
        }
        steps.extend(
            state
                .kernel
                .possible_mishaps()
                .into_iter()
                .map(Step::Suffer),
        );
        if state.kernel.mishaps.crashes > 0 {
            // Killing a program that has returned does what its exit does.
            let killable = |who: &usize| {
                let actor = state.actors.get(*who);
                let next = actor.map(|actor| self.histories.next(actor.node));
                state.kernel.is_alive(*who) && matches!(next, Some(Next::Call(_)))
            };
            steps.extend((0..state.actors.len()).filter(killable).map(Step::Kill));
        }
        steps
    }

    fn waiting<'s>(&'s self, state: &'s State) -> impl Iterator<Item = usize> {
        (0..state.actors.len()).filter(|who| state.kernel.is_alive(*who))
    }

    /// Takes one step and checks what must hold after every one.
    fn take(&mut self, state: &mut State, step: Step, log: &mut Log) -> Outcome {
        match step {
            Step::Run(who) => {
                match self.histories.next(actor(state, who).node).clone() {
                    Next::Call(call) => self.perform(state, who, &call, log)?,
                    _ => {
                        state.kernel.apply(self.histories.rules(), who, &Call::Exit);
                        log.say(|| format!("{}: exit", self.world.name(who)));
                    }
                }
                self.settle(state, who, log)?;
            }
            Step::Kill(who) => {
                log.say(|| format!("{}: killed", self.world.name(who)));
                state.kernel.mishaps.crashes -= 1;
                state.kernel.kill(who);
                self.settle(state, who, log)?;
            }
            Step::Bury(who) => {
                state.kernel.bury(who);
                let fate = if state.kernel.is_dead(who) {
                    "is gone"
                } else {
                    "its files are closed"
                };
                log.say(|| format!("{}: {fate}", self.world.name(who)));
                self.settle(state, who, log)?;
            }
            Step::PassTime => {
                self.check_sleepers(state)?;
                let waiting: Vec<_> = self.waiting(state).collect();
                state.kernel.pass_time(waiting.into_iter());
                log.say(|| "time passes".to_owned());
            }
            Step::Fail(who, fault) => {
                let Next::Call(call) = self.histories.next(actor(state, who).node).clone() else {
                    unreachable!("only calls fail");
                };
                let reply = state.kernel.fail(self.histories.rules(), who, &call, fault);
                log.say(|| format!("{}: {call} {fault}", self.world.name(who)));
                self.hear(state, who, reply);
                self.settle(state, who, log)?;
            }
            Step::Suffer(mishap) => {
                let was_held = state.kernel.holders() > 0;
                state.kernel.suffer(mishap);
                log.say(|| mishap.to_string());
                if let Mishap::LosePower { .. } = mishap {
                    if was_held && !state.kernel.has_record(LOCK) {
                        return Err("nothing tells of the holder who lost its power".to_owned());
                    }
                    (0..state.actors.len()).try_for_each(|who| self.settle(state, who, log))?;
                }
            }
        }
        self.check(state)
    }

    /// Executes a call and tells its process the reply.
    fn perform(&mut self, state: &mut State, who: usize, call: &Call, log: &mut Log) -> Outcome {
        self.rewritten |= state.kernel.is_rewrite(who, call);
        if state.kernel.is_trespass(who, call) {
            log.say(|| format!("{}: {call}", self.world.name(who)));
            let name = self.world.name(who);
            return Err(format!("{name} writes into a file that is not its own"));
        }
        let Some(reply) = state.kernel.apply(self.histories.rules(), who, call) else {
            log.say(|| format!("{}: {call}: half of it", self.world.name(who)));
            return Ok(());
        };
        if !call.is_quiet() {
            log.say(|| format!("{}: {call} -> {reply}", self.world.name(who)));
        }
        let before = actor(state, who).clone();
        self.hear(state, who, reply);
        if *call == Call::Fork {
            let child = state.actors.len();
            let node = self.after(state, before.node, Reply::Fork(Fork::Child), child);
            state.actors.push(Actor {
                node,
                rounds_left: 1,
                ..before
            });
            self.settle(state, child, log)?;
        }
        Ok(())
    }

    fn hear(&mut self, state: &mut State, who: usize, reply: Reply) {
        let node = actor(state, who).node;
        actor(state, who).node = self.after(state, node, reply, who);
    }

    fn after(&mut self, state: &mut State, node: NodeId, reply: Reply, who: usize) -> NodeId {
        let live = self.hasty.then_some((&mut state.kernel, who));
        self.histories.after(node, reply, live)
    }

    /// Brings a process to its next call that others can notice: private calls are executed, a
    /// finished round gives way to the next one, also in the place of a dead process.
    fn settle(&mut self, state: &mut State, who: usize, log: &mut Log) -> Outcome {
        for _ in 0..SPIN {
            let Actor {
                program,
                node,
                rounds_left,
            } = *actor(state, who);
            if state.kernel.is_dead(who) && rounds_left > 1 {
                state.kernel.restart(who);
                self.next_round(state, who);
                let pid = state.kernel.pid(who);
                log.say(|| format!("{}: starts again as pid {pid}", self.world.name(who)));
                continue;
            }
            if !state.kernel.is_alive(who) {
                // The dead remember nothing, so that it does not matter where they died.
                actor(state, who).node = self.histories.root(program);
                return Ok(());
            }
            match self.histories.next(node).clone() {
                Next::Panicked(message) => {
                    return Err(format!("{} panicked: {message}", self.world.name(who)));
                }
                Next::Returned if rounds_left > 1 => self.next_round(state, who),
                Next::Returned => return Ok(()),
                Next::Call(call) if state.kernel.is_private(self.histories.rules(), who, &call) => {
                    self.perform(state, who, &call, log)?;
                }
                Next::Call(call) => {
                    state.kernel.begin(self.histories.rules(), who, &call);
                    return Ok(());
                }
            }
        }
        Err(format!("{} spins", self.world.name(who)))
    }

    fn next_round(&mut self, state: &mut State, who: usize) {
        state.kernel.forget(who);
        let actor = actor(state, who);
        actor.rounds_left -= 1;
        actor.node = self.histories.root(actor.program);
    }

    /// What must hold after every step.
    fn check(&self, state: &State) -> Outcome {
        if state.kernel.holders() > 1 {
            return Err("two processes hold the lock at the same time".to_owned());
        }
        for (name, content) in &self.world.foreign {
            if state.kernel.content(name) != Some(content) {
                return Err(format!(
                    "{}, which is nobody's to touch, is gone",
                    name.display()
                ));
            }
        }
        Ok(())
    }

    /// Who waits for the lock must not oversleep its release, nor its holder's death. Where there was
    /// no event, a timer is the net.
    fn check_sleepers(&self, state: &State) -> Outcome {
        if !state.kernel.is_free(LOCK) || state.kernel.was_silent(LOCK) {
            return Ok(());
        }
        let mut waiting = self.waiting(state).filter(|who| {
            let next = state
                .actors
                .get(*who)
                .map(|actor| self.histories.next(actor.node));
            matches!(next, Some(Next::Call(Call::Wait(..))))
        });
        match waiting.next() {
            Some(who) => Err(format!(
                "{} sleeps although the lock is free",
                self.world.name(who)
            )),
            None => Ok(()),
        }
    }

    /// What must hold when nothing can happen any more.
    fn check_final(&mut self, state: &State, log: &mut Log) -> Outcome {
        let mut places = 0..state.actors.len();
        if let Some(who) = places.find(|who| state.kernel.is_alive(*who)) {
            return Err(format!("{} waits for ever", self.world.name(who)));
        }
        let mishaps =
            self.world.mishaps.that_leave_files() - state.kernel.mishaps.that_leave_files();
        let left = state
            .kernel
            .names()
            .filter(|name| !self.world.is_expected(name));
        let left: Vec<_> = left.map(|name| name.display().to_string()).collect();
        if left.len() > mishaps {
            return Err(format!(
                "{mishaps} crashes or faults do not explain {}",
                left.join(", ")
            ));
        }
        self.run_finally(state, log)
    }

    /// Whoever comes later, alone.
    fn run_finally(&mut self, state: &State, log: &mut Log) -> Outcome {
        let Some((after, _)) = &self.world.finally else {
            return Ok(());
        };
        let mut state = state.clone();
        state.kernel.advance(*after);
        state.kernel.mishaps = Mishaps::default();
        log.say(|| format!("{after:?} later:"));
        let program = self.world.contenders.len();
        let who = state.kernel.start(LAST_PID, System::HOST);
        state.actors.push(Actor {
            program,
            node: self.histories.root(program),
            rounds_left: 1,
        });
        self.settle(&mut state, who, log)?;
        while state.kernel.is_alive(who) {
            match self.steps(&state).first() {
                Some(step) => self.take(&mut state, *step, log)?,
                None => return Err(format!("{} waits for ever", self.world.name(who))),
            }
        }
        Ok(())
    }
}

fn actor(state: &mut State, who: usize) -> &mut Actor {
    state
        .actors
        .get_mut(who)
        .expect("actors keep their place in the table")
}

/// Whether nothing happens any more by itself.
fn is_over(steps: &[Step]) -> bool {
    steps.iter().all(Step::is_rare)
}

fn path(ways: &[(usize, Step)], mut at: usize) -> Vec<Step> {
    let mut path = Vec::new();
    while let Some((from, step)) = ways.get(at) {
        path.push(*step);
        at = *from;
    }
    path.reverse();
    path
}

/// Pids far enough apart for the processes that follow in the same place.
fn first_pid(place: usize) -> Pid {
    let place = u32::try_from(place).expect("a handful of processes");
    Pid::new(100 * (place + 1)).expect("pids of the simulation are small")
}

const LAST_PID: Pid = Pid::new(99).expect("99 is a pid");
