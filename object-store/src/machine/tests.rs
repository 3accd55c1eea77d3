//! The machine on its own: each test guards against one way to believe too much, or to write too much.

use std::time::Duration;

use bytes::Bytes;
use rvlf::WriterId;
use rvlf::record::{Hostname, Pid, StoreStamp};

use super::*;

const LEASE: Duration = Duration::from_secs(30);

fn at(ms: u64) -> Moment {
    Moment {
        boottime: Duration::from_millis(ms),
        unix_ns: 1_700_000_000_000_000_000 + ms * 1_000_000,
        random: ms.wrapping_mul(0x9e37_79b9_7f4a_7c15),
    }
}

fn settings(id: u8) -> AcquireSettings {
    AcquireSettings {
        timing: Timing::new(LEASE),
        writer: Writer {
            pid: Pid::new(1).expect("1 is a pid"),
            hostname: Hostname::truncated(b"host"),
            writer_id: WriterId::from([id; 16]),
        },
        deadline: Duration::ZERO,
        own_dead: Vec::new(),
        both_clocks: false,
        forced: None,
        stale_only: false,
        omission: Omission::default(),
    }
}

fn version(number: u64) -> Version {
    Version {
        e_tag: Some(number.to_string()),
        version: None,
    }
}

fn id(request: &Request) -> RequestId {
    match request {
        Request::Get { request } | Request::Put { request, .. } => *request,
    }
}

fn written(request: &Request, put: Put) -> Answer {
    let request = id(request);
    Answer::Written {
        request,
        answer: Ok(put),
    }
}

fn got(request: &Request, found: Found, first_seen: Duration) -> Answer {
    let request = id(request);
    Answer::Got {
        request,
        answer: Ok(found),
        first_seen,
    }
}

fn present(bytes: &Bytes, number: u64) -> Found {
    Found::Present(Stored {
        bytes: bytes.clone(),
        version: version(number),
        modified_ms: None,
    })
}

fn bytes_of(request: &Request) -> Bytes {
    match request {
        Request::Put { bytes, .. } => bytes.clone(),
        Request::Get { .. } => panic!("a put was expected"),
    }
}

fn next(step: AcquireStep) -> Request {
    match step {
        AcquireStep::Continue(Some(request)) => request,
        other => panic!("a request was expected, not {other:?}"),
    }
}

fn requested(steps: &[HoldStep]) -> Request {
    let mut requests = steps.iter().filter_map(|step| match step {
        HoldStep::Request(request) => Some(request.clone()),
        _ => None,
    });
    requests.next().expect("a request was expected")
}

/// A lock whose create began at 10 ms.
fn held() -> Hold {
    let (mut acquire, look) = Acquire::begin(settings(1), &at(0));
    let create = next(acquire.answered(&at(10), got(&look, Found::Absent, at(10).boottime)));
    match acquire.answered(&at(20), written(&create, Put::Stored(version(1)))) {
        AcquireStep::End(AcquireEnd::Held(hold)) => *hold,
        other => panic!("the lock is free, and the answer is {other:?}"),
    }
}

#[test]
fn belief_counts_from_the_beginning_of_the_write_not_from_its_answer() {
    let hold = held();
    assert_eq!(hold.expires_at(), at(10).boottime + LEASE * 2 / 3);
    assert!(hold.believes(at(10).boottime + LEASE * 2 / 3 - Duration::from_nanos(1)));
    assert!(!hold.believes(at(10).boottime + LEASE * 2 / 3));
}

#[test]
fn create_that_was_refused_because_of_its_own_first_copy_holds_the_lock() {
    let (mut acquire, look) = Acquire::begin(settings(1), &at(0));
    let create = next(acquire.answered(&at(1), got(&look, Found::Absent, at(1).boottime)));
    let settle = next(acquire.answered(&at(2), written(&create, Put::Refused)));
    let found = present(&bytes_of(&create), 1);
    let step = acquire.answered(&at(3), got(&settle, found, at(3).boottime));
    assert!(
        matches!(step, AcquireStep::End(AcquireEnd::Held(_))),
        "{step:?}"
    );
}

#[test]
fn create_that_was_refused_although_nothing_is_there_is_written_again() {
    let (mut acquire, look) = Acquire::begin(settings(1), &at(0));
    let create = next(acquire.answered(&at(1), got(&look, Found::Absent, at(1).boottime)));
    let settle = next(acquire.answered(&at(2), written(&create, Put::Refused)));
    let step = acquire.answered(&at(3), got(&settle, Found::Absent, at(3).boottime));
    assert_eq!(step, AcquireStep::Continue(None), "it pauses first");
    let again = next(acquire.woken(&at(100)));
    assert_eq!(
        bytes_of(&again),
        bytes_of(&create),
        "another write could land beside the first"
    );
}

#[test]
fn confirmation_that_took_a_third_of_the_lease_is_taken_over_again() {
    let (mut acquire, look) = Acquire::begin(settings(1), &at(0));
    let create = next(acquire.answered(&at(0), got(&look, Found::Absent, at(0).boottime)));
    let late = written(&create, Put::Stored(version(1)));
    let again = next(acquire.answered(&at(10_001), late));
    assert!(matches!(
        again,
        Request::Put {
            purpose: Purpose::Takeover,
            ..
        }
    ));
    let step = acquire.answered(&at(10_002), written(&again, Put::Stored(version(2))));
    let AcquireStep::End(AcquireEnd::Held(hold)) = step else {
        panic!("the second confirmation came at once: {step:?}");
    };
    assert_eq!(hold.expires_at(), at(10_001).boottime + LEASE * 2 / 3);
}

#[test]
fn contender_waits_for_the_lease_in_the_record_and_keeps_the_payload() {
    let hold = held();
    let mut other = hold.content().bytes.to_vec();
    other.extend_from_slice(b"root");
    let other = Bytes::from(other);
    let mut settings = settings(2);
    settings.timing = Timing::new(Duration::from_secs(1));
    settings.deadline = Duration::MAX;
    let (mut acquire, look) = Acquire::begin(settings, &at(0));
    let seen = at(5).boottime;
    let step = acquire.answered(&at(30_005), got(&look, present(&other, 1), seen));
    assert_eq!(
        step,
        AcquireStep::Continue(None),
        "exactly the lease is not over it"
    );
    let look = next(acquire.woken(&at(30_200)));
    let takeover = next(acquire.answered(&at(30_201), got(&look, present(&other, 1), seen)));
    let content = Content::of(&bytes_of(&takeover)).expect("it is a record");
    assert_eq!(content.payload, b"root".as_slice());
    let generation = |content: &Content| content.record.store_stamp().map(|stamp| stamp.generation);
    assert_eq!(
        generation(&content),
        generation(hold.content()).map(|old| old + 1)
    );
}

#[test]
fn holder_that_was_paused_beyond_its_belief_has_lost_although_an_answer_waited() {
    let mut hold = held();
    let refresh = requested(&hold.woken(&at(5_010)));
    let steps = hold.answered(&at(20_010), written(&refresh, Put::Stored(version(2))));
    assert_eq!(steps, [HoldStep::Lost(Loss::Expired)]);
    assert_eq!(hold.woken(&at(60_000)), [], "a lost lock writes nothing");
}

#[test]
fn commit_waits_for_the_open_refresh_and_is_a_refresh_itself() {
    let mut hold = held();
    let refresh = requested(&hold.woken(&at(5_010)));
    let root = Bytes::from_static(b"root");
    assert_eq!(
        hold.commit(&at(5_020), CommitId(1), root),
        [],
        "one write at a time"
    );
    let steps = hold.answered(&at(5_030), written(&refresh, Put::Stored(version(2))));
    let commit = requested(&steps);
    let steps = hold.answered(&at(5_040), written(&commit, Put::Stored(version(3))));
    let done = HoldStep::Committed {
        commit: CommitId(1),
        end: CommitEnd::Done,
    };
    assert_eq!(steps, [done]);
    assert_eq!(hold.content().payload, b"root".as_slice());
    assert_eq!(hold.expires_at(), at(5_030).boottime + LEASE * 2 / 3);
}

#[test]
fn commit_of_a_lost_lock_does_not_claim_that_it_is_not_in() {
    let mut hold = held();
    let commit = requested(&hold.commit(&at(1_000), CommitId(1), Bytes::from_static(b"root")));
    let settle = requested(&hold.answered(&at(1_010), written(&commit, Put::Refused)));
    let (mut other, look) = Acquire::begin(settings(2), &at(0));
    let successor = next(other.answered(&at(1), got(&look, Found::Absent, at(1).boottime)));
    let found = present(&bytes_of(&successor), 7);
    let steps = hold.answered(&at(1_020), got(&settle, found, at(1_020).boottime));
    let out = HoldStep::Committed {
        commit: CommitId(1),
        end: CommitEnd::Out { landed: None },
    };
    assert_eq!(steps.first(), Some(&out));
    assert!(matches!(
        steps.last(),
        Some(HoldStep::Lost(Loss::Replaced { by: Some(_) }))
    ));
}

#[test]
fn holder_that_was_replaced_writes_nothing_more() {
    let mut hold = held();
    let refresh = requested(&hold.woken(&at(5_010)));
    let settle = requested(&hold.answered(&at(5_020), written(&refresh, Put::Refused)));
    let other = present(&Bytes::from_static(b"something else"), 7);
    let steps = hold.answered(&at(5_030), got(&settle, other, at(5_030).boottime));
    let lost = HoldStep::Lost(Loss::Replaced { by: None });
    assert_eq!(steps, [lost]);
    // The first attempt was stored all the same, and its answer comes late: the loss stays.
    assert_eq!(
        hold.answered(&at(5_040), written(&refresh, Put::Stored(version(2)))),
        []
    );
    assert!(!hold.believes(at(5_040).boottime));
    let released = HoldStep::Released { confirmed: true };
    assert_eq!(hold.release(&at(5_050), at(60_000).boottime), [released]);
    assert_eq!(hold.woken(&at(60_000)), [], "no refresh, no tombstone");
}

/// An acquisition of the same process, later, finds what an earlier one wrote and gave up.
fn finds_own_earlier_record(own_dead: Vec<WriterId>) -> AcquireStep {
    let (mut earlier, look) = Acquire::begin(settings(1), &at(0));
    let create = next(earlier.answered(&at(1), got(&look, Found::Absent, at(1).boottime)));
    let settings = AcquireSettings {
        own_dead,
        ..settings(2)
    };
    let (mut later, look) = Acquire::begin(settings, &at(10_000));
    let found = present(&bytes_of(&create), 1);
    later.answered(&at(10_010), got(&look, found, at(10_010).boottime))
}

#[test]
fn acquisition_adopts_no_record_of_an_earlier_one() {
    let step = finds_own_earlier_record(Vec::new());
    assert!(
        matches!(step, AcquireStep::End(AcquireEnd::Refused(_))),
        "{step:?}"
    );
    let takeover = next(finds_own_earlier_record(vec![WriterId::from([1; 16])]));
    let record = Content::of(&bytes_of(&takeover)).map(|content| content.record);
    let id = record.map(|record| record.writer_id());
    assert_eq!(id, Some(WriterId::from([2; 16])), "a hold of its own");
}

#[test]
fn commit_that_the_caller_gave_up_is_written_until_it_is_settled() {
    let mut hold = held();
    let commit = requested(&hold.commit(&at(1_000), CommitId(1), Bytes::from_static(b"a")));
    let given_up = HoldStep::Committed {
        commit: CommitId(1),
        end: CommitEnd::Unsettled,
    };
    assert_eq!(hold.give_up(&at(1_500), CommitId(1)), [given_up]);
    assert_eq!(
        hold.commit(&at(1_600), CommitId(2), Bytes::from_static(b"b")),
        []
    );
    let steps = hold.answered(&at(1_700), written(&commit, Put::Stored(version(2))));
    let second = Content::of(&bytes_of(&requested(&steps))).expect("it is a record");
    assert_eq!(second.payload, b"b".as_slice());
}

#[test]
fn release_buries_a_refresh_that_lands_before_the_tombstone() {
    let mut hold = held();
    let refresh = requested(&hold.woken(&at(5_010)));
    let tombstone = requested(&hold.release(&at(5_020), at(60_000).boottime));
    assert!(!hold.believes(at(5_020).boottime));
    let settle = requested(&hold.answered(&at(5_030), written(&tombstone, Put::Refused)));
    let found = present(&bytes_of(&refresh), 2);
    let steps = hold.answered(&at(5_040), got(&settle, found, at(5_040).boottime));
    let second = requested(&steps);
    let Request::Put { condition, .. } = &second else {
        panic!("a tombstone was expected");
    };
    assert_eq!(*condition, Condition::Version(version(2)));
    let content = Content::of(&bytes_of(&second)).expect("it is a record");
    assert!(
        content
            .record
            .store_stamp()
            .is_some_and(|stamp: StoreStamp| stamp.is_released())
    );
    let steps = hold.answered(&at(5_050), written(&second, Put::Stored(version(3))));
    assert_eq!(steps, [HoldStep::Released { confirmed: true }]);
}

#[test]
fn commit_that_is_under_way_at_a_release_ends() {
    let mut hold = held();
    requested(&hold.commit(&at(1_000), CommitId(1), Bytes::from_static(b"a")));
    hold.commit(&at(1_010), CommitId(2), Bytes::from_static(b"b"));
    let steps = hold.release(&at(1_020), at(60_000).boottime);
    let out = |commit, landed| HoldStep::Committed {
        commit: CommitId(commit),
        end: CommitEnd::Out { landed },
    };
    let ends = [
        out(1, None),        // It may land before the tombstone.
        out(2, Some(false)), // It was never sent.
    ];
    assert_eq!(steps.first_chunk(), Some(&ends));
}

#[test]
fn second_release_does_not_forget_the_tombstone_of_the_first() {
    let mut hold = held();
    let tombstone = requested(&hold.release(&at(100), at(60_000).boottime));
    assert_eq!(hold.release(&at(110), at(60_000).boottime), []);
    let steps = hold.answered(&at(120), written(&tombstone, Put::Stored(version(2))));
    assert_eq!(steps, [HoldStep::Released { confirmed: true }]);
}

// The store's read is stale: it shows the first content of the hold, which has the payload that the
// commit restores. The object has another payload, and the commit may never be in.
#[test]
fn older_content_of_the_same_hold_does_not_show_that_a_commit_is_in() {
    let mut hold = held();
    let first = hold.content().bytes.clone();
    let root = requested(&hold.commit(&at(100), CommitId(1), Bytes::from_static(b"root")));
    hold.answered(&at(110), written(&root, Put::Stored(version(2))));
    let restore = requested(&hold.commit(&at(200), CommitId(2), Bytes::new()));
    let settle = requested(&hold.answered(&at(210), written(&restore, Put::Refused)));
    let found = present(&first, 1);
    let steps = hold.answered(&at(220), got(&settle, found, at(10).boottime));
    let unknown = HoldStep::Committed {
        commit: CommitId(2),
        end: CommitEnd::Out { landed: None },
    };
    assert_eq!(steps.first(), Some(&unknown));
}

#[test]
fn release_ends_at_its_deadline_although_the_store_is_silent() {
    let mut hold = held();
    requested(&hold.release(&at(100), at(300).boottime));
    assert_eq!(hold.wake_at(), Some(at(300).boottime));
    let steps = hold.woken(&at(300));
    assert_eq!(steps, [HoldStep::Released { confirmed: false }]);
}

#[test]
fn no_two_writes_have_equal_bytes_while_the_clock_stands_still() {
    let mut hold = held();
    let first = requested(&hold.check(&at(20)));
    let steps = hold.answered(&at(20), written(&first, Put::Stored(version(2))));
    assert_eq!(steps, [HoldStep::Checked]);
    let second = requested(&hold.check(&at(20)));
    assert_ne!(bytes_of(&first), bytes_of(&second));
}

#[test]
fn store_that_hides_absent_keys_is_asked_to_create_once() {
    let (mut acquire, look) = Acquire::begin(settings(1), &at(0));
    let denied = |request: &Request| Answer::Got {
        request: id(request),
        answer: Err(ErrorClass::Denied),
        first_seen: at(1).boottime,
    };
    let create = next(acquire.answered(&at(1), denied(&look)));
    let settle = next(acquire.answered(&at(2), written(&create, Put::Refused)));
    let step = acquire.answered(&at(3), denied(&settle));
    assert_eq!(
        step,
        AcquireStep::End(AcquireEnd::Failed(ErrorClass::Denied))
    );
}

// A break creates no lock where it was denied to look.
#[test]
fn break_creates_nothing_where_the_store_hides_absent_keys() {
    let mut settings = settings(1);
    settings.stale_only = true;
    let (mut acquire, look) = Acquire::begin(settings, &at(0));
    let denied = Answer::Got {
        request: id(&look),
        answer: Err(ErrorClass::Denied),
        first_seen: at(1).boottime,
    };
    let step = acquire.answered(&at(1), denied);
    assert_eq!(
        step,
        AcquireStep::End(AcquireEnd::Failed(ErrorClass::Denied))
    );
}

#[test]
fn object_that_is_no_lock_is_never_written() {
    for bytes in [&b""[..], b"something else", &[0; 200]] {
        let (mut acquire, look) = Acquire::begin(settings(1), &at(0));
        let found = present(&Bytes::copy_from_slice(bytes), 1);
        let step = acquire.answered(&at(100_000_000), got(&look, found, Duration::ZERO));
        assert!(
            matches!(step, AcquireStep::End(AcquireEnd::Refused(_))),
            "{step:?}"
        );
    }
}

// A user who names a hold has seen that one. Its successor is not what the user decided on, dead or alive.
#[test]
fn break_by_force_takes_the_named_hold_alive_and_no_other_one_dead() {
    let bytes = held().content().bytes.clone();
    let look_at = |now: u64, forced: u8| {
        let mut settings = settings(2);
        settings.forced = Some(WriterId::from([forced; 16]));
        settings.stale_only = true;
        settings.deadline = Duration::MAX;
        let (mut acquire, look) = Acquire::begin(settings, &at(0));
        let step = acquire.answered(&at(now), got(&look, present(&bytes, 1), at(0).boottime));
        (step, acquire.reclaimed().map(|record| record.writer_id()))
    };
    let (step, reclaimed) = look_at(1, 1);
    assert!(matches!(step, AcquireStep::Continue(Some(_))), "{step:?}");
    assert_eq!(reclaimed, Some(WriterId::from([1; 16])));
    for now in [1, 40_000] {
        let (step, _) = look_at(now, 7);
        let AcquireStep::End(AcquireEnd::Refused(_)) = step else {
            panic!("it is another hold: {step:?}");
        };
    }
}

#[test]
fn hold_that_a_caller_saw_expire_is_lost_although_an_answer_prolonged_it() {
    let mut hold = held();
    let refresh = requested(&hold.woken(&at(5_010)));
    hold.answered(&at(5_020), written(&refresh, Put::Stored(version(2))));
    assert!(hold.believes(at(5_030).boottime));
    assert_eq!(hold.expire(&at(5_030)), [HoldStep::Lost(Loss::Expired)]);
    assert!(!hold.believes(at(5_030).boottime));
    assert_eq!(hold.expire(&at(5_040)), []);
}

// Clocks of two machines are never compared: a wall clock that is a day wrong, on either side, changes the
// bytes and no decision.
#[test]
fn wall_clock_that_is_wrong_by_a_day_changes_no_decision() {
    const DAY_NS: u64 = 24 * 60 * 60 * 1_000_000_000;
    let held = held();
    let object = &held.content().bytes;
    let shapes = [0, DAY_NS, DAY_NS.wrapping_neg()].map(|wrong| {
        let at = |ms| Moment {
            unix_ns: at(ms).unix_ns.wrapping_add(wrong),
            ..at(ms)
        };
        let mut settings = settings(2);
        settings.deadline = Duration::MAX;
        let (mut acquire, look) = Acquire::begin(settings, &at(0));
        let seen = at(5).boottime;
        let early = acquire.answered(&at(30_005), got(&look, present(object, 1), seen));
        assert_eq!(early, AcquireStep::Continue(None), "the lease is not over");
        let rest = acquire.wake_at();
        let look = next(acquire.woken(&at(30_200)));
        let takeover = next(acquire.answered(&at(30_201), got(&look, present(object, 1), seen)));
        let Request::Put {
            purpose, condition, ..
        } = &takeover
        else {
            panic!("the lease is over: {takeover:?}");
        };
        (rest, *purpose, condition.clone())
    });
    let [right, ahead, behind] = shapes;
    assert_eq!(right, ahead);
    assert_eq!(right, behind);
}
