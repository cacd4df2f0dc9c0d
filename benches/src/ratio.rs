//! Two ways to do one thing, measured against each other in one run.
//!
//! On shared processors the same binary's times move by half from one minute to the next, and a ratio of two that took
//! turns does not. Criterion measures one after the other, so the turns are taken here.

use std::{fmt, hint::black_box, time::Duration};

use rustix::time::{ClockId, clock_gettime};

/// Where a ratio has to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// At most so many times what the floor takes.
    AtMost(f64),
    /// At least so many times what the floor does.
    AtLeast(f64),
    /// Nothing was promised.
    None,
}

impl Target {
    pub(crate) fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::AtMost(most) => ratio <= most,
            Self::AtLeast(least) => ratio >= least,
            Self::None => true,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "≤ {}", short(*most)),
            Self::AtLeast(least) => write!(f, "≥ {}", short(*least)),
            Self::None => f.write_str("–"),
        }
    }
}

/// Three decimals at most.
fn short(number: f64) -> String {
    format!("{number:.3}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) floor: String,
    pub(crate) ours: String,
    pub(crate) ratio: f64,
    pub(crate) target: Target,
}

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) batch: Duration,
}

/// The processor time of this thread: what others do meanwhile is not in it.
pub(crate) fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// Processor time of one call of each, in nanoseconds, and the median of the ratios of all rounds.
pub(crate) fn compare<A, B>(
    effort: Effort,
    mut floor: impl FnMut() -> A,
    mut ours: impl FnMut() -> B,
) -> (f64, f64, f64) {
    let mut floor = |times| run(times, &mut floor);
    let mut ours = |times| run(times, &mut ours);
    let (a, b) = (calibrate(effort, &mut floor), calibrate(effort, &mut ours));
    let mut rounds = Vec::with_capacity(effort.rounds);
    for round in 0..effort.rounds {
        let (x, y);
        if round % 2 == 0 {
            x = floor(a);
            y = ours(b);
        } else {
            y = ours(b);
            x = floor(a);
        }
        rounds.push((x, y));
    }
    (median(rounds.iter().map(|r| r.0)), median(rounds.iter().map(|r| r.1)), median(rounds.iter().map(|r| r.1 / r.0)))
}

fn run<T>(times: u32, work: &mut impl FnMut() -> T) -> f64 {
    let before = thread_time();
    for _ in 0..times {
        black_box(work());
    }
    (thread_time() - before).as_secs_f64() * 1e9 / f64::from(times)
}

/// How often to call it so that a batch lasts as long as it should.
fn calibrate(effort: Effort, work: &mut impl FnMut(u32) -> f64) -> u32 {
    let mut times = 1_u32;
    loop {
        let took = work(times) * f64::from(times);
        let wanted = effort.batch.as_secs_f64() * 1e9;
        if took >= wanted / 4.0 || times > 1 << 24 {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by the clamp")]
            return (f64::from(times) * wanted / took.max(1.0)).clamp(1.0, 1e8) as u32;
        }
        times *= 4;
    }
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Nanoseconds for people.
pub(crate) fn time(nanos: f64) -> String {
    match nanos {
        n if n < 1e3 => format!("{n:.0} ns"),
        n if n < 1e6 => format!("{:.2} µs", n / 1e3),
        n => format!("{:.2} ms", n / 1e6),
    }
}

/// [`compare`] as a line of the table.
pub(crate) fn row<A, B>(
    effort: Effort,
    what: &str,
    target: Target,
    floor: impl FnMut() -> A,
    ours: impl FnMut() -> B,
) -> Row {
    let (floor, ours, ratio) = compare(effort, floor, ours);
    Row { what: what.to_owned(), floor: time(floor), ours: time(ours), ratio, target }
}
