//! Whether the clocks may be asked: not where this machine's differs from the store's.

use std::sync::Arc;
use std::time::Duration;

use rvlf::host;
use rvlf::judge::StoreReason;

use super::looking::look;
use super::{Order, SelfTest};
use crate::keepalive::Keepalive;
use crate::register::Register;
use crate::self_test::store_time;
use crate::sights::Watch;

/// By how much the two clocks may differ: stores report whole seconds, and the least age that counts is 300 s.
const TOLERANCE: Duration = Duration::from_secs(60);

/// For three requests. Without their answers the clocks are not asked.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether the clocks call the lock stale, and this machine's agrees with the store's.
///
/// Both ages are measured by this machine's clock. If it is ahead by minutes, the holder's timestamp and the
/// store's modification time both look old, and a live holder would lose its lock by one wrong clock. If it
/// agrees with the store's, the modification time is right.
pub(super) async fn may_decide(
    keepalive: &'static Keepalive,
    register: Arc<dyn Register>,
    order: &Order,
) -> bool {
    let looked = look(keepalive, register, order.timing, &mut Watch::default()).await;
    let is_old = looked.is_ok_and(|report| report.verdict().reason() == StoreReason::BothClocks);
    match &order.self_test {
        Some(test) => is_old && agrees(test).await,
        // Nowhere to write, or the user does not want it: then the user answers for the clock.
        None => is_old,
    }
}

async fn agrees(test: &SelfTest) -> bool {
    let now = || Duration::from_nanos(host::unix_ns());
    let before = now();
    let written = store_time(&*test.scratch, &test.lock_key, PATIENCE).await;
    let (earliest, latest) = (before.saturating_sub(TOLERANCE), now() + TOLERANCE);
    matches!(written, Ok(Some(time)) if (earliest..=latest).contains(&time))
}
