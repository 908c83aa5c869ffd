//! The language of the repository: plain US technical English, as cert-manager, linkerd and the Kubernetes style guide write it.
//!
//! [`rules`] lists the phrases that readers stumble over and what to write instead. [`text`] keeps the prose of a file and blanks
//! out everything else: code, code blocks and code spans, link targets.
//!
//! | files | what is read |
//! | --- | --- |
//! | README, ARCHITECTURE, CHANGELOG, every other Markdown file | prose outside code |
//! | `docs/`, `charts/`, other than Markdown | everything |
//! | `src/`, `benches/` | comments and string literals, names of items and variables |
//! | `tests/` | comments, names of items and variables |
//! | `Cargo.toml`, `Dockerfile`, scripts | comments |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests say what they expect by panicking"
)]

mod rules;
mod text;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rules::Rules;
use text::{Kind, identifiers, prose};

/// Directories that hold no text of the project.
const SKIPPED: [&str; 3] = [".git", "target", "snapshots"];

#[test]
fn the_repository_is_written_in_plain_english() {
    let rules = Rules::new();
    let mut findings = Vec::new();
    for (path, kind) in files() {
        let source = fs::read_to_string(root().join(&path)).unwrap();
        findings.extend(findings_in(&rules, &path, kind, &source));
    }
    assert!(
        findings.is_empty(),
        "{} phrases:\n{}",
        findings.len(),
        findings.join("\n")
    );
}

/// rustfmt wraps code, but not comments.
#[test]
fn lines_of_comments_are_not_too_long() {
    const LONGEST: usize = 140;
    let mut long = Vec::new();
    for (path, kind) in files() {
        let mark = match kind {
            Kind::Program | Kind::Test => "//",
            Kind::Script => "#",
            _ => continue,
        };
        let source = fs::read_to_string(root().join(&path)).unwrap();
        let lines = (1..).zip(source.lines());
        let comments = lines.filter(|(_, line)| line.trim_start().starts_with(mark));
        long.extend(
            comments
                .filter(|(_, line)| line.chars().count() > LONGEST)
                .map(|(number, _)| format!("{path}:{number}")),
        );
    }
    assert!(long.is_empty(), "longer than {LONGEST} characters: {long:?}");
}

/// One line per finding: where it is, what it is and what to write instead.
fn findings_in(rules: &Rules, path: &str, kind: Kind, source: &str) -> Vec<String> {
    let prose = prose(kind, source);
    let mut findings = BTreeMap::new();
    for finding in rules.findings(&prose) {
        findings.insert(finding.start, (finding.phrase, finding.instead));
    }
    if matches!(kind, Kind::Program | Kind::Test) {
        for (start, name) in identifiers(source) {
            if let Some(instead) = rules::of_identifier(&name) {
                findings.insert(start, (name, instead));
            }
        }
    }
    let line = |start: usize| source[..start].matches('\n').count() + 1;
    findings
        .into_iter()
        .map(|(start, (phrase, instead))| format!("{path}:{}: `{phrase}`: write {instead}", line(start)))
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Paths of the files to read, relative to the root.
fn files() -> Vec<(String, Kind)> {
    let mut found = Vec::new();
    let mut directories = vec![root().to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if !SKIPPED.contains(&name) {
                    directories.push(path);
                }
                continue;
            }
            let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            found.extend(Kind::of(&path).map(|kind| (path, kind)));
        }
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}

#[test]
fn every_kind_of_file_is_read() {
    let files = files();
    for (path, kind) in [
        ("README.md", Kind::Markdown),
        ("ARCHITECTURE.md", Kind::Markdown),
        ("docs/guides/jobs.md", Kind::Markdown),
        ("docs/reference/check.schema.json", Kind::Whole),
        ("charts/rolegate/README.md", Kind::Markdown),
        ("charts/rolegate/values.yaml", Kind::Whole),
        ("charts/rolegate/templates/NOTES.txt", Kind::Whole),
        ("charts/rolegate/templates/_helpers.tpl", Kind::Whole),
        ("src/main.rs", Kind::Program),
        ("benches/echo.rs", Kind::Program),
        ("benches/load.sh", Kind::Script),
        ("tests/prose/main.rs", Kind::Test),
        (".ci/run", Kind::Script),
        ("Cargo.toml", Kind::Script),
        ("Dockerfile", Kind::Script),
    ] {
        assert!(files.contains(&(path.to_owned(), kind)), "{path}");
    }
    assert!(
        !files
            .iter()
            .any(|(path, _)| path.ends_with(".snap") || path.ends_with(".png") || path == "Cargo.lock")
    );
}

#[test]
fn a_finding_names_the_line_the_phrase_and_the_replacement() {
    let source =
        "/// Fine.\nfn f() {\n    // It is told\n    // anew.\n    log(\"is no\\\n    role ARN\");\n}\nfn told() {}\n";
    let findings = findings_in(&Rules::new(), "src/one.rs", Kind::Program, source);
    assert_eq!(findings.len(), 4, "{findings:#?}");
    assert!(findings[0].starts_with("src/one.rs:3: `told`: write "), "{findings:#?}");
    assert!(findings[1].starts_with("src/one.rs:4: `anew`: write "), "{findings:#?}");
    assert!(
        findings[2].starts_with("src/one.rs:5: `is no role`: write "),
        "{findings:#?}"
    );
    assert!(findings[3].starts_with("src/one.rs:8: `told`: write "), "{findings:#?}");

    let source = "#[test]\nfn a_role_is_told() {\n    let said = log(\"told\");\n}\n";
    let findings = findings_in(&Rules::new(), "tests/one.rs", Kind::Test, source);
    assert_eq!(findings.len(), 2, "{findings:#?}");
    assert!(
        findings[0].starts_with("tests/one.rs:2: `a_role_is_told`: write "),
        "{findings:#?}"
    );
    assert!(
        findings[1].starts_with("tests/one.rs:3: `said`: write "),
        "{findings:#?}"
    );
}
