//! The rules of IAM trust policies, with one table for each: grammar, principals, actions, operators, keys, three-valued logic.

use rolegate::decision::messages::explanation::ExplanationText;
use rolegate::trust::{Audience, Context, Issuer, Policy, RoleArn, SessionName, Subject, Verdict, WebIdentity, judge};

use Verdict::{NotTrusted as No, Trusted as Yes, Undecided as Maybe};

const PROVIDER: &str = "arn:aws:iam::111122223333:oidc-provider/issuer.example/id/A";

/// Evaluates `policy` for the ServiceAccount `app` of `jobs` with the audience `sts.amazonaws.com` of `issuer.example/id/A`.
fn judged(policy: &str, context: &Context<'_>) -> Verdict {
    let role = RoleArn::parse("arn:aws:iam::111122223333:role/app").unwrap();
    let identity = WebIdentity {
        issuer: Issuer::parse("https://issuer.example/id/A").unwrap(),
        subject: Subject::service_account("jobs", "app"),
        audience: Audience::new("sts.amazonaws.com"),
    };
    let policy = Policy::parse(policy).unwrap_or_else(|error| panic!("{policy}: {error}"));
    let judgment = judge(&policy, &role, &identity, context);
    assert_eq!(judgment.explanation.is_none(), judgment.verdict == Yes);
    if let Some(explanation) = judgment.explanation {
        assert_eq!(explanation.cause.is_some(), judgment.verdict == No);
        let reason = ExplanationText {
            role: &role,
            identity: &identity,
            explanation: &explanation,
        }
        .reason();
        // A Deny of the principal "*" leaves it open without a key.
        let names_what_is_open = !explanation.undecided_keys.is_empty() || reason.contains("principal \"*\"");
        assert_eq!(names_what_is_open, judgment.verdict == Maybe, "{explanation:?}");
        assert!(!reason.is_empty() && reason.chars().count() <= 600);
        assert!(!reason.contains(char::is_control), "{explanation:?}");
    }
    judgment.verdict
}

fn allow(condition: &str) -> String {
    policy("2012-10-17", &statement("Allow", condition))
}

fn policy(version: &str, statements: &str) -> String {
    format!(r#"{{"Version": "{version}", "Statement": [{statements}]}}"#)
}

/// `I` in a condition is short for the issuer.
fn statement(effect: &str, condition: &str) -> String {
    let condition = condition.replace("I:", "issuer.example/id/A:");
    format!(
        r#"{{"Effect": "{effect}", "Principal": {{"Federated": "{PROVIDER}"}}, "Action": "sts:AssumeRoleWithWebIdentity", "Condition": {condition}}}"#
    )
}

fn table(rows: &[(&str, Verdict)]) {
    table_in(&Context::default(), rows);
}

fn table_in(context: &Context<'_>, rows: &[(&str, Verdict)]) {
    for (condition, verdict) in rows {
        assert_eq!(judged(&allow(condition), context), *verdict, "{condition}");
    }
}

#[test]
fn equals_takes_wildcards_literally_and_like_does_not() {
    table(&[
        (r#"{"StringEquals": {"I:sub": "system:serviceaccount:jobs:app"}}"#, Yes),
        (r#"{"StringEquals": {"I:sub": "system:serviceaccount:jobs:*"}}"#, No),
        (r#"{"StringEquals": {"I:sub": "system:serviceaccount:jobs:App"}}"#, No),
        (r#"{"StringEquals": {"I:sub": "system:serviceaccount:jobs:app "}}"#, No),
        (
            r#"{"StringEqualsIgnoreCase": {"I:sub": "SYSTEM:serviceaccount:JOBS:app"}}"#,
            Yes,
        ),
        (
            r#"{"StringEqualsIgnoreCase": {"I:sub": "system:serviceaccount:jobs:*"}}"#,
            No,
        ),
        (
            r#"{"StringNotEquals": {"I:sub": "system:serviceaccount:jobs:app"}}"#,
            No,
        ),
        (r#"{"StringNotEquals": {"I:sub": "system:serviceaccount:jobs:*"}}"#, Yes),
        (
            r#"{"StringNotEqualsIgnoreCase": {"I:sub": "SYSTEM:serviceaccount:jobs:APP"}}"#,
            No,
        ),
        (r#"{"StringNotEqualsIgnoreCase": {"I:sub": "other"}}"#, Yes),
        (r#"{"StringLike": {"I:sub": "*"}}"#, Yes),
        (r#"{"StringLike": {"I:sub": "system:serviceaccount:*:app"}}"#, Yes),
        (r#"{"StringLike": {"I:sub": "system:*app"}}"#, Yes),
        (r#"{"StringLike": {"I:sub": "system:serviceaccount:jobs:ap?"}}"#, Yes),
        (r#"{"StringLike": {"I:sub": "system:serviceaccount:jobs:app?"}}"#, No),
        (r#"{"StringLike": {"I:sub": "serviceaccount:jobs:app"}}"#, No),
        (r#"{"StringLike": {"I:sub": "SYSTEM:*"}}"#, No),
        (r#"{"StringNotLike": {"I:sub": "system:serviceaccount:kube-*"}}"#, Yes),
        (r#"{"StringNotLike": {"I:sub": "*:app"}}"#, No),
    ]);
}

#[test]
fn values_are_ored_keys_and_operators_anded_and_negated_operators_nor() {
    table(&[
        (r#"{"StringEquals": {"I:aud": ["x", "sts.amazonaws.com"]}}"#, Yes),
        (r#"{"StringEquals": {"I:aud": ["x", "y"]}}"#, No),
        (r#"{"StringNotEquals": {"I:aud": ["x", "y"]}}"#, Yes),
        (r#"{"StringNotEquals": {"I:aud": ["x", "sts.amazonaws.com"]}}"#, No),
        (r#"{"StringNotLike": {"I:aud": ["x*", "sts*"]}}"#, No),
        (r#"{"StringEquals": {"I:aud": "sts.amazonaws.com", "I:sub": "x"}}"#, No),
        (
            r#"{"StringEquals": {"I:aud": "sts.amazonaws.com"}, "StringLike": {"I:sub": "x*"}}"#,
            No,
        ),
        (
            r#"{"StringEquals": {"I:aud": "sts.amazonaws.com"}, "StringLike": {"I:sub": "*app"}}"#,
            Yes,
        ),
        (r#"{"StringEquals": {"I:aud": "sts.amazonaws.com", "I:AUD": "x"}}"#, No),
        (
            r#"{"StringEquals": {"I:aud": "sts.amazonaws.com"}, "stringequals": {"I:aud": "x"}}"#,
            No,
        ),
        (
            r#"{"NumericNotEquals": {"aws:ResourceAccount": [1, 111122223333]}}"#,
            No,
        ),
        (r#"{"NumericNotEquals": {"aws:ResourceAccount": [1, 2]}}"#, Yes),
        (r#"{}"#, Yes),
        (r#"{"StringEquals": {}}"#, Yes),
    ]);
}

#[test]
fn names_of_keys_and_operators_ignore_case_and_values_follow_the_operator() {
    table(&[
        (
            r#"{"sTRINGeQUALS": {"ISSUER.example/ID/a:SUB": "system:serviceaccount:jobs:app"}}"#,
            Yes,
        ),
        (r#"{"forallvalues:stringlikeifexists": {"i.example:x": "a"}}"#, Yes),
        (r#"{"NULL": {"AWS:USERNAME": "TRUE"}}"#, Yes),
        (r#"{"StringEquals": {"AWS:PrincipalTYPE": "User"}}"#, Yes),
        (r#"{"StringEquals": {"aws:PrincipalType": "user"}}"#, No),
    ]);
}

#[test]
fn an_absent_key_fails_positive_operators_and_satisfies_the_others() {
    table(&[
        (r#"{"StringEquals": {"I:amr": "x"}}"#, No),
        (r#"{"StringLike": {"I:amr": "*"}}"#, No),
        (r#"{"StringNotEquals": {"I:amr": "x"}}"#, Yes),
        (r#"{"StringNotLike": {"I:amr": "*"}}"#, Yes),
        (r#"{"ArnNotLike": {"I:amr": "*"}}"#, Yes),
        (r#"{"ArnLike": {"I:amr": "*"}}"#, No),
        (r#"{"NumericNotEquals": {"I:amr": "1"}}"#, Yes),
        (r#"{"NumericLessThan": {"I:amr": "1"}}"#, No),
        (r#"{"DateNotEquals": {"I:amr": "2020-01-01"}}"#, Yes),
        (r#"{"NotIpAddress": {"I:amr": "10.0.0.0/8"}}"#, Yes),
        (r#"{"Bool": {"I:amr": "false"}}"#, No),
        (r#"{"BinaryEquals": {"I:amr": "YQ=="}}"#, No),
        (r#"{"StringEqualsIfExists": {"I:amr": "x"}}"#, Yes),
        (r#"{"BoolIfExists": {"aws:MultiFactorAuthPresent": "true"}}"#, Yes),
        (r#"{"StringNotEqualsIfExists": {"I:amr": "x"}}"#, Yes),
        (r#"{"StringEqualsIfExists": {"I:sub": "x"}}"#, No),
        (r#"{"Null": {"I:amr": "true"}}"#, Yes),
        (r#"{"Null": {"I:amr": true}}"#, Yes),
        (r#"{"Null": {"I:amr": "false"}}"#, No),
        (r#"{"Null": {"I:amr": "no"}}"#, No),
        (r#"{"Null": {"I:sub": "true"}}"#, No),
        (r#"{"Null": {"I:sub": "False"}}"#, Yes),
        (r#"{"Null": {"I:sub": "anything"}}"#, Yes),
        (r#"{"Null": {"I:sub": ["true", "false"]}}"#, Yes),
    ]);
}

#[test]
fn set_operators_act_on_one_value_and_differ_on_none() {
    table(&[
        (
            r#"{"ForAllValues:StringEquals": {"I:sub": ["a", "system:serviceaccount:jobs:app"]}}"#,
            Yes,
        ),
        (r#"{"ForAllValues:StringEquals": {"I:sub": "a"}}"#, No),
        (
            r#"{"ForAnyValue:StringEquals": {"I:sub": "system:serviceaccount:jobs:app"}}"#,
            Yes,
        ),
        (r#"{"ForAnyValue:StringNotEquals": {"I:sub": "a"}}"#, Yes),
        (
            r#"{"ForAnyValue:StringNotEquals": {"I:sub": ["a", "system:serviceaccount:jobs:app"]}}"#,
            No,
        ),
        (r#"{"ForAllValues:StringEquals": {"I:iss": "a"}}"#, Yes),
        (r#"{"ForAllValues:StringNotEquals": {"I:iss": "a"}}"#, Yes),
        (r#"{"ForAllValues:StringEqualsIfExists": {"I:iss": "a"}}"#, Yes),
        (r#"{"ForAnyValue:StringEquals": {"I:iss": "a"}}"#, No),
        (r#"{"ForAnyValue:StringNotEquals": {"I:iss": "a"}}"#, No),
        (r#"{"ForAnyValue:StringEqualsIfExists": {"I:iss": "a"}}"#, Maybe),
        (
            r#"{"ForAnyValue:StringEqualsIfExists": {"I:aud": "sts.amazonaws.com"}}"#,
            Yes,
        ),
        (r#"{"ForAllValues:StringLike": {"aws:SourceIp": "*"}}"#, Yes),
        (r#"{"ForAnyValue:StringLike": {"aws:SourceIp": "*"}}"#, Maybe),
    ]);
}

#[test]
fn an_empty_list_of_values_cannot_be_known() {
    table(&[
        (r#"{"StringEquals": {"I:sub": []}}"#, Maybe),
        (r#"{"StringNotEquals": {"I:sub": []}}"#, Maybe),
        (r#"{"StringEquals": {"I:amr": []}}"#, Maybe),
        (r#"{"Null": {"I:amr": []}}"#, Maybe),
        (r#"{"StringEquals": {"I:sub": [], "I:aud": "x"}}"#, No),
    ]);
}

#[test]
fn numbers_and_booleans_are_compared_as_their_text() {
    table(&[
        (r#"{"StringEquals": {"aws:ResourceAccount": 111122223333}}"#, Yes),
        (r#"{"StringEquals": {"aws:ResourceAccount": 111122223333.0}}"#, No),
        (r#"{"StringLike": {"aws:ResourceAccount": "1111*"}}"#, Yes),
        (r#"{"StringEquals": {"aws:SecureTransport": true}}"#, Yes),
        (r#"{"StringEquals": {"aws:SecureTransport": "True"}}"#, No),
        (r#"{"NumericEquals": {"aws:ResourceAccount": 1.11122223333e11}}"#, Yes),
        (r#"{"NumericEquals": {"aws:PrincipalAccount": "111122223333.00"}}"#, Yes),
        (r#"{"NumericLessThan": {"aws:PrincipalAccount": "111122223333"}}"#, No),
        (
            r#"{"NumericLessThanEquals": {"aws:PrincipalAccount": "111122223333"}}"#,
            Yes,
        ),
        (r#"{"NumericGreaterThan": {"aws:PrincipalAccount": "-5"}}"#, Yes),
        (
            r#"{"NumericGreaterThanEquals": {"aws:PrincipalAccount": "444455556666"}}"#,
            No,
        ),
    ]);
}

#[test]
fn booleans_are_true_or_else_false() {
    table(&[
        (r#"{"Bool": {"aws:SecureTransport": "TRUE"}}"#, Yes),
        (r#"{"Bool": {"aws:SecureTransport": false}}"#, No),
        (r#"{"Bool": {"aws:SecureTransport": ["false", "true"]}}"#, Yes),
        (r#"{"Bool": {"I:sub": "false"}}"#, Yes),
        (r#"{"Bool": {"I:sub": "nonsense"}}"#, Yes),
        (r#"{"Bool": {"I:sub": "true"}}"#, No),
        (r#"{"Bool": {"sts:RoleAuthorizedByIdp": "false"}}"#, Yes),
        (r#"{"Bool": {"sts:RoleAuthorizedByIdp": "true"}}"#, No),
    ]);
}

#[test]
fn a_request_value_that_does_not_parse_fails_or_satisfies_by_its_family() {
    table(&[
        (r#"{"NumericEquals": {"I:sub": "1"}}"#, No),
        (r#"{"NumericNotEquals": {"I:sub": "1"}}"#, Yes),
        (r#"{"NumericLessThan": {"I:sub": "1"}}"#, No),
        (r#"{"DateEquals": {"I:sub": "2020-01-01"}}"#, No),
        (r#"{"DateNotEquals": {"I:sub": "2020-01-01"}}"#, Yes),
        (r#"{"DateGreaterThan": {"I:sub": "2020-01-01"}}"#, No),
        (r#"{"ArnLike": {"I:sub": "*"}}"#, No),
        (r#"{"ArnNotLike": {"I:sub": "arn:aws:iam::111122223333:role/x"}}"#, No),
        (
            r#"{"ArnNotEqualsIfExists": {"I:sub": "arn:aws:iam::111122223333:role/x"}}"#,
            No,
        ),
        (r#"{"IpAddress": {"I:sub": "0.0.0.0/0"}}"#, No),
        (r#"{"NotIpAddress": {"I:sub": "10.0.0.0/8"}}"#, No),
        (r#"{"BinaryEquals": {"I:aud": "c3RzLmFtYXpvbmF3cy5jb20="}}"#, Yes),
        (r#"{"BinaryEquals": {"I:aud": "YQ=="}}"#, No),
        (r#"{"NumericEquals": {"I:sub": "*"}}"#, No),
        (r#"{"NumericEquals": {"aws:ResourceAccount": "*"}}"#, Maybe),
    ]);
}

#[test]
fn arns_are_compared_part_by_part() {
    table(&[
        (
            r#"{"ArnEquals": {"aws:userid": "arn:aws:iam::111122223333:oidc-provider/issuer.example/id/A"}}"#,
            Yes,
        ),
        (r#"{"ArnLike": {"aws:userid": "arn:aws:iam::*:oidc-provider/*"}}"#, Yes),
        (
            r#"{"ArnEquals": {"aws:userid": "arn:*:iam::1111?222?333:oidc-provider/*/A"}}"#,
            Yes,
        ),
        (r#"{"ArnLike": {"aws:userid": "*:*:*:*:*:*"}}"#, Yes),
        (r#"{"ArnLike": {"aws:userid": "*"}}"#, Yes),
        (
            r#"{"ArnLike": {"aws:userid": "arn:aws:iam:*:oidc-provider/issuer.example:x"}}"#,
            No,
        ),
        (
            r#"{"ArnLike": {"aws:userid": "arn:aws:iam::444455556666:oidc-provider/*"}}"#,
            No,
        ),
        (r#"{"ArnNotLike": {"aws:userid": "arn:aws:iam::444455556666:*"}}"#, Yes),
        (r#"{"ArnNotEquals": {"aws:userid": "arn:aws:iam::111122223333:*"}}"#, No),
        (r#"{"StringLike": {"aws:userid": "arn:*"}}"#, Yes),
        (r#"{"ArnLike": {"aws:userid": "arn:aws:iam::111122223333:role/*"}}"#, No),
        (
            r#"{"ArnLike": {"aws:userid": "arn:aws:iam::${aws:ResourceAccount}:role/*"}}"#,
            No,
        ),
        (
            r#"{"ArnLike": {"aws:userid": "arn:aws:iam::${aws:ResourceAccount}"}}"#,
            No,
        ),
        (r#"{"ArnLike": {"aws:userid": "*${aws:username, ''}"}}"#, Yes),
    ]);
}

#[test]
fn variables_are_filled_in_under_2012_only() {
    table(&[
        (r#"{"StringEquals": {"I:sub": "${I:sub}"}}"#, Yes),
        (r#"{"StringEquals": {"I:sub": "${ISSUER.example/id/A:SUB}"}}"#, Yes),
        (
            r#"{"StringLike": {"aws:userid": "arn:aws:iam::${aws:ResourceAccount}:*"}}"#,
            Yes,
        ),
        (
            r#"{"ArnLike": {"aws:userid": "arn:aws:iam::${aws:PrincipalAccount}:oidc-provider/*"}}"#,
            Yes,
        ),
        (r#"{"ArnLike": {"aws:userid": "${aws:userid}"}}"#, Yes),
        (
            r#"{"StringEquals": {"I:aud": "${aws:PrincipalTag/team, 'sts.amazonaws.com'}"}}"#,
            Yes,
        ),
        (r#"{"StringLike": {"I:aud": "${aws:PrincipalTag/team, 'sts.*'}"}}"#, No),
        (r#"{"StringLike": {"I:aud": "${aws:PrincipalTag/team, 'sts'}.*"}}"#, Yes),
        (r#"{"StringEquals": {"I:aud": "${aws:PrincipalTag/team}"}}"#, No),
        (
            r#"{"StringEquals": {"I:aud": ["${aws:PrincipalTag/team}", "sts.amazonaws.com"]}}"#,
            Yes,
        ),
        (r#"{"StringNotEquals": {"I:aud": "${aws:PrincipalTag/team}"}}"#, Yes),
        (r#"{"StringNotLike": {"I:aud": "${aws:username}*"}}"#, Yes),
        (r#"{"StringLike": {"I:aud": "${*}"}}"#, No),
        (r#"{"StringLike": {"I:aud": "sts${?}amazonaws.com"}}"#, No),
        (r#"{"StringNotLike": {"I:aud": "a${$}{b}"}}"#, Yes),
        (r#"{"StringEquals": {"I:aud": "${aws:SourceIp}"}}"#, Maybe),
        (
            r#"{"StringLike": {"I:sub": "system:serviceaccount:${aws:UserAgent}:app"}}"#,
            Maybe,
        ),
        (
            r#"{"StringLike": {"I:sub": "system:serviceaccount:${aws:UserAgent}:web"}}"#,
            No,
        ),
        (
            r#"{"StringEqualsIgnoreCase": {"I:aud": "STS.${aws:Referer}.COM"}}"#,
            Maybe,
        ),
        (r#"{"NumericNotEquals": {"I:sub": "${aws:SourceIp}"}}"#, Yes),
    ]);
    for version in ["2008-10-17", "2012-10-17"] {
        let statement = statement("Allow", r#"{"StringEquals": {"I:sub": "${I:sub}"}}"#);
        let verdict = if version == "2012-10-17" { Yes } else { No };
        assert_eq!(
            judged(&policy(version, &statement), &Context::default()),
            verdict,
            "{version}"
        );
        let without = format!(r#"{{"Statement": {statement}}}"#);
        assert_eq!(judged(&without, &Context::default()), No);
    }
    let plain = statement("Allow", r#"{"StringLike": {"I:sub": "*${*}"}}"#);
    assert_eq!(judged(&policy("2008-10-17", &plain), &Context::default()), No);
}

#[test]
fn what_cannot_be_known_is_decided_only_when_it_makes_no_difference() {
    table(&[
        (r#"{"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}"#, Maybe),
        (r#"{"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}"#, Maybe),
        (r#"{"StringEquals": {"aws:RequestedRegion": "us-west-2"}}"#, Maybe),
        (r#"{"StringLike": {"aws:UserAgent": "*"}}"#, Maybe),
        (r#"{"StringLikeIfExists": {"aws:UserAgent": "*"}}"#, Yes),
        (r#"{"StringLikeIfExists": {"aws:UserAgent": ["x", "**"]}}"#, Yes),
        (r#"{"StringLikeIfExists": {"aws:UserAgent": "?*"}}"#, Maybe),
        (r#"{"StringEqualsIfExists": {"aws:UserAgent": "*"}}"#, Maybe),
        (r#"{"StringNotLike": {"aws:UserAgent": "*"}}"#, Maybe),
        (r#"{"ForAnyValue:StringNotLike": {"aws:UserAgent": "*"}}"#, No),
        (r#"{"StringNotEquals": {"aws:UserAgent": "${aws:username}"}}"#, Yes),
        (r#"{"StringEquals": {"aws:UserAgent": "${aws:username}"}}"#, No),
        (r#"{"BoolIfExists": {"aws:ViaAWSService": ["true", "false"]}}"#, Yes),
        (r#"{"BoolIfExists": {"aws:ViaAWSService": "false"}}"#, Maybe),
        (r#"{"Null": {"aws:SourceVpce": "true"}}"#, Maybe),
        (r#"{"Null": {"aws:SourceVpce": ["true", "false"]}}"#, Yes),
        (r#"{"ArnLikeIfExists": {"aws:Referer": "*"}}"#, Maybe),
        (r#"{"ArnLike": {"aws:Referer": "arn:aws:*:*:*:*"}}"#, Maybe),
        (r#"{"ArnLike": {"aws:Referer": "${aws:UserAgent}"}}"#, Maybe),
        (r#"{"ArnLike": {"aws:Referer": "${aws:username}"}}"#, No),
        (
            r#"{"ArnLike": {"aws:Referer": "arn:aws:iam::${aws:ResourceAccount}"}}"#,
            No,
        ),
        (
            r#"{"ArnLike": {"aws:Referer": "urn:a:b:c:d:${aws:ResourceAccount}"}}"#,
            No,
        ),
        (r#"{"ForAnyValue:ArnNotLike": {"aws:Referer": "*"}}"#, No),
        (r#"{"ForAnyValue:ArnNotLike": {"aws:Referer": "arn:*:*:**:*:*"}}"#, No),
        (
            r#"{"ForAnyValue:ArnNotLike": {"aws:Referer": "*${aws:username, ''}"}}"#,
            No,
        ),
        (r#"{"ForAnyValue:ArnNotLike": {"aws:Referer": "arn:*:*:*:*:"}}"#, Maybe),
        (
            r#"{"ForAnyValue:ArnNotLike": {"aws:Referer": "arn:*:*:*:*:?*"}}"#,
            Maybe,
        ),
        (
            r#"{"ForAnyValue:ArnNotLike": {"aws:Referer": "${aws:UserAgent}"}}"#,
            Maybe,
        ),
        (r#"{"BinaryEquals": {"aws:Referer": "YQ=="}}"#, Maybe),
        (r#"{"IpAddress": {"aws:SourceIp": ["::/0", "0.0.0.0/0"]}}"#, Maybe),
        (r#"{"ForAnyValue:IpAddress": {"aws:SourceIp": "::/0"}}"#, Maybe),
        (
            r#"{"ForAnyValue:NotIpAddress": {"aws:SourceIp": ["0.0.0.0/0", "::/0"]}}"#,
            No,
        ),
        (r#"{"ForAnyValue:NotIpAddress": {"aws:SourceIp": "0.0.0.0/0"}}"#, Maybe),
        (r#"{"ForAnyValue:NotIpAddress": {"aws:SourceIp": "::/0"}}"#, Maybe),
        (
            r#"{"ForAnyValue:NotIpAddress": {"aws:SourceIp": ["10.0.0.0/8", "2001:db8::/32"]}}"#,
            Maybe,
        ),
        (r#"{"StringEquals": {"no-such-key": "x"}}"#, Maybe),
        (r#"{"StringEquals": {"aws:SourceIp": "x", "I:aud": "other"}}"#, No),
    ]);
}

#[test]
fn a_session_name_is_there_and_of_its_alphabet() {
    let sixty_four = format!(r#"{{"StringEquals": {{"sts:RoleSessionName": "{}"}}}}"#, "a".repeat(64));
    let sixty_five = format!(r#"{{"StringEquals": {{"sts:RoleSessionName": "{}"}}}}"#, "a".repeat(65));
    table(&[
        (r#"{"StringLike": {"sts:RoleSessionName": "*"}}"#, Yes),
        (r#"{"StringLike": {"sts:RoleSessionName": "??*"}}"#, Yes),
        (r#"{"StringLike": {"sts:RoleSessionName": "???*"}}"#, Maybe),
        (r#"{"StringLike": {"sts:RoleSessionName": "??"}}"#, Maybe),
        (r#"{"StringLike": {"sts:RoleSessionName": "app-*"}}"#, Maybe),
        (r#"{"StringNotLike": {"sts:RoleSessionName": "*"}}"#, No),
        (r#"{"StringEquals": {"sts:RoleSessionName": "app"}}"#, Maybe),
        (r#"{"StringEquals": {"sts:RoleSessionName": "ab"}}"#, Maybe),
        (r#"{"StringEquals": {"sts:RoleSessionName": "a"}}"#, No),
        (r#"{"StringEquals": {"sts:RoleSessionName": ""}}"#, No),
        (r#"{"StringEquals": {"sts:RoleSessionName": "a b"}}"#, No),
        (r#"{"StringEquals": {"sts:RoleSessionName": "a*"}}"#, No),
        (r#"{"StringNotEquals": {"sts:RoleSessionName": "a/b"}}"#, Yes),
        (r#"{"StringEquals": {"sts:RoleSessionName": "_+=,.@-"}}"#, Maybe),
        (r#"{"StringEquals": {"sts:RoleSessionName": "${I:sub}"}}"#, No),
        (r#"{"StringEquals": {"sts:RoleSessionName": "${I:aud}"}}"#, Maybe),
        (r#"{"StringLike": {"sts:RoleSessionName": "*:*"}}"#, No),
        (r#"{"StringEqualsIgnoreCase": {"sts:RoleSessionName": "ÄPP"}}"#, No),
        (r#"{"Null": {"sts:RoleSessionName": "false"}}"#, Yes),
        (r#"{"Null": {"sts:RoleSessionName": "true"}}"#, No),
        (
            r#"{"ArnNotLike": {"sts:RoleSessionName": "arn:aws:iam::111122223333:role/x"}}"#,
            No,
        ),
        (r#"{"Bool": {"sts:RoleSessionName": ["true", "false"]}}"#, Yes),
        // "app", "a", "a b", and what is not UTF-8 text.
        (r#"{"BinaryEquals": {"sts:RoleSessionName": "YXBw"}}"#, Maybe),
        (r#"{"BinaryEquals": {"sts:RoleSessionName": "YQ=="}}"#, No),
        (r#"{"BinaryEquals": {"sts:RoleSessionName": ["YSBi", "/w=="]}}"#, No),
        // It can be an address of version 4; one of version 6 has colons.
        (r#"{"IpAddress": {"sts:RoleSessionName": "10.0.0.0/8"}}"#, Maybe),
        (r#"{"IpAddress": {"sts:RoleSessionName": "::/0"}}"#, No),
        (
            r#"{"IpAddress": {"sts:RoleSessionName": ["::/0", "10.0.0.0/8"]}}"#,
            Maybe,
        ),
        (r#"{"NotIpAddress": {"sts:RoleSessionName": "0.0.0.0/0"}}"#, No),
        (r#"{"NotIpAddress": {"sts:RoleSessionName": "10.0.0.0/8"}}"#, Maybe),
        (r#"{"NotIpAddress": {"sts:RoleSessionName": "::/0"}}"#, Maybe),
        (r#"{"StringEqualsIfExists": {"sts:RoleSessionName": "a:b"}}"#, No),
        (&sixty_four, Maybe),
        (&sixty_five, No),
    ]);
    let assumed = |name| Context {
        session_name: SessionName::Assumed(name),
        ..Context::default()
    };
    table_in(
        &assumed("app-1"),
        &[
            (r#"{"StringLike": {"sts:RoleSessionName": "app-*"}}"#, Yes),
            (r#"{"StringEquals": {"sts:RoleSessionName": "other"}}"#, No),
        ],
    );
    let suggested = Context {
        session_name: SessionName::Suggested("app-1"),
        ..Context::default()
    };
    table_in(
        &suggested,
        &[(r#"{"StringLike": {"sts:RoleSessionName": "app-*"}}"#, Maybe)],
    );
}

#[test]
fn time_only_grows() {
    // 2026-01-01T00:00:00Z
    let context = Context {
        now: Some(1_767_225_600),
        ..Context::default()
    };
    let rows = [
        (r#"{"DateLessThan": {"aws:CurrentTime": "2025-12-31T23:59:59Z"}}"#, No),
        (r#"{"DateLessThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}}"#, No),
        (
            r#"{"DateLessThan": {"aws:CurrentTime": "2026-01-01T00:00:01Z"}}"#,
            Maybe,
        ),
        (
            r#"{"DateLessThanEquals": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}}"#,
            Maybe,
        ),
        (r#"{"DateLessThanEquals": {"aws:CurrentTime": "2025-12-31"}}"#, No),
        (r#"{"DateGreaterThan": {"aws:CurrentTime": "2025-12-31"}}"#, Yes),
        (r#"{"DateGreaterThan": {"aws:CurrentTime": "2026-01-01"}}"#, Maybe),
        (r#"{"DateGreaterThanEquals": {"aws:CurrentTime": "2026-01-01"}}"#, Yes),
        (r#"{"DateGreaterThan": {"aws:CurrentTime": "2027-01-01"}}"#, Maybe),
        (r#"{"DateGreaterThanEquals": {"aws:CurrentTime": "2027-01-01"}}"#, Maybe),
        (r#"{"DateEquals": {"aws:CurrentTime": "2025-01-01"}}"#, No),
        (r#"{"DateNotEquals": {"aws:CurrentTime": "2025-01-01"}}"#, Yes),
        (r#"{"DateEquals": {"aws:CurrentTime": "2027-01-01"}}"#, Maybe),
        (r#"{"DateLessThan": {"aws:EpochTime": "1767225600"}}"#, No),
        (r#"{"NumericLessThan": {"aws:EpochTime": 1767225600}}"#, No),
        (r#"{"NumericLessThanEquals": {"aws:EpochTime": 1767225600}}"#, Maybe),
        (r#"{"NumericGreaterThan": {"aws:EpochTime": 1.5}}"#, Yes),
        (r#"{"DateGreaterThan": {"aws:CurrentTime": "1767225599"}}"#, Yes),
        (
            r#"{"DateLessThan": {"aws:CurrentTime": ["2020-01-01", "2025-01-01"]}}"#,
            No,
        ),
        (
            r#"{"DateLessThan": {"aws:CurrentTime": ["2020-01-01", "2030-01-01"]}}"#,
            Maybe,
        ),
        (
            r#"{"ForAnyValue:DateGreaterThan": {"aws:CurrentTime": "2020-01-01"}}"#,
            Yes,
        ),
    ];
    table_in(&context, &rows);
    // Without a clock nothing has passed.
    for (condition, _) in rows {
        assert_eq!(judged(&allow(condition), &Context::default()), Maybe, "{condition}");
    }
}

#[test]
fn role_tags_count_once_they_were_read() {
    let tags = [("team".to_owned(), "blue".to_owned())];
    let rows = [
        (r#"{"StringEquals": {"aws:ResourceTag/team": "blue"}}"#, Yes),
        (r#"{"StringEquals": {"iam:ResourceTag/Team": "red"}}"#, No),
        (r#"{"StringEquals": {"aws:ResourceTag/other": "blue"}}"#, No),
        (r#"{"StringNotEquals": {"aws:ResourceTag/other": "blue"}}"#, Yes),
        (r#"{"StringLike": {"I:aud": "${aws:ResourceTag/other, 'sts'}.*"}}"#, Yes),
    ];
    table_in(
        &Context {
            role_tags: Some(&tags),
            ..Context::default()
        },
        &rows,
    );
    for (condition, _) in rows {
        assert_eq!(judged(&allow(condition), &Context::default()), Maybe, "{condition}");
    }
}

#[test]
fn a_known_text_is_read_as_what_the_operator_is_about() {
    let tags = [
        ("until", "2027-01-31T12:00:00Z"),
        ("seats", "25"),
        ("from", "10.1.2.3"),
        ("from6", "2001:db8::1"),
        ("short", "arn:aws:iam"),
        ("urn", "urn:aws:iam::111122223333:role/app"),
        ("street", "ΟΔΟΣ"),
        ("umlaut", "Äpp"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()));
    let context = Context {
        role_tags: Some(&tags),
        ..Context::default()
    };
    let mut rows = Vec::new();
    for (family, tag, below, same, above) in [
        (
            "Date",
            "until",
            "2027-01-31T11:59:59Z",
            "2027-01-31T14:00:00+02:00",
            "2027-02-01",
        ),
        ("Numeric", "seats", "24.9", "2.5e1", "26"),
    ] {
        for (operator, verdicts) in [
            ("Equals", [No, Yes, No]),
            ("NotEquals", [Yes, No, Yes]),
            ("LessThan", [No, No, Yes]),
            ("LessThanEquals", [No, Yes, Yes]),
            ("GreaterThan", [Yes, No, No]),
            ("GreaterThanEquals", [Yes, Yes, No]),
        ] {
            for (value, verdict) in [below, same, above].into_iter().zip(verdicts) {
                rows.push((
                    format!(r#"{{"{family}{operator}": {{"aws:ResourceTag/{tag}": "{value}"}}}}"#),
                    verdict,
                ));
            }
        }
    }
    for (operator, tag, value, verdict) in [
        ("IpAddress", "from", "10.0.0.0/8", Yes),
        ("IpAddress", "from", "10.1.2.4", No),
        ("IpAddress", "from", "::/0", No),
        ("IpAddress", "from6", "2001:db8::/32", Yes),
        ("NotIpAddress", "from", "10.0.0.0/8", No),
        ("NotIpAddress", "from", "192.0.2.0/24", Yes),
        ("NotIpAddress", "from6", "0.0.0.0/0", Yes),
        // What is not an ARN satisfies neither.
        ("ArnLike", "short", "*", No),
        ("ArnNotLike", "short", "arn:aws:s3:::x", No),
        ("ArnLike", "urn", "*", No),
        ("ArnNotLike", "urn", "arn:aws:s3:::x", No),
        ("StringEqualsIgnoreCase", "umlaut", "äPP", Yes),
        ("StringEqualsIgnoreCase", "umlaut", "öpp", No),
        ("StringEqualsIgnoreCase", "umlaut", "äp", No),
        // The lower-cased texts are compared, and a sigma that ends a word has a form of its own there.
        ("StringEqualsIgnoreCase", "street", "οδος", Yes),
        ("StringEqualsIgnoreCase", "street", "οδοσ", No),
        ("StringEqualsIgnoreCase", "street", "${aws:username, 'Οδ'}οΣ", Yes),
        ("StringEqualsIgnoreCase", "street", "${aws:username, 'Οδ'}ος", Yes),
    ] {
        rows.push((
            format!(r#"{{"{operator}": {{"aws:ResourceTag/{tag}": "{value}"}}}}"#),
            verdict,
        ));
    }
    for (condition, verdict) in rows {
        assert_eq!(judged(&allow(&condition), &context), verdict, "{condition}");
    }
}

#[test]
fn only_the_providers_own_arn_lets_a_token_in() {
    for (principal, verdict) in [
        (
            r#"{"Federated": "arn:aws:iam::111122223333:oidc-provider/issuer.example/id/A"}"#,
            Yes,
        ),
        (
            r#"{"Federated": ["x", "arn:aws:iam::111122223333:oidc-provider/issuer.example/id/A"]}"#,
            Yes,
        ),
        (
            r#"{"AWS": "*", "Federated": "arn:aws:iam::111122223333:oidc-provider/issuer.example/id/A"}"#,
            Yes,
        ),
        (
            r#"{"Federated": "arn:aws:iam::111122223333:oidc-provider/issuer.example/id/A/"}"#,
            No,
        ),
        (
            r#"{"Federated": "arn:aws:iam::111122223333:oidc-provider/issuer.example/id/a"}"#,
            No,
        ),
        (r#"{"Federated": "arn:aws:iam::111122223333:oidc-provider/*"}"#, No),
        (r#"{"Federated": "*"}"#, No),
        (
            r#"{"Federated": "arn:aws:iam::444455556666:oidc-provider/issuer.example/id/A"}"#,
            No,
        ),
        (
            r#"{"Federated": "arn:aws-cn:iam::111122223333:oidc-provider/issuer.example/id/A"}"#,
            No,
        ),
        (
            r#"{"Federated": "arn:aws:iam::111122223333:saml-provider/issuer.example/id/A"}"#,
            No,
        ),
        (r#"{"Service": "pods.eks.amazonaws.com"}"#, No),
        (
            r#"{"AWS": "arn:aws:iam::111122223333:oidc-provider/issuer.example/id/A"}"#,
            No,
        ),
        (r#"{"AWS": "*"}"#, No),
        (r#""*""#, No),
    ] {
        let statement =
            format!(r#"{{"Effect": "Allow", "Principal": {principal}, "Action": "sts:AssumeRoleWithWebIdentity"}}"#);
        assert_eq!(
            judged(&policy("2012-10-17", &statement), &Context::default()),
            verdict,
            "{principal}"
        );
    }
}

#[test]
fn actions_are_globs_that_ignore_case() {
    for (action, verdict) in [
        (r#""Action": "sts:AssumeRoleWithWebIdentity""#, Yes),
        (r#""Action": "STS:assumerolewithwebidentity""#, Yes),
        (r#""Action": ["sts:TagSession", "sts:AssumeRoleWith*"]"#, Yes),
        (r#""Action": "sts:*""#, Yes),
        (r#""Action": "*""#, Yes),
        (r#""Action": "sts:AssumeRoleWith???Identity""#, Yes),
        (r#""Action": "sts:AssumeRole""#, No),
        (r#""Action": "sts:AssumeRoleWithSAML""#, No),
        (r#""Action": "sts:AssumeRoleWithWebIdentity ""#, No),
        (r#""NotAction": "sts:AssumeRole""#, Yes),
        (r#""NotAction": ["sts:AssumeRole", "STS:*webidentity"]"#, No),
    ] {
        let statement = format!(r#"{{"Effect": "Allow", "Principal": {{"Federated": "{PROVIDER}"}}, {action}}}"#);
        assert_eq!(
            judged(&policy("2012-10-17", &statement), &Context::default()),
            verdict,
            "{action}"
        );
    }
}

#[test]
fn a_deny_wins_and_one_that_may_match_leaves_it_open() {
    let allow = statement("Allow", "{}");
    let maybe_allow = statement("Allow", r#"{"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}"#);
    let no_allow = statement("Allow", r#"{"StringEquals": {"I:sub": "x"}}"#);
    let deny = statement("Deny", r#"{"StringEquals": {"I:aud": "sts.amazonaws.com"}}"#);
    let maybe_deny = statement("Deny", r#"{"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}"#);
    let no_deny = statement("Deny", r#"{"StringEquals": {"I:sub": "x"}}"#);
    let deny_all = r#"{"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "sts:*"}"#.to_owned();
    let deny_star = r#"{"Effect": "Deny", "Principal": "*", "NotAction": "sts:TagSession"}"#.to_owned();
    let deny_service =
        r#"{"Effect": "Deny", "Principal": {"Service": "*", "AWS": "111122223333"}, "Action": "*"}"#.to_owned();
    let deny_other_action = r#"{"Effect": "Deny", "Principal": "*", "Action": "sts:AssumeRole"}"#.to_owned();
    for (statements, verdict) in [
        (vec![&allow, &deny], No),
        (vec![&maybe_allow, &deny], No),
        (vec![&deny], No),
        (vec![&no_deny], No),
        (vec![&allow, &maybe_deny], Maybe),
        (vec![&allow, &deny_all], Maybe),
        (vec![&allow, &deny_star], Maybe),
        (vec![&allow, &deny_service], Yes),
        (vec![&allow, &deny_other_action], Yes),
        (vec![&allow, &no_deny], Yes),
        (vec![&no_allow, &maybe_deny], No),
        (vec![&maybe_allow, &maybe_deny], Maybe),
        (vec![&maybe_allow, &allow], Yes),
        (vec![&maybe_allow, &no_allow], Maybe),
    ] {
        for order in [statements.clone(), statements.into_iter().rev().collect()] {
            let joined = order.into_iter().cloned().collect::<Vec<_>>().join(",");
            assert_eq!(
                judged(&policy("2012-10-17", &joined), &Context::default()),
                verdict,
                "{joined}"
            );
        }
    }
}

#[test]
fn what_iam_would_not_store_is_malformed_and_says_where() {
    let good = r#""Effect": "Allow", "Principal": {"Federated": "x"}, "Action": "sts:*""#;
    let in_statement = |members: &str| format!(r#"{{"Statement": [{{{members}}}]}}"#);
    let in_condition = |condition: &str| in_statement(&format!(r#"{good}, "Condition": {condition}"#));
    let mut read = String::new();
    for document in [
        String::new(),
        "{".to_owned(),
        "nonsense".to_owned(),
        r#"{"Statement": []} x"#.to_owned(),
        "[]".to_owned(),
        r#""text""#.to_owned(),
        "null".to_owned(),
        "{}".to_owned(),
        r#"{"Version": "2012-10-17"}"#.to_owned(),
        r#"{"Version": "2012-10-18", "Statement": {}}"#.to_owned(),
        r#"{"Version": 2012, "Statement": {}}"#.to_owned(),
        r#"{"Statement": []}"#.to_owned(),
        r#"{"Statement": "x"}"#.to_owned(),
        r#"{"Statement": [[]]}"#.to_owned(),
        r#"{"Id": 1, "Statement": []}"#.to_owned(),
        format!(r#"{{"statement": [{{{good}}}]}}"#),
        format!(r#"{{"Comment": "x", "Statement": [{{{good}}}]}}"#),
        format!(r#"{{"Version": "2012-10-17", "Version": "2012-10-17", "Statement": [{{{good}}}]}}"#),
        in_statement(r#""Principal": {"AWS": "*"}, "Action": "sts:*""#),
        in_statement(r#""Effect": "Allow", "Action": "sts:*""#),
        in_statement(r#""Effect": "Allow", "Principal": {"AWS": "*"}"#),
        in_statement(r#""Effect": "allow", "Principal": {"AWS": "*"}, "Action": "sts:*""#),
        in_statement(&format!(r#"{good}, "NotAction": "sts:TagSession""#)),
        in_statement(&format!(r#"{good}, "Resource": "*""#)),
        in_statement(&format!(r#"{good}, "NotResource": "*""#)),
        in_statement(&format!(r#"{good}, "NotPrincipal": {{"AWS": "*"}}"#)),
        in_statement(&format!(r#"{good}, "Conditions": {{}}"#)),
        in_statement(&format!(r#"{good}, "Comment": "x""#)),
        in_statement(&format!(r#"{good}, "Action": "sts:*""#)),
        in_statement(&format!(r#"{good}, "Sid": 1"#)),
        in_statement(r#""Effect": "Allow", "Principal": "arn:aws:iam::111122223333:root", "Action": "sts:*""#),
        in_statement(r#""Effect": "Allow", "Principal": {}, "Action": "sts:*""#),
        in_statement(r#""Effect": "Allow", "Principal": {"AWS": []}, "Action": "sts:*""#),
        in_statement(r#""Effect": "Allow", "Principal": {"AWS": [1]}, "Action": "sts:*""#),
        in_statement(r#""Effect": "Allow", "Principal": {"federated": "x"}, "Action": "sts:*""#),
        in_statement(r#""Effect": "Allow", "Principal": {"CanonicalUser": "x"}, "Action": "sts:*""#),
        in_statement(r#""Effect": "Allow", "Principal": {"AWS": "*"}, "Action": []"#),
        in_statement(r#""Effect": "Allow", "Principal": {"AWS": "*"}, "Action": {"sts": "*"}"#),
        format!(r#"{{"Statement": [{{"Sid": "a", {good}}}, {{"Sid": "a", {good}}}]}}"#),
        in_condition("[]"),
        in_condition("null"),
        in_condition(r#"{"StringEqual": {"a": "b"}}"#),
        in_condition(r#"{"__doc_comment": "x"}"#),
        in_condition(r#"{"StringEquals": "x"}"#),
        in_condition(r#"{"StringEquals": {"a": null}}"#),
        in_condition(r#"{"StringEquals": {"a": {"b": "c"}}}"#),
        in_condition(r#"{"StringEquals": {"a": ["b", ["c"]]}}"#),
        in_condition(r#"{"StringEquals": {"a": "b", "a": "b"}}"#),
        in_condition(r#"{"StringEquals": {"a": "b"}, "StringEquals": {"c": "d"}}"#),
        in_condition(r#"{"StringEquals": {"\u0061": "b", "a": "b"}}"#),
        in_condition(r#"{"StringEquals": {"a": "\ud800"}}"#),
        in_condition(r#"{"ForAllValues:Null": {"a": "true"}}"#),
        in_condition(r#"{"NullIfExists": {"a": "true"}}"#),
        in_condition(r#"{"ForSomeValues:StringEquals": {"a": "b"}}"#),
        in_condition(r#"{"ForAnyValue:ForAllValues:StringEquals": {"a": "b"}}"#),
        in_condition(r#"{"IfExists": {"a": "b"}}"#),
        in_condition(r#"{"StringEqualsIfExistsIfExists": {"a": "b"}}"#),
        in_condition(r#"{"NumericEquals": {"a": "one"}}"#),
        in_condition(r#"{"NumericEquals": {"a": ["1", true]}}"#),
        in_condition(r#"{"DateLessThan": {"aws:CurrentTime": "tomorrow"}}"#),
        in_condition(r#"{"IpAddress": {"aws:SourceIp": "10.0.0.0/33"}}"#),
        in_condition(r#"{"BinaryEquals": {"a": "not base64"}}"#),
        in_condition(r#"{"ArnLike": {"aws:SourceArn": "role/app\n"}}"#),
        "[".repeat(100_000),
        format!("{}1{}", r#"{"Statement":"#.repeat(100_000), "}".repeat(100_000)),
        in_condition(&format!(
            r#"{{"StringEquals": {{"a": {}1{}}}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        )),
    ] {
        let error = Policy::parse(&document).expect_err(&document).to_string();
        assert!(!error.contains(char::is_control), "{error}");
        let shown: String = document.chars().take(140).collect();
        read.push_str(&format!("{shown}\n  {error}\n"));
    }
    insta::assert_snapshot!(read);
}

#[test]
fn what_iam_stores_is_accepted() {
    let good = r#""Effect": "Allow", "Principal": {"Federated": "x"}, "Action": "sts:*""#;
    for document in [
        format!(r#"{{"Statement": {{{good}}}}}"#),
        format!(r#"{{"Version": "2008-10-17", "Id": "x", "Statement": [{{{good}}}]}}"#),
        format!(r#"{{"Statement": [{{"Sid": "", {good}}}, {{"Sid": "", {good}}}]}}"#),
        format!(r#"{{"Statement": [{{{good}, "Condition": {{}}}}]}}"#),
        format!(r#"{{"Statement": [{{{good}, "Condition": {{"StringEquals": {{"a": "b", "A": "b"}}}}}}]}}"#),
        format!(r#"{{"Statement": [{{{good}, "Condition": {{"StringEquals": {{"a": []}}}}}}]}}"#),
        format!(
            r#"{{"Statement": [{{{good}, "Condition": {{"NumericEquals": {{"a": ["*", "${{x}}"]}}, "IpAddress": {{"a": "*"}},
                "DateEquals": {{"a": "${{x}}"}}, "BinaryEquals": {{"a": "*"}}, "ArnLike": {{"a": ["*", "${{x}}"]}}, "Bool": {{"a": "perhaps"}}}}}}]}}"#
        ),
    ] {
        Policy::parse(&document).unwrap_or_else(|error| panic!("{document}: {error}"));
    }
}

#[test]
fn documents_of_the_api_are_percent_decoded_and_plus_stays() {
    let plain = allow(r#"{"StringEquals": {"I:sub": "a+b%20c"}}"#);
    let encoded: String = plain
        .bytes()
        .map(|byte| {
            if byte == b'+' {
                "+".to_owned()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect();
    for text in [
        plain.clone(),
        format!("\n {plain}"),
        encoded,
        plain.replace('%', "%25").replace('{', "%7b"),
    ] {
        let policy = Policy::parse_encoded(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let role = RoleArn::parse("arn:aws:iam::111122223333:role/app").unwrap();
        let identity = WebIdentity {
            issuer: Issuer::parse("issuer.example/id/A").unwrap(),
            subject: Subject::from_text("a+b%20c"),
            audience: Audience::new("x"),
        };
        assert_eq!(
            judge(&policy, &role, &identity, &Context::default()).verdict,
            Yes,
            "{text}"
        );
    }
    assert!(Policy::parse_encoded("%7B%FF%7D").is_err());
    assert!(Policy::parse_encoded("").is_err());
}

#[test]
fn a_policy_says_whether_it_depends_on_the_time() {
    for (condition, expected) in [
        (r#"{"DateLessThan":{"aws:CurrentTime":"2030-01-01T00:00:00Z"}}"#, true),
        (r#"{"NumericLessThan":{"AWS:epochtime":"1900000000"}}"#, true),
        (r#"{"StringEquals":{"sts:RoleSessionName":"${aws:CurrentTime}"}}"#, true),
        (r#"{"Null":{"aws:TokenIssueTime":"true"}}"#, false),
        (r#"{"StringEquals":{"sts:RoleSessionName":"aws:CurrentTime"}}"#, false),
    ] {
        let policy = Policy::parse(&allow(condition)).unwrap();
        assert_eq!(policy.mentions_time(), expected, "{condition}");
    }
}

#[test]
fn a_policy_says_whether_it_depends_on_the_session_name() {
    for (condition, mentions) in [
        (r#"{"StringLike": {"sts:rolesessionname": "*"}}"#, true),
        (r#"{"StringLike": {"I:sub": "*:${sts:RoleSessionName}"}}"#, true),
        (r#"{"StringLike": {"I:sub": "sts:RoleSessionName"}}"#, false),
    ] {
        assert_eq!(
            Policy::parse(&allow(condition)).unwrap().mentions_role_session_name(),
            mentions,
            "{condition}"
        );
    }
}
