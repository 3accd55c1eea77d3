//! Criterion for those benches that use it; the peers' do not.

use std::time::Duration;

/// In less time than its defaults take: the goals are judged by rounds that take turns.
pub fn criterion() -> criterion::Criterion {
    criterion::Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args()
}
