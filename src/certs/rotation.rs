//! How a CA is found, announced, put to use and retired by replicas that have no leader: the decisions, without I/O.
//!
//! One Secret holds what all replicas agree on. It is written only over the version that was read, so of two replicas that
//! act at once one is refused, reads again and goes by what the other wrote. A replica uses a CA only after the Secret was
//! read with it. What it holds ([`Content`]):
//!
//! - `ca` signs. Each replica signs a certificate of its own with it and keeps that in memory.
//! - `next` is announced: it stands in `caBundle` already and signs nothing yet.
//! - `previous` signs no more, and stays in `caBundle` until a moment that is written down with it.
//!
//! **A rotation.** When two thirds of the life of `ca` are over, some replica writes a `next` beside it. All replicas write both into
//! the bundles of the webhook configurations. A replica that has read the bundles back with `next` in each entry, and so for
//! [`ANNOUNCED`] without a break, promotes it: `next` becomes `ca`, the old one becomes `previous` and loses its key. Each replica then
//! goes over to a certificate of the new CA, once it has itself seen it in the bundles for as long. That is what API servers
//! need to hear of it: each follows the configurations by a watch of its own.
//!
//! **When nothing signed by the old CA is served any more** is known by time, since nobody knows all replicas. A certificate
//! is signed only right after the Secret was read, and so by nobody once the promotion is written; what was signed before
//! ends at most one certificate's life later. `previous` is kept that long, and [`BACKDATED`] longer for clocks that
//! differ. A replica that still serves a certificate of a CA that the Secret does not list (somebody put another one
//! there) writes it down as `previous`, so that no other replica takes it out of the bundles.
//!
//! **What somebody else does.** A Secret that was emptied, or whose content is of no use, is written back by whoever holds the CA; only a
//! replica that holds none makes one, and where the bundles show that there was one it waits first for those who may hold it. What
//! the bundles lack is written at once. What they hold beside, and the Secret never listed, is left for [`UNLISTED`]: it may be
//! what replicas serve from files while one mode of certificates replaces another.

mod bundles;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use bundles::{BundleWrite, Bundles, Configuration, Delisted, UNLISTED};

use super::clock::Moment;
use super::issue::BACKDATED;

/// How long a CA stands in the bundles, as read back, before a certificate of it is served.
pub const ANNOUNCED: Duration = Duration::from_secs(120);

/// How long a replica that holds no CA leaves an empty Secret to others, when the bundles show that there was a CA.
pub const LEFT_TO_OTHERS: Duration = Duration::from_secs(5);

/// A certificate is signed only if the Secret was read this short a time ago.
const JUST_READ: Duration = Duration::from_secs(10);

/// The longest time until the next look: the wall clock may be set meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// A CA, as far as rotation goes by it. Equal if the certificates are.
#[derive(Clone)]
pub struct Ca {
    der: Arc<[u8]>,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Ca {
    /// A CA with this certificate and validity.
    #[must_use]
    pub fn new(der: impl Into<Arc<[u8]>>, not_before: SystemTime, not_after: SystemTime) -> Self {
        Self {
            der: der.into(),
            not_before,
            not_after,
        }
    }

    /// Its certificate.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The last moment at which it is valid.
    #[must_use]
    pub const fn not_after(&self) -> SystemTime {
        self.not_after
    }

    fn has_ended(&self, now: SystemTime) -> bool {
        now > self.not_after
    }

    /// When two thirds of its life are over.
    fn renewed_at(&self) -> SystemTime {
        two_thirds(self.not_before, self.not_after)
    }

    /// Whether another is needed: the time has come, or the clock was ahead when it was made.
    fn is_due(&self, now: SystemTime) -> bool {
        now >= self.renewed_at() || now < self.not_before
    }
}

impl PartialEq for Ca {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for Ca {}

impl PartialOrd for Ca {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ca {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.der.cmp(&other.der)
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca").field("not_after", &self.not_after).finish()
    }
}

/// Two thirds into a life. It begins [`BACKDATED`] after `not_before`: what came before is there for clocks that are behind.
fn two_thirds(not_before: SystemTime, not_after: SystemTime) -> SystemTime {
    let life = not_after.duration_since(not_before).unwrap_or_default();
    let lived = life.saturating_sub(BACKDATED);
    let begun = life.saturating_sub(lived);
    not_before.checked_add(begun + lived / 3 * 2).unwrap_or(not_after)
}

/// What the Secret holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// What signs.
    pub ca: Ca,
    /// What will sign once it was announced for long enough.
    pub next: Option<Ca>,
    /// What signed before.
    pub previous: Vec<Ca>,
    /// How long that is kept in the bundles.
    pub previous_until: Option<SystemTime>,
}

impl Content {
    /// A CA and nothing else.
    #[must_use]
    pub const fn of(ca: Ca) -> Self {
        Self {
            ca,
            next: None,
            previous: Vec::new(),
            previous_until: None,
        }
    }

    /// Every CA that belongs into the bundles: what signs first.
    pub fn all(&self) -> impl Iterator<Item = &Ca> {
        std::iter::once(&self.ca).chain(&self.next).chain(&self.previous)
    }

    fn lists(&self, ca: &Ca) -> bool {
        self.all().any(|listed| listed == ca)
    }

    /// The same, with a CA more that signs no longer.
    fn with_previous(mut self, ca: &Ca, until: SystemTime) -> Self {
        if !self.lists(ca) {
            self.previous.push(ca.clone());
        }
        let until = until.min(ca.not_after);
        self.previous_until = Some(self.previous_until.map_or(until, |other| other.max(until)));
        self
    }

    fn without_previous(mut self) -> Self {
        self.previous.clear();
        self.previous_until = None;
        self
    }

    fn previous_is_over(&self, now: SystemTime) -> bool {
        let ended = self.previous.iter().all(|ca| ca.has_ended(now));
        !self.previous.is_empty() && (ended || self.previous_until.is_some_and(|until| now >= until))
    }
}

/// What was last read of the Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// Nothing yet.
    Unread,
    /// It does not exist.
    Missing,
    /// It holds no CA.
    Empty,
    /// What it holds is no CA with its key.
    Unusable,
    /// It holds this.
    Holds(Content),
}

/// The certificate in service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Who signed it.
    pub ca: Ca,
    /// From when on it is valid.
    pub not_before: SystemTime,
    /// Until when.
    pub not_after: SystemTime,
}

/// What to do now. Each part that could not be done is planned again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Read the Secret: something is to be signed.
    pub read_secret: bool,
    /// Sign a certificate with this CA and serve it.
    pub serve: Option<Ca>,
    /// Write the Secret, over the version that was read.
    pub secret: Option<SecretWrite>,
    /// Write these bundles, over the versions that were read.
    pub bundles: Vec<BundleWrite>,
    /// When to plan again even if nothing is heard, in steady time.
    pub look_again: Duration,
}

impl Plan {
    /// Whether there is nothing to do but wait.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.read_secret && self.serve.is_none() && self.secret.is_none() && self.bundles.is_empty()
    }
}

/// A change of the Secret, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretWrite {
    /// Make a CA; it signs at once. What signed before is listed beside it.
    Begin {
        /// What stays in the bundles.
        previous: Vec<Ca>,
        /// How long.
        previous_until: Option<SystemTime>,
    },
    /// Make a CA and add it as `next`.
    Announce(Content),
    /// `next` signs from now on.
    Promote(Content),
    /// What this replica holds, because the Secret lost it.
    WriteBack(Content),
    /// What this replica serves is listed, because the Secret does not know it.
    List(Content),
    /// What signed before has ended.
    Retire(Content),
}

/// The state of one replica.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// The life of the certificates that are signed.
    certificate_lifetime: Duration,
    bundles: Bundles,
    secret: Secret,
    secret_read: Option<Duration>,
    empty_since: Option<Duration>,
    /// The last content that was of use.
    held: Option<Content>,
    served: Option<Served>,
}

impl Rotation {
    /// Knows nothing yet. `configurations` is how many webhook configurations there are to write.
    #[must_use]
    pub fn new(certificate_lifetime: Duration, configurations: usize) -> Self {
        Self {
            certificate_lifetime,
            bundles: Bundles::new(configurations, Delisted::Goes),
            secret: Secret::Unread,
            secret_read: None,
            empty_since: None,
            held: None,
            served: None,
        }
    }

    /// The Secret was read.
    pub fn see_secret(&mut self, secret: Secret, now: Moment) {
        if let Secret::Holds(content) = &secret {
            self.held = Some(content.clone());
        }
        self.empty_since = match secret {
            Secret::Empty => self.empty_since.or(Some(now.steady)),
            _ => None,
        };
        self.secret = secret;
        self.secret_read = Some(now.steady);
        self.settle(now);
    }

    /// A webhook configuration was read: at the start, when it may have changed, or in answer to a write.
    pub fn see_configuration(&mut self, index: usize, configuration: Configuration, now: Moment) {
        self.bundles.see(index, configuration);
        self.settle(now);
    }

    /// A certificate went into service.
    pub fn see_served(&mut self, served: Served, now: Moment) {
        self.served = Some(served);
        self.settle(now);
    }

    /// What this replica goes by.
    #[must_use]
    pub const fn held(&self) -> Option<&Content> {
        self.held.as_ref()
    }

    /// What is in service.
    #[must_use]
    pub const fn served(&self) -> Option<&Served> {
        self.served.as_ref()
    }

    /// Whether a certificate is served whose CA stands in every entry of the configurations that exist.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.served
            .as_ref()
            .is_some_and(|served| self.bundles.trust(&served.ca))
    }

    /// What to do now.
    pub fn plan(&mut self, now: Moment) -> Plan {
        self.settle(now);
        let listed = self.listed(now.wall);
        let serve = self.to_serve(now.wall, now.steady);
        let read_secret = serve.is_some() && !self.just_read(now);
        Plan {
            read_secret,
            serve: serve.filter(|_| !read_secret),
            secret: self.secret_write(now),
            bundles: if self.held.is_some() {
                self.bundles.writes(&listed, now)
            } else {
                Vec::new()
            },
            look_again: self.look_again(now),
        }
    }

    fn settle(&mut self, now: Moment) {
        let listed = self.listed(now.wall);
        self.bundles.settle(&listed, now);
    }

    /// What belongs into the bundles: what the Secret lists, and what is served until the Secret lists it.
    fn listed(&self, now: SystemTime) -> Vec<Ca> {
        let Some(held) = &self.held else { return Vec::new() };
        let mut listed: Vec<Ca> = held.all().cloned().collect();
        if let Some(served) = self.served_unlisted(held, now) {
            listed.push(served.ca.clone());
        }
        listed
    }

    fn served_unlisted(&self, held: &Content, now: SystemTime) -> Option<&Served> {
        self.served
            .as_ref()
            .filter(|served| now <= served.not_after && !held.lists(&served.ca))
    }

    fn just_read(&self, now: Moment) -> bool {
        self.secret_read
            .is_some_and(|read| now.steady.saturating_sub(read) <= JUST_READ)
    }

    fn secret_write(&self, now: Moment) -> Option<SecretWrite> {
        match (&self.secret, &self.held) {
            (Secret::Unread | Secret::Missing, _) | (Secret::Unusable, None) => None,
            (Secret::Empty | Secret::Unusable, Some(held)) => Some(SecretWrite::WriteBack(held.clone())),
            (Secret::Empty, None) => self.may_begin(now).then_some(SecretWrite::Begin {
                previous: Vec::new(),
                previous_until: None,
            }),
            (Secret::Holds(content), _) => self.secret_change(content, now),
        }
    }

    fn may_begin(&self, now: Moment) -> bool {
        let waited = self
            .empty_since
            .is_some_and(|since| now.steady.saturating_sub(since) >= LEFT_TO_OTHERS);
        self.bundles.are_read() && (waited || !self.bundles.hold_any(now.wall))
    }

    fn secret_change(&self, content: &Content, now: Moment) -> Option<SecretWrite> {
        let wall = now.wall;
        if let Some(served) = self.served_unlisted(content, wall) {
            let until = later(served.not_after, BACKDATED);
            return Some(SecretWrite::List(content.clone().with_previous(&served.ca, until)));
        }
        if content.ca.has_ended(wall) {
            return self.replace(content, wall);
        }
        match &content.next {
            // The clock was ahead when it was made, or nobody was there for its whole life: another is made.
            Some(next) if next.has_ended(wall) => Some(SecretWrite::Announce(content.clone())),
            Some(next) if self.bundles.trusted_for(next, now) >= Some(ANNOUNCED) => {
                Some(SecretWrite::Promote(self.promoted(content, next, wall)))
            }
            Some(_) => None,
            None if content.ca.is_due(wall) => Some(SecretWrite::Announce(content.clone())),
            None => content
                .previous_is_over(wall)
                .then(|| SecretWrite::Retire(content.clone().without_previous())),
        }
    }

    /// What signs has ended, so there is nothing to be careful about.
    fn replace(&self, content: &Content, now: SystemTime) -> Option<SecretWrite> {
        match &content.next {
            Some(next) if !next.has_ended(now) => self
                .bundles
                .trust(next)
                .then(|| SecretWrite::Promote(self.promoted(content, next, now))),
            _ => Some(SecretWrite::Begin {
                previous: content.previous.clone(),
                previous_until: content.previous_until,
            }),
        }
    }

    fn promoted(&self, content: &Content, next: &Ca, now: SystemTime) -> Content {
        let promoted = Content {
            ca: next.clone(),
            next: None,
            previous: content.previous.clone(),
            previous_until: content.previous_until,
        };
        if content.ca.has_ended(now) {
            return promoted;
        }
        let until = later(later(now, self.certificate_lifetime), BACKDATED);
        promoted.with_previous(&content.ca, until)
    }

    /// The CA to sign a certificate with, if another certificate is to be served than now.
    fn to_serve(&self, wall: SystemTime, steady: Duration) -> Option<Ca> {
        let ca = &self.held.as_ref()?.ca;
        let now = Moment { wall, steady };
        let wanted = match &self.served {
            None => self.bundles.trust(ca) && !ca.has_ended(wall),
            Some(served) if served.ca == *ca => self.is_due(served, wall),
            Some(served) => {
                let announced = self.bundles.trusted_for(ca, now) >= Some(ANNOUNCED);
                let useless = wall > served.not_after || !self.bundles.trust(&served.ca);
                self.bundles.trust(ca) && (announced || useless)
            }
        };
        wanted.then(|| ca.clone())
    }

    /// Whether the served certificate is to be signed anew by the same CA: its time has come, and it can be given more.
    fn is_due(&self, served: &Served, now: SystemTime) -> bool {
        let end = later(now, self.certificate_lifetime).min(served.ca.not_after);
        let lasts_longer = end > later(served.not_after, Duration::from_secs(1));
        let due = now >= two_thirds(served.not_before, served.not_after);
        now < served.not_before || (due && lasts_longer)
    }

    fn look_again(&self, now: Moment) -> Duration {
        let held = self.held.as_ref();
        let served = self.served.as_ref();
        let of_day = [
            held.map(|held| held.ca.renewed_at()),
            held.map(|held| held.ca.not_after),
            held.and_then(|held| held.previous_until),
            served.map(|served| two_thirds(served.not_before, served.not_after)),
            served.map(|served| served.not_after),
        ];
        let of_day = of_day
            .into_iter()
            .flatten()
            // A moment more: what ends at a moment is over after it.
            .filter_map(|at| at.duration_since(now.wall).ok()?.checked_add(Duration::from_secs(1)));
        let steady = [self.empty_since.map(|since| since.saturating_add(LEFT_TO_OTHERS))]
            .into_iter()
            .flatten()
            .chain(self.bundles.deadlines())
            .filter_map(|at| at.checked_sub(now.steady))
            .filter(|wait| !wait.is_zero());
        let wait = of_day.chain(steady).min().unwrap_or(LOOK_EVERY).min(LOOK_EVERY);
        now.steady.saturating_add(wait)
    }
}

fn later(time: SystemTime, by: Duration) -> SystemTime {
    time.checked_add(by).unwrap_or(time)
}
