//! Any operations of a few clients of one object store: they acquire, commit, release, crash, pause and give
//! up, and what they send is executed and answered late, again, or never. After every step: no two clients
//! believe that they hold the lock, generations only grow, no acknowledged commit is lost, what a client
//! has released is free at once, and a client that comes later gets the lock.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use rvlf_store_schedules::{Operation, Role, World};

const TICKS: u32 = 40;

/// More clients and operations show nothing that these do not.
const CLIENTS: usize = 4;
const OPERATIONS: usize = 96;

/// Six clocks, of which no two differ in rate by more than half.
const MS_PER_TICK: [u64; 6] = [500, 500, 600, 700, 750, 750];

#[derive(Arbitrary, Debug)]
enum Deed {
    Contend { commits: u8 },
    Hold { commits: u8 },
    Break,
    BreakByForce,
}

#[derive(Arbitrary, Debug)]
struct Client {
    deed: Deed,
    clock: u8,
    rounds: u8,
}

/// What the store does, and how often what goes wrong.
#[derive(Arbitrary, Debug)]
struct Store {
    /// Whether every write may be late or lost, and else how many.
    late: Option<u8>,
    has_copies: bool,
    has_slow_reads: bool,
    has_dead_holder: bool,
    stale_reads: u8,
    refusals: u8,
    failures: u8,
    deletions: u8,
    crashes: u8,
    pauses: u8,
    impatience: (bool, bool),
}

#[derive(Arbitrary, Debug)]
struct Input {
    store: Store,
    clients: [Client; CLIENTS],
    operations: Operations,
}

/// All that the input has room for: a `Vec` of its own would end at every second one on average.
#[derive(Debug)]
struct Operations(Vec<Operation>);

impl<'a> Arbitrary<'a> for Operations {
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let next = || (!input.is_empty()).then(|| input.arbitrary());
        let operations = std::iter::from_fn(next).take(OPERATIONS);
        operations.collect::<Result<_, _>>().map(Operations)
    }
}

impl Client {
    fn role(&self) -> Role {
        let role = match self.deed {
            Deed::Contend { commits } => Role::contender().commits(commits % 8),
            Deed::Hold { commits } => Role::holder().commits(commits % 4),
            Deed::Break => Role::breaker(),
            Deed::BreakByForce => Role::force_breaker(),
        };
        let clock = usize::from(self.clock) % MS_PER_TICK.len();
        let rate = MS_PER_TICK.get(clock).copied().unwrap_or(500);
        role.rounds(self.rounds % 5).ms_per_tick(rate)
    }
}

impl Store {
    fn world(&self) -> World {
        let world = match self.late {
            None => World::with_free_writes(TICKS, u8::MAX),
            Some(late) => World::prompt(TICKS).late(late % 4),
        };
        let world = world
            .stale_reads(self.stale_reads % 3)
            .refusals(self.refusals % 4)
            .failures(self.failures % 4)
            .deletions(self.deletions % 2)
            .crashes(self.crashes % 4)
            .pauses(self.pauses % 4)
            .impatience(self.impatience.0.into(), self.impatience.1.into());
        let apply = |world: World, applies: bool, change: fn(World) -> World| match applies {
            true => change(world),
            false => world,
        };
        let world = apply(world, self.has_copies, World::with_copies);
        let world = apply(world, self.has_slow_reads, World::with_slow_reads);
        apply(world, self.has_dead_holder, World::dead_holder)
    }
}

fuzz_target!(|input: Input| {
    let clients = input.clients.iter().map(Client::role);
    let world = clients.fold(input.store.world(), World::client);
    if let Err(violation) = world.follow(&input.operations.0) {
        panic!("{violation}");
    }
});
