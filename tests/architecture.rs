//! The layers of ARCHITECTURE.md are those of the code: dependencies point down only, and what decides touches nothing outside.

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

/// What the pure modules may use besides the language: formats, never the outside world.
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
    "commands/output.rs",
    "commands/check/batch.rs",
    // The progress line: a number and words of our own.
    "commands/sources.rs",
    // Asks whether standard error is a terminal.
    "commands/serve.rs",
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

/// Parts of the standard library that reach the outside world or a clock.
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
fn dependencies_point_down_only() {
    let layers = layers();
    for (module, known) in &layers {
        for file in files_of(module) {
            let code = code_of(&file);
            for reached in modules_named(&code, &layers) {
                assert!(
                    reached == *module || known.contains(&reached),
                    "{} depends on `{reached}`, which `{module}` must not know",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn the_table_names_every_module_and_each_knows_only_what_stands_below_it() {
    let layers = layers();
    let lib = fs::read_to_string(source().join("lib.rs")).unwrap();
    let built: BTreeSet<String> = lib
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect();
    let drawn: BTreeSet<String> = layers.iter().map(|(module, _)| module.clone()).collect();
    assert_eq!(drawn, built);
    let mut below = BTreeSet::new();
    for (module, known) in &layers {
        assert!(
            known.is_subset(&below),
            "`{module}` knows what does not stand below it: {known:?}"
        );
        below.insert(module.clone());
    }
}

/// What ARCHITECTURE.md permits and nothing uses would hide the next wrong dependency.
#[test]
fn what_the_table_permits_is_used() {
    let layers = layers();
    for (module, known) in &layers {
        let used: BTreeSet<String> = files_of(module)
            .iter()
            .flat_map(|file| modules_named(&code_of(file), &layers))
            .collect();
        let unused: Vec<&String> = known.difference(&used).collect();
        assert!(unused.is_empty(), "`{module}` may know {unused:?}, and does not");
    }
}

#[test]
fn the_deciding_modules_know_no_async_no_client_no_clock_and_no_environment() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let foreign = dependencies(&manifest);
    assert!(
        foreign.contains("tokio") && foreign.contains("kube"),
        "the manifest was not read: {foreign:?}"
    );
    let mut pure: Vec<PathBuf> = ["support/text", "trust", "pod", "decision"]
        .iter()
        .flat_map(|module| files_of(module))
        .collect();
    // The plan of a rotation is decided without I/O, with the time passed in.
    let rotation = files_of("certs/rotation");
    assert!(rotation.len() > 1, "{rotation:?}");
    pure.extend(rotation);
    for file in pure {
        let code = code_of(&file);
        let times = file.starts_with(source().join("certs"));
        for name in foreign.iter().filter(|name| !PURE_CRATES.contains(&name.as_str())) {
            // A point in time is a value; asking for the present one is not.
            let is_time = times && name == "jiff";
            assert!(
                is_time || !mentions_path(&code, name),
                "{} uses the crate `{name}`",
                file.display()
            );
        }
        for word in IMPURE_STD.iter().chain(&["Timestamp::now", "Zoned::now"]) {
            assert!(!code.contains(word), "{} uses {word}", file.display());
        }
        for word in ["async ", ".await"] {
            assert!(!code.contains(word), "{} holds `{}`", file.display(), word.trim());
        }
    }
}

#[test]
fn only_the_injection_makes_json_pointers_into_pods_and_only_the_review_knows_its_wire_form() {
    for (module, _) in layers() {
        for file in files_of(&module) {
            let code = code_of(&file);
            // The demonstration plays the API server: it writes reviews and reads answers and patches.
            if file.starts_with(source().join("commands/demo")) || file.ends_with("commands/demo.rs") {
                continue;
            }
            if !file.ends_with("admission/review.rs") {
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
    for (module, _) in layers() {
        for file in files_of(&module) {
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
                "{} writes to the terminal by itself; commands/output.rs does it for all",
                file.display()
            );
        }
    }
    for output in [
        "commands/output.rs",
        "commands/check/batch.rs",
        "telemetry/audit.rs",
        "telemetry/log.rs",
    ] {
        let code = code_of(&source().join(output));
        assert!(code.contains("text::"), "{output} writes text as it came");
    }
}

#[test]
fn only_the_role_source_iam_knows_the_aws_sdk() {
    for (module, _) in layers() {
        for file in files_of(&module) {
            let of_the_source = file.starts_with(source().join("roles/aws")) || file.ends_with("roles/aws.rs");
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

/// The modules with what each may know, from the table of ARCHITECTURE.md, the lowest first.
fn layers() -> Vec<(String, BTreeSet<String>)> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    let table = page.split("| module | may know |").nth(1).expect("the table of layers");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let names = |cell: &str| {
        let quoted = cell.split('`').skip(1).step_by(2);
        quoted.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let layers: Vec<_> = rows
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
            (names(cells[0]).into_iter().next().unwrap(), names(cells[1]))
        })
        .collect();
    assert!(layers.len() > 8, "{layers:?}");
    layers
}

/// The Rust files of a module: its folder and the file beside it.
fn files_of(module: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let beside = source().join(format!("{module}.rs"));
    if beside.exists() {
        files.push(beside);
    }
    collect(&source().join(module), &mut files);
    assert!(!files.is_empty(), "module `{module}` has no files");
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
    if ["tests.rs", "differential.rs", "properties.rs"]
        .iter()
        .any(|tests| file.ends_with(tests))
    {
        return String::new();
    }
    without_tests(&fs::read_to_string(file).unwrap())
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Takes out each item behind `#[cfg(test)]`: up to its semicolon, or to the brace that ends it at its own indentation.
fn without_tests(text: &str) -> String {
    let mut kept = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            kept.push(line);
            continue;
        }
        let indentation = &line[..line.len() - line.trim_start().len()];
        let end = format!("{indentation}}}");
        let mut is_open = false;
        for line in lines.by_ref() {
            is_open |= line.trim_end().ends_with('{');
            let is_over = if is_open {
                line == end
            } else {
                line.trim_end().ends_with([';', '}'])
            };
            if is_over {
                break;
            }
        }
    }
    kept.join("\n")
}

#[test]
fn only_tests_are_left_out_of_what_is_read() {
    let text = "a\n#[cfg(test)]\nmod properties;\nb\n    #[cfg(test)]\n    #[allow(x)]\n    fn f() {\n        {\n        }\n    }\nc\n#[cfg(test)]\nmod tests {\n    d\n}\ne";
    assert_eq!(without_tests(text), "a\nb\nc\ne");
    let rotation = code_of(&source().join("certs/rotation.rs"));
    assert!(rotation.contains("impl Rotation"), "the plan of a rotation is not read");
}

fn modules_named(code: &str, layers: &[(String, BTreeSet<String>)]) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for part in code.split("crate::").skip(1) {
        if let Some(list) = part.strip_prefix('{') {
            let list = list.split(';').next().unwrap_or_default();
            for (module, _) in layers {
                if mentions_word(list, module) {
                    named.insert(module.clone());
                }
            }
        } else {
            let name: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if layers.iter().any(|(module, _)| *module == name) {
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
