//! Three-valued logic, because a policy can depend on something that only STS sees.

/// False, cannot know, true. The order makes `and` the lesser and `or` the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ternary {
    False,
    Unknown,
    True,
}

impl Ternary {
    pub(crate) fn and(self, other: Self) -> Self {
        self.min(other)
    }
    pub(crate) fn or(self, other: Self) -> Self {
        self.max(other)
    }
    /// The value, if it is the same for two possibilities.
    pub(crate) fn either(self, other: Self) -> Self {
        if self == other { self } else { Self::Unknown }
    }
    /// Whether any value is true; false if there are no values.
    pub(crate) fn any(truths: impl IntoIterator<Item = Self>) -> Self {
        let mut any = Self::False;
        for truth in truths {
            any = any.or(truth);
            if any == Self::True {
                break;
            }
        }
        any
    }
}

impl std::ops::Not for Ternary {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::False => Self::True,
            Self::Unknown => Self::Unknown,
            Self::True => Self::False,
        }
    }
}

impl From<bool> for Ternary {
    fn from(known: bool) -> Self {
        if known { Self::True } else { Self::False }
    }
}
