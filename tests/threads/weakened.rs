//! Changes that weaken the library or the object-store lock, and the test that finds each.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

struct Weakened {
    /// What is left out.
    what: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
    found_by: &'static str,
}

const KEEPALIVE: &str = "src/protocol/keepalive.rs";
const HOLD: &str = "src/protocol/hold.rs";
const CALLBACK: &str = "src/protocol/callback.rs";
const TASK: &str = "src/task.rs";
const STORE_ACQUIRING: &str = "object-store/src/driver/acquiring.rs";
const STORE_HOLDING: &str = "object-store/src/driver/holding.rs";
const STORE_KEEPALIVE: &str = "object-store/src/keepalive.rs";
const STORE_LOCK: &str = "object-store/src/lock.rs";
const STORE_SHARED: &str = "object-store/src/shared.rs";

// Not among them: that a waiter looks again after its watch is armed (`LookAfterWatch`). Where a holder releases
// in between, the waiter's own close of the removed file is the event that wakes it; the simulated kernel has
// the death for which the look is needed.
const WEAKENED: [Weakened; 33] = [
    Weakened {
        what: "a wait that ends without a lock wakes the thread",
        file: KEEPALIVE,
        from: "self.keepalive.changed.notify_one();",
        to: "",
        found_by: "keepalive::a_wait_that_ends_without_a_lock_leaves_no_thread",
    },
    Weakened {
        what: "a lock that is due earlier wakes the thread",
        file: KEEPALIVE,
        from: "self.changed.notify_one();",
        to: "",
        found_by: "keepalive::each_lock_is_refreshed_at_its_time_beside_others",
    },
    Weakened {
        what: "the thread notes that it ends",
        file: KEEPALIVE,
        from: "state.wakes_at = moments.filter(|at| *at > now).min();
            let Some(wakes_at) = state.wakes_at else {",
        to: "let wakes_at = moments.filter(|at| *at > now).min();
            state.wakes_at = wakes_at.or(announced);
            let Some(wakes_at) = wakes_at else {",
        found_by: "keepalive::a_lock_that_comes_when_the_thread_ends_is_refreshed",
    },
    Weakened {
        what: "a worker looks for a last job before it ends",
        file: KEEPALIVE,
        from: "match jobs.try_recv() {",
        to: "match Err::<(Key, Job), _>(TryRecvError::Empty) {",
        found_by: "keepalive::a_refresh_that_is_due_when_its_worker_ends_is_made",
    },
    Weakened {
        what: "the scheduling thread refreshes where no worker can be started",
        file: KEEPALIVE,
        from: "drop(workers);
            self.refresh_here(key, &job);
        }
    }",
        to: "}
    }",
        found_by: "keepalive::a_lock_is_refreshed_although_no_worker_can_be_started",
    },
    Weakened {
        what: "a thread that cannot be started is an error",
        file: KEEPALIVE,
        from: "state.schedule.remove(key);
                    return Err(error);",
        to: "drop(error);",
        found_by: "keepalive::a_lock_whose_thread_cannot_be_started_is_not_acquired_and_spoils_no_other",
    },
    Weakened {
        what: "a child leaves its parent's schedule alone",
        file: KEEPALIVE,
        from: "if self.keepalive.is_of_this_process() {",
        to: "{",
        found_by: "forks::a_childs_copy_of_a_lock_that_is_refreshed_neither_hangs_nor_releases_it",
    },
    Weakened {
        what: "a child has a keepalive of its own",
        file: KEEPALIVE,
        from: "if found.process == process {",
        to: "{",
        found_by: "forks::a_child_acquires_and_refreshes_a_lock_of_its_own",
    },
    Weakened {
        what: "the drop of a guard releases",
        file: "src/lock.rs",
        from: "self.registration = None;
        // The keepalive thread may be refreshing this lock at this moment and keep it alive:
        // release the lock now, not when that refresh has ended.
        let _ = self.held.release(&Patience::NONE);",
        to: "self.registration = None;
        let _ = &Patience::NONE;",
        found_by: "guard::a_lock_that_is_dropped_during_a_refresh_is_free_at_once",
    },
    Weakened {
        what: "a loss is noted under the mutex under which it was looked for",
        file: HOLD,
        from: "        let loss = &mut lock(&self.status).loss;
        match loss {
            Some(earlier) if earlier.is_final() || !reason.is_final() => Err(earlier.clone()),
            _ => Ok(loss.replace(reason.clone())),",
        to: "        let seen = lock(&self.status).loss.clone();
        match &seen {
            Some(earlier) if earlier.is_final() || !reason.is_final() => Err(earlier.clone()),
            _ => {
                lock(&self.status).loss = Some(reason.clone());
                Ok(seen)
            }",
        found_by: "guard::a_loss_is_reported_once_however_many_threads_find_it",
    },
    Weakened {
        what: "a callback runs on a thread of its own",
        file: HOLD,
        from: "reserved.call(on_lost, self.lost(reason.clone()));",
        to: "let _ = || reserved.call(on_lost, self.lost(reason.clone()));
            on_lost(&self.lost(reason.clone()));",
        found_by: "guard::a_callback_is_called_on_a_thread_of_its_own",
    },
    Weakened {
        what: "a child takes no mutex of the hold",
        file: HOLD,
        from: "let file = try_lock(&self.file).and_then(|mut file| file.take());",
        to: "let file = lock(&self.file).take();",
        found_by: "forks::a_childs_copy_of_a_lock_that_is_refreshed_neither_hangs_nor_releases_it",
    },
    Weakened {
        what: "a lent lock waits for who has the descriptor",
        file: HOLD,
        from: "None if self.is_lent() &&",
        to: "None if false && self.is_lent() &&",
        found_by: "guard::what_one_thread_lends_while_another_drops_the_lock_is_held_until_it_is_closed",
    },
    Weakened {
        what: "a reserved thread calls where no other can be started",
        file: CALLBACK,
        from: "let _ = self.0.send(Box::new(call(lost)));",
        to: "let _: Box<dyn FnOnce() + Send> = Box::new(call(lost));",
        found_by: "guard::a_callback_may_drop_the_lock_also_when_no_thread_can_be_started",
    },
    Weakened {
        what: "a child keeps its copy of the channel to the reserved thread",
        file: HOLD,
        from: "std::mem::forget(self.reserved.get().cloned());",
        to: "drop(self.reserved.get().cloned());",
        found_by: "forks::a_childs_copy_of_a_lock_with_a_callback_does_not_hang",
    },
    Weakened {
        what: "a child does not wait for the mutex of the reserved thread",
        file: CALLBACK,
        from: "= try_lock(&SHARED) else",
        to: "= try_lock(&SHARED).or_else(|| Some(crate::sync::lock(&SHARED))) else",
        found_by: "forks::a_child_acquires_and_refreshes_a_lock_of_its_own",
    },
    Weakened {
        what: "a child does not wait for the mutex of the own holds",
        file: "src/sys/own_holds.rs",
        from: "            thread::yield_now();",
        to: "            thread::yield_now();
            return Some(crate::sync::lock(&self.0));",
        found_by: "forks::a_child_that_waits_for_its_parents_lock_is_refused_in_time",
    },
    Weakened {
        what: "what no caller wants any more is dropped",
        file: TASK,
        from: "return self.discard_result(result);",
        to: "return mem::forget(result);",
        found_by: "cancellation::a_future_that_is_dropped_leaves_the_lock_free",
    },
    Weakened {
        what: "the drop of a future waits for no thread",
        file: TASK,
        from: "let ended = try_lock(&self.state).map(|mut state| mem::replace(&mut *state, State::Closed));",
        to: "let ended = Some(self.close());",
        found_by: "forks::a_child_drops_its_copy_of_a_future_of_its_parent",
    },
    Weakened {
        what: "the latest waker replaces the one before",
        file: TASK,
        from: "let earlier = registered.replace(waker);",
        to: "let earlier = match registered {
                Some(_) => Some(waker),
                None => registered.replace(waker),
            };",
        found_by: "cancellation::a_future_is_woken_by_its_latest_waker_when_the_lock_is_there",
    },
    Weakened {
        what: "a latch that is set fills its pipe",
        file: "src/sys/latch.rs",
        from: "if !was_set {",
        to: "if was_set {",
        found_by: "cancellation::a_cancelled_wait_ends_at_once",
    },
    Weakened {
        what: "the drop of a guard of the object-store lock releases",
        file: STORE_LOCK,
        from: "let _ = self.events.send(Event::Dropped);",
        to: "",
        found_by: "guards::a_lock_that_is_dropped_during_a_refresh_is_free_at_once",
    },
    Weakened {
        what: "a belief that has ended is not prolonged",
        file: STORE_SHARED,
        from: "|now| (now != OVER).then_some(until)",
        to: "|_| Some(until)",
        found_by: "losses::belief_that_a_caller_saw_end_does_not_return",
    },
    Weakened {
        what: "a caller that sees the belief end ends it for all",
        file: STORE_SHARED,
        from: ".compare_exchange(until, OVER, new, relaxed);",
        to: ".compare_exchange(until, until, new, relaxed);",
        found_by: "losses::belief_that_a_caller_saw_end_does_not_return",
    },
    Weakened {
        what: "the machine learns of a loss that a caller saw",
        file: STORE_HOLDING,
        from: "steps.extend(self.hold.expire(&at));",
        to: "",
        found_by: "losses::a_loss_that_one_caller_saw_reaches_all_others",
    },
    Weakened {
        what: "a write answers only the checks that came before it",
        file: STORE_HOLDING,
        from: "for check in mem::take(&mut self.under_way) {",
        to: "for check in self.under_way.drain(..).chain(mem::take(&mut self.waiting)) {",
        found_by: "guards::a_check_that_begins_after_the_object_is_gone_fails",
    },
    Weakened {
        what: "those who wait for a check see the loss",
        file: STORE_HOLDING,
        from: "self.checks = Checks::default();",
        to: "",
        found_by: "guards::a_check_that_begins_after_the_object_is_gone_fails",
    },
    Weakened {
        what: "those who wait for the loss see it",
        file: STORE_HOLDING,
        from: "self.shared.lose(loss.into());",
        to: "",
        found_by: "losses::a_loss_is_noticed_at_its_time_although_a_request_hangs",
    },
    Weakened {
        what: "a hold that was given up is dead to its process",
        file: "object-store/src/own_holds.rs",
        from: "push_bounded(&mut self.dead, id);",
        to: "",
        found_by: "guards::a_lock_whose_release_is_lost_is_taken_at_once_by_its_own_process",
    },
    Weakened {
        what: "a lock whose caller has left is released",
        file: STORE_ACQUIRING,
        from: "Some(reply) => drop(reply.send(Ok(Some(lock)))),",
        to: "Some(reply) => std::mem::forget(reply.send(Ok(Some(lock)))),",
        found_by: "cancellation::an_acquisition_whose_future_is_dropped_leaves_the_lock_free",
    },
    Weakened {
        what: "a lock whose acquisition was cancelled is released",
        file: STORE_ACQUIRING,
        from: "None => drop(lock),",
        to: "None => std::mem::forget(lock),",
        found_by: "cancellation::an_acquisition_that_is_cancelled_is_handed_out_or_leaves_the_lock_free",
    },
    Weakened {
        what: "a child has a thread of its own for its locks",
        file: STORE_KEEPALIVE,
        from: "if keepalive.process == process =>",
        to: "if process == process =>",
        found_by: "forks::a_childs_copy_of_a_lock_neither_hangs_nor_releases_it_and_the_child_acquires_its_own",
    },
    Weakened {
        what: "a child knows that its parent holds the lock",
        file: STORE_KEEPALIVE,
        from: "self.process.is_current()",
        to: "self.process == self.process",
        found_by: "forks::a_childs_copy_of_a_lock_neither_hangs_nor_releases_it_and_the_child_acquires_its_own",
    },
];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

impl Weakened {
    /// The package of the tests.
    fn package(&self) -> &'static str {
        match self.file.starts_with("object-store/") {
            true => "rvlf-store-threads",
            false => "rvlf-threads",
        }
    }

    /// The file as it is, and as this change leaves it.
    fn texts(&self) -> (String, String) {
        let text = fs::read_to_string(repository().join(self.file)).expect("the file exists");
        let places = text.matches(self.from).count();
        assert_eq!(
            places, 1,
            "{}: {} has it {places} times",
            self.what, self.file
        );
        let weakened = text.replace(self.from, self.to);
        (text, weakened)
    }
}

// A change that does not apply any more weakens nothing.
#[test]
fn each_weakened_form_applies() {
    for weakened in WEAKENED {
        weakened.texts();
    }
}

/// Runs the test in the tree; whether it builds, and whether it passes.
fn passes(tree: &Path, weakened: &Weakened) -> (bool, bool) {
    let test = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO"))
            .args([
                "test",
                "--offline",
                "--quiet",
                "-p",
                weakened.package(),
                "--test",
                "threads",
            ])
            .args(arguments)
            .current_dir(tree)
            .env("CARGO_TARGET_DIR", tree.with_file_name("target"))
            .env("RVLF_SCHEDULES", "1000")
            .output();
        output.expect("cargo can be started").status.success()
    };
    (
        test(&["--no-run"]),
        test(&["--", "--exact", weakened.found_by]),
    )
}

// Each weakened form is built and tested, which takes minutes.
#[test]
#[ignore = "builds the library once for each"]
fn each_weakened_form_is_found() {
    let tree = Path::new(env!("CARGO_TARGET_TMPDIR")).join("weakened/tree");
    fs::create_dir_all(&tree).expect("there is room");
    let script = "tar -C \"$0\" --exclude=./target --exclude=./.git -c . | tar -C \"$1\" -x";
    let copied = Command::new("sh")
        .args(["-c", script])
        .arg(repository())
        .arg(&tree)
        .status();
    assert!(copied.is_ok_and(|status| status.success()), "tar copies");
    let mut missed = Vec::new();
    for weakened in WEAKENED {
        let (text, changed) = weakened.texts();
        fs::write(tree.join(weakened.file), changed).expect("there is room");
        let (builds, passes) = passes(&tree, &weakened);
        assert!(builds, "{}: it does not build", weakened.what);
        fs::write(tree.join(weakened.file), text).expect("there is room");
        let outcome = if passes { "MISSED" } else { "found" };
        println!(
            "without \"{}\": {outcome} by {}",
            weakened.what, weakened.found_by
        );
        if passes {
            missed.push(weakened.what);
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
