//! Release notes are a section of the changelog.

use std::fs;

use super::sources::Sources;
use super::{fails, script, succeeds};

const CHANGELOG: &str = "# Changelog\n\nIntroduction.\n\n## Unreleased\n\n## 0.2.0 (2027-01-31)\n\n### Webhook\n\n- One, see [the page](docs/one.md#part) \
                         and [a site](https://example.com/two.md).\n\n## 0.1.0\n\n- The first.\n";

fn sources() -> Sources {
    let sources = Sources::copy();
    fs::write(sources.path().join("CHANGELOG.md"), CHANGELOG).unwrap();
    sources
}

#[test]
fn the_notes_are_the_section_of_the_version() {
    let sources = sources();
    let notes = succeeds(sources.script("notes.sh").arg("0.2.0"));
    assert!(notes.starts_with("### Webhook\n\n- One"), "{notes}");
    assert!(
        !notes.contains("The first") && !notes.contains("Introduction"),
        "{notes}"
    );
    assert_eq!(succeeds(sources.script("notes.sh").arg("0.1.0")), "- The first.\n");
}

#[test]
fn links_lead_to_the_files_of_the_tag() {
    let notes = succeeds(
        sources()
            .script("notes.sh")
            .arg("0.2.0")
            .env("REPOSITORY_URL", "https://example.com/owner/rolegate/"),
    );
    let links = "[the page](https://example.com/owner/rolegate/blob/v0.2.0/docs/one.md#part) and [a site](https://example.com/two.md)";
    assert!(notes.contains(links), "{notes}");
}

#[test]
fn a_version_without_notes_is_an_error() {
    let sources = sources();
    for version in ["0.3.0", "0.1", "Unreleased"] {
        let printed = fails(sources.script("notes.sh").arg(version));
        assert!(printed.contains(&format!("no section '## {version}'")), "{printed}");
    }
}

/// What the next release will say.
#[test]
fn the_changelog_has_notes() {
    let text = fs::read_to_string(super::repository().join("CHANGELOG.md")).unwrap();
    let newest = text.lines().find_map(|line| line.strip_prefix("## ")).unwrap();
    let version = newest.split_whitespace().next().unwrap();
    assert!(succeeds(script("notes.sh").arg(version)).lines().count() > 3);
}
