//! The clock of the certificate rotation, which tests can advance by a year at once.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::{BoxFuture, FutureExt as _};
use tokio::sync::watch;
use tokio::time::Instant;

/// A moment, by both clocks of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time of day, which the validity of certificates refers to. It might be set forward and back.
    pub wall: SystemTime,
    /// The time since a fixed moment, for pauses that must not depend on the time of day. It never goes back.
    pub steady: Duration,
}

/// A source of time.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Moment;

    /// Resolves when `steady` has come.
    fn wait_until(&self, steady: Duration) -> BoxFuture<'static, ()>;
}

/// The machine's own clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    begun: Instant,
}

impl SystemClock {
    /// A clock whose steady time begins now.
    #[must_use]
    pub fn new() -> Self {
        Self { begun: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        Moment {
            wall: SystemTime::now(),
            steady: self.begun.elapsed(),
        }
    }

    fn wait_until(&self, steady: Duration) -> BoxFuture<'static, ()> {
        match self.begun.checked_add(steady) {
            Some(until) => tokio::time::sleep_until(until).boxed(),
            None => std::future::pending().boxed(),
        }
    }
}

/// A clock that tests advance. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct HandClock {
    now: Arc<watch::Sender<Moment>>,
}

impl HandClock {
    /// A clock that shows this time of day.
    #[must_use]
    pub fn new(wall: SystemTime) -> Self {
        let now = Moment {
            wall,
            steady: Duration::ZERO,
        };
        Self {
            now: Arc::new(watch::Sender::new(now)),
        }
    }

    /// Lets time pass.
    pub fn advance(&self, time: Duration) {
        self.now.send_modify(|now| {
            now.wall = now.wall.checked_add(time).unwrap_or(now.wall);
            now.steady = now.steady.saturating_add(time);
        });
    }

    /// Sets the time of day; no time passes.
    pub fn set(&self, wall: SystemTime) {
        self.now.send_modify(|now| now.wall = wall);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Moment {
        *self.now.borrow()
    }

    fn wait_until(&self, steady: Duration) -> BoxFuture<'static, ()> {
        let mut now = self.now.subscribe();
        async move {
            // It fails when the clock is dropped, which ends the test.
            let _ = now.wait_for(|now| now.steady >= steady).await;
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hand_clock_resolves_waits_when_it_reaches_their_time() {
        let clock = HandClock::new(SystemTime::UNIX_EPOCH);
        let mut waiting = clock.wait_until(Duration::from_secs(10));
        assert!((&mut waiting).now_or_never().is_none());
        clock.advance(Duration::from_secs(9));
        assert!((&mut waiting).now_or_never().is_none());
        clock.set(SystemTime::UNIX_EPOCH + Duration::from_secs(1000));
        assert!(
            (&mut waiting).now_or_never().is_none(),
            "setting the time lets none pass"
        );
        clock.advance(Duration::from_secs(1));
        waiting.await;
        let now = clock.now();
        assert_eq!(now.steady, Duration::from_secs(10));
        assert_eq!(now.wall, SystemTime::UNIX_EPOCH + Duration::from_secs(1001));
    }
}
