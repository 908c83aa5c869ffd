//! A policy document, on its own or in the output of the AWS CLI.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::json::Json;
use super::policy::Origin;

/// The document of a text: the text itself, or the `AssumeRolePolicyDocument` of the output of `aws iam get-role`, whole or
/// with `--query Role`. A document in text form can be percent-encoded, as [`super::Policy::parse_encoded`] takes it.
#[must_use]
pub(crate) fn unwrapped(text: &str) -> (Cow<'_, str>, Origin) {
    let trimmed = text.trim_start_matches('\u{feff}');
    let document = member(trimmed, "AssumeRolePolicyDocument")
        .or_else(|| member(member(trimmed, "Role")?.get(), "AssumeRolePolicyDocument"));
    match document.map(Json::read) {
        Some(Ok(Json::Text(document))) => (Cow::Owned(document), Origin::Stored),
        Some(Ok(_)) => (Cow::Borrowed(document.map_or(text, RawValue::get)), Origin::Stored),
        // IAM returns documents percent-encoded; people and tools do not write them like that.
        Some(Err(_)) | None if trimmed.trim_start().starts_with('%') => (Cow::Borrowed(text), Origin::Stored),
        Some(Err(_)) | None => (Cow::Borrowed(text), Origin::Written),
    }
}

fn member<'a>(text: &'a str, name: &str) -> Option<&'a RawValue> {
    match Json::parse(text).ok()? {
        Json::Object(members) => members
            .into_iter()
            .find(|(member, _)| member == name)
            .map(|(_, value)| value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_found_in_what_the_aws_cli_prints() {
        let policy = r#"{"Version": "2012-10-17", "a": 1.50}"#;
        for (text, document, origin) in [
            (policy.to_owned(), policy, Origin::Written),
            (
                format!(r#"{{"Role": {{"Arn": "x", "AssumeRolePolicyDocument": {policy}}}}}"#),
                policy,
                Origin::Stored,
            ),
            (
                format!(r#"{{"AssumeRolePolicyDocument": {policy}}}"#),
                policy,
                Origin::Stored,
            ),
            (
                r#"{"Role": {"AssumeRolePolicyDocument": "%7B%7D"}}"#.to_owned(),
                "%7B%7D",
                Origin::Stored,
            ),
            ("%7B%7D".to_owned(), "%7B%7D", Origin::Stored),
            ("nonsense".to_owned(), "nonsense", Origin::Written),
            (r#"{"Role": 7}"#.to_owned(), r#"{"Role": 7}"#, Origin::Written),
        ] {
            let (found, found_origin) = unwrapped(&text);
            assert_eq!((&*found, found_origin), (document, origin), "{text}");
        }
    }
}
