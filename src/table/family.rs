//! Who delegated to whom: which entries of a table are ancestors of which.

use std::collections::HashMap;

use super::entry::Entry;

/// The ancestors of every name of a table, prepared in time in proportion to the table.
///
/// The parents form a forest. Foreign programs may also write a cycle of parents, whose members are
/// ancestors of each other: a cycle counts as one node. A walk through the forest that numbers each
/// node when it comes to it shows an ancestor by two comparisons: the numbers below a node are those
/// from its own to its last.
pub(super) struct Family<'a> {
    ids: HashMap<&'a str, usize>,
    nodes: Vec<Node>,
}

/// The place of a name among its ancestors.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Node {
    first: usize,
    last: usize,
}

impl Node {
    /// Whether this is `ancestor`, or stands below it.
    pub(super) fn is_within(self, ancestor: Node) -> bool {
        (ancestor.first..=ancestor.last).contains(&self.first)
    }
}

impl<'a> Family<'a> {
    /// If several entries have one name, the parent of the last one counts.
    pub(super) fn of(entries: &'a [Entry]) -> Family<'a> {
        let mut ids = HashMap::with_capacity(entries.len());
        for (id, entry) in entries.iter().enumerate() {
            ids.insert(entry.name.as_str(), id);
        }
        let parent_of = |(id, entry): (usize, &Entry)| {
            let counts = ids.get(entry.name.as_str()) == Some(&id);
            let parent = entry.parent.as_deref().filter(|_| counts)?;
            ids.get(parent).copied()
        };
        let parents: Vec<Option<usize>> = entries.iter().enumerate().map(parent_of).collect();
        let nodes = number(&parents, &representatives(&parents));
        Family { ids, nodes }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.ids.contains_key(name)
    }

    /// The place of `name`, which has an entry.
    pub(super) fn node(&self, name: &str) -> Node {
        let node = self.ids.get(name).and_then(|id| self.nodes.get(*id));
        node.copied().unwrap_or_default()
    }

    /// Whether `name` is `ancestor`, or stands below it. Both have entries.
    pub(super) fn is_within(&self, name: &str, ancestor: &str) -> bool {
        self.node(name).is_within(self.node(ancestor))
    }
}

fn parent(parents: &[Option<usize>], id: usize) -> Option<usize> {
    parents.get(id).copied().flatten()
}

/// For each member of a cycle the one that stands for all of them; for the others themselves.
fn representatives(parents: &[Option<usize>]) -> Vec<usize> {
    let mut representatives: Vec<usize> = (0..parents.len()).collect();
    // The walk in which each was met: none is walked through twice.
    let mut met: Vec<Option<usize>> = vec![None; parents.len()];
    for start in 0..parents.len() {
        let mut next = Some(start);
        while let Some(slot) = next
            .and_then(|id| met.get_mut(id))
            .filter(|met| met.is_none())
        {
            *slot = Some(start);
            next = next.and_then(|id| parent(parents, id));
        }
        // Met in this very walk: the walk has come back to it.
        let came_back = |id: &usize| met.get(*id).copied().flatten() == Some(start);
        let Some(first) = next.filter(came_back) else {
            continue;
        };
        let mut member = parent(parents, first);
        while let Some(id) = member.filter(|id| *id != first) {
            if let Some(representative) = representatives.get_mut(id) {
                *representative = first;
            }
            member = parent(parents, id);
        }
    }
    representatives
}

/// Numbers the nodes of the forest, each before those below it.
fn number(parents: &[Option<usize>], representatives: &[usize]) -> Vec<Node> {
    let representative = |id: usize| representatives.get(id).copied().unwrap_or(id);
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); parents.len()];
    let mut stack = Vec::new();
    for id in (0..parents.len()).filter(|id| representative(*id) == *id) {
        let above = parent(parents, id).map(representative);
        // The parent of a cycle's representative is a member of the cycle.
        match above
            .filter(|above| *above != id)
            .and_then(|above| children.get_mut(above))
        {
            Some(siblings) => siblings.push(id),
            None => stack.push((id, false)),
        }
    }
    let mut nodes = vec![Node::default(); parents.len()];
    let mut count = 0;
    // Not by recursion: a chain of delegations may be longer than the stack of a thread is deep.
    while let Some((id, is_left)) = stack.pop() {
        let Some(node) = nodes.get_mut(id) else {
            continue;
        };
        if is_left {
            node.last = count - 1;
            continue;
        }
        node.first = count;
        count += 1;
        stack.push((id, true));
        let below = children.get(id).into_iter().flatten();
        stack.extend(below.map(|child| (*child, false)));
    }
    for (id, representative) in representatives.iter().enumerate() {
        let node = nodes.get(*representative).copied().unwrap_or_default();
        if let Some(member) = nodes.get_mut(id) {
            *member = node;
        }
    }
    nodes
}
