//! README.md: short, with commands that exist and output that is real.

use std::collections::BTreeMap;

use super::{blocks, read, rolegate};

#[test]
fn it_fits_on_a_few_screens() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 170, "{lines} lines; move reference material to docs/");
}

/// `.ci/run` and people rely on them.
#[test]
fn it_has_the_commands_that_try_and_test_the_program() {
    let readme = read("README.md");
    for command in ["$ cargo run -- demo\n", "$ cargo test\n"] {
        assert!(
            blocks(&readme, "console").iter().any(|block| block == command),
            "{command}"
        );
    }
}

/// The first page of the documentation has the same picture.
#[test]
fn its_picture_is_that_of_the_documentation() {
    let pictures = ["README.md", "docs/README.md"].map(|page| blocks(&read(page), "mermaid"));
    assert_eq!(pictures[0].len(), 1, "{pictures:?}");
    assert_eq!(pictures[0], pictures[1]);
    assert!(pictures[0][0].starts_with("sequenceDiagram\n"), "{pictures:?}");
}

/// The message in the README is the one that the webhook of the demonstration answers with.
#[test]
fn its_refusal_is_what_the_webhook_answers() {
    let readme = read("README.md");
    let blocks = blocks(&readme, "");
    let refusal = blocks.iter().find(|block| block.contains("(wrong-subject)")).unwrap();
    let output = rolegate(&["demo", "--output", "json"]);
    assert!(output.status.success(), "{output:?}");
    let pods: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut texts = Vec::new();
    strings(&pods, &mut texts);
    assert!(texts.contains(&refusal.trim_end()), "{refusal}\n{texts:#?}");
}

/// The rows of the table below a heading, by their first cell.
fn rows(page: &str, heading: &str) -> BTreeMap<String, Vec<String>> {
    let page = read(page);
    let (_, text) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    let text = text.split("\n## ").next().unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| "));
    let rows = rows.map(|row| {
        row.trim_end_matches('|')
            .split(" | ")
            .map(|cell| cell.trim().to_owned())
    });
    rows.map(|mut cells| (cells.next().unwrap(), cells.collect())).collect()
}

/// The numbers of versions in a cell.
fn versions(cell: &str) -> Vec<&str> {
    let words = cell.split([' ', ',', ':', ';']);
    words
        .filter(|word| word.starts_with(|first: char| first.is_ascii_digit()))
        .collect()
}

/// The minor version that the pins of the tests name: `1.36` for `v1.36.3`.
fn pinned(pins: &str, module: &str) -> String {
    let pins = read(pins);
    let version = pins
        .lines()
        .find_map(|line| line.trim().strip_prefix(&format!("{module} v")))
        .unwrap();
    version.split('.').take(2).collect::<Vec<_>>().join(".")
}

/// The README repeats `docs/compatibility.md`, and both say what the chart and the tests do.
#[test]
fn its_compatibility_is_that_of_the_page_of_the_chart_and_of_the_tests() {
    let short = rows("README.md", "Compatibility");
    let long = rows("docs/compatibility.md", "Tested versions");
    for name in ["Kubernetes", "Amazon EKS", "architecture", "Helm"] {
        let (short, long) = (&short[name], &long[name]);
        for (column, cell) in short.iter().enumerate() {
            assert_eq!(versions(cell), versions(&long[column]), "{name}");
            if name == "architecture" {
                assert!(long[column].starts_with(cell), "{name}: {cell}");
            }
        }
    }
    let kubernetes = pinned("tests/e2e/control-plane/go.mod", "k8s.io/kubernetes");
    assert_eq!(versions(&short["Kubernetes"][0]), [&kubernetes]);
    let helm_3 = pinned("tests/e2e/helm-3/go.mod", "helm.sh/helm/v3");
    let helm_4 = pinned("tests/e2e/helm/go.mod", "helm.sh/helm/v4");
    assert_eq!(versions(&short["Helm"][0]), [&helm_4, &helm_3]);
    let minimum = versions(&short["Kubernetes"][1]).concat();
    let chart = read("charts/rolegate/Chart.yaml");
    assert!(
        chart.contains(&format!("\nkubeVersion: \">={minimum}.0-0\"\n")),
        "{minimum}"
    );
    let of_chart = read("charts/rolegate/README.md");
    let sentence = format!(
        "It supports Kubernetes {minimum} and later, and is tested with Kubernetes {kubernetes}, Helm {helm_4} and Helm {helm_3}."
    );
    assert!(of_chart.replace('\n', " ").contains(&sentence), "{sentence}");
    let rust = env!("CARGO_PKG_RUST_VERSION");
    assert_eq!(versions(&long["build"][0]), [rust]);
    for page in ["README.md", "CONTRIBUTING.md"] {
        assert!(read(page).contains(&format!("Rust {rust} or later")), "{page}");
    }
}

fn strings<'v>(value: &'v serde_json::Value, found: &mut Vec<&'v str>) {
    match value {
        serde_json::Value::String(text) => found.push(text),
        serde_json::Value::Array(values) => values.iter().for_each(|value| strings(value, found)),
        serde_json::Value::Object(values) => values.values().for_each(|value| strings(value, found)),
        _ => {}
    }
}
