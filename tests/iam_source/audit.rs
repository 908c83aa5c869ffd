//! `rolegate audit` reads an account by listing it, not role by role.

use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};

use super::{Aws, ISSUER};

/// More than a page of ListRoles holds.
const ROLES: usize = 1_050;

#[test]
fn an_account_of_more_than_a_page_is_listed_and_evaluated() {
    let Some(aws) = Aws::start("rolegate audit of an account") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut manifests = String::new();
    for number in 0..ROLES {
        let (name, trusted) = (
            format!("job-{number}"),
            if number == 7 {
                "job-8"
            } else {
                &*format!("job-{number}")
            },
        );
        aws.create_role("/", &name, trusted);
    }
    // One more has no role.
    for number in 0..=ROLES {
        write!(
            manifests,
            "---\napiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: job-{number}\n  namespace: jobs\n  annotations:\n    \
             eks.amazonaws.com/role-arn: arn:aws:iam::111122223333:role/job-{number}\n"
        )
        .unwrap();
    }
    fs::write(folder.path().join("accounts.yaml"), manifests).unwrap();

    let output = aws
        .rolegate()
        .args([
            "audit",
            "--role-source",
            "iam",
            "--issuer",
            ISSUER,
            "-o",
            "json",
            "--standalone",
        ])
        .arg(folder.path())
        .output()
        .unwrap();

    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no report: {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        report["summary"],
        json!({"serviceAccounts": ROLES + 1, "associations": 0, "workloads": 0, "findings": 2, "unclear": 0, "trusted": ROLES - 1, "tooWide": 0})
    );
    let causes: Vec<_> = (0..2).map(|place| &report["serviceAccounts"][place]["cause"]).collect();
    assert_eq!(causes, ["role-not-found", "wrong-subject"]);
    let listed = aws.proxy.calls_of("iam:ListRoles");
    assert!((2..=4).contains(&listed), "{listed} pages");
    // The listing saves one call per role.
    assert!(aws.proxy.calls_of("iam:GetRole") <= 5, "{:?}", aws.proxy.calls());
}
