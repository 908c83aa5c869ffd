//! `rolegate check` reads one role, whether or not AWS answers.

use std::time::Duration;

use serde_json::{Value, json};

use super::proxy::Fault;
use super::{Aws, OTHER, finish_check};

fn cause(report: &Value) -> (&str, &Value) {
    (report["verdict"].as_str().unwrap(), &report["cause"])
}

#[test]
fn a_role_is_compared_arn_against_arn() {
    let Some(aws) = Aws::start("roles read one by one") else {
        return;
    };
    let role = aws.create_role("/tools/", "loader", "loader");
    let (code, report) = aws.check(&role, &[]);
    assert_eq!((code, cause(&report)), (0, ("trusted", &Value::Null)), "{report}");
    assert_eq!(report["policyFrom"], "role source iam");

    // GetRole would find it by its name.
    let (code, report) = aws.check("arn:aws:iam::111122223333:role/loader", &[]);
    assert_eq!((code, cause(&report)), (1, ("not-trusted", &json!("role-not-found"))));
    assert!(report["hint"].as_str().unwrap().contains(&role), "{report}");

    let (code, report) = aws.check("arn:aws:iam::111122223333:role/nobody", &[]);
    assert_eq!((code, cause(&report)), (1, ("not-trusted", &json!("role-not-found"))));
    assert_eq!(aws.proxy.calls_of("iam:GetRole"), 3);
    // An account is not listed for one role.
    assert_eq!(aws.proxy.calls_of("iam:ListRoles"), 0);
}

#[test]
fn another_account_is_read_with_an_assumed_role_and_is_unknown_without_one() {
    let Some(aws) = Aws::start("roles of other accounts") else {
        return;
    };
    let role = aws.create_role_in(OTHER, "/", "loader", "loader");
    let (code, report) = aws.check(&role, &[]);
    assert_eq!((code, cause(&report)), (2, ("unknown", &Value::Null)));
    let reason = report["reason"].as_str().unwrap();
    for words in [
        "account 444455556666 is not readable",
        "--assume-role 444455556666=ROLE_ARN",
    ] {
        assert!(reason.contains(words), "{reason}");
    }
    assert_eq!(aws.proxy.calls_of("iam:GetRole"), 0);

    let reader = "444455556666=arn:aws:iam::444455556666:role/rolegate-reader";
    aws.create_provider(&aws.other, &["sts.amazonaws.com"]);
    let (code, report) = aws.check(&role, &["--assume-role", reader]);
    assert_eq!((code, cause(&report)), (0, ("trusted", &Value::Null)), "{report}");

    // Assuming the reader is not allowed.
    aws.proxy.suffers(Fault::ErrorOf(
        "AssumeRole",
        403,
        "AccessDenied",
        "not authorized to perform: sts:AssumeRole",
    ));
    let (code, report) = aws.check(&role, &["--assume-role", reader]);
    assert_eq!((code, report["verdict"].as_str()), (2, Some("unknown")));
    let reason = report["reason"].as_str().unwrap();
    assert!(
        reason.contains("not allowed to assume arn:aws:iam::444455556666:role/rolegate-reader"),
        "{reason}"
    );
}

#[test]
fn the_provider_and_its_audiences_are_evaluated_before_the_policy() {
    let Some(aws) = Aws::start("OIDC providers") else {
        return;
    };
    let role = aws.create_role("/", "loader", "loader");
    let (_, report) = aws.check(&role, &["--audience", "vault"]);
    assert_eq!(cause(&report), ("not-trusted", &json!("audience-not-registered")));
    let fix = report["fix"].as_str().unwrap();
    assert!(
        fix.starts_with("aws iam add-client-id-to-open-id-connect-provider"),
        "{fix}"
    );

    aws.delete_provider();
    let (code, report) = aws.check(&role, &[]);
    assert_eq!(
        (code, cause(&report)),
        (1, ("not-trusted", &json!("provider-not-found")))
    );
    let fix = report["fix"].as_str().unwrap();
    assert!(
        fix.starts_with("aws iam create-open-id-connect-provider --url https://"),
        "{fix}"
    );

    // A provider that rolegate is not allowed to read does not block any pod.
    aws.proxy
        .suffers(Fault::ErrorOf("GetOpenIDConnectProvider", 403, "AccessDenied", "no"));
    let (code, report) = aws.check(&role, &[]);
    assert_eq!((code, cause(&report)), (0, ("trusted", &Value::Null)), "{report}");
}

#[test]
fn every_fault_has_a_reason_that_names_the_next_step() {
    let Some(aws) = Aws::start("faults of AWS") else { return };
    let role = aws.create_role("/", "loader", "loader");
    let error = Fault::Error;
    for (fault, words) in [
        (
            error(400, "Throttling", "Rate exceeded"),
            &["iam:GetRole", "throttling requests", "Throttling"][..],
        ),
        (Fault::Status(429), &["throttling requests", "429"]),
        (
            error(500, "InternalFailure", "oops"),
            &["returned a server error", "InternalFailure"],
        ),
        (Fault::Status(503), &["returned a server error", "503"]),
        (Fault::Cut, &["no connection to AWS"]),
        (Fault::HalfXml, &["the response is truncated"]),
        (Fault::NoXml, &["truncated or is not a response from IAM"]),
        (
            error(403, "AccessDenied", "User: x is not authorized to perform: iam:GetRole"),
            &[
                "iam:GetRole is not allowed to arn:aws:sts::111122223333:assumed-role/tester/tester",
                "IAM policy",
            ],
        ),
        (
            error(
                403,
                "ExpiredToken",
                "The security token included in the request is expired",
            ),
            &["expired", "renew"],
        ),
        (
            error(403, "InvalidClientTokenId", "unknown"),
            &["does not know the credentials", "renew"],
        ),
        (
            error(403, "SignatureDoesNotMatch", "The request signature we calculated"),
            &["signature", "secret key"],
        ),
        (
            error(400, "ValidationError", "what is this"),
            &["ValidationError", "what is this"],
        ),
    ] {
        aws.proxy.suffers(fault.clone());
        let (code, report) = aws.check(&role, &[]);
        assert_eq!(
            (code, cause(&report)),
            (2, ("unknown", &Value::Null)),
            "{fault:?}: {report}"
        );
        let reason = report["reason"].as_str().unwrap();
        for word in words {
            assert!(reason.contains(word), "{fault:?}: no {word:?} in {reason}");
        }
        assert!(!reason.contains('\n') && reason.len() < 500, "{reason}");
    }
    aws.proxy.suffers(Fault::Late(Duration::from_secs(5)));
    assert_eq!(aws.check(&role, &[]).0, 0, "a command waits for a slow answer");
    // The SDK learns the time from the first answer.
    for minutes in [-30, 30] {
        aws.proxy.suffers(Fault::ClockAhead(minutes));
        let (code, report) = aws.check(&role, &[]);
        assert_eq!(code, 0, "{minutes} minutes: {report}");
    }
}

#[test]
fn without_credentials_the_reason_names_what_is_missing() {
    let Some(aws) = Aws::start("missing credentials") else {
        return;
    };
    let mut command = aws.rolegate();
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
        command.env_remove(name);
    }
    let (code, report) = finish_check(command, "arn:aws:iam::111122223333:role/loader", &[]);
    assert_eq!((code, report["verdict"].as_str()), (2, Some("unknown")));
    let reason = report["reason"].as_str().unwrap();
    assert!(reason.contains("no AWS credentials found"), "{reason}");
    assert_eq!(aws.proxy.calls(), Vec::<String>::new());
}
