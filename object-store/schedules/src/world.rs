//! The declaration of a search: clients, what may go wrong, and what is left out.

use std::time::Duration;

use bytes::Bytes;

use crate::client::{self, Client};
use crate::machine::{Omission, Purpose, Rule};
use crate::state::{Slot, State};
use crate::store::{Faults, Store};

/// The lease of every lock, but for roles that have several. The request timeout is 1 s, which is the least, and so is the time between
/// two refreshes: with ticks of 1 s both are due at each.
pub(crate) const LEASE: Duration = Duration::from_secs(6);

/// What a client does.
#[derive(Clone, Copy, Debug)]
pub struct Role {
    pub(crate) ms_per_tick: u64,
    pub(crate) lease: Duration,
    pub(crate) rounds: u8,
    pub(crate) commits: u8,
    pub(crate) releases: bool,
    pub(crate) deed: Deed,
    pub(crate) inherits: Option<usize>,
}

/// What a client acquires for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Hold,
    /// Breaks a stale lock: takes it, and releases it at once.
    Break,
    /// Breaks a live lock by force: takes it, waits for the victim's lease, and releases it.
    ForceBreak,
}

impl Role {
    /// Acquires once, and holds until it crashes or loses the lock.
    #[must_use]
    pub fn holder() -> Role {
        Role {
            ms_per_tick: 2000,
            lease: LEASE,
            rounds: 1,
            commits: 0,
            releases: false,
            deed: Deed::Hold,
            inherits: None,
        }
    }

    /// Acquires once, and may release at any moment.
    #[must_use]
    pub fn contender() -> Role {
        Role {
            releases: true,
            ..Role::holder()
        }
    }

    /// Breaks a stale lock.
    #[must_use]
    pub fn breaker() -> Role {
        Role {
            deed: Deed::Break,
            ..Role::contender()
        }
    }

    /// Breaks a live lock by force.
    #[must_use]
    pub fn force_breaker() -> Role {
        Role {
            deed: Deed::ForceBreak,
            ..Role::contender()
        }
    }

    /// Acquires so many times.
    #[must_use]
    pub fn rounds(self, rounds: u8) -> Role {
        Role { rounds, ..self }
    }

    /// May commit so many times, in all rounds together.
    #[must_use]
    pub fn commits(self, commits: u8) -> Role {
        Role { commits, ..self }
    }

    /// By how much its clock moves on in a tick. The lease is 6 s.
    #[must_use]
    pub fn ms_per_tick(self, ms_per_tick: u64) -> Role {
        Role {
            ms_per_tick,
            ..self
        }
    }

    /// Has the lease of all others so many times.
    #[must_use]
    pub fn leases(self, leases: u32) -> Role {
        let lease = LEASE * leases;
        Role { lease, ..self }
    }

    /// Is a second call in the process of the client `of`, and takes the writes of that client's call
    /// for its own: the rule that attempts belong to one call, left out.
    #[must_use]
    pub fn that_inherits_attempts(self, of: usize) -> Role {
        Role {
            inherits: Some(of),
            ..self
        }
    }
}

/// How often what may happen, in one schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) writes: u8,
    pub(crate) late: u8,
    pub(crate) refusals: u8,
    pub(crate) failures: u8,
    pub(crate) stale_reads: u8,
    pub(crate) deletions: u8,
    pub(crate) crashes: u8,
    pub(crate) pauses: u8,
    pub(crate) give_ups: u8,
    pub(crate) cancels: u8,
}

/// A store, its clients, and what may happen to them.
#[derive(Clone, Debug)]
pub struct World {
    pub(crate) roles: Vec<Role>,
    pub(crate) ticks: u32,
    pub(crate) budget: Budget,
    /// Whether time passes although a write is in flight, or its answer.
    pub(crate) has_free_writes: bool,
    /// Whether a read and the arrival of its answer are two steps.
    pub(crate) has_slow_reads: bool,
    pub(crate) keeps_copies: bool,
    pub(crate) may_lose: bool,
    pub(crate) same_identity: bool,
    pub(crate) faults: Faults,
    pub(crate) omission: Omission,
    pub(crate) object: Option<Bytes>,
}

impl World {
    /// Any write is executed at any time after it was sent, or never, and its answer arrives at any time
    /// after that, or never. At most so many writes reach the store.
    #[must_use]
    pub fn with_free_writes(ticks: u32, writes: u8) -> World {
        World {
            has_free_writes: true,
            ..World::prompt(ticks).writes(writes)
        }
    }

    /// Time passes only when every client and the store have done what is due, but for mishaps that the
    /// world declares.
    #[must_use]
    pub fn prompt(ticks: u32) -> World {
        World {
            roles: Vec::new(),
            ticks,
            budget: Budget {
                writes: u8::MAX,
                ..Budget::default()
            },
            has_free_writes: false,
            has_slow_reads: false,
            keeps_copies: false,
            may_lose: true,
            same_identity: false,
            faults: Faults::default(),
            omission: Omission::default(),
            object: None,
        }
    }

    /// Adds a client.
    #[must_use]
    pub fn client(mut self, role: Role) -> World {
        self.roles.push(role);
        self
    }

    fn with(mut self, change: impl FnOnce(&mut World)) -> World {
        change(&mut self);
        self
    }

    /// After so many writes, no request to write reaches the store any more.
    #[must_use]
    pub fn writes(self, writes: u8) -> World {
        self.with(|world| world.budget.writes = writes)
    }

    /// So many requests or answers are late, or lost.
    #[must_use]
    pub fn late(self, late: u8) -> World {
        self.with(|world| world.budget.late = late)
    }

    /// So many writes are answered as refused, that are not done, or that are.
    #[must_use]
    pub fn refusals(self, refusals: u8) -> World {
        self.with(|world| world.budget.refusals = refusals)
    }

    /// So many requests fail; a write that failed may have been done, and may be done later.
    #[must_use]
    pub fn failures(self, failures: u8) -> World {
        self.with(|world| world.budget.failures = failures)
    }

    /// So many reads show an earlier state.
    #[must_use]
    pub fn stale_reads(self, stale_reads: u8) -> World {
        self.with(|world| world.budget.stale_reads = stale_reads)
    }

    /// The object is deleted so many times.
    #[must_use]
    pub fn deletions(self, deletions: u8) -> World {
        self.with(|world| world.budget.deletions = deletions)
    }

    /// Clients crash so many times. One that acquires several times begins anew, as another process.
    #[must_use]
    pub fn crashes(self, crashes: u8) -> World {
        self.with(|world| world.budget.crashes = crashes)
    }

    /// Clients pause so many times.
    #[must_use]
    pub fn pauses(self, pauses: u8) -> World {
        self.with(|world| world.budget.pauses = pauses)
    }

    /// So many callers of a commit stop waiting, and so many of an acquisition.
    #[must_use]
    pub fn impatience(self, give_ups: u8, cancels: u8) -> World {
        self.with(|world| {
            world.budget.give_ups = give_ups;
            world.budget.cancels = cancels;
        })
    }

    /// Every write may be executed again, at any time and any number of times.
    #[must_use]
    pub fn with_copies(self) -> World {
        self.with(|world| world.keeps_copies = true)
    }

    /// The answer of a read arrives at any time in the tick after the read.
    #[must_use]
    pub fn with_slow_reads(self) -> World {
        self.with(|world| world.has_slow_reads = true)
    }

    /// No client may lose its lock here: the search reports a loss.
    #[must_use]
    pub fn without_loss(self) -> World {
        self.with(|world| world.may_lose = false)
    }

    /// What is at the key in the beginning.
    #[must_use]
    pub fn object(self, object: Bytes) -> World {
        self.with(|world| world.object = Some(object))
    }

    /// A holder has died before the search begins.
    #[must_use]
    pub fn dead_holder(self) -> World {
        self.object(client::dead_record())
    }

    /// Leaves a rule of the machine out.
    #[must_use]
    pub fn without(self, rule: Rule) -> World {
        self.with(|world| world.omission = Omission::of(rule))
    }

    /// The store ignores the condition of writes for this purpose.
    #[must_use]
    pub fn ignoring_condition_of(self, purpose: Purpose) -> World {
        self.with(|world| world.faults.ignores_condition = Some(purpose))
    }

    /// A release deletes the object, whatever it is, in place of the tombstone.
    #[must_use]
    pub fn deleting_at_release(self) -> World {
        self.with(|world| world.faults.deletes_at_release = true)
    }

    /// All clients have the same writer id and the same randomness.
    #[must_use]
    pub fn with_equal_bytes(self) -> World {
        self.with(|world| world.same_identity = true)
    }

    pub(crate) fn role(&self, client: usize) -> &Role {
        self.roles.get(client).expect("a client of this world")
    }

    pub(crate) fn initial(&self) -> State {
        State {
            tick: 0,
            store: Store {
                object: self.object.clone(),
                past: Vec::new(),
            },
            flights: Vec::new(),
            clients: self
                .roles
                .iter()
                .map(|role| Slot::new(Client::new(role)))
                .collect(),
            budget: self.budget,
            acknowledged: Vec::new(),
            not_in: Vec::new(),
            generation: 0,
            was_deleted: false,
        }
    }
}
