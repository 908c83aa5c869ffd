//! Permits for concurrent requests, shared fairly: a party that requests more than others waits, the others do not.
//!
//! - **Concurrency.** A party takes a permit only while it holds fewer than are free. Alone, it holds at most half of all permits; two
//!   parties hold at most two thirds. So a party that comes later finds free permits, however many requests the others have.
//! - **Turns.** Parties that wait take turns, each with its oldest request.
//! - **Pace.** Each party has its own pace. A request that would have to wait for longer than its caller does is rejected at once.
//!
//! The caller names the party. Names that anyone can invent must share one, since memory grows with the number of parties.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::pace::{Pace, PaceLimit};

/// Beyond this number, parties without requests are forgotten.
const KEPT: usize = 256;

/// The permits of all parties. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Shares {
    state: Arc<Mutex<State>>,
    pace: PaceLimit,
}

/// One permit; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    shares: Shares,
    party: Box<str>,
}

#[derive(Debug)]
struct State {
    free: usize,
    parties: HashMap<Box<str>, Party>,
    /// The parties that wait, each once; the next turn is that of the first.
    turns: VecDeque<Box<str>>,
}

#[derive(Debug)]
struct Party {
    held: usize,
    /// Oldest first.
    waiting: VecDeque<oneshot::Sender<Permit>>,
    pace: Pace,
}

impl Shares {
    /// So many permits, and a pace per party.
    pub(crate) fn new(permits: usize, pace: PaceLimit) -> Self {
        let state = State {
            free: permits,
            parties: HashMap::new(),
            turns: VecDeque::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            pace,
        }
    }

    /// A permit for this party, or `None` if there is none by `deadline`. Without a deadline, it waits until there is one.
    ///
    /// Cancel-safe.
    pub(crate) async fn acquire(&self, party: &str, deadline: Option<Instant>) -> Option<Permit> {
        sleep_until(self.reserve(party, deadline)?).await;
        let mut granted = self.request(party);
        match deadline {
            Some(deadline) => timeout_at(deadline, &mut granted).await.ok()?.ok(),
            None => granted.await.ok(),
        }
    }

    /// When the pace of the party allows one more request; none if that is later than `deadline`.
    fn reserve(&self, party: &str, deadline: Option<Instant>) -> Option<Instant> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let pace = &mut state.party(party, self.pace, now).pace;
        let next = pace.next(now);
        if next > now && deadline.is_some_and(|deadline| next >= deadline) {
            return None;
        }
        pace.take(now);
        Some(next)
    }

    fn request(&self, party: &str) -> oneshot::Receiver<Permit> {
        let (grant, granted) = oneshot::channel();
        let mut state = self.state.lock();
        let entry = state.party(party, self.pace, Instant::now());
        let is_first = entry.waiting.is_empty();
        entry.waiting.push_back(grant);
        if is_first {
            state.turns.push_back(party.into());
        }
        self.grant(state);
        granted
    }

    /// Grants what can be granted. The permits are sent without the lock, because one whose request has ended in the meantime comes back.
    fn grant(&self, mut state: parking_lot::MutexGuard<'_, State>) {
        let mut granted = Vec::new();
        while let Some((party, grant)) = state.next() {
            let permit = Permit {
                shares: self.clone(),
                party,
            };
            granted.push((grant, permit));
        }
        drop(state);
        for (grant, permit) in granted {
            // The permit of a request that has ended is dropped here, which gives it back.
            let _ended = grant.send(permit);
        }
    }
}

impl State {
    fn party(&mut self, name: &str, pace: PaceLimit, now: Instant) -> &mut Party {
        if self.parties.len() >= KEPT && !self.parties.contains_key(name) {
            self.parties
                .retain(|_, party| party.held > 0 || !party.waiting.is_empty() || party.pace.full_at() > now);
        }
        self.parties.entry(name.into()).or_insert_with(|| Party {
            held: 0,
            waiting: VecDeque::new(),
            pace: Pace::new(pace, now),
        })
    }

    /// Takes a permit for the next request that can have one.
    fn next(&mut self) -> Option<(Box<str>, oneshot::Sender<Permit>)> {
        // Requests that have ended must not keep their party's turn.
        let parties = &mut self.parties;
        self.turns.retain(|name| {
            parties.get_mut(name).is_some_and(|party| {
                party.waiting.retain(|grant| !grant.is_closed());
                !party.waiting.is_empty()
            })
        });
        let free = self.free;
        let turn = self
            .turns
            .iter()
            .position(|name| parties.get(name).is_some_and(|party| party.held < free))?;
        let name = self.turns.remove(turn)?;
        let party = parties.get_mut(&name)?;
        let grant = party.waiting.pop_front()?;
        party.held += 1;
        self.free -= 1;
        if !party.waiting.is_empty() {
            self.turns.push_back(name.clone());
        }
        Some((name, grant))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.shares.state.lock();
        state.free += 1;
        if let Some(party) = state.parties.get_mut(&self.party) {
            party.held -= 1;
        }
        self.shares.grant(state);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A pace that never limits.
    const ANY_PACE: PaceLimit = PaceLimit {
        burst: 1_000_000,
        refill: Duration::from_nanos(1),
    };

    fn soon() -> Option<Instant> {
        Some(Instant::now() + SECOND)
    }

    async fn take_all(shares: &Shares, party: &str) -> Vec<Permit> {
        let mut held = Vec::new();
        while let Some(permit) = shares.acquire(party, soon()).await {
            held.push(permit);
        }
        held
    }

    #[tokio::test(start_paused = true)]
    async fn a_party_leaves_permits_to_those_that_come_later() {
        let shares = Shares::new(64, ANY_PACE);
        let mut held = Vec::new();
        for (party, expected) in [("a", 32), ("b", 16), ("c", 8), ("d", 4), ("e", 2), ("f", 1), ("g", 1)] {
            let permits = take_all(&shares, party).await;
            assert_eq!(permits.len(), expected, "{party}");
            held.push(permits);
        }
        drop(held);
        assert_eq!(take_all(&shares, "a").await.len(), 32, "permits were given back");
    }

    #[tokio::test(start_paused = true)]
    async fn parties_that_wait_take_turns() {
        let shares = Shares::new(1, ANY_PACE);
        let held = shares.acquire("a", None).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for party in ["a", "a", "a", "b", "b", "c"] {
            let (shares, order) = (shares.clone(), Arc::clone(&order));
            tasks.push(tokio::spawn(async move {
                let permit = shares.acquire(party, None).await;
                order.lock().push(party);
                drop(permit);
            }));
            tokio::task::yield_now().await;
        }
        drop(held);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.lock(), ["a", "b", "c", "a", "b", "a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_ended_keeps_no_permit_and_no_turn() {
        let shares = Shares::new(2, ANY_PACE);
        let held = shares.acquire("a", None).await.unwrap();
        for _ in 0..100 {
            assert!(shares.acquire("a", soon()).await.is_none());
        }
        drop(held);
        // A permit that arrives as its request ends comes back, too.
        let granted = shares.request("a");
        drop(granted);
        assert!(shares.acquire("b", soon()).await.is_some());
        assert_eq!(shares.state.lock().free, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn each_party_has_its_own_pace() {
        let pace = PaceLimit {
            burst: 10,
            refill: SECOND / 10,
        };
        let shares = Shares::new(1000, pace);
        let mut rejected = 0;
        let start = Instant::now();
        let deadline = start + SECOND;
        for _ in 0..1000 {
            if shares.acquire("flood", Some(deadline)).await.is_none() {
                rejected += 1;
            }
        }
        assert!((1000 - 20..=1000 - 19).contains(&rejected), "{rejected}");
        assert!(start.elapsed() <= SECOND);
        let before = Instant::now();
        assert!(shares.acquire("other", soon()).await.is_some());
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn parties_without_requests_are_forgotten() {
        let pace = PaceLimit {
            burst: 2,
            refill: SECOND,
        };
        let shares = Shares::new(4, pace);
        let held = shares.acquire("holds", None).await.unwrap();
        for number in 0..10 * KEPT {
            tokio::time::advance(SECOND).await;
            drop(shares.acquire(&format!("party-{number}"), None).await.unwrap());
        }
        let state = shares.state.lock();
        assert!(state.parties.len() <= KEPT + 1, "{}", state.parties.len());
        assert!(state.parties.contains_key("holds"));
        drop(state);
        drop(held);
    }
}
