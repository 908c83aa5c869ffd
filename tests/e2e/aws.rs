//! From a role in IAM to a pod's first call: AWS is moto, and what assumes the role are AWS's own SDK and CLI.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::cluster::{ACCOUNT, ExclusiveCluster, Gate, trust_policy};
use crate::control_plane::ISSUER;
use crate::moto::{Moto, moto, program};
use crate::release::Release;
use crate::scenarios::Scenarios;
use crate::wait::{until, until_ok};

pub(crate) fn register(scenarios: &mut Scenarios) {
    scenarios.serial(aws_sdks_assume_the_role_with_nothing_but_what_was_injected);
    scenarios.serial(trust_taken_away_and_given_back_under_a_running_pod_is_one_event_each_for_two_replicas);
}

fn aws_sdks_assume_the_role_with_nothing_but_what_was_injected(cluster: &ExclusiveCluster<'_>) {
    let Some(aws) = Aws::start("the scenario of AWS's SDKs (tests/e2e/aws.rs)") else {
        return;
    };
    let folder = cluster.folder().join("sdk");
    fs::create_dir_all(&folder).unwrap();
    // There is no kubelet: what it would mount there, the scenario writes there.
    let mounted = json!({"token-mount-path": folder, "aws-region": "auto", "disable-instance-metadata": true});
    let release = aws.install(cluster, json!({"settings": mounted}));

    let shop = cluster.namespace("shop", Gate::Enforce);
    shop.kubectl(&["create", "serviceaccount", "catalogue"]).ok();
    let role = format!("arn:aws:iam::{ACCOUNT}:role/catalogue");
    shop.annotate("catalogue", &role);
    let refusal = shop.create_pod("early", "catalogue", &[]).refused();
    assert!(refusal.contains("(role-not-found)"), "{refusal}");

    // As the guide has it: rolegate writes the policy, the AWS CLI makes the role.
    let policy = folder.join("trust-relationship.json");
    let written = Command::new(env!("CARGO_BIN_EXE_rolegate"))
        .args(["trust-policy", "--account", ACCOUNT, "--issuer", ISSUER])
        .args(["--namespace", &shop.name, "--service-account", "catalogue"])
        .output()
        .unwrap();
    assert!(written.status.success());
    fs::write(&policy, written.stdout).unwrap();
    let document = format!("file://{}", policy.display());
    let admin = &aws.environment;
    run_aws(
        admin,
        &[
            "iam",
            "create-role",
            "--role-name",
            "catalogue",
            "--assume-role-policy-document",
            &document,
        ],
    );
    let arn = run_aws(
        admin,
        &[
            "iam",
            "get-role",
            "--role-name",
            "catalogue",
            "--query",
            "Role.Arn",
            "--output",
            "text",
        ],
    );
    assert_eq!(arn.trim(), role);

    // Before the next refusal IAM is asked again.
    until_ok("the pod is let in", || {
        let output = shop.create_pod("catalogue", "catalogue", &[]);
        output.succeeded().then_some(()).ok_or(output.stderr)
    });
    let pod = shop.json(&["get", "pod", "catalogue"]);
    let injected = injected(&pod);
    assert_eq!(injected.get("AWS_ROLE_ARN"), Some(&role));
    assert_eq!(injected.get("AWS_REGION").map(String::as_str), Some("us-west-2"));
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    let token = shop
        .kubectl(&[
            "create",
            "token",
            "catalogue",
            "--audience=sts.amazonaws.com",
            "--bound-object-kind=Pod",
            "--bound-object-name=catalogue",
            &format!("--bound-object-uid={uid}"),
        ])
        .ok();
    let file = &injected["AWS_WEB_IDENTITY_TOKEN_FILE"];
    assert_eq!(Path::new(file).parent(), Some(&*folder));
    fs::write(file, token.trim()).unwrap();

    let mut environment = injected.clone();
    environment.insert("AWS_ENDPOINT_URL".to_owned(), aws.endpoint());
    let expected = format!("arn:aws:sts::{ACCOUNT}:assumed-role/catalogue/");
    let script = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])";
    let by_sdk = ran(Command::new(program("python3")).args(["-c", script]), &environment);
    assert!(by_sdk.starts_with(&expected), "{by_sdk}");
    let by_cli = run_aws(
        &environment,
        &["sts", "get-caller-identity", "--query", "Arn", "--output", "text"],
    );
    assert!(by_cli.starts_with(&expected), "{by_cli}");

    // Without the token, no other role is used.
    fs::remove_file(file).unwrap();
    let without = Command::new(program("python3"))
        .args(["-c", script])
        .env_clear()
        .envs(&environment)
        .output()
        .unwrap();
    assert!(!without.status.success());
    drop(release);
}

fn trust_taken_away_and_given_back_under_a_running_pod_is_one_event_each_for_two_replicas(
    cluster: &ExclusiveCluster<'_>,
) {
    let Some(aws) = Aws::start("the scenario of trust that is lost (tests/e2e/aws.rs)") else {
        return;
    };
    let release = aws.install(cluster, json!({"settings": {"trust-ttl": "3s"}}));
    let replicas = release.replicas();
    assert_eq!(replicas.len(), 2);
    let shop = cluster.namespace("books", Gate::Enforce);
    shop.kubectl(&["create", "serviceaccount", "books"]).ok();
    let role = format!("arn:aws:iam::{ACCOUNT}:role/books");
    let (own, other) = (
        trust_policy(&shop.name, "books").to_string(),
        trust_policy(&shop.name, "other").to_string(),
    );
    let iam = |call: &str, option: &str, policy: &str| {
        let args = ["iam", call, "--role-name", "books", option, policy];
        run_aws(&aws.environment, &args);
    };
    iam("create-role", "--assume-role-policy-document", &own);
    shop.annotate("books", &role);
    let shows = |labels: &[&str]| {
        for replica in &replicas {
            until("the verdict in the gauge of each replica", || {
                (replica.metric("rolegate_service_account_verdicts", labels) == 1.0).then_some(())
            });
        }
    };
    // Each replica reports what it saw, in the series of one Event.
    let one_event = |reason: &str| {
        let selector = format!("--field-selector=reason={reason}");
        until("the Event, reported by both replicas", || {
            let events = shop.json(&["get", "events.v1.events.k8s.io", &selector]);
            let events = events["items"].as_array().unwrap().clone();
            assert!(events.len() <= 1, "{events:#?}");
            let event = events.into_iter().next()?;
            (event["series"]["count"] == 2).then_some(event)
        })
    };
    shows(&["verdict=\"trusted\""]);
    shop.create_pod("books", "books", &[]).ok();

    iam("update-assume-role-policy", "--policy-document", &other);
    shows(&["verdict=\"not-trusted\"", "cause=\"wrong-subject\""]);
    let lost = one_event("TrustLost");
    let uid = &shop.json(&["get", "serviceaccount", "books"])["metadata"]["uid"];
    assert_eq!(&lost["regarding"]["uid"], uid);
    let note = lost["note"].as_str().unwrap();
    assert!(
        note.starts_with("IAM role \"books\" does not trust ServiceAccount "),
        "{note}"
    );
    let described = shop.kubectl(&["describe", "serviceaccount", "books"]).ok();
    assert!(described.contains("TrustLost"), "{described}");

    iam("update-assume-role-policy", "--policy-document", &own);
    shows(&["verdict=\"trusted\""]);
    one_event("TrustRestored");
    for replica in &replicas {
        for change in ["lost", "restored"] {
            let label = format!("change=\"{change}\"");
            assert_eq!(
                replica.metric("rolegate_trust_changes_total", &[&label]),
                1.0,
                "{change}"
            );
        }
    }
    assert!(shop.kubectl(&["get", "pod", "books"]).succeeded());
    drop(release);
}

/// The environment of the first container.
fn injected(pod: &Value) -> BTreeMap<String, String> {
    let variables = pod["spec"]["containers"][0]["env"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    variables
        .iter()
        .map(|variable| (text(&variable["name"]), text(&variable["value"])))
        .collect()
}

/// moto with the cluster's OIDC provider, and the environment of an administrator of the account.
pub(crate) struct Aws {
    pub(crate) environment: BTreeMap<String, String>,
    moto: Moto,
}

impl Aws {
    /// `None`, reported, if moto is not available.
    pub(crate) fn start(what: &str) -> Option<Self> {
        let moto = moto(what)?;
        let own = moto.credentials(ACCOUNT);
        moto.call(
            "iam",
            Some(&own),
            "CreateOpenIDConnectProvider",
            &[
                ("Url", ISSUER),
                ("ClientIDList.member.1", "sts.amazonaws.com"),
                ("ThumbprintList.member.1", "9e99a48a9960b14926bb7f3b02e22da2b0ab7280"),
            ],
        );
        let endpoint = format!("http://{}", moto.address);
        let variables = [
            ("AWS_ENDPOINT_URL", &*endpoint),
            ("AWS_ACCESS_KEY_ID", &own.key),
            ("AWS_SECRET_ACCESS_KEY", &own.secret),
            ("AWS_SESSION_TOKEN", &own.token),
            ("AWS_REGION", "us-west-2"),
            ("AWS_DEFAULT_REGION", "us-west-2"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        let environment = variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        Some(Self { environment, moto })
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.moto.address)
    }

    /// A release that reads roles from here, with more values.
    pub(crate) fn install(&self, cluster: &ExclusiveCluster<'_>, mut values: Value) -> Release {
        let environment = self.environment.iter().filter(|(name, _)| *name != "AWS_REGION");
        values["roleSources"] = json!(["iam"]);
        values["roleFiles"] = json!({"configMap": ""});
        values["aws"] = json!({"region": "us-west-2"});
        values["extraEnv"] = environment
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        cluster.install(values)
    }
}

/// The AWS CLI, with this environment and nothing else.
#[track_caller]
fn run_aws(environment: &BTreeMap<String, String>, args: &[&str]) -> String {
    ran(Command::new(program("aws")).args(args), environment)
}

#[track_caller]
fn ran(command: &mut Command, environment: &BTreeMap<String, String>) -> String {
    let output = command.env_clear().envs(environment).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    text(&output.stdout)
}
