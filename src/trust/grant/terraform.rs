//! A trust policy as Terraform's `aws_iam_policy_document`, laid out as `terraform fmt` does.

use super::document::Tree;

/// Writes a document of valid grammar as a data source named `trust`.
pub(super) fn data_source(document: &Tree) -> Option<String> {
    let mut body = Vec::new();
    let mut attributes = Vec::new();
    if let Some(Tree::Text(version)) = document.member("Version")
        && version != "2012-10-17"
    {
        attributes.push(("version", text(version)));
    }
    if document.member("Version").is_none() {
        // Without it Terraform writes 2012-10-17, under which ${…} is a variable.
        attributes.push(("version", text("2008-10-17")));
    }
    if let Some(Tree::Text(id)) = document.member("Id") {
        attributes.push(("policy_id", text(id)));
    }
    body.extend(aligned(&attributes));
    for statement in document.member("Statement")?.items() {
        if !body.is_empty() {
            body.push(String::new());
        }
        body.push("statement {".to_owned());
        body.extend(indented(statement_block(statement)?));
        body.push("}".to_owned());
    }
    let mut lines = vec!["data \"aws_iam_policy_document\" \"trust\" {".to_owned()];
    lines.extend(indented(body));
    lines.push("}".to_owned());
    Some(lines.join("\n"))
}

fn statement_block(statement: &Tree) -> Option<Vec<String>> {
    let mut attributes = Vec::new();
    if let Some(Tree::Text(sid)) = statement.member("Sid") {
        attributes.push(("sid", text(sid)));
    }
    if let Some(Tree::Text(effect)) = statement.member("Effect") {
        attributes.push(("effect", text(effect)));
    }
    for (element, attribute) in [("Action", "actions"), ("NotAction", "not_actions")] {
        if let Some(actions) = statement.member(element) {
            attributes.push((attribute, list(actions)));
        }
    }
    let mut lines = aligned(&attributes);
    match statement.member("Principal")? {
        Tree::Object(kinds) => {
            for (kind, identifiers) in kinds {
                lines.extend(block(
                    "principals",
                    &[("type", text(kind)), ("identifiers", list(identifiers))],
                ));
            }
        }
        any => lines.extend(block("principals", &[("type", text("*")), ("identifiers", list(any))])),
    }
    if let Some(Tree::Object(operators)) = statement.member("Condition") {
        for (operator, keys) in operators {
            let Tree::Object(keys) = keys else { return None };
            for (key, values) in keys {
                lines.extend(block(
                    "condition",
                    &[
                        ("test", text(operator)),
                        ("variable", text(key)),
                        ("values", list(values)),
                    ],
                ));
            }
        }
    }
    Some(lines)
}

fn block(name: &str, attributes: &[(&str, String)]) -> Vec<String> {
    let mut lines = vec![String::new(), format!("{name} {{")];
    lines.extend(indented(aligned(attributes)));
    lines.push("}".to_owned());
    lines
}

fn aligned(attributes: &[(&str, String)]) -> Vec<String> {
    let width = attributes.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    attributes
        .iter()
        .map(|(name, value)| format!("{name:width$} = {value}"))
        .collect()
}

fn indented(lines: Vec<String>) -> Vec<String> {
    lines
        .into_iter()
        .map(|line| if line.is_empty() { line } else { format!("  {line}") })
        .collect()
}

fn list(values: &Tree) -> String {
    let shown: Vec<String> = values.items().map(scalar).collect();
    format!("[{}]", shown.join(", "))
}

/// Policies compare numbers and booleans as text, and Terraform takes lists of text.
fn scalar(value: &Tree) -> String {
    match value {
        Tree::Text(value) | Tree::Plain(value) => text(value),
        Tree::List(_) | Tree::Object(_) => text(""),
    }
}

/// A quoted template of HCL that means exactly this text.
fn text(value: &str) -> String {
    let quoted = super::document::quoted(value);
    // HCL knows the escapes of JSON but \b, \f and \/, which no text here is written with; its templates begin with ${ and %{.
    quoted
        .replace("\\b", "\\u0008")
        .replace("\\f", "\\u000c")
        .replace("${", "$${")
        .replace("%{", "%%{")
}
