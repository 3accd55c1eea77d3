//! The recipe of docs/fencing.md, searched: the code of `examples/numbered_manifests/row.rs` in every
//! schedule of a few processes that no lock keeps apart, with requests that are sent twice or done late,
//! old listings, and crashes.
//!
//! After every step the search checks: what was acknowledged is in the row; every manifest of the row
//! continues its predecessor, so that nothing in it is overwritten; the data of the newest manifest
//! exists; who was overtaken is not in the row; a reader sees the row alone. Each rule that is left out
//! breaks one of these.

mod model;
#[path = "../../examples/numbered_manifests/row.rs"]
mod row;

use model::{Mishaps, Program, Weakness, World};

const NO_MISHAP: Mishaps = Mishaps {
    stale: 0,
    lost_answers: 0,
    late: 0,
    crashes: 0,
};
const STALE: Mishaps = Mishaps {
    stale: 1,
    ..NO_MISHAP
};
const LOST_ANSWER: Mishaps = Mishaps {
    lost_answers: 1,
    ..NO_MISHAP
};
const LATE: Mishaps = Mishaps {
    late: 1,
    ..NO_MISHAP
};
const CRASH: Mishaps = Mishaps {
    crashes: 1,
    ..NO_MISHAP
};
const ONE_OF_EACH: Mishaps = Mishaps {
    stale: 1,
    lost_answers: 1,
    late: 1,
    crashes: 1,
};

/// Each writer as (attempts, commits of each).
fn writers(writers: &[(u8, u8)]) -> Vec<Program> {
    let write = |(attempts, commits): &(u8, u8)| Program::Write {
        attempts: *attempts,
        commits: *commits,
    };
    writers.iter().map(write).collect()
}

/// Searches with blocks of one number, where each number is freed at once, and of two.
fn every_promise_is_kept(programs: &[Program], mishaps: &[Mishaps]) {
    for (mishaps, block_len) in mishaps
        .iter()
        .flat_map(|mishaps| [(mishaps, 1), (mishaps, 2)])
    {
        let world = World {
            block_len,
            programs: programs.to_vec(),
            mishaps: *mishaps,
            weakness: None,
        };
        match world.explore() {
            Ok(states) => {
                println!("{programs:?}, {mishaps:?}, blocks of {block_len}: {states} states")
            }
            Err(violation) => panic!("blocks of {block_len}, {mishaps:?}: \n{violation}"),
        }
    }
}

/// The promise that the weakness breaks.
fn broken(weakness: Weakness, programs: &[Program], mishaps: Mishaps) -> String {
    let world = World {
        block_len: 1,
        programs: programs.to_vec(),
        mishaps,
        weakness: Some(weakness),
    };
    let violation = world.explore().expect_err("the search finds the harm");
    println!("{weakness:?}: \n{violation}");
    violation.promise
}

#[test]
fn no_acknowledged_commit_is_lost_whatever_one_mishap_does_to_two_writers() {
    let mishaps = [NO_MISHAP, STALE, LOST_ANSWER, LATE, CRASH];
    every_promise_is_kept(&writers(&[(1, 1), (1, 1)]), &mishaps);
    every_promise_is_kept(&writers(&[(1, 2), (1, 1)]), &[NO_MISHAP, STALE, CRASH]);
}

#[test]
fn a_writer_that_slept_through_two_holds_loses_nothing() {
    every_promise_is_kept(&writers(&[(2, 1), (1, 0)]), &[NO_MISHAP]);
}

#[test]
fn a_reader_sees_the_row_alone() {
    every_promise_is_kept(&beside_a_reader(), &[NO_MISHAP]);
}

fn beside_a_reader() -> Vec<Program> {
    let mut programs = writers(&[(1, 1), (1, 0)]);
    programs.push(Program::Read { attempts: 1 });
    programs
}

#[test]
#[ignore = "minutes, and gigabytes of memory"]
fn no_acknowledged_commit_is_lost_in_larger_worlds() {
    every_promise_is_kept(&beside_a_reader(), &[STALE]);
    every_promise_is_kept(&writers(&[(2, 1), (1, 0)]), &[STALE, LOST_ANSWER, LATE]);
    every_promise_is_kept(&writers(&[(1, 2), (1, 2)]), &[STALE, LOST_ANSWER, LATE]);
    every_promise_is_kept(&writers(&[(1, 1), (1, 0), (1, 0)]), &[NO_MISHAP, LATE]);
    every_promise_is_kept(&writers(&[(1, 1), (1, 0)]), &[ONE_OF_EACH]);
}

// The number that the process adds was freed: exclusive creation alone is no fence.
#[test]
fn without_the_look_for_the_mark_a_commit_behind_the_newest_is_acknowledged() {
    let programs = writers(&[(1, 2), (1, 0)]);
    for weakness in [Weakness::NoLook, Weakness::OldLook, Weakness::MarkLater] {
        let promise = broken(weakness, &programs, NO_MISHAP);
        assert!(promise.starts_with("acknowledged, and not in the row"));
    }
}

// A list that shows one moment would do in place of the mark; directories are not listed in one moment.
#[test]
fn a_list_after_each_link_in_place_of_the_mark_misses_a_busy_writer() {
    let programs = writers(&[(2, 1), (1, 0)]);
    let world = World {
        block_len: 1,
        programs: programs.clone(),
        mishaps: NO_MISHAP,
        weakness: Some(Weakness::ListAgain),
    };
    world.explore().expect("a list of one moment is enough");
    let promise = broken(Weakness::SlowListAgain, &programs, NO_MISHAP);
    assert!(promise.starts_with("acknowledged, and not in the row"));
}

#[test]
fn taking_every_taken_number_for_ones_own_acknowledges_what_was_refused() {
    let promise = broken(Weakness::TakenIsOwn, &writers(&[(1, 0), (1, 0)]), NO_MISHAP);
    assert!(promise.starts_with("acknowledged, and not in the row"));
}

#[test]
fn taking_every_taken_number_for_another_process_refuses_what_is_in_the_row() {
    let lonely = writers(&[(1, 0)]);
    let promise = broken(Weakness::TakenIsForeign, &lonely, LOST_ANSWER);
    assert!(promise.starts_with("refused, and in the row"));
}

// The tempting form, with the trace of docs/fencing.md.
#[test]
fn names_for_each_generation_let_an_old_holder_commit_after_the_claim() {
    let programs = writers(&[(1, 1), (1, 0)]);
    let promise = broken(Weakness::NamesPerGeneration, &programs, NO_MISHAP);
    assert!(promise.starts_with("acknowledged, and not in the row"));
}

#[test]
fn data_that_is_removed_after_an_unsettled_commit_is_missing() {
    let promise = broken(Weakness::LoserCleansUp, &writers(&[(1, 1)]), LATE);
    assert!(promise.starts_with("the newest manifest names"));
}

#[test]
fn a_holder_that_slept_and_removes_all_other_data_removes_its_successors() {
    let programs = writers(&[(1, 1), (1, 1)]);
    let promise = broken(Weakness::RemoveAllOtherData, &programs, NO_MISHAP);
    assert!(promise.starts_with("the newest manifest names"));
}
