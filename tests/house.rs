//! The house keeps its shape: arrows point downwards only, and the two floors that decide touch nothing of the outside.

#![allow(
    clippy::expect_used,
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what they expect by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room with the rooms it may know. `ARCHITECTURE.md` draws the same.
const ARROWS: [(&str, &[&str]); 11] = [
    ("support", &[]),
    ("iam", &["support"]),
    ("pod", &["iam", "support"]),
    ("gate", &["iam", "pod", "support"]),
    ("kubernetes", &["support"]),
    ("roles", &["iam", "kubernetes", "support"]),
    ("cluster", &["iam", "kubernetes", "pod", "support"]),
    ("certs", &["kubernetes", "support"]),
    (
        "telemetry",
        &["certs", "cluster", "gate", "iam", "kubernetes", "roles", "support"],
    ),
    (
        "webhook",
        &[
            "certs",
            "cluster",
            "gate",
            "iam",
            "pod",
            "roles",
            "support",
            "telemetry",
        ],
    ),
    (
        "cli",
        &[
            "certs",
            "cluster",
            "gate",
            "iam",
            "kubernetes",
            "pod",
            "roles",
            "support",
            "telemetry",
            "webhook",
        ],
    ),
];

/// What the pure rooms may use beside the language: formats, never the world.
const PURE_CRATES: [&str; 7] = [
    "base64",
    "percent_encoding",
    "serde",
    "serde_json",
    "shlex",
    "strsim",
    "unicode_properties",
];

/// The files that write to a terminal, a pipe or a log. Each passes what it writes through `support/text`.
const OUTPUTS: [&str; 6] = [
    "cli/output.rs",
    "cli/check/batch.rs",
    // The progress line: a number and words of our own.
    "cli/sources.rs",
    // Asks whether standard error is a terminal.
    "cli/serve.rs",
    "telemetry/audit.rs",
    "telemetry/log.rs",
];

/// What escapes, quotes or shortens text, or tells characters that do not show: one module does, for all.
const TEXT_CRAFT: [&str; 9] = [
    "escape_default",
    "escape_debug",
    "escape_unicode",
    "\\u{202",
    "\\u{200",
    "general_category",
    "shlex::",
    "r\"'\\''\"",
    "'…'",
];

/// Parts of the standard library that reach the world or a clock.
const IMPURE_STD: [&str; 10] = [
    "std::env",
    "std::fs",
    "std::io",
    "std::net::Tcp",
    "std::net::Udp",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "Instant::now",
];

#[test]
fn arrows_point_downwards_only() {
    for (room, known) in ARROWS {
        for file in files_of(room) {
            let code = code_of(&file);
            for reached in rooms_named(&code) {
                assert!(
                    reached == room || known.contains(&reached.as_str()),
                    "{} reaches into `{reached}`, which `{room}` must not know",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn every_room_is_drawn() {
    let drawn: BTreeSet<String> = ARROWS.iter().map(|(room, _)| (*room).to_owned()).collect();
    let lib = fs::read_to_string(source().join("lib.rs")).unwrap();
    let built: BTreeSet<String> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';').map(str::to_owned))
        .collect();
    assert_eq!(drawn, built);
}

#[test]
fn the_deciding_rooms_know_no_async_no_client_no_clock_and_no_environment() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let foreign = dependencies(&manifest);
    assert!(
        foreign.contains("tokio") && foreign.contains("kube"),
        "the manifest was not read: {foreign:?}"
    );
    for room in ["support", "iam", "pod", "gate"] {
        for file in files_of(room) {
            let code = code_of(&file);
            for name in foreign.iter().filter(|name| !PURE_CRATES.contains(&name.as_str())) {
                assert!(
                    !mentions_path(&code, name),
                    "{} uses the crate `{name}`",
                    file.display()
                );
            }
            for word in IMPURE_STD {
                assert!(!code.contains(word), "{} uses {word}", file.display());
            }
            for word in ["async ", ".await"] {
                assert!(!code.contains(word), "{} holds `{}`", file.display(), word.trim());
            }
        }
    }
}

#[test]
fn only_the_injection_makes_json_pointers_into_pods_and_only_the_review_knows_its_wire_form() {
    for (room, _) in ARROWS {
        for file in files_of(room) {
            let code = code_of(&file);
            // The demonstration plays the API server: it writes reviews and reads answers and patches.
            if file.starts_with(source().join("cli/demo")) || file.ends_with("cli/demo.rs") {
                continue;
            }
            if !file.ends_with("webhook/review.rs") {
                for word in ["\"JSONPatch\"", "patchType", "\"AdmissionReview\"", "auditAnnotations"] {
                    assert!(!code.contains(word), "{} knows {word}", file.display());
                }
            }
            if !file.starts_with(source().join("pod")) {
                for part in ["volumes", "containers", "initContainers", "ephemeralContainers"] {
                    let pointer = format!("\"/spec/{part}");
                    assert!(
                        !code.contains(&pointer),
                        "{} makes a JSON pointer into a pod",
                        file.display()
                    );
                }
            }
        }
    }
}

#[test]
fn text_of_users_leaves_through_one_module_only() {
    for (room, _) in ARROWS {
        for file in files_of(room) {
            if file.starts_with(source().join("support")) {
                continue;
            }
            let code = code_of(&file);
            for craft in TEXT_CRAFT {
                assert!(
                    !code.contains(craft),
                    "{} escapes, quotes or shortens text by itself ({craft}); support/text does it for all",
                    file.display()
                );
            }
            let writes = [
                "println!",
                "print!",
                "eprint",
                "io::stderr",
                "io::stdout",
                "anstream::std",
            ]
            .iter()
            .any(|way| code.contains(way));
            let is_output = OUTPUTS.iter().any(|output| file == source().join(output));
            assert!(
                !writes || is_output,
                "{} writes to the terminal by itself; cli/output.rs does it for all",
                file.display()
            );
        }
    }
    for output in [
        "cli/output.rs",
        "cli/check/batch.rs",
        "telemetry/audit.rs",
        "telemetry/log.rs",
    ] {
        let code = code_of(&source().join(output));
        assert!(code.contains("text::"), "{output} writes text as it came");
    }
}

#[test]
fn only_the_role_source_iam_knows_the_aws_sdk() {
    for (room, _) in ARROWS {
        for file in files_of(room) {
            let of_the_source = file.starts_with(source().join("roles/iam")) || file.ends_with("roles/iam.rs");
            let code = code_of(&file);
            for name in ["aws_config", "aws_credential_types", "aws_sdk_iam", "aws_sdk_sts"] {
                assert!(
                    of_the_source || !mentions_path(&code, name),
                    "{} uses the crate `{name}`",
                    file.display()
                );
            }
        }
    }
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The Rust files of a room: its folder and the file beside it.
fn files_of(room: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let beside = source().join(format!("{room}.rs"));
    if beside.exists() {
        files.push(beside);
    }
    collect(&source().join(room), &mut files);
    assert!(!files.is_empty(), "room `{room}` has no files");
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// A file's code without comments and without its tests, which may use what they like.
fn code_of(file: &Path) -> String {
    if ["tests.rs", "differential.rs"]
        .iter()
        .any(|tests| file.ends_with(tests))
    {
        return String::new();
    }
    let text = fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

fn rooms_named(code: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for part in code.split("crate::").skip(1) {
        if let Some(list) = part.strip_prefix('{') {
            let list = list.split(';').next().unwrap_or_default();
            for (room, _) in ARROWS {
                if mentions_word(list, room) {
                    named.insert(room.to_owned());
                }
            }
        } else {
            let name: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if ARROWS.iter().any(|(room, _)| *room == name) {
                named.insert(name);
            }
        }
    }
    named
}

fn mentions_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .any(|part| part == word)
}

fn mentions_path(code: &str, name: &str) -> bool {
    let path = format!("{name}::");
    code.match_indices(&path)
        .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
        || code.contains(&format!("use {name};"))
}

/// The names of `[dependencies]`, as code writes them.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let section = manifest.split("[dependencies]").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    section
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(" = ").map(|(name, _)| name.trim().replace('-', "_")))
        .collect()
}
