//! Looks at a lock from outside: once, or until it is free.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rvlf::host;
use rvlf::judge::StoreVerdict;

use super::{CANCEL_POLL, Order, moment, on_keepalive};
use crate::error::{StoreError, WaitError};
use crate::keepalive::Keepalive;
use crate::machine::{Content, ErrorClass, Found, Pause, Timing, judge};
use crate::register::{Register, RegisterError};
use crate::report::LockReport;
use crate::sights::Watch;
use crate::sync::time::{sleep, timeout};

/// One look, which asks both clocks.
pub(crate) async fn inspect(
    register: Arc<dyn Register>,
    timing: Timing,
) -> Result<LockReport, StoreError> {
    let name = register.name();
    on_keepalive(name, move |keepalive| async move {
        look(keepalive, register, timing, &mut Watch::default()).await
    })
    .await
}

/// The bytes of the object, whatever they are.
pub(crate) async fn read(
    register: Arc<dyn Register>,
    timing: Timing,
) -> Result<Option<Bytes>, StoreError> {
    let found = on_keepalive(register.name(), move |_| get(register, timing)).await?;
    Ok(match found {
        Found::Absent => None,
        Found::Present(stored) => Some(stored.bytes),
    })
}

async fn get(register: Arc<dyn Register>, timing: Timing) -> Result<Found, StoreError> {
    let name = register.name();
    match timeout(timing.request_timeout(), register.get()).await {
        Err(_) => Err(StoreError::NoAnswer { name, source: None }),
        Ok(Err(error)) => Err(of_class(name, error)),
        Ok(Ok(found)) => Ok(found),
    }
}

pub(super) async fn look(
    keepalive: &'static Keepalive,
    register: Arc<dyn Register>,
    timing: Timing,
    watch: &mut Watch,
) -> Result<LockReport, StoreError> {
    let name = register.name();
    let found = get(register, timing).await?;
    let at = moment();
    let first_seen = keepalive.see(watch, &found, at.boottime);
    let unchanged = at.boottime.saturating_sub(first_seen);
    let own_dead = keepalive.memory().holds.dead();
    let look = judge(&found, unchanged, &own_dead, true, &at);
    let payload = match &found {
        Found::Absent => None,
        Found::Present(stored) => Content::of(&stored.bytes).map(|content| content.payload),
    };
    Ok(LockReport::new(name, look, keepalive).with_payload(payload))
}

fn of_class(name: String, error: RegisterError) -> StoreError {
    let class = error.class;
    let source = Some(error);
    match class {
        ErrorClass::Unknown => StoreError::NoAnswer { name, source },
        ErrorClass::Denied => StoreError::Denied { name, source },
        ErrorClass::Permanent => StoreError::Permanent { name, source },
    }
}

/// Looks until the lock is not held, or the timeout has passed.
pub(crate) async fn wait_until_free(
    register: Arc<dyn Register>,
    order: Order,
) -> Result<LockReport, WaitError> {
    let name = register.name();
    on_keepalive(name, move |keepalive| wait(keepalive, register, order)).await
}

async fn wait(
    keepalive: &'static Keepalive,
    register: Arc<dyn Register>,
    order: Order,
) -> Result<LockReport, WaitError> {
    let deadline = host::since_boot().saturating_add(order.timeout);
    let mut pause = Pause::up_to(order.timing.longest_pause());
    let mut watch = Watch::default();
    loop {
        let looked = look(keepalive, register.clone(), order.timing, &mut watch).await;
        let is_over = host::since_boot() >= deadline;
        let stale_in = match looked {
            Ok(report) => match report.verdict() {
                StoreVerdict::Held {
                    stale_in: Some(stale_in),
                    ..
                } if !is_over => Some(stale_in),
                _ => return Ok(report),
            },
            Err(StoreError::NoAnswer { .. }) if !is_over => None,
            Err(error) => return Err(error.into()),
        };
        let mut next = pause.next(moment().random);
        if let Some(stale_in) = stale_in {
            // Stale is older than the lease, not as old.
            next = next.min(stale_in + Duration::from_millis(1));
        }
        rest((host::since_boot() + next).min(deadline), &order, &register).await?;
    }
}

/// Sleeps, unless the token of the caller is cancelled.
async fn rest(
    until: Duration,
    order: &Order,
    register: &Arc<dyn Register>,
) -> Result<(), WaitError> {
    loop {
        if order
            .cancel
            .as_ref()
            .is_some_and(|token| token.is_cancelled())
        {
            let name = register.name();
            return Err(WaitError::Cancelled { name });
        }
        let left = until.saturating_sub(host::since_boot());
        if left.is_zero() {
            return Ok(());
        }
        sleep(left.min(CANCEL_POLL)).await;
    }
}
