//! The purpose and the mode of a review, which are in the path of its request.

use crate::decision::Mode;

/// What a review is posted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReviewKind {
    /// `POST /mutate…`: evaluate a pod and inject its identity.
    MutatePods(PathMode),
    /// `POST /validate/pods…`: the same evaluation without a patch.
    ValidatePods(PathMode),
    /// `POST /validate/workloads`: warnings for objects that create pods later.
    ValidateWorkloads,
}

impl ReviewKind {
    /// The mode that applies, `configured` being that of `--mode`; none for workloads, which are never refused.
    #[must_use]
    pub const fn mode(self, configured: Mode) -> Option<Mode> {
        match self {
            Self::MutatePods(mode) | Self::ValidatePods(mode) => Some(mode.or(configured)),
            Self::ValidateWorkloads => None,
        }
    }
}

/// The mode that a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathMode {
    /// None: `--mode` decides.
    Configured,
    /// `/enforce`, `/warn` or `/audit`.
    Named(Mode),
    /// Anything else serves as [`Mode::Enforce`], with a warning that the namespace's label is not a valid mode. A 404 would stop
    /// every pod while the versions of chart and program differ.
    Misspelled,
}

impl PathMode {
    /// The mode that applies, `configured` being that of `--mode`.
    #[must_use]
    pub const fn or(self, configured: Mode) -> Mode {
        match self {
            Self::Configured => configured,
            Self::Named(mode) => mode,
            Self::Misspelled => Mode::Enforce,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelled_mode_is_enforce_whatever_is_configured() {
        assert_eq!(PathMode::Misspelled.or(Mode::Audit), Mode::Enforce);
        assert_eq!(PathMode::Configured.or(Mode::Audit), Mode::Audit);
        assert_eq!(PathMode::Named(Mode::Warn).or(Mode::Audit), Mode::Warn);
    }

    #[test]
    fn reviews_of_workloads_have_no_mode() {
        assert_eq!(ReviewKind::ValidateWorkloads.mode(Mode::Enforce), None);
        assert_eq!(
            ReviewKind::ValidatePods(PathMode::Configured).mode(Mode::Audit),
            Some(Mode::Audit)
        );
    }
}
