//! The explanation of a verdict: the closest statement, its cause, what would fix it, and what an undecided verdict depends on.

use std::fmt::Write as _;

use rolegate::decision::messages::explanation::ExplanationText;
use rolegate::trust::{Audience, Context, Issuer, Policy, RoleArn, SessionName, Subject, WebIdentity, judge};

const PROVIDER: &str = "arn:aws:iam::111122223333:oidc-provider/issuer.example/A";

/// A statement whose principal is the token's own provider; `I:` is short for its issuer.
fn statement(effect: &str, condition: &str) -> String {
    with_principal(effect, &format!(r#"{{"Federated": "{PROVIDER}"}}"#), condition)
}

fn with_principal(effect: &str, principal: &str, condition: &str) -> String {
    format!(
        r#"{{"Effect": "{effect}", "Principal": {principal}, "Action": "sts:AssumeRoleWithWebIdentity", "Condition": {}}}"#,
        condition.replace("I:", "issuer.example/A:")
    )
}

/// Verdict, cause and reasons of a policy of these statements for the ServiceAccount `app` of `jobs`.
fn reasons(statements: &[String], context: &Context<'_>) -> String {
    let policy = format!(
        r#"{{"Version": "2012-10-17", "Statement": [{}]}}"#,
        statements.join(",")
    );
    let policy = Policy::parse(&policy).unwrap_or_else(|error| panic!("{policy}: {error}"));
    let role = RoleArn::parse("arn:aws:iam::111122223333:role/app").unwrap();
    let identity = WebIdentity {
        issuer: Issuer::parse("issuer.example/A").unwrap(),
        subject: Subject::service_account("jobs", "app"),
        audience: Audience::new("sts.amazonaws.com"),
    };
    let judgment = judge(&policy, &role, &identity, context);
    let mut reasons = judgment.verdict.to_string();
    let Some(explanation) = judgment.explanation else {
        return reasons;
    };
    if let Some(cause) = explanation.cause {
        write!(reasons, " ({cause})").unwrap();
    }
    let words = ExplanationText {
        role: &role,
        identity: &identity,
        explanation: &explanation,
    };
    write!(reasons, "\n  {}", words.reason()).unwrap();
    if let Some(hint) = words.hint() {
        write!(reasons, "\n  {hint}").unwrap();
    }
    if !explanation.undecided_keys.is_empty() {
        write!(reasons, "\n  {}", explanation.undecided_keys.join(" ")).unwrap();
    }
    reasons
}

/// The reasons of each case, after its name.
fn reasons_of_each(cases: &[(&str, Vec<String>)], context: &Context<'_>) -> String {
    let mut read = String::new();
    for (name, statements) in cases {
        writeln!(read, "{name}: {}", reasons(statements, context)).unwrap();
    }
    read
}

/// As [`reasons_of_each`], for policies of one Allow statement of the token's provider with this condition.
fn reasons_of_conditions(conditions: &[&str], context: &Context<'_>) -> String {
    let cases: Vec<_> = conditions
        .iter()
        .map(|condition| (*condition, vec![statement("Allow", condition)]))
        .collect();
    reasons_of_each(&cases, context)
}

#[test]
fn the_nearest_statement_is_the_one_with_the_fewest_failing_parts() {
    let other_provider = r#"{"Federated": "arn:aws:iam::111122223333:oidc-provider/issuer.example/B"}"#;
    let wrong_subject = r#"{"StringEquals": {"I:sub": "x"}}"#;
    let wrong_both = r#"{"StringEquals": {"I:sub": "x", "I:aud": "y"}}"#;
    let wrong_all = statement("Allow", wrong_both).replace("sts:Assume", "sts:Presume");
    let read = reasons_of_each(
        &[
            (
                "one of three parts before two of three",
                vec![
                    wrong_all.clone(),
                    statement("Allow", wrong_both),
                    statement("Allow", wrong_subject),
                ],
            ),
            (
                "a principal counts as one part",
                vec![
                    statement("Allow", wrong_both),
                    with_principal("Allow", other_provider, "{}"),
                ],
            ),
            (
                "an action counts as one part",
                vec![
                    statement("Allow", wrong_both),
                    statement("Allow", "{}").replace("sts:Assume", "sts:Presume"),
                ],
            ),
            (
                "a principal and an action are two",
                vec![
                    with_principal("Allow", other_provider, "{}").replace("sts:Assume", "sts:Presume"),
                    statement("Allow", wrong_subject),
                ],
            ),
            (
                "the first of equals",
                vec![
                    statement("Allow", wrong_subject),
                    statement("Allow", &wrong_subject.replace("\"x\"", "\"y\"")),
                ],
            ),
            (
                "the right subject before another one",
                vec![
                    statement("Allow", wrong_subject),
                    statement("Allow", r#"{"StringEquals": {"I:aud": "y"}}"#),
                ],
            ),
            (
                "a Deny that does not match is not near",
                vec![statement("Deny", wrong_subject), statement("Allow", wrong_both)],
            ),
            ("only a Deny", vec![statement("Deny", wrong_subject)]),
        ],
        &Context::default(),
    );
    insta::assert_snapshot!(read);
}

#[test]
fn a_deny_that_matches_says_which_conditions_hold() {
    let allow = statement("Allow", "{}");
    let deny = |condition: &str| vec![allow.clone(), statement("Deny", condition)];
    let read = reasons_of_each(
        &[
            ("none", deny("{}")),
            ("one", deny(r#"{"StringLike": {"I:sub": "*"}}"#)),
            ("two", deny(r#"{"StringLike": {"I:sub": "*", "I:aud": "*"}}"#)),
            (
                "three",
                deny(r#"{"StringLike": {"I:sub": "*", "I:aud": "*"}, "Bool": {"aws:SecureTransport": "true"}}"#),
            ),
            (
                "four, behind a Deny that does not match",
                vec![
                    statement("Deny", r#"{"StringEquals": {"I:sub": "x"}}"#),
                    statement(
                        "Deny",
                        r#"{"StringLike": {"I:sub": "*", "I:aud": ["*", "b", "c", "d", "e"]}, "Null": {"I:sub": "false", "I:amr": "true"}}"#,
                    ),
                ],
            ),
        ],
        &Context::default(),
    );
    insta::assert_snapshot!(read);
}

#[test]
fn what_is_trusted_instead_is_named() {
    let principals = [
        r#"{"Service": "ec2.amazonaws.com"}"#,
        r#"{"Service": ["a.amazonaws.com", "pods.eks.amazonaws.com"]}"#,
        r#"{"AWS": "444455556666"}"#,
        r#"{"AWS": ["a", "b", "c", "d", "e"], "Service": "ecs-tasks.amazonaws.com"}"#,
        r#"{"Federated": "arn:aws:iam::111122223333:saml-provider/x", "Service": "ec2.amazonaws.com"}"#,
        r#"{"Federated": "cognito-identity.amazonaws.com"}"#,
        r#"{"Federated": "https://issuer.example/A"}"#,
        r#"{"Federated": "issuer.example/A"}"#,
        r#"{"Federated": "arn:aws:iam::111122223333:role/app"}"#,
        r#"{"Federated": "arn:aws:sts::111122223333:oidc-provider/issuer.example/A"}"#,
        r#"{"Federated": "arn:aws:iam:us-west-2:111122223333:oidc-provider/issuer.example/A"}"#,
        r#"{"Federated": "arn:aws-cn:iam::444455556666:oidc-provider/issuer.example/a"}"#,
        r#"{"Federated": ["arn:aws-cn:iam::444455556666:oidc-provider/issuer.example/A", "arn:aws:iam::444455556666:oidc-provider/issuer.example/A"]}"#,
    ];
    let cases = principals.map(|principal| (principal, vec![with_principal("Allow", principal, "{}")]));
    let read = reasons_of_each(&cases, &Context::default());
    insta::assert_snapshot!(read);
}

#[test]
fn a_wrong_action_is_named() {
    let cases = [
        r#""Action": "sts:AssumeRole""#,
        r#""Action": ["a:a", "b:b", "c:c", "d:d", "e:e"]"#,
        r#""NotAction": "sts:*""#,
    ]
    .map(|action| {
        (
            action,
            vec![statement("Allow", "{}").replace(r#""Action": "sts:AssumeRoleWithWebIdentity""#, action)],
        )
    });
    let read = reasons_of_each(&cases, &Context::default());
    insta::assert_snapshot!(read);
}

#[test]
fn a_wrong_key_is_named_with_the_correct_one() {
    let read = reasons_of_conditions(
        &[
            r#"{"StringEquals": {"https://issuer.example/A:sub": "x"}}"#,
            r#"{"StringEquals": {"issuer.example/B:AUD": "x"}}"#,
            r#"{"StringEquals": {"other.example": "x"}}"#,
            r#"{"StringEquals": {"arn:aws:iam::111122223333:oidc-provider/issuer.example/A:sub": "x"}}"#,
            r#"{"StringEquals": {"arn:aws:iam::111122223333:oidc-provider/issuer.example/A:aud": "x"}}"#,
            r#"{"StringEquals": {"I:aud": "system:serviceaccount:jobs:other"}}"#,
            r#"{"StringEquals": {"I:aud": ["x", "system:serviceaccount:jobs:app"]}}"#,
            r#"{"StringEquals": {"issuer.example/A": "system:serviceaccount:jobs:app"}}"#,
            r#"{"StringEquals": {"issuer.example/A": "sts.amazonaws.com"}}"#,
            r#"{"StringEquals": {"issuer.example/A": "x"}}"#,
        ],
        &Context::default(),
    );
    insta::assert_snapshot!(read);
}

#[test]
fn a_wildcard_that_is_not_expanded_is_named_with_its_fix() {
    let read = reasons_of_conditions(
        &[
            r#"{"StringEquals": {"I:sub": "system:serviceaccount:jobs:*"}}"#,
            r#"{"StringEquals": {"I:sub": "system:serviceaccount:web:*"}}"#,
            r#"{"StringEquals": {"I:sub": ["system:serviceaccount:web:*", "system:serviceaccount:jobs:ap?"]}}"#,
            r#"{"StringEqualsIgnoreCase": {"I:aud": "*.amazonaws.com"}}"#,
            r#"{"StringEquals": {"aws:userid": "*${I:aud}*"}}"#,
            r#"{"StringEquals": {"I:sub": "system:${aws:UserAgent}*"}}"#,
            // No wildcards: a variable's own characters, and what is literal.
            r#"{"StringEquals": {"I:sub": "system:serviceaccount:jobs:${*}"}}"#,
            r#"{"StringEquals": {"I:sub": "${aws:username, 'a*'}"}}"#,
            r#"{"StringLike": {"I:sub": "system:serviceaccount:web:*"}}"#,
            // Where the key is absent no wildcard would help, and a negated operator requires something else.
            r#"{"StringEquals": {"I:amr": "*"}}"#,
            r#"{"StringNotEquals": {"I:sub": ["*", "system:serviceaccount:jobs:app"]}}"#,
        ],
        &Context::default(),
    );
    insta::assert_snapshot!(read);
}

#[test]
fn of_several_subjects_the_nearest_is_named() {
    let read = reasons_of_conditions(
        &[
            r#"{"StringEquals": {"I:sub": ["x", "system:serviceaccount:jobs:web"]}}"#,
            r#"{"StringEquals": {"I:sub": ["x", "system:serviceaccount:jobs:web", "y"]}}"#,
            r#"{"StringLike": {"I:sub": ["*:web", "*:App"]}}"#,
            r#"{"StringEqualsIgnoreCase": {"I:sub": "jobs:app"}}"#,
            r#"{"StringNotLike": {"I:sub": ["a", "b", "c", "*"]}}"#,
            r#"{"StringNotLike": {"I:sub": ["a", "b", "*"]}}"#,
            r#"{"NumericEquals": {"I:sub": "1"}}"#,
        ],
        &Context::default(),
    );
    insta::assert_snapshot!(read);
}

#[test]
fn a_wrong_audience_is_named_with_the_required_one() {
    let read = reasons_of_conditions(
        &[
            r#"{"StringEquals": {"I:aud": "x"}}"#,
            r#"{"StringEquals": {"I:aud": ["a", "b", "c", "d", "e"]}}"#,
            r#"{"StringNotEquals": {"I:aud": "sts.amazonaws.com"}}"#,
            r#"{"BinaryEquals": {"I:aud": "YQ=="}}"#,
        ],
        &Context::default(),
    );
    insta::assert_snapshot!(read);
}

#[test]
fn another_condition_is_named_with_what_the_request_carries() {
    let context = Context {
        now: Some(1_767_225_600),
        ..Context::default()
    };
    let read = reasons_of_conditions(
        &[
            r#"{"StringEquals": {"I:amr": "x"}}"#,
            r#"{"StringEquals": {"aws:PrincipalTag/team": "x"}}"#,
            r#"{"StringEquals": {"aws:PrincipalType": "Role"}}"#,
            r#"{"DateLessThan": {"aws:CurrentTime": "2020-01-01"}}"#,
            r#"{"NumericLessThan": {"aws:EpochTime": "1"}}"#,
            r#"{"StringEquals": {"sts:RoleSessionName": "a:b"}}"#,
            r#"{"StringEquals": {"aws:Referer": "${aws:username}"}}"#,
        ],
        &context,
    );
    insta::assert_snapshot!(read);
}

#[test]
fn an_undecided_verdict_names_the_keys_and_every_statement_it_depends_on() {
    let allow = statement("Allow", "{}");
    let open = |effect: &str, condition: &str| statement(effect, condition);
    let three = r#"{"StringEquals": {"aws:SourceIp": "x", "aws:Referer": "y", "AWS:sourceip": "z"}}"#;
    let five = r#"{"StringEquals": {"aws:a": "x", "aws:b": "x", "aws:c": "x", "aws:d": "x", "aws:e": "x"}}"#;
    let many: Vec<String> = (0..25).map(|n| format!(r#""aws:k{n}": "x""#)).collect();
    let many = format!(r#"{{"StringEquals": {{{}}}}}"#, many.join(","));
    let many_variables: String = (0..25).map(|n| format!("${{aws:v{n}}}")).collect();
    let many_variables = format!(r#"{{"StringLike": {{"I:sub": "{many_variables}"}}}}"#);
    let read = reasons_of_each(
        &[
            (
                "one key",
                vec![open(
                    "Allow",
                    r#"{"StringEquals": {"aws:SourceIp": "x", "I:aud": "sts.amazonaws.com"}}"#,
                )],
            ),
            ("a key twice", vec![open("Allow", three)]),
            ("more conditions than are shown", vec![open("Allow", five)]),
            ("more keys than are named", vec![open("Allow", &many)]),
            ("more variables than are named", vec![open("Allow", &many_variables)]),
            (
                "variables",
                vec![open(
                    "Allow",
                    r#"{"StringEquals": {"I:sub": "${aws:Referer}${I:aud}${aws:username}"}}"#,
                )],
            ),
            (
                "an empty list",
                vec![open("Allow", r#"{"StringEquals": {"I:sub": []}}"#)],
            ),
            (
                "two statements",
                vec![
                    open("Allow", r#"{"StringEquals": {"aws:SourceIp": "x"}}"#),
                    open("Allow", r#"{"StringEquals": {"aws:Referer": "x"}}"#),
                    open("Allow", r#"{"StringEquals": {"I:sub": "x"}}"#),
                ],
            ),
            (
                "three statements",
                vec![
                    open("Allow", r#"{"StringEquals": {"aws:SourceIp": "x"}}"#),
                    open("Allow", r#"{"StringEquals": {"aws:Referer": "x"}}"#),
                    open("Deny", r#"{"StringEquals": {"aws:UserAgent": "x"}}"#),
                ],
            ),
            (
                "an Allow that is settled does not matter",
                vec![
                    allow.clone(),
                    open("Allow", r#"{"StringEquals": {"aws:SourceIp": "x"}}"#),
                    open("Deny", r#"{"StringEquals": {"aws:UserAgent": "x"}}"#),
                ],
            ),
            (
                "a Deny for everyone",
                vec![allow, with_principal("Deny", r#""*""#, "{}")],
            ),
        ],
        &Context::default(),
    );
    insta::assert_snapshot!(read);
}

#[test]
fn an_undecided_verdict_says_what_the_pods_own_session_name_leads_to() {
    let context = Context {
        session_name: SessionName::Suggested("app-1"),
        ..Context::default()
    };
    let named = reasons_of_conditions(
        &[
            r#"{"StringLike": {"sts:RoleSessionName": "app-*"}}"#,
            r#"{"StringLike": {"STS:rolesessionname": "web-*"}}"#,
            r#"{"StringLike": {"sts:RoleSessionName": "app-*", "aws:SourceIp": "x"}}"#,
            r#"{"StringEquals": {"aws:SourceIp": "x"}}"#,
        ],
        &context,
    );
    let unnamed = reasons_of_conditions(
        &[r#"{"StringLike": {"sts:RoleSessionName": "app-*"}}"#],
        &Context::default(),
    );
    insta::assert_snapshot!(named + "without a name\n" + &unnamed);
}
