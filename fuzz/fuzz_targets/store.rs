//! Any schedule of a few clients of one object store: the first bytes choose the clients, and what may go
//! wrong; the other bytes are the schedule.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rvlf_store_schedules::{Role, World};

const TICKS: u32 = 40;

/// Six clocks, of which no two differ in rate by more than half.
const MS_PER_TICK: [u64; 6] = [500, 500, 600, 700, 750, 750];

fn client(choice: u8) -> Role {
    let role = match choice % 8 {
        0..=3 => Role::contender().commits(choice / 8 % 8),
        4 => Role::holder().commits(3),
        5 => Role::holder(),
        6 => Role::breaker(),
        _ => Role::force_breaker(),
    };
    let rate = MS_PER_TICK.get(usize::from(choice / 8 % 6));
    let rate = rate.copied().unwrap_or(500);
    role.rounds(1 + choice / 64).ms_per_tick(rate)
}

fn world(kind: u8, mishaps: u8) -> World {
    let of = |shift: u8| mishaps >> shift & 3;
    let world = match kind & 1 {
        0 => World::with_free_writes(TICKS, u8::MAX),
        _ => World::prompt(TICKS).late(of(0)),
    };
    let world = world.refusals(of(2)).failures(of(4)).crashes(of(6));
    let world = world
        .pauses(kind >> 1 & 3)
        .impatience(kind >> 3 & 1, kind >> 4 & 1);
    match kind >> 5 {
        0 => world.with_copies(),
        1 => world.stale_reads(2),
        2 => world.with_slow_reads(),
        3 => world.deletions(1),
        4 => world.with_copies().stale_reads(2).with_slow_reads(),
        5 => world.dead_holder(),
        _ => world,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let [kind, mishaps, clients, rest @ ..] = bytes else {
        return;
    };
    let clients = 1 + usize::from(clients % 5);
    let Some((choices, schedule)) = rest.split_at_checked(clients) else {
        return;
    };
    let world = world(*kind, *mishaps);
    let world = choices
        .iter()
        .fold(world, |world, choice| world.client(client(*choice)));
    if let Err(violation) = world.replay(schedule) {
        panic!("{violation}");
    }
});
