//! The machine on its own: each test guards against one way to believe too much, or to write too much.

use std::time::Duration;

use bytes::Bytes;
use rvlf::WriterId;
use rvlf::judge::StoreReason;
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

/// An acquisition that finds no object at `moment`, and its PUT.
fn creating(moment: Moment) -> (Acquire, Request) {
    let (mut acquire, look) = Acquire::begin(settings(1), &at(0));
    let create = next(acquire.answered(&moment, got(&look, Found::Absent, moment.boottime)));
    (acquire, create)
}

/// A lock whose create began at 10 ms.
fn held() -> Hold {
    let (mut acquire, create) = creating(at(10));
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
    let (mut acquire, create) = creating(at(1));
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
    let (mut acquire, create) = creating(at(1));
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
    let (mut acquire, create) = creating(at(0));
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
        end: CommitEnd::Out { may_be_in: true },
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
    let (_, create) = creating(at(1));
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
    let out = |commit, may_be_in| HoldStep::Committed {
        commit: CommitId(commit),
        end: CommitEnd::Out { may_be_in },
    };
    let ends = [
        out(1, true),  // It may land before the tombstone.
        out(2, false), // It was never sent.
    ];
    assert_eq!(steps.first_chunk(), Some(&ends));
}

// The victim believes for two thirds of an hour. A breaker with a lease of its own that dies in its wait would
// leave a record that contenders replace after 30 s.
#[test]
fn takeover_by_force_keeps_the_longer_lease_also_when_it_is_refreshed() {
    let lease = |request: &Request| {
        let content = Content::of(&bytes_of(request)).expect("it is a record");
        let stamp = content.record.store_stamp();
        stamp.expect("it is a store's record").lease().as_secs()
    };
    for (victims, expected) in [(3600, 3600), (5, 30)] {
        let mut settings = settings(1);
        settings.timing = Timing::new(Duration::from_secs(victims));
        let (mut victim, look) = Acquire::begin(settings, &at(0));
        let create = next(victim.answered(&at(1), got(&look, Found::Absent, at(1).boottime)));
        let mut settings = self::settings(2);
        settings.forced = Some(WriterId::from([1; 16]));
        settings.stale_only = true;
        let (mut breaker, look) = Acquire::begin(settings, &at(0));
        let found = got(&look, present(&bytes_of(&create), 1), at(10).boottime);
        let takeover = next(breaker.answered(&at(10), found));
        assert_eq!(lease(&takeover), expected);
        let step = breaker.answered(&at(20), written(&takeover, Put::Stored(version(2))));
        let AcquireStep::End(AcquireEnd::Held(mut hold)) = step else {
            panic!("the takeover is in: {step:?}");
        };
        let refresh = requested(&hold.woken(&at(5_010)));
        assert_eq!(lease(&refresh), expected);
        assert_eq!(
            hold.expires_at(),
            at(10).boottime + LEASE * 2 / 3,
            "its own"
        );
    }
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
        end: CommitEnd::Out { may_be_in: true },
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

// The next generation is outside of the limits: its holder would write a record that every program refuses, and
// the lock would be lost to all for good.
#[test]
fn takeover_writes_no_generation_above_the_limit() {
    let limit = StoreStamp::MAX_GENERATION;
    let look_at = |generation: u64, forced: bool| {
        let stamp = StoreStamp {
            generation,
            lease_ms: if forced { 30_000 } else { 0 },
            nonce: 1,
        };
        let (pid, id) = (Pid::new(1).expect("1 is a pid"), WriterId::from([1; 16]));
        let record = rvlf::Record::for_store(pid, &Hostname::truncated(b"host"), 1, id, stamp);
        let mut settings = settings(2);
        settings.forced = forced.then_some(id);
        settings.stale_only = forced;
        let (mut acquire, look) = Acquire::begin(settings, &at(0));
        let bytes = Bytes::copy_from_slice(&record.encode());
        acquire.answered(&at(10), got(&look, present(&bytes, 1), at(10).boottime))
    };
    for forced in [false, true] {
        let step = look_at(limit, forced);
        let AcquireStep::End(AcquireEnd::Refused(refusal)) = step else {
            panic!("forced {forced}: {step:?}");
        };
        assert_eq!(refusal.verdict.reason(), StoreReason::OtherStamp);
        let takeover = Content::of(&bytes_of(&next(look_at(limit - 1, forced))));
        let stamp = takeover.and_then(|content| content.record.store_stamp());
        assert_eq!(stamp.map(|stamp| stamp.generation), Some(limit));
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

// A contender that does not rest asks as fast as the store answers, and pays for each request.
#[test]
fn contender_asks_nothing_before_its_pause_is_over() {
    let mut settings = settings(2);
    settings.deadline = Duration::MAX;
    let (mut acquire, look) = Acquire::begin(settings, &at(0));
    let timeout = Timing::new(LEASE).request_timeout();
    assert_eq!(acquire.wake_at(), Some(timeout), "no answer comes");
    let held = present(&held().content().bytes, 1);
    acquire.answered(&at(10), got(&look, held, at(10).boottime));
    let rested = acquire.wake_at().expect("it rests");
    assert!(rested > at(10).boottime);
    let just_before = Moment {
        boottime: rested - Duration::from_nanos(1),
        ..at(10)
    };
    assert_eq!(acquire.woken(&just_before), AcquireStep::Continue(None));
    let just_then = Moment {
        boottime: rested,
        ..at(10)
    };
    assert!(matches!(
        next(acquire.woken(&just_then)),
        Request::Get { .. }
    ));
}

#[test]
fn contender_ends_at_its_deadline_with_what_it_saw_last() {
    let held = present(&held().content().bytes, 1);
    let end = |found: Option<Found>| {
        let mut settings = settings(2);
        settings.deadline = at(15).boottime;
        let (mut acquire, look) = Acquire::begin(settings, &at(0));
        let answer = match found {
            Some(found) => got(&look, found, at(10).boottime),
            None => Answer::Got {
                request: id(&look),
                answer: Err(ErrorClass::Unknown),
                first_seen: at(10).boottime,
            },
        };
        let step = acquire.answered(&at(10), answer);
        assert_eq!(step, AcquireStep::Continue(None));
        assert_eq!(acquire.wake_at(), Some(at(15).boottime));
        acquire.woken(&at(15))
    };
    let step = end(Some(held));
    assert!(
        matches!(step, AcquireStep::End(AcquireEnd::Refused(_))),
        "{step:?}"
    );
    assert_eq!(end(None), AcquireStep::End(AcquireEnd::NoAnswer));
}

// What a slow answer shows is older than what the second look is about to show.
#[test]
fn answer_to_a_look_that_was_given_up_is_not_taken_for_the_next_one() {
    let mut settings = settings(2);
    settings.deadline = Duration::MAX;
    let (mut acquire, slow) = Acquire::begin(settings, &at(0));
    assert_eq!(acquire.woken(&at(2_500)), AcquireStep::Continue(None));
    let look = next(acquire.woken(&at(4_500)));
    let late = got(&slow, Found::Absent, at(4_510).boottime);
    assert_eq!(
        acquire.answered(&at(4_510), late),
        AcquireStep::Continue(None)
    );
    let step = acquire.answered(&at(4_520), got(&look, Found::Absent, at(4_520).boottime));
    assert!(matches!(next(step), Request::Put { .. }));
}

#[test]
fn contender_looks_again_as_soon_as_the_lease_is_over() {
    let bytes = held().content().bytes.clone();
    let mut settings = settings(2);
    settings.deadline = Duration::MAX;
    let (mut acquire, look) = Acquire::begin(settings, &at(0));
    let found = got(&look, present(&bytes, 1), at(0).boottime);
    let step = acquire.answered(&at(29_996), found);
    assert_eq!(step, AcquireStep::Continue(None));
    let wake_at = acquire.wake_at();
    assert_eq!(wake_at, Some(at(30_001).boottime), "older than the lease");
}

// The answers called the write lost: another contender's record was there. An administrator, or that
// contender's own loss, may have brought this call's record back.
#[test]
fn write_that_lands_after_another_was_seen_is_held_from_its_own_beginning() {
    let mut settings = settings(1);
    settings.deadline = Duration::MAX;
    let (mut acquire, look) = Acquire::begin(settings, &at(0));
    let create = next(acquire.answered(&at(10), got(&look, Found::Absent, at(10).boottime)));
    let settle = next(acquire.answered(&at(20), written(&create, Put::Refused)));
    let (mut other, look) = Acquire::begin(self::settings(2), &at(0));
    let others = next(other.answered(&at(1), got(&look, Found::Absent, at(1).boottime)));
    let found = present(&bytes_of(&others), 1);
    let step = acquire.answered(&at(30), got(&settle, found, at(30).boottime));
    assert_eq!(step, AcquireStep::Continue(None), "it is another's lock");
    let look = next(acquire.woken(&at(3_000)));
    let found = present(&bytes_of(&create), 2);
    let step = acquire.answered(&at(3_010), got(&look, found, at(3_010).boottime));
    let AcquireStep::End(AcquireEnd::Held(hold)) = step else {
        panic!("the object is this call's: {step:?}");
    };
    assert_eq!(hold.expires_at(), at(10).boottime + LEASE * 2 / 3);
}

/// The bytes of a lock that was released.
fn tombstone() -> Bytes {
    let mut hold = held();
    let tombstone = hold.release(&at(100), at(60_000).boottime);
    bytes_of(&requested(&tombstone))
}

#[test]
fn released_lock_is_taken_over_at_once_and_has_no_victim() {
    let (mut acquire, look) = Acquire::begin(settings(2), &at(200));
    let found = got(&look, present(&tombstone(), 2), at(210).boottime);
    let takeover = next(acquire.answered(&at(210), found));
    assert!(matches!(
        takeover,
        Request::Put {
            purpose: Purpose::Takeover,
            ..
        }
    ));
    assert_eq!(acquire.reclaimed(), None, "its holder has released it");
}

#[test]
fn break_finds_nothing_to_break_where_the_lock_was_released() {
    for found in [present(&tombstone(), 2), Found::Absent] {
        let mut settings = settings(2);
        settings.stale_only = true;
        let (mut acquire, look) = Acquire::begin(settings, &at(200));
        let step = acquire.answered(&at(210), got(&look, found, at(210).boottime));
        assert_eq!(step, AcquireStep::End(AcquireEnd::Free));
    }
}

// A deleted object takes its generation with it. A late write of the hold that it named must not look newer
// than the next hold.
#[test]
fn first_generation_is_the_time_in_milliseconds() {
    let generation = |hold: &Hold| {
        let stamp = hold.content().record.store_stamp();
        stamp.expect("it is a store's record").generation
    };
    assert_eq!(generation(&held()), at(10).unix_ns / 1_000_000);
}

#[test]
fn confirmation_within_a_third_of_the_lease_is_a_hold() {
    let (mut acquire, create) = creating(at(0));
    let step = acquire.answered(&at(10_000), written(&create, Put::Stored(version(1))));
    assert!(
        matches!(step, AcquireStep::End(AcquireEnd::Held(_))),
        "{step:?}"
    );
}

// The deadline is over, and the write is not settled: it may be in, so that its outcome is worth a wait as
// long as a hold could come of it.
#[test]
fn write_is_settled_beyond_the_deadline_until_no_hold_could_come_of_it() {
    let (mut acquire, create) = creating(at(0));
    assert!(matches!(create, Request::Put { .. }));
    let mut ms = 0;
    let step = loop {
        let wake_at = acquire.wake_at().expect("the write is open");
        assert!(
            wake_at > at(ms).boottime,
            "it would be woken without a pause"
        );
        ms = u64::try_from(wake_at.as_millis()).expect("it is near") + 1;
        match acquire.woken(&at(ms)) {
            AcquireStep::Continue(_) => assert!(ms <= 10_000, "a third of the lease is over"),
            end => break end,
        }
    };
    assert_eq!(step, AcquireStep::End(AcquireEnd::Unsettled));
    assert!(ms > 10_000, "a hold could come of it until 10 s");
}

#[test]
fn acquisition_that_was_cancelled_begins_no_write_and_settles_the_one_that_is_open() {
    let mut settings = settings(1);
    settings.deadline = Duration::MAX;
    let (mut looking, _) = Acquire::begin(settings.clone(), &at(0));
    let step = looking.cancel(&at(5));
    assert_eq!(step, AcquireStep::End(AcquireEnd::NoAnswer));
    assert_eq!(looking.wake_at(), None, "it has ended");

    let (mut writing, look) = Acquire::begin(settings, &at(0));
    let create = next(writing.answered(&at(10), got(&look, Found::Absent, at(10).boottime)));
    assert_eq!(writing.cancel(&at(15)), AcquireStep::Continue(None));
    let settle = next(writing.answered(&at(20), written(&create, Put::Refused)));
    let other = present(&tombstone(), 7);
    let step = writing.answered(&at(30), got(&settle, other, at(30).boottime));
    assert!(
        matches!(step, AcquireStep::End(AcquireEnd::Refused(_))),
        "another look, or another write, follows: {step:?}"
    );
}

// A takes the lock and releases it between B's look and B's write. B, which does not wait, was refused by a lock
// that was free.
#[test]
fn race_that_was_lost_to_a_hold_that_is_released_again_is_no_refusal() {
    let (mut acquire, create) = creating(at(10));
    let settle = next(acquire.answered(&at(20), written(&create, Put::Refused)));
    let found = got(&settle, present(&tombstone(), 7), at(30).boottime);
    let look = next(acquire.answered(&at(30), found));
    assert!(matches!(look, Request::Get { .. }), "{look:?}");
    let found = got(&look, present(&tombstone(), 7), at(40).boottime);
    let takeover = next(acquire.answered(&at(40), found));
    let step = acquire.answered(&at(50), written(&takeover, Put::Stored(version(8))));
    assert!(matches!(step, AcquireStep::End(AcquireEnd::Held(_))));
}

// An object of which one state was deleted may get a second create of the same call. With equal bytes a store
// whose version is a hash would take a late copy of the first for the second.
#[test]
fn no_two_creates_of_one_call_have_equal_bytes_while_the_clock_stands_still() {
    let mut settings = settings(1);
    settings.deadline = Duration::MAX;
    let at = |ms| Moment {
        unix_ns: at(0).unix_ns,
        ..at(ms)
    };
    let (mut acquire, look) = Acquire::begin(settings, &at(0));
    let first = next(acquire.answered(&at(10), got(&look, Found::Absent, at(10).boottime)));
    let settle = next(acquire.answered(&at(20), written(&first, Put::Refused)));
    let other = present(&tombstone(), 7);
    acquire.answered(&at(30), got(&settle, other, at(30).boottime));
    let look = next(acquire.woken(&at(3_000)));
    let deleted = got(&look, Found::Absent, at(3_010).boottime);
    let second = next(acquire.answered(&at(3_010), deleted));
    assert_ne!(bytes_of(&first), bytes_of(&second));
}

// One look cannot show how long an object has not changed. Only who asks for it gets an answer from the
// clocks, and only if both of them agree.
#[test]
fn first_look_finds_a_lock_stale_only_if_it_is_old_by_both_clocks() {
    let bytes = held().content().bytes.clone();
    let look = |now: u64, modified_ms: Option<u64>, clocks| {
        let found = Found::Present(Stored {
            bytes: bytes.clone(),
            version: version(1),
            modified_ms,
        });
        judge(&found, Duration::ZERO, &[], clocks, &at(now)).verdict
    };
    let unix_ms = |ms| Some(at(ms).unix_ns / 1_000_000);
    let now = 400_000;
    assert!(look(now, unix_ms(20), true).is_stale());
    assert!(!look(now, unix_ms(20), false).is_stale(), "not asked for");
    assert!(!look(now, None, true).is_stale(), "the store gave no time");
    assert!(!look(now, unix_ms(300_000), true).is_stale(), "refreshed");
    assert!(!look(now, unix_ms(900_000), true).is_stale(), "ahead");
    assert!(!look(200_000, unix_ms(20), true).is_stale(), "young");
}

// A contender waits for days. Its clock, which agreed with the store's when it began, is set ahead by an hour: the
// lock of a holder that refreshes it was taken over.
#[test]
fn clock_that_is_set_ahead_in_a_wait_makes_no_live_lock_stale() {
    let mut settings = settings(2);
    (settings.both_clocks, settings.deadline) = (true, Duration::MAX);
    let (mut acquire, look) = Acquire::begin(settings, &at(14_000));
    let mut hold = held();
    let mut refresh = |moment: &Moment| {
        let steps = hold.check(moment);
        let request = requested(&steps);
        hold.answered(moment, written(&request, Put::Stored(version(2))));
        Found::Present(Stored {
            bytes: bytes_of(&request),
            version: version(2),
            modified_ms: Some(moment.unix_ns / 1_000_000),
        })
    };
    let found = refresh(&at(15_000));
    let step = acquire.answered(&at(16_000), got(&look, found, at(16_000).boottime));
    assert_eq!(step, AcquireStep::Continue(None), "it is held");
    let look = next(acquire.woken(&at(20_000)));
    let found = refresh(&at(20_010));
    let ahead = Moment {
        unix_ns: at(3_620_020).unix_ns,
        ..at(20_020)
    };
    let step = acquire.answered(&ahead, got(&look, found, ahead.boottime));
    assert_eq!(step, AcquireStep::Continue(None), "it is held");
}

// The deadline of a caller does not end the write of another one.
#[test]
fn caller_that_gives_up_leaves_the_commits_of_others_waiting() {
    let mut hold = held();
    let first = requested(&hold.commit(&at(100), CommitId(1), Bytes::from_static(b"1")));
    for waiting in [2, 3] {
        let payload = Bytes::from(waiting.to_string());
        assert_eq!(hold.commit(&at(110), CommitId(waiting), payload), []);
    }
    let unsettled = HoldStep::Committed {
        commit: CommitId(2),
        end: CommitEnd::Unsettled,
    };
    assert_eq!(hold.give_up(&at(120), CommitId(2)), [unsettled]);
    assert_eq!(hold.give_up(&at(130), CommitId(2)), [], "it ends once");
    let steps = hold.answered(&at(140), written(&first, Put::Stored(version(2))));
    let third = Content::of(&bytes_of(&requested(&steps))).expect("it is a record");
    assert_eq!(third.payload, b"3".as_slice());
}

#[test]
fn lost_hold_says_why_it_is_lost() {
    let mut hold = held();
    assert_eq!(hold.loss(), None);
    hold.woken(&at(60_000));
    assert_eq!(hold.loss(), Some(&Loss::Expired));
}

// Two holders increment one number. The second one's commit is equal to the first one's, which never arrived: a
// caller that heard that it was in would count one increment as two.
#[test]
fn equal_payload_of_a_successor_does_not_show_that_a_commit_was_in() {
    let root = Bytes::from_static(b"1");
    let mut hold = held();
    let commit = requested(&hold.commit(&at(100), CommitId(1), root.clone()));
    let settle = requested(&hold.answered(&at(110), written(&commit, Put::Refused)));
    let (mut other, look) = Acquire::begin(settings(2), &at(0));
    let seen = got(&look, present(&held().content().bytes, 1), at(0).boottime);
    let takeover = next(other.answered(&at(30_001), seen));
    let step = other.answered(&at(30_002), written(&takeover, Put::Stored(version(2))));
    let AcquireStep::End(AcquireEnd::Held(mut successor)) = step else {
        panic!("the takeover is in: {step:?}");
    };
    let equal = requested(&successor.commit(&at(30_003), CommitId(1), root));
    let found = present(&bytes_of(&equal), 3);
    let steps = hold.answered(&at(120), got(&settle, found, at(120).boottime));
    let unknown = HoldStep::Committed {
        commit: CommitId(1),
        end: CommitEnd::Out { may_be_in: true },
    };
    assert_eq!(steps.first(), Some(&unknown));
}

// The refresh was in before the tombstone, which was not: the lock would count as held for one lease more.
#[test]
fn answer_to_a_refresh_does_not_end_the_release() {
    let mut hold = held();
    let refresh = requested(&hold.woken(&at(5_010)));
    requested(&hold.release(&at(5_020), at(60_000).boottime));
    for put in [Put::Stored(version(2)), Put::Refused] {
        assert_eq!(hold.answered(&at(5_030), written(&refresh, put)), []);
    }
}

// An answer that comes after its attempt was given up is about a state before the next attempt.
#[test]
fn answers_to_earlier_attempts_settle_nothing_but_by_being_stored() {
    let mut hold = held();
    let first = requested(&hold.woken(&at(5_010)));
    let look = requested(&hold.woken(&at(7_510)));
    let base = present(&hold.content().bytes, 1);
    let step = got(&look, base.clone(), at(7_520).boottime);
    assert_eq!(hold.answered(&at(7_520), step.clone()), []);
    let second = requested(&hold.woken(&at(9_000)));
    assert_ne!(id(&first), id(&second));
    let refused = written(&first, Put::Refused);
    assert_eq!(hold.answered(&at(9_010), refused), []);
    let settle = requested(&hold.answered(&at(9_020), written(&second, Put::Refused)));
    let foreign = present(&Bytes::from_static(b"something else"), 9);
    let late = got(&look, foreign, at(9_030).boottime);
    assert_eq!(hold.answered(&at(9_030), late), []);
    assert_eq!(hold.loss(), None);
    let found = got(&settle, base, at(9_040).boottime);
    assert_eq!(hold.answered(&at(9_040), found), []);
    hold.answered(&at(9_050), written(&first, Put::Stored(version(2))));
    assert_eq!(hold.expires_at(), at(5_010).boottime + LEASE * 2 / 3);
}

// S3 denies the GET of a key that does not exist to a user who may not list the bucket. A create that was
// never executed could not be settled.
#[test]
fn create_without_an_answer_is_written_again_where_the_store_hides_absent_keys() {
    let (mut acquire, create) = creating(at(1));
    let settle = next(acquire.woken(&at(2_501)));
    let denied = Answer::Got {
        request: id(&settle),
        answer: Err(ErrorClass::Denied),
        first_seen: at(2_510).boottime,
    };
    assert_eq!(
        acquire.answered(&at(2_510), denied),
        AcquireStep::Continue(None)
    );
    let again = next(acquire.woken(&at(3_000)));
    assert_eq!(bytes_of(&again), bytes_of(&create));
}

#[test]
fn machine_that_is_woken_early_asks_nothing_and_at_its_time_it_does() {
    let mut hold = held();
    requested(&hold.woken(&at(5_010)));
    let wake_at = Duration::from_millis(5_010) + Timing::new(LEASE).request_timeout();
    assert_eq!(hold.wake_at(), Some(wake_at));
    assert_eq!(hold.woken(&at(7_509)), []);
    assert!(matches!(
        requested(&hold.woken(&at(7_510))),
        Request::Get { .. }
    ));
}

#[test]
fn times_are_parts_of_the_lease_within_what_a_request_needs() {
    let times = |secs| {
        let timing = Timing::new(Duration::from_secs(secs));
        [timing.request_timeout(), timing.longest_pause()].map(|time| time.as_millis())
    };
    assert_eq!(times(3), [1_000, 300]);
    assert_eq!(times(30), [2_500, 2_000]);
    assert_eq!(times(120), [10_000, 2_000]);
}

// Contenders that were refused together do not come back together, and soon ask less often.
#[test]
fn pauses_grow_to_their_limit_and_are_spread_over_the_second_half() {
    let longest = Duration::from_millis(100);
    let pauses = |random: u64| {
        let mut pause = Pause::up_to(longest);
        std::array::from_fn::<_, 6, _>(|_| pause.next(random).as_micros())
    };
    assert_eq!(pauses(0), [10_000, 15_000, 22_500, 33_750, 50_000, 50_000]);
    assert_eq!(
        pauses(512),
        [15_000, 22_500, 33_750, 50_625, 75_000, 75_000]
    );
    assert_eq!(pauses(1_024 + 512), pauses(512));
}
