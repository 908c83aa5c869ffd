//! The editor of trust policies. The SDK reads its settings from the environment of the process, so each step runs in a process
//! of its own: this test program, started again.

use std::process::Command;

use serde_json::{Value, json};

use rolegate::aws::{AwsSettings, AwsUser};
use rolegate::roles::aws::open_editor;
use rolegate::trust::{AccountId, RoleArn};

use super::proxy::Fault;
use super::{Aws, OTHER, OWN, is_foreign, trusting};

/// What the process is asked to do, as JSON.
const TASK: &str = "EDITOR_TASK";

/// Precedes its answer.
const ANSWER: &str = "EDITOR_ANSWER ";

/// The process: reads a role, or writes its trust policy when it is given a document.
#[test]
#[ignore = "the process that the other tests start"]
fn process() {
    let Ok(task) = std::env::var(TASK) else { return };
    let task: Value = serde_json::from_str(&task).unwrap();
    let text = |key: &str| task[key].as_str();
    let role = RoleArn::parse(text("role").unwrap()).unwrap();
    let account = AccountId::parse(text("account").unwrap_or(role.account())).unwrap();
    let assumed = text("assume").map(|role| (account.clone(), RoleArn::parse(role).unwrap()));
    let settings = AwsSettings {
        assume: assumed.into_iter().collect(),
        user: AwsUser::Person,
        ..AwsSettings::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let answer: Result<Value, String> = runtime.block_on(async {
        let editor = open_editor(&settings, &account).await?;
        match text("document") {
            Some(document) => editor.write(&role, document).await.map(|()| Value::Null),
            None => {
                let current = editor.read(&role).await?;
                Ok(json!({"arn": current.arn.as_str(), "document": current.document, "tags": current.tags}))
            }
        }
    });
    let answer = match answer {
        Ok(answer) => json!({"ok": answer}),
        Err(error) => json!({"error": error}),
    };
    println!("\n{ANSWER}{answer}");
}

impl Aws {
    fn edit(&self, task: &Value) -> Result<Value, String> {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let inherited = std::env::vars_os().map(|(name, _)| name);
        for name in inherited.filter(|name| is_foreign(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        let output = command
            .args(["--exact", "editor::process", "--ignored", "--nocapture"])
            .envs(self.environment())
            .env(TASK, task.to_string())
            .output()
            .unwrap();
        let out = String::from_utf8_lossy(&output.stdout);
        let answer = out.lines().find_map(|line| line.strip_prefix(ANSWER));
        let answer = answer.unwrap_or_else(|| panic!("{out}{}", String::from_utf8_lossy(&output.stderr)));
        let mut answer: Value = serde_json::from_str(answer).unwrap();
        match answer["error"].as_str() {
            Some(error) => {
                assert!(!error.contains(['\n', '{']), "{error}");
                Err(error.to_owned())
            }
            None => Ok(answer["ok"].take()),
        }
    }

    fn read_role(&self, role: &str) -> Result<Value, String> {
        self.edit(&json!({"role": role}))
    }

    fn write_role(&self, role: &str, document: &str) -> Result<Value, String> {
        self.edit(&json!({"role": role, "document": document}))
    }
}

/// Asserts that an error contains all of these texts.
#[track_caller]
fn says(answer: Result<Value, String>, words: &[&str]) {
    let error = answer.unwrap_err();
    for word in words {
        assert!(error.contains(word), "no {word:?} in {error}");
    }
}

#[test]
fn a_trust_policy_is_read_and_replaced() {
    let Some(aws) = Aws::start("the editor of trust policies") else {
        return;
    };
    let role = aws.create_role("/tools/", "loader", "a+b 100%25 ü");
    let tags = [
        ("RoleName", "loader"),
        ("Tags.member.1.Key", "ManagedBy"),
        ("Tags.member.1.Value", "terraform"),
    ];
    aws.moto.call("iam", Some(&aws.own), "TagRole", &tags);

    let current = aws.read_role(&role).unwrap();
    assert_eq!(
        (&current["arn"], &current["tags"]),
        (&json!(role), &json!([["ManagedBy", "terraform"]]))
    );
    let document = current["document"].as_str().unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(document).unwrap(),
        trusting(OWN, "a+b 100%25 ü")
    );

    let replaced = serde_json::to_string_pretty(&trusting(OWN, "other+one &=%2B")).unwrap();
    assert_eq!(aws.write_role(&role, &replaced), Ok(Value::Null));
    let current = aws.read_role(&role).unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(current["document"].as_str().unwrap()).unwrap(),
        trusting(OWN, "other+one &=%2B")
    );
    assert_eq!(aws.proxy.calls_of("iam:UpdateAssumeRolePolicy"), 1);
}

#[test]
fn another_account_is_edited_with_an_assumed_role() {
    let Some(aws) = Aws::start("the editor and other accounts") else {
        return;
    };
    let role = aws.create_role_in(OTHER, "/", "loader", "loader");
    says(
        aws.read_role(&role),
        &[
            "credentials are of account 111122223333, not 444455556666",
            "--profile",
            "--assume-role 444455556666=ROLE_ARN",
        ],
    );
    let assume = "arn:aws:iam::444455556666:role/editor";
    let current = aws.edit(&json!({"role": role, "assume": assume})).unwrap();
    assert_eq!(current["arn"], json!(role));
    says(
        aws.edit(&json!({"role": role, "account": OWN})),
        &[&*role, "for account 111122223333", "--profile of account 444455556666"],
    );
    aws.proxy
        .suffers(Fault::ErrorOf("AssumeRole", 403, "AccessDenied", "no"));
    says(
        aws.edit(&json!({"role": role, "assume": assume})),
        &["not allowed to assume", assume],
    );
}

#[test]
fn a_role_that_is_not_there_is_not_edited() {
    let Some(aws) = Aws::start("the editor and roles that do not exist") else {
        return;
    };
    let document = trusting(OWN, "loader").to_string();
    let none = "arn:aws:iam::111122223333:role/none";
    says(
        aws.read_role(none),
        &["role/none does not exist", "aws iam create-role --role-name none"],
    );
    says(
        aws.write_role(none, &document),
        &["role/none does not exist", "aws iam create-role --role-name none"],
    );

    let role = aws.create_role("/tools/", "loader", "loader");
    let wrong_path = "arn:aws:iam::111122223333:role/loader";
    says(
        aws.read_role(wrong_path),
        &[wrong_path, "does not exist", &role, "use that ARN"],
    );
    aws.create_role(
        "/aws-service-role/eks.amazonaws.com/",
        "AWSServiceRoleForAmazonEKS",
        "loader",
    );
    says(
        aws.read_role("arn:aws:iam::111122223333:role/AWSServiceRoleForAmazonEKS"),
        &["does not exist", "/aws-service-role/", "service-linked role"],
    );
}

#[test]
fn a_refusal_by_iam_has_a_next_step_and_is_not_retried() {
    let Some(aws) = Aws::start("what IAM says to the editor") else {
        return;
    };
    let role = aws.create_role("/", "loader", "loader");
    let document = trusting(OWN, "loader").to_string();
    let update = "UpdateAssumeRolePolicy";
    let mut writes = 0;
    for (fault, words) in [
        (
            Fault::ErrorOf(
                update,
                400,
                "MalformedPolicyDocument",
                "Invalid principal in policy: \"AWS\":\"AIDA\"",
            ),
            &[
                "does not accept the new trust policy (Invalid principal in policy",
                "remove or replace",
            ][..],
        ),
        (
            Fault::ErrorOf(
                update,
                409,
                "LimitExceeded",
                "Cannot exceed quota for ACLSizePerRole: 2048",
            ),
            &[
                "too long for this account (Cannot exceed quota",
                "Role trust policy length",
            ],
        ),
        (
            Fault::ErrorOf(
                update,
                400,
                "UnmodifiableEntity",
                "Cannot perform the operation on the protected role",
            ),
            &["only the AWS service that owns the role", "use another role"],
        ),
        (
            Fault::ErrorOf(update, 403, "AccessDenied", "no identity-based policy allows it"),
            &[
                "iam:UpdateAssumeRolePolicy is not allowed to",
                "tester",
                "allow it in their IAM policy",
            ],
        ),
        (
            Fault::ErrorOf(update, 400, "Throttling", "Rate exceeded"),
            &["throttling requests", "run the command again"],
        ),
        (
            Fault::Cut,
            &[
                "no connection to AWS",
                "might have been changed all the same",
                "aws iam get-role --role-name loader",
            ],
        ),
        (
            Fault::HalfXml,
            &["the response is truncated", "might have been changed all the same"],
        ),
    ] {
        aws.proxy.suffers(fault);
        let answer = aws.write_role(&role, &document);
        let message = answer.as_ref().unwrap_err();
        assert!(message.contains(&role), "{message}");
        says(answer, words);
        writes += 1;
        assert_eq!(aws.proxy.calls_of("iam:UpdateAssumeRolePolicy"), writes);
    }
    aws.proxy.suffers(Fault::ErrorOf("GetRole", 403, "AccessDenied", "no"));
    says(aws.read_role(&role), &[&*role, "iam:GetRole is not allowed to"]);
}
