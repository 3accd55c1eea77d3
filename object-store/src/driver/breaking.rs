//! Breaks a lock: takes it over, and releases it.

use std::sync::Arc;
use std::time::Duration;

use rvlf::{Record, WriterId, host};

use super::port::LONGEST_SLEEP;
use super::{Order, acquire, on_keepalive};
use crate::error::{AcquireError, BreakError};
use crate::lock::StoreLock;
use crate::loss::Lost;
use crate::register::Register;
use crate::sync::time::timeout;

/// What becomes of a hold whose lock is taken by force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    /// It may be alive, and believe for a part of its lease.
    IsWaitedFor,
    /// The user says so.
    IsDead,
}

type Broken = Result<Option<Record>, BreakError>;

/// Takes a stale lock over and releases it.
pub(crate) async fn break_stale(register: Arc<dyn Register>, order: Order) -> Broken {
    let name = register.name();
    on_keepalive(name, move |_| async move {
        let order = Order {
            stale_only: true,
            both_clocks: true,
            ..order
        };
        take(register, order, Victim::IsDead).await
    })
    .await
}

/// Takes the lock of `writer_id` over and releases it; when its lease is over, if the victim is waited for.
pub(crate) async fn break_forced(
    register: Arc<dyn Register>,
    order: Order,
    writer_id: WriterId,
    victim: Victim,
) -> Broken {
    let name = register.name();
    on_keepalive(name, move |_| async move {
        let order = Order {
            stale_only: true,
            forced: Some(writer_id),
            // A takeover that is cancelled is released at once, while the victim may still believe.
            cancel: None,
            ..order
        };
        take(register, order, victim).await
    })
    .await
}

async fn take(register: Arc<dyn Register>, order: Order, victim: Victim) -> Broken {
    let lock = match acquire(register, order).await {
        Ok(Some(lock)) => lock,
        Ok(None) => return Ok(None),
        Err(AcquireError::Held { holder }) => return Err(BreakError::Held { holder }),
        Err(error) => return Err(BreakError::Acquire(error)),
    };
    let taken_from = lock.reclaimed().copied();
    // Also if the record looked stale: then the wait costs a lease, once, and nothing rests on the look.
    if victim == Victim::IsWaitedFor {
        let stamp = taken_from.and_then(|record| record.store_stamp());
        let lease = stamp.map_or(Duration::ZERO, |stamp| stamp.lease());
        hold_for(&lock, lease).await.map_err(BreakError::Lost)?;
    }
    match lock.release().await {
        Ok(_) => Ok(taken_from),
        Err(error) => Err(BreakError::Lost(error.lost)),
    }
}

async fn hold_for(lock: &StoreLock, time: Duration) -> Result<(), Lost> {
    let until = host::since_boot() + time;
    loop {
        let left = until.saturating_sub(host::since_boot());
        if left.is_zero() {
            return lock.check_local();
        }
        if let Ok(lost) = timeout(left.min(LONGEST_SLEEP), lock.lost()).await {
            return Err(lost);
        }
    }
}
