//! The version that the program prints.

/// Digits of a commit that are printed.
const DIGITS: usize = 12;

/// The version, and the commit if the build names one in `ROLEGATE_COMMIT`, as those of releases do.
pub(super) fn version() -> String {
    with_commit(option_env!("ROLEGATE_COMMIT"))
}

fn with_commit(commit: Option<&str>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    match commit.map(str::trim).filter(|commit| !commit.is_empty()) {
        Some(commit) => {
            let shown: String = commit.chars().take(DIGITS).collect();
            format!("{version} ({shown})")
        }
        None => version.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_is_printed_where_it_is_known() {
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(with_commit(None), version);
        assert_eq!(with_commit(Some(" ")), version);
        let commit = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(with_commit(Some(commit)), format!("{version} (0123456789ab)"));
        assert_eq!(with_commit(Some("0123")), format!("{version} (0123)"));
    }
}
