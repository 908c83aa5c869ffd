//! All files name the same version.

use super::sources::Sources;
use super::{VERSION, fails, script, succeeds};

#[test]
fn all_files_have_the_same_version() {
    assert_eq!(succeeds(&mut script("versions.sh")).trim(), VERSION);
}

#[test]
fn another_version_is_reported_with_its_file() {
    let other = "9.8.7";
    for (file, place, from) in [
        (
            "Cargo.lock",
            "Cargo.lock (package rolegate)",
            format!("name = \"rolegate\"\nversion = \"{VERSION}\""),
        ),
        (
            "charts/rolegate/Chart.yaml",
            "Chart.yaml (version)",
            format!("\nversion: {VERSION}\n"),
        ),
        (
            "charts/rolegate/Chart.yaml",
            "Chart.yaml (appVersion)",
            format!("\nappVersion: {VERSION}\n"),
        ),
        ("Dockerfile", "Dockerfile (VERSION)", format!("ARG VERSION={VERSION}")),
        ("action.yml", "action.yml (version)", format!("default: \"{VERSION}\"")),
    ] {
        let sources = Sources::copy();
        sources.edit(file, &from, &from.replace(VERSION, other));
        let printed = fails(&mut sources.script("versions.sh"));
        assert!(
            printed.contains(&format!("{place} has version {other}, Cargo.toml has {VERSION}")),
            "{printed}"
        );
    }
}

#[test]
fn the_tag_is_the_version_and_has_a_section_in_the_changelog() {
    let sources = Sources::copy();
    let tag = format!("v{VERSION}");
    sources.edit(
        "CHANGELOG.md",
        "\n## ",
        &format!("\n## {VERSION}\n\n- A change.\n\n## "),
    );
    assert_eq!(succeeds(sources.script("versions.sh").arg(&tag)).trim(), VERSION);
    let printed = fails(sources.script("versions.sh").arg("v9.8.7"));
    assert!(printed.contains(&format!("tag v9.8.7 is not {tag}")), "{printed}");

    sources.edit("CHANGELOG.md", &format!("## {VERSION}\n"), "## 9.8.7\n");
    let printed = fails(sources.script("versions.sh").arg(&tag));
    assert!(printed.contains(&format!("no section '## {VERSION}'")), "{printed}");
}
