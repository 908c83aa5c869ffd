//! `action.yml`, `.pre-commit-hooks.yaml` and the guide to both: their flags are those of the program, and their script runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{ISSUER, rolegate};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn yaml(name: &str) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(Path::new(ROOT).join(name)).unwrap()).unwrap()
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The long flags in a text.
fn flags(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c == '-'));
    words
        .filter(|word| word.starts_with("--") && !word.trim_matches('-').is_empty())
        .collect()
}

fn script() -> String {
    yaml("action.yml")["runs"]["steps"][0]["run"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn the_flags_of_the_action_and_of_the_hook_exist() {
    let help = rolegate(&["audit", "--help"]).out;
    let known = flags(&help);
    let script = script();
    let (_, of_audit) = script.split_once("flags=(").unwrap();
    let used = flags(of_audit);
    assert!(used.contains("--file") && used.len() == 4, "{used:?}");
    assert!(used.is_subset(&known), "{used:?}");
    let action = fs::read_to_string(Path::new(ROOT).join("action.yml")).unwrap();
    let (described, _) = action.split_once("\nruns:").unwrap();
    assert!(flags(described).is_subset(&known), "{:?}", flags(described));
    let hook = &yaml(".pre-commit-hooks.yaml")[0];
    let hook_text = hook.to_string();
    assert!(flags(&hook_text).is_subset(&known), "{hook_text}");
    let entry: Vec<&str> = hook["entry"].as_str().unwrap().split(' ').collect();
    assert_eq!(entry[0], "rolegate");
    assert_eq!(rolegate(&[&entry[1..], &["--help"]].concat()).code, 0);
}

#[test]
fn each_input_is_used_and_its_values_are_those_of_the_program() {
    let action = yaml("action.yml");
    let inputs = keys(&action["inputs"]);
    let variables = &action["runs"]["steps"][0]["env"];
    let used: BTreeSet<String> = variables
        .as_object()
        .unwrap()
        .values()
        .map(|value| {
            let expression = value.as_str().unwrap();
            let name = expression.strip_prefix("${{ inputs.").unwrap();
            name.strip_suffix(" }}").unwrap().to_owned()
        })
        .collect();
    assert_eq!(used.iter().map(String::as_str).collect::<BTreeSet<_>>(), inputs);
    let script = script();
    for variable in keys(variables) {
        assert!(script.contains(&format!("${variable}")), "{variable}");
    }
    assert!(!script.contains("${{"), "text of inputs would be read as a script");
    let formats = action["inputs"]["format"]["description"].as_str().unwrap();
    for format in super::reports::formats() {
        assert!(formats.contains(&format!("`{format}`")), "{format}");
    }
    assert_eq!(action["inputs"]["version"]["default"], env!("CARGO_PKG_VERSION"));
}

/// The steps of the guide's workflows use inputs that exist.
#[test]
fn the_guide_uses_what_exists() {
    let guide = fs::read_to_string(Path::new(ROOT).join("docs/guides/ci.md")).unwrap();
    let action = yaml("action.yml");
    let inputs = keys(&action["inputs"]);
    let mut uses = 0;
    for block in guide.split("```yaml\n").skip(1) {
        let text = block.split("```").next().unwrap();
        let workflow: Value = serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        for step in workflow["jobs"]["audit"]["steps"].as_array().into_iter().flatten() {
            if step["uses"]
                .as_str()
                .is_some_and(|uses| uses.starts_with("OWNER/rolegate@"))
            {
                uses += 1;
                assert!(keys(&step["with"]).is_subset(&inputs), "{step:#}");
                for required in ["path", "issuer"] {
                    assert!(step["with"].get(required).is_some(), "{step:#}");
                }
            }
        }
    }
    assert_eq!(uses, 2);
    for input in inputs {
        assert!(guide.contains(&format!("`{input}`")), "{input}");
    }
    let hooks = yaml(".pre-commit-hooks.yaml");
    assert!(guide.contains(&format!("id: {}", hooks[0]["id"].as_str().unwrap())));
    let help = rolegate(&["audit", "--help"]).out;
    assert!(flags(&guide).is_subset(&flags(&help)), "{:?}", flags(&guide));
}

/// Runs the script of the action as a runner does; returns exit code, output and what it wrote to `GITHUB_OUTPUT`.
fn act(variables: &[(&str, &str)]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("output");
    let program = Path::new(env!("CARGO_BIN_EXE_rolegate")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", &script()]);
    for name in keys(&yaml("action.yml")["runs"]["steps"][0]["env"]) {
        command.env(name, "");
    }
    command
        .current_dir(ROOT)
        .env("PATH", path)
        .env("GITHUB_OUTPUT", &output)
        .env("INPUT_PATH", "examples/standalone")
        .env("INPUT_ISSUER", ISSUER)
        .env("INPUT_FORMAT", "github")
        .env("INPUT_FAIL", "true")
        .envs(variables.iter().copied());
    let ran = command.output().unwrap();
    (
        ran.status.code().unwrap(),
        String::from_utf8(ran.stdout).unwrap(),
        fs::read_to_string(output).unwrap(),
    )
}

#[test]
fn the_script_of_the_action_reports_findings() {
    let (code, log, output) = act(&[]);
    assert_eq!((code, &*output), (1, "exit-code=1\n"), "{log}");
    assert!(
        log.contains("::error file=examples/standalone/serviceaccounts.yaml,line="),
        "{log}"
    );
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("a report.sarif");
    let (code, log, output) = act(&[
        ("INPUT_FORMAT", "sarif"),
        ("INPUT_REPORT", report.to_str().unwrap()),
        ("INPUT_FAIL", "false"),
        ("INPUT_ROLE_SOURCE", "files=examples/standalone/roles"),
    ]);
    assert_eq!((code, &*log, &*output), (0, "", "exit-code=1\n"));
    let sarif: Value = serde_json::from_str(&fs::read_to_string(report).unwrap()).unwrap();
    assert_eq!(sarif["runs"][0]["tool"]["driver"]["name"], "rolegate");
}

/// Manifests in subdirectories are audited, and a path without manifests does not pass.
#[test]
fn the_action_reads_directories_recursively_and_does_not_pass_without_manifests() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let roles = ("INPUT_ROLE_SOURCE", "files=examples/standalone/roles");
    let (code, log, output) = act(&[("INPUT_PATH", path), roles]);
    assert_eq!((code, &*output), (2, "exit-code=2\n"));
    assert!(log.starts_with("::error title=rolegate::nothing to audit: "), "{log}");
    let below = folder.path().join("base/accounts");
    fs::create_dir_all(&below).unwrap();
    fs::copy(
        Path::new(ROOT).join("examples/standalone/serviceaccounts.yaml"),
        below.join("all.yaml"),
    )
    .unwrap();
    let (code, log, _) = act(&[("INPUT_PATH", path), roles]);
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("base/accounts/all.yaml,line="), "{log}");
}

#[test]
fn text_of_inputs_is_not_a_script() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("harmed");
    let harm = format!("$(touch {0}); touch {0} `touch {0}` \" ' ", mark.display());
    for name in ["INPUT_PATH", "INPUT_ISSUER", "INPUT_FORMAT", "INPUT_ROLE_SOURCE"] {
        let (code, _, output) = act(&[(name, &harm)]);
        assert_eq!((code, &*output), (2, "exit-code=2\n"), "{name}");
    }
    assert!(!mark.exists());
}
