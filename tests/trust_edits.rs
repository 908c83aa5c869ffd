//! The proposed corrections of a trust policy are safe to apply: the document is valid and trusts the web identity, and every identity that
//! was trusted before is still trusted. This is tested for every trust case, and for random policies with common mistakes.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use rolegate::trust::{
    Audience, Context, Edit, Grant, Issuer, Policy, RoleArn, Subject, Verdict, WebIdentity, judge, to_terraform,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

const HOST: &str = "oidc.eks.us-west-2.amazonaws.com";
const OWN: &str = "oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE";
const OLD: &str = "oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE0OLD0CLUSTER0000000EXAMPLE";
const GITHUB: &str = "token.actions.githubusercontent.com";
const WORKER: &str = "system:serviceaccount:jobs:worker";
const STS: &str = "sts.amazonaws.com";

fn role() -> RoleArn {
    RoleArn::parse("arn:aws:iam::111122223333:role/app").unwrap()
}

fn identity(issuer: &str, subject: &str, audience: &str) -> WebIdentity {
    WebIdentity {
        issuer: Issuer::parse(issuer).unwrap(),
        subject: Subject::from_text(subject),
        audience: Audience::new(audience),
    }
}

/// Everybody whom a policy of these tests might let in.
fn principals(more: &WebIdentity) -> Vec<WebIdentity> {
    let mut all = vec![more.clone()];
    for issuer in [OWN, OLD, GITHUB, more.issuer.as_str()] {
        for subject in [
            WORKER,
            "system:serviceaccount:jobs:other",
            "system:serviceaccount:prod:worker",
            "system:serviceaccount:prod:api",
            "system:serviceaccount:default:default",
            "repo:example/app:ref:refs/heads/main",
        ] {
            for audience in [STS, "openshift", more.audience.as_str()] {
                all.push(identity(issuer, subject, audience));
            }
        }
    }
    all
}

fn verdict(document: &str, role: &RoleArn, identity: &WebIdentity) -> Verdict {
    let policy = Policy::parse(document).unwrap_or_else(|error| panic!("{document}: {error}"));
    judge(&policy, role, identity, &Context::default()).verdict
}

/// Everybody who is trusted by `before` is trusted by `after`.
fn keeps_existing_trust(before: &str, after: &str, role: &RoleArn, identity: &WebIdentity) {
    let [was, is] = [before, after].map(|document| Policy::parse(document).unwrap());
    let trusts =
        |policy: &Policy, one: &WebIdentity| judge(policy, role, one, &Context::default()).verdict == Verdict::Trusted;
    for one in principals(identity) {
        if trusts(&was, &one) {
            assert!(
                trusts(&is, &one),
                "{} {} {} lost its trust:\n{before}\n{after}",
                one.issuer,
                one.subject,
                one.audience
            );
        }
    }
}

/// Statements that let in services or accounts are untouched.
fn keeps_other_principals(before: &str, after: &str) {
    let statements = |document: &str| {
        let document: Value = serde_json::from_str(document).unwrap();
        match document["Statement"].clone() {
            Value::Array(list) => list,
            only => vec![only],
        }
    };
    let after = statements(after);
    for statement in statements(before) {
        let principal = &statement["Principal"];
        let is_provider = |one: &Value| one.as_str().is_some_and(|one| one.contains("oidc"));
        let is_misplaced = ["AWS", "Service"].iter().any(|element| match &principal[element] {
            Value::Array(list) => list.len() == 1 && is_provider(&list[0]),
            only => is_provider(only),
        });
        if !is_misplaced && (principal.get("Service").is_some() || principal.get("AWS").is_some()) {
            assert!(after.contains(&statement), "{statement} was changed");
        }
    }
}

/// The two properties, for what an explanation offers and for what `trust-policy` does. Whether a correction was offered.
fn holds(document: &str, role: &RoleArn, identity: &WebIdentity) -> Vec<Edit> {
    let policy = Policy::parse(document).unwrap();
    let judgment = judge(&policy, role, identity, &Context::default());
    let grant = Grant::for_role(role, identity.clone()).unwrap();
    let merged = grant.merge(document).unwrap();
    let trusted_or_reported = verdict(&merged.json, role, identity) == Verdict::Trusted || merged.obstacle.is_some();
    assert!(trusted_or_reported, "{}", merged.json);
    keeps_existing_trust(document, &merged.json, role, identity);
    keeps_other_principals(document, &merged.json);
    let again = grant.merge(&merged.json).unwrap();
    assert_eq!(
        (again.json.as_str(), &again.edit),
        (merged.json.as_str(), &None),
        "{document}"
    );
    let edits = judgment
        .explanation
        .map(|explanation| explanation.edits)
        .unwrap_or_default();
    if edits.is_empty() {
        return edits;
    }
    let corrected = grant
        .apply(document, &edits)
        .unwrap_or_else(|error| panic!("{document}: {edits:?}: {error}"));
    assert_eq!(
        verdict(&corrected, role, identity),
        Verdict::Trusted,
        "{edits:?}\n{document}\n{corrected}"
    );
    if Policy::parse_written(document).is_ok() {
        Policy::parse_written(&corrected).unwrap_or_else(|error| panic!("{corrected}: {error}"));
    }
    keeps_existing_trust(document, &corrected, role, identity);
    keeps_other_principals(document, &corrected);
    edits
}

#[derive(Deserialize)]
struct Case {
    role: String,
    issuer: String,
    subject: String,
    audience: String,
    verdict: String,
    policy: Box<RawValue>,
}

#[test]
fn the_correction_of_every_case_is_safe_to_follow() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trust-cases");
    let (mut refused, mut corrected) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let case: Case = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let Ok(_) = Policy::parse(case.policy.get()) else {
            continue;
        };
        let role = RoleArn::parse(&case.role).unwrap();
        let identity = identity(&case.issuer, &case.subject, &case.audience);
        let edits = holds(case.policy.get(), &role, &identity);
        if case.verdict == "not-trusted" {
            refused += 1;
            corrected += usize::from(!edits.is_empty());
        }
    }
    // Only a Deny leaves nothing that would surely help.
    assert!(refused > 30 && corrected + 6 >= refused, "{corrected} of {refused}");
}

fn principal() -> impl Strategy<Value = Value> {
    let provider = |issuer: &str| json!({"Federated": format!("arn:aws:iam::111122223333:oidc-provider/{issuer}")});
    prop_oneof![
        6 => Just(provider(OWN)),
        1 => Just(provider(OLD)),
        1 => Just(provider(GITHUB)),
        1 => Just(provider(&format!("https://{OWN}"))),
        1 => Just(provider(&OWN.replace("oidc.eks.us-west-2", "oidc.us-west-2.eks"))),
        1 => Just(provider(&format!("{HOST}/*"))),
        1 => Just(json!({"Federated": OWN})),
        1 => Just(json!({"Federated": format!("arn:aws:iam::<ACCOUNT_ID>:oidc-provider/{OWN}")})),
        1 => Just(json!({"Federated": format!("arn:aws:iam::444455556666:oidc-provider/{OWN}")})),
        1 => Just(json!({"Federated": [format!("arn:aws:iam::111122223333:oidc-provider/{OWN}"), format!("arn:aws:iam::111122223333:oidc-provider/{OLD}")]})),
        1 => Just(json!({"Federated": [format!("arn:aws:iam::111122223333:oidc-provider/{OLD}"), format!("arn:aws:iam::111122223333:oidc-provider/{GITHUB}")]})),
        1 => Just(json!({"Federated": format!("arn:aws:iam::111122223333:oidc-provider/{OWN}"), "Service": "ec2.amazonaws.com"})),
        1 => select(vec![
            format!("arn:aws:iam::111122223333:oidc-provider/{OWN} "),
            format!("arn:aws:iam::111122223333:oidc-provider/{OWN}:sub"),
            format!("arn:aws:iam::111122223333:oidc-provider//{OWN}"),
            format!("arn:aws:iam::111122223333:oidc-provider/http://{OLD}"),
            format!("arn:aws:iam::111122223333:oidc-provider/oidc-provider/{OWN}"),
            format!("arn:aws:iam:us-west-2:111122223333:oidc-provider/{OWN}"),
            format!("arn:aws:iam::ACCOUNT_ID:oidc-provider/{OLD}"),
            format!("{HOST}/*"),
            "*".to_owned(),
            OLD.to_owned(),
        ])
        .prop_map(|federated| json!({"Federated": federated})),
        1 => Just(json!({"Service": OWN})),
        1 => Just(json!({"AWS": [format!("arn:aws:iam::111122223333:oidc-provider/{OWN}"), "444455556666"]})),
        1 => Just(json!({"AWS": [format!("arn:aws:iam::<ACCOUNT>:oidc-provider/{OWN}")]})),
        1 => Just(json!({"Service": "pods.eks.amazonaws.com"})),
        1 => Just(json!({"AWS": "arn:aws:iam::111122223333:root"})),
        1 => Just(json!({"AWS": format!("arn:aws:iam::111122223333:oidc-provider/{OWN}")})),
    ]
}

fn key() -> impl Strategy<Value = String> {
    select(vec![
        format!("{OWN}:sub"),
        format!("{OWN}:sub"),
        format!("{OWN}:sub"),
        format!("{OWN}:aud"),
        format!("{OWN}:aud"),
        format!("{OWN}:SUB"),
        format!("{OWN}:subject"),
        OWN.to_owned(),
        format!("{OLD}:sub"),
        format!("{OLD}:aud"),
        format!("{GITHUB}:sub"),
        format!("https://{OWN}:sub"),
        format!("arn:aws:iam::111122223333:oidc-provider/{OWN}:sub"),
        format!("arn:aws:iam::111122223333:oidc-provider/{OWN}:aud"),
        "${OIDC_PROVIDER}:sub".to_owned(),
        "<OIDC_PROVIDER>:aud".to_owned(),
        "EXAMPLED539D4633E53DE1B71EXAMPLE:sub".to_owned(),
        "sub".to_owned(),
        format!("https://{OWN}"),
        format!("{OWN}/sub"),
        format!("{OWN}:sub "),
        format!("\"{OWN}:aud\""),
        "aws:SourceVpc".to_owned(),
        "aws:PrincipalOrgID".to_owned(),
    ])
}

fn value() -> impl Strategy<Value = String> {
    select(
        [
            WORKER,
            WORKER,
            "system:serviceaccount:jobs:*",
            "system:serviceaccount:*",
            "system:serviceaccount:prod:worker",
            "system:serviceaccount:jobs:other",
            "system:serviceaccount:prod:*",
            "jobs:worker",
            "jobs/worker",
            "system:serviceaccount:jobs/worker",
            "system:serviceaccount:worker",
            "system:serviceaccount:jobs:worker ",
            "\"system:serviceaccount:jobs:worker\"",
            "system:serviceaccount:jobs:worker,system:serviceaccount:jobs:other",
            "system:serviceaccount:${NAMESPACE}:worker",
            "System:serviceaccount:jobs:Worker",
            "repo:example/app:*",
            STS,
            STS,
            "openshift",
            "sts.amazonaws.com ",
            "${AUDIENCE}",
            "system:serviceaccount:${NAMESPACE}:other",
            "system:serviceaccount:NAMESPACE:worker",
            "system:serviceaccount:$NS:*",
            "system:serviceaccount:jobs/other",
            "system:serviceaccount:jobs",
            "system:serviceaccount:jobs: worker",
            "${aws:username}",
            "worker",
            "*",
        ]
        .map(str::to_owned)
        .to_vec(),
    )
}

fn condition() -> impl Strategy<Value = Value> {
    let operator = select(vec![
        "StringEquals",
        "StringEquals",
        "StringEquals",
        "StringLike",
        "StringEqualsIgnoreCase",
        "StringNotEquals",
        "StringEqualsIfExists",
        "ForAnyValue:StringLike",
        "ForAllValues:StringEquals",
    ]);
    vec((operator, key(), vec(value(), 1..3)), 0..4).prop_map(|entries| {
        let mut condition = json!({});
        for (operator, key, mut values) in entries {
            condition[operator][key] = if values.len() == 1 {
                values.remove(0).into()
            } else {
                values.into()
            };
        }
        condition
    })
}

fn statement() -> impl Strategy<Value = Value> {
    let action = prop_oneof![
        8 => Just(json!("sts:AssumeRoleWithWebIdentity")),
        1 => Just(json!(["sts:AssumeRoleWithWebIdentity", "sts:TagSession"])),
        1 => Just(json!("sts:AssumeRole")),
        1 => Just(json!("sts:AssumeRoleWithWebIdendity")),
        1 => Just(json!("sts:*")),
    ];
    let effect = prop_oneof![8 => Just("Allow"), 1 => Just("Deny")];
    (effect, principal(), action, condition()).prop_map(|(effect, principal, action, condition)| {
        json!({"Effect": effect, "Principal": principal, "Action": action, "Condition": condition})
    })
}

fn policy() -> impl Strategy<Value = Value> {
    let version = select(vec!["2012-10-17", "2012-10-17", "2008-10-17"]);
    let statements = prop_oneof![
        1 => statement(),
        4 => vec(statement(), 1..4).prop_map(Value::from),
    ];
    (version, statements).prop_map(|(version, statements)| json!({"Version": version, "Statement": statements}))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_correction_is_safe_to_follow_whatever_the_policy(document in policy()) {
        holds(&document.to_string(), &role(), &identity(OWN, WORKER, STS));
    }

    /// The diff against the original document shows only the edit.
    #[test]
    fn an_edit_that_does_nothing_keeps_every_value(document in policy()) {
        let grant = Grant::for_role(&role(), identity(OWN, WORKER, STS)).unwrap();
        let printed = grant.apply(&document.to_string(), &[]).unwrap();
        prop_assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), document.clone());
        let terraform = to_terraform(&document.to_string()).unwrap();
        let is_data_source = terraform.starts_with("data \"aws_iam_policy_document\" \"trust\" {\n");
        prop_assert!(is_data_source, "{}", terraform);
    }
}

/// Reported by users: following the hint locked out other users of the role, or gave a document with a key twice.
#[test]
fn what_others_use_is_added_to_and_never_replaced() {
    let statement = |issuer: &str, condition: &str| {
        format!(
            r#"{{"Effect": "Allow", "Principal": {{"Federated": "arn:aws:iam::111122223333:oidc-provider/{issuer}"}}, "Action": "sts:AssumeRoleWithWebIdentity", "Condition": {condition}}}"#
        )
    };
    let document = |statements: &str| format!(r#"{{"Version": "2012-10-17", "Statement": [{statements}]}}"#);
    let github = statement(
        GITHUB,
        &format!(
            r#"{{"StringEquals": {{"{GITHUB}:sub": "repo:example/app:ref:refs/heads/main", "{GITHUB}:aud": "sts.amazonaws.com"}}}}"#
        ),
    );
    let old = statement(
        OLD,
        &format!(r#"{{"StringEquals": {{"{OLD}:sub": "{WORKER}", "{OLD}:aud": "sts.amazonaws.com"}}}}"#),
    );
    let both_keys = format!(r#"{{"StringEquals": {{"{OLD}:sub": "{WORKER}", "{OWN}:sub": "{WORKER}"}}}}"#);
    let both = statement(OWN, &both_keys).replace(
        r#"{"Federated": "#,
        &format!(r#"{{"Federated": ["arn:aws:iam::111122223333:oidc-provider/{OLD}", "#),
    );
    let both = both.replacen("\"}, \"Action\"", "\"]}, \"Action\"", 1);
    let swapped = statement(
        OWN,
        &format!(r#"{{"StringEquals": {{"{OWN}:sub": "sts.amazonaws.com", "{OWN}:aud": "{WORKER}"}}}}"#),
    );
    let holds = |statements: &str| holds(&document(statements), &role(), &identity(OWN, WORKER, STS));
    assert_eq!(holds(&format!("{github}, {old}")), [Edit::AddStatement]);
    assert_eq!(holds(&github), [Edit::AddStatement]);
    assert_eq!(holds(&both), [Edit::AddStatement]);
    let swapped = holds(&swapped);
    assert!(
        swapped.iter().all(|edit| matches!(edit, Edit::ReplaceValue { .. })) && swapped.len() == 2,
        "{swapped:?}"
    );
}
