//! What guides say: commands of `rolegate` that need neither a cluster nor AWS run and print what is shown, values of the chart are those
//! of its schema, and the flags of the migration exist. `tests/e2e` runs the guides that need a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use super::{blocks, documents, help, read, root};

/// The pages with such commands, and how many.
const PAGES: [(&str, usize); 5] = [
    ("docs/tutorial.md", 2),
    ("docs/guides/install-kops.md", 1),
    ("docs/guides/install-terraform.md", 1),
    ("docs/guides/cross-account.md", 1),
    ("docs/reference/command-line.md", 2),
];

/// A command, and the lines that the page shows below it.
struct Step {
    command: String,
    shown: Vec<String>,
}

fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in blocks(page, "console").iter().flat_map(|block| block.lines()) {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push(Step {
                command: command.to_owned(),
                shown: Vec::new(),
            }),
            (None, Some(step)) if step.command.ends_with('\\') => {
                step.command.push('\n');
                step.command.push_str(line);
            }
            (None, Some(step)) => step.shown.push(line.to_owned()),
            (None, None) => panic!("output without a command: {line}"),
        }
    }
    steps
}

#[test]
fn commands_that_need_no_cluster_print_what_is_shown() {
    for (page, count) in PAGES {
        let folder = tempfile::tempdir().unwrap();
        for name in ["docs", "examples", "charts"] {
            std::os::unix::fs::symlink(root().join(name), folder.path().join(name)).unwrap();
        }
        let steps = steps(&read(page)).into_iter();
        let steps: Vec<Step> = steps.filter(|step| step.command.starts_with("rolegate ")).collect();
        assert_eq!(steps.len(), count, "{page}");
        for Step { command, shown } in steps {
            let program = env!("CARGO_BIN_EXE_rolegate");
            let script = format!("function rolegate {{ {program} \"$@\"; }}\n{command}");
            let output = Command::new("bash")
                .args(["-c", &script])
                .current_dir(folder.path())
                .env_remove("KUBECONFIG")
                // Output to a file or a pipe is not wrapped.
                .env_remove("COLUMNS")
                .output()
                .unwrap();
            assert!(
                output.status.code().is_some_and(|code| code < 2),
                "{page}: {command}: {output:?}"
            );
            let printed = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            let mut lines = printed.lines();
            for line in shown.iter().filter(|line| *line != "…") {
                assert!(
                    lines.any(|printed| printed == line),
                    "{page}: {command}: {line:?} is not in\n{printed}"
                );
            }
        }
    }
}

/// What `docs/guides/README.md` promises.
#[test]
fn a_guide_says_so_if_no_test_runs_its_commands() {
    let scenarios = read("tests/e2e/guides.rs") + &read("tests/cli/terraform.rs");
    let mut run = 0;
    for path in documents(&root().join("docs/guides")) {
        let page = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        if steps(&page).is_empty() {
            continue;
        }
        let is_run = scenarios.contains(&format!("\"{name}\"")) || scenarios.contains(&format!("guides/{name}\""));
        run += usize::from(is_run);
        assert!(
            is_run || page.contains("the test suite") || page.contains("The test suite"),
            "{name}"
        );
    }
    assert!(run >= 5, "{run}");
}

/// The values of the chart in a document: a file of values, an Application of Argo CD, or a HelmRelease of Flux.
fn values(document: Value) -> Option<Value> {
    match document.get("kind").and_then(Value::as_str) {
        Some("Application") => Some(document["spec"]["source"]["helm"]["valuesObject"].clone()),
        Some("HelmRelease") => Some(document["spec"]["values"].clone()),
        Some(_) => None,
        None => Some(document),
    }
}

/// As Helm merges values: objects are merged, everything else is replaced, and null removes.
fn merge(defaults: &mut Value, values: Value) {
    match (defaults, values) {
        (Value::Object(defaults), Value::Object(values)) => {
            for (key, value) in values {
                if value.is_null() {
                    defaults.remove(&key);
                } else {
                    merge(defaults.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (defaults, values) => *defaults = values,
    }
}

#[test]
fn values_in_guides_are_those_of_the_chart() {
    let mut compiler = boon::Compiler::new();
    let schema: Value = serde_json::from_str(&read("charts/rolegate/values.schema.json")).unwrap();
    compiler.add_resource("https://example.com/values", schema).unwrap();
    let mut schemas = boon::Schemas::new();
    let schema = compiler.compile("https://example.com/values", &mut schemas).unwrap();

    let defaults: Value = serde_saphyr::from_str(&read("charts/rolegate/values.yaml")).unwrap();
    let mut count = 0;
    for path in documents(&root().join("docs")) {
        let page = std::fs::read_to_string(&path).unwrap();
        // The first line names the file.
        for block in blocks(&page, "yaml").iter().filter(|block| block.starts_with("# ")) {
            for text in block.split("---\n") {
                let document: Value = serde_saphyr::from_str(text).unwrap();
                let Some(values) = values(document) else { continue };
                assert!(values.is_object(), "{}: {block}", path.display());
                let mut merged = defaults.clone();
                merge(&mut merged, values);
                let checked = schemas.validate(&merged, schema);
                assert!(checked.is_ok(), "{}: {}\n{block}", path.display(), checked.unwrap_err());
                count += 1;
            }
        }
    }
    assert!(count >= 5, "{count}");
}

/// All flags of amazon-eks-pod-identity-webhook, from 0.6.0 to 0.6.17, without those of its logging library.
#[rustfmt::skip]
const THEIR_FLAGS: [&str; 30] = [
    "--annotation-prefix", "--aws-default-region", "--compose-role-arn", "--container-credentials-audience",
    "--container-credentials-full-uri", "--container-credentials-token-mount-path", "--container-credentials-token-path",
    "--container-credentials-token-volume-name", "--enable-debugging-handlers", "--in-cluster", "--kube-api", "--kubeconfig",
    "--metrics-port", "--namespace", "--port", "--resync-period", "--service-account-lookup-grace-period", "--service-name",
    "--sts-regional-endpoint", "--tls-cert", "--tls-cipher-suites", "--tls-key", "--tls-min-version", "--tls-secret",
    "--token-audience", "--token-expiration", "--token-mount-path", "--version", "--watch-config-map",
    "--watch-container-credentials-config",
];

#[test]
fn the_migration_has_each_flag_and_those_of_rolegate_exist() {
    let page = read("docs/guides/migrate.md");
    let (_, table) = page.split_once("\n## Flags\n").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `--"));
    let rows: BTreeMap<String, &str> = rows
        .map(|row| {
            let (theirs, rest) = row.split_once("` | ").unwrap();
            (format!("--{theirs}"), rest.split(" | ").next().unwrap())
        })
        .collect();
    let theirs: BTreeSet<&str> = rows.keys().map(String::as_str).collect();
    assert_eq!(theirs, THEIR_FLAGS.into());
    let help = help(&["serve"]);
    for (theirs, ours) in rows {
        if ours == "none" {
            // Where both have the flag, the table must not say that there is none.
            assert!(!help.contains(&format!("      {theirs} ")), "{theirs}");
            continue;
        }
        let flag = ours.trim_matches('`');
        let begins_an_entry = help.lines().any(|line| {
            line.trim_start()
                .strip_prefix(flag)
                .is_some_and(|rest| rest.starts_with([' ', '[']) || rest.is_empty())
        });
        assert!(begins_an_entry, "{theirs}: rolegate serve has no flag {flag}");
    }
}
