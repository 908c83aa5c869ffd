//! Recognizes common documents that are not a trust policy in JSON, for a more helpful message.

use super::error::{Place, PolicyError};
use crate::trust::json::Json;

/// A text that does not parse as JSON.
pub(super) fn error(text: &str, error: &serde_json::Error) -> PolicyError {
    let problem = match mistake(text.trim()).or_else(|| mistake_at(text, error)) {
        Some(mistake) => mistake.to_owned(),
        // Its words are fixed ones and a line and column, never the text's.
        None => format!("it is not JSON: {error}"),
    };
    PolicyError::new(&Place::Document, &problem)
}

/// JSON, but not an object.
pub(super) fn not_an_object(found: &Json<'_>) -> PolicyError {
    let problem = match found {
        Json::Text(text) if text.trim_start().starts_with(['{', '%']) => {
            "it is a JSON string that contains the policy; pass the string's content (with jq: jq -r)".to_owned()
        }
        Json::List(_) => "it is a list; expected an object with Version and Statement".to_owned(),
        other => format!("expected an object, found {}", other.kind()),
    };
    PolicyError::new(&Place::Document, &problem)
}

/// The output of an AWS CLI command around the policy.
pub(super) fn is_iam_output(element: &str) -> PolicyError {
    let problem = match element {
        "Role" => {
            "this is the output of aws iam get-role; the policy is its Role.AssumeRolePolicyDocument (--query \
             Role.AssumeRolePolicyDocument)"
        }
        "Roles" => "this is the output of aws iam list-roles; pass the AssumeRolePolicyDocument of one role",
        _ => "this is a role as IAM describes it; the policy is its AssumeRolePolicyDocument",
    };
    PolicyError::new(&Place::Document, problem)
}

/// What a whole text is instead of JSON.
fn mistake(text: &str) -> Option<&'static str> {
    let first_line = text.lines().next().unwrap_or_default();
    if text.is_empty() {
        return Some("it is empty");
    }
    let holds = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let is_json_like = text.starts_with(['{', '[']);
    let is_hcl = if is_json_like {
        // The text between the parentheses of jsonencode.
        holds(&["Version =", "Statement =", "Effect ="])
    } else {
        holds(&[
            "resource \"",
            "data \"",
            "locals {",
            "module \"",
            "statement {",
            "jsonencode(",
        ])
    };
    if is_hcl {
        return Some(
            "it is Terraform's HCL, not JSON; pass what terraform show -json prints to --role-source files=DIR",
        );
    }
    if is_json_like {
        return None;
    }
    if text.starts_with('%') || text.starts_with("\"%7") {
        return Some("it is percent-encoded but not a valid encoding of JSON");
    }
    if text.starts_with('<') {
        return Some("it is HTML or XML, not JSON");
    }
    let is_yaml = first_line.starts_with("- ") || first_line.starts_with("---") || {
        let key = first_line.split(':').next().unwrap_or_default();
        first_line.contains(':') && ["Version", "Statement", "Id"].contains(&key.trim())
    };
    is_yaml.then_some("it is YAML, not JSON; IAM accepts JSON only")
}

/// The text at which the document stops being valid JSON. Elsewhere, in strings, the same characters can be valid.
fn mistake_at(text: &str, error: &serde_json::Error) -> Option<&'static str> {
    if error.is_eof() {
        return Some("it ends too early: a closing quote or bracket is missing");
    }
    let line_start = text
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1))
        .map(str::len)
        .sum::<usize>();
    let at = text.floor_char_boundary(line_start.saturating_add(error.column().saturating_sub(1)));
    let (before, after) = text.split_at_checked(at)?;
    let found = after.chars().next()?;
    match found {
        '“' | '”' | '‘' | '’' | '„' => Some("it has typographic quotation marks; JSON needs the plain \""),
        '\u{a0}' => Some("it has a no-break space (U+00A0); replace it with a plain space"),
        '/' | '#' => Some("it has comments, which JSON does not allow; remove them"),
        '\'' => Some("it has single quotes; JSON needs double quotes"),
        '}' | ']' if before.trim_end().ends_with(',') => {
            Some("it has a comma before a closing bracket; remove that comma")
        }
        '"' if before.trim_end().ends_with(['"', '}', ']']) => Some("a comma is missing between two elements"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::trust::policy::Policy;

    #[test]
    fn each_mistake_has_a_name() {
        for (text, word) in [
            ("", "it is empty"),
            ("{\n  // trust\n  \"Version\": \"2012-10-17\"}", "comments"),
            ("{\n  # trust\n}", "comments"),
            ("{'Version': '2012-10-17'}", "single quotes"),
            ("{“Version”: “2012-10-17”}", "typographic"),
            ("{\u{a0}\"Version\": \"2012-10-17\"}", "no-break space"),
            ("{\"Version\": \"2012-10-17\",}", "comma before a closing"),
            ("Version: \"2012-10-17\"\nStatement: []", "YAML"),
            (
                "data \"aws_iam_policy_document\" \"trust\" {\n  statement {\n  }\n}",
                "HCL",
            ),
            ("\"{\\\"Version\\\": 1}\"", "JSON string"),
            ("[]", "it is a list"),
            ("7", "found a number"),
            ("{\"Role\": {}}", "aws iam get-role"),
            ("{\"Roles\": []}", "aws iam list-roles"),
            ("{\"AssumeRolePolicyDocument\": {}}", "its AssumeRolePolicyDocument"),
            ("{\"a\" 1}", "it is not JSON: expected `:`"),
            ("nonsense", "not JSON"),
            ("<html></html>", "HTML"),
            ("{\"a\": [1", "ends too early"),
            ("{\"a\": \"b\" \"c\": 1}", "a comma is missing"),
            ("{\"a\": [1, // one\n2]}", "comments"),
            ("{\"a\": {\"b\": 1,\n}}", "comma before a closing"),
            ("{\"a\": [1,\n]}", "comma before a closing"),
            ("{\"é\": “b”}", "typographic"),
            ("{\"a\":\u{a0}1}", "no-break space"),
            ("{\n  Version = \"2012-10-17\"\n}", "HCL"),
            // Inside a string all of this is valid.
            ("{\"a\": \"data \\\"x\\\" // “y” ${b,'c'},}\", 7}", "not JSON: "),
        ] {
            let error = Policy::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
