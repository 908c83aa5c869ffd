//! `rolegate trust-policy`.

use insta::assert_snapshot;
use serde_json::Value;

use super::{ISSUER, ROLE, Ran, correct_policy, policy, rolegate, rolegate_with_input};

fn arguments<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let fixed = ["trust-policy", "--account", "111122223333", "--issuer", ISSUER];
    [
        &fixed[..],
        &["--namespace", "jobs", "--service-account", "default"],
        more,
    ]
    .concat()
}

fn merge(document: &str) -> Ran {
    rolegate_with_input(&arguments(&["--merge", "-"]), document)
}

/// Whether `jobs/default` is trusted by a policy.
fn check(document: &str) -> i32 {
    let identity = [
        "--role-arn",
        ROLE,
        "--issuer",
        ISSUER,
        "--namespace",
        "jobs",
        "--service-account",
        "default",
    ];
    rolegate_with_input(&[&["check", "--policy", "-"][..], &identity].concat(), document).code
}

#[test]
fn the_policy_goes_to_standard_output_and_the_size_to_standard_error() {
    let ran = rolegate(&arguments(&[]));
    assert_eq!(ran.code, 0);
    assert_snapshot!("trust_policy", ran.out);
    assert_snapshot!("trust_policy_size", ran.err);
    assert_eq!(check(&ran.out), 0);
}

#[test]
fn partition_and_audience_are_written() {
    let ran = rolegate(&arguments(&[
        "--partition",
        "aws-cn",
        "--audience",
        "sts.amazonaws.com.cn",
    ]));
    let policy: Value = serde_json::from_str(&ran.out).unwrap();
    let statement = &policy["Statement"][0];
    let provider = format!("arn:aws-cn:iam::111122223333:oidc-provider/{ISSUER}");
    assert_eq!(statement["Principal"]["Federated"], provider);
    assert_eq!(
        statement["Condition"]["StringEquals"][format!("{ISSUER}:aud")],
        "sts.amazonaws.com.cn"
    );
}

#[test]
fn merging_keeps_the_document_and_is_idempotent() {
    let document = policy("StringLike", "system:serviceaccount:prod:*");
    let once = merge(&document);
    assert_eq!((once.code, check(&document), check(&once.out)), (0, 1, 0));
    let (before, after): (Value, Value) = (
        serde_json::from_str(&document).unwrap(),
        serde_json::from_str(&once.out).unwrap(),
    );
    assert_eq!(after["Statement"][0], before["Statement"]);
    assert!(once.err.contains("added a statement"), "{}", once.err);
    let twice = merge(&once.out);
    assert_eq!((twice.code, &twice.out), (0, &once.out));
    assert!(twice.err.contains("no change"), "{}", twice.err);
}

#[test]
fn the_subject_is_added_to_a_statement_of_the_same_form() {
    let ran = merge(&policy("StringEquals", "system:serviceaccount:prod:default"));
    assert!(ran.err.contains("added the subject to statement 1"), "{}", ran.err);
    assert_eq!((ran.code, check(&ran.out)), (0, 0));
}

/// Except for white space, the lines of the document are kept and only the addition is new.
#[test]
fn the_difference_is_shown_on_standard_error() {
    let ran = merge(&policy("StringEquals", "system:serviceaccount:prod:default"));
    assert_snapshot!("trust_policy_difference", ran.err);
}

#[test]
fn the_output_of_get_role_is_accepted() {
    let document = policy("StringEquals", "system:serviceaccount:prod:default");
    let encoded = document.replace('%', "%25").replace('{', "%7B").replace('"', "%22");
    let plain = merge(&document);
    for wrapped in [
        format!(r#"{{"Role": {{"RoleName": "job", "AssumeRolePolicyDocument": {document}}}}}"#),
        format!(r#"{{"AssumeRolePolicyDocument": {document}}}"#),
        format!(r#"{{"Role": {{"AssumeRolePolicyDocument": "{encoded}"}}}}"#),
        encoded,
    ] {
        let ran = merge(&wrapped);
        assert_eq!((ran.code, &ran.out), (0, &plain.out), "{wrapped}: {}", ran.err);
    }
}

#[test]
fn a_role_is_read_through_the_sources_and_extended() {
    let directory = tempfile::tempdir().unwrap();
    let document = policy("StringEquals", "system:serviceaccount:prod:default");
    let account = directory.path().join("111122223333");
    std::fs::create_dir(&account).unwrap();
    std::fs::write(account.join("job.json"), &document).unwrap();
    let source = format!("files={}", directory.path().display());
    let of = |role: &str, more: &[&str]| {
        let fixed = [
            "trust-policy",
            "--role-arn",
            role,
            "--role-source",
            &source,
            "--issuer",
            ISSUER,
        ];
        rolegate(&[&fixed[..], &["-n", "jobs", "--service-account", "default"], more].concat())
    };
    let ran = of("arn:aws:iam::111122223333:role/job", &[]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, merge(&document).out.as_str()),
        "{}",
        ran.err
    );
    let absent = of("arn:aws:iam::111122223333:role/other", &[]);
    assert_eq!(absent.code, 2);
    assert!(absent.err.contains("role/other does not exist"), "{}", absent.err);
    std::fs::rename(account.join("job.json"), account.join("job")).unwrap();
    let unknown = of("arn:aws:iam::111122223333:role/job", &[]);
    assert_eq!(unknown.code, 2);
    for words in ["role/job could not be read", "has no role file (*.json); "] {
        assert!(unknown.err.contains(words), "{}", unknown.err);
    }
    std::fs::rename(account.join("job"), account.join("job.json")).unwrap();
    let applied = of("arn:aws:iam::111122223333:role/job", &["--apply", "--yes"]);
    assert_eq!((applied.code, applied.out.as_str()), (2, ""));
    assert!(applied.err.contains("--apply writes to IAM"), "{}", applied.err);
}

#[test]
fn limits_of_the_edit_are_reported() {
    let vpc = policy("StringEquals", "system:serviceaccount:prod:default").replace(
        r#""StringEquals":{"#,
        r#""StringEquals":{"aws:SourceVpc":"vpc-0example","#,
    );
    let ran = merge(&vpc);
    assert_eq!(ran.code, 0);
    assert!(ran.err.contains(r#"no condition on "aws:SourceVpc""#), "{}", ran.err);
    let sid = policy("StringEquals", "system:serviceaccount:prod:default")
        .replace(r#""Effect""#, r#""Sid":"trusted_accounts","Effect""#);
    let ran = merge(&sid);
    assert_eq!(ran.code, 1);
    assert!(
        ran.err
            .contains(r#"IAM would refuse this policy: statement 1, Sid: "trusted_accounts""#),
        "{}",
        ran.err
    );
}

#[test]
fn the_partition_is_that_of_the_issuers_region() {
    for (region, domain, partition) in [
        ("cn-north-1", "amazonaws.com.cn", "aws-cn"),
        ("us-gov-west-1", "amazonaws.com", "aws-us-gov"),
        ("eusc-de-east-1", "amazonaws.eu", "aws-eusc"),
        ("us-west-2", "amazonaws.com", "aws"),
    ] {
        let issuer = format!("oidc.eks.{region}.{domain}/id/EXAMPLED539D4633E53DE1B71EXAMPLE");
        let ran = rolegate(&[
            "trust-policy",
            "--account",
            "111122223333",
            "--issuer",
            &issuer,
            "-n",
            "jobs",
            "--service-account",
            "default",
        ]);
        assert!(
            ran.out
                .contains(&format!("\"arn:{partition}:iam::111122223333:oidc-provider/{issuer}\"")),
            "{}",
            ran.out
        );
        assert!(!ran.err.contains("warning"), "{}", ran.err);
    }
    let ran = rolegate(&arguments(&["--partition", "aws-cn"]));
    assert!(
        ran.err
            .contains("warning: the issuer's Region is in partition aws, the role in aws-cn"),
        "{}",
        ran.err
    );
}

#[test]
fn a_partition_that_aws_does_not_have_is_refused_with_those_that_it_has() {
    for typed in ["aws-foo", "foo", "AWS"] {
        let ran = rolegate(&arguments(&["--partition", typed]));
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{typed}");
        for words in ["--partition", typed, "aws-cn", "aws-us-gov", "aws-iso-f"] {
            assert!(ran.err.contains(words), "{typed}: {words}: {}", ran.err);
        }
    }
}

#[test]
fn an_issuer_that_sts_cannot_reach_is_a_warning() {
    let ran = rolegate(&[
        "trust-policy",
        "--account",
        "111122223333",
        "--issuer",
        "https://kubernetes.default.svc.cluster.local",
        "-n",
        "jobs",
        "--service-account",
        "default",
    ]);
    assert_eq!(ran.code, 0);
    assert!(ran.err.contains("STS cannot fetch its keys"), "{}", ran.err);
}

#[test]
fn the_terraform_format_is_a_data_source() {
    let ran = rolegate_with_input(
        &arguments(&["--merge", "-", "-o", "terraform"]),
        &policy("StringLike", "system:serviceaccount:${aws:username}:*"),
    );
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_snapshot!("trust_policy_terraform", ran.out);
}

#[test]
fn a_deny_that_might_still_refuse_is_reported_as_such() {
    let deny = r#"{"Effect":"Deny","Principal":{"AWS":"*"},"Action":"sts:*","Condition":{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"}}}"#;
    let ran = merge(&format!(r#"{{"Version":"2012-10-17","Statement":[{deny}]}}"#));
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("the policy might still not trust it: "), "{}", ran.err);
}

#[test]
fn a_deny_that_still_refuses_is_reported() {
    let deny = r#"{"Effect":"Deny","Principal":{"Federated":"PROVIDER"},"Action":"sts:*"}"#
        .replace("PROVIDER", &format!("arn:aws:iam::111122223333:oidc-provider/{ISSUER}"));
    let ran = merge(&format!(r#"{{"Version":"2012-10-17","Statement":[{deny}]}}"#));
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("still does not trust"), "{}", ran.err);
    assert!(
        serde_json::from_str::<Value>(&ran.out).unwrap()["Statement"]
            .as_array()
            .unwrap()
            .len()
            == 2
    );
}

#[test]
fn a_malformed_document_is_an_error_that_names_the_place() {
    for (document, place) in [
        (correct_policy().replace("StringEquals", "StringEqual"), "StringEqual"),
        ("{".to_owned(), "standard input"),
        (correct_policy().replace(r#""Effect":"Allow","#, ""), "Effect"),
    ] {
        let ran = merge(&document);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{document}");
        assert!(ran.err.contains(place), "{place}: {}", ran.err);
    }
}

#[test]
fn the_size_is_counted_as_iam_counts_it() {
    let subjects: Vec<String> = (0..30)
        .map(|n| format!(r#""system:serviceaccount:namespace-{n:02}:service-account""#))
        .collect();
    let document = |count: usize| {
        correct_policy().replace(
            r#""system:serviceaccount:jobs:default""#,
            &format!("[{}]", subjects[..count].join(",")),
        )
    };
    assert!(
        merge(&document(5))
            .err
            .contains("of IAM's 2048 characters (8192 at most")
    );
    let large = merge(&document(30));
    assert!(
        large.err.contains("requires a higher quota") && large.code == 0,
        "{}",
        large.err
    );
    let larger = document(30).replace(
        r#""Statement":{"#,
        &format!(r#""Id":"{}","Statement":{{"#, "x".repeat(8192)),
    );
    let larger = merge(&larger);
    assert!(
        larger.err.contains("more than IAM accepts") && larger.code == 1,
        "{}",
        larger.err
    );
}

const POD_IDENTITY: [&str; 8] = [
    "trust-policy",
    "--pod-identity",
    "--cluster-arn",
    "arn:aws:eks:us-west-2:111122223333:cluster/prod",
    "-n",
    "shop",
    "--service-account",
    "api",
];

#[test]
fn pod_identity_is_let_in_by_a_new_policy() {
    let of = |flags: &[&str]| {
        let ran = rolegate(&[&POD_IDENTITY[..], flags].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.out
    };
    let primary = ["--target", "--primary-role-arn", "arn:aws:iam::111122223333:role/api"];
    let account = ["--account", "444455556666"];
    let external_id = [
        "--disable-session-tags",
        "--external-id",
        "us-west-2/111122223333/prod/shop/api",
    ];
    let shown = [
        of(&["--account", "111122223333"]),
        of(&["--account", "111122223333", "--disable-session-tags"]),
        of(&[&account[..], &primary].concat()),
        of(&[&account[..], &primary, &external_id].concat()),
        of(&["--account", "111122223333", "-o", "terraform"]),
    ];
    assert_snapshot!("trust_policy_pod_identity", shown.join("\n"));
}

#[test]
fn pod_identity_is_added_to_a_document() {
    let add = |document: &str, account: &str| {
        let mut flags = POD_IDENTITY;
        flags[7] = account;
        rolegate_with_input(
            &[&flags[..], &["--account", "111122223333", "--merge", "-"]].concat(),
            document,
        )
    };
    let first = add(&correct_policy(), "api");
    assert_eq!(first.code, 0, "{}", first.err);
    assert!(first.err.contains("added a statement"), "{}", first.err);
    assert!(first.out.contains("oidc-provider/"), "{}", first.out);
    let second = add(&first.out, "web");
    assert!(
        second.err.contains("added the subject to statement 2"),
        "{}",
        second.err
    );
    let again = add(&second.out, "api");
    assert_eq!((again.code, &again.out), (0, &second.out));
    assert!(again.err.contains("no change"), "{}", again.err);
}

#[test]
fn flags_of_pod_identity_need_each_other() {
    for (flags, named) in [
        (&["--pod-identity", "--account", "111122223333"][..], "--cluster-arn"),
        (
            &["--account", "111122223333", "--issuer", ISSUER, "--yes"],
            "--yes requires --apply",
        ),
        (&["--cluster-arn", "prod"], "--cluster-arn"),
        (
            &["--account", "111122223333", "--issuer", ISSUER, "--external-id", "x"],
            "--external-id requires --pod-identity",
        ),
        (
            &[
                "--pod-identity",
                "--account",
                "111122223333",
                "--cluster-arn",
                POD_IDENTITY[3],
                "--issuer",
                ISSUER,
            ],
            "--pod-identity cannot be used with --issuer",
        ),
        (
            &[
                "--pod-identity",
                "--target",
                "--account",
                "111122223333",
                "--cluster-arn",
                POD_IDENTITY[3],
            ],
            "--primary-role-arn",
        ),
        (&["--account", "111122223333"], "--issuer"),
    ] {
        let ran = rolegate(&[&["trust-policy", "-n", "shop", "--service-account", "api"], flags].concat());
        assert_eq!(ran.code, 2, "{flags:?}");
        assert!(ran.err.contains(named), "{flags:?}: {}", ran.err);
    }
}
