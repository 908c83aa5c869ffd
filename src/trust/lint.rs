//! Remarks about a policy, even if it trusts the identity: what trusts more than was probably intended, and what IAM or STS would reject.

use super::action::Action;
mod association;

pub use self::association::lint_association;
use super::arn::RoleArn;
use super::condition::key::{Claim, Given};
use super::condition::{Condition, Polarity, Quantifier, Test, TextTest};
use super::policy::{Effect, Policy, Statement};
use super::request::{Context, WebRequest};
use super::size::DEFAULT_QUOTA;
use super::ternary::Ternary;
use super::web_identity::{Issuer, SERVICE_ACCOUNT, WebIdentity};
use crate::support::text::quote;

/// A remark about a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lint {
    /// A closed word: `no-subject-condition`, `no-audience-condition`, `wildcard-subject`, `for-all-values-absent-key`: more is
    /// let in than was probably meant; `not-storable`, `over-default-quota`: what IAM would say of the document if it were
    /// written today; `issuer-not-public`: STS cannot fetch the issuer's keys; `any-association`, `delegates-to-caller-policy`,
    /// `condition-on-disabled-tag`: about the roles of EKS Pod Identity associations.
    pub code: &'static str,
    /// One line for people; names the statement, where it is about one.
    pub message: String,
}

/// The lints of a policy: for the statements that can trust a token of the identity's provider, and for the document.
#[must_use]
pub fn lint(policy: &Policy, role: &RoleArn, identity: &WebIdentity) -> Vec<Lint> {
    let context = Context::default();
    let request = WebRequest::new(role, identity, &context);
    let trusts = |statement: &&Statement| {
        statement.effect == Effect::Allow
            && statement.actions.mean(Action::AssumeRoleWithWebIdentity)
            && statement.principal(&request) == Ternary::True
            && can_match(statement, &request)
    };
    let of_statements = policy
        .statements
        .iter()
        .filter(trusts)
        .flat_map(|statement| lint_statement(statement, &request));
    of_statements.chain(lint_document(policy)).collect()
}

/// Whether any token of the provider can satisfy the statement: no condition other than those on subject and audience is certainly
/// false. A statement that trusts no identity is never too wide.
fn can_match(statement: &Statement, request: &WebRequest<'_>) -> bool {
    statement.conditions.iter().all(|condition| {
        let depends_on_token = matches!(
            condition.key.claim(&request.identity.issuer),
            Claim::Subject | Claim::Audience
        );
        depends_on_token || condition.truth(request) != Ternary::False
    })
}

fn lint_document(policy: &Policy) -> impl Iterator<Item = Lint> {
    let refused = policy.unstorable().iter().map(|refusal| Lint {
        code: "not-storable",
        message: format!("IAM would refuse this document today: {refusal}"),
    });
    let long = policy.over_default_quota().map(|characters| Lint {
        code: "over-default-quota",
        message: format!(
            "it has {characters} characters; more than {DEFAULT_QUOTA} require a higher quota for trust policies"
        ),
    });
    refused.chain(long)
}

/// The lint of an issuer, which is the same for every policy, so it is reported once.
#[must_use]
pub(crate) fn lint_issuer(issuer: &Issuer) -> Option<Lint> {
    issuer.unreachable().map(|why| Lint {
        code: "issuer-not-public",
        message: format!("the issuer {issuer}: {why}"),
    })
}

fn lint_statement(statement: &Statement, request: &WebRequest<'_>) -> Vec<Lint> {
    let number = statement.number;
    let is_about = |condition: &Condition, wanted: Claim<'_>| condition.key.claim(&request.identity.issuer) == wanted;
    // That a claim is there, which `Null` asks, says nothing of what it holds.
    let asks_for = |wanted: Claim<'_>| {
        statement
            .conditions
            .iter()
            .any(|condition| is_about(condition, wanted) && condition.operator.test != Test::Null)
    };
    let mut lints = Vec::new();
    let mut add = |code, message| lints.push(Lint { code, message });
    if !asks_for(Claim::Subject) {
        let message = format!(
            "statement {number} has no condition on :sub; any ServiceAccount of the cluster can assume the role"
        );
        add("no-subject-condition", message);
    }
    if !asks_for(Claim::Audience) {
        let message =
            format!("statement {number} has no condition on :aud; it accepts a token for any audience of the provider");
        add("no-audience-condition", message);
    }
    for condition in &statement.conditions {
        if is_about(condition, Claim::Subject)
            && let Some(value) = condition
                .values
                .iter()
                .find(|value| takes_every_subject(condition, &value.text))
        {
            let message = format!(
                "statement {number} accepts {} as the subject; any ServiceAccount of the cluster can assume the role",
                quote(&value.text)
            );
            add("wildcard-subject", message);
        }
        if condition.operator.quantifier == Some(Quantifier::ForAllValues)
            && matches!(condition.key.given(request), Given::Absent | Given::Unknown)
        {
            let message = format!(
                "statement {number} uses ForAllValues on {}, which can be absent, and then the condition is true; add a Null condition or remove ForAllValues",
                quote(condition.key.as_str())
            );
            add("for-all-values-absent-key", message);
        }
    }
    lints
}

/// `*` alone, or with nothing but the prefix that every ServiceAccount has.
fn takes_every_subject(condition: &Condition, value: &str) -> bool {
    let Test::Text(TextTest::Like, Polarity::Positive) = condition.operator.test else {
        return false;
    };
    let rest = value.strip_prefix(SERVICE_ACCOUNT).unwrap_or(value);
    matches!(rest.trim_matches('*'), "" | ":") && rest.starts_with('*') && rest.ends_with('*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::{Audience, Subject};

    fn codes(condition: &str) -> Vec<&'static str> {
        let policy = format!(
            r#"{{"Version": "2012-10-17", "Statement": [
                {{"Effect": "Allow", "Principal": {{"Service": "ec2.amazonaws.com"}}, "Action": "sts:AssumeRole"}},
                {{"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
                 "Principal": {{"Federated": "arn:aws:iam::111122223333:oidc-provider/i.example"}}, "Condition": {condition}}},
                {{"Effect": "Deny", "Action": "sts:AssumeRoleWithWebIdentity",
                 "Principal": {{"Federated": "arn:aws:iam::111122223333:oidc-provider/i.example"}}}},
                {{"Effect": "Allow", "Action": "sts:TagSession",
                 "Principal": {{"Federated": "arn:aws:iam::111122223333:oidc-provider/i.example"}}}},
                {{"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
                 "Principal": {{"Federated": "arn:aws:iam::111122223333:oidc-provider/other.example"}}}}]}}"#
        );
        let identity = WebIdentity {
            issuer: Issuer::parse("i.example").unwrap(),
            subject: Subject::service_account("jobs", "default"),
            audience: Audience::new("sts.amazonaws.com"),
        };
        let role = RoleArn::parse("arn:aws:iam::111122223333:role/app").unwrap();
        let lints = lint(&Policy::parse(&policy).unwrap(), &role, &identity);
        assert!(
            lints.iter().all(|lint| lint.message.starts_with("statement 2 ")),
            "{lints:?}"
        );
        lints.into_iter().map(|lint| lint.code).collect()
    }

    /// Reported by users: next to "not trusted", the statement was called too wide although no identity can use it.
    #[test]
    fn a_statement_that_trusts_no_identity_is_not_too_wide() {
        for condition in [
            r#"{"StringEquals": {"other.example:sub": "a"}}"#,
            r#"{"StringEquals": {"https://i.example:sub": "a", "i.example:aud": "sts.amazonaws.com"}}"#,
            r#"{"StringEquals": {"arn:aws:iam::111122223333:oidc-provider/i.example:sub": "a"}}"#,
            r#"{"StringEquals": {"${OIDC_PROVIDER}:sub": "a"}}"#,
            r#"{"StringLike": {"i.example:subject": "*"}}"#,
            r#"{"StringEquals": {"aws:PrincipalOrgID": "o-example"}}"#,
        ] {
            assert_eq!(codes(condition), Vec::<&str>::new(), "{condition}");
        }
        // Any request from that network is trusted.
        assert_eq!(
            codes(r#"{"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}"#),
            ["no-subject-condition", "no-audience-condition"]
        );
    }

    #[test]
    fn what_iam_or_sts_would_reject_is_reported() {
        let codes = |sid: &str, id: &str, issuer: &str| {
            let policy = format!(
                r#"{{"Version": "2012-10-17", "Id": "{id}", "Statement": {{"Sid": "{sid}", "Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
                    "Principal": {{"Federated": "arn:aws:iam::111122223333:oidc-provider/{issuer}"}},
                    "Condition": {{"StringEquals": {{"{issuer}:sub": "a", "{issuer}:aud": "b"}}}}}}}}"#
            );
            let identity = WebIdentity {
                issuer: Issuer::parse(issuer).unwrap(),
                subject: Subject::service_account("jobs", "default"),
                audience: Audience::new("sts.amazonaws.com"),
            };
            let role = RoleArn::parse("arn:aws:iam::111122223333:role/app").unwrap();
            let lints = lint(&Policy::parse(&policy).unwrap(), &role, &identity);
            let all = lints.into_iter().chain(lint_issuer(&identity.issuer));
            all.map(|lint| lint.code).collect::<Vec<_>>()
        };
        assert_eq!(codes("Jobs", "x", "i.example"), Vec::<&str>::new());
        assert_eq!(codes("of_jobs", "x", "i.example"), ["not-storable"]);
        assert_eq!(codes("Jobs", &"x".repeat(2048), "i.example"), ["over-default-quota"]);
        assert_eq!(
            codes("Jobs", "x", "kubernetes.default.svc.cluster.local"),
            ["issuer-not-public"]
        );
    }

    #[test]
    fn what_is_too_wide_is_reported_even_where_it_trusts() {
        let right = r#""i.example:aud": "sts.amazonaws.com""#;
        for (condition, expected) in [
            ("{}".to_owned(), vec!["no-subject-condition", "no-audience-condition"]),
            (
                format!(r#"{{"StringEquals": {{{right}}}}}"#),
                vec!["no-subject-condition"],
            ),
            (
                r#"{"StringEquals": {"i.example:sub": "a"}}"#.to_owned(),
                vec!["no-audience-condition"],
            ),
            (
                format!(r#"{{"StringEquals": {{{right}, "i.example:sub": "*"}}}}"#),
                vec![],
            ),
            (
                format!(r#"{{"StringLike": {{{right}, "i.example:sub": "*"}}}}"#),
                vec!["wildcard-subject"],
            ),
            (
                format!(r#"{{"StringLike": {{{right}, "i.example:sub": ["a", "system:serviceaccount:*:*"]}}}}"#),
                vec!["wildcard-subject"],
            ),
            (
                format!(
                    r#"{{"StringLike": {{{right}, "i.example:sub": ["", ":", ":*", "*:", "system:serviceaccount:", "system:serviceaccount:*:"]}}}}"#
                ),
                vec![],
            ),
            (
                format!(r#"{{"StringLike": {{{right}, "i.example:sub": "system:serviceaccount:jobs:*"}}}}"#),
                vec![],
            ),
            (
                format!(r#"{{"StringLike": {{{right}, "i.example:sub": "system:serviceaccount:*:app"}}}}"#),
                vec![],
            ),
            (
                format!(r#"{{"StringEquals": {{{right}}}, "Null": {{"i.example:sub": "false"}}}}"#),
                vec!["no-subject-condition"],
            ),
            (
                format!(
                    r#"{{"StringEquals": {{{right}, "i.example:sub": "a"}}, "ForAllValues:StringEquals": {{"i.example:iss": "x"}}}}"#
                ),
                vec!["for-all-values-absent-key"],
            ),
            (
                r#"{"ForAllValues:StringEquals": {"i.example:aud": "x", "i.example:sub": "a"}}"#.to_owned(),
                vec![],
            ),
        ] {
            assert_eq!(codes(&condition), expected, "{condition}");
        }
    }
}
