//! The software bill of materials, against the published schema of CycloneDX.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use boon::{Compiler, Schemas};
use serde_json::{Value, json};

use super::support::tools::Missing;
use super::{VERSION, repository, script, succeeds};

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What the schema objects to.
fn objections(bill: &Value) -> Option<String> {
    let mut compiler = Compiler::new();
    for name in ["bom-1.5", "spdx", "jsf-0.82"] {
        let path = repository().join(format!("tests/schemas/cyclonedx-{name}.schema.json"));
        let schema: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let id = schema["$id"].as_str().unwrap().to_owned();
        compiler.add_resource(&id, schema).unwrap();
    }
    let mut schemas = Schemas::new();
    let index = compiler
        .compile("http://cyclonedx.org/schema/bom-1.5.schema.json", &mut schemas)
        .unwrap();
    schemas.validate(bill, index).err().map(|error| format!("{error:#}"))
}

#[test]
fn the_bill_of_materials_is_valid_and_lists_what_the_program_is_built_from() {
    let found = Command::new("cargo").args(["cyclonedx", "--version"]).output();
    if !found.is_ok_and(|output| output.status.success()) {
        let missing = "no cargo-cyclonedx (cargo install --locked --version 0.5.9 cargo-cyclonedx)".to_owned();
        return Missing::Tool(missing).skip("tests of the software bill of materials");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out/rolegate.cdx.json");
    succeeds(script("sbom.sh").arg(TARGET).arg(&path));
    let bill: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(objections(&bill), None);
    let mut invalid = bill.clone();
    invalid["components"][0]["type"] = json!("crate");
    assert!(objections(&invalid).is_some());

    assert_eq!(bill["specVersion"], "1.5");
    assert_eq!(bill["metadata"]["component"]["name"], "rolegate");
    assert_eq!(bill["metadata"]["component"]["version"], VERSION);
    let listed: BTreeSet<String> = bill["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|component| {
            let text = |field: &str| component[field].as_str().unwrap().to_owned();
            assert!(text("purl").starts_with("pkg:cargo/"), "{component}");
            assert!(!component["licenses"].as_array().unwrap().is_empty(), "{component}");
            format!("{} {}", text("name"), text("version"))
        })
        .collect();
    // What cargo compiles into the program, and what only tests use.
    let tree = succeeds(
        Command::new("cargo")
            .args(["tree", "--locked", "--offline", "--target", TARGET, "--edges", "normal"])
            .args(["--prefix", "none", "--format", "{p}"])
            .current_dir(repository()),
    );
    let built: BTreeSet<String> = tree
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some(format!("{} {}", words.next()?, words.next()?.trim_start_matches('v')))
        })
        .filter(|name| !name.starts_with("rolegate "))
        .collect();
    assert!(built.len() > 100, "{built:?}");
    let missing: Vec<&String> = built.difference(&listed).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(!listed.iter().any(|name| name.starts_with("criterion ")), "{listed:?}");
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        !text.contains(repository().to_str().unwrap()),
        "the directory of the build"
    );
    let leftover = fs::read_dir(repository()).unwrap();
    let mut leftover = leftover.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    assert!(!leftover.any(|name| name.starts_with(".rolegate-sbom")));
}
