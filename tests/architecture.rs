//! The code has the layers of ARCHITECTURE.md: dependencies only point down, and modules that decide do no I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What the pure modules may use besides the language: formats, never the outside world.
const PURE_CRATES: [&str; 10] = [
    "base64",
    "ipnet",
    // A point in time is a value; asking for the present one is not ([`IMPURE`]).
    "jiff",
    "percent_encoding",
    "serde",
    "serde_json",
    "shlex",
    "strsim",
    "thiserror",
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

/// What escapes, quotes or shortens text, or recognizes characters that do not show: one module does it for all.
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

/// What reaches the outside world or a clock.
const IMPURE: [&str; 14] = [
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
    "Timestamp::now",
    "Zoned::now",
    "TimeZone::get",
    "TimeZone::system",
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
fn the_table_names_every_module_and_each_uses_only_modules_below_it() {
    let layers = layers();
    let lib = fs::read_to_string(source().join("lib.rs")).unwrap();
    let built: BTreeSet<String> = lib
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect();
    let drawn: BTreeSet<String> = layers.iter().map(|(module, _)| module.clone()).collect();
    assert_eq!(drawn, built);
    let folders: BTreeSet<String> = fs::read_dir(source())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert!(folders.is_subset(&drawn), "no module: {:?}", folders.difference(&drawn));
    let mut below = BTreeSet::new();
    for (module, known) in &layers {
        assert!(
            known.is_subset(&below),
            "`{module}` knows what does not stand below it: {known:?}"
        );
        below.insert(module.clone());
    }
}

/// A table that names a file which was moved sends its reader nowhere.
#[test]
fn every_file_that_the_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let named: BTreeSet<&str> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| {
            name.contains('/')
                && !name.contains(' ')
                && (name.ends_with(".rs") || name.ends_with(".md") || name.ends_with('/'))
        })
        .collect();
    assert!(named.len() > 50, "{named:?}");
    let missing: Vec<_> = named
        .iter()
        .filter(|name| {
            !["", "src", "tests"]
                .iter()
                .any(|folder| root.join(folder).join(name).exists())
        })
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
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
        assert!(unused.is_empty(), "`{module}` may depend on {unused:?}, and does not");
    }
}

#[test]
fn the_deciding_modules_use_no_async_no_client_no_clock_and_no_environment() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let foreign = dependencies(&manifest);
    assert!(
        foreign.contains("tokio") && foreign.contains("kube"),
        "the manifest was not read: {foreign:?}"
    );
    let mut pure: Vec<PathBuf> = ["support/text", "trust", "pod", "decision", "reports", "workloads"]
        .iter()
        .flat_map(|module| files_of(module))
        .collect();
    // The plan of a rotation is decided without I/O, with the time passed in.
    let rotation = files_of("certs/rotation");
    assert!(rotation.len() > 1, "{rotation:?}");
    pure.extend(rotation);
    for file in pure {
        let code = code_of(&file);
        for name in foreign.iter().filter(|name| !PURE_CRATES.contains(&name.as_str())) {
            assert!(
                !mentions_path(&code, name),
                "{} uses the crate `{name}`",
                file.display()
            );
        }
        for word in IMPURE {
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

/// The modules that open other files: what the program writes, the name of the host, and streams.
const OPENERS: [&str; 5] = [
    "support/files.rs",
    "commands/input.rs",
    "commands/serve/start.rs",
    "telemetry/audit.rs",
    "commands/certs.rs",
];

#[test]
fn files_that_the_operator_names_are_opened_by_one_module() {
    let mut files = Vec::new();
    collect(&source(), &mut files);
    let mut openers = BTreeSet::new();
    for file in files {
        let code = code_of(&file);
        let opens = [
            "fs::read(",
            "fs::read_to_string(",
            "File::open(",
            "File::options(",
            "OpenOptions::new(",
        ];
        if opens.iter().any(|way| code.contains(way)) {
            openers.insert(file.strip_prefix(source()).unwrap().display().to_string());
        }
    }
    assert_eq!(
        openers,
        OPENERS.map(str::to_owned).into(),
        "support/files.rs opens files that the operator names: a FIFO must not block, a device must not fill memory"
    );
}

#[test]
fn locks_are_not_poisoned() {
    let mut files = Vec::new();
    collect(&source(), &mut files);
    assert!(files.len() > 50, "{files:?}");
    for file in files {
        assert!(
            !mentions_word(&fs::read_to_string(&file).unwrap(), "PoisonError"),
            "{} handles poisoned locks; the locks of parking_lot have no poison",
            file.display()
        );
    }
}

#[test]
fn only_what_calls_aws_knows_the_aws_sdk() {
    for (module, _) in layers() {
        for file in files_of(&module) {
            let calls_aws = ["aws", "roles/aws", "roles/aws.rs", "associations/eks.rs"];
            let of_the_source = calls_aws.iter().any(|path| file.starts_with(source().join(path)));
            let code = code_of(&file);
            for name in [
                "aws_config",
                "aws_credential_types",
                "aws_sdk_eks",
                "aws_sdk_iam",
                "aws_sdk_sts",
            ] {
                assert!(
                    of_the_source || !mentions_path(&code, name),
                    "{} uses the crate `{name}`",
                    file.display()
                );
            }
        }
    }
}

/// Modules with the same parent depend on each other in one direction only; what is below each counts as its own. A parent and
/// its children may use each other. A re-export is followed to the file that defines the item.
#[test]
fn sibling_modules_form_no_cycle() {
    let tree = ModuleTree::read(&source());
    let cycles: Vec<String> = tree
        .cycles()
        .iter()
        .map(|cycle| format!("{cycle:?}\n{}", tree.reasons(cycle)))
        .collect();
    assert!(
        cycles.is_empty(),
        "these modules use each other:\n{}",
        cycles.join("\n")
    );
}

#[test]
fn a_cycle_is_found_through_children_imports_and_reexports() {
    let files = [
        ("", "mod a; mod b; mod c; mod d;"),
        ("a", "pub mod x; pub use x::Thing; fn f() { crate::d::g() }"),
        ("a::x", "use super::super::b;"),
        ("b", "mod y; mod z; pub use self::y::Other;"),
        ("b::y", "use crate::c::{self, One as Uno};"),
        ("b::z", "use super::Other;"),
        ("c", "use super::a::{Thing as T, x};"),
        ("d", "fn g() { h::i() }"),
    ];
    let tree = ModuleTree::of(files.map(|(module, code)| (path_of(module), code.to_owned())));
    let cycle = (String::new(), ["a", "b", "c"].map(str::to_owned).to_vec());
    assert_eq!(tree.cycles(), [cycle]);
    let used =
        |module: &str| -> Vec<String> { tree.uses[&path_of(module)].iter().map(|used| used.join("::")).collect() };
    assert_eq!(used("b::z"), ["b::y"]);
    assert_eq!(used("c"), ["a::x"]);
    assert_eq!(used("a"), ["a::x", "d"]);
}

fn path_of(module: &str) -> ModulePath {
    module
        .split("::")
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

type ModulePath = Vec<String>;

/// Every module of the crate with the modules that its code names.
struct ModuleTree {
    uses: BTreeMap<ModulePath, BTreeSet<ModulePath>>,
}

impl ModuleTree {
    fn read(source: &Path) -> Self {
        let mut files = Vec::new();
        collect(source, &mut files);
        Self::of(files.iter().filter_map(|file| {
            let inside = file.strip_prefix(source).unwrap().with_extension("");
            let mut path: ModulePath = inside.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            match path.last().map(String::as_str) {
                Some("mod") => _ = path.pop(),
                Some("lib") if path.len() == 1 => path.clear(),
                Some("main") if path.len() == 1 => return None,
                _ => {}
            }
            let code = code_of(file);
            (!code.is_empty() || path.is_empty()).then_some((path, code))
        }))
    }

    fn of(files: impl IntoIterator<Item = (ModulePath, String)>) -> Self {
        let codes: BTreeMap<ModulePath, String> = files.into_iter().collect();
        let modules: BTreeSet<ModulePath> = codes.keys().cloned().collect();
        let imports: BTreeMap<&ModulePath, Imports> = codes
            .iter()
            .map(|(path, code)| (path, Imports::read(code, path, &modules)))
            .collect();
        let uses = codes.iter().map(|(path, code)| {
            let named = imports[path]
                .paths
                .iter()
                .cloned()
                .chain(inline_paths(code, path, &imports[path], &modules));
            let mut used: BTreeSet<ModulePath> = named
                .filter_map(|named| definer(&named, &modules, &imports, 8))
                .collect();
            used.remove(path);
            (path.clone(), used)
        });
        Self { uses: uses.collect() }
    }

    /// Under the path of their parent, the names of the modules of each circle.
    fn cycles(&self) -> Vec<(String, Vec<String>)> {
        let mut cycles = Vec::new();
        for parent in self.uses.keys() {
            let siblings = self.siblings(parent);
            let reached: BTreeMap<&String, BTreeSet<&String>> =
                siblings.keys().map(|name| (name, reachable(name, &siblings))).collect();
            let mut seen = BTreeSet::new();
            for name in siblings.keys() {
                let circle: Vec<String> = reached[name]
                    .iter()
                    .filter(|other| reached[**other].contains(name))
                    .map(|name| (*name).clone())
                    .collect();
                if circle.len() > 1 && seen.insert(circle.clone()) {
                    cycles.push((parent.join("::"), circle));
                }
            }
        }
        cycles
    }

    /// The children of a module, each with the other children that it or what is below it uses.
    fn siblings(&self, parent: &ModulePath) -> BTreeMap<String, BTreeSet<String>> {
        let child = |path: &ModulePath| {
            path.strip_prefix(parent.as_slice())
                .and_then(|rest| rest.first().cloned())
        };
        let mut siblings: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (path, used) in &self.uses {
            if let Some(name) = child(path) {
                let others = used.iter().filter_map(child).filter(|other| *other != name);
                siblings.entry(name.clone()).or_default().extend(others);
            }
        }
        siblings
    }

    /// Which file uses which, for each arrow of a circle.
    fn reasons(&self, (parent, circle): &(String, Vec<String>)) -> String {
        let within = |path: &ModulePath| {
            let rest = path.strip_prefix(path_of(parent).as_slice())?;
            circle.iter().find(|name| rest.first() == Some(name))
        };
        let mut lines = String::new();
        for (path, used) in &self.uses {
            for other in used {
                if let (Some(from), Some(to)) = (within(path), within(other))
                    && from != to
                {
                    lines += &format!("{} uses {}\n", path.join("::"), other.join("::"));
                }
            }
        }
        lines
    }
}

fn reachable<'g>(start: &'g String, graph: &'g BTreeMap<String, BTreeSet<String>>) -> BTreeSet<&'g String> {
    let (mut reached, mut left) = (BTreeSet::new(), vec![start]);
    while let Some(name) = left.pop() {
        for next in graph.get(name).into_iter().flatten() {
            if reached.insert(next) {
                left.push(next);
            }
        }
    }
    reached
}

/// What a file's `use` declarations bring in: whole paths, and the names by which the file knows them.
struct Imports {
    paths: Vec<Vec<String>>,
    names: BTreeMap<String, Vec<String>>,
}

impl Imports {
    fn read(code: &str, module: &ModulePath, modules: &BTreeSet<ModulePath>) -> Self {
        let mut imports = Self {
            paths: Vec::new(),
            names: BTreeMap::new(),
        };
        for declaration in use_declarations(code) {
            let mut leaves = Vec::new();
            flatten(&declaration, &[], &mut leaves);
            for (path, name) in leaves {
                let Some(path) = absolute(&path, module, modules, &BTreeMap::new()) else {
                    continue;
                };
                imports.paths.push(path.clone());
                imports.names.insert(name, path);
            }
        }
        imports
    }
}

/// The text between `use` and its semicolon, without white space but that of `as`.
fn use_declarations(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("use ") {
        let is_word = !rest[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let starts = rest[..at].trim_end().is_empty()
            || rest[..at].trim_end().ends_with([';', '}', '{', ')', ']'])
            || rest[..at].trim_end().ends_with("pub");
        rest = &rest[at + "use ".len()..];
        if !is_word || !starts {
            continue;
        }
        let Some((declaration, _)) = rest.split_once(';') else {
            break;
        };
        found.push(declaration.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    found
}

/// Each path of a tree such as `a::{b, c as d, self}` with the name that it gets.
fn flatten(tree: &str, before: &[String], leaves: &mut Vec<(Vec<String>, String)>) {
    let tree = tree.trim();
    if let Some(open) = tree.find('{') {
        let mut path = before.to_vec();
        path.extend(
            tree[..open]
                .split("::")
                .map(|part| part.trim().to_owned())
                .filter(|part| !part.is_empty()),
        );
        let inner = tree[open + 1..].strip_suffix('}').unwrap_or(&tree[open + 1..]);
        let (mut depth, mut start) = (0, 0);
        for (at, c) in inner.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    flatten(&inner[start..at], &path, leaves);
                    start = at + 1;
                }
                _ => {}
            }
        }
        flatten(&inner[start..], &path, leaves);
        return;
    }
    if tree.is_empty() {
        return;
    }
    let (tree, name) = tree
        .split_once(" as ")
        .map_or((tree, None), |(tree, name)| (tree, Some(name.to_owned())));
    let mut path = before.to_vec();
    path.extend(tree.split("::").map(|part| part.trim().to_owned()));
    if path.last().is_some_and(|last| last == "self" || last == "*") && path.len() > 1 {
        path.pop();
    }
    let name = name.unwrap_or_else(|| path.last().cloned().unwrap_or_default());
    leaves.push((path, name));
}

/// A path from the root of the crate; none for what is outside of it.
fn absolute(
    path: &[String],
    module: &ModulePath,
    modules: &BTreeSet<ModulePath>,
    names: &BTreeMap<String, Vec<String>>,
) -> Option<Vec<String>> {
    let (first, rest) = path.split_first()?;
    let mut absolute = match first.as_str() {
        "crate" => Vec::new(),
        "self" => module.clone(),
        "super" => module[..module.len().checked_sub(1)?].to_vec(),
        name => {
            let child = [module.as_slice(), &[name.to_owned()]].concat();
            match names.get(name) {
                Some(known) => known.clone(),
                None if modules.contains(&child) => child,
                None => return None,
            }
        }
    };
    for part in rest {
        match part.as_str() {
            "super" => _ = absolute.pop(),
            part => absolute.push(part.to_owned()),
        }
    }
    Some(absolute)
}

/// Paths that are written out where they are used.
fn inline_paths(
    code: &str,
    module: &ModulePath,
    imports: &Imports,
    modules: &BTreeSet<ModulePath>,
) -> Vec<Vec<String>> {
    // What ends with colons is the stem of a tree of imports.
    code.replace("::<", "<")
        .split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
        .filter(|word| word.contains("::") && !word.ends_with("::"))
        .filter_map(|word| {
            let path: Vec<String> = word
                .split("::")
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect();
            absolute(&path, module, modules, &imports.names)
        })
        .collect()
}

/// The module that defines what a path names; a re-export leads on to where it comes from.
fn definer(
    path: &[String],
    modules: &BTreeSet<ModulePath>,
    imports: &BTreeMap<&ModulePath, Imports>,
    steps: usize,
) -> Option<ModulePath> {
    let length = (0..=path.len())
        .rev()
        .find(|length| modules.contains(&path[..*length]))?;
    let module = path[..length].to_vec();
    let Some(item) = path.get(length) else {
        return Some(module);
    };
    let reexport = imports.get(&module).and_then(|imports| imports.names.get(item));
    match reexport {
        Some(origin) if steps > 0 && origin.as_slice() != path => definer(origin, modules, imports, steps - 1),
        _ => Some(module),
    }
}

#[test]
fn each_test_target_is_in_one_tier() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let aliases = fs::read_to_string(root.join(".cargo/config.toml")).unwrap();
    let mut listed: Vec<&str> = aliases
        .split("\"--test\",")
        .skip(1)
        .map(|rest| rest.trim_start().split('"').nth(1).unwrap())
        .collect();
    listed.sort_unstable();
    let mut targets: Vec<String> = fs::read_dir(root.join("tests"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").exists())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    targets.sort_unstable();
    assert_eq!(
        listed, targets,
        "the tiers of .cargo/config.toml (left) and the test targets (right)"
    );
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The modules with what each may depend on, from the table of ARCHITECTURE.md, the lowest first.
fn layers() -> Vec<(String, BTreeSet<String>)> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    let table = page
        .split("| module | may depend on |")
        .nth(1)
        .expect("the table of layers");
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

/// The Rust files of a module: its folder and the file of the same name.
fn files_of(module: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let own = source().join(format!("{module}.rs"));
    if own.exists() {
        files.push(own);
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
