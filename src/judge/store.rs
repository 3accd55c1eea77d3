//! The judgement of a lock in an object store: no kernel witnesses a death there, so the lease in the
//! record decides, by the contender's own clock.
//!
//! Pure, as [`judge`](super::judge) is. Source: `spec/object-store.md#judge`.

use core::fmt;
use core::time::Duration;

use super::Age;
use crate::record::{DecodeError, RECORD_LEN, Record, StoreStamp};

/// Everything that a verdict on a lock in an object store rests on.
///
/// Example: [`judge_store`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoreEvidence {
    /// What the object contains.
    pub content: StoreContent,
    /// For how long the contender has seen exactly these bytes, by its own monotonic clock: from the
    /// answer that first contained them to the answer that is judged. Zero at the first look.
    pub unchanged: Duration,
    /// Whether this process wrote the record, and has lost or given up that hold.
    pub own_dead: bool,
    /// The ages by the wall clocks. `None`: they are not used, as in every acquisition by default.
    pub both_clocks: Option<BothClocks>,
}

/// The ages of an object by two wall clocks: the holder's and the store's, both compared with this
/// machine's.
///
/// They let one look find a dead holder, where nothing was watched. A holder's clock or a store's that is
/// wrong by minutes could make a live holder look dead, so both must agree. A clock of this machine that is
/// ahead by minutes makes both look old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BothClocks {
    /// Age of the record's timestamp.
    pub timestamp_age: Age,
    /// Age of the object's modification time, as the store reports it (`Last-Modified`).
    pub modified_age: Age,
}

/// What is at the key of a lock in an object store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreContent {
    /// No object.
    Absent,
    /// A record with a store stamp that is [within its limits](StoreStamp::is_within_limits).
    Valid(StoreStamp),
    /// Not a record.
    Foreign,
    /// A record of a version that this library does not know.
    Unsupported,
    /// A valid record without a store stamp, such as a copied lock file, or with a store stamp outside
    /// its limits.
    OtherStamp,
    /// Less than a record, a record whose checksum or pid is wrong, or more than 64 KiB behind a record. A
    /// store replaces an object at once, so no writer that was interrupted leaves this.
    Damaged,
}

impl StoreContent {
    /// The most bytes of a payload. A reader reads one byte more, and sees that an object is longer.
    pub const MAX_PAYLOAD_LEN: usize = 64 * 1024;

    /// Classifies an object by its bytes: a record, and behind it a payload of at most 64 KiB. Of a longer
    /// one only the beginning is read, which a takeover would write back as the whole: such an object is
    /// [`Damaged`](StoreContent::Damaged). So is an empty one. No object is
    /// [`Absent`](StoreContent::Absent).
    ///
    /// ```
    /// use rvlf::judge::StoreContent;
    ///
    /// assert_eq!(StoreContent::of(b"notes"), StoreContent::Foreign);
    /// assert_eq!(StoreContent::of(b""), StoreContent::Damaged);
    /// ```
    #[must_use]
    pub fn of(bytes: &[u8]) -> StoreContent {
        match Record::decode(bytes) {
            Ok(_) if bytes.len() > RECORD_LEN + StoreContent::MAX_PAYLOAD_LEN => {
                StoreContent::Damaged
            }
            Ok(record) => match record.store_stamp() {
                Some(stamp) if stamp.is_within_limits() => StoreContent::Valid(stamp),
                _ => StoreContent::OtherStamp,
            },
            Err(DecodeError::Foreign { .. }) => StoreContent::Foreign,
            Err(DecodeError::UnsupportedVersion { .. }) => StoreContent::Unsupported,
            Err(
                DecodeError::Short { .. }
                | DecodeError::BadChecksum { .. }
                | DecodeError::BadPid { .. },
            ) => StoreContent::Damaged,
        }
    }
}

/// Whether a lock in an object store is free, held or stale, and why.
///
/// ```
/// use rvlf::judge::{StoreReason, StoreVerdict};
///
/// let verdict = StoreVerdict::Free { reason: StoreReason::Released };
/// assert!(verdict.is_free() && !verdict.is_stale());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreVerdict {
    /// There is no holder: the lock may be acquired at once.
    Free {
        /// Why.
        reason: StoreReason,
    },
    /// Held, or not a record that may be written.
    Held {
        /// Why.
        reason: StoreReason,
        /// Time until the lock is stale if its object does not change. `None`: never.
        stale_in: Option<Duration>,
    },
    /// The holder is dead, or no longer counts itself as the holder: the lock may be taken over.
    Stale {
        /// Why.
        reason: StoreReason,
    },
}

impl StoreVerdict {
    /// The reason for the verdict.
    ///
    /// ```
    /// use rvlf::judge::{StoreReason, StoreVerdict};
    ///
    /// let verdict = StoreVerdict::Stale { reason: StoreReason::LeaseOver };
    /// assert_eq!(verdict.reason(), StoreReason::LeaseOver);
    /// ```
    #[must_use]
    pub const fn reason(&self) -> StoreReason {
        match self {
            StoreVerdict::Free { reason }
            | StoreVerdict::Held { reason, .. }
            | StoreVerdict::Stale { reason } => *reason,
        }
    }

    /// Whether there is no holder.
    ///
    /// ```
    /// use rvlf::judge::{StoreReason, StoreVerdict};
    ///
    /// assert!(StoreVerdict::Free { reason: StoreReason::Absent }.is_free());
    /// ```
    #[must_use]
    pub const fn is_free(&self) -> bool {
        matches!(self, StoreVerdict::Free { .. })
    }

    /// Whether a holder has left the lock behind.
    ///
    /// ```
    /// use rvlf::judge::{StoreReason, StoreVerdict};
    ///
    /// assert!(StoreVerdict::Stale { reason: StoreReason::OwnDead }.is_stale());
    /// ```
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        matches!(self, StoreVerdict::Stale { .. })
    }

    /// Time until the lock is stale if its object does not change: `None` for never, zero if the lock
    /// is free or stale.
    ///
    /// ```
    /// use rvlf::judge::{StoreReason, StoreVerdict};
    ///
    /// let verdict = StoreVerdict::Held { reason: StoreReason::Foreign, stale_in: None };
    /// assert_eq!(verdict.stale_in(), None);
    /// ```
    #[must_use]
    pub const fn stale_in(&self) -> Option<Duration> {
        match self {
            StoreVerdict::Held { stale_in, .. } => *stale_in,
            StoreVerdict::Free { .. } | StoreVerdict::Stale { .. } => Some(Duration::ZERO),
        }
    }

    const fn free(reason: StoreReason) -> StoreVerdict {
        StoreVerdict::Free { reason }
    }

    const fn held(reason: StoreReason) -> StoreVerdict {
        StoreVerdict::Held {
            reason,
            stale_in: None,
        }
    }

    const fn stale(reason: StoreReason) -> StoreVerdict {
        StoreVerdict::Stale { reason }
    }
}

/// Why a lock in an object store is free, held or stale. `Display` gives a sentence,
/// [`code`](StoreReason::code) a stable name.
///
/// ```
/// use rvlf::judge::StoreReason;
///
/// assert_eq!(StoreReason::LeaseOver.code(), "lease-over");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreReason {
    /// Free: there is no object.
    Absent,
    /// Free: the last holder released it.
    Released,
    /// Held: the record was not seen unchanged for longer than its lease.
    WithinLease,
    /// Stale: the record was seen unchanged for longer than its lease.
    LeaseOver,
    /// Stale: of a hold that this process has lost or given up.
    OwnDead,
    /// Stale: the clocks of the holder and of the store both say that it is old.
    BothClocks,
    /// Held: not a record.
    Foreign,
    /// Held: a record of another version.
    Unsupported,
    /// Held: a record without a store stamp, or with one outside its limits.
    OtherStamp,
    /// Held: an incomplete or damaged record, or one with too much behind it.
    Damaged,
}

impl StoreReason {
    /// Every reason.
    pub const ALL: [StoreReason; 10] = [
        StoreReason::Absent,
        StoreReason::Released,
        StoreReason::WithinLease,
        StoreReason::LeaseOver,
        StoreReason::OwnDead,
        StoreReason::BothClocks,
        StoreReason::Foreign,
        StoreReason::Unsupported,
        StoreReason::OtherStamp,
        StoreReason::Damaged,
    ];

    /// A stable name for programs: it does not change when sentences do.
    ///
    /// ```
    /// use rvlf::judge::StoreReason;
    ///
    /// assert_eq!(StoreReason::OtherStamp.code(), "other-stamp");
    /// ```
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            StoreReason::Absent => "absent",
            StoreReason::Released => "released",
            StoreReason::WithinLease => "within-lease",
            StoreReason::LeaseOver => "lease-over",
            StoreReason::OwnDead => "own-dead",
            StoreReason::BothClocks => "both-clocks",
            StoreReason::Foreign => "foreign",
            StoreReason::Unsupported => "unsupported",
            StoreReason::OtherStamp => "other-stamp",
            StoreReason::Damaged => "damaged",
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            StoreReason::Absent => "the lock object does not exist",
            StoreReason::Released => "its last holder released it",
            StoreReason::WithinLease => {
                "it has not been seen unchanged for longer than its lease: the holder may be alive"
            }
            StoreReason::LeaseOver => {
                "it has been seen unchanged for longer than its lease: the holder is gone"
            }
            StoreReason::OwnDead => "this process wrote it, and has lost or given up that hold",
            StoreReason::BothClocks => {
                "by the holder's clock and by the store's, the last refresh is much older than the \
                 lease"
            }
            StoreReason::Foreign => "the object is not an RVLF record, so it is never written",
            StoreReason::Unsupported => "the record is of another version, so it is never written",
            StoreReason::OtherStamp => {
                "the record has no valid store stamp, so it is never written"
            }
            StoreReason::Damaged => {
                "the object is incomplete, damaged or too long, so it is never written"
            }
        }
    }
}

impl fmt::Display for StoreReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

/// Judges a lock in an object store by the evidence.
///
/// ```
/// use std::time::Duration;
/// use rvlf::judge::{StoreContent, StoreEvidence, StoreReason, StoreVerdict, judge_store};
/// use rvlf::record::StoreStamp;
///
/// let stamp = StoreStamp { generation: 8, lease_ms: 30_000, nonce: 7 };
/// let mut evidence = StoreEvidence {
///     content: StoreContent::Valid(stamp),
///     unchanged: Duration::from_secs(12),
///     own_dead: false,
///     both_clocks: None,
/// };
/// assert_eq!(judge_store(&evidence).stale_in(), Some(Duration::from_secs(18)));
///
/// evidence.unchanged = Duration::from_millis(30_001);
/// let stale = StoreVerdict::Stale { reason: StoreReason::LeaseOver };
/// assert_eq!(judge_store(&evidence), stale);
/// ```
#[must_use]
#[rustfmt::skip]
pub fn judge_store(evidence: &StoreEvidence) -> StoreVerdict {
    match evidence.content {
        StoreContent::Absent      => StoreVerdict::free(StoreReason::Absent),
        StoreContent::Foreign     => StoreVerdict::held(StoreReason::Foreign),
        StoreContent::Unsupported => StoreVerdict::held(StoreReason::Unsupported),
        StoreContent::OtherStamp  => StoreVerdict::held(StoreReason::OtherStamp),
        StoreContent::Damaged     => StoreVerdict::held(StoreReason::Damaged),
        StoreContent::Valid(stamp) if !stamp.is_within_limits() => StoreVerdict::held(StoreReason::OtherStamp),
        StoreContent::Valid(stamp) if stamp.is_released()       => StoreVerdict::free(StoreReason::Released),
        StoreContent::Valid(_) if evidence.own_dead             => StoreVerdict::stale(StoreReason::OwnDead),
        StoreContent::Valid(stamp) => by_age(evidence, stamp.lease()),
    }
}

/// A lock with a holder that is not this process: stale when the lease is over, or when both clocks say
/// so, if they are asked.
fn by_age(evidence: &StoreEvidence, lease: Duration) -> StoreVerdict {
    let unchanged = Age::Past(evidence.unchanged);
    if unchanged.exceeds(lease) {
        return StoreVerdict::stale(StoreReason::LeaseOver);
    }
    let left = unchanged.until(lease);
    let Some(clocks) = evidence.both_clocks else {
        return within_lease(left);
    };
    let limit = (lease * 10).max(OLD_BY_BOTH_CLOCKS);
    let ages = [clocks.timestamp_age, clocks.modified_age];
    if ages.iter().all(|age| age.exceeds(limit)) {
        return StoreVerdict::stale(StoreReason::BothClocks);
    }
    let [by_timestamp, by_modified] = ages.map(|age| age.until(limit));
    within_lease(left.min(by_timestamp.max(by_modified)))
}

/// The least age, by both clocks, of a lock that is stale by them: clocks that are kept by NTP or by
/// hand differ by less.
const OLD_BY_BOTH_CLOCKS: Duration = Duration::from_secs(300);

const fn within_lease(left: Duration) -> StoreVerdict {
    StoreVerdict::Held {
        reason: StoreReason::WithinLease,
        stale_in: Some(left),
    }
}
