//! The version that the program prints, and the arguments of `rolegate version`.

use std::fmt;

use clap::Args;
use serde::Serialize;

use super::output::OutputArgs;

/// Digits of a commit that are printed for people.
const DIGITS: usize = 12;

/// What `--help` prints after the flags.
const AFTER_HELP: &str = "\
Examples:
  rolegate version -o json";

/// The arguments of `rolegate version`.
#[derive(Args, Clone, Copy, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct VersionArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// The version, and the commit if the build names one in `ROLEGATE_COMMIT`, as those of releases do.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Version {
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<&'static str>,
}

impl Version {
    /// That of this program.
    pub(crate) fn of_program() -> Self {
        Self::with_commit(option_env!("ROLEGATE_COMMIT"))
    }

    fn with_commit(commit: Option<&'static str>) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: commit.map(str::trim).filter(|commit| !commit.is_empty()),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.commit {
            Some(commit) => write!(f, "{} ({commit:.DIGITS$})", self.version),
            None => f.write_str(self.version),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_is_printed_where_it_is_known() {
        let version = env!("CARGO_PKG_VERSION");
        let printed = |commit| Version::with_commit(commit).to_string();
        assert_eq!(printed(None), version);
        assert_eq!(printed(Some(" ")), version);
        let commit = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(printed(Some(commit)), format!("{version} (0123456789ab)"));
        assert_eq!(printed(Some("0123")), format!("{version} (0123)"));
        let json = serde_json::to_value(Version::with_commit(Some(commit))).unwrap();
        assert_eq!(json, serde_json::json!({"version": version, "commit": commit}));
    }
}
