//! [`Shared`]: what the guard of a lock and the task that keeps it share.

use std::sync::PoisonError;
use std::time::Duration;

use rvlf::host;
use tokio::sync::watch;

use crate::loss::{LossReason, Lost};
use crate::machine::Content;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// The belief is over, for good.
const OVER: u64 = 0;

pub(crate) struct Shared {
    pub(crate) name: String,
    /// Until when the holder believes, in nanoseconds since boot.
    believed_until: AtomicU64,
    content: Mutex<Content>,
    loss: watch::Sender<Option<LossReason>>,
}

impl Shared {
    pub(crate) fn new(name: String, content: Content, until: Duration) -> Shared {
        Shared {
            name,
            believed_until: AtomicU64::new(nanos(until)),
            content: Mutex::new(content),
            loss: watch::Sender::new(None),
        }
    }

    /// Prolongs the belief, or ends it with zero. `false` if it had ended.
    pub(crate) fn believe_until(&self, until: Duration) -> bool {
        let until = nanos(until);
        let prolong = |now| (now != OVER).then_some(until);
        let relaxed = Ordering::Relaxed;
        let earlier = self
            .believed_until
            .fetch_update(Ordering::AcqRel, relaxed, prolong);
        earlier.is_ok() || until == OVER
    }

    pub(crate) fn stop_believing(&self) {
        self.believed_until.store(OVER, Ordering::Release);
    }

    /// Whether the holder may believe now. Without I/O and without waiting for the thread of the crate,
    /// which may not have run since the belief ended. The first "no" is the last word.
    pub(crate) fn check(&self) -> Result<(), Lost> {
        loop {
            let until = self.believed_until.load(Ordering::Acquire);
            if nanos(host::since_boot()) < until {
                return Ok(());
            }
            // Fails if the thread prolongs it at this moment: then the belief has not ended.
            let (new, relaxed) = (Ordering::AcqRel, Ordering::Relaxed);
            let over = self
                .believed_until
                .compare_exchange(until, OVER, new, relaxed);
            if over.is_ok() {
                let reason = self.loss();
                return Err(self.lost_by(reason.unwrap_or(LossReason::Expired)));
            }
        }
    }

    /// How long the belief lasts if the store confirms no other write.
    pub(crate) fn expires_in(&self) -> Duration {
        let until = Duration::from_nanos(self.believed_until.load(Ordering::Acquire));
        until.saturating_sub(host::since_boot())
    }

    /// The first reason stays.
    pub(crate) fn lose(&self, reason: LossReason) {
        self.stop_believing();
        self.loss.send_if_modified(|loss| {
            let is_first = loss.is_none();
            loss.get_or_insert(reason);
            is_first
        });
    }

    pub(crate) fn loss(&self) -> Option<LossReason> {
        self.loss.borrow().clone()
    }

    /// Waits until the lock is lost or released.
    pub(crate) async fn lost(&self) -> Lost {
        let mut loss = self.loss.subscribe();
        let reason = match loss.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or(LossReason::Expired),
            // The sender lives as long as this does.
            Err(_) => LossReason::Expired,
        };
        self.lost_by(reason)
    }

    pub(crate) fn lost_by(&self, reason: LossReason) -> Lost {
        Lost {
            name: self.name.clone(),
            reason,
        }
    }

    pub(crate) fn content(&self) -> Content {
        self.locked_content().clone()
    }

    pub(crate) fn set_content(&self, content: &Content) {
        let mut known = self.locked_content();
        if known.bytes != content.bytes {
            *known = content.clone();
        }
    }

    fn locked_content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::sights::tests::record;

    fn shared(until: Duration) -> Shared {
        let bytes = Bytes::copy_from_slice(&record(1).encode());
        let content = Content::of(&bytes).expect("it is a record");
        Shared::new("lock".to_owned(), content, until)
    }

    // A caller that has received "lost" has stopped its writers. An answer that is handled just after must not
    // make the same lock look held again.
    #[test]
    fn belief_that_a_caller_saw_end_is_not_prolonged() {
        let shared = shared(Duration::from_nanos(1));
        let lost = shared
            .check()
            .expect_err("one nanosecond after boot is over");
        assert_eq!(lost.reason, LossReason::Expired);
        assert!(!shared.believe_until(Duration::MAX));
        assert!(shared.check().is_err());
    }

    #[test]
    fn belief_is_prolonged_until_it_ends_and_its_first_reason_stays() {
        let shared = shared(host::since_boot() + Duration::from_secs(600));
        assert!(shared.check().is_ok());
        assert!(shared.believe_until(Duration::MAX));
        shared.lose(LossReason::Removed);
        shared.lose(LossReason::Released);
        let lost = shared.check().expect_err("it is lost");
        assert_eq!(lost.reason, LossReason::Removed);
        assert_eq!(shared.expires_in(), Duration::ZERO);
    }
}
