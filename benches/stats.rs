//! Medians, percentiles, and measuring two sides turn by turn.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::Outcome;

/// The middle value; 0 of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5)
}

/// The value below which the share `at` (0 to 1) of all lies; 0 of none.
pub(crate) fn percentile(values: &[f64], at: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1) as f64;
    let place = last * at;
    let value = |place: f64| sorted.get(place as usize).copied().unwrap_or(0.0);
    let (low, high) = (value(place.floor()), value(place.ceil()));
    low + (high - low) * place.fract()
}

/// The least and the greatest, if there are several.
pub(crate) fn range(values: &[f64]) -> Option<(f64, f64)> {
    let least = values.iter().copied().reduce(f64::min)?;
    let greatest = values.iter().copied().reduce(f64::max)?;
    (values.len() > 1).then_some((least, greatest))
}

/// Repetitions of both sides.
pub(crate) struct Pair<T> {
    pub(crate) ours: Vec<T>,
    pub(crate) baseline: Vec<T>,
}

/// Measures both sides `rounds` times turn by turn, the first to go changing each time: what the
/// machine does meanwhile then falls on both alike.
pub(crate) fn interleave<T>(
    rounds: usize,
    mut ours: impl FnMut(usize) -> Outcome<T>,
    mut baseline: impl FnMut(usize) -> Outcome<T>,
) -> Outcome<Pair<T>> {
    let mut pair = Pair {
        ours: Vec::new(),
        baseline: Vec::new(),
    };
    for round in 0..rounds {
        if round % 2 == 0 {
            pair.ours.push(ours(round)?);
            pair.baseline.push(baseline(round)?);
        } else {
            pair.baseline.push(baseline(round)?);
            pair.ours.push(ours(round)?);
        }
    }
    Ok(pair)
}

/// How long `work` takes.
pub(crate) fn timed<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<(T, Duration)> {
    let began = now();
    let result = work()?;
    Ok((result, now().saturating_sub(began)))
}

/// Whether the processor's time is counted instead of time that passes.
static PROCESSOR: AtomicBool = AtomicBool::new(false);

/// From now on the time is that of the processor, all threads of this program together.
pub(crate) fn count_processor_time() {
    PROCESSOR.store(true, Ordering::Relaxed);
}

/// The time; only differences mean something.
pub(crate) fn now() -> Duration {
    let clock = match PROCESSOR.load(Ordering::Relaxed) {
        true => ClockId::ProcessCPUTime,
        false => ClockId::Monotonic,
    };
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}

/// Milliseconds.
pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Microseconds.
pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_neighbours() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(percentile(&[1.0, 2.0], 1.0), 2.0);
        assert_eq!(median(&[]), 0.0);
        assert_eq!(range(&[2.0, 1.0]), Some((1.0, 2.0)));
        assert_eq!(range(&[2.0]), None);
    }

    #[test]
    fn sides_take_turns_in_going_first() {
        let order = std::cell::RefCell::new(String::new());
        let note = |side: char| {
            order.borrow_mut().push(side);
            Ok(())
        };
        let pair = interleave(3, |_| note('a'), |_| note('b')).map(|pair| pair.ours.len());
        assert_eq!(pair.ok(), Some(3));
        assert_eq!(order.into_inner(), "abbaab");
    }
}
