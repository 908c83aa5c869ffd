//! The rate limit of evaluations: at most [`BATCH`] every [`PAUSE`], and at most a tenth of one processor.

use std::time::{Duration, Instant};

use tokio::time::sleep;

/// How many ServiceAccounts are evaluated at once.
pub const BATCH: usize = 10;

/// The shortest pause between two batches: 1,000 evaluations per second at most.
pub const PAUSE: Duration = Duration::from_millis(10);

/// A batch is followed by a pause at least so many times as long as it took.
const REST: u32 = 9;

/// Repeats a step until it returns that there is nothing left to do. Each is followed by its pause. `clock` measures the steps.
pub(super) async fn until_done(clock: impl Fn() -> Instant, mut step: impl FnMut() -> Step) {
    loop {
        let began = clock();
        let done = step();
        sleep(pause_after(clock().saturating_duration_since(began))).await;
        if done == Step::NothingLeft {
            return;
        }
    }
}

/// Whether there may be more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Worked,
    NothingLeft,
}

/// The pause after work that took so long.
fn pause_after(took: Duration) -> Duration {
    PAUSE.max(took.saturating_mul(REST))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// The time that so many steps of this length take, pauses included.
    async fn time_of(steps: u32, length: Duration) -> Duration {
        let (clock, left) = (Cell::new(Instant::now()), Cell::new(steps));
        let began = tokio::time::Instant::now();
        let step = || {
            clock.set(clock.get() + length);
            left.set(left.get() - 1);
            if left.get() == 0 {
                Step::NothingLeft
            } else {
                Step::Worked
            }
        };
        until_done(|| clock.get(), step).await;
        // The paused clock of the runtime counts the pauses only.
        began.elapsed() + length * steps
    }

    #[tokio::test(start_paused = true)]
    async fn steps_take_at_most_a_tenth_of_the_time() {
        for length in [2, 5, 40, 700].map(Duration::from_millis) {
            let total = time_of(100, length).await;
            assert!(length * 100 * 10 <= total, "{length:?}: {total:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_at_most_1000_judgments_per_second_however_short_they_are() {
        for length in [0, 1, 100, 1_100].map(Duration::from_micros) {
            let total = time_of(100, length).await;
            let judgments = 100 * u32::try_from(BATCH).unwrap();
            assert!(
                f64::from(judgments) <= 1_000.0 * total.as_secs_f64(),
                "{length:?}: {total:?}"
            );
        }
    }

    #[test]
    fn a_pause_is_nine_times_as_long_as_its_step_and_never_shorter_than_the_least() {
        for (took, pause) in [
            (0, 10_000),
            (1_000, 10_000),
            (1_111, 10_000),
            (1_112, 10_008),
            (20_000, 180_000),
        ] {
            let [took, pause] = [took, pause].map(Duration::from_micros);
            assert_eq!(pause_after(took), pause, "{took:?}");
        }
        assert_eq!(pause_after(Duration::MAX), Duration::MAX);
    }
}
