//! The bodies that are being read. A body that came with its head is not among them.
//!
//! A client can announce a body and never send it. Until the body's timeout, it would occupy a permit and the bytes that have arrived.
//! Therefore, requests are rejected when others need these: a body that has stalled when bytes are needed, and the slowest body when a
//! permit is needed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::budget::{Budget, Share, Size};

/// A body has stalled when fewer than [`STEP`] bytes of it arrived in this time: less than 64 KiB per second.
const STALLED: Duration = Duration::from_millis(250);
const STEP: usize = 16 * 1024;

/// The bodies that are being read, at most so many.
#[derive(Debug)]
pub(super) struct Arrivals {
    bytes: Arc<Budget>,
    limit: usize,
    bodies: Mutex<Bodies>,
}

#[derive(Debug, Default)]
struct Bodies {
    by_number: HashMap<u64, Body>,
    next: u64,
}

#[derive(Debug)]
struct Body {
    /// When another [`STEP`] bytes had arrived.
    advanced: Instant,
    /// Bytes that have arrived since.
    since: usize,
    /// Its bytes of the budget.
    held: usize,
    gives_way: Arc<Notify>,
}

/// Why a body gets no more bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// All requests together hold too much, and no body has stalled.
    BudgetExhausted,
    /// This body was the slowest when others needed room.
    GaveWay,
}

impl Arrivals {
    pub(super) fn new(bytes: Arc<Budget>, limit: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes,
            limit,
            bodies: Mutex::default(),
        })
    }

    /// Takes bytes for a body that is not being read here. None when there is no room.
    pub(super) fn share(&self, bytes: usize, size: Size) -> Option<Share> {
        if let Some(share) = Share::of(&self.bytes, bytes, size) {
            return Some(share);
        }
        let mut bodies = self.bodies.lock();
        let has_room = bodies.take(&self.bytes, bytes, size, None);
        has_room.then(|| Share::taken(&self.bytes, bytes))
    }

    /// Begins to read a body, of which these bytes have arrived. If there are too many, the slowest gives way.
    pub(super) fn begin(self: &Arc<Self>, share: Option<Share>) -> Arriving {
        let held = share.map_or(0, Share::into_amount);
        let gives_way = Arc::new(Notify::new());
        let mut bodies = self.bodies.lock();
        if bodies.by_number.len() >= self.limit
            && let Some(slowest) = bodies.slowest(|_| true)
        {
            bodies.drop_body(slowest, &self.bytes);
        }
        let number = bodies.next;
        bodies.next = number.wrapping_add(1);
        let body = Body {
            advanced: Instant::now(),
            since: 0,
            held,
            gives_way: Arc::clone(&gives_way),
        };
        bodies.by_number.insert(number, body);
        Arriving {
            arrivals: Arc::clone(self),
            number,
            gives_way,
        }
    }
}

impl Bodies {
    /// Takes bytes, if need be those of bodies that have stalled; not of the body `except`.
    fn take(&mut self, budget: &Budget, bytes: usize, size: Size, except: Option<u64>) -> bool {
        let now = Instant::now();
        loop {
            if budget.take(bytes, size) {
                return true;
            }
            let stalled = |(number, body): (u64, &Body)| {
                body.held > 0 && now.duration_since(body.advanced) >= STALLED && Some(number) != except
            };
            let Some(slowest) = self.slowest(stalled) else {
                return false;
            };
            self.drop_body(slowest, budget);
        }
    }

    fn slowest(&self, among: impl Fn((u64, &Body)) -> bool) -> Option<u64> {
        let among = self.by_number.iter().filter(|(number, body)| among((**number, body)));
        among
            .min_by_key(|(number, body)| (body.advanced, **number))
            .map(|(number, _)| *number)
    }

    fn drop_body(&mut self, number: u64, budget: &Budget) {
        if let Some(body) = self.by_number.remove(&number) {
            // Its task frees the memory a moment later.
            budget.give_back(body.held);
            body.gives_way.notify_one();
        }
    }
}

/// A body that is being read.
#[derive(Debug)]
pub(super) struct Arriving {
    arrivals: Arc<Arrivals>,
    number: u64,
    gives_way: Arc<Notify>,
}

impl Arriving {
    /// Takes bytes that have arrived.
    pub(super) fn grow(&self, bytes: usize, size: Size) -> Result<(), NoRoom> {
        let Arrivals { bytes: budget, .. } = &*self.arrivals;
        let mut bodies = self.arrivals.bodies.lock();
        if !bodies.by_number.contains_key(&self.number) {
            return Err(NoRoom::GaveWay);
        }
        if !bodies.take(budget, bytes, size, Some(self.number)) {
            return Err(NoRoom::BudgetExhausted);
        }
        if let Some(body) = bodies.by_number.get_mut(&self.number) {
            body.held += bytes;
            body.since += bytes;
            if body.since >= STEP {
                body.since = 0;
                body.advanced = Instant::now();
            }
        }
        Ok(())
    }

    /// Resolves when others need its place or its bytes.
    pub(super) async fn gave_way(&self) {
        self.gives_way.notified().await;
    }

    /// The share of the whole body.
    pub(super) fn finish(self) -> Result<Share, NoRoom> {
        let body = self.arrivals.bodies.lock().by_number.remove(&self.number);
        let body = body.ok_or(NoRoom::GaveWay)?;
        Ok(Share::taken(&self.arrivals.bytes, body.held))
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let body = self.arrivals.bodies.lock().by_number.remove(&self.number);
        if let Some(body) = body {
            self.arrivals.bytes.give_back(body.held);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn has_given_way(body: &Arriving) -> bool {
        body.gave_way().now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn only_bodies_that_have_stalled_give_their_bytes_back() {
        let budget = Budget::new(100_000);
        let arrivals = Arrivals::new(Arc::clone(&budget), 10);
        let (stalled, moving) = (arrivals.begin(None), arrivals.begin(None));
        stalled.grow(40_000, Size::Large).unwrap();
        moving.grow(20_000, Size::Large).unwrap();
        assert!(arrivals.share(50_000, Size::Small).is_none(), "none has stalled yet");
        tokio::time::advance(STALLED).await;
        moving.grow(STEP / 2, Size::Large).unwrap();
        moving.grow(STEP / 2, Size::Large).unwrap();
        let share = arrivals.share(50_000, Size::Small).unwrap();
        assert!(has_given_way(&stalled) && !has_given_way(&moving));
        assert_eq!(stalled.grow(1, Size::Small), Err(NoRoom::GaveWay));
        assert_eq!(moving.grow(50_000, Size::Large), Err(NoRoom::BudgetExhausted));
        assert_eq!(stalled.finish().unwrap_err(), NoRoom::GaveWay);
        drop((moving.finish().unwrap(), share));
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_slowest_gives_its_place_to_another_body() {
        let budget = Budget::new(100_000);
        let arrivals = Arrivals::new(Arc::clone(&budget), 2);
        let (first, second) = (arrivals.begin(None), arrivals.begin(None));
        tokio::time::advance(STALLED).await;
        first.grow(STEP, Size::Small).unwrap();
        let third = arrivals.begin(arrivals.share(1000, Size::Small));
        assert!(!has_given_way(&first) && has_given_way(&second) && !has_given_way(&third));
        drop((first, second, third));
        assert_eq!(budget.used(), 0);
    }
}
