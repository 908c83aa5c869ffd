//! The open connections of a listener, and which of them is closed for a new one at the connection limit.
//!
//! With a limit alone, one client could keep all others out by opening as many connections as the limit allows. So at the limit, a new
//! connection is accepted, and another one is closed:
//!
//! 1. one that has not completed a request since it was accepted a second ago or earlier;
//! 2. otherwise, the one that has been idle longest.
//!
//! If there are several, it is one of the client address with the most connections. There is no limit per address, because all API servers
//! can connect from the same one. A connection with a request in flight is never closed; if all have one, the new connection is closed.
//! Requests in flight and bodies that arrive are bounded on their own ([`Limits`](super::limits::Limits)), well below the number of
//! connections.
//!
//! The same rules apply when a connection cannot be accepted because the process or the node ran out of file descriptors.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::overload::Overload;

/// A connection that is younger than this is about to send its first request.
const YOUNG: Duration = Duration::from_secs(1);

/// How long a response that the client does not read counts as a request in flight.
const UNREAD: Duration = Duration::from_secs(5);

/// The connections that are open, at most so many. Clones count together.
#[derive(Clone, Debug)]
pub struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: usize,
    /// The clock of [`Activity`] begins here.
    began: Instant,
    open: Mutex<Open>,
    closed: [AtomicU64; Closed::ALL.len()],
    giving_way: Overload,
    refused: Overload,
}

/// Why a connection was closed for want of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// It never completed a request, and was closed to make room for a new connection.
    Unused,
    /// It idled longest, and was closed to make room for a new connection.
    Idle,
    /// It was new, and every other connection had a request in flight.
    Refused,
}

impl Closed {
    pub(crate) const ALL: [Self; 3] = [Self::Unused, Self::Idle, Self::Refused];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unused => "unused",
            Self::Idle => "idle",
            Self::Refused => "refused",
        }
    }
}

impl Connections {
    /// None are open yet.
    #[must_use]
    pub fn at_most(limit: usize) -> Self {
        Self(Arc::new(Shared {
            limit,
            began: Instant::now(),
            open: Mutex::default(),
            closed: [const { AtomicU64::new(0) }; Closed::ALL.len()],
            giving_way: Overload::default(),
            refused: Overload::default(),
        }))
    }

    /// Those open now, in their handshake or beyond.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.open.lock().count
    }

    /// How many were closed for want of connections, by reason.
    #[must_use]
    pub fn closed(&self) -> [(&'static str, u64); 3] {
        Closed::ALL.map(|reason| (reason.as_str(), self.0.counter(reason).load(Ordering::Relaxed)))
    }

    /// A place for a new connection, if need be that of another one, which is closed. None when all have a request in flight.
    pub(super) fn admit(&self, peer: SocketAddr) -> Option<Place> {
        let shared = &self.0;
        let address = peer.ip().to_canonical();
        let now = shared.now();
        let activity = Arc::new(Activity::new(shared.began, now));
        let mut open = shared.open.lock();
        let has_room = open.count - open.giving_way < shared.limit;
        let chosen = if has_room { None } else { open.choose(now, shared.limit) };
        if !has_room && chosen.is_none() {
            drop(open);
            shared.refused(peer);
            return None;
        }
        if let Some(chosen) = &chosen {
            chosen.activity.give_way();
            open.giving_way += 1;
        }
        open.count += 1;
        open.by_address.entry(address).or_default().push(Arc::clone(&activity));
        drop(open);
        match chosen {
            Some(chosen) => shared.gave_way(&chosen),
            None => shared.has_room(),
        }
        Some(Place {
            shared: Arc::clone(shared),
            activity,
            address,
        })
    }
}

impl Connections {
    /// Closes the connection that would give way to a new one, because its descriptor is required. Whether there is one.
    pub(super) fn release_descriptor(&self) -> bool {
        let shared = &self.0;
        let mut open = shared.open.lock();
        let Some(chosen) = open.choose(shared.now(), shared.limit) else {
            return false;
        };
        chosen.activity.give_way();
        open.giving_way += 1;
        drop(open);
        shared.counter(chosen.reason).fetch_add(1, Ordering::Relaxed);
        let Chosen {
            address, held, reason, ..
        } = chosen;
        debug!(%address, held, reason = reason.as_str(), "closing a connection: its file descriptor is needed");
        true
    }
}

impl Shared {
    fn now(&self) -> u64 {
        micros(self.began)
    }

    fn counter(&self, reason: Closed) -> &AtomicU64 {
        let [unused, idle, refused] = &self.closed;
        match reason {
            Closed::Unused => unused,
            Closed::Idle => idle,
            Closed::Refused => refused,
        }
    }

    fn gave_way(&self, chosen: &Chosen) {
        let Chosen {
            address, held, reason, ..
        } = chosen;
        self.counter(*reason).fetch_add(1, Ordering::Relaxed);
        debug!(%address, held, reason = reason.as_str(), "closing a connection: a new one takes its place");
        if self.giving_way.refused() {
            warn!(
                limit = self.limit, %address, held,
                "the connection limit is reached: closing unused and idle connections of the address with the most connections"
            );
        }
    }

    fn refused(&self, peer: SocketAddr) {
        self.counter(Closed::Refused).fetch_add(1, Ordering::Relaxed);
        debug!(%peer, limit = self.limit, "closed a new connection: all others have a request in flight");
        if self.refused.refused() {
            warn!(
                limit = self.limit,
                "the connection limit is reached, and all connections have a request in flight: closing new connections"
            );
        }
    }

    fn has_room(&self) {
        if let Some(count) = self.giving_way.served() {
            info!(count, "connections are available again: no more are closed");
        }
        if let Some(count) = self.refused.served() {
            info!(count, "new connections are accepted again");
        }
    }
}

/// A connection that gives way.
struct Chosen {
    activity: Arc<Activity>,
    address: IpAddr,
    held: usize,
    reason: Closed,
}

#[derive(Debug, Default)]
struct Open {
    by_address: HashMap<IpAddr, Vec<Arc<Activity>>>,
    count: usize,
    /// Those of `count` that give way: closed in a moment.
    giving_way: usize,
}

impl Open {
    /// The connection that gives way to a new one.
    fn choose(&self, now: u64, limit: usize) -> Option<Chosen> {
        // Connections that make room close at once, or after the response that is in flight by then. If many have not closed yet, this
        // takes long.
        if self.giving_way > limit / 8 + 4 {
            return None;
        }
        let candidates = self.by_address.iter().flat_map(|(address, all)| {
            let idle = all.iter().filter(|one| !one.gives_way() && !one.is_in_flight(now));
            idle.map(move |activity| {
                let idle_since = activity.idle_since.load(Ordering::Relaxed);
                let used = activity.used.load(Ordering::Relaxed);
                let reason = if !used && passed(idle_since, now) >= YOUNG {
                    Closed::Unused
                } else {
                    Closed::Idle
                };
                let rank = (reason == Closed::Unused, all.len(), std::cmp::Reverse(idle_since));
                (rank, activity, *address, reason)
            })
        });
        let (rank, activity, address, reason) = candidates.max_by_key(|(rank, ..)| *rank)?;
        Some(Chosen {
            activity: Arc::clone(activity),
            address,
            held: rank.1,
            reason,
        })
    }
}

/// The place of an open connection, free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    shared: Arc<Shared>,
    activity: Arc<Activity>,
    address: IpAddr,
}

impl Place {
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.shared.open.lock();
        if let Some(all) = open.by_address.get_mut(&self.address) {
            if let Some(index) = all.iter().position(|one| Arc::ptr_eq(one, &self.activity)) {
                all.swap_remove(index);
            }
            if all.is_empty() {
                open.by_address.remove(&self.address);
            }
        }
        open.count -= 1;
        if self.activity.gives_way() {
            open.giving_way -= 1;
        }
    }
}

/// What a connection does. Its task writes it and the accept loop reads it: a value that is a moment old is good enough, because the
/// connection's task decides at last whether it can give way.
#[derive(Debug)]
pub(super) struct Activity {
    /// When its clock is 0.
    began: Instant,
    /// A request is with the service.
    busy: AtomicBool,
    /// The client does not read what is written.
    is_unread: AtomicBool,
    /// It has answered a request.
    used: AtomicBool,
    /// In microseconds: when its last response was ready, or when it was accepted.
    idle_since: AtomicU64,
    gives_way: AtomicBool,
    notify: Notify,
}

impl Activity {
    fn new(began: Instant, now: u64) -> Self {
        Self {
            began,
            busy: AtomicBool::new(false),
            is_unread: AtomicBool::new(false),
            used: AtomicBool::new(false),
            idle_since: AtomicU64::new(now),
            gives_way: AtomicBool::new(false),
            notify: Notify::new(),
        }
    }

    pub(super) fn request_began(&self) {
        self.busy.store(true, Ordering::Relaxed);
    }

    pub(super) fn request_ended(&self) {
        self.idle_since.store(micros(self.began), Ordering::Relaxed);
        self.used.store(true, Ordering::Relaxed);
        self.busy.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    pub(super) fn written(&self, is_unread: bool) {
        self.is_unread.store(is_unread, Ordering::Relaxed);
    }

    fn give_way(&self) {
        self.gives_way.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    /// Whether it was chosen to give way to a new connection.
    pub(super) fn gives_way(&self) -> bool {
        self.gives_way.load(Ordering::Acquire)
    }

    /// Resolves when it is chosen.
    pub(super) async fn chosen(&self) {
        self.notify.notified().await;
    }

    /// Whether a request is in flight now: closing the connection would lose it, or its response.
    pub(super) fn has_request_in_flight(&self) -> bool {
        self.is_in_flight(micros(self.began))
    }

    fn is_in_flight(&self, now: u64) -> bool {
        let unread =
            || self.is_unread.load(Ordering::Relaxed) && passed(self.idle_since.load(Ordering::Relaxed), now) < UNREAD;
        self.is_busy() || unread()
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn passed(since: u64, now: u64) -> Duration {
    Duration::from_micros(now.saturating_sub(since))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), 40_000)
    }

    /// Which of these gives way to a new connection.
    fn gives_way(places: &[&Place]) -> Vec<bool> {
        places.iter().map(|place| place.activity.gives_way()).collect()
    }

    async fn answered(place: &Place) {
        tokio::time::advance(Duration::from_secs(2)).await;
        place.activity.request_began();
        place.activity.request_ended();
    }

    #[tokio::test(start_paused = true)]
    async fn an_unused_connection_gives_way_first_then_the_longest_idle_of_the_address_that_holds_most() {
        let connections = Connections::at_most(4);
        let admit = |address: &str| connections.admit(from(address)).unwrap();
        let (lone, unused, first, second) = (
            admit("127.0.0.2"),
            admit("127.0.0.1"),
            admit("127.0.0.1"),
            admit("127.0.0.1"),
        );
        answered(&lone).await;
        answered(&first).await;
        answered(&second).await;
        answered(&first).await;
        let all = [&lone, &unused, &first, &second];

        let third = admit("127.0.0.3");
        assert_eq!(gives_way(&all), [false, true, false, false]);
        let fourth = admit("127.0.0.3");
        assert_eq!(
            gives_way(&all),
            [false, true, false, true],
            "longest idle of the address that holds most"
        );
        assert_eq!(connections.closed(), [("unused", 1), ("idle", 1), ("refused", 0)]);
        assert_eq!(connections.open(), 6);
        drop((unused, second, third, fourth));
        assert_eq!(connections.open(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_with_a_request_in_flight_never_gives_way() {
        let connections = Connections::at_most(8);
        let places: Vec<_> = (0..8).map(|_| connections.admit(from("127.0.0.1")).unwrap()).collect();
        for place in &places {
            place.activity.request_began();
        }
        assert!(connections.admit(from("127.0.0.2")).is_none());
        assert_eq!(connections.closed(), [("unused", 0), ("idle", 0), ("refused", 1)]);
        // Answered, but not read by the client.
        places[0].activity.request_ended();
        places[0].activity.written(true);
        assert!(connections.admit(from("127.0.0.2")).is_none());
        tokio::time::advance(UNREAD).await;
        assert!(connections.admit(from("127.0.0.2")).is_some());
        assert!(places[0].activity.gives_way());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_gives_way_to_a_shortage_of_descriptors_although_there_is_room() {
        let connections = Connections::at_most(8);
        let admit = |address: &str| connections.admit(from(address)).unwrap();
        let (other, first, second) = (admit("127.0.0.2"), admit("127.0.0.1"), admit("127.0.0.1"));
        for place in [&first, &second, &other] {
            answered(place).await;
        }
        second.activity.request_began();
        assert!(connections.release_descriptor());
        assert_eq!(gives_way(&[&other, &first, &second]), [false, true, false]);
        assert!(connections.release_descriptor());
        assert!(
            !connections.release_descriptor(),
            "the last one has a request in flight"
        );
        assert_eq!(connections.closed(), [("unused", 0), ("idle", 2), ("refused", 0)]);
        drop((first, other));
        assert_eq!(connections.open(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_young_connection_does_not_give_way_to_those_of_an_address_that_holds_more() {
        let connections = Connections::at_most(3);
        let held = [
            connections.admit(from("127.0.0.1")).unwrap(),
            connections.admit(from("127.0.0.1")).unwrap(),
        ];
        answered(&held[0]).await;
        answered(&held[1]).await;
        let young = connections.admit(from("127.0.0.2")).unwrap();
        let _next = connections.admit(from("127.0.0.1")).unwrap();
        assert!(!young.activity.gives_way());
        assert!(held[0].activity.gives_way());
    }
}
