//! Commands, variables and values of the chart that documents name, also in text: each flag of `rolegate` and each value exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use regex::Regex;
use serde_json::Value;

use super::commands_of_the_program::COMMANDS;
use super::{documents, help, read, root};

/// Variables that are not flags: of tests, and of the build.
const VARIABLES: [&str; 4] = [
    "ROLEGATE_UPDATE",
    "ROLEGATE_SOAK_MINUTES",
    "ROLEGATE_TRY_MINUTES",
    "ROLEGATE_COMMIT",
];

fn regex(text: &str) -> Regex {
    Regex::new(text).unwrap()
}

/// Each document's path and text, with continued lines joined.
fn texts() -> Vec<(String, String)> {
    let texts = documents(root()).into_iter().map(|path| {
        let text = fs::read_to_string(&path).unwrap().replace("\\\n", " ");
        (path.strip_prefix(root()).unwrap().display().to_string(), text)
    });
    texts.collect()
}

#[test]
fn each_flag_in_a_command_exists() {
    let flag = regex(r"(?:^|[ ,])(--[a-z][a-z-]*|-[a-zA-Z])(?:[ ,=\[<]|$)");
    let of_help = |command: &&str| -> BTreeSet<String> {
        let lines = help(&[command]);
        let lines = lines.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
        lines
            .flat_map(|line| line.split([' ', ',', '=', '[']).map(str::to_owned).collect::<Vec<_>>())
            .collect()
    };
    let flags: BTreeMap<&str, BTreeSet<String>> = COMMANDS.iter().map(|name| (*name, of_help(name))).collect();
    let command = regex(&format!(r"rolegate ({})( [^`|>;\n]*)?", COMMANDS.join("|")));
    let substitution = regex(r"\$\([^)]*\)");
    let mut count = 0;
    for (document, text) in texts() {
        let text = substitution.replace_all(&text, "…");
        for found in command.captures_iter(&text) {
            let known = &flags[&found[1]];
            let typed = found.get(2).map_or("", |words| words.as_str());
            // Separators of two flags would overlap.
            let typed = typed.replace(' ', "  ");
            for flag in flag.captures_iter(&typed) {
                assert!(known.contains(&flag[1]), "{document}: {}: {}", &found[0], &flag[1]);
                count += 1;
            }
        }
    }
    assert!(count > 200, "{count}");
}

#[test]
fn each_variable_exists() {
    let variable = regex("ROLEGATE_[A-Z_]*[A-Z]");
    let helps: String = COMMANDS.iter().map(|command| help(&[command])).collect();
    let mut known: BTreeSet<&str> = variable.find_iter(&helps).map(|found| found.as_str()).collect();
    known.extend(VARIABLES);
    for (document, text) in texts() {
        for found in variable.find_iter(&text) {
            let name = found.as_str();
            // The rule for all of them.
            assert!(
                known.contains(name) || name == "ROLEGATE_SOME_FLAG",
                "{document}: {name}"
            );
        }
    }
}

/// Whether the schema of the chart has this value, or passes it on.
fn is_value(schema: &Value, path: &[&str]) -> bool {
    let resolved = match schema["$ref"].as_str() {
        Some(reference) => {
            let text = read("charts/rolegate/values.schema.json");
            let schema: Value = serde_json::from_str(&text).unwrap();
            schema.pointer(reference.trim_start_matches('#')).unwrap().clone()
        }
        None => schema.clone(),
    };
    let Some((key, rest)) = path.split_first() else {
        return true;
    };
    match resolved["properties"].get(*key) {
        Some(below) => is_value(below, rest),
        None => resolved["additionalProperties"] != false,
    }
}

#[test]
fn each_value_of_the_chart_exists() {
    let schema: Value = serde_json::from_str(&read("charts/rolegate/values.schema.json")).unwrap();
    let top: BTreeSet<&String> = schema["properties"].as_object().unwrap().keys().collect();
    // `--set a.b=c` of helm, where a backslash precedes a dot in a key, and `a.b` or `a.b: c` in text.
    let set = regex(r"--set(?:-string)?[ =]'?([A-Za-z][A-Za-z0-9_./-]*)=");
    let named = regex(r"`([a-zA-Z]+(?:\.[a-zA-Z]+)+)(?:[:=] ?[^`]*)?`");
    let mut count = 0;
    for (document, text) in texts() {
        let text = text.replace("\\.", "-");
        for found in set.captures_iter(&text) {
            let path: Vec<&str> = found[1].split('.').collect();
            assert!(is_value(&schema, &path), "{document}: --set {}", &found[1]);
            count += 1;
        }
        for found in named.captures_iter(&text) {
            let path: Vec<&str> = found[1].split('.').collect();
            if top.contains(&path[0].to_owned()) {
                assert!(is_value(&schema, &path), "{document}: `{}`", &found[1]);
                count += 1;
            }
        }
    }
    assert!(count > 80, "{count}");
}
