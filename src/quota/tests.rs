use std::collections::HashMap;

use proptest::{collection::vec, prelude::*};

use super::*;

const NANO: Duration = Duration::from_nanos(1);

fn quota(burst: u32, per: Duration) -> Quota {
    Quota::new(NonZeroU32::new(burst).unwrap(), per).unwrap()
}

fn limiter(burst: u32, per: Duration, keys: u32) -> Limiter {
    Limiter::new(quota(burst, per), NonZeroU32::new(keys).unwrap()).unwrap()
}

prop_compose! {
    fn quotas()(burst in 1..40_u32, per in 1_000_000..600_000_000_000_u64) -> Quota {
        quota(burst, Duration::from_nanos(per))
    }
}

/// Pauses of all sizes that matter to `quota`: none, a nanosecond, parts of an interval, many intervals.
fn pauses(quota: Quota) -> impl Strategy<Value = Vec<Duration>> {
    let interval = quota.interval;
    let pause = prop_oneof![
        Just(0),
        Just(1),
        0..=interval,
        Just(interval - 1),
        Just(interval),
        Just(interval + 1),
        0..=interval * u64::from(quota.burst.get()) * 2,
    ];
    vec(pause.prop_map(Duration::from_nanos), 1..80)
}

proptest! {
    #[test]
    fn no_window_holds_more_than_the_burst_and_what_came_back(
        (quota, pauses) in quotas().prop_flat_map(|quota| (Just(quota), pauses(quota)))
    ) {
        let limiter = Limiter::new(quota, NonZeroU32::MIN).unwrap();
        let mut now = Duration::ZERO;
        let mut allowed = Vec::new();
        for pause in pauses {
            now += pause;
            if limiter.check("k", now).is_allowed() {
                allowed.push(now.as_nanos());
            }
        }
        let (burst, per) = (u128::from(quota.burst.get()), quota.per.as_nanos());
        for (first, from) in allowed.iter().enumerate() {
            for (last, to) in allowed.iter().enumerate().skip(first) {
                let count = (last - first + 1) as u128;
                prop_assert!(count <= burst + (to - from) * burst / per, "{count} in {} ns", to - from);
            }
        }
    }

    #[test]
    fn retry_after_is_the_edge_itself(
        (quota, pauses) in quotas().prop_flat_map(|quota| (Just(quota), pauses(quota)))
    ) {
        let limiter = Limiter::new(quota, NonZeroU32::MIN).unwrap();
        let mut now = Duration::ZERO;
        for pause in pauses {
            now += pause;
            let decision = limiter.check("k", now);
            if decision.is_allowed() {
                prop_assert_eq!(decision.retry_after(), Duration::ZERO);
            } else {
                let edge = now + decision.retry_after();
                prop_assert!(decision.retry_after() >= NANO);
                prop_assert!(!limiter.check("k", edge - NANO).is_allowed());
                prop_assert!(limiter.check("k", edge).is_allowed());
                now = edge;
            }
        }
    }

    #[test]
    fn remaining_is_what_is_left_and_reset_is_when_all_is_back(
        (quota, pauses) in quotas().prop_flat_map(|quota| (Just(quota), pauses(quota)))
    ) {
        let limiter = Limiter::new(quota, NonZeroU32::MIN).unwrap();
        let mut now = Duration::ZERO;
        for pause in pauses {
            now += pause;
            let mut decision = limiter.check("k", now);
            for left in (0..decision.remaining()).rev() {
                decision = limiter.check("k", now);
                prop_assert!(decision.is_allowed());
                prop_assert_eq!(decision.remaining(), left);
            }
            decision = limiter.check("k", now);
            prop_assert!(!decision.is_allowed());
            now += decision.reset_after();
            let whole = limiter.check("k", now);
            prop_assert!(whole.is_allowed());
            prop_assert_eq!(whole.remaining(), quota.burst.get() - 1);
        }
    }

    /// One set of 32 and up to 200 keys, against a table without a bound: forgetting never changes a decision.
    #[test]
    fn a_bounded_table_decides_like_an_unbounded_one(
        (quota, steps) in quotas().prop_flat_map(|quota| {
            let pause = prop_oneof![Just(0), 0..=quota.interval, 0..=quota.interval * u64::from(quota.burst.get())];
            (Just(quota), vec((0..200_u32, pause), 1..400))
        })
    ) {
        let bounded = Limiter::new(quota, NonZeroU32::MIN).unwrap();
        let mut unbounded: HashMap<u32, u64> = HashMap::new();
        let tolerance = quota.interval * u64::from(quota.burst.get() - 1);
        let mut now = 0;
        for (key, pause) in steps {
            now += pause;
            let decision = bounded.check(&key, Duration::from_nanos(now));
            let live = unbounded.values().filter(|arrival| **arrival > now).count();
            let arrival = unbounded.get(&key).copied().unwrap_or(now).max(now);
            if decision.is_crowded() {
                prop_assert!(!decision.is_allowed());
                prop_assert_eq!(live, bounded.capacity(), "refused for room while there was some");
                prop_assert_eq!(arrival, now, "a key that was being limited was forgotten");
                continue;
            }
            prop_assert_eq!(decision.is_allowed(), arrival - now <= tolerance);
            if decision.is_allowed() {
                unbounded.insert(key, arrival + quota.interval);
            }
        }
    }
}

#[test]
fn a_flood_of_keys_takes_no_memory_and_frees_nobody() {
    let hour = Duration::from_secs(3600);
    let limiter = limiter(1, hour, 1_000);
    let before = limiter.memory();
    assert_eq!(limiter.capacity(), 1_024);
    assert!(before <= limiter.capacity() * 17 + 1_024, "{before} bytes");

    assert!(limiter.check("honest", Duration::ZERO).is_allowed());
    let mut admitted = Vec::new();
    for key in 0..100_000_u32 {
        let decision = limiter.check(&key, Duration::from_nanos(u64::from(key)));
        if decision.is_allowed() {
            admitted.push(key);
        } else {
            assert!(decision.is_crowded(), "key {key} was never seen before");
            assert!(decision.retry_after() > Duration::ZERO && decision.retry_after() <= hour);
        }
    }
    let now = Duration::from_millis(1);
    assert_eq!(admitted.len() + 1, limiter.capacity(), "the flood fills the table and no more");
    assert!(!limiter.check("honest", now).is_allowed(), "the flood made the table forget");
    assert!(!limiter.check("honest", now).is_crowded());
    for key in &admitted {
        assert!(!limiter.check(key, now).is_allowed(), "key {key} got a second burst");
    }
    assert_eq!(limiter.memory(), before);
    // When the flood has run out, its places are free again.
    assert!(limiter.check("newcomer", hour + now).is_allowed());
    assert!(limiter.check("honest", hour + now).is_allowed());
}

#[test]
fn threads_that_race_for_one_key_share_one_burst() {
    let limiter = limiter(100, Duration::from_secs(3600), 64);
    let allowed: usize = std::thread::scope(|scope| {
        let ask = || (0..500).filter(|_| limiter.check("k", Duration::ZERO).is_allowed()).count();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(allowed, 100);
}

#[test]
fn a_time_past_counting_does_not_panic() {
    let limiter = limiter(2, Duration::from_secs(1), 1);
    let end = Duration::MAX;
    assert!(limiter.check("k", Duration::ZERO).is_allowed());
    // 584 years; the arithmetic saturates.
    let _ = limiter.check("k", end);
    let _ = limiter.check("k", Duration::ZERO);
    let _ = limiter.check("other", end);
}

#[test]
fn settings_that_cannot_be_used() {
    let one = NonZeroU32::MIN;
    for bad in [Duration::ZERO, Duration::from_micros(999), Quota::LONGEST + NANO, Duration::MAX] {
        assert_eq!(Quota::new(one, bad), Err(QuotaError::Per), "{bad:?}");
    }
    for good in [Duration::from_millis(1), Quota::LONGEST] {
        for burst in [one, NonZeroU32::MAX] {
            let limiter = Limiter::new(Quota::new(burst, good).unwrap(), one).unwrap();
            assert!(limiter.check("k", Duration::ZERO).is_allowed(), "{burst} in {good:?}");
        }
    }
    let too_many = Limiter::new(Quota::per_minute(one), NonZeroU32::new((1 << 24) + 1).unwrap());
    assert_eq!(too_many.err(), Some(QuotaError::Keys));
}

#[test]
fn a_limiter_prints_no_key() {
    let limiter = limiter(1, Duration::from_secs(1), 1);
    let _ = limiter.check("canary", Duration::ZERO);
    assert!(!format!("{limiter:?}").contains("canary"));
}
