//! When a lease is renewed and how long a router may rely on it.
//!
//! The lease of an instance lives in Redis for its idle time after the last work. A router that
//! sends work without asking Redis relies on its last renewal, less a margin, so that it stops
//! relying before the cleaner can see the lease gone. All times are milliseconds of one
//! monotonic clock.

use std::time::Duration;

/// The shortest time between two renewals of one lease on one host.
pub const RENEWAL_INTERVAL: Duration = Duration::from_secs(1);

/// The shortest idle time: below it renewals could not keep up with the lease.
pub const MIN_IDLE: Duration = Duration::from_secs(2);

/// The longest lease of an instance that may not get work any more: it is renewed only while it
/// holds some.
pub const DRAINING_LEASE: Duration = Duration::from_secs(5);

/// How long a router relies on an instance that it can't lease because Redis is out of reach. For
/// longer than that, after Redis is back, the cleaner fences none.
pub const UNLEASED_RELIANCE: Duration = Duration::from_secs(5);

/// The idle time of functions and routers that set none.
pub const DEFAULT_IDLE: Duration = Duration::from_secs(60);

/// How long a start may take where nothing else is said.
pub const DEFAULT_START_TIMEOUT: Duration = Duration::from_secs(30);

/// What a host knows of an instance's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Activity {
    /// Requests that are under way on all workers.
    pub in_flight: u32,
    /// When work last began or ended.
    pub last_work: u64,
    /// When the lease was last renewed, successfully or not.
    pub renewed: u64,
    /// The idle time.
    pub idle: u64,
}

/// Whether the lease should be renewed at `now`, and if so for how many milliseconds from now.
///
/// It should when there was work since the last renewal and that renewal is an interval old. The
/// lease ends exactly the idle time after the last work; work under way counts as work now.
pub fn renewal(activity: Activity, now: u64) -> Option<u64> {
    let interval = RENEWAL_INTERVAL.as_millis() as u64;
    let worked = activity.in_flight > 0 || activity.last_work >= activity.renewed;
    if !worked || now.saturating_sub(activity.renewed) < interval {
        return None;
    }
    let since = if activity.in_flight > 0 {
        0
    } else {
        now.saturating_sub(activity.last_work)
    };
    activity.idle.checked_sub(since).filter(|&left| left > 0)
}

/// Until when a router relies on a lease that was renewed at `sent` (the time before the renewal
/// was sent) for `ttl` milliseconds.
///
/// The margin of a quarter, at least half a second, covers a renewal that is due but not yet
/// made, its way to Redis, and the difference of clock rates.
pub fn relied_until(sent: u64, ttl: u64) -> u64 {
    let margin = (ttl / 4).clamp(500, 5_000);
    sent + ttl.saturating_sub(margin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn idle_time_counts_from_the_last_work() {
        let activity = Activity {
            in_flight: 0,
            last_work: 10_000,
            renewed: 9_500,
            idle: 60_000,
        };
        assert_eq!(renewal(activity, 10_400), None, "too soon");
        assert_eq!(renewal(activity, 10_600), Some(59_400));
        let renewed = Activity {
            renewed: 10_600,
            ..activity
        };
        assert_eq!(renewal(renewed, 20_000), None, "nothing since");
        let short = Activity {
            idle: 1_000,
            ..activity
        };
        assert_eq!(renewal(short, 10_999), Some(1));
        assert_eq!(renewal(short, 11_000), None, "it has ended");
    }

    #[test]
    fn margin_is_a_quarter_within_bounds() {
        for (ttl, margin) in [(60_000, 5_000), (4_000, 1_000), (1_000, 500), (100, 100)] {
            assert_eq!(relied_until(7, ttl), 7 + ttl - margin, "{ttl}");
        }
    }

    #[test]
    fn work_under_way_renews_for_ever() {
        let mut activity = Activity {
            in_flight: 1,
            last_work: 0,
            renewed: 0,
            idle: 10_000,
        };
        for second in 1..4_000 {
            assert_eq!(renewal(activity, second * 1000), Some(10_000));
            activity.renewed = second * 1000;
        }
    }

    proptest! {
        /// A router never relies on a lease that Redis may have let go.
        #[test]
        fn reliance_ends_before_the_lease(sent in 0u64..1 << 40, ttl in 0u64..1 << 40) {
            prop_assert!(relied_until(sent, ttl) <= sent + ttl);
            if ttl >= 2_000 {
                prop_assert!(relied_until(sent, ttl) + 500 <= sent + ttl);
                prop_assert!(relied_until(sent, ttl) >= sent + ttl / 2);
            }
        }

        /// However work comes, a lease ends within its idle time of the last work, and not sooner.
        #[test]
        fn lease_ends_exactly(works in proptest::collection::vec(1u64..5_000, 1..40), idle in 2_000u64..60_000) {
            let (mut now, mut activity, mut ends) = (100_000, Activity { idle, last_work: 100_000, renewed: 99_000, ..Activity::default() }, 0);
            for pause in works {
                let next = now + pause;
                while now < next {
                    now += 1;
                    if now % 100 == 0 && let Some(ttl) = renewal(activity, now) {
                        activity.renewed = now;
                        ends = now + ttl;
                    }
                }
                activity.last_work = now;
            }
            for _ in 0..1_200 {
                now += 1;
                if now % 100 == 0 && let Some(ttl) = renewal(activity, now) {
                    activity.renewed = now;
                    ends = now + ttl;
                }
            }
            prop_assert_eq!(ends, activity.last_work + idle);
        }
    }
}
