//! `rolegate audit` of a directory; audits of a cluster are in `tests/webhook/audit.rs`, where there is an API server.

use std::fs;
use std::path::Path;

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::schema::{audit_schema, faults_in};
use super::{ISSUER, Ran, correct_policy, rolegate};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/standalone");

fn audit(directory: &Path, more: &[&str]) -> Ran {
    let directory = directory.to_str().unwrap();
    rolegate(&[&["audit", "--standalone", directory, "--issuer", ISSUER], more].concat())
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}{}", ran.out, ran.err))
}

/// A directory with these ServiceAccounts of namespace `jobs`, each with an annotation, and the role `job` that trusts
/// `jobs/default`.
fn directory(accounts: &[(&str, &str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let manifests = accounts.iter().map(|(name, key, value)| {
        format!(
            "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {name}\n  namespace: jobs\n  annotations:\n    {key}: {value:?}\n---\n"
        )
    });
    fs::write(folder.path().join("accounts.yaml"), manifests.collect::<String>()).unwrap();
    fs::create_dir_all(folder.path().join("roles/111122223333")).unwrap();
    fs::write(folder.path().join("roles/111122223333/job.json"), correct_policy()).unwrap();
    folder
}

const ROLE_KEY: &str = "eks.amazonaws.com/role-arn";
const JOB: &str = "arn:aws:iam::111122223333:role/job";

#[test]
fn what_people_read() {
    let ran = audit(Path::new(EXAMPLE), &[]);
    assert_eq!((ran.code, &*ran.err), (1, ""));
    assert_snapshot!(ran.out);
}

#[test]
fn programs_get_every_account_with_its_fix() {
    let ran = audit(Path::new(EXAMPLE), &["--output", "json"]);
    let report = json(&ran);
    assert_eq!(faults_in(&audit_schema(), "audit", &report), [""; 0]);
    assert_eq!(
        report["summary"],
        json!({"serviceAccounts": 7, "associations": 0, "findings": 4, "unclear": 1, "trusted": 2, "tooWide": 1})
    );
    for row in report["serviceAccounts"].as_array().unwrap() {
        let is_finding = row["verdict"] == "not-trusted";
        assert_eq!(is_finding, row["fix"].is_string(), "{row:#}");
        assert_eq!(is_finding, row["cause"].is_string(), "{row:#}");
    }
    let yaml = audit(Path::new(EXAMPLE), &["--output", "yaml"]).out;
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), report);
}

#[test]
fn the_exit_code_is_that_of_the_worst_row() {
    for (accounts, code) in [
        (vec![], 0),
        (vec![("default", ROLE_KEY, JOB)], 0),
        (vec![("default", "example.com/team", "blue")], 0),
        (vec![("default", ROLE_KEY, JOB), ("other", ROLE_KEY, JOB)], 1),
        (vec![("default", ROLE_KEY, "arn:aws:iam::111122223333:role/none")], 1),
        (vec![("default", ROLE_KEY, "job")], 1),
        (vec![("default", "eks.amazonaws.com/role_arn", JOB)], 1),
    ] {
        let folder = directory(&accounts);
        let ran = audit(folder.path(), &[]);
        assert_eq!(ran.code, code, "{accounts:?}\n{}{}", ran.out, ran.err);
    }
    let folder = directory(&[("default", ROLE_KEY, JOB)]);
    fs::write(folder.path().join("roles/111122223333/job.json"), "{\"Version\": 1}").unwrap();
    let ran = audit(folder.path(), &["-o", "json"]);
    assert_eq!(
        (ran.code, &json(&ran)["serviceAccounts"][0]["verdict"]),
        (2, &json!("malformed"))
    );
}

#[test]
fn an_invalid_annotation_is_explained() {
    let folder = directory(&[
        ("typo", ROLE_KEY, "arn:aws:iam:111122223333:role/job"),
        ("alike", "eks.amazonaws.com/role_arn", JOB),
    ]);
    let ran = audit(folder.path(), &[]);
    assert_snapshot!(ran.out);
    let report = json(&audit(folder.path(), &["-o", "json"]));
    assert_eq!(faults_in(&audit_schema(), "audit", &report), [""; 0]);
}

#[test]
fn the_audience_of_an_annotation_is_judged() {
    let folder = directory(&[("default", ROLE_KEY, JOB)]);
    let manifest = folder.path().join("accounts.yaml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(
        &manifest,
        text.replace("---", "    eks.amazonaws.com/audience: example.com\n---"),
    )
    .unwrap();
    let row = &json(&audit(folder.path(), &["-o", "json"]))["serviceAccounts"][0];
    assert_eq!(
        (&row["cause"], &row["audience"]),
        (&json!("wrong-audience"), &json!("example.com"))
    );
}

#[test]
fn namespaces_are_selected_and_bare_names_composed() {
    let folder = directory(&[("default", ROLE_KEY, "job")]);
    assert_eq!(audit(folder.path(), &["--aws-account-id", "111122223333"]).code, 0);
    assert_eq!(
        audit(folder.path(), &["--namespace", "elsewhere"]).out,
        "no ServiceAccount has a role annotation\n"
    );
    assert_eq!(audit(folder.path(), &["--namespace", "elsewhere,jobs"]).code, 1);
}

const POD_IDENTITY: &str = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow",
    "Principal": {"Service": "pods.eks.amazonaws.com"}, "Action": ["sts:AssumeRole", "sts:TagSession"]}}"#;
const BY_ACCOUNT: &str = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow",
    "Principal": {"AWS": "arn:aws:iam::111122223333:root"}, "Action": "sts:AssumeRole"}}"#;

/// ServiceAccount `jobs/default` with an annotation, and associations of `jobs/default`, `jobs/absent` and `other/absent`. The target
/// role of `jobs/absent` does not permit session tags.
fn with_associations() -> tempfile::TempDir {
    let folder = directory(&[("default", ROLE_KEY, JOB)]);
    for (name, policy) in [("eks", POD_IDENTITY), ("target", BY_ACCOUNT)] {
        let file = folder.path().join(format!("roles/111122223333/{name}.json"));
        fs::write(file, policy).unwrap();
    }
    fs::create_dir(folder.path().join("associations")).unwrap();
    for (number, namespace, account, target) in [
        (1, "jobs", "default", Value::Null),
        (2, "jobs", "absent", json!("arn:aws:iam::111122223333:role/target")),
        (3, "other", "absent", Value::Null),
    ] {
        let association = json!({"association": {
            "clusterName": "prod",
            "namespace": namespace,
            "serviceAccount": account,
            "roleArn": "arn:aws:iam::111122223333:role/eks",
            "targetRoleArn": target,
            "associationArn": format!("arn:aws:eks:us-west-2:111122223333:podidentityassociation/prod/a-{number}"),
            "associationId": format!("a-{number}"),
        }});
        let file = folder.path().join(format!("associations/{number}.json"));
        fs::write(file, association.to_string()).unwrap();
    }
    folder
}

fn audit_associations(folder: &Path, more: &[&str]) -> Ran {
    let source = format!("files={}", folder.join("associations").display());
    let flags = ["--association-source", &source, "--cluster-name", "prod"];
    audit(folder, &[&flags[..], more].concat())
}

#[test]
fn associations_have_rows_of_their_own() {
    let folder = with_associations();
    let ran = audit_associations(folder.path(), &["-o", "json"]);
    assert_eq!((ran.code, &*ran.err), (1, ""));
    let report = json(&ran);
    assert_eq!(faults_in(&audit_schema(), "audit", &report), [""; 0]);
    assert_eq!(
        report["summary"],
        json!({"serviceAccounts": 1, "associations": 3, "findings": 1, "unclear": 0, "trusted": 3, "tooWide": 3})
    );
    let rows = report["serviceAccounts"].as_array().unwrap();
    let codes = |row: &Value| -> Vec<String> {
        let lints = row["lints"].as_array().unwrap().iter();
        lints.map(|lint| lint["code"].as_str().unwrap().to_owned()).collect()
    };
    let shown: Vec<_> = rows
        .iter()
        .map(|row| {
            let name = format!(
                "{}/{}",
                row["namespace"].as_str().unwrap(),
                row["serviceAccount"].as_str().unwrap()
            );
            (row["kind"].as_str().unwrap(), name, row["cause"].as_str(), codes(row))
        })
        .collect();
    let row = |kind, name: &str, cause, lints: &[&str]| {
        let lints: Vec<String> = lints.iter().map(|code| (*code).to_owned()).collect();
        (kind, name.to_owned(), cause, lints)
    };
    assert_eq!(
        shown,
        [
            row(
                "association",
                "jobs/absent",
                Some("tag-session-not-allowed"),
                &["delegates-to-caller-policy", "any-association", "no-service-account"]
            ),
            row("annotation", "jobs/default", None, &["annotation-and-association"]),
            row(
                "association",
                "jobs/default",
                None,
                &["any-association", "annotation-and-association"]
            ),
            row(
                "association",
                "other/absent",
                None,
                &["any-association", "no-service-account"]
            ),
        ]
    );
    assert_eq!(
        (&rows[0]["roleArn"], &rows[0]["targetRoleArn"], &rows[0]["issuer"]),
        (
            &json!("arn:aws:iam::111122223333:role/eks"),
            &json!("arn:aws:iam::111122223333:role/target"),
            &Value::Null
        )
    );
    assert!(
        rows[0]["summary"].as_str().unwrap().contains("\"target\""),
        "{:#}",
        rows[0]
    );
    assert_eq!(audit(folder.path(), &[]).code, 0);
}

#[test]
fn people_and_programs_read_of_associations() {
    let folder = with_associations();
    assert_snapshot!(audit_associations(folder.path(), &[]).out);
    for format in ["junit", "sarif", "github", "openreports", "html"] {
        let out = audit_associations(folder.path(), &["-o", format]).out;
        assert!(out.contains("PodIdentityAssociation"), "{format}: {out}");
        assert!(out.contains("tag-session-not-allowed"), "{format}: {out}");
    }
}

#[test]
fn associations_are_selected_by_namespace() {
    let folder = with_associations();
    let report = json(&audit_associations(folder.path(), &["-n", "other", "-o", "json"]));
    assert_eq!(report["summary"]["associations"], 1);
    assert_eq!(report["serviceAccounts"][0]["namespace"], "other");
}

#[test]
fn associations_need_the_name_of_their_cluster() {
    let folder = with_associations();
    let source = format!("files={}", folder.path().join("associations").display());
    let ran = audit(folder.path(), &["--association-source", &source]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("--cluster-name"), "{}", ran.err);
    let ran = audit(
        folder.path(),
        &["--association-source", "ack", "--cluster-name", "prod"],
    );
    assert!(ran.code == 2 && ran.err.contains("--standalone"), "{}", ran.err);
}

#[test]
fn usage_errors_name_the_missing_flag() {
    let ran = rolegate(&["audit", "--standalone", EXAMPLE]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("--issuer"), "{}", ran.err);
    let ran = audit(Path::new("/nonexistent"), &[]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("/nonexistent"), "{}", ran.err);
}
