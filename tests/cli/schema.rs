//! The keywords of JSON Schema that `docs/reference/{check,audit}.schema.json` use, no more.

use serde_json::Value;

pub(crate) fn check_schema() -> Value {
    serde_json::from_str(include_str!("../../docs/reference/check.schema.json")).unwrap()
}

pub(crate) fn audit_schema() -> Value {
    serde_json::from_str(include_str!("../../docs/reference/audit.schema.json")).unwrap()
}

/// The places where a value violates a definition of the schema.
pub(crate) fn faults(definition: &str, value: &Value) -> Vec<String> {
    faults_in(&check_schema(), definition, value)
}

/// The same of another schema.
pub(crate) fn faults_in(schema: &Value, definition: &str, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    visit(schema, &schema["$defs"][definition], value, definition, &mut faults);
    faults
}

fn visit(root: &Value, schema: &Value, value: &Value, place: &str, faults: &mut Vec<String>) {
    for (keyword, wanted) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "$ref" => {
                let name = wanted.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                visit(root, &root["$defs"][name], value, place, faults);
            }
            "enum" if !wanted.as_array().unwrap().contains(value) => faults.push(format!("{place}: {value}")),
            "type" if !types(wanted).contains(&type_of(value)) => {
                faults.push(format!("{place}: not {wanted}: {value}"))
            }
            "required" => {
                let missing = wanted
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|key| value.get(key.as_str().unwrap()).is_none());
                faults.extend(missing.map(|key| format!("{place}: no {key}")));
            }
            "additionalProperties" => {
                let known = schema["properties"].as_object().unwrap();
                let strange = value
                    .as_object()
                    .unwrap()
                    .keys()
                    .filter(|key| !known.contains_key(*key));
                faults.extend(strange.map(|key| format!("{place}: {key}")));
            }
            "properties" => {
                for (key, schema) in wanted.as_object().unwrap() {
                    if let Some(value) = value.get(key) {
                        visit(root, schema, value, &format!("{place}.{key}"), faults);
                    }
                }
            }
            "items" => {
                for element in value.as_array().into_iter().flatten() {
                    visit(root, wanted, element, &format!("{place}[]"), faults);
                }
            }
            "enum" | "type" => {}
            other => panic!("this test does not know the keyword {other}"),
        }
    }
}

fn types(expected: &Value) -> Vec<&str> {
    match expected {
        Value::Array(types) => types.iter().map(|one| one.as_str().unwrap()).collect(),
        one => vec![one.as_str().unwrap()],
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[test]
fn the_schema_lists_every_cause_of_trust() {
    let schema = check_schema();
    let listed: Vec<&str> = schema["$defs"]["cause"]["enum"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let outside_trust = [
        "no-role",
        "malformed-annotation",
        "conflict",
        "association-not-injected",
        "no-association",
        "unsupported-compute",
        "identity-not-used",
    ];
    let causes = rolegate::trust::Cause::ALL.map(rolegate::trust::Cause::as_str);
    let causes: Vec<&str> = causes
        .into_iter()
        .filter(|cause| !outside_trust.contains(cause))
        .collect();
    assert_eq!(listed, causes);
}

#[test]
fn the_page_names_every_field_of_the_schema() {
    let page = include_str!("../../docs/reference/check.md");
    let schema = check_schema();
    for definition in ["report", "answer", "association", "hop"] {
        for field in schema["$defs"][definition]["properties"].as_object().unwrap().keys() {
            assert!(page.contains(&format!("`{field}`")), "{field}");
        }
    }
}

#[test]
fn a_violation_is_found() {
    let good = serde_json::json!({"verdict": "trusted", "cause": null, "reason": "x"});
    assert!(faults("answer", &good).is_empty());
    for (key, value) in [
        ("verdict", "unknown".into()),
        ("reason", Value::Null),
        ("more", 1.into()),
    ] {
        let mut bad = good.clone();
        bad[key] = value;
        assert_eq!(faults("answer", &bad).len(), 1, "{bad}");
    }
}
