//! README.md: short, with commands that exist and output that is real.

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

/// The message in the README is the one that the webhook of the demonstration answers with.
#[test]
/// The first page of the documentation has the same picture.
#[test]
fn its_picture_is_that_of_the_documentation() {
    let pictures = ["README.md", "docs/README.md"].map(|page| blocks(&read(page), "mermaid"));
    assert_eq!(pictures[0].len(), 1, "{pictures:?}");
    assert_eq!(pictures[0], pictures[1]);
    assert!(pictures[0][0].starts_with("sequenceDiagram\n"), "{pictures:?}");
}

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

fn strings<'v>(value: &'v serde_json::Value, found: &mut Vec<&'v str>) {
    match value {
        serde_json::Value::String(text) => found.push(text),
        serde_json::Value::Array(values) => values.iter().for_each(|value| strings(value, found)),
        serde_json::Value::Object(values) => values.values().for_each(|value| strings(value, found)),
        _ => {}
    }
}
