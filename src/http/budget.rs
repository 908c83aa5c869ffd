//! The limits that all requests share: bytes, and requests in flight. A quarter of each is reserved for small bodies, so that ordinary
//! reviews are served while large ones use up the rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The largest body that counts as small, in bytes. The review of an ordinary pod has 3 to 15 KB.
const SMALL: usize = 64 * 1024;

/// The size of a body, as far as it is known: what was announced or what has arrived, whichever is more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Small,
    Large,
}

impl Size {
    pub(super) const fn of(bytes: usize) -> Self {
        if bytes <= SMALL { Self::Small } else { Self::Large }
    }
}

/// An amount that requests share.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicUsize,
    limit: usize,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            limit,
        })
    }

    /// How much is for bodies of this size.
    fn limit_for(&self, size: Size) -> usize {
        match size {
            Size::Small => self.limit,
            Size::Large => self.limit - self.limit / 4,
        }
    }

    /// Takes an amount if there is enough left for a body of this size.
    pub(super) fn take(&self, amount: usize, size: Size) -> bool {
        let limit = self.limit_for(size);
        let more = |used: usize| used.checked_add(amount).filter(|used| *used <= limit);
        self.used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
            .is_ok()
    }

    pub(super) fn give_back(&self, amount: usize) {
        self.used.fetch_sub(amount, Ordering::AcqRel);
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }
}

/// A share of a budget, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    amount: usize,
}

impl Share {
    /// None when there is not enough left.
    pub(super) fn of(budget: &Arc<Budget>, amount: usize, size: Size) -> Option<Self> {
        budget.take(amount, size).then(|| Self {
            budget: Arc::clone(budget),
            amount,
        })
    }

    /// A share whose amount was taken before.
    pub(super) fn taken(budget: &Arc<Budget>, amount: usize) -> Self {
        Self {
            budget: Arc::clone(budget),
            amount,
        }
    }

    /// Its amount, which the caller gives back.
    pub(super) fn into_amount(mut self) -> usize {
        std::mem::take(&mut self.amount)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.give_back(self.amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_given_back() {
        let budget = Budget::new(10);
        let one = Share::of(&budget, 6, Size::Small).unwrap();
        assert!(Share::of(&budget, 5, Size::Small).is_none());
        let two = Share::of(&budget, 4, Size::Small).unwrap();
        drop(one);
        assert_eq!(budget.used(), 4);
        assert_eq!(two.into_amount(), 4);
        assert_eq!(budget.used(), 4);
    }

    #[test]
    fn a_quarter_is_for_small_bodies() {
        let budget = Budget::new(100);
        assert!(budget.take(75, Size::Large));
        assert!(!budget.take(1, Size::Large));
        assert!(budget.take(25, Size::Small));
        assert!(!budget.take(1, Size::Small));
        assert!(!budget.take(usize::MAX, Size::Small));
    }
}
