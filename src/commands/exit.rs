//! The exit codes of commands.

use std::process::ExitCode;

/// How a command ended, from best to worst: the exit code of many answers is that of the worst one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Exit {
    /// 0.
    Yes,
    /// 2: undetermined, or usage error.
    Unclear,
    /// 1: not trusted, findings.
    No,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Yes => Self::from(0),
            Exit::No => Self::from(1),
            Exit::Unclear => Self::from(2),
        }
    }
}
