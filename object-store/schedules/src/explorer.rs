//! The search over all schedules of a world.
//!
//! Breadth-first, so that the schedule of a violation is as short as possible.

use crate::chooser::{Chooser, Random};
use crate::fingerprint::{Fingerprints, fingerprint};
use crate::plan::{Operation, Plan};
use crate::report::{Events, Report, Violation};
use crate::state::{Broken, Log, State};
use crate::step::Step;
use crate::world::World;

/// The first state's place in the list of edges: it has none.
const ROOT: u32 = u32::MAX;

/// A random schedule ends here, if not before.
const LONGEST: usize = 2000;

pub(crate) struct Explorer<'w> {
    pub(crate) world: &'w World,
    pub(crate) events: Events,
    /// The fingerprints of stores from which a later client is known to recover.
    pub(crate) recovered: Fingerprints,
}

/// How a state was first reached: from which edge's state, and by which step.
struct Edge {
    from: u32,
    step: Step,
}

struct Frontier {
    seen: Fingerprints,
    edges: Vec<Edge>,
    next_level: Vec<(u32, State)>,
}

impl World {
    /// Tries every schedule.
    ///
    /// # Errors
    ///
    /// A shortest schedule that breaks a promise.
    pub fn explore(&self) -> Result<Report, Violation> {
        Explorer::new(self).explore()
    }

    /// Tries `schedules` random schedules: the first is the one of `seed`, the next that of `seed + 1`.
    ///
    /// # Errors
    ///
    /// A schedule that breaks a promise, with its seed: `random_walk(seed, 1)` finds it again.
    pub fn random_walk(&self, seed: u64, schedules: u64) -> Result<Report, Violation> {
        let mut report = Report::default();
        let mut explorer = Explorer::new(self);
        for seed in (0..schedules).map(|n| seed.wrapping_add(n)) {
            let outcome = explorer.run_schedule(Random::new(seed));
            let steps = outcome.map_err(|violation| Violation {
                seed: Some(seed),
                ..violation
            })?;
            report.transitions += steps;
            report.depth = report.depth.max(steps);
        }
        report.events = explorer.events;
        Ok(report)
    }

    /// Tries the schedule that follows `operations`, and then goes on without mishaps.
    ///
    /// # Errors
    ///
    /// The schedule, if it breaks a promise.
    pub fn follow(&self, operations: &[Operation]) -> Result<Report, Violation> {
        let mut explorer = Explorer::new(self);
        let steps = explorer.run_schedule(Plan::new(operations, self.roles.len()))?;
        Ok(Report {
            transitions: steps,
            depth: steps,
            events: explorer.events,
            ..Report::default()
        })
    }
}

impl<'w> Explorer<'w> {
    fn new(world: &'w World) -> Explorer<'w> {
        Explorer {
            world,
            events: Events::default(),
            recovered: Fingerprints::default(),
        }
    }

    fn explore(&mut self) -> Result<Report, Violation> {
        let mut report = Report::default();
        let first = self.world.initial();
        let mut frontier = Frontier {
            seen: Fingerprints::from_iter([fingerprint(&first)]),
            edges: Vec::new(),
            next_level: vec![(ROOT, first)],
        };
        while !frontier.next_level.is_empty() {
            for (edge, state) in std::mem::take(&mut frontier.next_level) {
                report.transitions += self.expand(&state, edge, &mut frontier)?;
            }
            report.depth += 1;
        }
        report.states = frontier.seen.len();
        report.events = self.events;
        Ok(report)
    }

    /// Takes every step that is possible in `state`.
    fn expand(
        &mut self,
        state: &State,
        from: u32,
        frontier: &mut Frontier,
    ) -> Result<usize, Violation> {
        let steps = self.steps(state);
        for step in &steps {
            let mut next = state.clone();
            if let Err(broken) = self.take(&mut next, *step, &mut Log(None)) {
                let mut path = path(&frontier.edges, from);
                path.push(*step);
                return Err(self.violation(&path, &broken));
            }
            if frontier.seen.insert(fingerprint(&next)) {
                let edge = u32::try_from(frontier.edges.len()).expect("memory has fewer states");
                frontier.edges.push(Edge { from, step: *step });
                frontier.next_level.push((edge, next));
            }
        }
        Ok(steps.len())
    }

    fn run_schedule(&mut self, mut chooser: impl Chooser) -> Result<usize, Violation> {
        let mut state = self.world.initial();
        let mut taken = Vec::new();
        while taken.len() < LONGEST {
            let Some(step) = chooser.choose(&self.steps(&state)) else {
                break;
            };
            taken.push(step);
            if let Err(broken) = self.take(&mut state, step, &mut Log(None)) {
                return Err(self.violation(&taken, &broken));
            }
        }
        Ok(taken.len())
    }

    /// Takes the steps of `path` once more, and writes the trace.
    fn violation(&self, path: &[Step], broken: &Broken) -> Violation {
        let mut log = Log(Some(Vec::new()));
        let mut again = Explorer::new(self.world);
        let mut state = self.world.initial();
        for step in path {
            if again.take(&mut state, *step, &mut log).is_err() {
                break;
            }
        }
        Violation {
            message: broken.0.to_owned(),
            trace: log.0.unwrap_or_default(),
            steps: path.len(),
            seed: None,
        }
    }
}

fn path(edges: &[Edge], mut at: u32) -> Vec<Step> {
    let mut path = Vec::new();
    while let Some(Edge { from, step }) = edges.get(usize::try_from(at).unwrap_or(usize::MAX)) {
        path.push(*step);
        at = *from;
    }
    path.reverse();
    path
}
