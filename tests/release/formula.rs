//! The Homebrew formula, read by Ruby.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use super::support::tools::Missing;
use super::{PLATFORMS, VERSION, archive, packed, script, succeeds};

const REPOSITORY: &str = "https://example.com/owner/rolegate";

/// What Homebrew provides, reduced to what the formula uses: runs it for one platform, and prints what it does.
const HOMEBREW: &str = include_str!("homebrew.rb");

#[test]
fn homebrew_gets_the_archive_of_each_platform() {
    if Command::new("ruby").arg("--version").output().is_err() {
        return Missing::Tool("no ruby (Debian: apt-get install ruby)".to_owned())
            .skip("tests of the Homebrew formula");
    }
    let folder = packed();
    let dist = folder.path().join("dist");
    let downloads = format!("{REPOSITORY}/releases/download/v{VERSION}");
    let text = succeeds(
        script("formula.sh")
            .args([VERSION, REPOSITORY, downloads.as_str()])
            .arg(&dist),
    );
    let formula = folder.path().join("rolegate.rb");
    fs::write(&formula, &text).unwrap();
    succeeds(Command::new("ruby").args(["-w", "-c"]).arg(&formula));

    for platform in PLATFORMS.iter().filter(|platform| !platform.starts_with("windows")) {
        let (os, architecture) = platform.split_once('-').unwrap();
        let printed = succeeds(
            Command::new("ruby")
                .args(["-e", HOMEBREW])
                .arg(&formula)
                .env("RUN_OS", os)
                .env("RUN_ARCH", architecture),
        );
        let path = archive(&folder, platform);
        let name = path.file_name().unwrap().to_str().unwrap();
        let sum = succeeds(Command::new("sha256sum").arg(&path));
        let fields: BTreeMap<&str, &str> = printed.lines().filter_map(|line| line.split_once(' ')).collect();
        assert_eq!(fields["version"], VERSION, "{printed}");
        assert_eq!(fields["homepage"], REPOSITORY);
        assert_eq!(fields["url"], format!("{downloads}/{name}"), "{platform}");
        assert_eq!(fields["sha256"], sum.split_whitespace().next().unwrap(), "{platform}");
        for line in [
            "bin rolegate",
            "bin link rolegate kubectl-rolegate",
            "bin kubectl_complete-rolegate",
            "bash_completion completions/rolegate.bash rolegate",
            "zsh_completion completions/_rolegate",
            "fish_completion completions/rolegate.fish",
        ] {
            assert!(printed.lines().any(|printed| printed == line), "{line}: {printed}");
        }
    }
    // `brew audit` allows at most 80 characters, and the formula is about what people run.
    let description = text.lines().find_map(|line| line.trim().strip_prefix("desc ")).unwrap();
    assert!(description.len() <= 82, "{description}");
}
