//! Reports against the published schemas of `tests/schemas`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use boon::{Compiler, Draft, Schemas};
use rolegate::reports::{Findings, junit, openreports, sarif};
use serde_json::{Value, json};

use super::tools::Missing;
use super::{findings, hostile, many, nothing, sample};

fn all() -> [Findings; 5] {
    [findings(Vec::new()), nothing(), sample(), hostile(), many(400)]
}

fn schema(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemas").join(name)
}

/// What the schema objects to.
fn objections(schema: &Value, value: &Value) -> Option<String> {
    let mut compiler = Compiler::new();
    compiler.set_default_draft(Draft::V2020_12);
    compiler.enable_format_assertions();
    compiler.add_resource("schema.json", schema.clone()).unwrap();
    let mut schemas = Schemas::new();
    let index = compiler.compile("schema.json", &mut schemas).unwrap();
    schemas.validate(value, index).err().map(|error| format!("{error:#}"))
}

#[test]
fn sarif_is_valid() {
    let schema: Value = serde_json::from_str(&fs::read_to_string(schema("sarif-2.1.0.json")).unwrap()).unwrap();
    for findings in all() {
        let log = sarif::log(&findings);
        assert_eq!(objections(&schema, &log), None, "{log:#}");
    }
    let mut with_docs = sample();
    with_docs.docs_url = Some("https://example.com/causes".to_owned());
    let log = sarif::log(&with_docs);
    assert_eq!(objections(&schema, &log), None, "{log:#}");
    for (place, value) in [
        ("/runs/0/results/0/level", json!("fatal")),
        (
            "/runs/0/results/0/locations/0/physicalLocation/region/startLine",
            json!(0),
        ),
        ("/runs/0/tool/driver/rules/0/helpUri", json!("not a URI")),
        ("/version", json!("2.0.0")),
    ] {
        let mut broken = log.clone();
        *broken.pointer_mut(place).expect(place) = value;
        assert!(objections(&schema, &broken).is_some(), "{place}");
    }
}

/// The schema of a CRD's version, with unknown fields forbidden: the API server would drop them.
fn crd(name: &str) -> Value {
    let crd: Value = serde_saphyr::from_str(&fs::read_to_string(schema(name)).unwrap()).unwrap();
    let mut schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
    close(&mut schema);
    schema["properties"]["metadata"] = json!({
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string"}, "namespace": {"type": "string"}, "labels": {"type": "object"}},
        "additionalProperties": false,
    });
    schema
}

fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            // Formats of numbers are those of OpenAPI.
            fields.remove("format");
            if fields.get("properties").is_some_and(Value::is_object) && !fields.contains_key("additionalProperties") {
                fields.insert("additionalProperties".to_owned(), json!(false));
            }
            fields.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

#[test]
fn openreports_are_valid() {
    let (namespaced, cluster) = (
        crd("openreports.io_reports.yaml"),
        crd("openreports.io_clusterreports.yaml"),
    );
    let mut kinds = Vec::new();
    for findings in all() {
        for report in openreports::reports(&findings) {
            let schema = match report["kind"].as_str().unwrap() {
                "Report" => &namespaced,
                "ClusterReport" => &cluster,
                other => panic!("{other}"),
            };
            assert_eq!(objections(schema, &report), None, "{report:#}");
            assert!(serde_json::to_vec(&report).unwrap().len() < 1_000_000);
            kinds.push(report["kind"].clone());
        }
    }
    assert!(kinds.contains(&json!("Report")) && kinds.contains(&json!("ClusterReport")));
    let report = openreports::reports(&sample()).remove(0);
    for (place, value) in [
        ("/results/0/result", json!("bad")),
        ("/results/0/policy", Value::Null),
        ("/summary", json!({"passed": 1})),
    ] {
        let mut broken = report.clone();
        *broken.pointer_mut(place).expect(place) = value;
        assert!(objections(&namespaced, &broken).is_some(), "{place}");
    }
}

#[test]
fn junit_is_valid() {
    let Some(xmllint) = xmllint() else { return };
    let validate = |xml: &str| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("report.xml");
        fs::write(&file, xml).unwrap();
        let output = Command::new(&xmllint)
            .args(["--noout", "--nonet", "--schema"])
            .arg(schema("junit-10.xsd"))
            .arg(&file)
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), printed)
    };
    for findings in all() {
        let xml = junit::render(&findings);
        let (valid, why) = validate(&xml);
        assert!(valid, "{why}\n{xml}");
    }
    let xml = junit::render(&sample());
    for (from, to) in [("tests=", "test="), ("<failure ", "<failed "), ("&quot;", "<")] {
        let broken = xml.replace(from, to);
        assert_ne!(broken, xml);
        assert!(!validate(&broken).0, "{from}");
    }
}

fn xmllint() -> Option<PathBuf> {
    let found = Command::new("xmllint").arg("--version").output().is_ok();
    if !found {
        let missing = "xmllint is missing; install libxml2-utils".to_owned();
        Missing::Tool(missing).skip("the validation of JUnit XML");
    }
    found.then(|| PathBuf::from("xmllint"))
}
