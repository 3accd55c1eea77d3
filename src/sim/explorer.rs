//! The search over all schedules of a world.
//!
//! A state is the kernel plus each process's position in its program. From a state, any process may
//! make its next call, be killed, or have that call fail; a clock may be stepped, and machines may
//! be suspended or lose power; a dying process may be reaped; if nothing else is possible, time
//! passes. The search is breadth-first, so that the trace of a violation is as short as possible.

use std::collections::HashSet;

use super::chooser::{Chooser, Random};
use super::fingerprint::{Fingerprints, fingerprint};
use super::histories::{Histories, MERGE_DIVERGED};
use super::kernel::Rules;
use super::report::{Report, Violation};
use super::script::Script;
use super::state::{Broken, Log, State};
use super::step::Step;
use super::world::World;

/// More states than memory is likely to hold.
const STATE_LIMIT: usize = 500_000_000;

/// Random schedules have little in common: the explorer keeps this many histories, and then drops
/// all.
const HISTORY_LIMIT: usize = 200_000;

/// The first state's place in the list of edges: it has none.
const ROOT: u32 = u32::MAX;

pub(super) struct Explorer<'w> {
    pub(super) world: &'w World,
    pub(super) histories: Histories,
    /// Whether a process executes its private calls in one run of its program. A trace shows them
    /// one by one.
    pub(super) batch_private_calls: bool,
    /// Whether a process wrote to a file that other processes can read.
    pub(super) saw_named_write: bool,
}

impl World {
    /// Tries every schedule.
    ///
    /// # Errors
    ///
    /// A shortest schedule that breaks a promise.
    pub fn explore(&self) -> Result<Report, Violation> {
        Explorer::new(self).explore().map(|(report, _)| report)
    }

    /// The same, with a fingerprint of each kernel in which nothing can happen any more.
    ///
    /// # Errors
    ///
    /// A shortest schedule that breaks a promise.
    pub fn explore_outcomes(&self) -> Result<(Report, HashSet<u128>), Violation> {
        let (report, outcomes) = Explorer::new(self).explore()?;
        Ok((report, outcomes.into_iter().collect()))
    }

    /// Tries `schedules` random schedules: the first is the one of `seed`, the next that of `seed +
    /// 1`.
    ///
    /// # Errors
    ///
    /// A schedule that breaks a promise, with its seed: `random_walk(seed, 1)` finds it again.
    pub fn random_walk(&self, seed: u64, schedules: u64) -> Result<Report, Violation> {
        let mut explorer = Explorer::new(self);
        let mut report = Report::default();
        for seed in (0..schedules).map(|n| seed.wrapping_add(n)) {
            let steps = explorer.random_walk(seed)?;
            report.transitions += steps;
            report.finals += 1;
            report.depth = report.depth.max(steps);
        }
        Ok(report)
    }

    /// Tries the schedule that `bytes` describe. Each byte is a choice, and any bytes are a
    /// schedule.
    ///
    /// # Errors
    ///
    /// The schedule, if it breaks a promise.
    pub fn replay(&self, bytes: &[u8]) -> Result<Report, Violation> {
        let steps = Explorer::new(self).replay(bytes)?;
        Ok(Report {
            transitions: steps,
            finals: 1,
            depth: steps,
            ..Report::default()
        })
    }
}

/// How a state was first reached: from which edge's state, and by which of its steps. A search keeps one
/// for each state, so it is small.
struct Edge {
    from: u32,
    step: u16,
}

/// The progress of a search.
struct Frontier {
    seen: Fingerprints,
    kernels: Fingerprints,
    /// The kernels of the states in which nothing can happen any more.
    outcomes: Fingerprints,
    edges: Vec<Edge>,
    /// The states that the next level of the search begins with, each with the edge that led to
    /// it.
    next_level: Vec<(u32, State)>,
}

impl Frontier {
    /// Keeps a state for the next level, unless it is known.
    fn add(&mut self, from: u32, step: usize, state: State) {
        let kernel = fingerprint(&state.kernel);
        if self.seen.insert(fingerprint(&(kernel, &state.actors))) {
            self.kernels.insert(kernel);
            let edge = u32::try_from(self.edges.len()).expect("memory has fewer states");
            let step = u16::try_from(step).expect("a state has few steps");
            self.edges.push(Edge { from, step });
            self.next_level.push((edge, state));
        }
    }

    /// The choices that lead to the state of an edge.
    fn path(&self, mut at: u32) -> Vec<usize> {
        let mut path = Vec::new();
        while let Some(Edge { from, step }) = self.edge(at) {
            path.push(usize::from(*step));
            at = *from;
        }
        path.reverse();
        path
    }

    /// `None` at the first state.
    fn edge(&self, at: u32) -> Option<&Edge> {
        let edge = usize::try_from(at).ok().and_then(|at| self.edges.get(at));
        edge.filter(|edge| edge.from != ROOT)
    }
}

impl<'w> Explorer<'w> {
    pub(super) fn new(world: &'w World) -> Explorer<'w> {
        Explorer::with_rules(world, world.rules.clone())
    }

    fn with_rules(world: &'w World, rules: Rules) -> Explorer<'w> {
        let mut programs: Vec<_> = world.contenders.iter().map(|c| c.program.clone()).collect();
        programs.extend(world.finally.iter().map(|(_, program)| program.clone()));
        Explorer {
            world,
            histories: Histories::new(programs, rules),
            batch_private_calls: true,
            saw_named_write: false,
        }
    }

    /// A new explorer of the same world, which knows that files with names are written.
    fn with_named_writes(&self) -> Explorer<'w> {
        let rules = Rules {
            named_writes: true,
            ..self.histories.rules().clone()
        };
        Explorer::with_rules(self.world, rules)
    }

    /// Searches every schedule.
    pub(super) fn explore(&mut self) -> Result<(Report, Fingerprints), Violation> {
        let found = self.search()?;
        // If a file with a name was written, then reading such files is not private, and the search
        // starts again. Up to the first such write of each schedule this search was correct:
        // nothing before it depends on when a file is read. So no first write was missed.
        if self.is_misled() {
            self.with_named_writes().search()
        } else {
            Ok(found)
        }
    }

    /// Whether the search took reading files with names for private, and they are written.
    fn is_misled(&self) -> bool {
        self.saw_named_write && !self.histories.rules().named_writes
    }

    fn search(&mut self) -> Result<(Report, Fingerprints), Violation> {
        let mut report = Report::default();
        let first = self.initial(&mut Log(None));
        let first = first.map_err(|broken| self.violation(&[], broken))?;
        let mut frontier = Frontier {
            seen: Fingerprints::default(),
            kernels: Fingerprints::default(),
            outcomes: Fingerprints::default(),
            edges: Vec::new(),
            next_level: Vec::new(),
        };
        frontier.add(ROOT, 0, first);
        while !frontier.next_level.is_empty() && !self.is_misled() {
            for (edge, state) in std::mem::take(&mut frontier.next_level) {
                self.expand(state, edge, &mut frontier, &mut report)?;
            }
            report.depth += 1;
            assert!(
                frontier.seen.len() < STATE_LIMIT,
                "the search does not end: a loop counts its rounds"
            );
        }
        report.states = frontier.seen.len();
        report.kernels = frontier.kernels.len();
        report.histories = self.histories.len();
        Ok((report, frontier.outcomes))
    }

    /// Takes every step that is possible in `state`.
    fn expand(
        &mut self,
        state: State,
        edge: u32,
        frontier: &mut Frontier,
        report: &mut Report,
    ) -> Result<(), Violation> {
        let steps = self.steps(&state);
        if is_over(&steps) {
            report.finals += 1;
            frontier.outcomes.insert(fingerprint(&state.kernel));
            let outcome = self.check_final(&state, &mut Log(None));
            outcome.map_err(|broken| self.violation_at(&frontier.path(edge), broken))?;
        }
        report.transitions += steps.len();
        // The last step needs no copy.
        let mut state = Some(state);
        for (choice, step) in steps.iter().enumerate() {
            let is_last = choice + 1 == steps.len();
            let next = if is_last { state.take() } else { state.clone() };
            let mut next = next.expect("the state is there up to the last step");
            if let Err(broken) = self.take(&mut next, *step, &mut Log(None)) {
                let mut path = frontier.path(edge);
                path.push(choice);
                return Err(self.violation_at(&path, broken));
            }
            frontier.add(edge, choice, next);
        }
        Ok(())
    }

    /// Tries the random schedule of `seed`. Returns its number of steps.
    pub(super) fn random_walk(&mut self, seed: u64) -> Result<usize, Violation> {
        let outcome = self.run_schedule(Random::new(seed));
        outcome.map_err(|violation| Violation {
            seed: Some(seed),
            ..violation
        })
    }

    /// Tries the schedule that `bytes` describe. Returns its number of steps.
    pub(super) fn replay(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        self.run_schedule(Script::new(bytes))
    }

    fn run_schedule(&mut self, chooser: impl Chooser) -> Result<usize, Violation> {
        if self.histories.len() > HISTORY_LIMIT || !self.histories.rules().named_writes {
            *self = self.with_named_writes();
        }
        let mut taken = Vec::new();
        let outcome = self.take_steps(chooser, &mut taken);
        outcome
            .map(|()| taken.len())
            .map_err(|broken| self.violation(&taken, broken))
    }

    fn take_steps(
        &mut self,
        mut chooser: impl Chooser,
        taken: &mut Vec<Step>,
    ) -> Result<(), Broken> {
        let mut state = self.initial(&mut Log(None))?;
        loop {
            let steps = self.steps(&state);
            // The choice comes first: a byte or a random number is used up for each step.
            let Some(step) = chooser.choose(&steps).filter(|_| !is_over(&steps)) else {
                return self.check_final(&state, &mut Log(None));
            };
            taken.push(step);
            self.take(&mut state, step, &mut Log(None))?;
        }
    }

    /// The violation at the end of these choices.
    fn violation_at(&mut self, choices: &[usize], broken: Broken) -> Violation {
        let mut path = Vec::new();
        if let Ok(mut state) = self.initial(&mut Log(None)) {
            for choice in choices {
                path.extend(self.steps(&state).get(*choice));
                let step = path.last().expect("a choice is one of the steps");
                // The last step breaks the promise.
                let _ = self.take(&mut state, *step, &mut Log(None));
            }
        }
        self.violation(&path, broken)
    }

    /// Takes the steps of `path` once more, without merging histories, and writes the trace.
    fn violation(&self, path: &[Step], broken: Broken) -> Violation {
        let rules = Rules {
            no_merging: true,
            ..self.histories.rules().clone()
        };
        let mut log = Log(Some(Vec::new()));
        let mut slow = Explorer {
            batch_private_calls: false,
            ..Explorer::with_rules(self.world, rules)
        };
        let retraced = slow.retrace(path, &mut log);
        let message = if retraced.as_ref() == Err(&broken) {
            broken.0
        } else {
            let Broken(message) = broken;
            format!("{message}; but not without merging of histories: {MERGE_DIVERGED}")
        };
        Violation {
            message,
            trace: log.0.unwrap_or_default(),
            seed: None,
        }
    }

    fn retrace(&mut self, path: &[Step], log: &mut Log) -> Result<(), Broken> {
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
}

/// Whether nothing can happen but rare steps.
pub(super) fn is_over(steps: &[Step]) -> bool {
    steps.iter().all(Step::is_rare)
}
