//! `rolegate audit` of a directory; audits of a cluster are in `tests/webhook/audit.rs`, where there is an API server.

use std::fs;
use std::path::Path;

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::schema::{audit_schema, faults_in};
use super::{ISSUER, Ran, correct_policy, rolegate, rolegate_with_input, rolegate_with_variables};

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
        json!({"serviceAccounts": 7, "associations": 0, "workloads": 0, "findings": 4, "unclear": 1, "trusted": 2, "tooWide": 1})
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
        (vec![], 2),
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
    assert_eq!(audit(folder.path(), &["--namespace", "elsewhere,jobs"]).code, 1);
}

/// A directory without ServiceAccounts, or a namespace with a typing error, does not pass.
#[test]
fn a_directory_without_service_accounts_is_an_error() {
    let folder = directory(&[("default", ROLE_KEY, JOB)]);
    let nowhere = audit(folder.path(), &["--namespace", "elsewhere"]);
    assert_eq!((nowhere.code, &*nowhere.out), (2, ""));
    assert!(
        nowhere.err.contains("check the paths and --namespace"),
        "{}",
        nowhere.err
    );
    let below = folder.path().join("below");
    fs::create_dir(&below).unwrap();
    fs::rename(folder.path().join("accounts.yaml"), below.join("accounts.yaml")).unwrap();
    let ran = audit(folder.path(), &[]);
    assert_eq!((ran.code, &*ran.out), (2, ""));
    assert!(
        ran.err.contains("nothing to audit") && ran.err.contains("--file also reads subdirectories"),
        "{}",
        ran.err
    );
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
fn files_with_associations_of_other_clusters_only_are_a_warning() {
    let folder = with_associations();
    let path = folder.path().join("associations");
    let source = format!("files={}", path.display());
    let run = |more: &[&str]| audit(folder.path(), &[&["--association-source", &source][..], more].concat());
    for flags in [
        ["--cluster-name", "production"],
        ["--cluster-arn", "arn:aws:eks:us-west-2:111122223333:cluster/production"],
    ] {
        let ran = run(&flags);
        let words = format!(
            "warning: {} has 3 associations of cluster prod, none of production; check --cluster-name",
            path.display()
        );
        assert!(ran.err.contains(&words), "{}", ran.err);
    }
    // Files may be of several clusters.
    let ran = run(&["--cluster-name", "prod"]);
    assert!(!ran.err.contains("of cluster"), "{}", ran.err);
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
        json!({"serviceAccounts": 1, "associations": 3, "workloads": 0, "findings": 1, "unclear": 0, "trusted": 3, "tooWide": 3})
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

/// What `helm template` prints: comments, empty documents, objects without a namespace.
const HELM: &str = r#"---
# Source: chart/templates/serviceaccount.yaml
apiVersion: v1
kind: ServiceAccount
metadata:
  name: default
  annotations:
    eks.amazonaws.com/role-arn: arn:aws:iam::111122223333:role/job
---
# Source: chart/templates/disabled.yaml
---
# Source: chart/templates/other.yaml

apiVersion: v1
kind: ServiceAccount
metadata:
  name: other
  annotations:
    # A comment
    eks.amazonaws.com/role-arn: "arn:aws:iam::111122223333:role/job"
---
# Source: chart/templates/deployment.yaml
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  template:
    spec:
      serviceAccountName: absent
      containers: [{name: main, image: busybox}]
---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: nightly
spec:
  jobTemplate:
    spec:
      template:
        spec:
          containers: [{name: main, image: busybox}]
---
apiVersion: example.com/v1
kind: Fleet
metadata:
  name: fleet
spec:
  member:
    serviceAccountName: elsewhere
    containers: [{name: main}]
  silent:
    containers: [{name: main}]
"#;

/// `audit --file -` of a text in namespace `jobs`, with the role `job` that trusts `jobs/default`.
fn audit_stream(text: &str, more: &[&str]) -> Ran {
    let folder = directory(&[]);
    let source = format!("files={}", folder.path().join("roles").display());
    let flags = [
        "audit",
        "-f",
        "-",
        "-n",
        "jobs",
        "--issuer",
        ISSUER,
        "--role-source",
        &source,
    ];
    rolegate_with_input(&[&flags[..], more].concat(), text)
}

/// Kind, object, ServiceAccount, verdict and cause of each row.
fn rows(report: &Value) -> Vec<[String; 5]> {
    let rows = report["serviceAccounts"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    rows.map(|row| {
        let object = match row["objectName"].as_str() {
            Some(name) => format!("{} {name}", text(&row["objectKind"])),
            None => "-".to_owned(),
        };
        let account = text(&row["serviceAccount"]);
        [
            text(&row["kind"]),
            object,
            account,
            text(&row["verdict"]),
            text(&row["cause"]),
        ]
    })
    .collect()
}

fn row(texts: [&str; 5]) -> [String; 5] {
    texts.map(str::to_owned)
}

#[test]
fn a_helm_stream_is_judged_with_its_workloads() {
    let ran = audit_stream(HELM, &["-o", "json"]);
    assert_eq!((ran.code, &*ran.err), (1, ""));
    let report = json(&ran);
    assert_eq!(faults_in(&audit_schema(), "audit", &report), [""; 0]);
    assert_eq!(
        rows(&report),
        [
            row(["annotation", "-", "other", "not-trusted", "wrong-subject"]),
            row(["annotation", "-", "default", "trusted", "-"]),
            row(["workload", "Deployment web", "absent", "none", "-"]),
            row(["workload", "CronJob nightly", "default", "trusted", "-"]),
            row(["workload", "Fleet fleet", "elsewhere", "none", "-"]),
        ]
    );
    assert_eq!(
        report["summary"],
        json!({"serviceAccounts": 2, "associations": 0, "workloads": 3, "findings": 1, "unclear": 0, "trusted": 1, "tooWide": 0})
    );
    assert_eq!(report["serviceAccounts"][4]["objectPath"], "spec.member");
    // What is not required is for programs only.
    let text = audit_stream(HELM, &[]).out;
    assert!(!text.contains("absent"), "{text}");

    let ran = audit_stream(HELM, &["--require-role"]);
    assert_eq!(ran.code, 1);
    assert_snapshot!(ran.out);
    assert_eq!(audit_stream(HELM, &["--require-role=off"]).out, text);
    // With a space, as `serve` and `inject` accept it.
    assert_eq!(audit_stream(HELM, &["--require-role", "enforce"]).out, ran.out);
}

/// ServiceAccounts of namespace `jobs`, and a ConfigMap in `kube-system` that gives roles to some and to ones that are not there.
const MAPPED: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: jobs}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: other, namespace: jobs}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: annotated
  namespace: jobs
  annotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::111122223333:role/gone"}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: look-alike
  namespace: jobs
  annotations: {eks.amazonaws.com/role_arn: "arn:aws:iam::111122223333:role/gone"}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: short, namespace: jobs}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: plain, namespace: jobs}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: pod-identity-webhook, namespace: kube-system}
data:
  config: |
    {
      "jobs/default": {"RoleARN": "arn:aws:iam::111122223333:role/job"},
      "*/other": {"RoleARN": "arn:aws:iam::111122223333:role/job"},
      "jobs/annotated": {"RoleARN": "arn:aws:iam::111122223333:role/job"},
      "jobs/look-alike": {"RoleARN": "arn:aws:iam::111122223333:role/job"},
      "jobs/short": {"RoleARN": "job"},
      "jobs/absent": {"RoleARN": "arn:aws:iam::111122223333:role/job"}
    }
"#;

const MAP: [&str; 2] = ["--identity-config-map", "kube-system/pod-identity-webhook"];

#[test]
fn accounts_of_the_identity_config_map_are_judged_where_annotations_say_nothing() {
    let expected = [
        // Its manifest is elsewhere.
        row(["config-map", "-", "absent", "not-trusted", "wrong-subject"]),
        row(["annotation", "-", "annotated", "not-trusted", "role-not-found"]),
        row(["config-map", "-", "look-alike", "not-trusted", "wrong-subject"]),
        row(["config-map", "-", "other", "not-trusted", "wrong-subject"]),
        row(["config-map", "-", "short", "malformed", "malformed-annotation"]),
        row(["config-map", "-", "default", "trusted", "-"]),
    ];
    let ran = audit_stream(MAPPED, &[&MAP[..], &["-o", "json"]].concat());
    assert_eq!((ran.code, &*ran.err), (1, ""));
    let report = json(&ran);
    assert_eq!(faults_in(&audit_schema(), "audit", &report), [""; 0]);
    assert_eq!(rows(&report), expected);
    assert_eq!(report["summary"]["serviceAccounts"], 6);
    assert_snapshot!(audit_stream(MAPPED, &MAP).out);

    let folder = directory(&[]);
    fs::write(folder.path().join("accounts.yaml"), MAPPED).unwrap();
    let ran = audit(folder.path(), &[&MAP[..], &["-o", "json"]].concat());
    assert_eq!((ran.code, &*ran.err), (1, ""));
    assert_eq!(rows(&json(&ran)), expected);

    // Without the flag, the ConfigMap means nothing.
    let ran = audit_stream(MAPPED, &["-o", "json"]);
    assert_eq!(
        rows(&json(&ran)),
        [
            row(["annotation", "-", "annotated", "not-trusted", "role-not-found"]),
            row(["annotation", "-", "look-alike", "malformed", "no-role"]),
        ]
    );
}

#[test]
fn pods_of_accounts_in_the_identity_config_map_are_judged_too() {
    let pods = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: jobs}
spec:
  template:
    spec:
      serviceAccountName: default
      containers: [{name: main}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: api, namespace: jobs}
spec:
  template:
    spec:
      serviceAccountName: plain
      containers: [{name: main}]
"#;
    let text = format!("{MAPPED}---{pods}");
    let ran = audit_stream(&text, &[&MAP[..], &["-o", "json", "--require-role"]].concat());
    let workloads: Vec<_> = rows(&json(&ran))
        .into_iter()
        .filter(|row| row[0] == "workload")
        .collect();
    assert_eq!(
        workloads,
        [
            row(["workload", "Deployment api", "plain", "none", "no-role"]),
            row(["workload", "Deployment web", "default", "trusted", "-"]),
        ]
    );
}

#[test]
fn accounts_that_are_not_in_the_manifests_have_the_role_of_their_entry() {
    let job = |name: &str, account: &str| {
        format!(
            "---\napiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}, namespace: jobs}}\nspec: {{template: {{spec: {{{account}containers: [{{name: main}}]}}}}}}\n"
        )
    };
    let map = |entries: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: pod-identity-webhook, namespace: kube-system}}\ndata:\n  empty:\n  config: '{entries}'\n"
        )
    };
    let role = r#"{"RoleARN": "arn:aws:iam::111122223333:role/job"}"#;
    let text = format!(
        "{}{}{}{}",
        map(&format!(
            r#"{{"jobs/default": {role}, "*/any": {role}, "other/default": {role}}}"#
        )),
        job("first", "serviceAccountName: any, "),
        job("second", ""),
        job("third", "serviceAccountName: unknown, "),
    );
    let ran = audit_stream(&text, &[&MAP[..], &["-o", "json"]].concat());
    assert_eq!((ran.code, &*ran.err), (1, ""));
    assert_eq!(
        rows(&json(&ran)),
        [
            row(["config-map", "-", "any", "not-trusted", "wrong-subject"]),
            row(["config-map", "-", "default", "trusted", "-"]),
            row(["workload", "Job first", "any", "not-trusted", "wrong-subject"]),
            row(["workload", "Job second", "default", "trusted", "-"]),
            row(["workload", "Job third", "unknown", "none", "-"]),
        ]
    );
    // Alone, it is something to audit.
    let ran = audit_stream(&map(&format!(r#"{{"jobs/default": {role}}}"#)), &MAP);
    assert_eq!((ran.code, &*ran.err), (0, ""));
}

#[test]
fn a_workload_in_a_version_that_is_not_known_is_an_error() {
    let connect = |version: &str| {
        format!(
            "---\napiVersion: kafka.strimzi.io/{version}\nkind: KafkaConnect\nmetadata: {{name: orders, namespace: jobs}}\nspec:\n  template:\n    serviceAccount:\n      metadata:\n        annotations: {{eks.amazonaws.com/role-arn: \"arn:aws:iam::111122223333:role/job\"}}\n"
        )
    };
    for version in ["v1", "v1beta2"] {
        let ran = audit_stream(&connect(version), &["-o", "json"]);
        let found = rows(&json(&ran));
        assert!(
            found.contains(&row([
                "annotation",
                "-",
                "orders-connect",
                "not-trusted",
                "wrong-subject"
            ])),
            "{found:?}"
        );
    }
    let ran = audit_stream(&connect("v1alpha1"), &[]);
    assert_eq!(ran.code, 2);
    let message = "KafkaConnect jobs/orders: kafka.strimzi.io/v1alpha1 is not supported (supported: v1, v1beta2)";
    assert!(ran.err.contains(message), "{}", ran.err);
}

#[test]
fn an_identity_config_map_that_is_missing_or_unreadable_is_an_error() {
    let missing = "has no ConfigMap kube-system/pod-identity-webhook; check the namespace and the name";
    let without = MAPPED.replace("name: pod-identity-webhook", "name: other");
    let ran = audit_stream(&without, &MAP);
    assert_eq!((ran.code, &*ran.out), (2, ""));
    assert!(ran.err.contains(&format!("--file {missing}")), "{}", ran.err);

    let folder = directory(&[]);
    fs::write(folder.path().join("accounts.yaml"), &without).unwrap();
    let ran = audit(folder.path(), &MAP);
    assert_eq!((ran.code, &*ran.out), (2, ""));
    assert!(ran.err.contains(&format!("--standalone {missing}")), "{}", ran.err);

    let ran = audit_stream(&MAPPED.replace("\"jobs/default\"", "\"default\""), &MAP);
    assert_eq!((ran.code, &*ran.out), (2, ""));
    let wrong = "ConfigMap kube-system/pod-identity-webhook: entry `default`: expected NAMESPACE/NAME";
    assert!(ran.err.contains(wrong), "{}", ran.err);

    let ran = audit_stream(&MAPPED.replace("config: |", "config: 5\n  other: |"), &MAP);
    assert_eq!(ran.code, 2);
    assert!(
        ran.err
            .contains("the identity ConfigMap: expected key config to be a string"),
        "{}",
        ran.err
    );
}

#[test]
fn reports_of_manifests_name_file_and_line() {
    let folder = directory(&[]);
    let audit_text = |text: &str, format: &str| {
        let file = folder.path().join("chart.yaml");
        fs::write(&file, text).unwrap();
        let source = format!("files={}", folder.path().join("roles").display());
        let flags = [
            "audit",
            "-f",
            file.to_str().unwrap(),
            "-n",
            "jobs",
            "--issuer",
            ISSUER,
            "--role-source",
            &source,
        ];
        rolegate(&[&flags[..], &["--require-role", "-o", format]].concat()).out
    };
    for (format, place) in [
        ("github", "chart.yaml,line=20,title=rolegate%3A wrong-subject::"),
        ("github", "chart.yaml,line=23,title=rolegate%3A no-role::"),
        ("junit", "chart.yaml:20"),
    ] {
        let out = audit_text(HELM, format);
        assert!(out.contains(place), "{format}: {place}: {out}");
    }
    let sarif: Value = serde_json::from_str(&audit_text(HELM, "sarif")).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap().iter();
    let lines: Vec<_> = results
        .map(|result| {
            result["locations"][0]["physicalLocation"]["region"]["startLine"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert!(lines.contains(&20) && lines.contains(&23), "{sarif:#}");

    // An item of a List has a line of its own.
    let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ServiceAccount\n  metadata:\n    name: other\n    annotations:\n      eks.amazonaws.com/role-arn: arn:aws:iam::111122223333:role/job\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: p}\n  spec:\n    serviceAccountName: gone\n    containers: [{name: c}]\n";
    let out = audit_text(list, "github");
    for line in [
        "line=9,title=rolegate%3A wrong-subject",
        "line=10,title=rolegate%3A no-role",
    ] {
        assert!(out.contains(line), "{line}: {out}");
    }
    // Standard input is not a file that a report could point to.
    let out = audit_stream(HELM, &["-o", "github"]).out;
    assert!(out.contains("::error title=rolegate%3A wrong-subject::"), "{out}");
}

#[test]
fn directories_are_read_recursively_and_a_broken_document_hides_no_other() {
    let folder = directory(&[("default", ROLE_KEY, JOB)]);
    let manifests = folder.path().join("deploy");
    fs::create_dir_all(manifests.join("base/jobs")).unwrap();
    let account = fs::read_to_string(folder.path().join("accounts.yaml")).unwrap();
    fs::write(manifests.join("base/jobs/accounts.yml"), &account).unwrap();
    let pod = json!({"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "one", "namespace": "jobs"}, "spec": {"containers": [{"name": "c"}]}}]});
    fs::write(manifests.join("base/pod.json"), pod.to_string()).unwrap();
    fs::write(manifests.join("values.yaml"), "replicas: 3\n").unwrap();
    let audit = |more: &[&str]| {
        let source = format!("files={}", folder.path().join("roles").display());
        let file = manifests.to_str().unwrap();
        let flags = [
            "audit",
            "--file",
            file,
            "--issuer",
            ISSUER,
            "--role-source",
            &source,
            "-o",
            "json",
        ];
        rolegate(&[&flags[..], more].concat())
    };
    let ran = audit(&[]);
    assert_eq!((ran.code, &*ran.err), (0, ""));
    assert_eq!(
        rows(&json(&ran)),
        [
            row(["annotation", "-", "default", "trusted", "-"]),
            row(["workload", "Pod one", "default", "trusted", "-"]),
        ]
    );

    // Not even the rest of its file.
    fs::write(
        manifests.join("template.yaml"),
        format!(
            "a: 1\n---\nb: {{{{ .Values.b }}}}\nc: [\n---\n{}",
            account.replace("name: default", "name: late")
        ),
    )
    .unwrap();
    fs::write(manifests.join("binary.json"), [0xff, 0x00]).unwrap();
    let ran = audit(&[]);
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert_eq!(json(&ran)["summary"]["serviceAccounts"], 2);
    assert!(ran.err.contains("template.yaml: line 3: "), "{}", ran.err);
    assert!(ran.err.contains("binary.json: not UTF-8 text"), "{}", ran.err);
    assert_eq!(ran.err.lines().count(), 2, "{}", ran.err);
}

/// What Helm, or something like it, has not rendered.
const TEMPLATES: [&str; 5] = [
    "{{- if .Values.serviceAccount.create }}\napiVersion: v1\nkind: ServiceAccount\n{{- end }}\n",
    "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {{ include \"chart.name\" . }}\n",
    "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  labels:\n    {{- include \"chart.labels\" . | nindent 4 }}\n",
    "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {{ .Values.name }}\n",
    "{{ include \"common.serviceAccount\" . }}\n",
];

#[test]
fn a_template_that_is_not_rendered_is_an_error_with_the_next_step() {
    let next_step = "; if it is a template of a Helm chart, render it first, with helm template";
    for template in TEMPLATES {
        let of_file = audit_stream(template, &[]);
        let of_inject = rolegate_with_input(&["inject", "--file", "-", "--issuer", ISSUER], template);
        let folder = directory(&[("default", ROLE_KEY, JOB)]);
        fs::write(folder.path().join("template.yaml"), template).unwrap();
        let of_directory = audit(folder.path(), &[]);
        for ran in [of_file, of_inject, of_directory] {
            assert_eq!((ran.code, &*ran.out), (2, ""), "{}", ran.err);
            assert!(ran.err.contains("expected YAML"), "{}", ran.err);
            assert!(ran.err.ends_with(&format!("{next_step}\n")), "{}", ran.err);
        }
    }
    // Other YAML that is malformed, and placeholders in YAML that is valid.
    let ran = audit_stream("kind: [\n", &[]);
    assert!(
        ran.err.contains("expected YAML") && !ran.err.contains("helm"),
        "{}",
        ran.err
    );
    let workflow =
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a, labels: {b: \"{{inputs.parameters.b}}\"}}\n";
    let ran = audit_stream(workflow, &[]);
    assert_eq!((ran.code, &*ran.err), (0, ""), "{}", ran.out);
}

#[test]
fn a_template_of_several_documents_is_one_error() {
    let ran = audit_stream(
        "{{- if .Values.a }}\na: 1\n---\n{{- end }}\nb: 1\n---\n{{- end }}\n",
        &[],
    );
    assert_eq!((ran.code, ran.err.lines().count()), (2, 1), "{}", ran.err);
    // Other errors are independent of each other.
    let ran = audit_stream("a: [\n---\nb: [\n", &[]);
    assert_eq!((ran.code, ran.err.lines().count()), (2, 2), "{}", ran.err);
}

#[test]
fn a_chart_in_a_directory_is_one_error_with_the_command_that_renders_it() {
    let folder = directory(&[("default", ROLE_KEY, JOB)]);
    let chart = folder.path().join("charts/a");
    fs::create_dir_all(chart.join("templates/tests")).unwrap();
    for (name, text) in [
        ("Chart.yaml", "apiVersion: v2\nname: a\nversion: 1.0.0\n"),
        ("values.yaml", "a: 1\n"),
        ("templates/one.yaml", TEMPLATES[0]),
        ("templates/tests/two.yaml", TEMPLATES[1]),
    ] {
        fs::write(chart.join(name), text).unwrap();
    }
    let path = folder.path().to_str().unwrap();
    let ran = rolegate(&[
        "audit",
        "--file",
        path,
        "--issuer",
        ISSUER,
        "--role-source",
        &format!("files={EXAMPLE}/roles"),
    ]);
    let expected = format!(
        "error: {path}/charts/a: a Helm chart, whose templates are not manifests before they are rendered; run: helm template \
         {path}/charts/a | rolegate audit --file -\n"
    );
    assert!(ran.err.starts_with(&expected) && ran.code == 2, "{}", ran.err);
    assert_eq!(ran.err.matches("one.yaml").count(), 0, "{}", ran.err);
}

#[test]
fn nothing_to_audit_is_an_error_that_says_what_was_read() {
    for (text, read) in [
        ("", "1 file, 0 documents, 0 Kubernetes objects"),
        ("a: 1\n", "1 file, 1 document, 0 Kubernetes objects"),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
            "1 file, 1 document, 1 Kubernetes object",
        ),
        (
            "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a, namespace: typo}\n",
            "of namespace jobs in 1 file, 1 document, 1 Kubernetes object; they are in namespace typo; check --namespace",
        ),
        (
            include_str!("../../examples/standalone/review.json"),
            "1 file, 1 document, 0 Kubernetes objects",
        ),
    ] {
        let ran = audit_stream(text, &[]);
        assert_eq!((ran.code, &*ran.out), (2, ""), "{text}");
        assert!(ran.err.contains(read), "{}", ran.err);
    }
    let ran = rolegate(&["audit", "-f", "/nonexistent/a.yaml", "--issuer", ISSUER]);
    assert_eq!((ran.code, &*ran.out), (2, ""));
    assert!(ran.err.contains("/nonexistent/a.yaml"), "{}", ran.err);
}

#[test]
fn a_pod_that_would_be_refused_has_a_row_of_its_own() {
    let pod = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, annotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::111122223333:role/job"}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: own}
spec:
  template:
    spec:
      containers:
      - name: main
        env:
        - {name: AWS_ROLE_ARN, value: "arn:aws:iam::111122223333:role/gone"}
        - {name: AWS_WEB_IDENTITY_TOKEN_FILE, value: /var/run/secrets/eks.amazonaws.com/serviceaccount/token}
"#;
    let ran = audit_stream(pod, &["-o", "json"]);
    let report = json(&ran);
    assert_eq!(ran.code, 1, "{report:#}");
    assert_eq!(
        rows(&report),
        [
            row(["workload", "Job own", "default", "not-trusted", "role-not-found"]),
            row(["annotation", "-", "default", "trusted", "-"]),
        ]
    );
    assert_eq!(
        report["serviceAccounts"][0]["roleArn"],
        "arn:aws:iam::111122223333:role/gone"
    );
    let text = audit_stream(pod, &[]).out;
    assert!(text.contains("used by  Job own, spec.template"), "{text}");
}

/// An annotation can contain any text, and a terminal would obey its escape sequences. Colors of the program's own are `ESC [ … m`.
#[test]
fn a_terminal_gets_no_control_characters_of_annotations() {
    const HOSTILE: &str = "\u{1b}[31mred\u{1b}[2J\u{202e}desrever\u{9b}2K\u{7}";
    // An error about the own argument of a caller may show its colors.
    const CLEARING: &str = "red\u{1b}[2J\u{202e}desrever\u{9b}2K\u{7}";
    let folder = directory(&[]);
    // YAML contains control characters as escapes only.
    let quoted = serde_json::to_string(HOSTILE).unwrap().replace('\u{9b}', "\\u009b");
    let manifest = format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: default\n  namespace: jobs\n  annotations:\n    {ROLE_KEY}: {JOB}\n    \
         eks.amazonaws.com/audience: {quoted}\n"
    );
    fs::write(folder.path().join("accounts.yaml"), manifest).unwrap();
    let path = folder.path().to_str().unwrap();
    let roles = format!("files={path}/roles");
    let flags: [&[&str]; 5] = [
        &["audit", "--standalone", path, "--issuer", ISSUER],
        &["audit", "--standalone", path, "--issuer", ISSUER, "--group-by", "role"],
        &["audit", "--standalone", path, "--issuer", ISSUER, "--output", "github"],
        &[
            "check",
            "--role-source",
            &roles,
            "--role-arn",
            JOB,
            "--issuer",
            ISSUER,
            "-n",
            "jobs",
            "--service-account",
            "default",
            "--audience",
            HOSTILE,
        ],
        &[
            "check",
            "--role-source",
            &roles,
            "--role-arn",
            JOB,
            "--issuer",
            ISSUER,
            "-n",
            "jobs",
            "--service-account",
            CLEARING,
        ],
    ];
    for flags in flags {
        let ran = rolegate_with_variables(flags, &[("CLICOLOR_FORCE", "1")]);
        let printed = format!("{}{}", ran.out, ran.err);
        assert!(printed.contains("red"), "{flags:?}: {printed}");
        assert!(ran.code == 1 || ran.code == 2, "{flags:?}: {printed}");
        for forbidden in ["\u{1b}[31mred", "\u{1b}[2J", "\u{202e}", "\u{9b}", "\u{7}"] {
            assert!(!printed.contains(forbidden), "{flags:?}: {forbidden:?} in {printed:?}");
        }
        let is_color = |rest: &str| {
            rest.starts_with('[')
                && rest
                    .trim_start_matches(['[', ';'])
                    .trim_start_matches(|c: char| c.is_ascii_digit() || c == ';')
                    .starts_with('m')
        };
        let mut escapes = printed.split('\u{1b}').skip(1);
        assert!(escapes.all(is_color), "{flags:?}: {printed:?}");
    }
    let colored = rolegate_with_variables(
        &["audit", "--standalone", path, "--issuer", ISSUER],
        &[("CLICOLOR_FORCE", "1")],
    );
    assert!(colored.out.contains('\u{1b}'), "colors are forced: {}", colored.out);
}

/// 2,000 ServiceAccounts of four namespaces whose role trusts another, and one that is trusted.
fn many() -> String {
    let account = |namespace: &str, name: &str| {
        format!(
            "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {name}, namespace: {namespace}, annotations: {{{ROLE_KEY}: {JOB}}}}}\n---\n"
        )
    };
    let accounts = (0..2_000).map(|number| account(&format!("team-{}", number % 4), &format!("account-{number:04}")));
    accounts.chain([account("jobs", "default")]).collect()
}

fn audit_many(more: &[&str], variables: &[(&str, &str)]) -> Ran {
    let folder = directory(&[]);
    fs::write(folder.path().join("many.yaml"), many()).unwrap();
    let source = format!("files={}", folder.path().join("roles").display());
    let file = folder.path().join("many.yaml");
    let flags = [
        "audit",
        "-f",
        file.to_str().unwrap(),
        "--issuer",
        ISSUER,
        "--role-source",
        &source,
    ];
    rolegate_with_variables(&[&flags[..], more].concat(), variables)
}

#[test]
fn two_thousand_findings_are_readable() {
    let all = audit_many(&[], &[]);
    assert!(all.out.lines().count() > 8_000, "{}", all.out.lines().count());
    assert!(
        all.out.contains("--group-by role"),
        "{}",
        all.out.lines().last().unwrap()
    );
    assert!(all.out.contains("✓ trusted"));
    let findings = audit_many(&["--findings-only"], &[]);
    assert_eq!(findings.code, 1);
    assert!(!findings.out.contains("✓ trusted"));
    assert!(findings.out.contains("2000 not trusted, 0 undetermined, 1 trusted"));

    let grouped = audit_many(&["--group-by", "role", "--findings-only"], &[]).out;
    assert_snapshot!(grouped);
    let by_namespace = audit_many(&["--group-by", "namespace", "--findings-only"], &[]).out;
    let heads = by_namespace.lines().filter(|line| line.starts_with('✗')).count();
    assert_eq!(heads, 4, "{by_namespace}");
    assert!(
        by_namespace.contains("500 rows: team-3/account-0003, "),
        "{by_namespace}"
    );

    // Programs get every finding, whatever people read.
    let report = json(&audit_many(
        &["--group-by", "role", "--findings-only", "-o", "json"],
        &[],
    ));
    assert_eq!(report["serviceAccounts"].as_array().unwrap().len(), 2_000);
    assert_eq!(report["summary"]["trusted"], 1);
}

#[test]
fn the_table_fits_the_terminal() {
    let narrow = [("COLUMNS", "80")];
    let folder = directory(&[
        ("default", ROLE_KEY, JOB),
        ("a-service-account-with-a-long-name", ROLE_KEY, JOB),
    ]);
    let directory = folder.path().to_str().unwrap();
    let flags = ["audit", "--standalone", directory, "--issuer", ISSUER];
    let ran = rolegate_with_variables(&flags, &narrow);
    assert_snapshot!(ran.out);
    for line in ran.out.lines().filter(|line| !line.contains("fix")) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    // Not for a program.
    let json =
        |variables: &[(&str, &str)]| rolegate_with_variables(&[&flags[..], &["-o", "json"]].concat(), variables).out;
    assert_eq!(json(&narrow), json(&[]));
    let wide = rolegate_with_variables(&flags, &[]).out;
    assert!(
        wide.contains("jobs/a-service-account-with-a-long-name  arn:aws:iam::111122223333:role/job"),
        "{wide}"
    );
}

#[test]
fn associations_that_are_not_there_are_named() {
    let folder = directory(&[]);
    let plain = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: plain, namespace: jobs}\n";
    fs::write(folder.path().join("plain.yaml"), plain).unwrap();
    fs::create_dir(folder.path().join("associations")).unwrap();
    assert_eq!(
        audit_associations(folder.path(), &[]).out,
        "no ServiceAccount has a role annotation or an EKS Pod Identity association\n"
    );
    assert_eq!(
        audit(folder.path(), &[]).out,
        "no ServiceAccount has a role annotation\n"
    );
}

/// Controllers that request tokens themselves: no object has a pod template.
const TOKENS: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, annotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::111122223333:role/job"}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: plain}
---
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: dns}
spec:
  acme:
    solvers:
    - http01: {}
    - dns01:
        route53:
          role: arn:aws:iam::111122223333:role/job
          auth: {kubernetes: {serviceAccountRef: {name: plain}}}
    - dns01:
        route53:
          role: arn:aws:iam::111122223333:role/job
          auth: {kubernetes: {serviceAccountRef: {name: default, audiences: [example.com]}}}
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: store}
spec: {provider: {aws: {auth: {jwt: {serviceAccountRef: {name: default, namespace: ignored}}}}}}
---
apiVersion: external-secrets.io/v1
kind: ClusterSecretStore
metadata: {name: shared}
spec: {provider: {aws: {auth: {jwt: {serviceAccountRef: {name: plain, namespace: jobs}}}}}}
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: Bucket
metadata: {name: charts}
spec: {provider: aws, serviceAccountName: default}
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: Bucket
metadata: {name: elsewhere}
spec: {provider: gcp, serviceAccountName: plain}
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: OCIRepository
metadata: {name: with-secret}
spec: {provider: aws, serviceAccountName: plain, secretRef: {name: registry}}
---
apiVersion: image.toolkit.fluxcd.io/v1
kind: ImageRepository
metadata: {name: app}
spec: {provider: aws, serviceAccountName: plain, secretRef: {name: not-used}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: vault}
spec: {serviceAccountName: not-used, decryption: {provider: sops, serviceAccountName: plain}}
"#;

#[test]
fn tokens_without_a_pod_are_judged() {
    let ran = audit_stream(TOKENS, &["-o", "json"]);
    let report = json(&ran);
    assert_eq!((ran.code, &*ran.err), (1, ""));
    assert_eq!(faults_in(&audit_schema(), "audit", &report), [""; 0]);
    assert_eq!(
        rows(&report),
        [
            // Its audience is not that of the annotation.
            row(["workload", "Issuer dns", "default", "not-trusted", "wrong-audience"]),
            // The store needs the annotation of its ServiceAccount.
            row(["workload", "ClusterSecretStore shared", "plain", "none", "no-role"]),
            row(["workload", "ImageRepository app", "plain", "none", "no-role"]),
            // The role is in the object.
            row(["workload", "Issuer dns", "plain", "not-trusted", "wrong-subject"]),
            row(["annotation", "-", "default", "trusted", "-"]),
            row(["workload", "Bucket charts", "default", "trusted", "-"]),
            row(["workload", "SecretStore store", "default", "trusted", "-"]),
            // Its keys do not have to be in AWS.
            row(["workload", "Kustomization vault", "plain", "none", "-"]),
        ]
    );
    let solver = &report["serviceAccounts"][3];
    assert_eq!(solver["objectPath"], "spec.acme.solvers[1].dns01.route53");
    assert_eq!(solver["roleArn"], JOB);
}
