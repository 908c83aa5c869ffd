//! `rolegate trust-policy --apply`: what it writes, and when it refuses to write.

use std::io::Write as _;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::moto::text_of;
use super::program::ISSUER;
use super::proxy::Fault;
use super::{Aws, OWN, finish_check, trusting};

impl Aws {
    fn trust_policy(&self, role: &str, more: &[&str]) -> std::process::Command {
        let mut command = self.rolegate();
        command
            .args(["trust-policy", "--role-arn", role, "--issuer", ISSUER])
            .args(["-n", "jobs", "--service-account", "loader"])
            .args(more);
        command
    }

    fn apply(&self, role: &str, more: &[&str]) -> (i32, String, String) {
        read(
            self.trust_policy(role, &[&["--apply"], more].concat())
                .output()
                .unwrap(),
        )
    }

    /// The trust policy that IAM has.
    fn stored(&self, name: &str) -> Value {
        let answer = self.moto.call("iam", Some(&self.own), "GetRole", &[("RoleName", name)]);
        let document = text_of(&answer, "AssumeRolePolicyDocument");
        let document = percent_encoding::percent_decode_str(&document)
            .decode_utf8()
            .unwrap()
            .into_owned();
        serde_json::from_str(&document).unwrap()
    }
}

fn read(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_role_trusts_the_service_account_and_keeps_its_other_statements() {
    let Some(aws) = Aws::start("trust-policy --apply") else {
        return;
    };
    let role = aws.create_role("/tools/", "loader", "other");
    assert_eq!(aws.check(&role, &[]).0, 1);

    // Without --apply nothing is written, and the role is read from IAM.
    let (code, out, error) = read(aws.trust_policy(&role, &[]).output().unwrap());
    assert_eq!(code, 0, "{error}");
    assert!(
        out.contains("system:serviceaccount:jobs:loader") && out.contains("system:serviceaccount:jobs:other"),
        "{out}"
    );
    assert_eq!(aws.proxy.calls_of("iam:UpdateAssumeRolePolicy"), 0);

    let (code, out, error) = aws.apply(&role, &["--yes"]);
    assert_eq!((code, out.as_str()), (0, ""), "{error}");
    assert!(
        error.contains("+") && error.contains("updated the trust policy of"),
        "{error}"
    );
    assert_eq!(aws.check(&role, &[]).0, 0);
    let stored = aws.stored("loader").to_string();
    assert!(stored.contains("system:serviceaccount:jobs:other"), "{stored}");
    assert_eq!(aws.proxy.calls_of("iam:UpdateAssumeRolePolicy"), 1);

    // A second run has nothing to change and does not prompt.
    let (code, _, error) = aws.apply(&role, &[]);
    assert_eq!(code, 0, "{error}");
    assert!(error.contains("no change"), "{error}");
    assert_eq!(aws.proxy.calls_of("iam:UpdateAssumeRolePolicy"), 1);
}

#[test]
fn nothing_is_written_without_confirmation() {
    let Some(aws) = Aws::start("the question of trust-policy --apply") else {
        return;
    };
    let role = aws.create_role("/", "loader", "other");
    let before = aws.stored("loader");
    let (code, _, error) = aws.apply(&role, &[]);
    assert_eq!(code, 2);
    assert!(error.contains("standard input is not a terminal; add --yes"), "{error}");
    // A `yes` from a pipe is not a confirmation.
    let mut command = aws.trust_policy(&role, &["--apply"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(b"y\n");
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(2));
    assert_eq!(aws.stored("loader"), before);
    assert_eq!(aws.proxy.calls_of("iam:UpdateAssumeRolePolicy"), 0);
}

#[test]
fn a_role_that_changes_meanwhile_is_not_written() {
    let Some(aws) = Aws::start("a race of trust-policy --apply") else {
        return;
    };
    let role = aws.create_role("/", "loader", "other");
    aws.proxy.suffers(Fault::Late(Duration::from_millis(700)));
    let mut command = aws.trust_policy(&role, &["--apply", "--yes"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let give_up = Instant::now() + Duration::from_secs(30);
    while aws.proxy.calls_of("iam:GetRole") < 2 {
        assert!(Instant::now() < give_up, "the role was not read again");
        std::thread::sleep(Duration::from_millis(5));
    }
    // The second call is held up on its way to IAM and finds this.
    aws.update_trust_policy("loader", "third");
    let (code, _, error) = read(child.wait_with_output().unwrap());
    assert_eq!(code, 2, "{error}");
    assert!(
        error.contains("has changed in the meantime; run the command again"),
        "{error}"
    );
    assert_eq!(aws.stored("loader"), trusting(OWN, "third"));
}

#[test]
fn what_cannot_be_written_back_or_would_not_help_is_refused() {
    let Some(aws) = Aws::start("what trust-policy --apply refuses") else {
        return;
    };
    let role = aws.create_role("/", "loader", "other");
    let update = |document: &Value| {
        let document = document.to_string();
        let parameters = [("RoleName", "loader"), ("PolicyDocument", document.as_str())];
        aws.moto
            .call("iam", Some(&aws.own), "UpdateAssumeRolePolicy", &parameters);
    };
    let mut deleted = trusting(OWN, "other");
    deleted["Statement"][0]["Principal"] = json!({"AWS": "AIDACKCEVSQ6C2EXAMPLE"});
    deleted["Statement"][0]["Action"] = json!("sts:AssumeRole");
    let mut denies = trusting(OWN, "other");
    let mut deny = trusting(OWN, "loader")["Statement"][0].clone();
    deny["Effect"] = json!("Deny");
    denies["Statement"].as_array_mut().unwrap().push(deny);
    for (document, words) in [
        (
            deleted,
            "has principals that were deleted, and IAM shows their unique IDs instead (AIDACKCEVSQ6C2EXAMPLE)",
        ),
        (denies, "nothing was written: the new policy of"),
    ] {
        update(&document);
        let (code, _, error) = aws.apply(&role, &["--yes"]);
        assert_eq!(code, 2, "{error}");
        assert!(error.contains(words), "{error}");
        assert_eq!(aws.stored("loader"), document);
    }
    assert_eq!(aws.proxy.calls_of("iam:UpdateAssumeRolePolicy"), 0);
}

#[test]
fn a_role_that_a_tool_manages_is_reported_as_such() {
    let Some(aws) = Aws::start("trust-policy --apply and tags") else {
        return;
    };
    let role = aws.create_role("/", "loader", "other");
    let tags = [
        ("RoleName", "loader"),
        ("Tags.member.1.Key", "ManagedBy"),
        ("Tags.member.1.Value", "terraform"),
    ];
    aws.moto.call("iam", Some(&aws.own), "TagRole", &tags);
    let (code, _, error) = aws.apply(&role, &["--yes"]);
    assert_eq!(code, 0, "{error}");
    assert!(error.contains("show that Terraform manages it"), "{error}");
    let (code, report) = finish_check(aws.rolegate(), &role, &[]);
    assert_eq!(code, 0, "{report}");
}

#[test]
fn what_iam_answers_is_passed_on_with_the_next_step() {
    let Some(aws) = Aws::start("what IAM says to trust-policy --apply") else {
        return;
    };
    let role = aws.create_role("/", "loader", "other");
    aws.proxy
        .suffers(Fault::ErrorOf("UpdateAssumeRolePolicy", 403, "AccessDenied", "no"));
    let (code, _, error) = aws.apply(&role, &["--yes"]);
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("iam:UpdateAssumeRolePolicy"), "{error}");
    assert_eq!(aws.check(&role, &[]).0, 1);
}
