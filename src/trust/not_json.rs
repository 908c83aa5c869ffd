//! What a document is that is not a trust policy in JSON: the mistakes that have a name of their own.

use super::json::Json;
use super::policy::{Place, PolicyError};

/// A text that does not parse as JSON.
pub(super) fn error(text: &str, error: &serde_json::Error) -> PolicyError {
    let problem = match mistake(text.trim()) {
        Some(mistake) => mistake.to_owned(),
        // Its words are fixed ones and a line and column, never the text's.
        None => format!("not JSON: {error}"),
    };
    PolicyError::new(&Place::Document, &problem)
}

/// JSON, but not an object.
pub(super) fn not_an_object(found: &Json<'_>) -> PolicyError {
    let problem = match found {
        Json::Text(text) if text.trim_start().starts_with(['{', '%']) => {
            "it is a JSON string that holds the policy; pass the string's content (with jq: jq -r)".to_owned()
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

fn mistake(text: &str) -> Option<&'static str> {
    let first_line = text.lines().next().unwrap_or_default();
    let is_json_like = text.starts_with(['{', '[']);
    if text.is_empty() {
        return Some("it is empty");
    }
    let is_hcl = [
        "resource \"",
        "data \"",
        "locals {",
        "module \"",
        "statement {",
        "jsonencode(",
    ]
    .iter()
    .any(|word| text.contains(word));
    if is_hcl {
        return Some(
            "it is Terraform's HCL, not JSON; pass what terraform show -json prints to --role-source files=DIR",
        );
    }
    if !is_json_like {
        if text.starts_with('%') || text.starts_with("\"%7") {
            return Some("it is percent-encoded but not a valid encoding of JSON");
        }
        let is_yaml = first_line.starts_with("- ") || first_line.starts_with("---") || {
            let key = first_line.split(':').next().unwrap_or_default();
            first_line.contains(':') && ["Version", "Statement", "Id"].contains(&key.trim())
        };
        if is_yaml {
            return Some("it is YAML, not JSON; IAM accepts JSON only");
        }
        return None;
    }
    if text.contains(['“', '”', '‘', '’', '„']) {
        return Some("it has typographic quotation marks; JSON needs the plain \"");
    }
    if text.contains('\u{a0}') {
        return Some("it has a no-break space (U+00A0); replace it with a plain space");
    }
    if has_comment(text) {
        return Some("it has comments, which JSON does not allow; remove them");
    }
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    if compact.starts_with("{'") || compact.contains(",'") {
        return Some("it has single quotes; JSON needs double quotes");
    }
    if compact.contains(",}") || compact.contains(",]") {
        return Some("it has a comma before a closing bracket; remove that comma");
    }
    None
}

/// A line that begins with a comment, or a `//` behind white space.
fn has_comment(text: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim_start();
        ["//", "/*", "#"].iter().any(|mark| line.starts_with(mark)) || line.contains(" //")
    })
}

#[cfg(test)]
mod tests {
    use crate::trust::Policy;

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
            ("{\"a\" 1}", "not JSON: expected `:`"),
            ("nonsense", "not JSON"),
        ] {
            let error = Policy::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
