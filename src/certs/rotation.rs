//! How a CA is created, announced, used and retired by replicas without a leader: the decisions, without I/O.
//!
//! One Secret holds what all replicas agree on. It is written only at the version that was read, so that of two replicas that act at once
//! one fails, reads again and continues with what the other wrote. A replica uses a CA only after it has read it from the Secret. The
//! Secret holds ([`Content`]):
//!
//! - `ca` signs. Each replica signs its own certificate with it, and keeps the certificate in memory.
//! - `next` is announced: it is already in `caBundle` and does not sign yet.
//! - `previous` no longer signs, and stays in `caBundle` until a time that is stored with it.
//!
//! **A rotation.** When two thirds of the lifetime of `ca` have passed, a replica adds a `next`. All replicas write both to the bundles of
//! the webhook configurations. A replica that has read the bundles with `next` in each entry, without interruption for [`ANNOUNCED`],
//! promotes it: `next` becomes `ca`, and the old CA becomes `previous` and loses its key. Each replica then switches to a certificate of
//! the new CA, once it has itself seen that CA in the bundles for as long. This is the time that API servers need to observe it: each
//! watches the configurations itself.
//!
//! **When no certificate of the old CA is in service any more** is determined by time, since no replica knows all others. A certificate is
//! signed only right after the Secret was read, and therefore never after the promotion was written; what was signed before expires at
//! most one certificate lifetime later. `previous` is kept that long, and [`BACKDATED`] longer because clocks differ. A replica that
//! still serves a certificate of a CA that is not in the Secret (an operator put another one there) adds it as `previous`, so that other
//! replicas do not remove it from the bundles.
//!
//! **Changes by others.** A Secret that was emptied, or whose content is not usable, is written back by any replica that holds the CA. Only
//! a replica that holds none creates one, and if the bundles show that there was one, it first waits for replicas that might hold it.
//! What the bundles lack is written at once. Other CAs in them, which were never in the Secret, are kept for `UNLISTED`: replicas might
//! serve certificates of these from files while one certificate mode replaces another.

mod bundles;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub(super) use bundles::{BundleWrite, Bundles, Configuration, Delisted};

use super::clock::Moment;
use super::issue::BACKDATED;

/// How long a CA must be in the bundles, as read back, before a certificate of it is served.
pub(super) const ANNOUNCED: Duration = Duration::from_secs(120);

/// How long a replica without a CA leaves an empty Secret to others, when the bundles show that there was a CA.
pub(super) const LEFT_TO_OTHERS: Duration = Duration::from_secs(5);

/// A certificate is signed only if the Secret was read within this time.
const JUST_READ: Duration = Duration::from_secs(10);

/// The longest time until the next plan: the wall clock might be set in the meantime.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What rotation knows of a CA. Two are equal if their certificates are.
#[derive(Clone)]
pub(super) struct Ca {
    der: Arc<[u8]>,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Ca {
    /// A CA with this certificate and validity.
    #[must_use]
    pub(super) fn new(der: impl Into<Arc<[u8]>>, not_before: SystemTime, not_after: SystemTime) -> Self {
        Self {
            der: der.into(),
            not_before,
            not_after,
        }
    }

    /// Its certificate.
    #[must_use]
    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    /// The last moment at which it is valid.
    #[must_use]
    pub(super) const fn not_after(&self) -> SystemTime {
        self.not_after
    }

    fn has_ended(&self, now: SystemTime) -> bool {
        now > self.not_after
    }

    /// When two thirds of its lifetime have passed.
    fn renewed_at(&self) -> SystemTime {
        two_thirds(self.not_before, self.not_after)
    }

    /// Whether another one is required: it is old enough, or the clock was ahead when it was created.
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

/// After two thirds of a lifetime, which begins [`BACKDATED`] after `not_before`: the time before is for clocks that are behind.
fn two_thirds(not_before: SystemTime, not_after: SystemTime) -> SystemTime {
    let life = not_after.duration_since(not_before).unwrap_or_default();
    let lived = life.saturating_sub(BACKDATED);
    let begun = life.saturating_sub(lived);
    not_before.checked_add(begun + lived / 3 * 2).unwrap_or(not_after)
}

/// The content of the Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// The CA that signs.
    pub ca: Ca,
    /// The CA that will sign after it has been announced long enough.
    pub next: Option<Ca>,
    /// The CAs that signed before.
    pub previous: Vec<Ca>,
    /// Until when they are kept in the bundles.
    pub previous_until: Option<SystemTime>,
}

impl Content {
    /// A CA and nothing else.
    #[must_use]
    pub(super) const fn of(ca: Ca) -> Self {
        Self {
            ca,
            next: None,
            previous: Vec::new(),
            previous_until: None,
        }
    }

    /// Every CA that belongs in the bundles, the one that signs first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Ca> {
        std::iter::once(&self.ca).chain(&self.next).chain(&self.previous)
    }

    fn lists(&self, ca: &Ca) -> bool {
        self.all().any(|listed| listed == ca)
    }

    /// With another CA that no longer signs.
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
pub(super) enum Secret {
    /// It was not read yet.
    Unread,
    /// It does not exist.
    Missing,
    /// It has no CA.
    Empty,
    /// Its content is not a CA with its key.
    Unusable,
    /// It has this content.
    Holds(Content),
}

/// The certificate in service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Served {
    /// The CA that signed it.
    pub ca: Ca,
    /// When it becomes valid.
    pub not_before: SystemTime,
    /// When it expires.
    pub not_after: SystemTime,
}

/// What to do now. Steps that fail are planned again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Read the Secret, because a certificate must be signed.
    pub read_secret: bool,
    /// Sign a certificate with this CA and serve it.
    pub serve: Option<Ca>,
    /// Write the Secret at the version that was read.
    pub secret: Option<SecretWrite>,
    /// Write these bundles at the versions that were read.
    pub bundles: Vec<BundleWrite>,
    /// When to plan again if nothing changes, in steady time.
    pub look_again: Duration,
}

impl Plan {
    /// Whether there is nothing to do but wait.
    #[must_use]
    pub(super) fn is_idle(&self) -> bool {
        !self.read_secret && self.serve.is_none() && self.secret.is_none() && self.bundles.is_empty()
    }
}

/// A change of the Secret, by its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SecretWrite {
    /// Create a CA that signs at once. The CAs that signed before stay in the bundles.
    Begin {
        /// The CAs that stay in the bundles.
        previous: Vec<Ca>,
        /// Until when.
        previous_until: Option<SystemTime>,
    },
    /// Create a CA and add it as `next`.
    Announce(Content),
    /// `next` signs from now on.
    Promote(Content),
    /// Restore what this replica holds, because the Secret lost it.
    WriteBack(Content),
    /// Add the CA of the certificate in service, because it is not in the Secret.
    List(Content),
    /// Remove the CAs that signed before: nothing that they signed is valid any more.
    Retire(Content),
}

/// The state of one replica.
#[derive(Clone, Debug)]
pub(super) struct Rotation {
    /// The lifetime of signed certificates.
    certificate_lifetime: Duration,
    bundles: Bundles,
    secret: Secret,
    secret_read: Option<Duration>,
    empty_since: Option<Duration>,
    /// The last usable content.
    held: Option<Content>,
    served: Option<Served>,
}

impl Rotation {
    /// Without any knowledge yet. `configurations` is the number of webhook configurations to write.
    #[must_use]
    pub(super) fn new(certificate_lifetime: Duration, configurations: usize) -> Self {
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
    pub(super) fn see_secret(&mut self, secret: Secret, now: Moment) {
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

    /// A webhook configuration was read: at the start, when it might have changed, or in answer to a write.
    pub(super) fn see_configuration(&mut self, index: usize, configuration: Configuration, now: Moment) {
        self.bundles.see(index, configuration);
        self.settle(now);
    }

    /// A certificate went into service.
    pub(super) fn see_served(&mut self, served: Served, now: Moment) {
        self.served = Some(served);
        self.settle(now);
    }

    /// The content that this replica uses.
    #[cfg(test)]
    const fn held(&self) -> Option<&Content> {
        self.held.as_ref()
    }

    /// The certificate in service.
    #[cfg(test)]
    const fn served(&self) -> Option<&Served> {
        self.served.as_ref()
    }

    /// Whether a certificate is served whose CA is in every entry of the existing configurations.
    #[must_use]
    pub(super) fn is_trusted(&self) -> bool {
        self.served
            .as_ref()
            .is_some_and(|served| self.bundles.trust(&served.ca))
    }

    /// What to do now.
    pub(super) fn plan(&mut self, now: Moment) -> Plan {
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

    /// The CAs that belong in the bundles: those of the Secret, and that of the certificate in service until the Secret has it.
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
            // The clock was ahead when it was created, or no replica ran for its whole lifetime: another one is created.
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

    /// The CA that signs has expired, so there is nothing to wait for.
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

    /// The CA to sign a new certificate with, if one is required.
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

    /// Whether the same CA must sign a new certificate: the current one is old enough, and the new one would be valid longer.
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
            // One second later: what is valid until a moment is still valid at it.
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
