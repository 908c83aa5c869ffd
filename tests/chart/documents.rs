//! README.md says what values.yaml says, and both say all.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::{chart, folder, read};

/// Set to write what is generated instead of comparing it.
pub(crate) const UPDATE: &str = "ROLEGATE_UPDATE";

const BEGIN: &str = "<!-- Generated from values.yaml; see tests/chart/documents.rs. -->\n";
const END: &str = "<!-- End of what is generated. -->\n";

/// Whether a committed file differs from its expected contents. With `ROLEGATE_UPDATE`, it is written instead.
pub(crate) fn differs_or_update(file: &Path, expected: &str) -> bool {
    if fs::read_to_string(file).unwrap() == expected {
        return false;
    }
    if std::env::var_os(UPDATE).is_none() {
        return true;
    }
    // Replaced atomically, because other tests read it at the same time.
    let mut written = tempfile::NamedTempFile::new_in(file.parent().unwrap()).unwrap();
    written.write_all(expected.as_bytes()).unwrap();
    written.persist(file).unwrap();
    fs::set_permissions(file, Permissions::from_mode(0o644)).unwrap();
    false
}

/// A value with the comment above it.
struct Documented {
    path: Vec<String>,
    text: String,
}

impl Documented {
    fn default(&self, values: &Value) -> Value {
        self.path.iter().fold(values.clone(), |value, key| value[key].clone())
    }
}

/// Keys with a comment right above them. Keys below such a one are part of it.
fn documented_values(yaml: &str) -> Vec<Documented> {
    let mut documented: Vec<Documented> = Vec::new();
    let mut path: Vec<(usize, String)> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in yaml.lines() {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        if let Some(text) = content.strip_prefix('#') {
            comment.push(text.trim());
            continue;
        }
        let key = content
            .split_once(':')
            .map(|(key, _)| key)
            .filter(|key| key.chars().all(|c| c.is_ascii_alphanumeric()));
        let Some(key) = key.filter(|key| !key.is_empty()) else {
            comment.clear();
            continue;
        };
        path.retain(|(at, _)| *at < indent);
        path.push((indent, key.to_owned()));
        let text = std::mem::take(&mut comment).join(" ");
        let path: Vec<String> = path.iter().map(|(_, key)| key.clone()).collect();
        let is_part = documented.iter().any(|one| path.starts_with(&one.path));
        if !text.is_empty() && !is_part {
            documented.push(Documented { path, text });
        }
    }
    documented
}

/// Paths of the values that nothing is below, or those that are empty objects.
fn leaves(prefix: &[String], value: &Value, found: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                leaves(&[prefix, std::slice::from_ref(key)].concat(), value, found);
            }
        }
        _ => found.push(prefix.to_vec()),
    }
}

fn values() -> Value {
    serde_saphyr::from_str(&read("values.yaml")).unwrap()
}

fn generated() -> String {
    let values = values();
    let mut table = String::from("\n| value | default | description |\n| --- | --- | --- |\n");
    for one in documented_values(&read("values.yaml")) {
        let default = one.default(&values).to_string().replace('|', "\\|");
        let text = one.text.replace('|', "\\|");
        table += &format!("| `{}` | `{default}` | {text} |\n", one.path.join("."));
    }
    table += "\n";
    table
}

#[test]
fn the_readme_holds_every_value() {
    let file = folder().join("README.md");
    let readme = read("README.md");
    let (head, rest) = readme.split_once(BEGIN).expect("the mark where the table begins");
    let (_, tail) = rest.split_once(END).expect("the mark where it ends");
    let expected = format!("{head}{BEGIN}{}{END}{tail}", generated());
    assert!(
        !differs_or_update(&file, &expected),
        "{} is not what values.yaml says: run {UPDATE}=1 cargo test --test chart",
        file.display()
    );
}

#[test]
fn every_value_has_its_text() {
    let documented = documented_values(&read("values.yaml"));
    let mut found = Vec::new();
    leaves(&[], &values(), &mut found);
    assert!(found.len() > 70, "{found:?}");
    for path in found {
        assert!(
            documented.iter().any(|one| path.starts_with(&one.path)),
            "{} has no comment",
            path.join(".")
        );
    }
}

#[test]
fn the_schema_and_the_values_name_the_same() {
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
        let Some(reference) = schema["$ref"].as_str() else {
            return schema;
        };
        root.pointer(reference.trim_start_matches('#')).unwrap()
    }
    fn compare(root: &Value, at: &str, schema: &Value, value: &Value) {
        let schema = resolve(root, schema);
        let Some(properties) = schema["properties"].as_object() else {
            return;
        };
        let values = value.as_object().unwrap_or_else(|| panic!("{at} is no map"));
        for key in values.keys() {
            assert!(properties.contains_key(key), "{at}.{key} is not in the schema");
        }
        // What is passed on to Kubernetes has more fields than defaults.
        let passed_on = [
            "resources",
            "dnsConfig",
            "strategy",
            "SecurityContext",
            "securityContext",
            "affinity",
            "settings",
        ];
        if passed_on.iter().any(|end| at.ends_with(end)) {
            return;
        }
        for (key, below) in properties {
            let value = values.get(key).unwrap_or_else(|| panic!("{at}.{key} has no default"));
            compare(root, &format!("{at}.{key}"), below, value);
        }
    }
    compare(&schema, "", &schema, &values());
}

#[test]
fn the_schema_describes_each_value_as_the_values_file_does() {
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    for Documented { path, text } in documented_values(&read("values.yaml")) {
        let mut at = &schema;
        for key in &path {
            if let Some(reference) = at["$ref"].as_str() {
                at = schema.pointer(reference.trim_start_matches('#')).unwrap();
            }
            at = &at["properties"][key];
        }
        let path = path.join(".");
        assert_eq!(
            at["description"], text,
            "`description` of {path} in values.schema.json is not the comment in values.yaml"
        );
    }
}

#[test]
fn the_values_files_of_the_readme_exist_and_none_is_forgotten() {
    let readme = read("README.md");
    for (name, _) in crate::documented() {
        if name.ends_with(".yaml") {
            assert!(
                readme.contains(&format!("(examples/{name})")),
                "README.md does not tell of {name}"
            );
        }
    }
    for part in readme.split("](examples/").skip(1) {
        let name = part.split(')').next().unwrap();
        assert!(folder().join("examples").join(name).is_file(), "{name} is gone");
    }
}

#[test]
fn the_notes_say_what_to_do_next_and_what_not_to_gate() {
    let Some(chart) = chart() else { return };
    let path = folder();
    let notes = |values: Value| {
        let arguments = [
            "install",
            "rolegate",
            path.to_str().unwrap(),
            "--namespace",
            crate::NAMESPACE,
            "--dry-run=client",
            "--hide-secret",
        ];
        let text = chart.helm(&arguments, &values).unwrap();
        text.split_once("NOTES:").expect("notes").1.to_owned()
    };
    insta::assert_snapshot!("notes_of_the_defaults", notes(json!({})));
    let everything = crate::documented()
        .into_iter()
        .find(|(name, _)| name == "everything.yaml")
        .unwrap()
        .1;
    insta::assert_snapshot!("notes_of_everything", notes(everything));
    let strict = json!({"failurePolicy": {"warn": "Fail", "audit": "Fail"}, "replicaCount": 1});
    insta::assert_snapshot!("notes_of_modes_that_all_fail", notes(strict));
    let one_of_two = json!({"inject": false, "certificates": {"mode": "secret", "secretName": "mine"}});
    insta::assert_snapshot!("notes_next_to_another_webhook", notes(one_of_two));
}

#[test]
fn what_the_guides_install_is_what_they_say() {
    let Some(chart) = chart() else { return };
    let guides = [
        include_str!("../../docs/guides/install-eks.md"),
        include_str!("../../docs/guides/install-kops.md"),
    ];
    let installs: Vec<Vec<String>> = guides
        .iter()
        .map(|guide| guide.replace("\\\n", " "))
        .flat_map(|guide| guide.lines().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|line| {
            let typed = line.strip_prefix("$ helm install ")?;
            let words = typed.split_whitespace();
            Some(words.map(|word| word.trim_matches('\'').to_owned()).collect())
        })
        .collect();
    let path = folder();
    let rendered = installs.iter().map(|words| {
        // `template` waits for nothing and makes no namespace.
        let words = words
            .iter()
            .filter(|word| !["--wait", "--create-namespace"].contains(&word.as_str()));
        let mut arguments: Vec<&str> = vec!["template"];
        arguments.extend(words.map(|word| {
            if word == "charts/rolegate" {
                path.to_str().unwrap()
            } else {
                word
            }
        }));
        chart
            .helm_without_image(&arguments, &json!({}))
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    });
    let rendered: Vec<String> = rendered.collect();
    let [on_eks, anywhere, by_files] = rendered.as_slice() else {
        panic!("{installs:?}")
    };
    let role = "eks.amazonaws.com/role-arn: arn:aws:iam::111122223333:role/rolegate\n";
    assert!(
        on_eks.contains(role) && on_eks.contains("--role-source=iam"),
        "{on_eks}"
    );
    assert!(
        anywhere.contains("serviceAccountToken") && !anywhere.contains(role),
        "{anywhere}"
    );
    assert!(
        by_files.contains("--role-source=files=/etc/rolegate/roles") && !by_files.contains("--role-source=iam"),
        "{by_files}"
    );
}
