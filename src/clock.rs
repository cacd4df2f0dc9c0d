//! Time, injected: every expiry in this crate asks a [`Clock`], so each one is tested at both sides of its edge.
//!
//! ```
//! use std::time::Duration;
//! use tower_ward::clock::{Clock, ManualClock, SharedClock, Timestamp};
//!
//! let clock = ManualClock::at("2026-01-01T00:00:00Z".parse()?);
//! let given: SharedClock = clock.shared(); // what the parts of the crate are given
//! let before: Timestamp = given.now();
//! clock.advance(Duration::from_secs(60));
//! assert_eq!(given.now().duration_since(before).as_secs(), 60);
//! assert!("yesterday".parse::<Timestamp>().is_err());
//! # Ok::<(), jiff::Error>(())
//! ```
//!
//! # Security
//!
//! Who sets the machine's clock back prolongs tokens, relations and jobs by as much; limits, deadlines and lockouts count
//! monotonic time, which nobody sets. A token or session from a time that has not come is refused until it has. Give every
//! part the same clock, or what one takes for expired another does not.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

pub use jiff::Timestamp;
#[cfg(any(target_os = "android", target_os = "linux"))]
use rustix::time::{ClockId, clock_gettime};

/// Where the time comes from.
///
/// Wall time ([`now`](Clock::now)) stands in records and tokens; monotonic time
/// ([`monotonic`](Clock::monotonic)) measures, and never goes backwards.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The wall time.
    fn now(&self) -> Timestamp;
    /// Time since some fixed moment in the life of this clock.
    fn monotonic(&self) -> Duration;
    /// The same, never ahead of it and at most some ten milliseconds behind, for what is asked often and is a matter of
    /// seconds. Asks [`monotonic`](Clock::monotonic) unless the clock has something cheaper.
    fn coarse(&self) -> Duration {
        self.monotonic()
    }
}

/// A clock that parts of the crate share.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug, Clone)]
pub struct SystemClock {
    start: Instant,
    /// The same moment on the clock that the coarse one follows.
    #[cfg(any(target_os = "android", target_os = "linux"))]
    kernel: Duration,
}

impl SystemClock {
    /// A clock that starts counting monotonic time now.
    #[must_use]
    pub fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's monotonic clock")]
        let start = Instant::now();
        Self {
            start,
            #[cfg(any(target_os = "android", target_os = "linux"))]
            kernel: kernel(ClockId::Monotonic),
        }
    }

    /// The machine's clock, ready to be shared.
    #[must_use]
    pub fn shared() -> SharedClock {
        Arc::new(Self::new())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's wall clock")]
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    #[cfg(any(target_os = "android", target_os = "linux"))]
    fn coarse(&self) -> Duration {
        kernel(ClockId::MonotonicCoarse).saturating_sub(self.kernel)
    }
}

#[cfg(any(target_os = "android", target_os = "linux"))]
fn kernel(clock: ClockId) -> Duration {
    // Neither is negative: these clocks count from when the machine was started.
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// A clock that stands still until it is told to move. Clones share the same time.
///
/// ```
/// use std::time::Duration;
/// use tower_ward::clock::{Clock, ManualClock};
///
/// let clock = ManualClock::at("2026-10-25T01:00:00Z".parse()?);
/// clock.advance(Duration::from_secs(5));
/// // Somebody sets the machine's clock back by an hour: what is measured is not touched.
/// clock.set("2026-10-25T00:00:05Z".parse()?);
/// assert_eq!(clock.now().to_string(), "2026-10-25T00:00:05Z");
/// assert_eq!(clock.monotonic(), Duration::from_secs(5));
/// # Ok::<(), jiff::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock {
    start: Timestamp,
    elapsed_ns: Arc<AtomicU64>,
    /// By how much the wall time is ahead of start and elapsed time, since somebody set it.
    set_ns: Arc<AtomicI64>,
}

impl ManualClock {
    /// A clock that stands at `start`.
    #[must_use]
    pub fn at(start: Timestamp) -> Self {
        Self { start, elapsed_ns: Arc::new(AtomicU64::new(0)), set_ns: Arc::new(AtomicI64::new(0)) }
    }

    /// Moves the time forward. Saturates after 584 years.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        // fetch_update cannot fail: the closure always returns Some.
        let _ = self.elapsed_ns.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| Some(now.saturating_add(by)));
    }

    /// Sets the wall time, forward or back, as somebody does who corrects a machine's clock. Monotonic time goes on.
    /// Saturates 292 years from where it started.
    pub fn set(&self, wall: Timestamp) {
        let ahead =
            wall.as_nanosecond() - self.start.as_nanosecond() - i128::from(self.elapsed_ns.load(Ordering::Acquire));
        let ahead = i64::try_from(ahead).unwrap_or(if ahead < 0 { i64::MIN } else { i64::MAX });
        self.set_ns.store(ahead, Ordering::Release);
    }

    /// This clock, ready to be shared; keep a clone to move it.
    #[must_use]
    pub fn shared(&self) -> SharedClock {
        Arc::new(self.clone())
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        let since = jiff::SignedDuration::from_nanos(self.set_ns.load(Ordering::Acquire));
        let wall = self.start.checked_add(self.monotonic()).unwrap_or(Timestamp::MAX);
        wall.checked_add(since).unwrap_or(if since.is_negative() { Timestamp::MIN } else { Timestamp::MAX })
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.elapsed_ns.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coarse_time_is_never_ahead_and_never_far_behind() {
        let clock = SystemClock::new();
        let mut worst = Duration::ZERO;
        for _ in 0..2_000 {
            std::thread::sleep(Duration::from_micros(20));
            let (coarse, fine) = (clock.coarse(), clock.monotonic());
            assert!(coarse <= fine, "{coarse:?} is ahead of {fine:?}");
            let (fine, coarse) = (clock.monotonic(), clock.coarse());
            worst = worst.max(fine.saturating_sub(coarse));
        }
        assert!(worst <= Duration::from_millis(20), "it is {worst:?} behind");
        let manual = ManualClock::at(Timestamp::UNIX_EPOCH);
        manual.advance(Duration::from_secs(1));
        assert_eq!(manual.coarse(), Duration::from_secs(1), "a clock without a coarse one is exact");
    }
}
