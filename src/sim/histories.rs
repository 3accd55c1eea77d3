//! The histories of all programs, as trees that grow while they are explored.
//!
//! A node is one history of one program. Each history is executed once. Two histories are merged
//! where a round of a loop begins with the same memory: from there on both go on alike.

use std::collections::HashMap;
use std::sync::Arc;

use super::call::{Call, Reply};
use super::kernel::{Kernel, Rules};
use super::process::{Exchange, Live, Next, Program, Run, execute};

/// Names one history of one program.
pub(super) type NodeId = usize;

/// Panic message for the case that two merged histories go on differently.
pub(super) const MERGE_DIVERGED: &str = "a loop remembers more than it declares";

pub(super) struct Histories {
    programs: Vec<Program>,
    roots: Vec<NodeId>,
    nodes: Vec<Node>,
    children: HashMap<(NodeId, Reply), NodeId>,
    /// Rounds of loops, by the history before the loop and the memory that the round begins with.
    rounds: HashMap<(NodeId, u128), NodeId>,
    rules: Arc<Rules>,
}

struct Node {
    program: usize,
    /// The number of replies in the history.
    depth: usize,
    /// The history without its last exchange, and that exchange. `None` for the empty history.
    parent: Option<(NodeId, Arc<Exchange>)>,
    next: Next,
}

impl Histories {
    pub(super) fn new(programs: Vec<Program>, rules: Rules) -> Histories {
        let mut histories = Histories {
            programs,
            roots: Vec::new(),
            nodes: Vec::new(),
            children: HashMap::new(),
            rounds: HashMap::new(),
            rules: Arc::new(rules),
        };
        histories.roots = (0..histories.programs.len())
            .map(|program| histories.add_root(program))
            .collect();
        histories
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The empty history of a program.
    pub(super) fn root(&self, program: usize) -> NodeId {
        *self.roots.get(program).expect("every program has a root")
    }

    pub(super) fn next(&self, node: NodeId) -> &Next {
        &self.node(node).next
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The history that goes on with `reply`. If it has not been executed before, the same run also
    /// executes the private calls that follow, on the kernel of `live`, for the process that it
    /// names: that saves as many runs from the beginning.
    pub(super) fn after(
        &mut self,
        node: NodeId,
        reply: Reply,
        live: Option<(&mut Kernel, usize)>,
    ) -> NodeId {
        if let Some(child) = self.children.get(&(node, reply.clone())) {
            return *child;
        }
        let mut history = self.history(node);
        history.push(Arc::new(self.exchange(node, reply.clone())));
        if let Some(merged) = self.merge_target(node) {
            let Run { next, .. } = self.execute(node, history, None);
            return self.merge(node, reply, merged, &next);
        }
        let depth = history.len();
        let run = match live {
            Some((kernel, pid_index)) => {
                let live = Live {
                    kernel: std::mem::replace(kernel, Kernel::new()),
                    pid_index,
                };
                let mut run = self.execute(node, history, Some(live));
                *kernel = run.live.take().expect("a run returns its kernel").kernel;
                run
            }
            None => self.execute(node, history, None),
        };
        self.add_path(
            node,
            reply,
            run.history.get(depth..).unwrap_or_default(),
            &run.next,
        )
    }

    /// Adds the history that goes on with `reply`, then with all of `exchanges`, and then with
    /// `last`.
    fn add_path(
        &mut self,
        node: NodeId,
        reply: Reply,
        exchanges: &[Arc<Exchange>],
        last: &Next,
    ) -> NodeId {
        let mut at = node;
        let mut reply = reply;
        for exchange in exchanges {
            at = self.step(at, reply, Next::Call(exchange.call.clone()));
            reply = exchange.reply.clone();
        }
        self.step(at, reply, last.clone())
    }

    /// The history one reply on, where `next` follows.
    fn step(&mut self, node: NodeId, reply: Reply, next: Next) -> NodeId {
        let known = self.children.get(&(node, reply.clone())).copied();
        match known.or_else(|| self.merge_target(node)) {
            Some(known) => self.merge(node, reply, known, &next),
            None => self.add_child(node, reply, next),
        }
    }

    /// Lets the history that goes on with `reply`, and then with `next`, be the one of `merged`.
    fn merge(&mut self, node: NodeId, reply: Reply, merged: NodeId, next: &Next) -> NodeId {
        assert_eq!(self.next(merged), next, "{MERGE_DIVERGED}");
        self.children.insert((node, reply), merged);
        merged
    }

    fn add_child(&mut self, node: NodeId, reply: Reply, next: Next) -> NodeId {
        let Node { program, depth, .. } = *self.node(node);
        let exchange = Arc::new(self.exchange(node, reply.clone()));
        let child = self.nodes.len();
        self.nodes.push(Node {
            program,
            depth: depth + 1,
            parent: Some((node, exchange)),
            next,
        });
        self.children.insert((node, reply), child);
        if let Some(round) = self.round(node) {
            self.rounds.insert(round, child);
        }
        child
    }

    fn add_root(&mut self, program: usize) -> NodeId {
        let run = execute(self.program(program), &self.rules, Vec::new(), None);
        self.nodes.push(Node {
            program,
            depth: 0,
            parent: None,
            next: run.next,
        });
        self.nodes.len() - 1
    }

    /// The first history that reached, with the same memory, the round that begins after `node`.
    fn merge_target(&self, node: NodeId) -> Option<NodeId> {
        self.rounds.get(&self.round(node)?).copied()
    }

    /// If a round begins after `node`: the history before its loop, and the round's memory.
    fn round(&self, node: NodeId) -> Option<(NodeId, u128)> {
        let Next::Call(Call::BeginRound(loop_depth, memory)) = *self.next(node) else {
            return None;
        };
        if self.rules.no_merging {
            return None;
        }
        let mut entry = node;
        while self.node(entry).depth > loop_depth {
            let parent = &self.node(entry).parent;
            (entry, _) = *parent
                .as_ref()
                .expect("only an empty history has no parent");
        }
        Some((entry, memory))
    }

    fn exchange(&self, node: NodeId, reply: Reply) -> Exchange {
        match self.next(node) {
            Next::Call(call) => Exchange {
                call: call.clone(),
                reply,
            },
            Next::Returned | Next::Panicked(_) => unreachable!("only calls have replies"),
        }
    }

    fn history(&self, node: NodeId) -> Vec<Arc<Exchange>> {
        let parent = |node: NodeId| self.node(node).parent.clone();
        let exchanges = std::iter::successors(parent(node), |(node, _)| parent(*node));
        let mut history: Vec<_> = exchanges.map(|(_, exchange)| exchange).collect();
        history.reverse();
        history
    }

    /// Runs the program of `node`.
    fn execute(&self, node: NodeId, history: Vec<Arc<Exchange>>, live: Option<Live>) -> Run {
        let program = self.program(self.node(node).program);
        execute(program, &self.rules, history, live)
    }

    fn program(&self, program: usize) -> &Program {
        let program = self.programs.get(program);
        program.expect("nodes belong to programs of this world")
    }

    fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(id).expect("nodes are never removed")
    }
}
