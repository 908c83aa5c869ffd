//! The mode that the path of a request names.

use crate::decision::Mode;

/// The mode that a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathMode {
    /// None: `--mode` decides.
    Configured,
    /// `/enforce`, `/warn` or `/audit`.
    Named(Mode),
    /// Anything else serves as [`Mode::Enforce`], with a warning that the namespace's label holds no mode. A 404 would stop
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
    fn a_misspelt_mode_is_enforce_whatever_is_configured() {
        assert_eq!(PathMode::Misspelled.or(Mode::Audit), Mode::Enforce);
        assert_eq!(PathMode::Configured.or(Mode::Audit), Mode::Audit);
        assert_eq!(PathMode::Named(Mode::Warn).or(Mode::Audit), Mode::Warn);
    }
}
