//! Null as a value: it is the same as the empty value, or the error names the value.

use std::fs;

use serde_json::{Value, json};

use crate::{chart, folder, read};

/// Paths of the values that have no values below, and of those above them.
fn paths(prefix: &[String], value: &Value, found: &mut Vec<Vec<String>>) {
    for (key, below) in value.as_object().into_iter().flatten() {
        let path = [prefix, std::slice::from_ref(key)].concat();
        paths(&path, below, found);
        found.push(path);
    }
}

fn is_named(error: &str, path: &[String]) -> bool {
    let (key, above) = path.split_last().unwrap();
    let missing = format!("at '{}': missing property '{key}'", pointer(above));
    error.contains(&missing)
        || error.contains(&format!("at '{}': got null", pointer(path)))
        || error.contains(&path.join("."))
}

fn pointer(path: &[String]) -> String {
    path.iter()
        .map(|key| format!("/{}", key.replace('~', "~0").replace('/', "~1")))
        .collect()
}

/// Maps with default entries that users can remove.
const MAPS: [&str; 5] = [
    "metrics.dashboard.labels",
    "nodeSelector",
    "podSecurityContext",
    "resources",
    "securityContext",
];

/// With `null`, Helm removes a default. If a release has such a value and is upgraded with `--reuse-values`, there is no default to remove
/// anymore, and the chart gets null.
#[test]
fn null_is_the_same_as_the_empty_value_or_the_error_names_the_value() {
    let Some(chart) = chart() else { return };
    let defaults: Value = serde_saphyr::from_str(&read("values.yaml")).unwrap();
    let mut found = Vec::new();
    paths(&[], &defaults, &mut found);
    assert!(found.len() > 120, "{}", found.len());
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let reused = directory.path().join("rolegate");
    copy(&folder(), &reused);
    let path_of_reused = reused.to_str().unwrap();
    let path_of_chart = folder();
    let template = |path: &str, values: &Value| {
        let arguments = ["template", "rolegate", path, "--namespace", crate::NAMESPACE];
        chart.helm_without_image(&arguments, values)
    };
    // Everything on, so that each value is used.
    let base = json!({
        "image": {"repository": crate::IMAGE},
        "roleFiles": {"configMap": "files"},
        "metrics": {
            "serviceMonitor": {"enabled": true},
            "prometheusRule": {"enabled": true},
            "dashboard": {"enabled": true},
        },
    });
    for path in found {
        let name = path.join(".");
        let mut with_null = base.clone();
        set(&mut with_null, &path, Value::Null);
        let mut without = defaults.clone();
        let (key, above) = path.split_last().unwrap();
        without
            .pointer_mut(&pointer(above))
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove(key);
        fs::write(reused.join("values.yaml"), without.to_string()).unwrap();
        let default = defaults.pointer(&pointer(&path)).unwrap();
        let mut with_empty = base.clone();
        let empty = match default {
            Value::Array(_) => json!([]),
            Value::String(_) => json!(""),
            _ => default.clone(),
        };
        set(&mut with_empty, &path, empty);
        let expected = template(path_of_chart.to_str().unwrap(), &with_empty);
        for chart in [path_of_chart.to_str().unwrap(), path_of_reused] {
            match template(chart, &with_null) {
                // Null removes an entry of such a map.
                Ok(_) if MAPS.iter().any(|map| name.starts_with(&format!("{map}."))) => {}
                // An empty map does not remove the entries of its default.
                Ok(_) if default.as_object().is_some_and(|entries| !entries.is_empty()) => {}
                Ok(rendered) => assert_eq!(Ok(rendered), expected, "{name}"),
                Err(error) => {
                    assert!(is_named(&error, &path), "{name}: {error}");
                    let is_in_map = MAPS.iter().any(|map| name.starts_with(&format!("{map}.")));
                    let is_empty = matches!(default, Value::Array(_)) || default == "" || *default == json!({});
                    let has_none = is_empty && !is_in_map;
                    assert!(
                        !has_none || expected.is_err(),
                        "{name} has an empty value, but null is rejected: {error}"
                    );
                }
            }
        }
    }
}

fn set(values: &mut Value, path: &[String], value: Value) {
    let (key, above) = path.split_last().unwrap();
    let mut here = values;
    for key in above {
        here = here
            .as_object_mut()
            .unwrap()
            .entry(key.clone())
            .or_insert_with(|| json!({}));
    }
    here[key] = value;
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
