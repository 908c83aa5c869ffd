//! What IAM refuses to store although it is correct by the grammar: an error for a policy that is being written, a lint for one that IAM
//! has already stored.
//!
//! Sources: the API reference of `CreateRole` (characters), the quotas page (size), and the messages that IAM answers with
//! ("Statement IDs (SID) must be alpha-numeric", "AssumeRole policy may only specify STS AssumeRole actions", "Federated
//! principals must be valid domain names or SAML metadata ARNs"). Our reading of these rules never makes a stored policy
//! unreadable.

use super::Statement;
use super::error::{Place, PolicyError};
use crate::support::text::{nearest_word, quote, starts_with_ignore_case};
use crate::trust::glob;
use crate::trust::mismatch::{self, Mismatch};
use crate::trust::size::{LARGEST_QUOTA, size};

/// The actions of STS, from the Service Authorization Reference (2026-11).
const STS_ACTIONS: [&str; 17] = [
    "AssumeRole",
    "AssumeRoleWithSAML",
    "AssumeRoleWithWebIdentity",
    "AssumeRoot",
    "DecodeAuthorizationMessage",
    "GetAccessKeyInfo",
    "GetCallerIdentity",
    "GetDelegatedAccessToken",
    "GetFederationToken",
    "GetScopedCredentials",
    "GetServiceBearerToken",
    "GetSessionToken",
    "GetWebIdentityToken",
    "SetContext",
    "SetSourceIdentity",
    "TagGetWebIdentityToken",
    "TagSession",
];

/// Why IAM would refuse to store a document; the first of each kind.
pub(super) fn refusals(json: &str, statements: &[Statement]) -> Vec<PolicyError> {
    let of_document = [character(json), length(json)];
    let of_statements = [
        statements.iter().find_map(sid),
        statements.iter().find_map(action),
        statements.iter().find_map(federated),
    ];
    of_document.into_iter().chain(of_statements).flatten().collect()
}

/// U+0009, U+000A, U+000D and U+0020 to U+00FF.
fn character(json: &str) -> Option<PolicyError> {
    if json
        .bytes()
        .all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=0x7f))
    {
        return None;
    }
    let accepted = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{ff}');
    let line_and_character = json
        .lines()
        .enumerate()
        .find_map(|(line, text)| Some((line, text.chars().find(|c| !accepted(*c))?)));
    let (line, character) = line_and_character?;
    let problem = format!(
        "line {} has the character U+{:04X}; IAM accepts only U+0009, U+000A, U+000D and U+0020 to U+00FF",
        line.saturating_add(1),
        u32::from(character)
    );
    Some(PolicyError::new(&Place::Document, &problem))
}

fn length(json: &str) -> Option<PolicyError> {
    // White space is free, so a short text needs no counting.
    let characters = (json.len() > LARGEST_QUOTA).then(|| size(json))?;
    (characters > LARGEST_QUOTA).then(|| {
        let problem =
            format!("it has {characters} characters without white space; IAM accepts at most {LARGEST_QUOTA}");
        PolicyError::new(&Place::Document, &problem)
    })
}

fn sid(statement: &Statement) -> Option<PolicyError> {
    let sid = statement.sid.as_deref()?;
    (!sid.bytes().all(|byte| byte.is_ascii_alphanumeric())).then(|| {
        let problem = format!(
            "{} is not accepted by IAM; a Sid has only the characters 0-9, A-Z and a-z",
            quote(sid)
        );
        PolicyError::new(&Place::Element(statement.number, "Sid"), &problem)
    })
}

fn action(statement: &Statement) -> Option<PolicyError> {
    let action = statement
        .actions
        .patterns
        .iter()
        .find(|action| !is_sts_action(action))?;
    let place = Place::Element(statement.number, statement.actions.form.as_str());
    let (service, name) = action.split_once(':').unwrap_or(("", action));
    let meant = nearest_word(name.trim(), STS_ACTIONS);
    let problem = match meant {
        _ if mismatch::holds_placeholder(action) => {
            format!(
                "{} is not accepted by IAM; a placeholder was not filled in",
                quote(action)
            )
        }
        Some(meant) => format!("{} is not an action of STS; did you mean sts:{meant}?", quote(action)),
        None if service.eq_ignore_ascii_case("sts") => format!("{} is not an action of STS", quote(action)),
        None => format!(
            "{} is not accepted by IAM; a trust policy has only actions of STS, such as sts:AssumeRoleWithWebIdentity",
            quote(action)
        ),
    };
    Some(PolicyError::new(&place, &problem))
}

pub(in crate::trust) fn is_sts_action(action: &str) -> bool {
    let Some(name) = starts_with_ignore_case(action, "sts:")
        .then(|| action.get("sts:".len()..))
        .flatten()
    else {
        return false;
    };
    if !glob::has_wildcard(name) {
        return STS_ACTIONS.iter().any(|action| action.eq_ignore_ascii_case(name));
    }
    let pattern = name.to_ascii_lowercase();
    STS_ACTIONS
        .iter()
        .any(|action| glob::matches(&pattern, &action.to_ascii_lowercase()))
}

fn federated(statement: &Statement) -> Option<PolicyError> {
    let federated = statement.principals.federated.iter().find(|one| !is_provider(one))?;
    let problem = match mismatch::mistake_around(federated, is_provider) {
        Some(Mismatch::Placeholder) => {
            format!(
                "{} is not accepted by IAM; a placeholder was not filled in",
                quote(federated)
            )
        }
        Some(Mismatch::Blank) => format!(
            "{} is not accepted by IAM; it begins or ends with a space",
            quote(federated)
        ),
        Some(_) => format!(
            "{} is not accepted by IAM; it has quotation marks inside",
            quote(federated)
        ),
        None => format!(
            "{} is not accepted by IAM; expected the ARN of an OIDC or SAML provider, arn:PARTITION:iam::ACCOUNT:oidc-provider/ISSUER, \
             or the domain name of an identity provider",
            quote(federated)
        ),
    };
    Some(PolicyError::new(
        &Place::Member(statement.number, "Principal", "Federated"),
        &problem,
    ))
}

/// An OIDC or SAML provider's ARN, whatever its account is; or a domain name, which may have a path.
fn is_provider(text: &str) -> bool {
    if starts_with_ignore_case(text, "arn:") {
        let resource = text.splitn(6, ':').nth(5).unwrap_or_default();
        return resource.starts_with("oidc-provider/") || resource.starts_with("saml-provider/");
    }
    if text == "*" {
        // IAM stores it; it trusts no web identity.
        return true;
    }
    let host = text.split('/').next().unwrap_or_default();
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    host.contains('.') && host.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::Policy;

    fn refused(statement: &str) -> Vec<String> {
        let document = format!(r#"{{"Version": "2012-10-17", "Statement": {statement}}}"#);
        let policy = Policy::parse(&document).unwrap();
        policy.unstorable().iter().map(ToString::to_string).collect()
    }

    fn with(sid: &str, federated: &str, action: &str) -> Vec<String> {
        refused(&format!(
            r#"{{"Sid": "{sid}", "Effect": "Allow", "Principal": {{"Federated": "{federated}"}}, "Action": "{action}"}}"#
        ))
    }

    const PROVIDER: &str = "arn:aws:iam::111122223333:oidc-provider/issuer.example/A";
    const ACTION: &str = "sts:AssumeRoleWithWebIdentity";

    #[test]
    fn what_iam_stores_is_accepted() {
        for sid in ["", "Jobs1"] {
            assert!(with(sid, PROVIDER, ACTION).is_empty());
        }
        for action in [
            ACTION,
            "STS:assumerolewithwebidentity",
            "sts:*",
            "sts:Assume*",
            "sts:TagSession",
            "sts:AssumeRol?",
        ] {
            assert!(with("", PROVIDER, action).is_empty(), "{action}");
        }
        for federated in [
            PROVIDER,
            "arn:aws:iam::<ACCOUNT_ID>:oidc-provider/x",
            "arn:aws:iam::111122223333:saml-provider/x",
            "cognito-identity.amazonaws.com",
            "oidc.eks.us-west-2.amazonaws.com/id/A",
            "*",
        ] {
            assert!(with("", federated, ACTION).is_empty(), "{federated}");
        }
    }

    #[test]
    fn each_rule_names_the_place_and_what_is_accepted() {
        for (refusals, words) in [
            (
                with("a_b", PROVIDER, ACTION),
                "statement 1, Sid: \"a_b\" is not accepted by IAM; a Sid has only the characters 0-9, A-Z and a-z",
            ),
            (
                with("", PROVIDER, "sts:AssumeRoleWithWebIdendity"),
                "statement 1, Action: \"sts:AssumeRoleWithWebIdendity\" is not an action of STS; did you mean sts:AssumeRoleWithWebIdentity?",
            ),
            (
                with("", PROVIDER, "*"),
                "statement 1, Action: \"*\" is not accepted by IAM; a trust policy has only actions of STS, such as sts:AssumeRoleWithWebIdentity",
            ),
            (
                with("", PROVIDER, "s3:GetObject"),
                "statement 1, Action: \"s3:GetObject\" is not accepted by IAM; a trust policy has only actions of STS, such as sts:AssumeRoleWithWebIdentity",
            ),
            (
                with("", "arn:aws:iam::111122223333:role/cluster", ACTION),
                "statement 1, Principal.Federated: \"arn:aws:iam::111122223333:role/cluster\" is not accepted by IAM; expected the ARN of an OIDC or SAML provider, arn:PARTITION:iam::ACCOUNT:oidc-provider/ISSUER, or the domain name of an identity provider",
            ),
            (
                with("", PROVIDER, "AssumeRoleWithWebIdentity"),
                "statement 1, Action: \"AssumeRoleWithWebIdentity\" is not an action of STS; did you mean sts:AssumeRoleWithWebIdentity?",
            ),
            (
                with("", PROVIDER, "iam:AssumeRoleWithWebIdentity"),
                "statement 1, Action: \"iam:AssumeRoleWithWebIdentity\" is not an action of STS; did you mean sts:AssumeRoleWithWebIdentity?",
            ),
            (
                with("", PROVIDER, "${ACTION}"),
                "statement 1, Action: \"${ACTION}\" is not accepted by IAM; a placeholder was not filled in",
            ),
            (
                with(
                    "",
                    "arn:${AWS::Partition}:iam::111122223333:oidc-provider/i.example",
                    ACTION,
                ),
                "statement 1, Principal.Federated: \"arn:${AWS::Partition}:iam::111122223333:oidc-provider/i.example\" is not accepted by IAM; a placeholder was not filled in",
            ),
            (
                with("", &format!(" {PROVIDER}"), ACTION),
                "statement 1, Principal.Federated: \" arn:aws:iam::111122223333:oidc-provider/issuer.example/A\" is not accepted by IAM; it begins or ends with a space",
            ),
            (
                with("", &format!("'{PROVIDER}'"), ACTION),
                "statement 1, Principal.Federated: \"'arn:aws:iam::111122223333:oidc-provider/issuer.example/A'\" is not accepted by IAM; it has quotation marks inside",
            ),
        ] {
            assert_eq!(refusals, [words]);
        }
        for federated in [
            "https://issuer.example",
            "EXAMPLE",
            "",
            "arn:aws:iam::111122223333:oidc-provider:x",
            "a..b",
        ] {
            assert_eq!(with("", federated, ACTION).len(), 1, "{federated}");
        }
        // A character that is written raw counts, one that is escaped does not.
        let [with_dash, in_ascii] = ["a\u{2014}b", "a\\u2014b"].map(|id| {
            let document = format!("{{\"Id\": \"x\",\n\"Statement\": {{\"Effect\": \"Allow\", \"Principal\": {{\"Federated\": \"{PROVIDER}\"}}, \"Action\": \"{ACTION}\", \"Condition\": {{\"StringEquals\": {{\"k:x\": \"{id}\"}}}}}}}}");
            Policy::parse(&document).unwrap().unstorable().to_vec()
        });
        assert_eq!(
            with_dash.first().unwrap().to_string(),
            "line 2 has the character U+2014; IAM accepts only U+0009, U+000A, U+000D and U+0020 to U+00FF"
        );
        assert!(in_ascii.is_empty());
        let long = "a".repeat(LARGEST_QUOTA);
        assert!(with(&long, PROVIDER, ACTION)[0].starts_with("it has 8"));
    }
}
