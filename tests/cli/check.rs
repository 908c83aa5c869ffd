//! `rolegate check` of one web identity.

use std::fs;

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::schema::faults;
use super::{ISSUER, ROLE, Ran, command, correct_policy, finish, policy, rolegate, rolegate_with_input};

/// Evaluates `jobs/default` by this policy.
fn check(document: &str, more: &[&str]) -> Ran {
    rolegate_with_input(&[&identity()[..], &["--policy", "-"], more].concat(), document)
}

fn identity() -> [&'static str; 9] {
    [
        "check",
        "--role-arn",
        ROLE,
        "--issuer",
        ISSUER,
        "--namespace",
        "jobs",
        "--service-account",
        "default",
    ]
}

fn depends_on_the_network() -> String {
    correct_policy().replace(
        r#""Condition":{"#,
        r#""Condition":{"IpAddress":{"aws:SourceIp":"203.0.113.0/24"},"#,
    )
}

#[test]
fn the_exit_code_reports_the_verdict() {
    for (document, verdict, cause, code) in [
        (correct_policy(), "trusted", Value::Null, 0),
        (
            policy("StringEquals", "system:serviceaccount:prod:default"),
            "not-trusted",
            json!("wrong-subject"),
            1,
        ),
        (depends_on_the_network(), "undecided", Value::Null, 2),
        ("{}".to_owned(), "malformed", Value::Null, 2),
        ("not JSON".to_owned(), "malformed", Value::Null, 2),
        (
            correct_policy().replace("2012-10-17", "2012-10-18"),
            "malformed",
            Value::Null,
            2,
        ),
    ] {
        let ran = check(&document, &["--output", "json"]);
        let report: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(
            (&report["verdict"], &report["cause"], ran.code),
            (&json!(verdict), &cause, code),
            "{document}"
        );
        assert_eq!(faults("report", &report), [""; 0]);
    }
}

#[test]
fn what_people_read() {
    assert_snapshot!("check_trusted", check(&correct_policy(), &[]).out);
    assert_snapshot!(
        "check_not_trusted",
        check(&policy("StringEquals", "system:serviceaccount:jobs:*"), &[]).out
    );
    assert_snapshot!("check_undecided", check(&depends_on_the_network(), &[]).out);
    assert_snapshot!("check_too_wide", check(&policy("StringLike", "*"), &[]).out);
    assert_snapshot!(
        "check_malformed",
        check(r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow"}]}"#, &[]).out
    );
}

#[test]
fn a_document_as_iam_returns_it_is_decoded() {
    let encoded: String = correct_policy().bytes().map(|byte| format!("%{byte:02X}")).collect();
    assert_eq!(check(&encoded, &[]).code, 0);
}

#[test]
fn the_audience_of_the_token_counts() {
    let ran = check(
        &correct_policy(),
        &["--audience", "other.example.com", "--output", "json"],
    );
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &report["cause"]), (1, &json!("wrong-audience")));
    assert!(
        report["fix"]
            .as_str()
            .unwrap()
            .ends_with("--audience other.example.com"),
        "{report}"
    );
}

#[test]
fn yaml_and_json_are_the_same_report() {
    let document = policy("StringEquals", "system:serviceaccount:prod:default");
    let json: Value = serde_json::from_str(&check(&document, &["-o", "json"]).out).unwrap();
    let yaml: Value = serde_saphyr::from_str(&check(&document, &["-o", "yaml"]).out).unwrap();
    assert_eq!(yaml, json);
}

/// The fix names the role, so what it prints is the role's own policy with the addition.
#[test]
fn the_fix_is_a_command_that_corrects_the_policy_and_keeps_what_it_trusts() {
    let directory = tempfile::tempdir().unwrap();
    let document = policy("StringEquals", "system:serviceaccount:prod:default");
    let account = directory.path().join("111122223333");
    std::fs::create_dir(&account).unwrap();
    std::fs::write(
        account.join(format!("{}.json", ROLE.rsplit('/').next().unwrap())),
        &document,
    )
    .unwrap();
    let report: Value = serde_json::from_str(&check(&document, &["-o", "json"]).out).unwrap();
    let fix: Vec<&str> = report["fix"].as_str().unwrap().split(' ').collect();
    assert_eq!(fix[0], "rolegate");
    let source = format!("files={}", directory.path().display());
    let corrected = rolegate(&[&fix[1..], &["--role-source", &source]].concat());
    assert_eq!(check(&corrected.out, &[]).code, 0, "{}", corrected.err);
    assert!(
        corrected.out.contains("system:serviceaccount:prod:default"),
        "{}",
        corrected.out
    );
}

#[test]
fn roles_are_read_from_files() {
    let directory = tempfile::tempdir().unwrap();
    let roles = directory.path().join("111122223333");
    fs::create_dir(&roles).unwrap();
    fs::write(roles.join("job.json"), correct_policy()).unwrap();
    let source = format!("files={}", directory.path().display());
    let lookup = |role: &str| {
        let mut arguments = identity();
        arguments[2] = role;
        let ran = rolegate(&[&arguments[..], &["--role-source", &source, "-o", "json"]].concat());
        let report: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(faults("report", &report), [""; 0]);
        (ran.code, report["cause"].clone())
    };
    assert_eq!(lookup(ROLE), (0, Value::Null));
    assert_eq!(
        lookup("arn:aws:iam::111122223333:role/other"),
        (1, json!("role-not-found"))
    );
}

#[test]
fn a_directory_without_a_role_file_is_no_evidence_that_a_role_does_not_exist() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("roles");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("job"), correct_policy()).unwrap();
    let source = format!("files={}", folder.display());
    let lookup = || rolegate(&[&identity()[..], &["--role-source", &source, "-o", "json"]].concat());
    let ran = lookup();
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&report["verdict"], ran.code), (&json!("unknown"), 2), "{report}");
    let reason = report["reason"].as_str().unwrap();
    let words = "roles: has no role file (*.json); the names of role files must end in .json, unlike job";
    assert!(reason.contains(words), "{reason}");

    fs::write(folder.join("none.json"), r#"{"Roles": []}"#).unwrap();
    let ran = lookup();
    assert_eq!(ran.code, 1, "{} {}", ran.out, ran.err);
}

/// A policy that IAM would refuse is malformed in a file, and evaluated if it comes from IAM, which has stored it: our reading of IAM's
/// rules never turns a stored policy into an unknown one.
#[test]
fn a_role_that_was_not_read_names_the_source() {
    let home = tempfile::tempdir().unwrap();
    let mut command = command(&[&identity()[..], &["--role-source", "iam", "-o", "json"]].concat());
    // Without credentials.
    command.env("HOME", home.path());
    let ran = finish(command, "");
    let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{}", ran.err));
    assert_eq!(
        (&report["policyFrom"], ran.code),
        (&json!("not read from role source iam"), 2)
    );
}

#[test]
fn what_iam_would_refuse_depends_on_who_wrote_it() {
    let directory = tempfile::tempdir().unwrap();
    let document = correct_policy().replace(r#""Effect""#, r#""Sid":"of_jobs","Effect""#);
    let stored = format!(r#"{{"Role": {{"Arn": "{ROLE}", "AssumeRolePolicyDocument": {document}}}}}"#);
    let terraform = json!({"format_version": "1.0", "values": {"root_module": {"resources": [{
        "address": "aws_iam_role.job", "mode": "managed", "type": "aws_iam_role", "name": "job",
        "values": {"arn": ROLE, "name": "job", "path": "/", "assume_role_policy": document}}]}}});
    let by_source = |file: &str, content: &str| {
        let folder = directory.path().join(file);
        let path = folder.join(if file == "bare" {
            "111122223333/job.json"
        } else {
            "roles.json"
        });
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        let source = format!("files={}", folder.display());
        rolegate(&[&identity()[..], &["--role-source", &source, "-o", "json"]].concat())
    };
    let encoded = document.replace('{', "%7B").replace('"', "%22");
    for (ran, verdict, code) in [
        (check(&document, &["-o", "json"]), "malformed", 2),
        (by_source("bare", &document), "malformed", 2),
        (by_source("terraform", &terraform.to_string()), "malformed", 2),
        (check(&stored, &["-o", "json"]), "trusted", 0),
        (check(&encoded, &["-o", "json"]), "trusted", 0),
        (by_source("stored", &stored), "trusted", 0),
    ] {
        let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{}", ran.err));
        assert_eq!(
            (report["verdict"].as_str(), ran.code),
            (Some(verdict), code),
            "{report}"
        );
        let reported = format!("{} {}", report["reason"], report["lints"]);
        assert!(
            reported.contains("a Sid has only the characters 0-9, A-Z and a-z"),
            "{report}"
        );
    }
}

#[test]
fn usage_errors_name_what_is_missing() {
    for (more, words) in [
        (
            &["--policy", "/does/not/exist"][..],
            &["/does/not/exist", "no such file"][..],
        ),
        (&["--role-source", "files=/does/not/exist"], &["/does/not/exist"]),
        (
            &["--policy", "-", "--role-source", "files=x"],
            &["--policy", "--role-source"],
        ),
        (&["--policy", "-", "--batch", "-"], &["--batch"]),
    ] {
        let ran = rolegate(&[&identity()[..], more].concat());
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{more:?}");
        for word in words {
            assert!(ran.err.contains(word), "{more:?}: {word}: {}", ran.err);
        }
    }
    let ran = rolegate(&["check"]);
    assert_eq!(ran.code, 2);
    for flag in ["--role-arn", "--service-account"] {
        assert!(ran.err.contains(flag), "{}", ran.err);
    }
}

#[test]
fn flags_win_over_variables_that_other_commands_share() {
    let shared = [
        ("ROLEGATE_ISSUER", "other.example.com"),
        ("ROLEGATE_ROLE_SOURCE", "files=/does/not/exist"),
        ("ROLEGATE_BATCH", "/does/not/exist"),
        ("ROLEGATE_OUTPUT", "yaml"),
    ];
    let mut single = command(&[&identity()[..], &["--policy", "-", "-o", "json"]].concat());
    single.envs(shared);
    let ran = finish(single, &correct_policy());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    let mut batch = command(&["check", "--batch", "-"]);
    batch.envs(shared);
    let ran = finish(batch, "");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn a_policy_is_a_regular_file_or_a_stream_and_at_most_16_mib() {
    let folder = tempfile::tempdir().unwrap();
    let (fifo, sparse) = (folder.path().join("fifo"), folder.path().join("sparse"));
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    fs::File::create(&sparse).unwrap().set_len(3 << 30).unwrap();
    for (file, expected) in [
        (fifo.to_str().unwrap(), "it is a FIFO, not a regular file"),
        (sparse.to_str().unwrap(), "it is longer than 16 MiB"),
        ("/dev/zero", "it is a device, not a regular file"),
    ] {
        for ran in [
            rolegate(&[&identity()[..], &["--policy", file]].concat()),
            rolegate(&[
                "trust-policy",
                "--merge",
                file,
                "--role-arn",
                ROLE,
                "--issuer",
                ISSUER,
                "--namespace",
                "jobs",
                "--service-account",
                "default",
            ]),
        ] {
            assert_eq!((ran.code, &*ran.out), (2, ""), "{file}");
            assert!(ran.err.contains(&format!("{file}: {expected}")), "{}", ran.err);
        }
    }
    // Standard input by its other names, which is how a shell passes `<(command)`.
    for file in ["/dev/stdin", "/dev/fd/0", "-"] {
        let ran = rolegate_with_input(&[&identity()[..], &["--policy", file]].concat(), &correct_policy());
        assert_eq!(ran.code, 0, "{file}: {}", ran.err);
    }
    let long = " ".repeat(16 * 1024 * 1024 + 1);
    let ran = check(&long, &[]);
    assert!(
        ran.code == 2 && ran.err.contains("standard input: it is longer than 16 MiB"),
        "{}",
        ran.err
    );
}

/// The roles of an association, by files with these policies.
fn check_association(association: &Value, primary: &str, target: &str, format: &str) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (primary, target) = (file("primary.json", primary), file("target.json", target));
    let flags = [
        "check",
        "--association",
        "-",
        "--policy",
        &primary,
        "--target-policy",
        &target,
        "-o",
        format,
    ];
    let mut ran = rolegate_with_input(&flags, &association.to_string());
    ran.out = ran.out.replace(folder.path().to_str().unwrap(), "FOLDER");
    ran
}

fn association(target: &Value) -> Value {
    json!({"association": {
        "clusterName": "prod",
        "namespace": "shop",
        "serviceAccount": "api",
        "roleArn": ROLE,
        "targetRoleArn": target,
        "associationArn": "arn:aws:eks:us-west-2:111122223333:podidentityassociation/prod/a-abcdefghijklmnop1",
        "associationId": "a-abcdefghijklmnop1",
        "disableSessionTags": false,
        "createdAt": "2026-01-01T00:00:00Z",
    }})
}

const POD_IDENTITY: &str = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow",
    "Principal": {"Service": "pods.eks.amazonaws.com"}, "Action": ["sts:AssumeRole", "sts:TagSession"]}}"#;
const BY_ACCOUNT: &str = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow",
    "Principal": {"AWS": "arn:aws:iam::111122223333:root"}, "Action": ["sts:AssumeRole", "sts:TagSession"]}}"#;

#[test]
fn the_worse_role_of_an_association_decides() {
    let target = json!("arn:aws:iam::444455556666:role/data");
    let without_tagging = BY_ACCOUNT.replace(r#", "sts:TagSession""#, "");
    for (target, primary, second, verdict, cause, code) in [
        (&Value::Null, POD_IDENTITY, "{}", "trusted", Value::Null, 0),
        (&target, POD_IDENTITY, BY_ACCOUNT, "trusted", Value::Null, 0),
        (
            &target,
            POD_IDENTITY,
            &*without_tagging,
            "not-trusted",
            json!("tag-session-not-allowed"),
            1,
        ),
        (
            &target,
            BY_ACCOUNT,
            BY_ACCOUNT,
            "not-trusted",
            json!("wrong-principal-type"),
            1,
        ),
        (&target, POD_IDENTITY, "{}", "malformed", Value::Null, 2),
    ] {
        let ran = check_association(&association(target), primary, second, "json");
        let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}", ran.err));
        assert_eq!(faults("association", &report), [""; 0]);
        assert_eq!(
            (&report["verdict"], &report["cause"], ran.code),
            (&json!(verdict), &cause, code),
            "{report}"
        );
        assert_eq!(
            report["hops"].as_array().unwrap().len(),
            if target.is_null() { 1 } else { 2 }
        );
    }
    let text = check_association(&association(&target), POD_IDENTITY, &without_tagging, "text");
    assert_snapshot!("check_association", text.out);
}

#[test]
fn an_association_that_cannot_be_read_names_the_field() {
    for (association, named) in [
        (json!({"associations": []}), "a list of associations has no roles"),
        (
            json!({"association": {"namespace": "shop", "serviceAccount": "api"}}),
            "association.roleArn",
        ),
        (json!([]), "expected an object"),
        (json!({"association": {"roleArn": 7}}), "association.roleArn"),
    ] {
        let ran = check_association(&association, POD_IDENTITY, "{}", "json");
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{association}");
        assert!(
            ran.err.contains(named) && ran.err.contains("standard input"),
            "{}",
            ran.err
        );
    }
    for (flags, named) in [
        (
            &["--association", "-", "--role-arn", ROLE][..],
            "--association cannot be used with --role-arn",
        ),
        (&["--target-policy", "-"], "required"),
    ] {
        let ran = rolegate(&[&["check"], flags].concat());
        assert_eq!(ran.code, 2, "{flags:?}");
        assert!(ran.err.contains(named), "{flags:?}: {}", ran.err);
    }
}
